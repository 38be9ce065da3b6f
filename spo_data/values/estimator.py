"""Estimate a prompt's value from its samples: the mean score, and bounds for what is unknown.

    estimate_value([(Verdict.CORRECT, 1.0), (Verdict.TRUNCATED, 0.0)], n_undrawn=1)

value       mean score over the valid samples (those whose verdict is an observation of the policy)
value_low   every truncated, ungraded or undrawable sample counted wrong
value_high  every such sample counted right

A truncated response counts in `value` with its score, which is 0 unless truncated responses are graded. With more
tokens it might have been right, or wrong, so it widens the bounds either way. If any sample has the verdict
`gold_unparseable`, the prompt has no value and none of its samples is valid, not even a truncated one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from spo_data.grading.verdict import Verdict


@dataclass(frozen=True, slots=True)
class PromptValue:
    """The value columns of one prompt. `value` is None if there is no valid sample."""

    vhat: tuple[float, ...]
    """Scores of the valid samples, by sample index."""
    value: float | None
    value_low: float | None
    value_high: float | None
    n: int
    """Samples that were requested and have finished or failed."""
    n_valid: int
    n_correct: int
    n_truncated: int
    n_no_answer: int
    n_failed: int
    """Samples that we failed to draw or to grade: n - n_valid."""


def estimate_value(samples: Iterable[tuple[Verdict, float | None]], n_undrawn: int = 0) -> PromptValue:
    """The value of a prompt from its (verdict, score) pairs, in sample order, and the number of undrawn samples."""
    pairs = list(samples)
    verdicts = [verdict for verdict, _ in pairs]
    bad_gold = Verdict.GOLD_UNPARSEABLE in verdicts
    vhat = tuple(score for verdict, score in pairs if verdict.is_observation and score is not None and not bad_gold)
    n, n_truncated = len(pairs) + n_undrawn, verdicts.count(Verdict.TRUNCATED)
    n_failed = n - len(vhat)
    total = sum(vhat)
    cut = 0.0 if bad_gold else sum(score or 0.0 for verdict, score in pairs if verdict is Verdict.TRUNCATED)
    return PromptValue(
        vhat=vhat,
        value=total / len(vhat) if vhat else None,
        value_low=(total - cut) / n if n else None,
        value_high=(total - cut + (0 if bad_gold else n_truncated) + n_failed) / n if n else None,
        n=n,
        n_valid=len(vhat),
        n_correct=verdicts.count(Verdict.CORRECT),
        n_truncated=n_truncated,
        n_no_answer=verdicts.count(Verdict.NO_ANSWER),
        n_failed=n_failed,
    )
