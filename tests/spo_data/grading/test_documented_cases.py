"""docs/grading.md says which answers math-verify takes: every row of its table is graded here."""

import re
from pathlib import Path

import pytest

from spo_data.grading.comparing.equality import make_rules_table
from spo_data.grading.verdict import Verdict
from spo_data.grading.verifiers.registry import load_verifier

PAGE = Path(__file__).parents[3] / "docs" / "grading.md"
_ROW = re.compile(r"^\| (?P<gold>`.+?`) \| (?P<answers>`.+?`) \| (?P<said>right|wrong) \|", re.MULTILINE)


def _cases() -> list[tuple[str, str, Verdict]]:
    return [
        (row["gold"].strip("`"), answer, Verdict.CORRECT if row["said"] == "right" else Verdict.WRONG)
        for row in _ROW.finditer(PAGE.read_text(encoding="utf-8"))
        for answer in re.findall(r"`(.+?)`", row["answers"])
    ]


@pytest.mark.parametrize(("gold", "answer", "verdict"), _cases())
def test_a_documented_case_is_graded_as_it_says(gold: str, answer: str, verdict: Verdict) -> None:
    response = answer if "\\boxed" in answer else f"\\boxed{{{answer}}}"
    assert load_verifier("math-verify").grade(response, gold).verdict is verdict


def test_the_whole_table_was_read() -> None:
    heading = "## Which answers does `math-verify` call equal?"
    table = PAGE.read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    rows = [line for line in table.splitlines() if line.startswith("| `")]
    assert len(rows) == len(_ROW.findall(table)) > 25


def test_the_documentation_prints_the_rules() -> None:
    assert f"<!-- rules -->\n{make_rules_table()}\n<!-- /rules -->" in PAGE.read_text(encoding="utf-8")
