"""`spo-data list`: the runs and trainings of a folder."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from spo_cli.commands.list_runs import list_runs
from spo_data.grading.verifiers.registry import verifier_version
from spo_data.prompts.identity import Message, Prompt
from spo_data.run.manifest import read_manifest
from support.made_runs import make_run
from support.records import make_train_record

PROMPT = Prompt((Message("user", "1 + 1?"),), "2", "sums")


def call(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(list_runs)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_runs_say_how_complete_they_are_and_their_mean(tmp_path: Path) -> None:
    make_run(tmp_path / "whole", [(PROMPT, [1.0, 0.0])], n=2)
    make_run(tmp_path / "half", [(PROMPT, [1.0])], n=2)
    (tmp_path / "notes").mkdir()
    done = call(tmp_path, "--json")
    assert done.exit_code == 0, done.output
    listed = {Path(each["folder"]).name: each for each in json.loads(done.stdout)}
    assert {name: (each["kind"], each["done"], each["mean"]) for name, each in listed.items()} == {
        "whole": ("run", "2 of 2 samples", 0.5),
        "half": ("run", "1 of 2 samples, 1 of 1 prompts unfinished", None),
    }
    printed = call(tmp_path).stdout.splitlines()
    assert printed[0].split() == ["folder", "kind", "model", "from", "done", "mean", "changed"]
    assert printed[3] == ""
    assert printed[4].startswith("graded by another version of the verifier than the installed one: 2 of these")
    assert len(printed) == 5


def test_a_run_that_cannot_be_read_is_said_and_hides_no_other(tmp_path: Path) -> None:
    """One published run among those of a folder, downloaded without its journal, ended the list."""
    for name in ("whole", "published", "foreign", "lost"):
        make_run(tmp_path / name, [(PROMPT, [1.0, 0.0])], n=2)
    (tmp_path / "published" / "journal.sqlite").unlink()
    (tmp_path / "foreign" / "run.json").write_text("{")
    (tmp_path / "lost" / "run.json").unlink()
    done = call(tmp_path, "--json")
    assert done.exit_code == 0
    assert [Path(each["folder"]).name for each in json.loads(done.stdout)] == ["whole"]
    said = sorted(done.stderr.splitlines())
    assert said[0].startswith(f"note: not listed: {tmp_path}/foreign/run.json is not a run manifest: ")
    assert said[1].startswith(f"note: not listed: {tmp_path}/lost has journal.sqlite but no run.json, and this journal")
    assert said[2].startswith(f"note: not listed: {tmp_path}/published has no journal.sqlite, so this run can be ")
    assert len(said) == 3


def test_a_run_of_the_installed_version_is_not_graded_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", [(PROMPT, [1.0, 0.0])], n=2)
    (listed,) = json.loads(call(tmp_path, "--json").stdout)
    assert listed["regrade"] == f"spo-data regrade {run}"
    manifest = read_manifest(run)
    assert manifest is not None
    current = manifest.grader.model_copy(update={"version": verifier_version("exact")})
    manifest.model_copy(update={"grader": current}).write(run)
    (listed,) = json.loads(call(tmp_path, "--json").stdout)
    assert listed["regrade"] is None
    assert len(call(tmp_path).stdout.splitlines()) == 2


def test_a_training_says_its_steps_and_its_last_reward(tmp_path: Path) -> None:
    pytest.importorskip("omegaconf", reason="verl is not installed")
    folder = tmp_path / "train-x-spo"
    folder.mkdir()
    make_train_record(model="Qwen/Qwen3-8B", prompts=40).write(folder)
    done = json.loads(call(tmp_path, "--json").stdout)
    assert [(each["kind"], each["done"], each["mean"]) for each in done] == [("spo", "0 steps", None)]
    settings = "data: {train_batch_size: 8}\ntrainer: {total_training_steps: null, total_epochs: 2}\n"
    (folder / "config.yaml").write_text(settings)
    steps = [{"step": step, "data": {"spo/reward": step / 4}} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(step) + "\n" for step in steps))
    (listed,) = json.loads(call(tmp_path, "--json").stdout)
    assert (listed["model"], listed["source"]) == (
        "Qwen/Qwen3-8B",
        "training files",
    )
    assert (listed["done"], listed["mean"]) == ("2 of 10 steps", 0.5)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("a: [1", "config.yaml cannot be read as verl's configuration: "),
        ("a: " + "[" * 400, "config.yaml cannot be read as verl's configuration: "),
        ("", "config.yaml does not say how many steps to train: "),
        ("- 1", "config.yaml is not verl's configuration"),
        ("data: {train_batch_size: 0}", "config.yaml does not say how many steps to train: "),
        ('data: {train_batch_size: "${nothing}"}', "config.yaml does not say how many steps to train: "),
    ],
)
def test_a_training_with_a_damaged_configuration_is_one_line(tmp_path: Path, config: str, said: str) -> None:
    """One such training among others made `list` end in a traceback."""
    pytest.importorskip("omegaconf", reason="verl is not installed")
    (tmp_path / "one").mkdir()
    make_train_record().write(tmp_path / "one")
    (tmp_path / "one" / "config.yaml").write_text(config)
    ended = call(tmp_path)
    assert ended.exit_code == 2, ended.output
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/one/")
    assert said in line


def test_lines_that_are_no_metrics_are_passed_over(tmp_path: Path) -> None:
    """A number that is infinite, or a line that is nested too deep, made `list` end in a traceback."""
    (tmp_path / "one").mkdir()
    make_train_record().write(tmp_path / "one")
    lines = ['{"step": 1e999, "data": {}}', '{"step": 1, "data": ' + "[" * 100_000, "[]"]
    lines += ['{"step": 4, "data": {"val-core/a/mean@1": "x"}}', '{"step": 3, "data": {"spo/reward": 0.5}}']
    (tmp_path / "one" / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (tmp_path / "two" / "run_train.json").mkdir(parents=True)
    (listed,) = json.loads(call(tmp_path, "--json").stdout)
    assert (listed["done"], listed["mean"]) == ("3 steps", 0.5)


def test_an_empty_place_is_said_and_what_is_no_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call().stdout == "no run or training in runs\n"
    refused = call(tmp_path / "absent")
    assert refused.exit_code == 2
    assert refused.stderr == f"error: {tmp_path / 'absent'} is not a folder\n"
