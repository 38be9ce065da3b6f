"""Verdicts: what can be said of a sample.

Only `correct`, `wrong`, `no_answer` and `truncated` are observations of the policy. The others say that *we* failed:
they carry no score, they are retried or reported, and they never count as a failure of the policy.
"""

from dataclasses import dataclass
from enum import StrEnum


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


NO_ANSWER = Graded(Verdict.NO_ANSWER, 0.0)
TRUNCATED = Graded(Verdict.TRUNCATED, 0.0)
"""A response that the token limit ended scores 0 in training too, whatever it contains, and stays visible."""
