r"""Reading which option of a multiple-choice problem an answer or a response chooses: a letter from A to J.

    find_letter(r"\text{(B)} 12 cm")                        # "B"
    find_letter("A or B")                                   # None
    read_choice("I see \\boxed{12}. The answer is (B).")    # "B"

The letter may be in brackets, bold or `\text`, and its option's text may follow. If the response marks no letter, "the
answer is B", "option B is correct", "I choose B" or a last line that begins with the letter counts, in this order.
"""

import re

from spo_data.grading.finding.extract import find_answer
from spo_data.grading.finding.sentences import without_emphasis
from spo_data.grading.reading.dressing import undress

TAIL = 1000
"""A letter stated in prose is looked for in this many last characters."""
LAST_LINE = 120
"""A longer last line is prose."""

_FULL_WIDTH = str.maketrans("\uff21\uff22\uff23\uff24\uff25\uff26\uff27\uff28\uff29\uff2a\uff08\uff09", "ABCDEFGHIJ()")
_COMMAND = re.compile(
    r"\\(?:text(?:bf|rm|it)?|math(?:rm|bf|it)|mbox)\s*\{([^{}]*)\}|\\(?:rm|bf|it|left|right)(?![A-Za-z])|\*\*|\$|\\[()\[\]]"
)
_SPACE = re.compile(r"\\[,;:! ]|\\q?quad(?![A-Za-z])|~")
_LEAD = (
    r"(?:(?:so|thus|therefore|hence),?\s+)?(?:(?:i|we)(?:'d|\s+would)?\s+(?:think|believe|choose|pick|select|say|go\s+with)"
    r"\s+(?:that\s+)?)?(?:(?:it|this)(?:'s|\s+is|\s+must\s+be)\s+)?"
    r"(?:(?:the\s+|my\s+)?(?:(?:correct|right|best|final)\s+)?(?:answer|option|choice|letter)(?:\s+(?:is|must\s+be|should\s+be))?"
    r"\s*[:\uff1a-]?\s*){0,3}(?:\u9009\u9879?|\u7b54\u6848[\u662f\u4e3a]?)?\s*"
)
_LETTER = re.compile(
    rf"(?i:{_LEAD})(?P<open>[(\[])?\s*(?:(?P<letter>[A-Ja-j])\s*"
    r"(?:[)\]]\s*\S.*|[.:,\uff1a\uff0e\u3001](?:\s+|(?=[\d$\\\u4e00-\u9fff]))\S.*|[)\]]?\s*[.:,!-]?)"
    r"|(?P<capital>[A-J])\s+(?:\(.*|[-\u2013\u2014]\s+\S.*|(?:because|since|as)\b.*"
    r"|is\s+(?:the\s+)?(?:correct|right|best|answer)\b.*)"
    r"|(?P<sure>[B-HJ])\s+\d.*)",
    re.DOTALL,
)
_JOINED = r"(?:,|;|/|&|\bor\b|\band\b|\bmaybe\b|\bperhaps\b)"
_SECOND_LABEL = r"[\s*$(]*(?:(?:or|and|maybe|perhaps|option|choice)\b[\s*$(]*)*[A-J]"
_SECOND = re.compile(rf"[\s)*$}}]*{_JOINED}{_SECOND_LABEL}\b", re.IGNORECASE)
_ANOTHER = re.compile(rf"(?:{_JOINED}|[.]\s+(?:or|and)\b){_SECOND_LABEL}\s*(?:$|[),./:])", re.IGNORECASE)

