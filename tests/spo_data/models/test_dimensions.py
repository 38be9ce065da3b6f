"""A model's dimensions, read from its configuration and what lies beside it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from spo_data.models import dimensions
from spo_data.models.dimensions import Dimensions, read_dimensions
from spo_data.models.heads import Heads
from spo_data.models.names import Model

QWEN3 = {"model_type": "qwen3", "num_attention_heads": 32, "num_key_value_heads": 8, "dtype": "bfloat16"}


def folder(path: Path, files: dict[str, int | None] | None = None, **config: Any) -> Model:
    (path / "config.json").write_text(json.dumps({**QWEN3, **config}))
    for name, size in (files or {}).items():
        (path / name).write_bytes(b"\0" * (size or 0))
    return Model("a model", str(path), "sha256:0")


@pytest.mark.parametrize(
    ("files", "index", "stored"),
    [
        ({}, {"metadata": {"total_size": 16_381_470_720}}, 16_381_470_720),
        ({"model.safetensors": 300, "consolidated.safetensors": 300}, None, 300),
        ({"model-1.safetensors": 300, "model-2.safetensors": 200}, {"metadata": {}}, 500),
        ({"pytorch_model.bin": 70}, None, 70),
        ({"model.gguf": 70}, None, None),
        ({}, None, None),
    ],
)
def test_the_size_of_the_weights_is_that_of_the_index_or_the_files(
    tmp_path: Path, files: dict[str, int | None], index: dict[str, Any] | None, stored: int | None
) -> None:
    model = folder(tmp_path, files)
    if index is not None:
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert read_dimensions(model) == Dimensions("a model", Heads(32, 8), stored_bytes=stored)


def test_a_mixture_of_experts_says_how_wide_an_expert_is(tmp_path: Path) -> None:
    found = read_dimensions(folder(tmp_path, model_type="qwen3_moe", num_experts=128, moe_intermediate_size=768))
    assert (found.experts, found.expert_width) == (128, 768)


def test_quantized_weights_are_loaded_as_they_are_stored(tmp_path: Path) -> None:
    quantized = {"quant_method": "fp8", "weight_block_size": [128, 128]}
    found = read_dimensions(folder(tmp_path, {"model.safetensors": 300}, quantization_config=quantized))
    assert found.loaded_bytes("float32") == 300
    assert found.expert_block == 128


@pytest.mark.parametrize("said", ["bfloat16", None])
def test_the_width_of_a_parameter_is_that_of_the_files(tmp_path: Path, said: str | None) -> None:
    """Weights stored as float32 were refused as too large for bfloat16, if the configuration names another type."""
    model = folder(tmp_path, dtype=said)
    save_file({"a": np.zeros(100, np.float32), "b": np.zeros(5, np.float16)}, tmp_path / "model.safetensors")
    found = read_dimensions(model)
    assert (found.bytes_each, found.stored_bytes) == (4, (tmp_path / "model.safetensors").stat().st_size)
    assert found.loaded_bytes("bfloat16") == found.stored_bytes // 2


def test_the_hub_says_how_weights_are_stored_that_are_not_cached(monkeypatch: pytest.MonkeyPatch) -> None:
    info = SimpleNamespace(safetensors=SimpleNamespace(parameters={"BF16": 100, "F32": 5}))
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", lambda *_, **__: info)
    assert dimensions._find_width(Model("a/b", "a/b", "c0ffee"), None) == 2
    info.safetensors = None
    assert dimensions._find_width(Model("a/b", "a/b", "c0ffee"), None) is None
