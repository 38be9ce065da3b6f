r"""The brackets of a text: splitting it only where none is open.

split_top(r"(1, 2), \{3, 4\}", COMMA)      # ["(1, 2)", r" \{3, 4\}"]
outer_brackets("(1, 2)")                     # ("(", "1, 2", ")")

A parenthesis may close with a square bracket, as half-open intervals do.
"""

import re

_TOKEN = re.compile(r"\\(?:begin|end)\s*\{[A-Za-z*]+\}|\\[lr]angle(?![A-Za-z])|\\[A-Za-z]+|\\.|[{}()\[\]]", re.DOTALL)
_OPENING = ("{", "(", "[", "\\{", "\\langle")
_CLOSING = ("}", ")", "]", "\\}", "\\rangle")


def split_top(text: str, separator: re.Pattern[str]) -> list[str]:
    """The parts between the separators that are in no brackets; the whole text if its brackets are unbalanced."""
    parts, position = [], 0
    for start, end in _find_top(text, separator):
        parts.append(text[position:start])
        position = end
    return [*parts, text[position:]]


def has_top(text: str, pattern: re.Pattern[str]) -> bool:
    """Whether the pattern is found outside all brackets."""
    return bool(_find_top(text, pattern))


def outer_brackets(text: str) -> tuple[str, str, str] | None:
    r"""The opening bracket, the content and the closing one, if they enclose the whole text; braces do not count."""
    spans = _bracket_spans(text)
    if spans is None:
        return None
    for opening, start, inner, outer, end in spans:
        if start == 0 and end == len(text) and opening != "{" and not opening.startswith("\\begin"):
            return opening, text[inner:outer], text[outer:end]
    return None


def _find_top(text: str, pattern: re.Pattern[str]) -> list[tuple[int, int]]:
    found = [(match.start(), match.end()) for match in pattern.finditer(text)]
    if not found:
        return []
    spans = _bracket_spans(text)
    if spans is None:
        return []
    outermost: list[tuple[int, int]] = []
    for _, start, _, _, end in sorted(spans, key=lambda span: (span[1], -span[4])):
        if not outermost or start >= outermost[-1][1]:
            outermost.append((start, end))
    top, k = [], 0
    for start, end in found:
        while k < len(outermost) and outermost[k][1] <= start:
            k += 1
        if k == len(outermost) or end <= outermost[k][0]:
            top.append((start, end))
    return top


def _bracket_spans(text: str) -> list[tuple[str, int, int, int, int]] | None:
    """(bracket, start, start of the content, its end, end) of each pair; None if they do not balance."""
    spans = []
    opened: list[tuple[str, int, int]] = []
    for token in _TOKEN.finditer(text):
        bracket = token[0]
        if bracket in _OPENING or bracket.startswith("\\begin"):
            opened.append((bracket, token.start(), token.end()))
        elif bracket in _CLOSING or bracket.startswith("\\end"):
            if not opened:
                return None
            opening, start, inner = opened.pop()
            if bracket.startswith("\\end") != opening.startswith("\\begin"):
                return None
            if not bracket.startswith("\\end") and bracket not in _CLOSES[opening]:
                return None
            spans.append((opening, start, inner, token.start(), token.end()))
    return None if opened else spans


_CLOSES = {"(": (")", "]"), "[": (")", "]"), "\\{": ("\\}",), "\\langle": ("\\rangle",), "{": ("}",)}
