"""The value of every training prompt, and which prompts come next (SPO, arXiv 2509.13232, sections 4.1, 4.3).

    tracker = ValueTracker.from_scores(totals, counts, SPOSettings())
    rows = tracker.draw(2048, generator)                    # int64, distinct, in the order of the draw
    baselines = tracker.values[rows]                        # before the update, so free of these rewards
    tracker.update(rows, rewards, rho)

A row is a prompt's index, 0 to n - 1. Its success probability has the distribution Beta(alpha, beta):

    v = alpha / (alpha + beta), N = alpha + beta                     value, and how many observations it is worth
    alpha = N_0 v_0, beta = N_0 (1 - v_0)                            at first, equation 6
    alpha <- rho alpha + r, beta <- rho beta + 1 - r                 after a response with reward r, equation 5

For rewards other than 0 and 1 the paper has a moving average, v <- v + (r - v) / (rho N + 1) (equation 7). It is the
same update: alpha' + beta' = rho N + 1 = N', and alpha' / N' = (rho N v + r) / N' = (v (N' - 1) + r) / N'
= v + (r - v) / N'. (It holds for N = alpha + beta; the paper's text under equation 7 adds 1 to that, which would not
be equivalent as it says.) Rewards below 0 or above 1 may move v out of [0, 1]; weights are those of the nearer end.

N never exceeds the larger of N_0 and 1 / (1 - rho_max) while a prompt comes once a batch, since N' = rho N + 1.

Where the reference code (verl-recipe, spo/spo_ray_trainer.py) deviates from the paper:

* It starts from (successes + 0.5) / (8 + 1), of eight scores drawn by `random.sample` where there are more, a missing
  one counted as a failure; the paper from the mean. We take all scores of a prompt and count no missing one;
  `init: jeffreys` is the reference's formula, equal to it where a prompt has eight scores.
* It makes scores `int(score > 0)`. We take them as they are: who reads the values may threshold them.
* It draws from a generation batch of about 14,000 prompts by numpy's global generator; we from all prompts, by ours.
* Of a prompt that is twice in a batch it keeps the last response; we keep both, see `update`.
* It keeps alpha and beta rounded to float32; we float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spo_train.spo.settings import SPOSettings

LEAST_WEIGHT = 1e-300
"""Stands for a weight of 0: below every other weight, and no draw divided by it overflows."""


@dataclass(eq=False, slots=True)
class ValueTracker:
    """What is known of each prompt. `draw` and `update` are array operations over all prompts, or over a batch."""

    alpha: npt.NDArray[np.float64]
    beta: npt.NDArray[np.float64]
    visits: npt.NDArray[np.int64]
    """Responses seen since training began."""
    settings: SPOSettings

    @classmethod
    def from_scores(cls, totals: npt.ArrayLike, counts: npt.ArrayLike, settings: SPOSettings) -> Self:
        """A tracker from each prompt's offline scores: their total, and how many are valid.

        A prompt without a score gets the mean of the others' values (0.5 where no prompt has a score), and N = 1 in
        place of N_0: one observation outweighs a guess. `init: none` is 0.5 with N = 1 for every prompt.
        """
        total, count = np.asarray(totals, np.float64), np.asarray(counts, np.float64)
        if total.ndim != 1 or total.shape != count.shape:
            raise ValueError(f"totals of shape {total.shape} and counts of shape {count.shape}: wanted one of each")
        if not np.isfinite(total).all() or not (np.isfinite(count) & (count >= 0)).all():
            raise ValueError("scores that are not finite, or counts below 0")
        scored = count > 0
        if settings.init == "none":
            scored = np.zeros_like(scored)
        value = np.full(len(total), 0.5)
        if scored.any():
            value[scored] = _first_values(total[scored], count[scored], settings)
            value[~scored] = value[scored].mean()
        observations = np.where(scored, settings.initial_count, 1.0)
        return cls(observations * value, observations * (1 - value), np.zeros(len(total), np.int64), settings)

    def __len__(self) -> int:
        return len(self.alpha)

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """v, every prompt's baseline."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def counts(self) -> npt.NDArray[np.float64]:
        """N, how many observations the value of each prompt is worth."""
        return self.alpha + self.beta

    def weights(self, exploration: float) -> npt.NDArray[np.float64]:
        """sqrt(v (1 - v)) + exploration, the standard deviation of the next reward (equation 11); 1 if not prioritised.

        A v outside [0, 1] counts as the nearer end.
        """
        if not self.settings.prioritised:
            return np.ones(len(self))
        weights = self.values
        np.clip(weights, 0, 1, out=weights)
        weights *= 1 - weights
        np.sqrt(weights, out=weights)
        weights += exploration
        return weights

    def draw(
        self, batch_size: int, generator: np.random.Generator, busy: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[np.int64]:
        """Exactly `batch_size` distinct rows, as drawn one after the other with probabilities in proportion to weight.

        `busy` marks rows in flight, which are never drawn. Rows of weight 0 are drawn only when no other is left, each
        of them as likely. A batch larger than the free prompts raises ValueError.

        An exponential race (Efraimidis & Spirakis 2006): exponential times of rate w, the first ones win. It takes one
        random number a prompt, busy or not, whatever the batch size, so the generator's state depends on nothing else.
        """
        free = len(self) if busy is None else len(self) - int(np.count_nonzero(busy))
        if not 0 <= batch_size <= free:
            raise ValueError(f"a batch of {batch_size:,} prompts cannot be drawn: {free:,} are free")
        times = generator.standard_exponential(len(self))
        weights = self.weights(self.settings.exploration)
        times /= np.maximum(weights, LEAST_WEIGHT, out=weights)
        if busy is not None:
            times[busy] = np.inf
        all_rows = batch_size == len(self)
        first = np.arange(len(self)) if all_rows else np.argpartition(times, batch_size)[:batch_size]
        return first[np.argsort(times[first])].astype(np.int64, copy=False)

    def update(self, rows: npt.ArrayLike, rewards: npt.ArrayLike, rho: npt.ArrayLike) -> None:
        """alpha <- rho alpha + r, beta <- rho beta + 1 - r, for one response of each row; rho may be one for all.

        A row that is several times in the batch forgets once, by the mean of its rhos, and then gains all its rewards:
        alpha <- rho alpha + sum of r, beta <- rho beta + sum of (1 - r). One update after the other would give the
        last response most weight, so that the result depended on the order of the batch. Here it does not, to the bit.
        """
        row = np.asarray(rows, np.int64)
        reward, kept = (np.broadcast_to(np.asarray(each, np.float64), row.shape) for each in (rewards, rho))
        if not (np.isfinite(reward).all() and np.isfinite(kept).all()):
            raise ValueError("rewards or forgetting factors that are not finite")
        # Floating-point addition depends on the order, so duplicates are added in one that is their own.
        order = np.lexsort((kept, reward, row))
        unique, inverse, times = np.unique(row[order], return_inverse=True, return_counts=True)
        gained = np.bincount(inverse, reward[order], len(unique))
        missed = np.bincount(inverse, 1 - reward[order], len(unique))
        forget = np.bincount(inverse, kept[order], len(unique)) / times
        self.alpha[unique] = forget * self.alpha[unique] + gained
        self.beta[unique] = forget * self.beta[unique] + missed
        self.visits[unique] += times

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Copies of the arrays, for a checkpoint; `restore` brings them back to the bit."""
        return {"alpha": self.alpha.copy(), "beta": self.beta.copy(), "visits": self.visits.copy()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `state()`; one of another number of prompts raises ValueError."""
        alpha, beta = (np.array(state[name], np.float64) for name in ("alpha", "beta"))
        visits = np.array(state["visits"], np.int64)
        if not len(alpha) == len(beta) == len(visits) == len(self):
            raise ValueError(f"the checkpoint's tracker has {len(alpha):,} prompts, this run {len(self):,}")
        self.alpha, self.beta, self.visits = alpha, beta, visits


def _first_values(
    total: npt.NDArray[np.float64], count: npt.NDArray[np.float64], settings: SPOSettings
) -> npt.NDArray[np.float64]:
    if settings.init == "mean":
        return total / count
    if settings.init == "jeffreys":
        return (total + 0.5) / (count + 1)
    return _empirical_bayes(total, count)


def _empirical_bayes(total: npt.NDArray[np.float64], count: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(total + a) / (count + a + b), where Beta(a, b) is how the table's success probabilities spread.

    By moments: with m the prompts' means, their mean mu, h = mean(1 / count) and V the probabilities' variance,
    Var(m) = V + (mu (1 - mu) - V) h, the second term being the noise of few samples. a + b = mu (1 - mu) / V - 1.

    Where the table cannot say how they spread (fewer than two prompts, one score each, all right, all wrong, scores
    beyond [0, 1]) the prior is Jeffreys', a = b = 0.5. Means that differ by no more than noise (V <= 0) give every
    prompt mu; means that differ as 0 and 1 do (a + b <= 0) stay as they are.
    """
    means = total / count
    mean, noise = float(means.mean()), float((1 / count).mean())
    bernoulli = mean * (1 - mean)
    if len(means) < 2 or noise >= 1 or bernoulli <= 0:
        return (total + 0.5) / (count + 1)
    variance = (float(means.var(ddof=1)) - bernoulli * noise) / (1 - noise)
    if variance <= 0:
        return np.full(len(means), mean)
    strength = max(bernoulli / variance - 1, 0.0)
    return (total + strength * mean) / (count + strength)
