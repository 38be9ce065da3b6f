"""Whether the Hub's cache has what a model is loaded from, for machines without a network.

    check_tokenizer(model)      # before its tokenizer is loaded
    check_weights(model)        # before an engine or a trainer starts

Without a network, transformers and vLLM take a file that is not cached for one that the model does not have. Without
its chat template a model reads other prompts, and without generation_config.json its responses end elsewhere.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from spo_data.hub.cache import CachedRepository, find_offline_variable, is_commit
from spo_data.models.names import CONFIG, Model

TOKENIZER_FILES = (
    CONFIG,
    "tokenizer_config.json",
    "tokenizer.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
)
GENERATION_CONFIG = "generation_config.json"
_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WEIGHTS = (".safetensors", ".bin", ".gguf", ".pt")
_PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})(\.\w+)")


def check_tokenizer(model: Model) -> None:
    """Raise UserError if a file of the tokenizer, or the configuration, has to be in the cache and is not."""
    if (cached := _find_cache_of(model)) is not None:
        _require_known(cached, TOKENIZER_FILES)


def check_weights(model: Model) -> None:
    """Raise UserError if a file of the weights, or the generation's configuration, has to be cached and is not."""
    if (cached := _find_cache_of(model)) is not None:
        _require_known(cached, (*TOKENIZER_FILES, GENERATION_CONFIG))
        cached.require(list_weights(cached.folder))


def list_weights(folder: Path) -> list[str]:
    """Return the files of a model's weights, as far as its folder tells: by an index, or by the names of parts."""
    for index in _INDEXES:
        if (folder / index).is_file():
            parts = json.loads((folder / index).read_text(encoding="utf-8"))["weight_map"].values()
            return sorted({str(part) for part in parts})
    there = sorted(path.name for path in folder.iterdir() if path.suffix in _WEIGHTS and path.is_file())
    parts = {found.group(1, 3, 4) for found in map(_PART.fullmatch, there) if found}
    split = [f"{name}-{k:05d}-of-{total}{end}" for name, total, end in parts for k in range(1, int(total) + 1)]
    return sorted({*there, *split}) or ["model.safetensors"]


def _find_cache_of(model: Model) -> CachedRepository | None:
    """Return the cache of a Hub model if no network may be used; None for other models."""
    variable = find_offline_variable("model")
    if variable is None or not is_commit(model.revision):
        return None
    return CachedRepository(model.name, "model", model.revision, f"--model {model.name}", variable)


def _require_known(cached: CachedRepository, names: Iterable[str]) -> None:
    cached.require(name for name in names if not cached.is_absent(name))
