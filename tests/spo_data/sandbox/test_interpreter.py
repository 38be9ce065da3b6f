"""What the model is told about a program."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_data.sandbox.interpreter import Execution, Limits, describe_for_model, shorten

LIMITS = Limits(seconds=2, memory_mb=256)


@pytest.mark.parametrize(
    ("execution", "text"),
    [
        (Execution("42\n", "", 0), "42"),
        (Execution("", "", 0), ""),
        (Execution("", "Traceback\nValueError: x\n", 1), "Traceback\nValueError: x"),
        (Execution("1\n", "warning\n", 0), "1\nwarning"),
        (Execution("  indented\n", "", 0), "  indented"),
        (Execution("1\n", "", None, "time"), "1\nTimeoutError: the program was stopped after 2 seconds"),
        (Execution("", "", None, "memory"), "MemoryError: the program was stopped at 256 MB"),
        (Execution("", "", None, "output"), "OutputError: the program was stopped after 1 MB of output"),
    ],
)
def test_the_model_reads_output_then_errors_then_the_limit(execution: Execution, text: str) -> None:
    assert describe_for_model(execution, LIMITS, 2000) == text


def test_a_long_output_keeps_both_ends_and_says_how_much_is_missing() -> None:
    assert describe_for_model(Execution("a" * 50 + "b" * 50, "", 0), LIMITS, 10) == (
        "aaaaa\n... (90 characters left out) ...\nbbbbb"
    )


def test_the_limit_that_ended_a_program_is_told_however_much_it_wrote() -> None:
    text = describe_for_model(Execution("x" * 10_000, "", None, "output"), LIMITS, 100)
    assert text.endswith("OutputError: the program was stopped after 1 MB of output")
    assert len(text) < 160


@given(st.text(max_size=60), st.integers(1, 40))
def test_what_is_left_of_a_text_and_what_the_mark_says_add_up(text: str, characters: int) -> None:
    short = shorten(text, characters)
    if len(text) <= characters:
        assert short == text
        return
    head, tail = (characters + 1) // 2, characters // 2
    assert short == f"{text[:head]}\n... ({len(text) - characters} characters left out) ...\n{text[len(text) - tail :]}"
