"""The weights in a model's folder: there, and whole.

refuse_missing_weights(Path("models/mine"))        # raises UserError if verl and vLLM would find no weights to load
"""

from pathlib import Path

from spo_data.errors import UserError, reason
from spo_data.json_text import read_json

KINDS = ("*.safetensors", "*.bin")
INDEXES = {
    "model.safetensors": "model.safetensors.index.json",
    "pytorch_model.bin": "pytorch_model.bin.index.json",
}
"""The file of all weights, which comes first, and the index of several, in the order of transformers."""
POINTER = b"version https://git-lfs"
"""How the file begins that a clone without git-lfs has in place of the weights."""


def refuse_missing_weights(folder: Path) -> None:
    """Raise UserError if a model's folder has no weights, or not all that its index names."""
    found = [path for kind in KINDS for path in folder.glob(kind)]
    if not found:
        raise UserError(f"--model {folder}: has no weights ({', '.join(KINDS)}), so there is nothing to train")
    for path in found:
        try:
            with path.open("rb") as file:
                begins = file.read(len(POINTER))
        except OSError as error:
            raise UserError(f"{path} cannot be read: {reason(error)}") from error
        if begins == POINTER:
            raise UserError(f"{path} is a pointer of git-lfs, not weights: git lfs pull, in {folder}")
    for whole, index in INDEXES.items():
        if (folder / whole).is_file():
            return
        if (folder / index).is_file():
            _check_index(folder, index)
            return


def _check_index(folder: Path, name: str) -> None:
    try:
        named = set(dict(read_json((folder / name).read_bytes())["weight_map"]).values())
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{folder / name} does not say where the weights are") from error
    missing = sorted(file for file in named if not (folder / str(file)).is_file())
    if missing:
        more = f" and {len(missing) - 1:,} more" if len(missing) > 1 else ""
        raise UserError(f"--model {folder}: {missing[0]}{more} of {len(named):,} files of weights are missing")
