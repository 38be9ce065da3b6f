"""A prompt's value from its samples: the mean score, and what we do not know of it.

    estimate_value([Graded(...), ...], n_undrawn=0)

value       mean score over the valid samples (those whose verdict is an observation of the policy)
value_low   every truncated, ungraded or undrawable sample counted wrong
value_high  every such sample counted right

A truncated response scores 0 in training, so it is in `value` as 0; it may have become right with more tokens, so it
spreads the bounds. A prompt of which one sample found the ground truth unparseable has no value, and no sample of it is
valid: a truncated one was not wrong about it either.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from spo_data.grading.verdict import Verdict


@dataclass(frozen=True, slots=True)
class PromptValue:
    """The value columns of one prompt. `value` is None where there is no valid sample."""

    vhat: tuple[float, ...]
    """Scores of the valid samples, by sample index."""
    value: float | None
    value_low: float | None
    value_high: float | None
    n: int
    """Samples that were asked for and came to an end, one way or another."""
    n_valid: int
    n_correct: int
    n_truncated: int
    n_no_answer: int
    n_failed: int
    """Samples that we failed to draw or to grade: n - n_valid."""


def estimate_value(samples: Iterable[tuple[Verdict, float | None]], n_undrawn: int = 0) -> PromptValue:
    """The value of one prompt from its (verdict, score) pairs in sample order, and how many could not be drawn."""
    pairs = list(samples)
    verdicts = [verdict for verdict, _ in pairs]
    bad_gold = Verdict.GOLD_UNPARSEABLE in verdicts
    vhat = tuple(score for verdict, score in pairs if verdict.is_observation and score is not None and not bad_gold)
    n, n_truncated = len(pairs) + n_undrawn, verdicts.count(Verdict.TRUNCATED)
    n_failed = n - len(vhat)
    total = sum(vhat)
    return PromptValue(
        vhat=vhat,
        value=total / len(vhat) if vhat else None,
        value_low=total / n if n else None,
        value_high=(total + (0 if bad_gold else n_truncated) + n_failed) / n if n else None,
        n=n,
        n_valid=len(vhat),
        n_correct=verdicts.count(Verdict.CORRECT),
        n_truncated=n_truncated,
        n_no_answer=verdicts.count(Verdict.NO_ANSWER),
        n_failed=n_failed,
    )
