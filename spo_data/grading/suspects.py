r"""Finding ground truths that may be wrong: a policy gives the same wrong answer every time.

    rule = SuspectRule([("math", "13"), ("math", "7")])                 # every prompt's data source and ground truth
    rule.find("13", "math", [(Verdict.WRONG, "12"), (Verdict.WRONG, "12.0"), (Verdict.WRONG, "$12$")])
    # Agreement(answer="12", samples=3, valid=3)

A ground truth is suspect if all answers agree, no sample is correct, and at least three samples and half of the valid
ones give an answer.

Agreement is evidence only if wrong answers could have differed. With K possible answers, even a policy that picks a
wrong one blindly gives the same one three times with probability 1 / (K - 1)²: always for yes and no, 11 % for four
letters, 1.2 % for ten. So a ground truth is never suspect if it is a letter, a word such as "yes" or "false", or one of
the at most `FEW` ground truths of a data source that repeats each of them `REPEATS` times on average.
"""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from spo_data.grading.reading.numbers import read_number
from spo_data.grading.reading.words import fold
from spo_data.grading.verdict import Verdict
from spo_data.text import excerpt

LEAST_ANSWERS = 3
FEW = 10
REPEATS = 10


@dataclass(frozen=True)
class Agreement:
    """The one answer that all answering samples of a prompt give."""

    answer: str
    """In the first sample's wording."""
    samples: int
    """How many give it."""
    valid: int
    """How many samples are valid; those that do not give it have no answer."""

    def describe(self, length: int) -> str:
        """Such as "7 of 8 samples answer 12", with the answer cut to a length."""
        return f"{self.samples} of {self.valid} samples answer {excerpt(self.answer, length)}"


class SuspectRule:
    """What makes a ground truth suspect in one run."""

    def __init__(self, ground_truths: Iterable[tuple[str, str]]) -> None:
        """Take the (data source, ground truth) of every prompt of the run."""
        prompts: Counter[str] = Counter()
        known: dict[str, set[object]] = {}
        for source, ground_truth in ground_truths:
            prompts[source] += 1
            found = known.setdefault(source, set())
            if len(found) <= FEW:
                found.add(_make_key(ground_truth))
        self._closed = {
            source for source, found in known.items() if len(found) <= FEW and prompts[source] >= REPEATS * len(found)
        }

    def find(
        self, ground_truth: str, data_source: str, samples: Iterable[tuple[Verdict, str | None]]
    ) -> Agreement | None:
        """The agreement that makes a prompt's ground truth suspect; None if there is none, or it is no evidence."""
        return None if self.has_few_answers(ground_truth, data_source) else find_agreement(samples)

    def has_few_answers(self, ground_truth: str, data_source: str) -> bool:
        """Whether a prompt has so few possible answers that wrong ones agree by themselves."""
        words = fold(ground_truth)
        if data_source in self._closed or words in _WORDS:
            return True
        return _CHOICE.fullmatch(words) is not None and (words[0] != "e" or "E" in ground_truth)


def find_agreement(samples: Iterable[tuple[Verdict, str | None]]) -> Agreement | None:
    """The answer on which all answering samples agree, if they are enough and none is correct."""
    valid = [(verdict, answer) for verdict, answer in samples if verdict.is_observation]
    if any(verdict is Verdict.CORRECT for verdict, _ in valid):
        return None
    answers = [answer for verdict, answer in valid if verdict is Verdict.WRONG and answer]
    if len(answers) < LEAST_ANSWERS or 2 * len(answers) < len(valid):
        return None
    return Agreement(answers[0], len(answers), len(valid)) if len(set(map(_make_key, answers))) == 1 else None


def settle_truncated(verdict: Verdict, score: float | None) -> Verdict:
    """The verdict for `find`: a truncated response that was graded right speaks for the ground truth."""
    return Verdict.CORRECT if verdict is Verdict.TRUNCATED and score else verdict


def _make_key(answer: str) -> object:
    """A key that is equal for two answers if they are plainly the same."""
    number = read_number(answer)
    if number is not None:
        return number.value, number.percent
    return "".join(fold(answer).replace("dfrac", "frac").replace("tfrac", "frac").split())


_CHOICE = re.compile(r"[a-h](?:[).:]\s.*)?", re.DOTALL)
"""A letter, perhaps with its option's text; a small e is a number."""
_WORDS = frozenset(
    {
        *("yes", "no", "true", "false", "correct", "incorrect", "right", "wrong", "valid", "invalid"),
        *("t", "f", "y", "n"),
        *("possible", "impossible", "always", "never", "sometimes", "all", "some", "none", "both", "neither"),
        *("even", "odd", "positive", "negative", "increasing", "decreasing", "increases", "decreases"),
        *("more", "less", "fewer", "greater", "smaller", "larger", "equal", "same", "different"),
        *("left", "up", "down", "north", "south", "east", "west", "heads", "tails", "win", "lose", "draw", "tie"),
        *("converges", "diverges", "convergent", "divergent", "entailment", "contradiction", "neutral", "unknown"),
    }
)
