"""The advantage of each response: its reward against its prompt's value, normalised over the batch (section 4.2).

    compute_advantages([1, 0, 1], [0.9, 0.5, 0.2])      # array([-0.05..., -0.97..., 1.02...])
    share_below(rewards - baselines, 0.02)      # responses whose reward was known before

The baselines are the values before the tracker learnt of these rewards (equation 8). One number a response, which holds
for each of its tokens. Mean and standard deviation (equation 9) are of the whole batch, not of a group or a
micro-batch, and of real responses only: rows that pad the batch must not be among them. As in the reference code (and
torch), the variance is the unbiased one and 1e-8 is added to its root; we differ from it where that root is 0 or, for a
batch of one, NaN: the advantages are 0.
"""

import numpy as np
import numpy.typing as npt

EPSILON = 1e-8


def compute_advantages(rewards: npt.ArrayLike, baselines: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(r - v), centred and divided by its standard deviation; zeros where it does not vary."""
    raw = np.asarray(rewards, np.float64) - np.asarray(baselines, np.float64)
    # Equal numbers have a mean that may differ from them in the last bit, so they are compared, not subtracted.
    if raw.size < 2 or raw.min() == raw.max():
        return np.zeros(raw.shape)
    return np.asarray((raw - raw.mean()) / (raw.std(ddof=1) + EPSILON), np.float64)


def share_below(advantages: npt.ArrayLike, threshold: float) -> float:
    """Share of the responses with |advantage| <= threshold; 0 where there is none.

    The paper's diagnostic (section 5.3, thresholds 1e-4 and 0.02) is of advantages that are not normalised, r - v.
    """
    small = np.abs(np.asarray(advantages, np.float64)) <= threshold
    return int(small.sum()) / max(small.size, 1)
