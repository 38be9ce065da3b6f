"""What of a model must be in the Hub's cache on a machine without a network, before it is loaded."""

import asyncio
import json
from pathlib import Path

import pytest

from spo_data import UserError
from spo_data.engines.vllm import start_vllm
from spo_data.models.cached import check_tokenizer, check_weights, list_weights
from spo_data.models.names import Model, resolve_model
from spo_data.options import EngineOptions, Sampling
from support.hub_cache import COMMIT, use_offline, write_cached

TOKENIZER = ("config.json", "tokenizer_config.json", "tokenizer.json", "chat_template.jinja")
WHOLE = (*TOKENIZER, "generation_config.json", "model.safetensors")
LEGACY = ("special_tokens_map.json", "added_tokens.json")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of acme/tiny in an empty cache, on a machine without a network."""
    use_offline(monkeypatch, tmp_path)
    return tmp_path / "models--acme--tiny"


def but(missing: str) -> dict[str, bytes]:
    return {name: b"{}" for name in WHOLE if name != missing}


def resolved(cache: Path) -> Model:
    model = resolve_model("acme/tiny")
    assert model == Model("acme/tiny", str(cache / "snapshots" / COMMIT), COMMIT)
    assert model.hub_revision is None
    return model


@pytest.mark.parametrize("missing", [*WHOLE])
@pytest.mark.parametrize("has_list", [True, False], ids=["list", "no list"])
def test_a_file_that_the_model_has_or_may_have_must_be_cached(cache: Path, missing: str, has_list: bool) -> None:
    """Without its chat template a model read other prompts, and nobody was told."""
    folder = write_cached(cache, but(missing), names=(*WHOLE, "README.md") if has_list else (), absent=LEGACY)
    model = Model("acme/tiny", str(folder), COMMIT)
    with pytest.raises(UserError, match=f"commit {COMMIT} in the Hub's cache at .* lacks {missing}: where there is"):
        check_weights(model)
    if missing in TOKENIZER:
        with pytest.raises(UserError, match=f" lacks {missing}: "):
            check_tokenizer(model)
    else:
        check_tokenizer(model)


def test_a_file_that_the_model_does_not_have_is_not_missed(cache: Path) -> None:
    write_cached(cache, but("chat_template.jinja"), absent=LEGACY)
    with pytest.raises(UserError, match="lacks chat_template"):
        check_weights(resolved(cache))
    write_cached(cache, {}, absent=["chat_template.jinja"])
    check_weights(resolved(cache))


def test_an_engine_does_not_start_without_all_weights(cache: Path, tmp_path: Path) -> None:
    """vLLM loads for a minute, or takes what it finds."""
    write_cached(cache, but("model.safetensors"), names=WHOLE)

    async def start() -> None:
        log = tmp_path / "engine.log"
        async with start_vllm(resolved(cache), Sampling(), EngineOptions(), max_model_len=8, log=log):
            raise AssertionError("it started")

    with pytest.raises(UserError, match=r"lacks model\.safetensors"):
        asyncio.run(start())


def test_a_model_elsewhere_is_not_looked_for_in_the_cache(cache: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    check_weights(resolve_model(str(folder)))
    assert not cache.exists()


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
    for name in (*there, *index):
        (tmp_path / name).write_text(json.dumps(index.get(name, {})))
    assert list_weights(tmp_path) == weights
