"""A program's last expression is shown, as a notebook shows it.

    show_last("x = 6 * 7\nx")      # its value is printed, unless it is None

The text changes in that expression only, so that tracebacks name the lines that the model wrote. (Wrapping the last
line in `print(...)`, as the reference does, breaks loops, assignments and comments.)
"""

import ast
import re
import warnings

_SHOW = b"__import__('sys').displayhook((%b))"
"""Two pairs of parentheses: `*a, b` is a tuple, not two arguments."""


_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
"""Python's lines: its parser does not end one at a form feed or a Unicode separator."""


def show_last(code: str) -> str:
    """The program with its last statement displayed, where that is an expression; as it is where it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in the model's program is its own matter
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # the interpreter will say what is wrong with it
    if not body or not isinstance(body[-1], ast.Expr):
        return code
    last = body[-1]
    assert last.end_lineno is not None
    assert last.end_col_offset is not None
    lines = [line.encode() for line in _LINE.findall(code)]
    before = b"".join([*lines[: last.lineno - 1], lines[last.lineno - 1][: last.col_offset]])
    within = b"".join(lines[: last.end_lineno - 1]) + lines[last.end_lineno - 1][: last.end_col_offset]
    whole = b"".join(lines)
    shown: bytes = before + _SHOW % within[len(before) :] + whole[len(within) :]
    return shown.decode()
