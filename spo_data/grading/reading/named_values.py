r"""What an equation names: `x = 5`, `f(2) = 3`, `m+n = 17`, `\angle A = 30^\circ` name the value on their right.

split_names("m+n = 8+9 = 17")        # (("m+n", "8+9"), "17")
split_names("x^2 + y^2 = 1")         # None: a curve, not the value 1
split_names("2x = 4")                # None: an equation left unsolved

An equation in the coordinates x, y and z is a curve, and one in a single unknown is unsolved; every other left side
names a quantity if the right side is a value, and a symbol or function if the right side is a formula.
"""

import re

from spo_data.grading.reading.notation import canonical
from spo_data.grading.reading.structure import has_top, split_top


def split_names(text: str) -> tuple[tuple[str, ...], str] | None:
    """The names, in canonical notation, and the value; None if the text is no equation that names a value."""
    if "=" not in text or has_top(text, _OTHER_RELATION):
        return None
    sides = [side.strip() for side in split_top(text, _EQUALS)]
    if len(sides) < 2 or not all(sides[1:]):
        return None
    *lefts, value = sides
    if not any(map(_has_letter, lefts)) and _has_symbol(value):
        if len(lefts) > 1 or _ATOM.fullmatch(value) is None:
            return None  # 7 = 11a + c
        lefts, value = [value], lefts[0]  # 5 = x
    if not all(_names(left, value) for left in lefts if left):
        return None
    return tuple(canonical(left) for left in lefts if left), value


def last_side(text: str) -> str | None:
    """The last side of an equation; None unless it is one, or if it leaves a single unknown unsolved."""
    if "=" not in text or has_top(text, _OTHER_RELATION):
        return None
    *lefts, value = split_top(text, _EQUALS)
    unknowns = set(re.findall("[A-Za-z]", _COMMAND.sub("", lefts[0]))) - {"e"} if lefts else set()
    if lefts and _is_zero_sum(lefts[-1], value):
        return None
    return value.strip() if len(lefts) == 1 and len(unknowns) > 1 and not _has_symbol(value) else None


def tuple_names(name: str) -> tuple[str, ...]:
    """The names in a tuple of names, `(x,y)`; empty for anything else."""
    match = _TUPLE.fullmatch(name)
    return tuple(match[1].split(",")) if match else ()


def is_word(name: str) -> bool:
    """Whether a name is a word, such as "Area", which may stand for any symbol."""
    return _WORD.search(_COMMAND.sub("", name)) is not None


def contradict(gold: tuple[str, ...], answer: tuple[str, ...]) -> bool:
    """Whether two named values are of different things: `f(3)` is not `f(2)`, but "Area" may be `S`."""
    golds, answers = ({_DIVISOR.sub("", name) for name in names if _has_letter(name)} for names in (gold, answer))
    if not golds or not answers or golds & answers:
        return False
    if not all(map(is_word, golds | answers)):
        return not any(map(is_word, golds | answers))
    return not any(_may_be_one(gold, answer) for gold in golds for answer in answers)


def _may_be_one(gold: str, answer: str) -> bool:
    """Whether two names in words may name the same thing: "area" and "the area of ABC", or anything and "total"."""
    ours, theirs = (set(re.findall(r"[^\W\d_]{3,}|\([^()]*\)", name.casefold())) for name in (gold, answer))
    words = {one for one in ours & theirs if one[0] != "("}
    arguments = [{one for one in said if one[0] == "("} for said in (ours, theirs)]
    if all(arguments) and arguments[0] != arguments[1]:
        return False
    return bool(words or _GENERAL & (ours | theirs))


def _names(left: str, value: str) -> bool:
    if not _has_letter(left) or _ATOM.fullmatch(left.strip()) is not None:
        return True  # an equation of numbers is checked where values are compared
    if _has_symbol(value) or _is_zero_sum(left, value):
        return False
    bare = _PRODUCT.sub("", left)
    if _POLYNOMIAL.fullmatch(bare) is None or _APPLICATION.search(bare):
        return True
    symbols = set(re.findall("[A-Za-z]", _COMMAND.sub("", bare))) - {"e"}
    if len(symbols) == 1:
        return False
    return not symbols <= {"x", "y", "z"} or _QUOTIENT.fullmatch(bare.strip()) is not None


