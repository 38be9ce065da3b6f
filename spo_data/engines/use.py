"""What an engine reports about its own work: how full its KV cache is, and which work it lost.

    use = use_of(engine)       # None for an engine that reports nothing
    use.preemptions, use.kv_mean

An engine that runs out of KV cache preempts a request: it drops the keys and values of the request's tokens, and
computes them again later. The response stays the same, but the work is lost, and nothing else shows it.
"""

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class EngineUse:
    """Totals since an engine started."""

    preemptions: int
    """How often a request was preempted."""
    preempted_tokens: int
    """Tokens, prompts included, whose keys and values were dropped: they are computed again, except those that the
    prefix cache still has."""
    kv_now: float
    """The share of the KV cache that is in use, from 0 to 1: the mean over the engine's replicas."""
    kv_mean: float
    """The same share, as the mean over all steps."""
    runner: str | None = None
    """The program that draws from the model's probabilities; another one draws other tokens for the same seed."""


@runtime_checkable
class ReportsUse(Protocol):
    """An engine that reports its use."""

    @property
    def use(self) -> EngineUse | None: ...


def use_of(engine: object) -> EngineUse | None:
    """Return what an engine reports, or None; no engine has to report anything."""
    return engine.use if isinstance(engine, ReportsUse) else None


@dataclass(slots=True)
class UseMeter:
    """Adds up what an engine reports."""

    _preemptions: int = 0
    _preempted_tokens: int = 0
    _kv_sum: float = 0.0
    _steps: int = 0
    _kv_now: dict[int, float] = field(default_factory=dict)

    def add_step(self, replica: int, kv_use: float) -> None:
        """Add a step of one replica, after which this share of its KV cache is in use."""
        self._kv_now[replica] = kv_use
        self._kv_sum += kv_use
        self._steps += 1

    def add_preemption(self, tokens: int) -> None:
        """Add the preemption of a request that had so many tokens."""
        self._preemptions += 1
        self._preempted_tokens += tokens

    def read(self, runner: str | None = None) -> EngineUse:
        """Return the totals so far."""
        return EngineUse(
            preemptions=self._preemptions,
            preempted_tokens=self._preempted_tokens,
            kv_now=sum(self._kv_now.values()) / max(1, len(self._kv_now)),
            kv_mean=self._kv_sum / max(1, self._steps),
            runner=runner,
        )
