r"""Boxes: `\boxed{…}`, `\fbox{…}`, `\boxed 5` and GLM's `<|begin_of_box|>…<|end_of_box|>`.

    find_last_box(r"The roots are \boxed{2} and \boxed{3}.")                    # "2, 3"
    find_last_box(r"\boxed{42}. Put your final answer within \boxed{}")         # "42"

Boxes joined only by commas, "and", "or" or wide space are one answer with several parts; otherwise the last box counts.
A box is empty if it holds nothing, or what an instruction holds: `\boxed{...}`, `\boxed{answer}`.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

_BOX = re.compile(r"\\{1,4}(?:boxed|fbox|framebox)")
_BRACES = re.compile(
    r"(?P<box>\\{1,4}(?:boxed|fbox|framebox)\s*\{)"
    r"|\\{1,4}boxed[ ]{1,4}(?P<bare>[+-]?\d[\w/^]*(?:\.\d+)?|[A-Za-z](?!\w))|\\.|(?P<brace>[{}])",
    re.DOTALL,
)
_OPEN_TOKEN, _CLOSE_TOKEN = "<|begin_of_box|>", "<|end_of_box|>"

_FILLER = r"(?:[\s$*~]|\\[,;:! ()\[\]]|\\q?quad(?![A-Za-z]))*"
_NAME = r"\\?[A-Za-z]+(?:_(?:\w|\{\w{1,8}\}))?'{0,3}(?:\([\w,]{1,6}\))?"
_PART = r"(?:\\text\s*\{)?\s*\bfor\s+(?:the\s+)?(?:part|case|question)?\s*\(?\w{1,6}\)?"
_JOINT = re.compile(
    rf"{_FILLER}(?:{_PART})?{_FILLER}"
    rf"(?:[,;]|\\q?quad(?![A-Za-z])|(?:\\text\s*\{{\s*)?,?\s*\b(?:and|or|maybe|perhaps|possibly)\b\s*\}}?){_FILLER}"
    rf"(?:\b(?:and|or|maybe|perhaps|possibly|even)\b{_FILLER})*(?:{_NAME}\s*=\s*)?{_FILLER}",
    re.IGNORECASE,
)
_NAMED = re.compile(rf"(?:^|(?<=[\s$({{,;*]))({_NAME})\s*=\s*{_FILLER}\Z")
_MINUS = re.compile(r"(?:^|[=$(\s])-\$?\Z")
_REST = re.compile(
    r"/\s*\d+|\.\d+|\^\{?\d+\}?|\s*\$?\s*\\?%"
    r"|\s*(?:\$|\\\))?\s*(?:\\text\s*\{\s*)?"
    r"(?P<magnitude>hundred|[mbtr]+illion|thousand|dozen|percent|per cent)\b\s*\}?"
)
"""Text directly after a box that changes its value."""

_NOTHING = re.compile(
    r"(?:[\s{}~$*_.'\u2026]|\\[,;:! ]|\\q?quad(?![A-Za-z])|\\(?:text|math|boxed|fbox)[a-z]{0,4}|\\[lcd]?dots)*"
)
_INSTRUCTION = re.compile(
    r"(?=.*(?:answer|here|ans\b|your))[\W_]*(?:(?:the|your|my|an?|final|correct|answer|ans|result|solution"
    r"|value|number|letter|expression|option|choice|goes|put|write|insert|place|here|in|is|text|only|numerical|single"
    r"|simplified|mathematical)(?:[\W_]+|$)){1,9}|\\?(?:text)?\W*\u7b54\u6848\W*",
    re.IGNORECASE,
)

JOINT_CHARACTERS = 40
"""Longer text between two boxes is prose, and the second box replaces the first."""
NAME_CHARACTERS = 60
"""A box's name, as in x = \\boxed{2}, is looked for in this many characters before it."""
INSTRUCTION_CHARACTERS = 80
BACKSLASHES = 4
"""A box's name may follow so many, if its text was escaped."""


class BoxedAnswer(NamedTuple):
    """A box, or several joined ones."""

    start: int
    end: int
    text: str
    """Empty if there is nothing in it."""


class _Box(NamedTuple):
    start: int
    begins: int
    ends: int
    end: int


