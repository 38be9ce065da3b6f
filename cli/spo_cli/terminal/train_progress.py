"""What a training run shows while it works, on stderr: a progress bar on a terminal, one line per step elsewhere."""

import sys
from collections import deque
from pathlib import Path

from spo_cli.terminal.display import Display
from spo_train.checkpoints import read_latest
from spo_train.filenames import LOG, METRICS
from spo_train.launch.preparation import Preparation
from spo_train.launch.steps import Step

RECENT = 10
"""How many of the last steps the remaining time is estimated from."""


class TrainDisplay(Display):
    """A `StepWatcher` for people."""

    def __init__(self, steps: int, *, baseline: bool) -> None:
        super().__init__(sys.stderr)
        self._steps = steps
        self._with_baseline = baseline
        self._last: Step | None = None
        self._validation: Step | None = None
        self._seconds: deque[float] = deque(maxlen=RECENT)

    def on_start(self, out: Path) -> None:
        """Print where the logs are, and that the first step takes minutes."""
        self._print_line(f"\nlogs      {out / LOG}, {out / METRICS}, tensorboard --logdir {out / 'tensorboard'}")
        self._print_line("starting verl; the first step takes a few minutes …")
        if self._console.is_terminal:
            self._start_bar("starting", self._steps)

    def on_step(self, step: Step) -> None:
        """Show a step."""
        self._last = step
        if step.validation is not None:
            self._validation = step
        if step.seconds is not None:
            self._seconds.append(step.seconds)
        if self._bar is None:
            self._print_line(f"step {step.step}/{self._steps} · {self._describe(step)}")
        else:
            self._move_bar(step.step, self._describe(step))

    def on_preparation(self, preparation: Preparation) -> None:
        """Show how far the forward pass before the first step is."""
        left = preparation.seconds_left
        said = f"first visits: {preparation.done:,} of {preparation.total:,} responses"
        if preparation.done >= preparation.total:
            said += "; the first step begins …"
        elif left:
            said += f" · {_format_duration(left)} left"
        if self._bar is None:
            self._print_line(said)
        else:
            self._move_bar(0, said)

    def on_wait(self) -> None:
        """Do nothing: the bar moves by itself, and a line is printed when a step ends."""

    def on_stop(self, seconds: float) -> None:
        """Say what a stopped training run waits for."""
        self._stop_bar()
        self._print_line(f"stopping: waiting up to {seconds:g} s for verl's processes to end; Ctrl-C again kills them")

    def on_end(self, out: Path, checkpoints: Path) -> None:
        """Print the last metrics, and where all metrics and the model are."""
        if self._last is None:
            self._print_line("no step was completed")
            return
        self._print_line(f"last      step {self._last.step} of {self._steps}: {self._describe(self._last, left=False)}")
        self._print_line(f"metrics   {out / METRICS}, tensorboard --logdir {out / 'tensorboard'}")
        if (latest := read_latest(checkpoints)) is not None:
            self._print_line(f"model     {checkpoints}/global_step_{latest}")

    def _describe(self, step: Step, *, left: bool = True) -> str:
        parts = []
        if step.reward is not None:
            parts.append(f"reward {step.reward:.3f}")
        if self._with_baseline and step.baseline is not None:
            parts.append(f"baseline {step.baseline:.3f}")
        if step.seconds is not None:
            parts.append(f"{step.seconds:,.1f} s")
        if left and self._seconds and step.step < self._steps:
            parts.append(
                f"{_format_duration((self._steps - step.step) * sum(self._seconds) / len(self._seconds))} left"
            )
        if self._validation is not None:
            at = "" if self._validation is step else f" at step {self._validation.step}"
            parts.append(f"validation {self._validation.validation:.3f}{at}")
        if step.response_tokens is not None:
            parts.append(f"{step.response_tokens:,.0f} tokens")
        return " · ".join(parts)


def _format_duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min" if minutes else f"{left} s"
