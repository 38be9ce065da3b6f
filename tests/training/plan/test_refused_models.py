"""Models that `spo-train` cannot load, or whose weights are not there: one line, before anything is composed."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")

from spo_data.errors import UserError
from spo_data.models.names import resolve_model
from spo_data.options import PromptOptions
from spo_train.plan.assemble import plan_training
from spo_train.plan.train_options import TrainOptions
from support.hub_cache import COMMIT, use_offline, write_cached

REMOTE = {"auto_map": {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}}


def refusal(model: str, out: Path) -> str:
    train = PromptOptions(dataset="sums.jsonl")
    with pytest.raises(UserError) as refused:
        plan_training(TrainOptions(None, model=model, train=train, method="grpo", preset="demo", out=out))
    return str(refused.value)


@pytest.mark.parametrize("config", [{}, REMOTE], ids=["unknown type", "code of its own"])
def test_a_model_that_transformers_cannot_load_is_one_line(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ended in a traceback, and transformers asked on the terminal whether to run the folder's code."""
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda text="": asked.append(text) or "n")
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in Path(resolve_model("smollm2-135m").path).iterdir():
        if path.suffix in {".json", ".jinja"}:
            shutil.copy(path, folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "mine", **config}))
    (folder / "mine.py").write_text("")
    (folder / "model.safetensors").write_bytes(b"weights")
    said = refusal(str(folder), tmp_path / "out")
    assert said.startswith(f"--model {folder}: its tokenizer or configuration cannot be loaded: ")
    assert asked == []


def test_weights_that_the_cache_lacks_come_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message called a folder of the Hub's cache a model without weights."""
    use_offline(monkeypatch, tmp_path)
    names = ("config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json")
    write_cached(tmp_path / "models--acme--tiny", dict.fromkeys(names, b"{}"), names=(*names, "model.safetensors"))
    said = refusal("acme/tiny", tmp_path / "out")
    assert f"commit {COMMIT} in the Hub's cache at {tmp_path} lacks model.safetensors: " in said
    assert f"hf download acme/tiny model.safetensors --revision {COMMIT}" in said