def _is_zero_sum(left: str, value: str) -> bool:
    """Whether an equation says that a sum is zero, as curves are written."""
    return value.strip() == "0" and re.search(r"[+-]|\\pm", left) is not None


def _has_letter(text: str) -> bool:
    return re.search("[A-Za-z\u0370-\u03ff\u3400-\u9fff]", _STRUCTURE.sub("", text)) is not None


def _has_symbol(text: str) -> bool:
    """Whether a value has variables, not counting constants, functions and words."""
    bare = re.sub(r"\\(?:text|textrm|textbf|mathrm|operatorname)\s*\{[^{}]*\}", "", text)
    return (
        re.search(r"(?<![\\A-Za-z])[A-DF-HJ-Za-df-hj-z](?![A-Za-z])|\\(?:alpha|beta|theta|lambda|phi|omega)", bare)
        is not None
    )


_EQUALS = re.compile(r"(?<![<>:\\])[:]?==?(?!>)")
_OTHER_RELATION = re.compile(
    r"[<>\u2264\u2265]|\\(?:le|ge|ne|in|notin|subset|approx|equiv|sim|cong|mid|parallel|perp|to)(?![A-Za-z])"
)
_DIVISOR = re.compile(r"\\(?=(?:gcd|lcm)\()")
_GENERAL = frozenset({"answer", "result", "total", "sum", "value", "number", "solution", "final", "amount", "output"})
"""Words that may name any value."""
_TUPLE = re.compile(r"\(((?:[A-Z]{2}|[A-Za-z])(?:_\w+|_\{\w+\})?(?:,(?:[A-Z]{2}|[A-Za-z])(?:_\w+|_\{\w+\})?)+)\)")
_WORD = re.compile(r"(?<![A-Za-z])(?![A-Z]{2,4}(?![A-Za-z]))[A-Za-z]{3,}|[\u3400-\u9fff]")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_STRUCTURE = re.compile(
    r"\\(?:frac|sqrt|cdot|times|div|pm|pi|left|right|binom|infty|log|ln|sin|cos|tan|circ|text)(?![A-Za-z])|(?<![A-Za-z])[ei](?![A-Za-z])"
)
_PRODUCT = re.compile(r"\\(?:cdot|times)(?![A-Za-z])")
_APPLICATION = re.compile(r"[f-hPE]\s*\(|[A-Za-z]\((?:-?\d+|[a-z])\)(?<![xyz]\([xyz]\))")
_POLYNOMIAL = re.compile(r"(?:[A-Za-z](?![A-Za-z]{2})|\d|\.|[\s+\-*/^{}()]|\\frac(?![A-Za-z])|\\sqrt(?![A-Za-z]))+")
_QUOTIENT = re.compile(r"\\frac\s*\{\s*[a-z]\s*\}\s*\{\s*[a-z]\s*\}|[a-z]\s*/\s*[a-z]")
_ATOM = re.compile(
    r"(?:\\text\s*\{[^{}]*\}|\\(?!sqrt|frac)[A-Za-z]+\s*(?:\{[^{}]*\})?|[A-Za-z])(?:_\w|_\{[^{}]*\})?(?:'*|\^\{?(?:-1|\\prime|\*|\(\d\))\}?)"
    r"(?:_\w|_\{[^{}]*\})?\s*(?:(?<=[f-hFGHPEQ}])\(.*\)|\((?:-?[\d.]+|[A-Za-z])(?:,.*)?\)|\([A-Z]\s*=.*\))?|\\frac\s*\{\s*(?:d|\\partial)\^?\{?\d?\}?\s*\w+\s*\}\s*\{\s*(?:d|\\partial)\s*\w+\^?\{?\d?\}?\s*\}"
    r"(?:\(.*\))?|[A-Z]{2,4}|\([a-z](?:\s*,\s*[a-z])+\)|\\(?:angle|triangle|nabla|vec|partial)\s*\{?[A-Za-z]+\}?|[A-Za-z]{3,}"
)
