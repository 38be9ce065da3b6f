r"""The answer in a response: thinking stripped, then the last box, else the last `<answer>…</answer>`, else the last
"Answer:" line, else a last line after "####" (elsewhere that is a heading).

    extract_answer(r"<think>\boxed{1}</think> It is \boxed{2}.")     # "2"

An answer inside the thinking, or in thinking that never ends, is not an answer.
"""

import re

_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.DOTALL)  # `--stop </answer>` cuts the closing tag
_LINE = re.compile(r"^[ \t*]*Answer:[ \t*]*(\S.*?)[ \t*]*$", re.MULTILINE)
_LAST_LINE = re.compile(r"^[ \t]*####(?!#)[ \t]*(\S.*?)\s*\Z", re.MULTILINE)


def extract_answer(response: str) -> str | None:
    """The final answer as the response words it; None where it gives none."""
    visible = strip_thinking(response)
    if visible is None:
        return None
    boxed = last_boxed(visible)
    if boxed is not None:
        return boxed or None
    marked = _TAG.findall(visible) or _LINE.findall(visible) or _LAST_LINE.findall(visible)
    return marked[-1].strip() or None if marked else None


def strip_thinking(response: str) -> str | None:
    """What follows the thinking; None where the thinking never ends."""
    before, mark, visible = response.rpartition("</think>")
    if "<think>" in (visible if mark else response):
        return None
    return visible if mark else before + visible


def last_boxed(text: str) -> str | None:
    r"""The stripped content of the last `\boxed{…}` or `\fbox{…}` whose braces close; None where there is none."""
    for match in reversed(list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))):
        depth = 1
        position = match.end()
        while position < len(text):
            character = text[position]
            if character == "\\":
                position += 1  # an escaped brace is not a brace
            elif character == "{":
                depth += 1
            elif character == "}":
                depth -= 1
                if depth == 0:
                    return _unquoted(text[match.end() : position].strip())
            position += 1
    return None


def _unquoted(text: str) -> str:
    r"""The instruction's example writes \boxed{'…'}, and models copy its quotes."""
    quoted = len(text) > 1 and text[0] == text[-1] == "'"
    return text[1:-1].strip() if quoted else text
