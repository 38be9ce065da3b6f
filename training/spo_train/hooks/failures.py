"""Failures of grading and tools: counted in the workers where they happen, read in the trainer.

    failures.start()                       # in the trainer
    failures.count("grader_timeout")       # in a reward worker
    failures.take()                        # {"grader_timeout": 1}, and resets the counts
    failures.give_up("no sandbox")         # in an agent-loop worker
    failures.why_given_up()                # "no sandbox", in the trainer

verl's metric `rollout_failure/evicted_samples` counts all failures. These counts, taken once a step, split off those
that are not the model's, by verdict. A Ray actor of the training run's own job keeps them; without Ray nothing is kept.
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
    """Start the actor and return its handle; the actor lives as long as the handle."""
    return ray.remote(_Counter).options(name=NAME, num_cpus=0).remote()


def count(verdict: str) -> None:
    """Count one more failure."""
    if ray.is_initialized():
        ray.get_actor(NAME).add.remote(verdict)


def take() -> dict[str, int]:
    """Return the failures since the last call."""
    return dict(ray.get(ray.get_actor(NAME).take.remote()))


def give_up(reason: str) -> None:
    """Tell the trainer that training cannot continue."""
    if ray.is_initialized():
        ray.get_actor(NAME).give_up.remote(reason)


def why_given_up() -> str | None:
    """Return why training cannot continue; None if it can."""
    if not ray.is_initialized():
        return None
    return str(ray.get(ray.get_actor(NAME).given_up.remote())) or None
