r"""Extracting the answer from a response.

    extract_answer(r"<think>\boxed{1}</think> It is \boxed{2}.")     # "2"
    extract_answer(r"The roots are \boxed{2} and \boxed{3}.")        # "2, 3"

Thinking is stripped first: nothing in it is an answer, even if it never ends. The answer is the last box, else the last
`<answer>…</answer>`, else the last "Answer:" line, else a last line after "####" (anywhere else, that is a heading).
Boxes joined only by commas, "and" or "or" are one answer with several parts; otherwise the last box counts. Every step
is linear in the response's length.
"""

import re

_THINKING = re.compile(
    r"<(?P<end>/?)(?:think|thinking|thought)>|\[(?P<end2>/?)THINK\]|\u25c1(?P<end3>/?)think\u25b7"
    r"|<\|(?:begin|(?P<end4>end))_of_thought\|>",
    re.IGNORECASE,
)
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)  # `--stop </answer>` cuts the closing tag
_LINE = re.compile(r"^[ \t*#]*(?:Final[ \t]+)?Answer[ \t*]*:[ \t*]*(\S[^\n]*)$", re.MULTILINE | re.IGNORECASE)
_LAST_LINE = re.compile(r"^[ \t]*####(?!#)[ \t]*(\S[^\n]*)\Z", re.MULTILINE)
_BOX = re.compile(r"\\{1,4}(?:boxed|fbox)")
_BRACES = re.compile(
    r"(?P<box>\\{1,4}(?:boxed|fbox)\s*\{)|\\{1,4}boxed[ ]{1,4}(?P<bare>[+-]?\d[\w/^]*(?:\.\d+)?|[A-Za-z](?!\w))"
    r"|\\.|(?P<brace>[{}])",
    re.DOTALL,
)
_FILLER = r"(?:[\s$*~]|\\[,;:! ()\[\]]|\\q?quad(?![A-Za-z]))*"
_JOINT = re.compile(
    rf"{_FILLER}(?:[,;]|(?:\\text\s*\{{\s*)?,?\s*\b(?:and|or|maybe|perhaps|possibly)\b\s*\}}?){_FILLER}"
    rf"(?:\b(?:and|or|maybe|perhaps|possibly|even)\b{_FILLER})*(?:[A-Za-z](?:_\{{?\w\}}?)?\s*=\s*)?{_FILLER}",
    re.IGNORECASE,
)
_MINUS = re.compile(r"(?:^|[=$(\s])-\$?\Z")
_REST = re.compile(r"/\s*\d+|\.\d+|\^\{?\d+\}?|\s*\\?%|\s*(?:\\text\s*\{\s*)?(?:hundred|[mbtr]+illion|thousand)\s*\}?")
"""Text directly after a box that changes its value."""
_ANNOUNCED = re.compile(
    r"\A(?:\\text\s*\{)?\s*(?:the\s+)?(?:correct\s+|final\s+)?answer\s*(?:is|:|=)\s*:?\s*\}?\s*(?=\S)", re.IGNORECASE
)
_HOPE = re.compile(r"\s*I hope it is correct\s*\.?\s*\Z", re.IGNORECASE)

JOINT_CHARACTERS = 40
"""Longer text between two boxes is prose, and the second box replaces the first."""


def extract_answer(response: str) -> str | None:
    """The final answer in the response's own wording; None if it gives none."""
    visible = strip_thinking(response)
    if visible is None:
        return None
    boxed = find_last_box(visible)
    if boxed is not None:
        return _ANNOUNCED.sub("", boxed) or None
    marked = _find_last(_TAG, visible) or _find_last(_LINE, visible) or _find_last(_LAST_LINE, visible.rstrip())
    if not marked:
        return None
    return _HOPE.sub("", _ANNOUNCED.sub("", marked.strip(" \t\r\n*"))).strip() or None


def strip_thinking(response: str) -> str | None:
    """The text after the thinking; None if the thinking never ends."""
    tags = list(_THINKING.finditer(response))
    if not tags:
        return response
    return response[tags[-1].end() :] if any(tags[-1].groups()) else None


def find_last_box(text: str) -> str | None:
    r"""The stripped content of the last `\boxed{…}` or `\fbox{…}` whose braces close; None if there is none.

    Earlier boxes separated from it only by commas, "and" or "or" are parts of the same answer, joined by ", ".
    """
    boxes = _locate_boxes(text)
    if not boxes:
        return None
    start, begins, ends, _ = boxes[-1]
    parts = [text[begins:ends]]
    for earlier_start, begins, ends, end in reversed(boxes[:-1]):
        if end > start:
            continue  # it contains the later box
        if start - end > JOINT_CHARACTERS or not _JOINT.fullmatch(text, end, start):
            break
        parts.append(text[begins:ends])
        start = earlier_start
    if len(parts) > 1:
        return ", ".join(_unquote(part.strip()) for part in reversed(parts))
    content, minus, rest = _unquote(parts[0].strip()), _MINUS.search(text[:start]), _REST.match(text, boxes[-1][3])
    return f"{'-' if minus and content else ''}{content}{rest[0] if rest and content else ''}"


def find_boxes(text: str) -> list[str]:
    """The contents of all boxes that close, in order."""
    return [text[begins:ends].strip() for _, begins, ends, _ in _locate_boxes(text)]


def _locate_boxes(text: str) -> list[tuple[int, int, int, int]]:
    """(start, start of content, end of content, end) of each box that closes, sorted by start."""
    first = _BOX.search(text)
    if first is None:
        return []
    boxes = []
    opened: list[tuple[int, int] | None] = []
    for token in _BRACES.finditer(text, first.start()):  # earlier braces belong to no box
        if token["box"]:
            opened.append((token.start(), token.end()))
        elif token["bare"]:
            boxes.append((token.start(), token.start("bare"), token.end("bare"), token.end()))
        elif token["brace"] == "{":
            opened.append(None)
        elif token["brace"] and opened:
            box = opened.pop()
            if box is not None:
                boxes.append((*box, token.start(), token.end()))
    return sorted(boxes)


def _find_last(pattern: re.Pattern[str], text: str) -> str | None:
    found = None
    for match in pattern.finditer(text):
        found = match[1]
    return found


def _unquote(text: str) -> str:
    r"""Strip the single quotes that models copy from the instruction's example, \boxed{'…'}."""
    quoted = len(text) > 1 and text[0] == text[-1] == "'"
    return text[1:-1].strip() if quoted else text
