r"""The verifier `choice`: one letter from A to E.

    ChoiceVerifier().grade(r"\boxed{(B) 12 cm}", "B")       # correct
    ChoiceVerifier().grade("The answer is B.", "B")          # correct
    ChoiceVerifier().grade(r"\boxed{A or B}", "B")          # wrong

The letter may be in parentheses, bold or `\text`. Its option's text may follow after ")", ".", ":" or ",". If the
response marks no answer, "the answer is B", "option B is correct" or a last line of only the letter counts as one.
"""

import re

from spo_data.grading.answers.dressing import undress
from spo_data.grading.answers.extract import extract_answer, strip_thinking
from spo_data.grading.verdict import NO_ANSWER, Grade, Verdict
from spo_data.grading.verifiers.base import TextVerifier

_WORD = r"(?:(?:the\s+)?(?:correct\s+|final\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*)"
_LETTER = re.compile(
    rf"{_WORD}?\(?\s*(?P<letter>[A-Ea-e])\s*(?:\)\s*\S.*|[.:,]\s+\S.*|\)?[.:,]?)", re.IGNORECASE | re.DOTALL
)
_MARK = r"(?:[\s*$]|\\\(|\\text(?:bf)?\{)*\(?(?P<letter>[A-E])\b(?!['\u2019])"
_STATED = (
    re.compile(rf"(?:[Aa]nswer|ANSWER)(?:\s+is)?(?:\s*:)?(?:\s+(?:[Oo]ption|[Cc]hoice))?{_MARK}"),
    re.compile(rf"(?:[Oo]ption|[Cc]hoice){_MARK}[)*$\s]*(?:is|must be)\s+(?:the\s+)?(?:correct|right|answer|best)\b"),
    re.compile(rf"\b(?:choose|pick|select|go with)(?:\s+(?:[Oo]ption|[Cc]hoice))?{_MARK}"),
)
"""How a response states a letter, in order of preference; the last match of the first pattern that matches counts."""
_JOINED = r"(?:,|;|/|\bor\b|\band\b|\bmaybe\b|\bperhaps\b)"
_LABEL = r"[\s*$(]*(?:(?:or|and|maybe|perhaps|option|choice)\b[\s*$(]*)*[A-E]"
_SECOND = re.compile(rf"[\s)*$}}]*{_JOINED}{_LABEL}\b", re.IGNORECASE)
_ANOTHER = re.compile(rf"(?:{_JOINED}|[.]\s+(?:or|and)\b){_LABEL}\s*(?:$|[),./:])", re.IGNORECASE)
_COMMAND = re.compile(r"\\(?:text(?:bf|rm|it)?|math(?:rm|bf|it)|mbox)\s*\{([^{}]*)\}|\*\*|\$")


class ChoiceVerifier(TextVerifier):
    """`choice`."""

    reads_thinking = True

    def grade_text(self, response: str, ground_truth: str) -> Grade:
        gold = find_choice(ground_truth)
        if gold is None:
            return Grade.failed(Verdict.GOLD_UNPARSEABLE, f"choice wants a letter A to E, not {ground_truth[:200]!r}")
        answer = extract_answer(response) or _find_stated(response)
        return NO_ANSWER if answer is None else Grade.scored(float(find_choice(answer) == gold), answer)


def find_choice(answer: str) -> str | None:
    """The letter that an answer chooses, upper case; None if it chooses none, or more than one."""
    bare = undress(_COMMAND.sub(r"\1", answer)).strip()
    match = _LETTER.fullmatch(bare)
    if match is None or _ANOTHER.search(bare, match.end("letter")):
        return None
    return match["letter"].upper()


def _find_stated(response: str) -> str | None:
    visible = (strip_thinking(response) or "")[-1000:]
    for pattern in _STATED:
        found = list(pattern.finditer(visible))
        if found:
            second = _SECOND.match(visible, found[-1].end("letter"))
            end = second.end() if second else found[-1].end("letter")
            return visible[found[-1].start("letter") : end]
    last = visible.strip().rpartition("\n")[2]
    return last if len(last) < 12 and re.fullmatch(r"[*$(\s]*[A-E][*$).\s]*", last) else None
