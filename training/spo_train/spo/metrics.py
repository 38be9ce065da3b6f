"""The metrics of a training step, all under `spo/`.

    step_metrics(baselines=v, rewards=r, advantages=a, counts=n, visits=k, table=tracker.values)

Mean of: baseline, reward, N_eff, visits, D, rho. Of the advantage r - v before it is normalised, as in the paper's
section 5.3: mean, standard deviation (to compare with the reward's) and the shares near 0. Of the normalised one, whose
mean is 0 and deviation 1: quantiles. `brier` is the mean of (v - r)^2: how well the values are calibrated.

verl averages metrics over steps by their name: one that contains max, min, sum or total anywhere is not averaged, so
none does. What there is no number for (no divergence was measured, no D is known) is left out, never NaN.
"""

import math

import numpy as np
import numpy.typing as npt

from spo_train.spo.advantage import share_below
from spo_train.spo.divergence import Forgetting

QUANTILES = (10, 30, 50, 70, 90)
NEAR_ZERO = ("0.02", "1e-4")
VALUE_BINS = 5


def step_metrics(
    *,
    baselines: npt.ArrayLike,
    rewards: npt.ArrayLike,
    advantages: npt.ArrayLike,
    counts: npt.ArrayLike | None = None,
    visits: npt.ArrayLike | None = None,
    divergences: npt.ArrayLike | None = None,
    forgetting: Forgetting | None = None,
    table: npt.ArrayLike | None = None,
) -> dict[str, float]:
    """A step's metrics from one number a response, and the table of all values.

    `advantages` are the normalised ones; `counts` (N_eff) and `visits` are those before the update, so a first visit
    has 0; of `divergences` NaN is unknown. Parts that are None have no metrics.
    """
    baseline, reward, normalised = (np.asarray(each, np.float64) for each in (baselines, rewards, advantages))
    raw = reward - baseline
    metrics = {
        "spo/baseline": _mean(baseline),
        "spo/reward": _mean(reward),
        "spo/reward/std": _deviation(reward),
        "spo/advantage/mean": _mean(raw),
        "spo/advantage/std": _deviation(raw),
        "spo/brier": _mean(raw**2),
    }
    if normalised.size:
        cuts = np.percentile(normalised, QUANTILES)
        metrics |= {f"spo/advantage/p{q}": float(cut) for q, cut in zip(QUANTILES, cuts, strict=True)}
        metrics |= {f"spo/advantage/within_{near}": share_below(raw, float(near)) for near in NEAR_ZERO}
    metrics |= _draws(baseline)
    if counts is not None:
        metrics["spo/n_eff"] = _mean(np.asarray(counts, np.float64))
    if visits is not None:
        earlier = np.asarray(visits, np.float64)
        metrics |= {"spo/visits": _mean(earlier), "spo/first_visits": _mean(earlier == 0)}
    if divergences is not None:
        distance = np.asarray(divergences, np.float64)
        unknown = np.isnan(distance)
        metrics |= {"spo/divergence": _mean(distance[~unknown]), "spo/divergence/unknown": _mean(unknown)}
    if forgetting is not None:
        metrics |= {
            "spo/rho": _mean(forgetting.rho),
            "spo/rho/clipped_low": forgetting.clipped_low,
            "spo/rho/clipped_high": forgetting.clipped_high,
        }
    if table is not None:
        metrics["spo/table/value"] = _mean(np.asarray(table, np.float64))
    return {name: value for name, value in metrics.items() if not math.isnan(value)}


def _draws(baseline: npt.NDArray[np.float64]) -> dict[str, float]:
    """Share of the batch by value, in fifths; the last one has 1 in it, and values beyond [0, 1] are at the ends."""
    shares = _bins(baseline) / max(baseline.size, 1)
    return {f"spo/draws/{i / VALUE_BINS:.1f}-{(i + 1) / VALUE_BINS:.1f}": float(shares[i]) for i in range(VALUE_BINS)}


def _bins(baseline: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    edges = np.arange(1, VALUE_BINS) / VALUE_BINS
    return np.bincount(np.searchsorted(edges, baseline, side="right"), minlength=VALUE_BINS)


def _mean(numbers: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> float:
    return float(numbers.mean()) if numbers.size else math.nan


def _deviation(numbers: npt.NDArray[np.float64]) -> float:
    return float(numbers.std(ddof=1)) if numbers.size > 1 else math.nan