def find_last_box(text: str) -> str | None:
    """The content of the last box that holds something, joined with those before it; None if there is none."""
    return next((answer.text for answer in boxed_answers(text) if answer.text), None)


def boxed_answers(text: str) -> Iterator[BoxedAnswer]:
    """The boxes that close, from the last to the first; joined ones are one answer."""
    boxes = _locate_boxes(text)
    while boxes:
        last = boxes.pop()
        if is_empty(text[last.begins : last.ends]):
            yield BoxedAnswer(last.start, last.end, "")
            continue
        parts = [last]
        while boxes:
            if boxes[-1].end > parts[-1].start:  # it contains the later box
                boxes.pop()
            elif (
                parts[-1].start - boxes[-1].end <= JOINT_CHARACTERS
                and not is_empty(text[boxes[-1].begins : boxes[-1].ends])
                and _JOINT.fullmatch(text, boxes[-1].end, parts[-1].start)
            ):
                parts.append(boxes.pop())
            else:
                break
        parts.reverse()
        yield BoxedAnswer(parts[0].start, last.end, _read(text, parts))


def find_boxes(text: str) -> list[str]:
    """The contents of all boxes that close, in order."""
    return [text[box.begins : box.ends].strip() for box in _locate_boxes(text)]


def is_empty(content: str) -> bool:
    """Whether a box's content is nothing, or what an instruction holds in place of an answer."""
    if _NOTHING.fullmatch(content):
        return True
    return len(content) <= INSTRUCTION_CHARACTERS and _INSTRUCTION.fullmatch(content.strip()) is not None


def _read(text: str, parts: list[_Box]) -> str:
    contents = [_unquote(text[part.begins : part.ends].strip()) for part in parts]
    if len(parts) == 1:
        start = parts[0].start
        minus, rest = _MINUS.search(text, max(0, start - 3), start), _REST.match(text, parts[0].end)
        after = "" if rest is None else f" {rest['magnitude']}" if rest["magnitude"] else rest[0].replace("$", "")
        return f"{'-' if minus else ''}{contents[0]}{after}"
    if len(set(contents)) == 1:
        return contents[0]
    names = [_NAMED.search(text[max(0, part.start - NAME_CHARACTERS) : part.start]) for part in parts]
    known = [name[1] for name in names if name is not None]
    if len(set(known)) == len(parts):  # swapped values of two unknowns are another answer
        contents = [f"{name} = {content}" for name, content in zip(known, contents, strict=True)]
    return ", ".join(contents)


def _locate_boxes(text: str) -> list[_Box]:
    """Each box that closes, sorted by start."""
    boxes = _locate_tokens(text) if _OPEN_TOKEN in text else []
    starts = [start for start in map(text.find, ("boxed", "fbox", "framebox")) if start >= 0]  # a search takes longer
    first = _BOX.search(text, max(0, min(starts) - BACKSLASHES)) if starts else None
    if first is None:
        return boxes
    opened: list[tuple[int, int] | None] = []
    for token in _BRACES.finditer(text, first.start()):  # earlier braces belong to no box
        if token["box"]:
            opened.append((token.start(), token.end()))
        elif token["bare"]:
            boxes.append(_Box(token.start(), token.start("bare"), token.end("bare"), token.end()))
        elif token["brace"] == "{":
            opened.append(None)
        elif token["brace"] and opened:
            box = opened.pop()
            if box is not None:
                boxes.append(_Box(*box, token.start(), token.end()))
    return sorted(boxes)


def _locate_tokens(text: str) -> list[_Box]:
    boxes: list[_Box] = []
    start = text.find(_OPEN_TOKEN)
    while start >= 0:
        begins = start + len(_OPEN_TOKEN)
        ends = text.find(_CLOSE_TOKEN, begins)
        if ends < 0:
            break
        boxes.append(_Box(start, begins, ends, ends + len(_CLOSE_TOKEN)))
        start = text.find(_OPEN_TOKEN, ends)
    return boxes


def _unquote(text: str) -> str:
    r"""Strip the single quotes that models copy from the instruction's example, \boxed{'…'}."""
    quoted = len(text) > 1 and text[0] == text[-1] == "'"
    return text[1:-1].strip() if quoted else text
