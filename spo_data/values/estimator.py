"""Estimate a prompt's value from its samples: the mean score, and bounds for what is unknown.

    estimate_value([(Verdict.CORRECT, 1.0), (Verdict.TRUNCATED, 0.0)], failures=1)

value       mean score over the valid samples (those whose verdict is an observation of the policy)
value_low   every sample that is truncated, failed or not drawn yet counted wrong
value_high  every such sample counted right

A sample that was tried and failed for us is out of the value. A sample that is not drawn yet is another thing: right
answers are often shorter and end first, so the mean of a prompt's first samples is too high. A prompt that lacks one is
unfinished and has no value.

A truncated response counts in `value` with its score, which is 0 unless truncated responses are graded. With more
tokens it might have been right, or wrong, so it widens the bounds either way. If any sample has the verdict
`gold_unparseable`, the prompt has no value and none of its samples is valid, not even a truncated one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from spo_data.grading.verdict import Verdict


@dataclass(frozen=True, slots=True)
class PromptValue:
    """The value columns of one prompt. `value` is None if a sample is not drawn yet, or none is valid."""

    vhat: tuple[float, ...]
    """Scores of the valid samples, by sample index."""
    value: float | None
    value_low: float | None
    value_high: float | None
    n: int
    """Samples that were asked for."""
    n_valid: int
    n_correct: int
    n_truncated: int
    n_no_answer: int
    n_failed: int
    """Samples that we failed to draw or to grade."""
    n_undrawn: int
    """Samples that are not drawn yet: n - n_valid - n_failed."""

    @property
    def is_finished(self) -> bool:
        """Whether every sample was drawn, or tried."""
        return self.n_undrawn == 0


def estimate_value(
    samples: Iterable[tuple[Verdict, float | None]], *, failures: int = 0, undrawn: int = 0
) -> PromptValue:
    """The value of a prompt from its (verdict, score) pairs, in sample order.

    `failures` are samples that the engine failed to draw, `undrawn` are those that no call has drawn or tried.
    """
    pairs = list(samples)
    verdicts = [verdict for verdict, _ in pairs]
    bad_gold = Verdict.GOLD_UNPARSEABLE in verdicts
    vhat = tuple(score for verdict, score in pairs if verdict.is_observation and score is not None and not bad_gold)
    n, n_truncated = len(pairs) + failures + undrawn, verdicts.count(Verdict.TRUNCATED)
    n_failed = n - len(vhat) - undrawn
    total = sum(vhat)
    cut = 0.0 if bad_gold else sum(score or 0.0 for verdict, score in pairs if verdict is Verdict.TRUNCATED)
    return PromptValue(
        vhat=vhat,
        value=total / len(vhat) if vhat and not undrawn else None,
        value_low=(total - cut) / n if n else None,
        value_high=(total - cut + (0 if bad_gold else n_truncated) + n_failed + undrawn) / n if n else None,
        n=n,
        n_valid=len(vhat),
        n_correct=verdicts.count(Verdict.CORRECT),
        n_truncated=n_truncated,
        n_no_answer=verdicts.count(Verdict.NO_ANSWER),
        n_failed=n_failed,
        n_undrawn=undrawn,
    )
