"""`spo-data show` of runs that were made without an engine."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from spo_cli.commands.show import show
from spo_data.grading.verdict import COMPARED_AS_TEXT, Grade, Verdict
from spo_data.grading.verifiers.registry import RULES, verifier_version
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, read_manifest
from support.made_runs import make_run
from support.records import GRADER

PROMPT = Prompt((Message("user", "1 + 1?"),), "2", "sums")
CURRENT = verifier_version("exact")


def call(run: Path, *options: str) -> str:
    app = typer.Typer()
    app.command()(show)
    done = CliRunner().invoke(app, [str(run), *options], env={"COLUMNS": "400"})
    assert done.exit_code == 0, done.output
    return done.stdout


def manifest_of(run: Path) -> Manifest:
    manifest = read_manifest(run)
    assert manifest is not None
    return manifest


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return make_run(tmp_path / "my run", [(PROMPT, [1.0, 0.0])], n=2)


def test_a_run_of_earlier_rules_is_said_to_be_one_with_the_command(run: Path) -> None:
    """Its values were shown without a word, and only `estimate` said that the verifier had changed."""
    printed = " ".join(call(run).split())
    command = f"spo-data regrade '{run}'"
    assert "regrade would change the version of exact from rules 1 to" in printed
    assert f"to {CURRENT}, and so perhaps its verdicts: `{command}`" in printed
    found = json.loads(call(run, "--json"))["regrade"]
    assert found == {"verifier": "exact", "recorded": "rules 1", "installed": CURRENT, "command": command}


def test_the_second_verifier_may_be_the_earlier_one(run: Path) -> None:
    grader = GRADER.model_copy(update={"version": CURRENT})
    manifest_of(run).model_copy(update={"grader": grader}).write(run)
    assert json.loads(call(run, "--json"))["regrade"] is None
    assert "regrade" not in call(run)
    also = GraderRecord(verifier="dapo", version="rules 1")
    manifest_of(run).model_copy(update={"also": also}).write(run)
    assert "would change the version of dapo from rules 1 to" in " ".join(call(run).split())


def test_only_the_packages_that_differ_are_named(run: Path) -> None:
    old = verifier_version("math-verify").replace(f"rules {RULES}", "rules 2")
    grader = GraderRecord(verifier="math-verify", version=old)
    manifest_of(run).model_copy(update={"grader": grader}).write(run)
    assert "would change the version of math-verify from rules 2 to rules" in " ".join(call(run).split())


def test_only_the_module_of_a_reward_function_that_differs_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("import helper\ndef judge(**_): return 1.0\n")
    (tmp_path / "helper.py").touch()
    name = f"{tmp_path / 'my.py'}:judge"
    installed = verifier_version(name)
    old = GraderRecord(verifier=name, version=f"{installed.rpartition(' ')[0]} 0123456789abcdef")
    manifest_of(run).model_copy(update={"grader": old}).write(run)
    named = f"from helper.py 0123456789abcdef to helper.py {installed.split()[-1]}"
    assert named in " ".join(call(run).split())


def test_a_reward_function_whose_file_is_gone_says_nothing(run: Path) -> None:
    grader = GraderRecord(verifier=f"{run}/gone.py:compute_score", version="compute_score sha256 1")
    manifest_of(run).model_copy(update={"grader": grader}).write(run)
    assert json.loads(call(run, "--json"))["regrade"] is None


def test_disputed_samples_come_first_and_comparisons_as_text_are_counted(run: Path) -> None:
    also = GraderRecord(verifier="dapo", version="rules 1")
    as_text = replace(Grade(Verdict.WRONG, 0.0, "two"), detail=COMPARED_AS_TEXT)
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.regrade([(PROMPT.prompt_id, 1, as_text)])
        journal.regrade([(PROMPT.prompt_id, index, as_text) for index in range(2)], also)
    manifest_of(run).model_copy(update={"also": also}).write(run)
    printed = call(run)
    flat = " ".join(printed.split())
    assert "as text 1 samples could only be compared as text and differ from the ground truth" in flat
    assert "second opinion: dapo disagrees with exact on 1 of 2 samples (50.0%)" in flat
    assert "disputed samples, in 1 prompts samples first higher second higher kind 1 1 0 number" in flat
    assert printed.index("second opinion") < printed.index("values, to the nearest") < printed.index("hardest")


def test_a_lost_manifest_is_written_again_and_said_once(run: Path) -> None:
    """A folder without run.json was no run, although its journal was whole."""
    app = typer.Typer()
    app.command()(show)
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.keep_manifest(manifest_of(run).text)
    printed, before = call(run), (run / "run.json").read_bytes()
    (run / "run.json").unlink()
    done = CliRunner().invoke(app, [str(run)], env={"COLUMNS": "400"})
    assert (done.exit_code, done.stdout) == (0, printed)
    assert done.stderr == f"note: {run}/run.json is lost: its copy in journal.sqlite is written in its place\n"
    assert (run / "run.json").read_bytes() == before
    assert CliRunner().invoke(app, [str(run)]).stderr == ""
