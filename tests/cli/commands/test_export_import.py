"""`spo-data export` and `spo-data import` as a user calls them: printed output, exit statuses, one-line refusals."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner, Result

from spo_cli.commands.export import export
from spo_cli.commands.import_values import import_values
from spo_data.prompts.identity import Message, Prompt

APP = typer.Typer(rich_markup_mode="rich")
APP.command("export")(export)
APP.command("import")(import_values)


def call(*words: str | Path, status: int = 0) -> Result:
    ended = CliRunner(env={"COLUMNS": "200"}).invoke(APP, [str(word) for word in words])
    assert ended.exit_code == status, ended.output
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    return ended


def facts(ended: Result) -> dict[str, str]:
    """The printed facts by name. An unnamed line belongs to the name above it."""
    found: dict[str, str] = {}
    name = ""
    for line in ended.stdout.split("\n\n")[0].splitlines():
        cells = ["", line] if line.startswith(" ") else line.split("  ", 1)
        name = cells[0] or name
        found[name] = " | ".join(filter(None, (found.get(name), cells[-1].strip())))
    return found


def refusal(ended: Result) -> str:
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def ask(text: str, system: str | None = None) -> Prompt:
    turns = [Message("user", text)] if system is None else [Message("system", system), Message("user", text)]
    return Prompt(tuple(turns), "4", "sums")


DRAWN: list[tuple[Prompt, list[float | None]]] = [
    (ask("[red]one[/red]"), [1.0, 0.0, 1.0]),
    (ask("two", "Be brief."), [1.0, 0.0]),
    (ask("twin", "A"), [1.0, 0.0]),
    (ask("twin", "B"), [1.0, 0.0]),
    (ask("few"), [1.0, None]),
    (ask("none"), [None, None]),
]
N = 2


def test_export_says_what_was_written_left_out_and_lost(run: Path, tmp_path: Path) -> None:
    printed = facts(call("export", run, "--format", "spo-json", "--out", tmp_path / "v.json"))
    assert printed == {
        "values": str(run),
        "format": "spo-json: the SPO recipe's {prompt: [scores]}",
        "written": f"{tmp_path}/v.json: 2 of 5 prompts, 2 scores each",
        "left out": "2 prompts share their first user message with another prompt | 1 prompts have fewer than 2 scores",
        "cut": "1 prompts have more scores: their first 2 are written",
        "no value": "1 further prompts of the run have no valid sample",
        "truncated": "responses score 0",
        "lost": printed["lost"],
    } | {"left out": printed["left out"]}
    assert (
        "1 prompts have fewer than 2 scores"
        in call("export", run, "--format", "spo-hf", "--out", tmp_path / "v").stdout
    )
    assert "the policy that the values belong to, prompt ids" in printed["lost"]
    assert "the system prompt or further turns of 1 prompts" in printed["lost"]
    assert json.loads((tmp_path / "v.json").read_text()) == {"[red]one[/red]": [1.0, 0.0], "two": [1.0, 0.0]}


def test_every_format_is_written_and_read_again(run: Path, tmp_path: Path) -> None:
    for format, out in (("spo-hf", "v"), ("verl", "v.parquet"), ("a-star-po", "a.parquet")):  # noqa: A001
        printed = facts(call("export", run, "--format", format, "--out", tmp_path / out))
        assert printed["format"].startswith(f"{format}: ")
        assert printed["written"].startswith(f"{tmp_path}/{out}: ")
    printed = facts(call("import", tmp_path / "a.parquet", "--out", tmp_path / "in"))
    assert printed["read as"] == "A*-PO's responses and rewards"
    assert printed["prompts"] == "4 with a value; scores: 4 prompts have 2"
    assert printed["written"] == f"{tmp_path}/in: values/ and samples/ (8 responses)"
    assert "n_truncated" in printed["null"]
    call("export", tmp_path / "in", "--format", "a-star-po", "--out", tmp_path / "again.parquet")
    first, second = (
        pq.read_table(tmp_path / name).drop_columns("extra_info") for name in ("a.parquet", "again.parquet")
    )
    assert first == second


def test_what_exists_is_not_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "v.json").write_text("mine")
    ended = call("export", run, "--format", "spo-json", "--out", tmp_path / "v.json", status=2)
    assert refusal(ended).endswith(f"already exists: choose another path, or remove it (rm -r {tmp_path}/v.json)")
    assert (tmp_path / "v.json").read_text() == "mine"
    assert "already exists" in refusal(call("import", tmp_path / "v.json", "--out", run, status=2))


def dump(path: Path, *lines: dict[str, Any]) -> Path:
    whole = [
        {"input": "user\n[b]2 + 2?[/b]\nassistant\n", "output": "4", "gts": "4", "score": 1.0, **line} for line in lines
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in whole))
    return path


def test_a_dump_alone_says_that_it_will_not_join_and_what_would(tmp_path: Path) -> None:
    path = dump(tmp_path / "0 a.jsonl", {}, {"score": None}, {"input": " "}, {"input": "", "score": 0.0})
    ended = call("import", path, "--out", tmp_path / "in")
    printed = facts(ended)
    assert printed["read as"] == "verl's validation dump"
    assert printed["prompts"] == "1 with a value; scores: 1 prompts have 1"
    assert printed["ungraded"].startswith("1 draws have no score")
    assert printed["left out"] == f"2 rows have an empty input | the first: {path}, line 3"
    assert "their ids will not join" in ended.stdout
    again = f"spo-data import '{path}' --out {tmp_path}/in-joined --dataset TRAIN --model MODEL"
    assert again in ended.stdout.splitlines()[-1]


def test_a_dump_with_its_dataset_joins(tmp_path: Path) -> None:
    training = tmp_path / "train.jsonl"
    training.write_text(json.dumps({"question": "What is 2 + 2?", "answer": "4"}) + "\n")
    rendered = "system\nAdd.\nuser\nWhat is 2 + 2?\nassistant\n"
    path = dump(tmp_path / "0.jsonl", {"input": rendered}, {})
    how = ("--dataset", training, "--model", "smollm2-135m", "--template", "none", "--system", "Add.")
    ended = call("import", path, "--out", tmp_path / "in", *how)
    assert facts(ended)["left out"] == (
        f"1 rows match no training prompt | the first: {path}, line 2 user [b]2 + 2?[/b] assistant"
    )
    assert "will not join" not in ended.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--template", "none"), "--template says how to read --dataset, which is not given"),
        (("--model", "smollm2-135m"), "give --dataset and --model together"),
        (("--dataset", "nowhere.jsonl", "--model", "smollm2-135m"), "nowhere.jsonl: no such file"),
        (("--revision", "main"), "is local: --revision main does not apply"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    ended = call("import", dump(tmp_path / "0.jsonl", {}), "--out", tmp_path / "in", *options, status=2)
    assert message in refusal(ended)


def test_pass_rates_say_what_they_do_not_know(tmp_path: Path) -> None:
    rows = [{"prompt": "2 + 2?", "solution": "4", "pass_rate_rewards": [1.0, float("nan")]}]
    pq.write_table(pa.Table.from_pylist(rows * 2), tmp_path / "a.parquet")
    printed = facts(call("import", tmp_path / "a.parquet", "--out", tmp_path / "in"))
    assert printed["prompts"] == "1 with a value; scores: 1 prompts have 2"
    assert printed["repeated"] == "1 prompts occur more than once: their draws are merged"
    assert printed["ungraded"] == "2 draws have no score: counted in n_failed, excluded from values"
    assert printed["null"].endswith("a system prompt may have been used: the source does not say")


def test_verls_rows_are_read_again(run: Path, tmp_path: Path) -> None:
    """`import` refused the file that `export` had just written for verl."""
    call("export", run, "--format", "verl", "--out", tmp_path / "v.parquet")
    printed = facts(call("import", tmp_path / "v.parquet", "--out", tmp_path / "in"))
    assert printed["read as"] == "verl's training rows, with a value and no scores"
    assert printed["prompts"] == "5 with a value; scores: none"
    assert printed["written"] == f"{tmp_path}/in: values/"


def test_hostile_sources_and_places_are_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each source ended in a traceback, except `{}`, which imported nothing and exited with status 0."""
    for name, text, message in (
        ("none.json", "{}", "has no values (no rows)"),
        ("deep.jsonl", "[" * 200_000, "line 1: not JSON in UTF-8"),
        ("large.json", f'{{"p": [{10**400}]}}', "is not in [0, 1]"),
    ):
        (tmp_path / name).write_text(text)
        assert message in refusal(call("import", tmp_path / name, "--out", tmp_path / "in", status=2))
    monkeypatch.chdir(tmp_path)
    assert "--out . already exists" in refusal(call("import", "large.json", "--out", ".", status=2))