_MARK = (
    r"(?:[\s*$:\uff1a\"'\u201c]|\\\(|\\(?:text|math)(?:bf|rm)?\{)*(?:(?:[Oo]ption|[Cc]hoice|\u9009\u9879)\s+)?"
    r"(?P<whole>[(\[]\s*(?P<bracketed>[A-Ja-j])\s*[)\]]|\(?(?P<bare>[B-HJ]|[AI](?=[\s*$}\\]*(?:[).,:;\]\"'\u201d\u3002]|$"
    r"|\n|(?:is|because|since|as|and|or|but|not|with|maybe|perhaps)\b)))(?![A-Za-z\d'\u2019]))"
)
_IS = r"(?:\s+(?:is|must\s+be|should\s+be|would\s+be|has\s+to\s+be))?(?:\s+not\s+\(?[A-J]\)?,?\s+but)?"
_ANSWER = (
    r"(?:[Aa]nswer|ANSWER|(?:[Cc]orrect|[Rr]ight|[Bb]est|[Ff]inal)\s+(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Rr]esponse|one)"
    r"|[Mm]y\s+(?:final\s+)?(?:choice|pick))"
)
_AT_END = r"(?=[)\].\s*$]*(?:$|\n))"
_STATED = (
    re.compile(
        rf"(?:{_ANSWER}{_IS}(?:\s*[:\uff1a-])?"
        r"|(?:\u6b63\u786e)?(?:\u7b54\u6848|\u9009\u9879)(?:\u5e94\u8be5?)?[\u662f\u4e3a\u9009]?|(?<![\u4e0d\u591a])\u9009\u62e9?)"
        + _MARK
    ),
    re.compile(
        rf"(?:\b(?:[Oo]ption|[Cc]hoice)\b|(?:^|(?<=[\s*])))(?:{_MARK})[)*$\s]*(?:is|must be)\s+"
        r"(?:the\s+)?(?:only\s+)?(?:correct|right|answer|best)\b",
        re.MULTILINE,
    ),
    re.compile(
        rf"(?<!not )(?<!n't )(?<!never )\b(?i:choose|pick|select|go(?:ing)?\s+with)"
        rf"(?:\s+(?:[Oo]ption|[Cc]hoice))?{_MARK}"
    ),
    re.compile(rf"\b[Oo]nly\s+(?:[Oo]ption\s+)?{_MARK}[)*$\s]*(?:works|fits|remains|is\s+(?:left|true|possible))\b"),
    re.compile(
        rf"(?:\b(?:[Ii]t|[Tt]his)(?:'s|\s+(?:is|must\s+be|has\s+to\s+be))|(?:^|\n)[Mm]ust\s+be){_MARK}{_AT_END}"
    ),
    re.compile(rf"\b(?:[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore|leav(?:es|ing)(?:\s+only)?)\b[,:]?{_MARK}{_AT_END}"),
)
"""How a response states a letter, in order of preference; the last match of the first pattern that matches counts."""
_LONE = re.compile(r"[*$\s]{0,4}[(\[]?[A-J][)\].:*$\s]{0,6}")
_OPTION_LINE = re.compile(r"[*$\s]*[(\[]?[A-Ja-j](?:[)\].:*$\s]|$)")


def find_letter(answer: str) -> str | None:
    """The letter that an answer chooses, upper case; None if it chooses none, or more than one."""
    bare = _COMMAND.sub(r"\1", without_emphasis(answer[:2000].translate(_FULL_WIDTH)))
    bare = undress(" ".join(_SPACE.sub(" ", bare).split())).strip()
    match = _LETTER.fullmatch(bare)
    if match is None:
        return None
    group = next(name for name in ("letter", "capital", "sure") if match[name])
    return None if _ANOTHER.search(bare, match.end(group)) else match[group].upper()


def read_choice(visible: str) -> str | None:
    """The answer of a response without thinking: one that chooses a letter, else the last one, else None."""
    answer = find_answer(visible, lambda text: find_letter(text) is not None)
    if answer is not None and answer.sure and find_letter(answer.text) is not None:
        return answer.text
    return _find_stated(visible) or (answer.text if answer else None)


def _find_stated(visible: str) -> str | None:
    tail = without_emphasis(visible[-TAIL:].translate(_FULL_WIDTH))
    for pattern in _STATED:
        found = list(pattern.finditer(tail))
        if found:
            last = found[-1]
            letter = last["bracketed"] or last["bare"]
            second = _SECOND.match(tail, last.end("whole"))
            return letter + tail[last.end("whole") : second.end()] if second else letter
    *before, last_line = [line for line in tail.splitlines() if line.strip()] or [""]
    listed = bool(before) and _OPTION_LINE.match(before[-1]) is not None
    if len(last_line) <= LAST_LINE and find_letter(last_line) and not listed:
        return last_line.strip()
    first_line = visible.strip().partition("\n")[0]
    return first_line if _LONE.fullmatch(first_line) else None
