"""Verdicts: the outcome of grading a sample.

Only `correct`, `wrong`, `no_answer` and `truncated` are observations of the policy. The others say that *we* failed:
such samples have no score, are retried or reported, and never count as a failure of the policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

ExtraInfo = Mapping[str, Any] | None
"""What a verifier may need beyond the ground truth: see `Prompt.extra_info`."""


class Verdict(StrEnum):
    """The outcome of grading one sample."""

    CORRECT = "correct"
    WRONG = "wrong"
    NO_ANSWER = "no_answer"
    TRUNCATED = "truncated"
    TOOL_ERROR = "tool_error"
    GRADER_TIMEOUT = "grader_timeout"
    GRADER_ERROR = "grader_error"
    GOLD_UNPARSEABLE = "gold_unparseable"

    @property
    def is_observation(self) -> bool:
        """Whether the verdict is about the policy."""
        return self in OBSERVATIONS


OBSERVATIONS = frozenset({Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER, Verdict.TRUNCATED})


COMPARED_AS_TEXT = "compared as text"
"""The detail of a `wrong` sample whose answer, or whose ground truth, could not be read as anything but text."""


@dataclass(frozen=True, slots=True)
class Grade:
    """A verdict, the score that the trainer would give (None unless it is an observation), and the extracted answer."""

    verdict: Verdict
    score: float | None
    answer: str | None = None
    detail: str | None = None
    """The reason, if the verdict says that we failed; for an observation, how it came about: `COMPARED_AS_TEXT`."""

    @staticmethod
    def scored(score: float, answer: str | None) -> "Grade":
        """`correct` for a full score, else `wrong`."""
        return Grade(Verdict.CORRECT if score >= 1.0 else Verdict.WRONG, float(score), answer)

    @staticmethod
    def failed(verdict: Verdict, detail: str, answer: str | None = None) -> "Grade":
        """One of the verdicts that say that we failed, without a score."""
        return Grade(verdict, None, answer, detail)

    def as_truncated(self) -> "Grade":
        """The verdict on a response that a limit ended: `truncated` with the score that it got, unless we failed."""
        return replace(self, verdict=Verdict.TRUNCATED) if self.verdict.is_observation else self

    def as_gold_check(self, ground_truth: str) -> "Grade":
        """The check of a ground truth graded against itself: unchanged if `correct`, else `gold_unparseable`."""
        if self.verdict is Verdict.CORRECT:
            return self
        failure = None if self.verdict.is_observation else self.detail
        detail = failure or f"{ground_truth[:200]!r} does not verify against itself"
        return Grade.failed(Verdict.GOLD_UNPARSEABLE, detail)


MAX_ANSWER_CHARACTERS = 10_000
"""Longer answers are not parsed. Ground truths written by people are far shorter."""


def too_long(answer: str) -> Grade | None:
    """`grader_error` if the answer is too long to parse, else None."""
    if len(answer) <= MAX_ANSWER_CHARACTERS:
        return None
    detail = f"the answer has {len(answer):,} characters, {MAX_ANSWER_CHARACTERS:,} are parsed at most"
    return Grade.failed(Verdict.GRADER_ERROR, detail, answer)


NO_ANSWER = Grade(Verdict.NO_ANSWER, 0.0)
TRUNCATED = Grade(Verdict.TRUNCATED, 0.0)
"""The token limit ended the response. Whatever it contains, it scores 0 unless truncated responses are graded."""
