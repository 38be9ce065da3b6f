"""Which language prompts are in, if their script shows it."""

import pytest

from spo_data.card.language import languages


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["What is 2 + 2?"], ["en"]),
        ([], []),
        (["1 + 1 = "], []),
        (["求 x 的值", "x+1=2"], ["zh"]),
        (["次の方程式を解いてください。答え"], ["ja"]),
        (["방정식을 풀어라"], ["ko"]),
        (["Решите уравнение"], []),
        (["Résous l'équation où x est réel"], []),
        (["What is \N{GREEK SMALL LETTER ALPHA} + \N{MATHEMATICAL ITALIC SMALL X}?"], ["en"]),
        (["求 x 的值" * 3, "Find the value"], ["zh"]),
    ],
)
def test_only_scripts_that_tell_are_answered(texts: list[str], expected: list[str]) -> None:
    assert languages(texts) == expected
