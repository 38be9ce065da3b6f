"""What of a model must be in the Hub's cache on a machine without a network, before it is loaded."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from spo_data import UserError
from spo_data.engines.vllm import start_vllm
from spo_data.models.cached import check_tokenizer, check_weights, list_weights
from spo_data.models.names import Model, resolve_model
from spo_data.options import EngineOptions, Sampling

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TOKENIZER = ("config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja")
WHOLE = (*TOKENIZER, "generation_config.json", "model.safetensors")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of acme/tiny, on a machine without a network."""
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--acme--tiny"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(COMMIT)
    return folder


def write(folder: Path, *names: str, contents: Mapping[str, object] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text(json.dumps((contents or {}).get(name, {})))


def write_list(cache: Path, *names: str) -> None:
    """The list of the commit's files, as `hf download` leaves it."""
    (cache / "trees").mkdir()
    files = {name: {"size": 2, "blob_id": "0" * 40} for name in names}
    (cache / "trees" / f"{COMMIT}.json").write_text(json.dumps({"format_version": 1, "files": files}))


def resolved(cache: Path) -> Model:
    model = resolve_model("acme/tiny")
    assert model == Model("acme/tiny", str(cache / "snapshots" / COMMIT), COMMIT)
    assert model.hub_revision is None
    return model


@pytest.mark.parametrize("missing", [*WHOLE])
@pytest.mark.parametrize("has_list", [True, False], ids=["list", "no list"])
def test_a_file_that_the_model_has_or_may_have_must_be_cached(cache: Path, missing: str, has_list: bool) -> None:
    """Without its chat template a model read other prompts, and nobody was told."""
    write(cache / "snapshots" / COMMIT, *(name for name in WHOLE if name != missing))
    write(cache / ".no_exist" / COMMIT, "special_tokens_map.json", "added_tokens.json")
    if has_list:
        write_list(cache, *WHOLE, "README.md")
    model = Model("acme/tiny", str(cache / "snapshots" / COMMIT), COMMIT)
    with pytest.raises(UserError, match=f"commit {COMMIT} in the Hub's cache at .* lacks {missing}: where there is"):
        check_weights(model)
    if missing in TOKENIZER:
        with pytest.raises(UserError, match=f" lacks {missing}: "):
            check_tokenizer(model)
    else:
        check_tokenizer(model)


def test_a_file_that_the_model_does_not_have_is_not_missed(cache: Path) -> None:
    write(cache / "snapshots" / COMMIT, *(name for name in WHOLE if name != "chat_template.jinja"))
    write(cache / ".no_exist" / COMMIT, "special_tokens_map.json", "added_tokens.json")
    with pytest.raises(UserError, match="lacks chat_template"):
        check_weights(resolved(cache))
    write(cache / ".no_exist" / COMMIT, "chat_template.jinja")
    check_weights(resolved(cache))


def test_an_engine_does_not_start_without_all_weights(cache: Path, tmp_path: Path) -> None:
    """vLLM loads for a minute, or takes what it finds."""
    write(cache / "snapshots" / COMMIT, *WHOLE[:-1])
    write_list(cache, *WHOLE)

    async def start() -> None:
        log = tmp_path / "engine.log"
        async with start_vllm(resolved(cache), Sampling(), EngineOptions(), max_model_len=8, log=log):
            raise AssertionError("it started")

    with pytest.raises(UserError, match=r"lacks model\.safetensors"):
        asyncio.run(start())


def test_a_model_elsewhere_is_not_looked_for_in_the_cache(cache: Path, tmp_path: Path) -> None:
    write(tmp_path / "folder", "config.json")
    check_weights(resolve_model(str(tmp_path / "folder")))
    assert cache.is_dir()


@pytest.mark.parametrize(
    ("there", "index", "weights"),
    [
        (["model.safetensors"], {}, ["model.safetensors"]),
        ([], {}, ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors"],
            {"model.safetensors.index.json": {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}},
            ["model-1.safetensors", "model-2.safetensors"],
        ),
        (
            ["model-00002-of-00002.safetensors"],
            {},
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ),
        (["pytorch_model.bin"], {}, ["pytorch_model.bin"]),
    ],
)
def test_the_weights_are_those_of_the_index_or_of_the_parts_names(
    tmp_path: Path, there: list[str], index: dict[str, object], weights: list[str]
) -> None:
    write(tmp_path, *there, *index, contents=index)
    assert list_weights(tmp_path) == weights
