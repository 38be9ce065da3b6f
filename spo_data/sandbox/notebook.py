"""Show a program's last expression, as a notebook does.

    show_last("x = 6 * 7\nx")      # its value is printed, unless it is None

Only that expression's text changes, so tracebacks still name the lines that the model wrote. (The reference wraps the
last line in `print(...)`, which breaks loops, assignments and comments.)
"""

import ast
import re
import warnings

_SHOW = b"__import__('sys').displayhook((%b))"
"""Two pairs of parentheses, because `*a, b` is a tuple, not two arguments."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|$)")
"""A line as Python's parser sees it: a form feed or a Unicode separator does not end it."""


def show_last(code: str) -> str:
    """Return the program, its last statement displayed if it is an expression; unchanged if it does not parse."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about the model's program, such as an invalid escape
            body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return code  # the interpreter will report the error
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
