"""How far the trainer's preparation is, from a file that `spo_train.hooks.first_visits` keeps while it works.

file = PreparationFile(Path("runs/train/preparation.json"))
file.read_new()            # Preparation(done=2048, total=17917, seconds=95.0), or None if nothing is new
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from spo_data.json_text import read_json


@dataclass(frozen=True)
class Preparation:
    """The forward pass over one response of each prompt, before the first step."""

    done: int
    """Responses."""
    total: int
    seconds: float
    """Since the pass began."""

    @property
    def seconds_left(self) -> float | None:
        """An estimate; None before the first responses are done."""
        return (self.total - self.done) * self.seconds / self.done if self.done else None


class PreparationFile:
    """A file that is replaced as work gets on, and removed at its end; that of an earlier launch is removed at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: Preparation | None = None
        path.unlink(missing_ok=True)

    def read_new(self) -> Preparation | None:
        """Return what the file says if that is not what it said before."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            said = read_json(self._path.read_bytes())
            found = Preparation(int(said["done"]), int(said["total"]), float(said["seconds"]))
            if found != self._last:
                self._last = found
                return found
        return None
