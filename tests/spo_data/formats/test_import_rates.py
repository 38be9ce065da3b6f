"""Pass rates as datasets hold them: under which names, as which texts, and which column was taken."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spo_data.errors import UserError
from spo_data.formats.import_report import ImportReport
from spo_data.formats.import_values import import_values
from spo_data.formats.load import load_values
from spo_data.formats.readers.rates import is_rate_column, read_rate


def _import(folder: Path, *rows: Mapping[str, Any], **options: str) -> ImportReport:
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), folder / "rates.parquet")
    return import_values(str(folder / "rates.parquet"), folder / "in", **options)


def _values(folder: Path) -> list[tuple[float, int | None]]:
    return [(row["value"], row["n_valid"]) for row in load_values(folder / "in").rows()]


def _rows(column: str, *rates: Any) -> list[dict[str, Any]]:
    return [{"problem": f"{k} + 1?", "answer": str(k + 1), column: rate} for k, rate in enumerate(rates)]


@pytest.mark.parametrize(
    ("column", "rates", "values"),
    [
        ("llama8b_solve_rate", [0.25, None, 1.0], [(0.25, None), (1.0, None)]),
        ("solve_rate_qwen_r1_distill_7b", [0.5], [(0.5, None)]),
        ("Pass_Rate", [1], [(1.0, None)]),
        ("pass_rate_72b_tir", ["0.65625", "n/a", "1.0"], [(0.65625, None), (1.0, None)]),
        ("qwen_pass_rate", ["6/8", "0/8", " 3 / 4 "], [(0.75, 8), (0.0, 8), (0.75, 4)]),
        ("success_rate", ["75%", ""], [(0.75, None)]),
    ],
)
def test_pass_rates_are_read_as_they_are_written(
    column: str, rates: list[Any], values: list[Any], tmp_path: Path
) -> None:
    """A rate that was a text, or under a solve rate's name, was refused as an unknown layout."""
    imported = _import(tmp_path, *_rows(column, *rates))
    assert _values(tmp_path) == values
    assert (imported.layout, imported.column) == ("pass-rate", column)
    assert sum(imported.left_out.values()) == len(rates) - len(values)
    assert f"from the column `{column}`" in (tmp_path / "in" / "README.md").read_text()


def test_two_pass_rates_are_refused_until_one_is_chosen(tmp_path: Path) -> None:
    rows = [{**row, "b_solve_rate": 1.0} for row in _rows("a_pass_rate", 0.5)]
    with pytest.raises(
        UserError, match="several pass rates, a_pass_rate, b_solve_rate: choose one with --value-column"
    ):
        _import(tmp_path, *rows)
    assert _import(tmp_path, *rows, value_column="b_solve_rate").column == "b_solve_rate"
    assert _values(tmp_path) == [(1.0, None)]


def test_a_spread_beside_a_pass_rate_is_no_second_one(tmp_path: Path) -> None:
    rows = [{**row, "pass_rate_bernoulli_std": 0.01} for row in _rows("pass_rate", 0.5)]
    assert _import(tmp_path, *rows).column == "pass_rate"


def test_fractions_under_another_name_are_offered_and_never_taken(tmp_path: Path) -> None:
    """A difficulty of 6/8 may count what was solved or what was not: only the user knows."""
    rows = _rows("difficulty", "6/8", None)
    with pytest.raises(
        UserError, match=r"--value-column names .* such as difficulty if its fractions are solved of sa"
    ):
        _import(tmp_path, *rows)
    _import(tmp_path, *rows, value_column="difficulty")
    assert _values(tmp_path) == [(0.75, 8)]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("rate", "--value-column rate: .* has no such column; the columns are problem, answer, pass_rate, tags"),
        ("tags", "--value-column tags: .* has no numbers or texts in it"),
    ],
)
def test_a_value_column_that_holds_no_rates_is_refused(column: str, message: str, tmp_path: Path) -> None:
    rows = [{**row, "tags": ["a"]} for row in _rows("pass_rate", 0.5)]
    with pytest.raises(UserError, match=message):
        _import(tmp_path, *rows, value_column=column)


def test_a_value_column_is_only_for_tables(tmp_path: Path) -> None:
    (tmp_path / "values.json").write_text('{"a": [1.0]}')
    with pytest.raises(UserError, match=r"--value-column rate: .*json is no parquet"):
        import_values(str(tmp_path / "values.json"), tmp_path / "in", value_column="rate")


def test_imported_multiple_choice_and_images_are_read_as_an_estimate_reads_them(tmp_path: Path) -> None:
    choice = {"question": "Which?", "choices": ["4", "7"], "answer": "B", "images": None, "pass_rate": 0.5}
    image = {"question": "Find x.", "choices": None, "answer": "7", "images": ["x.png"], "pass_rate": 0.5}
    imported = _import(tmp_path, choice, image)
    (row,) = load_values(tmp_path / "in").rows()
    assert row["prompt"].startswith("Which?\n\nA. 4\nB. 7")
    assert row["ground_truth"] == "B"
    assert imported.left_out == {"are not a prompt: has_image": 1}


@pytest.mark.parametrize("name", ["pass_rate_rewards", "pass_rate_generations", "passed", "rate", "learning_rate"])
def test_other_columns_are_no_pass_rates(name: str) -> None:
    assert not is_rate_column(name)


def test_a_fraction_of_nothing_is_no_rate() -> None:
    assert read_rate("0/0", "row 0") == (None, None)
