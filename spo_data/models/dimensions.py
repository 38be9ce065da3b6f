"""What a model's configuration says about its size, read without its weights.

dimensions = read_dimensions(resolve_model("Qwen3-8B"))
dimensions.heads, dimensions.stored_bytes        # Heads(attention=32, key_value=8), 16381470720
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spo_data.errors import SpoError
from spo_data.hub.client_errors import clear_hub_errors
from spo_data.models.heads import Heads, find_heads
from spo_data.models.names import Model

INDEX = "model.safetensors.index.json"
_EXPERTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
"""Where vLLM looks for the number of experts."""
_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}


@dataclass(frozen=True)
class Dimensions:
    """A model's size, as far as tensor parallelism and memory depend on it. None if its configuration does not say."""

    name: str
    heads: Heads | None = None
    experts: int = 0
    """0 for a dense model."""
    expert_width: int | None = None
    stored_bytes: int | None = None
    """Of all weights as they are stored; None if that takes a download."""
    bytes_each: int | None = None
    """Of one stored parameter; None if the configuration does not say."""
    quantized: bool = False
    expert_block: int = 1
    """Columns of an expert that are quantized together: a GPU's part of an expert has whole blocks."""

    def loaded_bytes(self, dtype: str) -> int | None:
        """Bytes of all weights once loaded with vLLM's `--dtype`, or None if that is not known.

        `auto` loads what is stored as float32 in 16 bits, and anything else as it is.
        """
        if self.quantized:
            return self.stored_bytes
        if self.stored_bytes is None or self.bytes_each is None:
            return None
        loaded = min(self.bytes_each, 2) if dtype == "auto" else _BYTES[dtype]
        return self.stored_bytes * loaded // self.bytes_each

    def find_tensor_parallel_fault(self, size: int) -> str | None:
        """Why a tensor parallel size cannot split the model, or None if it can."""
        heads = self.heads
        if heads is None or heads.allow(size):
            return None
        if heads.attention % size:
            return f"{size} does not divide the {heads.attention} attention heads of {self.name}"
        return f"{size} neither divides the {heads.key_value} key/value heads of {self.name} nor is a multiple of them"


def read_dimensions(model: Model, *, trust_remote_code: bool = False) -> Dimensions:
    """Read a model's dimensions. Its configuration is one that transformers can load."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(
        model.path, revision=model.hub_revision, trust_remote_code=trust_remote_code
    ).get_text_config()
    experts = next((found for name in _EXPERTS if (found := _number(config, name))), 0)
    quantization = getattr(config, "quantization_config", None)
    stored = str(getattr(config, "dtype", None)).removeprefix("torch.")
    return Dimensions(
        name=model.name,
        heads=find_heads(config),
        experts=experts,
        expert_width=_number(config, "moe_intermediate_size") if experts else None,
        stored_bytes=_find_stored_bytes(model),
        bytes_each=None if quantization else _BYTES.get(stored),
        quantized=bool(quantization),
        expert_block=_find_block(quantization),
    )


def _number(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) and value > 0 else None


def _find_block(quantization: Any) -> int:
    """Return the block of fp8 (`weight_block_size`), or the group of GPTQ and AWQ (`group_size`); 1 for neither."""
    given = quantization if isinstance(quantization, dict) else getattr(quantization, "__dict__", {})
    sizes = given.get("weight_block_size") or given.get("group_size")
    size = max(sizes) if isinstance(sizes, list | tuple) and sizes else sizes
    return size if isinstance(size, int) and size > 0 else 1


def _find_stored_bytes(model: Model) -> int | None:
    """Return what the index of the weights says, or else the files' sizes; of a Hub model, what is small or cached."""
    folder = Path(model.path) if model.hub_revision is None else _find_cached(model)
    if folder is None:
        return None
    if (folder / INDEX).is_file():
        try:
            total = json.loads((folder / INDEX).read_bytes())["metadata"]["total_size"]
        except (ValueError, KeyError, TypeError, OSError):
            total = None
        if total is not None:
            return int(total)
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        files = [path for path in folder.glob(pattern) if not path.name.startswith("consolidated")]
        if files:
            return sum(path.stat().st_size for path in files)
    return None


def _find_cached(model: Model) -> Path | None:
    """Return the cached folder of a Hub model with its index of weights; None if neither index nor weights are there.

    The index is a few kilobytes, which vLLM downloads too. A model in one file has none.
    """
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    for name in (INDEX, "model.safetensors"):
        cached = try_to_load_from_cache(model.path, name, revision=model.revision)
        if isinstance(cached, str):
            return Path(cached).parent
    try:
        with clear_hub_errors(f"--model {model.name}", absent="no index of weights", revision=model.revision):
            return Path(hf_hub_download(model.path, INDEX, revision=model.revision)).parent
    except SpoError:
        return None
