"""Our failures: said in the workers where they happen, read in the trainer.

    failures.start()                       # in the trainer
    failures.count("grader_timeout")       # in a reward worker
    failures.take()                        # {"grader_timeout": 1}, and from 0 again
    failures.give_up("no sandbox")         # in an agent-loop worker: failures.given_up() says so in the trainer

verl has the metric `rollout_failure/evicted_samples` for whatever failed; the counts, taken once a step, say what our
part in it was, by verdict. Both are kept by a Ray actor of the training's own job; without Ray nothing is.
"""

from collections import Counter
from typing import Any

import ray

NAME = "spo_failures"


class _Counter:
    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._given_up = ""

    def add(self, verdict: str) -> None:
        self._counts[verdict] += 1

    def take(self) -> dict[str, int]:
        counts, self._counts = dict(self._counts), Counter()
        return counts

    def give_up(self, reason: str) -> None:
        self._given_up = self._given_up or reason

    def given_up(self) -> str:
        return self._given_up


def start() -> Any:
    """Start the actor; it lives as long as the caller keeps what this returns."""
    return ray.remote(_Counter).options(name=NAME, num_cpus=0).remote()


def count(verdict: str) -> None:
    """One more failure."""
    if ray.is_initialized():
        ray.get_actor(NAME).add.remote(verdict)


def take() -> dict[str, int]:
    """The failures since the last call."""
    return dict(ray.get(ray.get_actor(NAME).take.remote()))


def give_up(reason: str) -> None:
    """Say that the training cannot go on."""
    if ray.is_initialized():
        ray.get_actor(NAME).give_up.remote(reason)


def why_given_up() -> str | None:
    """Why the training cannot go on, where somebody said so."""
    if not ray.is_initialized():
        return None
    return str(ray.get(ray.get_actor(NAME).given_up.remote())) or None
