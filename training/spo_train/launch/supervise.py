"""Runs and watches verl in a separate process.

    ended = launch(out, environment, watcher)         # until training ends, or a SIGINT, SIGTERM or SIGHUP arrives
    ended.status, ended.cause, ended.signal

All output of verl and Ray goes to `verl.log`; steps are read from `metrics.jsonl` and given to the watcher. Afterwards
no process is left: if a worker dies the training run ends, and a signal ends all of its processes.
"""

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spo_train.filenames import CONFIG, LOG, METRICS, PREPARATION
from spo_train.launch.cause import find_cause
from spo_train.launch.preparation import Preparation, PreparationFile
from spo_train.launch.process_tree import GRACE_SECONDS, ProcessTree
from spo_train.launch.steps import MetricsFile, Step

ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "HYDRA_FULL_ERROR": "1"}
POLL_SECONDS = 0.25
LOOKED_AT = 4 * 2**20
"""Bytes at the end of the log that are searched for the cause."""


class StepWatcher(Protocol):
    """Is called while training runs."""

    def on_step(self, step: Step) -> None:
        """A step has ended."""

    def on_preparation(self, preparation: Preparation) -> None:
        """The forward pass before the first step has got on."""

    def on_wait(self) -> None:
        """A poll has passed, with or without a step."""

    def on_stop(self, seconds: float) -> None:
        """A signal has arrived; all processes end, within these seconds or at the next signal."""


@dataclass(frozen=True)
class LaunchOutcome:
    """How a training run ended."""

    status: int
    """The exit status of `spo-train`: the child's, or 128 + n after signal n."""
    cause: str | None = None
    """Why it failed; None if it did not."""
    signal: int | None = None
    """The signal that `spo-train` received."""


def launch(
    out: Path,
    environment: Mapping[str, str],
    watcher: StepWatcher,
    command: Sequence[str] | None = None,
    grace: float = GRACE_SECONDS,
    last_step: int | None = None,
) -> LaunchOutcome:
    """Run `out/config.yaml` until it ends or a signal arrives; `command` replaces the training process.

    A training process that ends well before `last_step` has failed.
    """
    if command is None:
        command = (sys.executable, "-m", "spo_train.launch.child", str(out / CONFIG))
    log = out / LOG
    start = log.stat().st_size if log.exists() else 0
    _keep_earlier(out / METRICS)
    metrics, preparation, reached = MetricsFile(out / METRICS), PreparationFile(out / PREPARATION), 0
    with _catch_signals() as received, ProcessTree(grace, lambda: len(received) > 1) as family:
        child = family.start(command, {**ENVIRONMENT, **environment}, log)
        while child.poll() is None and not received:
            reached = max(reached, _report(metrics, watcher))
            if (further := preparation.read_new()) is not None:
                watcher.on_preparation(further)
            watcher.on_wait()
            time.sleep(POLL_SECONDS)
        if received:
            watcher.on_stop(grace)
    reached = max(reached, _report(metrics, watcher))
    if received:
        return LaunchOutcome(128 + received[0], signal=received[0])
    status = child.wait()
    if status != 0:
        return LaunchOutcome(_exit_status(status), _find_failure(log, start, status))
    if last_step is not None and reached < last_step:
        return LaunchOutcome(1, f"training ended without an error after step {reached:,} of {last_step:,}")
    return LaunchOutcome(0)


def _keep_earlier(path: Path) -> None:
    """Rename the file of an earlier launch to one with a number: verl empties the file that it logs to."""
    if path.exists() and path.stat().st_size:
        number = 1
        while (kept := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
            number += 1
        path.rename(kept)


def _report(metrics: MetricsFile, watcher: StepWatcher) -> int:
    """Report the new steps; returns the number of the last one, or 0."""
    last = 0
    for step in metrics.new_steps():
        watcher.on_step(step)
        last = step.step
    return last


@contextmanager
def _catch_signals() -> Iterator[list[int]]:
    """Collect the numbers of arriving signals, which have no other effect."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_status(status: int) -> int:
    """Return 1 for a child that a signal ended: 128 + n would mean a signal to this process."""
    return status if status > 0 else 1


def _find_failure(log: Path, start: int, status: int) -> str:
    with log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - LOOKED_AT))
        text = file.read().decode(errors="replace")
    found = find_cause(text)
    if found is not None:
        return found
    if status < 0:
        return f"the training process was killed by {signal.Signals(-status).name}"
    last = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it printed nothing")
    return f"the training process ended with exit status {status}: {last}"