def test_json_says_what_was_written_and_what_was_not(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "v.json"
    assert json.loads(call("export", run, "--format", "spo-json", "--out", out, "--json").stdout) == {
        "values": {"source": str(run), "revision": None, "prompts": 5},
        "format": "spo-json",
        "path": str(out),
        "prompts": 2,
        "n": 2,
        "cut": 1,
        "left_out": {
            "share their first user message with another prompt": 2,
            "have fewer than 2 scores": 1,
        },
        "no_value": 1,
        "unfinished": 0,
        "lost": json.loads(call("export", run, "--format", "spo-json", "--out", tmp_path / "w.json", "--json").stdout)[
            "lost"
        ],
    }
    path = dump(tmp_path / "0.jsonl", {}, {"score": None}, {"input": " "})
    imported = json.loads(call("import", path, "--out", tmp_path / "in", "--json").stdout)
    assert imported["example"] == {"reason": "have an empty input", "where": f"{path}, line 3", "text": ""}
    assert (imported["layout"], imported["joined"], imported["folder"]) == ("dump", False, str(tmp_path / "in"))
    assert (imported["prompts"], imported["ungraded"], imported["scores"]) == (1, 1, {"1": 1})
    assert (imported["left_out"], imported["unfinished"]) == ({"have an empty input": 1}, 0)
