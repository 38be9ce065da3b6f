"""The forward pass before the first step, over one response of the estimate for each prompt: shown, and made once.

    remember(memory, rows, sequences, forward, out, settings)

It takes minutes, so how far it is goes to verl's log and to a file that `spo-train` shows. The result is saved in the
training run's folder, and a start that repeats the steps before the first checkpoint reads it. It is used for the same
weights, tokens and settings only, and removed once a checkpoint holds the memory.
"""

import hashlib
import importlib.metadata
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from spo_train.filenames import FIRST_VISITS, PREPARATION, RECORD
from spo_train.hooks.checkpoint import write_arrays
from spo_train.hooks.forward import ROWS, Tokens
from spo_train.spo.memory import ResponseMemory

Forward = Callable[[Sequence[Tokens]], list[npt.NDArray[np.float32]]]
_PACKAGES = ("torch", "transformers", "verl")
_KEY = "key"


def remember(
    memory: ResponseMemory,
    rows: Sequence[int],
    sequences: Sequence[Tokens],
    forward: Forward,
    out: Path,
    settings: Mapping[str, Any],
) -> None:
    """Store each row's response with the policy's log-probs, from the file of an earlier start if it is of the same."""
    key = _make_key(rows, sequences, {**settings, "max_bytes": memory.max_bytes})
    if _restore(memory, out / FIRST_VISITS, key):
        print(f"first visits: {len(rows):,} responses with their log-probs are read from {out / FIRST_VISITS}")
        return
    with _Progress(out / PREPARATION, len(rows)) as progress:
        for start in range(0, len(rows), ROWS):
            part = slice(start, start + ROWS)
            for row, (prompt, ids, own), now in zip(rows[part], sequences[part], forward(sequences[part]), strict=True):
                memory.store(row, prompt, ids, now, own, step=0)
            progress.show(min(start + ROWS, len(rows)))
    write_arrays({**memory.state(), _KEY: np.array(key)}, out / FIRST_VISITS)


def forget(out: Path) -> None:
    """Remove the saved result: a checkpoint holds the memory now."""
    (out / FIRST_VISITS).unlink(missing_ok=True)


def what_decides(config: Any, out: Path) -> dict[str, Any]:
    """Return what the log-probs depend on besides the tokens: the weights, and how they are computed."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    return {
        "model": model.path,
        "revision": _read_revision(out),
        "adapter": [str(model.lora_rank), str(model.lora_adapter_path)],
        "override_config": str(model.override_config),
        "use_remove_padding": bool(model.use_remove_padding),
        "types": [str(actor.fsdp_config.get(name)) for name in ("model_dtype", "dtype", "mixed_precision")],
        "temperature": float(config.actor_rollout_ref.rollout.temperature),
    }


class _Progress:
    """Says how far the work is, in the log and in a file that exists as long as the work lasts."""

    def __init__(self, path: Path, total: int) -> None:
        self._path, self._total, self._start = path, total, time.monotonic()

    def __enter__(self) -> "_Progress":
        self.show(0)
        return self

    def __exit__(self, *_: object) -> None:
        self._path.unlink(missing_ok=True)

    def show(self, done: int) -> None:
        seconds = time.monotonic() - self._start
        print(f"first visits: {done:,} of {self._total:,} responses after {seconds:,.0f} s", flush=True)
        fresh = self._path.with_name(f".{self._path.name}.new")
        fresh.write_text(json.dumps({"done": done, "total": self._total, "seconds": round(seconds, 1)}))
        os.replace(fresh, self._path)


def _restore(memory: ResponseMemory, path: Path, key: str) -> bool:
    """Fill the memory from the file; False if there is none, or if it is of other weights, tokens or settings."""
    if not path.is_file():
        return False
    try:
        with np.load(path) as arrays:
            if str(arrays[_KEY]) != key:
                print(f"first visits: {path} is of other weights, responses or settings, so it is made again")
                return False
            memory.restore({name: arrays[name] for name in arrays.files if name != _KEY})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        print(f"first visits: {path} cannot be read, so it is made again: {error}")
        return False
    return True


def _make_key(rows: Sequence[int], sequences: Sequence[Tokens], settings: Mapping[str, Any]) -> str:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    digest = hashlib.sha256(json.dumps([dict(settings), versions], sort_keys=True).encode())
    for row, (prompt, response, own) in zip(rows, sequences, strict=True):
        digest.update(np.array([row, len(prompt), len(response)], "<i8").tobytes())
        digest.update(np.asarray(prompt, "<i4").tobytes())
        digest.update(np.asarray(response, "<i4").tobytes())
        digest.update(np.asarray(own, np.bool_).tobytes())
    return digest.hexdigest()


def _read_revision(out: Path) -> str | None:
    """Return the model's commit, or the fingerprint of its files, from the record of the training run."""
    try:
        return str(json.loads((out / RECORD).read_bytes())["revision"])
    except (OSError, ValueError, KeyError):
        return None
