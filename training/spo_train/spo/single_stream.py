"""The stream of single responses: it draws prompts, compares rewards with baselines, and learns from them.

    stream = SingleStream(prompt_ids, totals, counts, settings)
    draws = stream.draw(2048, policy=step)        # before sampling
    batch = stream.observe(uids, rewards)         # after sampling: baselines and advantages
    metrics = stream.learn(batch, divergences, tokens, policy=step)      # before the next draw

The state of a training run, apart from the model's, is the tracker, the memory of previous responses, the generator,
and the prompts in flight, each with the baseline and the policy version of its draw. `state()` returns all of it, and a
stream that restores it draws and learns exactly as this one would have.

A prompt in flight is not drawn again, so its value cannot change before its response arrives: its reward is compared
with the baseline of its draw. A draw's uid is `draw` and its number.

`method: grpo` and `no-baseline` take prompts from shuffled epochs instead, and have no baseline.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from spo_train.spo.advantage import compute_advantages
from spo_train.spo.divergence import forgetting_rate
from spo_train.spo.memory import ResponseMemory
from spo_train.spo.metrics import step_metrics
from spo_train.spo.settings import SPOSettings
from spo_train.spo.tracker import ValueTracker

UID = "draw"
"""The start of the uids of training prompts; those of validation start otherwise."""


@dataclass(frozen=True, slots=True)
class PromptDraw:
    """A prompt in flight."""

    number: int
    """Draws are numbered from 0 over the whole training run."""
    row: int
    baseline: float
    policy: int
    """The step whose policy was current at the draw."""

    @property
    def uid(self) -> str:
        """Its name in the replay buffer; verl splits keys at underscores and treats `pad…` as padding."""
        return f"{UID}{self.number}"


@dataclass(frozen=True, slots=True)
class Batch:
    """One number per response, in the order of the responses."""

    draws: tuple[PromptDraw, ...]
    rows: npt.NDArray[np.int64]
    baselines: npt.NDArray[np.float64]
    rewards: npt.NDArray[np.float64]
    advantages: npt.NDArray[np.float64]


def prompts_mark(prompt_ids: Sequence[str]) -> str:
    """Return SHA-256 over the prompts' ids, in their order; a state is of the prompts with its mark."""
    return hashlib.sha256("\n".join(prompt_ids).encode()).hexdigest()


