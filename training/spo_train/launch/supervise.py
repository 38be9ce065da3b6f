"""verl in a process of its own, watched from here.

    ended = launch(out, environment, watcher)         # until the training ends, or SIGINT or SIGTERM arrives
    ended.status, ended.cause, ended.signal

All that verl and Ray print goes to `verl.log`; steps are read from `metrics.jsonl` and given to the watcher. However it
ends, none of its processes is left: a worker that died takes the training with it, and a signal ends all of it.
"""

import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from spo_train.filenames import CONFIG, LOG, METRICS
from spo_train.launch.cause import find_cause
from spo_train.launch.process_tree import GRACE_SECONDS, ProcessTree
from spo_train.launch.steps import MetricsFile, Step

ENVIRONMENT = {"PYTHONUNBUFFERED": "1", "HYDRA_FULL_ERROR": "1"}
POLL_SECONDS = 0.25
LOOKED_AT = 4 * 2**20
"""Bytes at the end of the log that the cause is looked for in."""


class StepWatcher(Protocol):
    """Is told what happens."""

    def stepped(self, step: Step) -> None:
        """A step has ended."""

    def waiting(self) -> None:
        """Some time has passed."""


@dataclass(frozen=True)
class LaunchOutcome:
    """How a training ended."""

    status: int
    """The exit status to give: the child's, or 128 + n after signal n."""
    cause: str | None = None
    """Why, where it failed."""
    signal: int | None = None
    """The signal that we were sent."""


def launch(
    out: Path,
    environment: Mapping[str, str],
    watcher: StepWatcher,
    command: Sequence[str] | None = None,
    grace: float = GRACE_SECONDS,
) -> LaunchOutcome:
    """Run `out/config.yaml`; `command` is another one in its place."""
    if command is None:
        command = (sys.executable, "-m", "spo_train.launch.child", str(out / CONFIG))
    log = out / LOG
    start = log.stat().st_size if log.exists() else 0
    _keep_earlier(out / METRICS)
    metrics = MetricsFile(out / METRICS)
    with _signals() as received, ProcessTree(grace) as family:
        child = family.start(command, {**ENVIRONMENT, **environment}, log)
        while child.poll() is None and not received:
            _report(metrics, watcher)
            watcher.waiting()
            time.sleep(POLL_SECONDS)
    _report(metrics, watcher)
    if received:
        return LaunchOutcome(128 + received[0], signal=received[0])
    status = child.wait()
    return LaunchOutcome(0) if status == 0 else LaunchOutcome(_exit_status(status), _cause(log, start, status))


def _keep_earlier(path: Path) -> None:
    """verl empties the file that it logs to: what an earlier call wrote gets a number."""
    if path.exists() and path.stat().st_size:
        number = 1
        while (kept := path.with_name(f"{path.stem}.{number}{path.suffix}")).exists():
            number += 1
        path.rename(kept)


def _report(metrics: MetricsFile, watcher: StepWatcher) -> None:
    for step in metrics.new_steps():
        watcher.stepped(step)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The numbers of the signals that arrive, in place of what they would do."""
    received: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit_status(status: int) -> int:
    """A child that a signal ended has failed: its death is not ours."""
    return status if status > 0 else 1


def _cause(log: Path, start: int, status: int) -> str:
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
