"""The value of every training prompt, and the draw of the next prompts (SPO, arXiv 2509.13232, sections 4.1, 4.3).

    tracker = ValueTracker.from_scores(totals, counts, SPOSettings())
    rows = tracker.draw(2048, generator)                    # int64, distinct, in the order of the draw
    baselines = tracker.values[rows]                        # before the update, so free of these rewards
    tracker.update(rows, rewards, rho)

A row is a prompt's index, 0 to n - 1. Its success probability has the distribution Beta(alpha, beta):

    v = alpha / (alpha + beta), N = alpha + beta                     value, and how many observations it is worth
    alpha = N_0 v_0, beta = N_0 (1 - v_0)                            at the start, equation 6
    alpha <- rho alpha + r, beta <- rho beta + 1 - r                 after a response with reward r, equation 5

For rewards other than 0 and 1 the paper has a moving average, v <- v + (r - v) / (rho N + 1) (equation 7). It is the
same update: alpha' + beta' = rho N + 1 = N', and alpha' / N' = (rho N v + r) / N' = (v (N' - 1) + r) / N'
= v + (r - v) / N'. (This holds for N = alpha + beta. The paper's text under equation 7 adds 1 to N, and then the two
are not equivalent.) Rewards below 0 or above 1 may move v out of [0, 1]; its weight is then that of the nearer end.

If a prompt occurs once per batch, N never exceeds the larger of N_0 and 1 / (1 - rho_max), since N' = rho N + 1.

N_0 = 1 / (1 - rho_min) = 8, but at most the number of the prompt's scores: a single score is not worth eight.

The reference code (verl-recipe, spo/spo_ray_trainer.py) deviates from the paper, and from this module:

* It starts from (successes + 0.5) / (8 + 1): it draws eight scores with `random.sample` if there are more, and counts
  missing scores as failures. The paper starts from the mean. We use all scores and count none as missing;
  `init: jeffreys` is the reference's formula, equal to it if a prompt has eight scores.
* It turns scores into `int(score > 0)`. We use them unchanged: whoever reads the values can threshold them.
* It draws from a generation batch of about 14,000 prompts with numpy's global generator. We draw from all prompts, with
  the stream's own generator.
* If a prompt is twice in a batch, it keeps the last response. We keep both, see `update`.
* It rounds alpha and beta to float32. We keep float64.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from spo_train.spo.settings import SPOSettings

LEAST_WEIGHT = 1e-300
"""Replaces a weight of 0: it is below every other weight, and dividing a draw by it does not overflow."""


@dataclass(eq=False, slots=True)
class ValueTracker:
    """The value of each prompt; `draw` and `update` are array operations over all prompts, or over a batch."""

    alpha: npt.NDArray[np.float64]
    beta: npt.NDArray[np.float64]
    visits: npt.NDArray[np.int64]
    """Responses seen since training began."""
    settings: SPOSettings

    @classmethod
    def from_scores(cls, totals: npt.ArrayLike, counts: npt.ArrayLike, settings: SPOSettings) -> Self:
        """Make a tracker from each prompt's offline scores: their total, and the number of valid ones.

        A prompt without a score gets the mean of the others' values (0.5 if no prompt has a score), and N = 1 instead
        of N_0, so that one observation outweighs the guess. `init: none` is 0.5 with N = 1 for every prompt. Raises
        ValueError if shapes differ or numbers are not finite.
        """
        total, count = np.asarray(totals, np.float64), np.asarray(counts, np.float64)
        if total.ndim != 1 or total.shape != count.shape:
            raise ValueError(
                f"totals of shape {total.shape} and counts of shape {count.shape}: the shapes must be equal"
            )
        if not np.isfinite(total).all() or not (np.isfinite(count) & (count >= 0)).all():
            raise ValueError("scores that are not finite, or counts below 0")
        scored = count > 0
        if settings.init == "none":
            scored = np.zeros_like(scored)
        value = np.full(len(total), 0.5)
        if scored.any():
            value[scored] = _choose_first_values(total[scored], count[scored], settings)
            value[~scored] = value[scored].mean()
        observations = np.where(scored, np.minimum(count, settings.initial_count), 1.0)
        return cls(observations * value, observations * (1 - value), np.zeros(len(total), np.int64), settings)

    def __len__(self) -> int:
        return len(self.alpha)

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """v, the baseline of each prompt."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def counts(self) -> npt.NDArray[np.float64]:
        """N, how many observations the value of each prompt is worth."""
        return self.alpha + self.beta

    def weights(self, exploration: float) -> npt.NDArray[np.float64]:
        """Return sqrt(v (1 - v)) + exploration, from the next reward's deviation (equation 11); 1 if not prioritised.

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
        """Draw exactly `batch_size` distinct rows, one after the other with probabilities in proportion to weight.

        `busy` marks rows in flight, which are never drawn. Rows of weight 0 are drawn only if no other row is left,
        with equal probability. Raises ValueError if the batch is larger than the free prompts.

        The method is an exponential race (Efraimidis & Spirakis 2006): each row gets an exponential time of rate w, and
        the earliest rows win. It takes one random number per prompt, busy or not, for any batch size, so the
        generator's state depends on nothing else.
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
        """Set alpha <- rho alpha + r, beta <- rho beta + 1 - r for one response of each row; one rho may serve all.

        A row that occurs several times in the batch forgets once, by the mean of its rhos, and then gains all rewards:
        alpha <- rho alpha + sum of r, beta <- rho beta + sum of (1 - r). Sequential updates would give the last
        response most weight; this result is independent of the order of the batch, to the bit.
        """
        row = np.asarray(rows, np.int64)
        reward, kept = (np.broadcast_to(np.asarray(each, np.float64), row.shape) for each in (rewards, rho))
        if not (np.isfinite(reward).all() and np.isfinite(kept).all()):
            raise ValueError("rewards or forgetting factors that are not finite")
        # Floating-point addition depends on the order, so duplicates are sorted before they are added.
        order = np.lexsort((kept, reward, row))
        unique, inverse, times = np.unique(row[order], return_inverse=True, return_counts=True)
        gained = np.bincount(inverse, reward[order], len(unique))
        missed = np.bincount(inverse, 1 - reward[order], len(unique))
        forget = np.bincount(inverse, kept[order], len(unique)) / times
        self.alpha[unique] = forget * self.alpha[unique] + gained
        self.beta[unique] = forget * self.beta[unique] + missed
        self.visits[unique] += times

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return copies of the arrays for a checkpoint; `restore` restores them to the bit."""
        return {"alpha": self.alpha.copy(), "beta": self.beta.copy(), "visits": self.visits.copy()}

    def restore(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `state()`; raises ValueError if it has another number of prompts."""
        alpha, beta = (np.array(state[name], np.float64) for name in ("alpha", "beta"))
        visits = np.array(state["visits"], np.int64)
        if not len(alpha) == len(beta) == len(visits) == len(self):
            raise ValueError(f"the checkpoint's tracker has {len(alpha):,} prompts, this run {len(self):,}")
        self.alpha, self.beta, self.visits = alpha, beta, visits


def _choose_first_values(
    total: npt.NDArray[np.float64], count: npt.NDArray[np.float64], settings: SPOSettings
) -> npt.NDArray[np.float64]:
    if settings.init == "mean":
        return total / count
    if settings.init == "jeffreys":
        return (total + 0.5) / (count + 1)
    return _shrink_to_prior(total, count)


def _shrink_to_prior(total: npt.NDArray[np.float64], count: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return (total + a) / (count + a + b), with Beta(a, b) fitted to the table's success probabilities.

    The fit is by moments. With m the prompts' means, mu their mean, h = mean(1 / count) and V the variance of the
    probabilities, Var(m) = V + (mu (1 - mu) - V) h, whose second term is sampling noise; a + b = mu (1 - mu) / V - 1.

    If the table does not determine the fit (fewer than two prompts, one score each, all right, all wrong, scores
    outside [0, 1]), the prior is Jeffreys', a = b = 0.5. If the means differ by no more than noise (V <= 0), every
    prompt gets mu. If they spread as widely as 0 and 1 (a + b <= 0), they are unchanged.
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
