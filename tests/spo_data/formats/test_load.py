"""Values read from run folders, parquet and JSON, and what is refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import spo_data
from spo_data.errors import UserError
from spo_data.formats.load import load_values
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import Completeness, GraderRecord
from spo_data.values.schema import values_schema
from spo_data.values.scores import make_table, make_value_row
from support.records import make_manifest

MANIFEST = make_manifest(n=1)
PROMPTS = [
    Prompt((Message("system", "Brief."), Message("user", f" {k} + {k}?\n")), str(2 * k), "sums", {"index": k})
    for k in range(3)
]
SCORES = ([1.0, 0.0, 1.0, 0.0], [0.0], [0.25, 1.0])


def rows_of_a_run() -> list[dict[str, Any]]:
    known = {"value_low": 0.0, "value_high": 1.0, "n_truncated": 0, "n_no_answer": 0, "n_failed": 0}
    return [
        {**make_value_row(prompt, scores, **known), "extra_info": json.dumps(prompt.extra_info)}
        for prompt, scores in zip(PROMPTS, SCORES, strict=True)
    ]


def write(path: Path, rows: list[dict[str, Any]], *, provenance: Any = MANIFEST.provenance) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=values_schema(provenance)), path)
    return path


def test_a_run_folder_is_read_with_its_provenance(tmp_path: Path) -> None:
    write(tmp_path / "values" / "train-00000-of-00001.parquet", rows_of_a_run())
    MANIFEST.write(tmp_path)
    values = spo_data.load_values(tmp_path)
    assert len(values) == 3
    assert values.prompt_ids == [prompt.prompt_id for prompt in PROMPTS]
    assert values.values.dtype == np.float64
    assert values.values.tolist() == [0.5, 0.0, 0.625]
    assert values.provenance == MANIFEST.provenance
    assert (values.source, values.revision) == (str(tmp_path), None)
    assert list(values.prompts()) == PROMPTS
    assert [row["vhat"] for row in values.rows(["vhat"])] == list(SCORES)


def test_a_table_that_left_its_run_still_says_what_it_belongs_to(tmp_path: Path) -> None:
    values = load_values(write(tmp_path / "copied.parquet", rows_of_a_run()))
    assert values.provenance == MANIFEST.provenance


def test_a_table_of_an_earlier_version_takes_its_provenance_from_the_manifest(tmp_path: Path) -> None:
    rows = rows_of_a_run()
    table = pa.Table.from_pylist(rows, schema=values_schema()).drop_columns(
        ["extra_info", "suspect_gold", "n_disputed"]
    )
    (tmp_path / "values").mkdir()
    pq.write_table(table, tmp_path / "values" / "train-00000-of-00001.parquet")
    MANIFEST.write(tmp_path)
    values = load_values(tmp_path)
    assert values.provenance == MANIFEST.provenance
    assert [row["extra_info"] for row in values.rows(["extra_info"])] == [None] * 3


def test_tables_that_a_regrading_left_behind_are_refused(tmp_path: Path) -> None:
    """If a regrade was killed between run.json and the tables, the old grader's values were read as the new one's."""
    write(tmp_path / "values" / "train-00000-of-00001.parquet", rows_of_a_run())
    MANIFEST.model_copy(update={"grader": GraderRecord(verifier="dapo", version="1")}).write(tmp_path)
    with pytest.raises(UserError, match=r"verdicts of exact, but run\.json names dapo: .*run `spo-data regrade"):
        load_values(tmp_path)


def test_half_drawn_prompts_of_an_earlier_version_are_left_out_and_counted(tmp_path: Path) -> None:
    """Their values are the mean of the responses that ended first, which are the right ones: spo-train took them."""
    provenance = MANIFEST.provenance.model_copy(update={"n": 2})
    values = load_values(write(tmp_path / "copied.parquet", rows_of_a_run(), provenance=provenance))
    assert values.prompt_ids == [PROMPTS[0].prompt_id, PROMPTS[2].prompt_id]
    assert values.completeness == Completeness(prompts=3, unfinished=1, without_value=0)
    assert "1 of the run's 3 prompts are unfinished" in values.gap


@pytest.mark.parametrize(
    ("counts", "unfinished", "without_value"),
    [
        ({"prompts": 9, "samples": 7, "undrawn": 0}, 7, 0),
        ({"prompts": 9, "samples": 12, "undrawn": 4}, 2, 5),
        ({"prompts": 9, "samples": 12, "undrawn": 6}, 1, 6),
    ],
)
@pytest.mark.parametrize("recorded", [True, False])
def test_the_run_of_an_earlier_version_is_as_complete_as_its_manifest_says(
    tmp_path: Path, counts: dict[str, int], unfinished: int, without_value: int, recorded: bool
) -> None:
    """Its table does not say how many prompts the run has, and the earliest tables not even what they belong to."""
    old = MANIFEST.model_copy(update={"n": 2})
    provenance = old.provenance if recorded else None
    write(tmp_path / "values" / "train-00000-of-00001.parquet", rows_of_a_run(), provenance=provenance)
    written = json.loads(old.model_dump_json()) | {"schema_version": 4, "command": "spo-data estimate"}
    written["counts"] = {"dropped": {}, "verdicts": {}, "missing": 3, **counts}
    (tmp_path / "run.json").write_text(json.dumps(written))
    values = load_values(tmp_path)
    assert values.completeness == Completeness(prompts=9, unfinished=unfinished, without_value=without_value)
    assert values.gap.endswith("; `spo-data estimate` continues the run") == bool(unfinished)


def test_files_of_different_times_are_refused(tmp_path: Path) -> None:
    for place, unfinished in enumerate((1, 2)):
        completeness = Completeness(prompts=4, unfinished=unfinished, without_value=0)
        schema = values_schema(MANIFEST.provenance, completeness)
        table = pa.Table.from_pylist(rows_of_a_run()[place : place + 1], schema=schema)
        (tmp_path / "values").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "values" / f"train-0000{place}-of-00002.parquet")
    with pytest.raises(UserError, match="were written at different times"):
        load_values(tmp_path)


def test_files_of_different_policies_are_refused(tmp_path: Path) -> None:
    other = make_manifest(policy={"temperature": 0.5}, n=1).provenance
    write(tmp_path / "values" / "train-00000-of-00002.parquet", rows_of_a_run()[:1])
    write(tmp_path / "values" / "train-00001-of-00002.parquet", rows_of_a_run()[1:], provenance=other)
    with pytest.raises(UserError, match="values of different policies"):
        load_values(tmp_path)


@pytest.mark.parametrize("place", ["data/train-00000-of-00001.parquet", "anything.parquet"])
def test_the_published_columns_are_read_from_a_folder_without_a_run(tmp_path: Path, place: str) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"prompt": ["a ", "b"], "vhat": [[1, 0], [0.5, 0.5, 0.5]]}), path)
    values = load_values(tmp_path)
    assert values.values.tolist() == [0.5, 0.5]
    assert values.provenance is None
    first, second = values.rows()
    assert (first["prompt"], first["n"], first["n_valid"], first["n_correct"]) == ("a", 2, 2, 1)
    assert (second["n"], second["n_correct"]) == (3, None)
    assert {first[name] for name in ("value_low", "value_high", "n_truncated", "n_failed", "ground_truth")} == {None}
    assert values.prompt_ids == [spo_data.prompt_id([Message("user", text)]) for text in ("a", "b")]


def test_only_the_train_split_is_read_as_the_reference_reads_it(tmp_path: Path) -> None:
    """Prompts of the test split were mixed with the training prompts."""
    for split, text in (("train", "a"), ("test", "b")):
        (tmp_path / "data").mkdir(exist_ok=True)
        path = tmp_path / "data" / f"{split}-00000-of-00001.parquet"
        pq.write_table(pa.table({"prompt": [text], "vhat": [[1.0]]}), path)
    assert [row["prompt"] for row in load_values(tmp_path).rows()] == ["a"]
    (tmp_path / "data" / "train-00000-of-00001.parquet").rename(tmp_path / "data" / "validation.parquet")
    with pytest.raises(UserError, match=r"the name of none begins with train"):
        load_values(tmp_path)


def test_the_recipe_s_json_is_read(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text(json.dumps({"ä\n": [1, 0.0], "b": [1.0]}))
    assert load_values(path).values.tolist() == [0.5, 1.0]


def change(row: int, **columns: Any) -> list[dict[str, Any]]:
    rows = rows_of_a_run()
    rows[row].update(columns)
    return rows


BAD_ROWS = [
    ("prompt_id", 1, change(1, prompt_id=None), "is missing"),
    ("value", 2, change(2, value=None), "is missing"),
    ("value", 0, change(0, value=1.5), "is 1.5, which is not in"),
    ("value", 0, change(0, value=float("nan")), "is NaN"),
    ("value", 1, change(1, value=0.25), "is 0.25, which is not the mean of vhat"),
    ("vhat", 2, change(2, vhat=[2.0], value=1.0), "has the score 2.0"),
    ("vhat", 1, change(1, vhat=[float("nan")]), "has the score nan"),
    ("vhat", 1, change(1, vhat=[None]), "has the score nan"),
    ("n_valid", 0, change(0, n_valid=8), "is 8, which is not the number of scores"),
    ("n_correct", 0, change(0, n_correct=7), "is 7, which is more than n_valid"),
    ("n", 0, change(0, n=8), "is 8, which is not the sum of n_valid and n_failed"),
    ("n_disputed", 0, change(0, n_disputed=9), "is 9, which is more than n_valid"),
    ("value_low", 0, change(0, value_low=0.75), "is 0.75, which is above the value"),
    ("value_high", 0, change(0, value_high=0.25), "is 0.25, which is below the value"),
    ("value_low", 0, change(0, value_low=-0.5), "is -0.5, which is not in"),
    ("prompt_id", 1, change(1, prompt_id="f" * 32), "but its messages have"),
    ("prompt_id", 2, change(2, messages=[{"role": "user", "content": "?"}], prompt="?"), "but its messages have"),
    ("prompt", 0, change(0, prompt="another"), "is not the first user message"),
    ("messages", 0, change(0, messages=[{"role": "user", "content": None}]), "without role or content"),
    ("messages", 0, change(0, messages=[None]), "without role or content"),
    ("messages", 0, change(0, messages=[{"role": "system", "content": "x"}]), "has no user message"),
    ("prompt_id", 3, [*rows_of_a_run(), rows_of_a_run()[0]], "repeats the prompt of row 0"),
]


@pytest.mark.parametrize(("column", "row", "rows", "what"), BAD_ROWS)
def test_a_row_that_cannot_be_right_is_refused_by_file_column_and_row(
    tmp_path: Path, column: str, row: int, rows: list[dict[str, Any]], what: str
) -> None:
    path = write(tmp_path / "v.parquet", rows)
    with pytest.raises(UserError) as refused:
        load_values(path)
    assert str(refused.value).startswith(f"{path}: column {column}, row {row}: ")
    assert what in str(refused.value)


def test_a_row_in_a_second_file_is_named_with_that_file(tmp_path: Path) -> None:
    write(tmp_path / "values" / "train-00000-of-00002.parquet", rows_of_a_run()[:2])
    second = write(tmp_path / "values" / "train-00001-of-00002.parquet", change(2, value=0.0)[2:])
    with pytest.raises(UserError, match=f"^{second}: column value, row 0: "):
        load_values(tmp_path)


@pytest.mark.parametrize(
    ("columns", "what"),
    [
        ({"prompt": ["a"], "vhat": [["x"]]}, "column vhat, row 0: score 'x' is not a number"),
        ({"prompt": ["a"], "vhat": [[]]}, "column vhat, row 0: \\[\\] is not a list with at least one score"),
        ({"prompt": ["a"], "vhat": [[True]]}, "column vhat, row 0: score True is not a number"),
        ({"prompt": ["a"], "vhat": [[-1.0]]}, "column vhat, row 0: score -1.0 is not in"),
        ({"prompt": ["a"], "vhat": [[None]]}, "column vhat, row 0: score None is not a number"),
        ({"prompt": ["a", " "], "vhat": [[1], [1]]}, "column prompt, row 1: ' ' is not a text"),
        ({"prompt": [1], "vhat": [[1]]}, "column prompt, row 0: 1 is not a text"),
        ({"prompt": ["a", "b", "a "], "vhat": [[1], [1], [0]]}, "column prompt_id, row 2: repeats the prompt of row 0"),
        ({"question": ["a"], "answer": ["b"]}, "has neither .* but question, answer: `spo-data import`"),
        ({"prompt_id": [1], "vhat": ["x"]}, "column vhat is string, not list"),
    ],
)
def test_foreign_columns_that_are_none_are_refused(tmp_path: Path, columns: dict[str, Any], what: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "v.parquet")
    with pytest.raises(UserError, match=what):
        load_values(tmp_path / "v.parquet")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[1]", "is not a JSON object"),
        ('{"a": [1], ', "cannot be read as JSON"),
        ('{"a": [1], "a": [0]}', "column prompt_id, row 1: repeats the prompt of row 0"),
        ('{"a": {"b": 1}}', "column vhat, row 0"),
        ('{"a": [NaN]}', "score nan is not a number"),
        ('{"a": 1}', "column vhat, row 0: 1 is not a list"),
        ("[" * 200_000, "cannot be read as JSON"),
    ],
)
def test_json_that_is_no_table_of_scores_is_refused(tmp_path: Path, text: str, what: str) -> None:
    """If a key occurred twice, a dict silently kept only the last one."""
    path = tmp_path / "v.json"
    path.write_text(text)
    with pytest.raises(UserError, match=what):
        load_values(path)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("absent.parquet", "no such file or folder"),
        ("./absent", "no such file or folder"),
        ("a/b/c", "no such file or folder"),
        ("absent", "no such file or folder, and not a Hub id"),
        ("empty", "has no values/"),
        ("text.txt", "is neither parquet nor JSON: `spo-data import"),
        ("broken.parquet", "cannot be read as parquet"),
        ("begun", "has no table of values yet"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("begun").mkdir()
    MANIFEST.write(Path("begun"))
    Path("text.txt").write_text("x")
    Path("broken.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match=what) as refused:
        load_values(name)
    assert "\n" not in str(refused.value)


def test_a_revision_of_something_local_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is local: --revision main does not apply"):
        load_values(tmp_path, "main")


def test_values_are_compared_with_a_tolerance_for_the_order_of_summation(tmp_path: Path) -> None:
    scores = [0.1] * 7
    row = make_value_row(replace(PROMPTS[0]), scores)
    row["value"] = float(np.mean(scores))
    assert load_values(write(tmp_path / "v.parquet", [row])).values.tolist() == [pytest.approx(0.1)]


def test_rows_become_a_table_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    import spo_data.values.scores

    monkeypatch.setattr(spo_data.values.scores, "BATCH", 2)
    table = make_table(rows_of_a_run())
    assert (table.num_rows, table.column("value").num_chunks) == (3, 2)
