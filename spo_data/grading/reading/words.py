r"""Answers in words: which texts are words, and how they are compared.

is_wording("no solution")      # True
fold(r"\text{No solution.}")   # "no solution"
"""

import re

from spo_data.grading.reading.dressing import undress
from spo_data.grading.reading.notation import FUNCTIONS, GREEK, TEXT_COMMAND


def is_wording(text: str) -> bool:
    """Whether the text is words, and no number, formula or variable."""
    bare = TEXT_COMMAND.sub(r" \1 ", text).strip(' .!"')
    if _CJK.fullmatch(bare) or (len(bare) == 2 and bare[1] == ")" and _LETTER.fullmatch(bare[0])):
        return True
    if not _WORDS.fullmatch(bare):
        return False
    words = re.findall(r"[A-Za-z]+(?:['\u2019][a-z]+)?", _APPLIED.sub(" ", bare))
    if len(words) == 1 and len(bare) == 1:
        return _LETTER.fullmatch(bare) is not None and bare != "E"
    return any(len(word) > 1 and not _is_symbols(word) for word in words)


def remaining_words(text: str) -> bool:
    """Whether words are left in a formula, which math-verify would multiply letter by letter or drop."""
    text = _APPLIED.sub(" ", text)
    bare = _COMMAND.sub(" ", _ENVIRONMENT.sub(" ", _NAMED.sub(" ", text)))
    return (
        "\\text" in text
        or any(not _is_symbols(word) for word in re.findall(r"[A-Za-z]{3,}", bare))
        or bool(re.search("[\u3400-\u9fff]", bare))
    )


def is_time(text: str) -> bool:
    """Whether the text is a time of day, `10:30`; a ratio may look the same, and equal text is equal in both."""
    return _TIME.fullmatch(text) is not None


def fold(text: str) -> str:
    """The words in lower case, without LaTeX's text commands, extra white space and surrounding punctuation."""
    text = TEXT_COMMAND.sub(r" \1 ", undress(text))
    text = re.sub(r"\\(?:[,;:! ]|q?quad(?![A-Za-z]))|~", " ", text)
    text = re.sub(r"\s*:\s*", ":", text)
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", text)
    return " ".join(text.strip(' .()"!').split()).casefold()


def _is_symbols(word: str) -> bool:
    """Whether a run of letters is a function's name or a product of common variables, not a word."""
    return word in _COMMANDS or word.casefold() in _COMMANDS or _VARIABLES.fullmatch(word) is not None


_COMMANDS = frozenset(
    {
        *FUNCTIONS,
        *GREEK,
        "max",
        "min",
        "gcd",
        "lcm",
        "mod",
        "det",
        "lim",
        "sqrt",
        "deg",
        "inf",
        "sup",
        "infinity",
        "sgn",
    }
)
_WORDS = re.compile(r"[A-Za-z]+(?:['\u2019][a-z]+)?(?:[ ,-]+[A-Za-z]+(?:['\u2019][a-z]+)?)*")
_LETTER = re.compile(r"[A-DF-J]")
_CJK = re.compile("[\u3400-\u9fff]+")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_APPLIED = re.compile(rf"(?<![A-Za-z])(?:{'|'.join(FUNCTIONS)})(?=[xyzt](?![A-Za-z]))")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z*]*\}(?:\{[a-z|]+\})?")
_NAMED = re.compile(
    r"\\(?:vec|hat|bar|overline|tilde|dot|triangle|angle|mathbb|mathcal|mathfrak|operatorname)\s*\{?\s*[A-Za-z]+\s*\}?|_\{[^{}]*\}"
)
_VARIABLES = re.compile(r"[xyz]+|[abc]+|[mn]+|[pqr]+|[uvw]+|(?!NO|YES|DNE|TRUE|NONE)[A-Z]{2,4}|[a-z]?dx")
_TIME = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?(?:\s*(?:\\text\s*\{)?\s*[ap]\.?\s?m\.?\s*\}?)?", re.IGNORECASE)
