"""The last expression is shown as in a notebook, and the program is otherwise unchanged."""

import subprocess
import sys

import pytest

from spo_data.sandbox.notebook import show_last


def printed(code: str) -> str:
    """The program's output, with its last expression shown."""
    done = subprocess.run([sys.executable, "-c", show_last(code)], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("6 * 7", "42"),
        ("x = 6\nx * 7", "42"),
        ("'a'", "'a'"),
        ("None", ""),
        ("print(3)", "3"),
        ("x = 5", ""),
        ("for i in range(3):\n    i", ""),
        ("import math\nmath.gcd(12, 18)  # the gcd", "6"),
        ("(1 +\n 2 +\n 3)\n# done", "6"),
        ("a = [1, 2]\n*a, 3", "(1, 2, 3)"),
        ("x = 1; x + 1;", "2"),
        ("é = 'ü'; é", "'ü'"),
        ("x = '''a\nb'''\nx", r"'a\nb'"),
        ("x = 2\r\nx", "2"),
        ("s = 'a\x0cb'\ns", r"'a\x0cb'"),
        ("def f():\n    return 1\nf()", "1"),
        ("f'{1 + 1}'", "'2'"),
        ("(lambda: 4)()", "4"),
        ("", ""),
        ("# nothing", ""),
    ],
)
def test_a_program_prints_what_a_notebook_shows(code: str, shown: str) -> None:
    assert printed(code).strip() == shown


@pytest.mark.parametrize("code", ["x = ", "print(", "\0", "(" * 300, "x = 5", "while False: pass"])
def test_what_has_no_last_expression_or_does_not_parse_is_left_as_it_is(code: str) -> None:
    assert show_last(code) == code


def test_showing_twice_shows_once() -> None:
    assert printed(show_last("6 * 7")) == "42\n"


def test_a_traceback_names_the_line_that_the_model_wrote() -> None:
    assert "line 3" in printed("x = 0\ny = 1\ny / x")
