"""`spo-data report`: what it prints and what it refuses."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from spo_cli.commands.report import report
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import ToolsRecord
from support.made_runs import make_run
from support.records import make_manifest

PROMPT = Prompt((Message("user", "1 + 1?"),), "2", "sums")
DRAWN = [(PROMPT, [1.0, 1.0])]
N = 2


def call(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(report)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_the_path_and_one_line_are_printed(run: Path) -> None:
    done = call(run)
    assert done.exit_code == 0
    path, line = done.stdout.splitlines()
    assert path == str(run / "report.html")
    assert Path(path).is_file()
    assert line.endswith("MB: 1 prompts, mean value 1.0000 of 1 prompts, complete")


def test_an_incomplete_run_has_a_report_too_and_the_status_is_0(tmp_path: Path) -> None:
    done = call(make_run(tmp_path / "run", [(PROMPT, [1.0] * (N - 1))], n=N))
    assert done.exit_code == 0
    assert "no value yet, incomplete, 1 prompts unfinished" in done.stdout


def test_what_was_compared_is_counted(run: Path, tmp_path: Path) -> None:
    done = call(run, "--compare", make_run(tmp_path / "other", DRAWN, n=N))
    assert done.exit_code == 0
    assert "1 prompts compared" in done.stdout


@pytest.mark.parametrize("which", ["absent", "empty", "no journal", "other absent", "itself", "itself by another name"])
def test_what_cannot_be_reported_is_refused_in_one_line(run: Path, tmp_path: Path, which: str) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    manifest_only = tmp_path / "manifest"
    manifest_only.mkdir()
    make_manifest(command="spo-data estimate").write(manifest_only)
    (tmp_path / "link").symlink_to(run)
    arguments, words = {
        "absent": ((tmp_path / "x",), "is not a run folder"),
        "empty": ((empty,), "is not a run folder"),
        "no journal": (
            (manifest_only,),
            f"manifest has no sample yet: `spo-data estimate --out {manifest_only}` draws them",
        ),
        "other absent": ((run, "--compare", tmp_path / "x"), "x is not a run folder"),
        "itself": ((run, "--compare", run), "this is the run itself"),
        "itself by another name": ((run, "--compare", tmp_path / "link"), "this is the run itself"),
    }[which]
    done = call(*arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert words in line
    assert not list(tmp_path.rglob("*report.html*"))


def test_a_journal_that_cannot_be_read_is_one_line(run: Path) -> None:
    (run / "journal.sqlite").write_bytes(b"no database " * 1000)
    done = call(run)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "journal.sqlite cannot be read" in line


def test_a_page_that_cannot_be_written_is_one_line(run: Path) -> None:
    (run / "report.html").mkdir()
    done = call(run)
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert "report.html cannot be written: Is a directory" in line


def test_json_names_the_page_and_what_differs(run: Path, tmp_path: Path) -> None:
    alone = json.loads(call(run, "--json").stdout)
    assert alone["path"] == str(run / "report.html")
    assert alone["bytes"] == (run / "report.html").stat().st_size
    assert (alone["complete"], alone["prompts"], alone["value_mean"]) == (True, 1, 1.0)
    assert (alone["unfinished"], alone["prompts_with_value"], alone["value_low"]) == (0, 1, 1.0)
    assert alone["comparison"] is None
    other = make_run(tmp_path / "other", [(PROMPT, [1.0, 0.0])], n=N)
    tools = ToolsRecord(interpreter="python", max_turns=3, seconds=5.0, memory_mb=512, output_chars=300)
    make_manifest(n=N, policy={"tools": tools}).write(other)
    compared = json.loads(call(run, "--compare", other, "--json").stdout)["comparison"]
    assert (compared["compared"], compared["means"], compared["fell"], compared["rose"]) == (1, [1.0, 0.5], 1, 0)
    assert compared["differences"] == {"tools": [None, str(tools)]}
    assert str(tools) in (run / "report.html").read_text()
