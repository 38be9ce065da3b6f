"""Verdicts: what can be said of a sample.

Only `correct`, `wrong`, `no_answer` and `truncated` are observations of the policy. The others say that *we* failed:
they carry no score, they are retried or reported, and they never count as a failure of the policy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

ExtraInfo = Mapping[str, Any] | None
"""What a verifier may need beyond the ground truth: see `Prompt.extra_info`."""


class Verdict(StrEnum):
    """What was found out about one sample."""

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
        """True where the verdict is about the policy."""
        return self in OBSERVATIONS


OBSERVATIONS = frozenset({Verdict.CORRECT, Verdict.WRONG, Verdict.NO_ANSWER, Verdict.TRUNCATED})


@dataclass(frozen=True, slots=True)
class Graded:
    """A verdict, the score that the trainer would give (None where it is not an observation), and the answer read."""

    verdict: Verdict
    score: float | None
    answer: str | None = None
    detail: str | None = None
    """Why, where the verdict says that we failed."""

    @staticmethod
    def scored(score: float, answer: str | None) -> "Graded":
        """An answer was read and scored; a full score is `correct`."""
        return Graded(Verdict.CORRECT if score >= 1.0 else Verdict.WRONG, float(score), answer)

    @staticmethod
    def failed(verdict: Verdict, detail: str, answer: str | None = None) -> "Graded":
        """We failed to grade; there is no score."""
        return Graded(verdict, None, answer, detail)

    def as_gold_check(self, ground_truth: str) -> "Graded":
        """The verdict on a ground truth from its verdict as an answer to itself."""
        if self.verdict is Verdict.CORRECT:
            return self
        detail = self.detail or f"{ground_truth[:200]!r} does not verify against itself"
        return Graded.failed(Verdict.GOLD_UNPARSEABLE, detail)


MAX_ANSWER_CHARACTERS = 10_000
"""A longer answer is not given to a parser; no ground truth that people write comes near."""


def too_long(answer: str) -> Graded | None:
    """What becomes of an answer that is longer than any parser should be given; None for all others."""
    if len(answer) <= MAX_ANSWER_CHARACTERS:
        return None
    detail = f"the answer has {len(answer):,} characters, {MAX_ANSWER_CHARACTERS:,} are parsed at most"
    return Graded.failed(Verdict.GRADER_ERROR, detail, answer)


NO_ANSWER = Graded(Verdict.NO_ANSWER, 0.0)
TRUNCATED = Graded(Verdict.TRUNCATED, 0.0)
"""A response that the token limit ended scores 0 in training too, whatever it contains, and stays visible."""
