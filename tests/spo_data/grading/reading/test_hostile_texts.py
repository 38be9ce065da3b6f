"""Reading an answer takes time in proportion to its length, whatever it repeats."""

import time

import pytest

from spo_data.grading.reading.read import read_answer

SECONDS = 5
"""Of this process's own time: each text below takes a tenth of a second if every step is linear."""
SCRAPS = {
    "brackets": ("1,", "1, ", "x=1,", "(", "(1,", "{", "}", "[1,", "]", "\\", "\\{", "\\}", "a=1,b=2;", "|", "\\{1|"),
    "words": ("\\text{a}", "\\text{", "\\text{ and }", "x \\text{ or } ", "12 boys, ", "\\text{x}=1, ", "is: "),
    "commands": ("\\frac", "\\frac{", "\\frac1", "\\sqrt", "\\sqrt(", "\\left(", "\\begin{pmatrix}", "\\\\ ", "&"),
    "relations": ("\\pm ", "\\approx 1 ", "\\equiv", "\\pmod{7}", "\\le ", "\\in ", "=", "<", "1:", "a:b", "1 or "),
    "units": ("m/s ", "5 cm ", "cm^2 ", "^{2}", "/", "万", "5元", "5 million ", "12 boys ", "USD", "%", "$1$ ", "²"),
    "functions": ("f'(x)", "f(x)", "'", "...", "0.11", "n!", "sin(x)^2", "sqrt(", "x10^", "(approx ", "\\vec{a}"),
    "spaces": (" ", "\n", "\n\n", "\\,", "\\ ", "~", "\u200b", '["1",', '"', "-", "+-", "**", "x", "1", "there are "),
}


@pytest.mark.slow
@pytest.mark.parametrize("scraps", SCRAPS.values(), ids=SCRAPS.keys())
def test_reading_is_linear_in_hostile_text(scraps: tuple[str, ...]) -> None:
    """A lead-in was looked for with nested repetition: twenty letters x took longer than the time limit."""
    read_answer("5 zorbs")  # pint's registry is loaded once
    started = time.process_time()
    for scrap in scraps:
        for begins in ("", "5 "):
            read_answer((begins + scrap * (9_900 // len(scrap)))[:9_900])
    assert time.process_time() - started < SECONDS
