"""The metrics of a training step, all under `spo/`.

    step_metrics(baselines=v, rewards=r, advantages=a, counts=n, visits=k, table=tracker.values)

Baseline, reward, N_eff, visits, D and rho have means. The advantage before normalisation, r - v, has a mean, a standard
deviation (to compare with the reward's) and shares near 0, as in the paper's section 5.3. The normalised advantage,
whose mean is 0 and deviation 1, has quantiles. `brier` is the mean of (v - r)^2: how well the values are calibrated.

verl averages metrics over steps unless the name contains max, min, sum or total, so no name does. A metric without a
number (no divergence was measured, no D is known) is left out, never NaN.
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
    """Return a step's metrics from one number per response, and the table of all values.

    `advantages` are normalised. `counts` (N_eff) and `visits` are from before the update, so a first visit has 0. NaN
    in `divergences` means unknown. Arguments that are None give no metrics.
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
    """Return the share of the batch in each fifth of [0, 1] by value; values outside count in the nearer end."""
    shares = _bins(baseline) / max(baseline.size, 1)
    return {f"spo/draws/{i / VALUE_BINS:.1f}-{(i + 1) / VALUE_BINS:.1f}": float(shares[i]) for i in range(VALUE_BINS)}


def _bins(baseline: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    edges = np.arange(1, VALUE_BINS) / VALUE_BINS
    return np.bincount(np.searchsorted(edges, baseline, side="right"), minlength=VALUE_BINS)


def _mean(numbers: npt.NDArray[np.float64] | npt.NDArray[np.bool_]) -> float:
    return float(numbers.mean()) if numbers.size else math.nan


def _deviation(numbers: npt.NDArray[np.float64]) -> float:
    return float(numbers.std(ddof=1)) if numbers.size > 1 else math.nan
