"""The numbers of each training step, from the metrics that verl's `file` logger writes.

    metrics = MetricsFile(Path("runs/train/metrics.jsonl"))
    metrics.new_steps()        # [Step(step=1, reward=0.42, baseline=0.40, ...)]

A line is `{"step": 1, "data": {name: number}}`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spo_data.json_text import read_json


@dataclass(frozen=True)
class Step:
    """The numbers of one step that are shown; None if verl did not report one."""

    step: int
    reward: float | None
    baseline: float | None
    response_tokens: float | None
    seconds: float | None
    validation: float | None
    """Mean accuracy over the validation sets, in steps that validate."""


class MetricsFile:
    """A file that grows by one line per step; it may not exist yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new_steps(self) -> list[Step]:
        """Return the steps written since the last call, from whole lines only."""
        try:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                written = file.read()
        except FileNotFoundError:
            return []
        whole, newline, _ = written.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return [step for line in whole.splitlines() if (step := read_step(line)) is not None]


def read_step(line: bytes | str) -> Step | None:
    """Return the step of one line; None if the line is not a step."""
    try:
        record = read_json(line)
        number, data = int(record["step"]), dict(record["data"])
        accuracies = [float(value) for name, value in data.items() if name.startswith("val-core/") and "/mean@" in name]
    except (ValueError, TypeError, KeyError, OverflowError):
        return None
    return Step(
        step=number,
        reward=_get_number(data, "spo/reward", "critic/score/mean"),
        baseline=_get_number(data, "spo/baseline"),
        response_tokens=_get_number(data, "response_length/mean"),
        seconds=_get_number(data, "timing_s/step"),
        validation=sum(accuracies) / len(accuracies) if accuracies else None,
    )


def _get_number(data: Mapping[str, Any], *names: str) -> float | None:
    return next((float(data[name]) for name in names if isinstance(data.get(name), int | float)), None)
