"""What a training shows while it works, on stderr: a progress bar on a terminal, a line a step elsewhere."""

import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.table import Column

from spo_train.filenames import LATEST, LOG, METRICS
from spo_train.launch.steps import Step

RECENT = 10
"""Steps that the remaining time is estimated from."""


class TrainDisplay:
    """A `Watcher` for people."""

    def __init__(self, steps: int, *, baseline: bool) -> None:
        self._steps = steps
        self._with_baseline = baseline
        self._console = Console(file=sys.stderr, highlight=False, soft_wrap=True, emoji=False)
        self._bar: Bar | None = None
        self._last: Step | None = None
        self._validation: Step | None = None
        self._seconds: deque[float] = deque(maxlen=RECENT)
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def starting(self, out: Path) -> None:
        """Say where to look, and why nothing happens yet."""
        self._line(f"\nlogs      {out / LOG}, {out / METRICS}, tensorboard --logdir {out / 'tensorboard'}")
        self._line("starting verl; the first step comes in some minutes …")
        if self._console.is_terminal:
            self._bar = Bar(
                MofNCompleteColumn(table_column=Column(no_wrap=True, min_width=2 * len(str(self._steps)) + 1)),
                BarColumn(bar_width=16),
                TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=7)),
                TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
                console=self._console,
            )
            self._bar.add_task("starting", total=self._steps)
            self._bar.start()

    def stepped(self, step: Step) -> None:
        """Show a step."""
        self._last = step
        if step.validation is not None:
            self._validation = step
        if step.seconds is not None:
            self._seconds.append(step.seconds)
        if self._bar is None:
            self._line(f"step {step.step}/{self._steps} · {self._text(step)}")
        else:
            (task,) = self._bar.task_ids
            self._bar.update(task, completed=step.step, description=self._text(step))

    def waiting(self) -> None:
        """The bar moves by itself, and lines are for steps."""

    def ended(self, out: Path, checkpoints: Path) -> None:
        """Print the last metrics and where all of them are."""
        if self._last is None:
            self._line("no step was completed")
            return
        self._line(f"last      step {self._last.step} of {self._steps}: {self._text(self._last, left=False)}")
        self._line(f"metrics   {out / METRICS}, tensorboard --logdir {out / 'tensorboard'}")
        latest = checkpoints / LATEST
        if latest.exists():
            self._line(f"model     {checkpoints}/global_step_{latest.read_text().strip()}")

    def _text(self, step: Step, *, left: bool = True) -> str:
        parts = []
        if step.reward is not None:
            parts.append(f"reward {step.reward:.3f}")
        if self._with_baseline and step.baseline is not None:
            parts.append(f"baseline {step.baseline:.3f}")
        if step.seconds is not None:
            parts.append(f"{step.seconds:,.1f} s")
        if left and self._seconds and step.step < self._steps:
            parts.append(f"{_duration((self._steps - step.step) * sum(self._seconds) / len(self._seconds))} left")
        if self._validation is not None:
            at = "" if self._validation is step else f" at step {self._validation.step}"
            parts.append(f"validation {self._validation.validation:.3f}{at}")
        if step.response_tokens is not None:
            parts.append(f"{step.response_tokens:,.0f} tokens")
        return " · ".join(parts)

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False)


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min" if minutes else f"{left} s"
