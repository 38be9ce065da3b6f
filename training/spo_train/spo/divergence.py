"""How far the policy has moved since it last acted on a prompt, and how much to forget (SPO, section 4.1).

    d = measure_divergence(old, new, "abs")    # one response: log-probs of its model tokens under both policies
    forgetting_rate([d, math.nan, 0.0], settings).rho     # array([..., 0.875, 0.96])

`old` are the log-probs under the policy that sampled the response, `new` under the policy that just acted, both from
the trainer's own forward pass. D is a mean over the response's tokens after masking (tool output, padding); a response
without model tokens has D = 0. With x = new - old, for tokens that the old policy sampled:

    abs   mean |x|                  the reference's; not a KL divergence, it reacts to movement in both directions
    k1    max(0, mean -x)           unbiased for KL(old || new) per token before the clamp, which D needs
    k3    mean (exp(x) - 1 - x)     unbiased for KL(old || new) per token, never below 0 (Schulman, "Approximating KL")

The paper: rho = 2^(-D / D_half) in [rho_min, rho_max]. Its D is the KL divergence; it gives neither the estimator nor
D_half. The defaults are the reference code's `abs` and 0.06. If that code deviates from the paper, we follow the paper:

* The reference measures after the actor's update. Algorithm 1 measures before it: `new` is the policy that acted.
* The reference gives a prompt's first visit D = 0, so rho_max, as `first_visit: none` does. By default a response of
  the estimate stands for the previous one.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from spo_train.spo.settings import Divergence, SPOSettings

GREATEST_LOG_RATIO = 20.0
"""k3 clips x to this: exp(x) would overflow, and D is already far beyond rho's clips."""


@dataclass(frozen=True, slots=True)
class Forgetting:
    """The forgetting factors of a batch."""

    rho: npt.NDArray[np.float64]
    clipped_low: float
    """Share of the batch that would have forgotten more: 2^(-D / D_half) < rho_min. Unknown D is in neither share."""
    clipped_high: float
    """Share of the batch that would have forgotten less: 2^(-D / D_half) > rho_max."""


def measure_divergence(old: npt.ArrayLike, new: npt.ArrayLike, estimator: Divergence) -> float:
    """Return D of one response from its model tokens' log-probs; NaN only if a log-prob is NaN."""
    before, after = np.asarray(old, np.float64), np.asarray(new, np.float64)
    if before.shape != after.shape or before.ndim != 1:
        raise ValueError(f"log-probs of shapes {before.shape} and {after.shape}: wanted one per token in both")
    if not len(before):
        return 0.0
    change = after - before
    if estimator == "abs":
        return float(np.abs(change).mean())
    if estimator == "k1":
        return float(np.maximum(-change.mean(), 0.0))
    change = np.minimum(change, GREATEST_LOG_RATIO)
    return float((np.expm1(change) - change).mean())


def forgetting_rate(divergences: npt.ArrayLike, settings: SPOSettings) -> Forgetting:
    """Return rho for each response's D; NaN (the previous response was dropped, so is old) gives rho_min.

    `fixed_rho` applies to all, for any D, and nothing is clipped.
    """
    distance = np.asarray(divergences, np.float64)
    if settings.fixed_rho is not None:
        return Forgetting(np.full(distance.shape, settings.fixed_rho), 0.0, 0.0)
    rho = np.exp2(-distance / settings.half_divergence)
    low, high = rho < settings.rho_min, rho > settings.rho_max
    clipped = np.where(np.isnan(rho), settings.rho_min, rho.clip(settings.rho_min, settings.rho_max))
    size = max(distance.size, 1)
    return Forgetting(clipped, int(low.sum()) / size, int(high.sum()) / size)