class SingleStream:
    """Prompts in, advantages out; state between steps."""

    def __init__(
        self, prompt_ids: Sequence[str], totals: npt.ArrayLike, counts: npt.ArrayLike, settings: SPOSettings
    ) -> None:
        self.settings = settings
        self.tracker = ValueTracker.from_scores(totals, counts, settings)
        self.memory = ResponseMemory(len(prompt_ids), int(settings.memory_gib * (1 << 30)))
        self.in_flight: dict[str, PromptDraw] = {}
        self._prompts = prompts_mark(prompt_ids)
        self._generator = np.random.default_rng(settings.seed)
        self._epoch = np.empty(0, np.int64)
        """Rows of the current epoch that were not drawn yet."""
        self._drawn = 0
        self._responses, self._tokens = 0, 0
        """Responses learnt from so far, and their tokens."""

    def draw(self, size: int, policy: int) -> list[PromptDraw]:
        """Draw prompts that are not in flight; raises ValueError if there are fewer than `size`."""
        busy = np.zeros(len(self.tracker), np.bool_)
        busy[[draw.row for draw in self.in_flight.values()]] = True
        if self.settings.method == "spo":
            rows, baselines = self.tracker.draw(size, self._generator, busy), self.tracker.values
        else:
            rows, baselines = self._draw_from_epoch(size, busy), np.zeros(len(self.tracker))
        draws = []
        for row in rows.tolist():
            draws.append(PromptDraw(self._drawn, row, float(baselines[row]), policy))
            self._drawn += 1
        self.in_flight |= {draw.uid: draw for draw in draws}
        return draws

    def forget_lost(self, alive: set[str]) -> int:
        """Remove draws from flight that the replay buffer no longer has; returns their number."""
        lost = self.in_flight.keys() - alive
        for uid in lost:
            del self.in_flight[uid]
        return len(lost)

    def observe(self, uids: Sequence[str], rewards: npt.ArrayLike) -> Batch:
        """Compare rewards with the baselines of their draws, and take the prompts out of flight.

        A draw with several responses (a group) repeats its uid. Raises KeyError if a uid is not in flight.
        """
        draws = tuple(self.in_flight[uid] for uid in uids)
        for uid in set(uids):
            del self.in_flight[uid]
        reward = np.asarray(rewards, np.float64)
        baselines = np.array([draw.baseline for draw in draws], np.float64)
        rows = np.array([draw.row for draw in draws], np.int64)
        return Batch(draws, rows, baselines, reward, compute_advantages(reward, baselines))

    def learn(
        self, batch: Batch, divergences: npt.ArrayLike | None, tokens: npt.ArrayLike, policy: int
    ) -> dict[str, float]:
        """Update the tracker with the observed batch; returns the step's metrics.

        `divergences` has D for each response's prompt, NaN if unknown; it is None if the method has no values.
        `tokens` are the responses' lengths. `length_bias` divides their mean by that of all responses so far: it is
        below 1 for a batch of early finishers while longer responses are still being sampled.
        """
        lengths = np.asarray(tokens, np.int64)
        self._responses, self._tokens = self._responses + len(lengths), self._tokens + int(lengths.sum())
        stream_metrics = {"spo/in_flight": float(len(self.in_flight))}
        if batch.draws:
            stream_metrics["spo/policy_lag"] = float(np.mean([policy - draw.policy for draw in batch.draws]))
        if self._tokens:
            stream_metrics["spo/length_bias"] = float(lengths.mean()) * self._responses / self._tokens
        known: dict[str, Any] = {}
        if divergences is not None:
            factors = forgetting_rate(divergences, self.settings)
            known = {
                "counts": self.tracker.counts[batch.rows],
                "visits": self.tracker.visits[batch.rows],
                "divergences": divergences,
                "forgetting": factors,
            }
            self.tracker.update(batch.rows, batch.rewards, factors.rho)
            known["table"] = self.tracker.values
        measured = step_metrics(baselines=batch.baselines, rewards=batch.rewards, advantages=batch.advantages, **known)
        return measured | stream_metrics

    def unknown_divergences(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Return D for prompts without a stored response: 0 on a first visit, NaN if the memory dropped it."""
        return np.array([np.nan if self.memory.was_dropped(int(row)) else 0.0 for row in rows], np.float64)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return everything that the next step depends on, as arrays for one npz file."""
        parts = {"tracker": self.tracker.state(), "memory": self.memory.state()}
        arrays = {f"{part}.{name}": array for part, state in parts.items() for name, array in state.items()}
        rest = {
            "prompts": self._prompts,
            "generator": self._generator.bit_generator.state,
            "in_flight": [asdict(draw) for draw in self.in_flight.values()],
            "drawn": self._drawn,
            "responses": self._responses,
            "tokens": self._tokens,
        }
        return arrays | {"epoch": self._epoch.copy(), "rest": np.array(json.dumps(rest))}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `state()`; raises ValueError if it is of other prompts, or in another order."""
        rest = json.loads(str(state["rest"]))
        if rest["prompts"] != self._prompts:
            raise ValueError("the checkpoint was made with other training prompts")
        for part, target in (("tracker", self.tracker), ("memory", self.memory)):
            prefix = f"{part}."
            target.restore({name.removeprefix(prefix): state[name] for name in state if name.startswith(prefix)})
        self._generator.bit_generator.state = rest["generator"]
        draws = [PromptDraw(**draw) for draw in rest["in_flight"]]
        self.in_flight = {draw.uid: draw for draw in draws}
        self._epoch, self._drawn = np.array(state["epoch"], np.int64), int(rest["drawn"])
        self._responses, self._tokens = int(rest["responses"]), int(rest["tokens"])

    def _draw_from_epoch(self, size: int, busy: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Take the next rows of shuffled epochs; a row in flight keeps its place for later."""
        free = len(busy) - int(np.count_nonzero(busy))
        if size > free:
            raise ValueError(f"a batch of {size:,} prompts cannot be drawn: {free:,} are free")
        chosen: list[int] = []
        taken = busy.copy()
        while len(chosen) < size:
            if not len(self._epoch) or taken[self._epoch].all():
                self._epoch = np.concatenate([self._epoch, self._generator.permutation(len(busy))])
            free_rows = np.flatnonzero(~taken[self._epoch])
            _, first = np.unique(self._epoch[free_rows], return_index=True)
            places = free_rows[np.sort(first)][: size - len(chosen)]
            chosen += self._epoch[places].tolist()
            taken[self._epoch[places]] = True
            self._epoch = np.delete(self._epoch, places)
        return np.array(chosen, np.int64)
