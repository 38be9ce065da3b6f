"""What a model's configuration says about its size, read without its weights.

dimensions = read_dimensions(resolve_model("Qwen3-8B"))
dimensions.heads, dimensions.stored_bytes        # Heads(attention=32, key_value=8), 16381470720
"""

import json
import math
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
_STORED = {"F32": 4, "BF16": 2, "F16": 2}
"""Bytes of the types of safetensors; of any other one it is not known what vLLM makes of it."""
_BYTES = {"float32": 4, "float": 4, "bfloat16": 2, "float16": 2, "half": 2}


@dataclass(frozen=True)
class Dimensions:
    """A model's size, as far as tensor parallelism and memory depend on it. None if its configuration does not say."""

    name: str
    heads: Heads | None = None
    experts: int = 0
    """0 for a dense model."""
    expert_width: int | None = None
    expert_block: int = 1
    """Columns of an expert that are quantized together, which no two GPUs share."""
    stored_bytes: int | None = None
    """Of all weights as they are stored; None if that takes a download."""
    bytes_each: int | None = None
    """Of one stored parameter, as most of them are stored."""
    quantized: bool = False

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
    folder = Path(model.path) if model.hub_revision is None else _find_cached(model)
    return Dimensions(
        name=model.name,
        heads=find_heads(config),
        experts=experts,
        expert_width=_number(config, "moe_intermediate_size") if experts else None,
        expert_block=_find_block(quantization),
        stored_bytes=None if folder is None else _find_stored_bytes(folder),
        bytes_each=None if quantization else _find_width(model, folder),
        quantized=bool(quantization),
    )


def _number(config: Any, name: str) -> int | None:
    value = getattr(config, name, None)
    return value if isinstance(value, int) and value > 0 else None


def _find_block(quantization: Any) -> int:
    """Return the larger side of the blocks that share a scale, as a configuration of FP8 names it; 1 for none."""
    sides = quantization.get("weight_block_size") if isinstance(quantization, dict) else None
    return max((side for side in sides or () if isinstance(side, int)), default=1)


def _find_width(model: Model, folder: Path | None) -> int | None:
    """Return the bytes of a stored parameter: by the header of a file of weights, or else by what the Hub says.

    Not by the configuration: it may name no type, or another one than the files have.
    """
    counts: dict[str, int] = {}
    for path in sorted(folder.glob("*.safetensors"))[:1] if folder is not None else ():
        counts = _count_types(path)
    if not counts and model.hub_revision is not None:
        counts = _ask_types(model)
    return _STORED.get(max(counts, key=lambda name: counts[name])) if counts else None


def _count_types(path: Path) -> dict[str, int]:
    """Return the parameters of each type in a file of weights; none if it is no such file."""
    from safetensors import SafetensorError, safe_open

    counts: dict[str, int] = {}
    try:
        with safe_open(path, framework="np") as file:
            for name in file.keys():  # noqa: SIM118
                part = file.get_slice(name)
                counts[part.get_dtype()] = counts.get(part.get_dtype(), 0) + math.prod(part.get_shape())
    except (SafetensorError, OSError):
        return {}
    return counts


def _ask_types(model: Model) -> dict[str, int]:
    """Return the parameters of each type that the Hub has counted; none if it does not say."""
    from huggingface_hub import HfApi

    try:
        with clear_hub_errors(f"--model {model.name}", absent="no such model", revision=model.revision):
            found = HfApi().model_info(model.path, revision=model.revision, expand=["safetensors"], timeout=10)
    except SpoError:
        return {}
    return dict(found.safetensors.parameters) if found.safetensors is not None else {}


def _find_stored_bytes(folder: Path) -> int | None:
    """Return what the index of the weights says, or else the files' sizes."""
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
