"""The advantage of each response: its reward against its prompt's value, normalised over the batch (section 4.2).

    compute_advantages([1, 0, 1], [0.9, 0.5, 0.2])      # array([-0.05..., -0.97..., 1.02...])
    share_below(rewards - baselines, 0.02)      # share of responses whose value predicted the reward

The baselines are the values before the tracker learns from these rewards (equation 8). Each response has one advantage,
shared by all its tokens. Mean and standard deviation (equation 9) are over the whole batch, not a group or micro-batch,
and over real responses only: callers must leave out padding rows. As in the reference code (and torch), the variance is
unbiased and 1e-8 is added to its root. If the root is 0, or NaN for a batch of one, the advantages here are 0.
"""

import numpy as np
import numpy.typing as npt

EPSILON = 1e-8


def compute_advantages(rewards: npt.ArrayLike, baselines: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return r - v, centred and divided by its standard deviation; zeros if it does not vary."""
    raw = np.asarray(rewards, np.float64) - np.asarray(baselines, np.float64)
    # The mean of equal numbers may differ from them in the last bit, so compare them.
    if raw.size < 2 or raw.min() == raw.max():
        return np.zeros(raw.shape)
    return np.asarray((raw - raw.mean()) / (raw.std(ddof=1) + EPSILON), np.float64)


def share_below(advantages: npt.ArrayLike, threshold: float) -> float:
    """Return the share of responses with |advantage| <= threshold; 0 for an empty batch.

    The paper's diagnostic (section 5.3, thresholds 1e-4 and 0.02) uses advantages before normalisation, r - v.
    """
    small = np.abs(np.asarray(advantages, np.float64)) <= threshold
    return int(small.sum()) / max(small.size, 1)
