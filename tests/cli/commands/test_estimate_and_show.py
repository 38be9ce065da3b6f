"""The command line: its refusals and their wording, its help, its JSON, and `show`."""

import dataclasses
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from spo_cli.data_app import main as spo_data
from spo_data.options import EngineOptions, GraderOptions, PromptOptions, Sampling
from spo_pipelines.estimate import estimate
from support import scripted


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "bad.jinja").write_text("{{ prompt")
    (folder / "deaf.jinja").write_text("Solve it.")
    (folder / "latin.jinja").write_bytes("Résous {{ prompt }}".encode("latin-1"))
    (folder / "empty.jsonl").write_text("")
    (folder / "broken.jsonl").write_text('{"question": ')
    (folder / "notes.md").write_text("# notes")
    (folder / "odd.jsonl").write_text('{"x": "1", "y": "2"}\n')
    (folder / "twice.jsonl").write_text(
        '{"question": "1 + 1?", "answer": "2"}\n{"question": "1 + 1?", "answer": "3"}\n'
    )
    (folder / "no-model").mkdir()
    return scripted.write_rows(folder / "sums.jsonl")


@pytest.fixture(scope="module")
def complete(dataset: Path) -> Path:
    """A complete run."""
    folder = dataset.parent / "run"
    assert call(dataset, folder)["status"] == 0
    return folder


@pytest.fixture(scope="module")
def incomplete(dataset: Path) -> Path:
    """A run whose engine died, with some failed requests."""
    folder = dataset.parent / "incomplete"
    call(dataset, folder, engine={"die_after": 12, "fail_every": 3})
    assert 0 < len(scripted.journal_rows(folder)) < 12
    return folder


def argv(dataset: Path | str, out: Path, *more: str) -> list[str]:
    words = ["estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(out), "--n", "4"]
    return [*words, "--max-tokens", "64", "--verifier", "exact", "--grader-workers", "1", *more]


def call(dataset: Path | str, out: Path, *more: str, **job: Any) -> dict[str, Any]:
    return scripted.server().run({"argv": argv(dataset, out, *more), **job})


# Refusals. These arguments follow a complete, valid command, so each overrides a valid value. `{}` is replaced by the
# dataset's folder.

REFUSED = [
    (["--n", "0"], "--n 0: must be from 1 to 2147483647"),
    (["--n", "2147483648"], "--n 2147483648: must be from 1 to 2147483647"),
    (["--n", "eight"], "Invalid value for '--n'"),
    (["--n", "2.5"], "Invalid value for '--n'"),
    (["--temperature", "-1"], "--temperature -1: must be at least 0"),
    (["--temperature", "nan"], "--temperature nan"),
    (["--temperature", "inf"], "--temperature inf"),
    (["--temperature", "warm"], "Invalid value for '--temperature'"),
    (["--top-p", "0"], "--top-p 0: must be above 0, at most 1"),
    (["--top-p", "1.5"], "--top-p 1.5: must be above 0, at most 1"),
    (["--top-k", "0"], "--top-k 0: must be at least 1, or -1"),
    (["--max-tokens", "0"], "--max-tokens 0: must be at least 1"),
    (["--seed", "x"], "Invalid value for '--seed'"),
    (["--truncated", "half"], "Invalid value for '--truncated': 'half' is not one of 'zero', 'grade'"),
    (["--chat-template", "{}/none.jinja"], "none.jinja cannot be read: No such file or directory"),
    (["--stop", ""], "--stop"),
    (["--limit", "0"], "--limit 0: must be at least 1"),
    (["--preset", "refrence"], "--preset refrence: choose one of reference"),
    (["--chat-template-kwargs", "{"], "--chat-template-kwargs {: not JSON"),
    (["--chat-template-kwargs", "[1]"], "--chat-template-kwargs [1]: not a JSON object"),
    (["--chat-template-kwargs", "thinking"], "--chat-template-kwargs thinking: not JSON"),
    (["--engine-arg", "quantization"], "--engine-arg quantization: not KEY=VALUE"),
    (["--engine-arg", "=fp8"], "--engine-arg =fp8: not KEY=VALUE"),
    (["--model", "smolm2-135m"], "did you mean smollm2-135m"),
    (["--model", "qwen3_8b"], "did you mean Qwen3-8B"),
    (["--model", "{}/no-model"], "the folder has no config.json"),
    (["--model", "{}/absent/model"], "{}/absent/model"),
    (["--model-revision", "main"], "--model-revision main does not apply"),
    (["--dataset", "{}/absent.jsonl"], "absent.jsonl: no such file or folder"),
    (["--dataset", "{}/*.csv"], "no file matches"),
    (["--dataset", "{}/empty.jsonl"], "empty.jsonl"),
    (["--dataset", "{}/broken.jsonl"], "broken.jsonl has no rows that can be read (not_a_json_object)"),
    (["--dataset", "{}/notes.md"], "notes.md is not one of .parquet"),
    (["--dataset", "{}/odd.jsonl"], "no known column layout in x, y"),
    (["--dataset", "{}/twice.jsonl"], "two ground truths: row 0 says '2', row 1 says '3'"),
    (["--dataset", "nobody/nothing"], "--dataset nobody/nothing"),
    (["--dataset", "reasoning-gym:chain_sun"], "did you mean chain_sum"),
    (["--dataset", "reasoning-gym:chain_sum?terms=2"], "has no parameter 'terms'"),
    (["--dataset", "reasoning-gym:chain_sum?min_terms=9"], "refuses"),
    (["--dataset-config", "en"], "--dataset-config en does not apply"),
    (["--revision", "main"], "--revision main does not apply"),
    (["--split", "test"], "no split 'test': choose --split train"),
    (["--prompt-column", "problem"], "--prompt-column problem: no such column; the columns are question, answer"),
    (["--answer-column", "gold"], "--answer-column gold: no such column"),
    (["--template", "boxd"], "--template boxd: choose one of none, boxed, retool, dapo"),
    (["--template", "{}/bad.jinja"], "does not render"),
    (["--template", "{}/deaf.jinja"], "drops the problem"),
    (["--template", "{}/latin.jinja"], "latin.jinja"),
    (["--template", "Solve {{ prompt }} " + "carefully " * 40], "--template Solve"),
    (["--verifier", "mathverify"], "--verifier mathverify: choose one of math-verify"),
    (["--verifier", "reasoning-gym"], "no prompt is left to sample"),
    (["--grader-workers", "0"], "--grader-workers 0: must be at least 1"),
    (["--grader-seconds", "0"], "--grader-seconds 0: must be above 0"),
    (["--grader-memory-gb", "0.5"], "--grader-memory-gb 0.5: must be at least 1"),
    (["--grader-memory-gb", "inf"], "--grader-memory-gb inf"),
    (["--tensor-parallel-size", "0"], "--tensor-parallel-size 0: must be at least 1"),
    (["--gpu-memory-utilization", "1.5"], "--gpu-memory-utilization 1.5: must be above 0, at most 1"),
    (["--max-model-len", "1"], "--max-model-len 1: must be at least 2"),
    (
        ["--max-model-len", "9"],
        "left to sample (6 prompt_too_long; row 5: 56 tokens leave no room in a context of 9)",
    ),
    (["--max-num-seqs", "0"], "--max-num-seqs 0: must be at least 1"),
    (["--dtype", "int4"], "--dtype int4: choose one of auto"),
    (["--out", "{}/sums.jsonl"], "--out {}/sums.jsonl is a file"),
    (["--out", "{}/sums.jsonl/run"], "sums.jsonl"),
    (["--out", "{}"], "neither a run nor empty"),
    (["--no-such-option"], "No such option: --no-such-option"),
]


def names(arguments: list[str]) -> str:
    return re.sub(r"[^\w.-]+", "-", "-".join(arguments))[:50].strip("-")


@pytest.mark.usefixtures("datasets_cache")
@pytest.mark.parametrize(("arguments", "says"), REFUSED, ids=[names(arguments) for arguments, _ in REFUSED])
def test_a_wrong_value_is_one_clear_line_and_status_2(
    arguments: list[str],
    says: str,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    folder, out, script = str(dataset.parent), tmp_path / "run", scripted.Script()
    monkeypatch.setattr("spo_pipelines.estimate.estimate", partial(estimate, start_engine=scripted.starter(script)))
    words = argv(dataset, out, *(word.replace("{}", folder) for word in arguments))
    monkeypatch.setattr(sys, "argv", ["spo-data", *words])
    with pytest.raises(SystemExit) as ended:
        spo_data()
    stdout, stderr = capfd.readouterr()
    assert ended.value.code == 2, stderr
    assert stdout == ""
    assert script.submitted == []
    assert not out.exists(), "nothing is made for a call that is refused"
    errors = [line for line in stderr.splitlines() if line != "reading prompts …"]
    if errors[0].startswith("Usage:"):
        assert says in " ".join(" ".join(errors).replace("│", " ").split())
    else:
        (line,) = errors
        assert line.startswith("error: ")
        assert says.replace("{}", folder) in line


def test_a_missing_model_is_named() -> None:
    ended = scripted.server().run({"argv": ["estimate", "--dataset", "x.jsonl", "--out", "runs/x"]})
    assert ended["status"] == 2
    assert "Missing option '--model'" in ended["stderr"]


@pytest.mark.parametrize("command", ["bogus", "--bogus"])
def test_an_unknown_command_is_named(command: str) -> None:
    ended = scripted.server().run({"argv": [command]})
    assert ended["status"] == 2
    assert command in ended["stderr"]


# Help.

OWN = {"model", "out", "model_revision", "preset", "dry_run", "allow_missing", "json"}


def test_the_help_of_estimate_names_every_option_and_says_what_it_is() -> None:
    ended = scripted.server().run({"argv": ["estimate", "--help"], "environment": {"COLUMNS": "220"}})
    assert ended["status"] == 0
    fields = [
        field
        for group in (PromptOptions, Sampling, EngineOptions, GraderOptions)
        for field in dataclasses.fields(group)
    ]
    for name in OWN | {field.name for field in fields}:
        assert re.search(rf"--{name.replace('_', '-')}\b", ended["stdout"]), name
    flat = " ".join(ended["stdout"].replace("│", " ").split())
    for field in fields:
        assert field.metadata["help"].split(";")[0].split(" (")[0] in flat, field.name


def test_the_help_of_show_and_of_the_program_name_what_there_is() -> None:
    shown = scripted.server().run({"argv": ["show", "--help"]})
    assert shown["status"] == 0
    assert "--json" in shown["stdout"]
    assert "Run folder." in shown["stdout"]
    program = scripted.server().run({"argv": ["--help"]})
    assert program["status"] == 0
    assert "estimate" in program["stdout"]
    assert "show" in program["stdout"]


def test_the_installed_command_starts() -> None:
    ended = subprocess.run([Path(sys.executable).with_name("spo-data"), "--help"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert "estimate" in ended.stdout


# JSON and show.


def test_json_is_all_that_is_on_stdout(dataset: Path, tmp_path: Path) -> None:
    ended = call(dataset, tmp_path / "run", "--json")
    summary = json.loads(ended["stdout"])
    assert ended["status"] == 0
    assert summary["complete"] is True
    assert (summary["prompts"], summary["asked"], summary["drawn"]) == (6, 24, 24)
    assert (summary["not_valid"], summary["not_drawn"], summary["unfinished"]) == (0, 0, 0)
    assert sum(summary["histogram"]) == 6
    assert sum(summary["verdicts"].values()) == 24


def test_json_of_an_incomplete_run_is_json_too(dataset: Path, tmp_path: Path) -> None:
    ended = call(dataset, tmp_path / "run", "--json", engine={"fail_every": 3})
    summary = json.loads(ended["stdout"])
    assert ended["status"] == 1
    assert summary["complete"] is False
    assert summary["engine_failures"] == summary["not_valid"] == sum(summary["errors"].values()) > 0
    assert (summary["not_drawn"], summary["unfinished"]) == (0, 0)


@pytest.mark.parametrize("which", ["complete", "incomplete"])
def test_show_says_in_json_what_the_estimate_said(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    ended = scripted.server().run({"argv": ["show", str(folder), "--json"]})
    assert (ended["status"], ended["stderr"]) == (0, "")
    summary = json.loads(ended["stdout"])
    rows = scripted.journal_rows(folder)
    assert summary["complete"] is (which == "complete")
    assert summary["drawn"] == len(rows) == 24 - summary["not_valid"] - summary["not_drawn"]
    assert summary["verdicts"] == {verdict: sum(row[3] == verdict for row in rows) for verdict in {r[3] for r in rows}}
    assert summary["samples_per_second"] > 0


def test_show_of_a_complete_run_prints_the_facts_and_each_examples_value_and_answer(complete: Path) -> None:
    """At 80 columns the prompt pushed out the examples' values and ground truths."""
    ended = scripted.server().run({"argv": ["show", str(complete)]})
    summary = json.loads(scripted.server().run({"argv": ["show", str(complete), "--json"]})["stdout"])
    assert (ended["status"], ended["stderr"]) == (0, "")
    assert "(complete)" in ended["stdout"]
    assert "6 prompts x 4: 24 of 24 drawn" in ended["stdout"]
    assert "KV cache" not in ended["stdout"], "this engine reports none"
    lines = ended["stdout"].splitlines()
    for title in ("hardest", "easiest"):
        start = lines.index(title) + 1
        examples = [line for line in lines[start : start + 10] if line and not line.startswith(" ")][:5]
        for line, example in zip(examples, summary[title], strict=True):
            assert line.startswith(f"{example['value']:.3f}")
            assert line.rstrip().endswith(f"→ {example['ground_truth']}")
            assert example["prompt"][:12] in line


def test_preemptions_and_the_cache_are_shown_and_kept_over_calls_and_a_change_of_the_runner_is_noted(
    dataset: Path, tmp_path: Path
) -> None:
    """vLLM preempted responses and computed them again, and nothing said so. The same seeds drew other responses with
    another of its model runners.
    """
    run = tmp_path / "run"
    first = call(dataset, run, engine={"runner": "V1", "die_after": 9})
    assert "runner changed" not in first["stderr"]
    before = json.loads((run / "run.json").read_text())["timings"]
    (count,) = before["sampled_by_runner"].values()
    assert 0 < count == before["sampled"] < 24
    ended = call(dataset, run, engine={"runner": "V2"})
    assert (
        f"note: vLLM's model runner changed since an earlier call: samples were drawn {count} with V1, this call draws"
        " with V2" in ended["stderr"]
    )
    assert f"tokens/s · KV cache 25%, {24 - count} preemptions · mean" in ended["stderr"]
    timings = json.loads((run / "run.json").read_text())["timings"]
    assert timings["sampled_by_runner"] == {"V1": count, "V2": 24 - count}
    engine = timings["engine"]
    assert (engine["preemptions"], engine["preempted_tokens"]) == (24, 2400)
    assert engine["seconds"] == pytest.approx(timings["sampling_seconds"])
    assert engine["kv_seconds"] == pytest.approx(timings["sampling_seconds"] / 2)
    said = "50% full on average, 24 preemptions (at most 2,400 tokens computed again)"
    assert re.search(rf"KV cache +{re.escape(said)}", ended["stdout"])
    assert f"| KV cache | {said} |\n" in (run / "README.md").read_text()
    summary = json.loads(scripted.server().run({"argv": ["show", str(run), "--json"]})["stdout"])
    shown = summary["kv_use_mean"], summary["preemptions"], summary["preempted_tokens"]
    assert shown == (pytest.approx(0.5), 24, 2400)


def test_show_of_an_incomplete_run_says_what_is_missing_and_why(incomplete: Path) -> None:
    """rich parsed the brackets in the engine's error as markup, and `show` ended in a traceback."""
    ended = scripted.server().run({"argv": ["show", str(incomplete)], "environment": {"COLUMNS": "200"}})
    assert ended["status"] == 0, ended["stderr"]
    assert "(incomplete)" in ended["stdout"]
    assert "not valid" in ended["stdout"]
    assert "ValueError: [/INST] the script refuses this request" in ended["stdout"]


def test_names_with_brackets_are_shown_as_they_are(dataset: Path, tmp_path: Path) -> None:
    """rich parsed `[ab]` in a dataset's glob as markup and dropped it."""
    (tmp_path / "sums-a.jsonl").write_bytes(dataset.read_bytes())
    ended = call(str(tmp_path / "sums-[ab].jsonl"), tmp_path / "run", environment={"COLUMNS": "300"})
    assert ended["status"] == 0, ended["stderr"]
    assert "sums-[ab].jsonl" in ended["stdout"]
    assert "sums-[ab].jsonl" in ended["stderr"]


def test_show_of_a_run_without_a_sample_works(dataset: Path, tmp_path: Path) -> None:
    assert call(dataset, tmp_path / "run", engine={"die_after": 1})["status"] == 1
    ended = scripted.server().run({"argv": ["show", str(tmp_path / "run")]})
    assert ended["status"] == 0, ended["stderr"]
    assert "none yet" in ended["stdout"]


@pytest.mark.parametrize("what", ["absent", "folder", "file", "manifest", "journal"])
def test_show_refuses_what_is_no_run(what: str, complete: Path, tmp_path: Path) -> None:
    place = tmp_path / "it"
    if what == "file":
        place.write_text("x")
    elif what != "absent":
        place.mkdir()
    if what == "manifest":
        (place / "run.json").write_text("{}")
        (place / "journal.sqlite").write_bytes(b"")
    if what == "journal":
        (place / "run.json").write_bytes((complete / "run.json").read_bytes())
        (place / "journal.sqlite").write_bytes(b"no database, whatever its name says" * 100)
    ended = scripted.server().run({"argv": ["show", str(place)]})
    assert "Traceback" not in ended["stderr"], ended["stderr"]
    assert ended["status"] in ((1, 2) if what == "journal" else (2,))
    (line,) = ended["stderr"].splitlines()
    assert line.startswith("error: ")
    assert str(place) in line


def test_show_does_not_change_the_run(complete: Path) -> None:
    before = scripted.tables(complete), (complete / "run.json").read_bytes(), scripted.journal_rows(complete)
    scripted.server().run({"argv": ["show", str(complete)]})
    assert (scripted.tables(complete), (complete / "run.json").read_bytes(), scripted.journal_rows(complete)) == before


# The dry run, the presets, the engine's arguments.


def test_a_dry_run_prints_the_plan_and_writes_nothing(dataset: Path, tmp_path: Path) -> None:
    ended = call(dataset, tmp_path / "run", "--dry-run")
    assert ended["status"] == 0
    assert not (tmp_path / "run").exists()
    assert ended["submitted"] == []
    assert "6 prompts x 4 = 24 samples (0 already drawn), at most 1,536 response tokens" in ended["stderr"]
    assert "│ What is 0 + 3?" in ended["stderr"]


def test_a_preset_gives_what_was_not_asked_for(dataset: Path, tmp_path: Path) -> None:
    ended = call(dataset, tmp_path / "run", "--dry-run", "--preset", "reference", "--top-p", "0.8")
    assert "temperature 0.6, top_p 0.8, top_k 20" in ended["stderr"]


def test_the_command_in_the_manifest_is_the_one_that_was_typed(complete: Path, dataset: Path) -> None:
    command = json.loads((complete / "run.json").read_text())["command"]
    assert command.startswith(f"spo-data estimate --model {scripted.MODEL} --dataset {dataset} --out {complete} --n 4")


def test_engine_arguments_are_read_as_json_or_text() -> None:
    from spo_cli.terminal.parameters import ENGINE

    pairs = ["a=1", "b=text", "c=True", "d=None", 'e={"x": [1]}', "f=", "kv-cache-dtype=fp8", "g=x=y", "h=0.5"]
    assert list(ENGINE.parse("engine_arg", pairs).items()) == [
        *(("a", 1), ("b", "text"), ("c", True), ("d", None), ("e", {"x": [1]}), ("f", "")),
        *(("kv_cache_dtype", "fp8"), ("g", "x=y"), ("h", 0.5)),
    ]
