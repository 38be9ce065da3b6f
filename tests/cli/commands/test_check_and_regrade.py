r"""`spo-data check` and `spo-data regrade` as a user calls them: statuses, tables, JSON, refusals, help; and `show`."""

import asyncio
import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from spo_data.options import GraderOptions, PromptOptions
from spo_data.run.manifest import read_manifest
from support import scripted

pytestmark = pytest.mark.slow

HALF = r"""
def compute_score(data_source, solution_str, ground_truth, extra_info):
    if solution_str.endswith("\\boxed{" + ground_truth + "}"):
        return 1.0
    return 0.5 * ("\\boxed{" in solution_str)
"""
# This grader reads the same answer from every boxed response, and a ground truth never contains a box.
AGREEING = r"""
def compute_score(data_source, solution_str, ground_truth, extra_info):
    if solution_str == "\\boxed{" + ground_truth + "}":
        return 1.0
    return {"score": 0.0, "pred": "[red]1001" if "\\boxed{" in solution_str else None}
"""

BAD = [
    {"question": "What is 0 + 3?", "answer": "3"},
    {"question": "What is 1 + 4?", "answer": "5"},
    {"question": "What is 1 + 4?", "answer": "6"},
    {"question": "[red]What is[/red] [/b] 2 + 5?", "answer": "\\frac{[bold]"},
    {"question": "  ", "answer": "5"},
    {"question": "What is 3 + 6? The answer is 9.", "answer": "9"},
    {"question": "What is 0 + 3?", "answer": "3"},
]
REASONS = {2: "contradictory_ground_truth", 3: "gold_unparseable", 4: "empty_prompt", 5: "answer_in_prompt"}


def call(*argv: str | Path, width: int | None = 200, **job: Any) -> dict[str, Any]:
    environment = {} if width is None else {"COLUMNS": str(width)}
    ended = scripted.server().run({"argv": [str(word) for word in argv], "environment": environment, **job})
    assert "Traceback" not in ended["stderr"], ended["stderr"]
    return ended


def check(dataset: Path, *more: str, **how: Any) -> dict[str, Any]:
    return call("check", dataset, "--verifier", "exact", "--grader-workers", "1", *more, **how)


def regrade(run: Path, *more: str, **how: Any) -> dict[str, Any]:
    return call("regrade", run, "--grader-workers", "1", *more, **how)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("check-and-regrade")
    (place / "bad.jsonl").write_text("".join(json.dumps(row) + "\n" for row in BAD))
    (place / "half.py").write_text(HALF)
    (place / "agreeing.py").write_text(AGREEING)
    (place / "broken.py").write_text("def compute_score(:")
    (place / "empty.jsonl").write_text("")
    (place / "nothing").mkdir()
    scripted.write_rows(place / "sums.jsonl", r4={"answer": "B", "question": "[red]Which[/red] of A and B?"})
    return place


@pytest.fixture(scope="module")
def finished(folder: Path) -> Path:
    """A complete run graded by `exact`."""
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", folder / "sums.jsonl", "--out", folder / "run"]
    ended = call(*argv, "--n", "6", "--max-tokens", "64", "--verifier", "exact", "--grader-workers", "1")
    assert ended["status"] == 0, ended["stderr"]
    return folder / "run"


# check.


def test_check_of_a_clean_dataset_says_so_and_exits_with_0(folder: Path) -> None:
    ended = check(folder / "sums.jsonl")
    assert (ended["status"], ended["stderr"]) == (0, "")
    assert ended["stdout"].splitlines()[-1] == "clean"
    assert "6: 6 prompts to sample, 0 duplicates, 0 left out; 0 offenders" in ended["stdout"]


@pytest.mark.parametrize("width", [80, None])
def test_check_names_each_offender_with_row_reason_and_prompt_and_exits_with_2(folder: Path, width: int | None) -> None:
    """At 80 columns the table omitted the row numbers and the prompts."""
    ended = check(folder / "bad.jsonl", width=width)
    assert (ended["status"], ended["stderr"]) == (2, "")
    out = ended["stdout"]
    assert "1 duplicates, 4 left out; 4 offenders" in " ".join(out.split())
    lines = out.splitlines()
    head = next(number for number, line in enumerate(lines) if line.startswith("row") and "reason" in line)
    table = lines[head + 1 :]
    assert [tuple(line.split()[:2]) for line in table] == [(str(row), reason) for row, reason in REASONS.items()]
    if width:
        assert max(map(len, table)) <= width
    for reason in REASONS.values():
        assert f"1 {reason}" in out
    if width != 80:
        assert "row 1 says '5', row 2 says '6'" in table[0]
        assert "[red]What is[/red] [/b] 2 + 5?" in table[1], "what looks like markup is printed as it is"
        assert "'\\\\frac{[bold]'" in table[1]


def test_check_with_a_model_shows_the_first_prompt_and_the_longest(folder: Path) -> None:
    ended = check(folder / "bad.jsonl", "--model", scripted.MODEL, "--system", "[red]Be brief.")
    assert ended["status"] == 2
    assert "  │ What is 0 + 3?" in ended["stdout"]
    assert "[red]Be brief." in ended["stdout"]
    assert re.search(r"longest +\d+ tokens, of a context of 8,192", ended["stdout"])
    short = check(folder / "sums.jsonl", "--model", scripted.MODEL, "--max-model-len", "9")
    assert short["status"] == 2
    assert "6 prompt_too_long" in short["stdout"]


@pytest.mark.parametrize("name", ["bad.jsonl", "sums.jsonl"])
def test_check_as_json_is_the_report_and_all_that_is_on_stdout(name: str, folder: Path) -> None:
    from spo_pipelines.check import CheckOptions
    from spo_pipelines.check import check as run_check

    ended = check(folder / name, "--json")
    grader = GraderOptions(verifier="exact", grader_workers=1)
    report = asyncio.run(run_check(CheckOptions(PromptOptions(dataset=str(folder / name)), grader)))
    assert (ended["status"], ended["stderr"]) == (2 if name == "bad.jsonl" else 0, "")
    assert json.loads(ended["stdout"]) == json.loads(json.dumps(report.as_dict()))


def test_check_prints_fifty_offenders_and_counts_the_rest(tmp_path: Path) -> None:
    rows = [{"question": "?", "answer": "4"}, *({"question": "", "answer": "4"} for _ in range(60))]
    (tmp_path / "empty.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = check(tmp_path / "empty.jsonl")
    assert ended["status"] == 2
    assert ended["stdout"].splitlines()[-1] == "… and 10 more (--json prints all)"
    assert len(json.loads(check(tmp_path / "empty.jsonl", "--json")["stdout"])["offenders"]) == 60


def test_check_and_estimate_print_each_note_as_one_line_with_a_command_that_works(tmp_path: Path) -> None:
    rows = [{"question": f"Which of {k}?", "choices": ["4", "7"], "answer": 1} for k in range(3)]
    (tmp_path / "mmlu.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = check(tmp_path / "mmlu.jsonl", width=80)
    (line,) = (line for line in ended["stdout"].splitlines() if line.endswith("--verifier choice --grader-workers 1"))
    assert line.startswith("note: 3 of 3 prompts are multiple choice")
    assert call(*shlex.split(line.rpartition(": ")[2])[1:])["status"] == 0
    argv = ["--model", scripted.MODEL, "--dataset", tmp_path / "mmlu.jsonl", "--out", tmp_path / "run", "--dry-run"]
    printed = call("estimate", *argv, "--verifier", "exact", "--grader-workers", "1")["stderr"].splitlines()
    assert [note.partition(", which")[0] for note in printed if note.startswith("note: 3 of 3")] == [
        line.partition(", which")[0]
    ]


# regrade.


def test_regrade_prints_the_confusion_the_moves_and_exits_with_0(folder: Path, run: Path) -> None:
    reward = f"{folder / 'half.py'}:compute_score"
    outcome = json.loads(regrade(run, "--verifier", reward, "--json")["stdout"])
    for width in (80, None):
        assert regrade(run, "--verifier", "exact")["status"] == 0
        ended = regrade(run, "--verifier", reward, width=width)
        assert ended["status"] == 0, ended["stderr"]
        _agrees(ended["stdout"], outcome, width)


def _agrees(out: str, outcome: dict[str, Any], width: int | None) -> None:
    lines = out.splitlines()
    start = lines.index("samples by verdict: before (rows) and after (columns)") + 1
    columns = lines[start].split()
    cells = {(pair["before"], pair["after"]): pair["samples"] for pair in outcome["confusion"]}
    rows = sorted({before for before, _ in cells})
    for line in lines[start + 1 : start + 1 + len(rows)]:
        before, *counts = line.split()
        assert counts == [f"{cells.get((before, after), 0):,}" for after in columns]
        rows.remove(before)
    assert rows == []
    prompts = outcome["prompts"]
    flat = " ".join(out.split())
    mean = outcome["value_mean"]
    assert f"mean value {mean['before']:.4f} → {mean['after']:.4f}" in flat
    assert f"{prompts['rose']} prompts rose, {prompts['fell']} fell, {prompts['unchanged']} stayed" in flat
    for move in outcome["moves"]:
        (line,) = (one for one in lines if move["prompt"][:12] in one and f"{move['before']:.4f}" in one)
        assert line.startswith(f"{move['before']:.4f}  {move['after']:.4f}  {move['ground_truth']}")
    if width:
        assert max(map(len, lines[start:])) <= width


def test_regrade_as_json_is_all_that_is_on_stdout_and_progress_is_on_stderr(folder: Path, run: Path) -> None:
    ended = regrade(run, "--verifier", f"{folder / 'half.py'}:compute_score", "--json")
    assert ended["status"] == 0
    outcome = json.loads(ended["stdout"])
    assert sum(pair["samples"] for pair in outcome["confusion"]) == 36
    assert sum(outcome["prompts"][name] for name in ("rose", "fell", "unchanged")) == 6
    assert (outcome["before"]["verifier"], outcome["summary"]["complete"]) == ("exact", True)
    graded = outcome["graded"]
    assert f"{graded}/{graded} stored responses graded by" in ended["stderr"]
    assert json.loads(call("show", run, "--json")["stdout"]) == {**outcome["summary"], "regrade": None}


def test_regrade_with_nothing_to_do_says_so(run: Path) -> None:
    before = scripted.tables(run)
    ended = regrade(run)
    assert (ended["status"], ended["stderr"]) == (0, "")
    assert "the journal has this grader's verdicts" in ended["stdout"]
    assert "mean value" in ended["stdout"]
    assert scripted.tables(run) == before


def test_regrade_that_leaves_samples_without_a_verdict_exits_with_1(run: Path) -> None:
    """`choice` can read only one of the six ground truths."""
    ended = regrade(run, "--verifier", "choice")
    assert ended["status"] == 1
    rows = [row for row in scripted.journal_rows(run) if row[3] == "gold_unparseable"]
    assert ended["stderr"].splitlines()[-1] == f"incomplete: {len(rows)} samples have no verdict from choice"
    assert re.search(r"^[01]\.\d{4}  none  ", ended["stdout"], re.MULTILINE), "a value that is lost is not 0"
    assert re.search(r"no value +5 prompts whose ground truth does not verify against itself", ended["stdout"])


def test_regrade_where_no_ground_truth_can_be_read_exits_with_2_and_changes_nothing(run: Path) -> None:
    before = scripted.tables(run), (run / "run.json").read_bytes()
    ended = regrade(run, "--verifier", "reasoning-gym")
    assert (ended["status"], ended["stdout"]) == (2, "")
    (line,) = ended["stderr"].splitlines()
    assert line.startswith("error: no ground truth of ")
    assert "nothing was changed" in line
    assert (scripted.tables(run), (run / "run.json").read_bytes()) == before


def test_the_estimate_that_is_refused_after_a_regrade_prints_a_command_that_works(
    folder: Path, run: Path, finished: Path
) -> None:
    assert regrade(run, "--verifier", f"{folder / 'half.py'}:compute_score")["status"] == 0
    old = read_manifest(finished)
    assert old is not None
    command = shlex.split(old.command)[1:]
    command[command.index("--out") + 1] = str(run)
    ended = call(*command)
    assert ended["status"] == 2
    printed = ended["stderr"].splitlines()[-1]
    title, _, words = printed.partition(":")
    assert title.strip() == "to grade that run again"
    assert call(*shlex.split(words)[1:])["status"] == 0
    assert call(*command)["status"] == 0


# Refusals: one line on stderr, nothing on stdout. `{}` is replaced by the folder.

REFUSED = [
    (["check", "{}/sums.jsonl", "--verifier", "mathverify"], "--verifier mathverify: choose one of math-verify"),
    (["check", "{}/sums.jsonl", "--verifier", "{}/absent.py:f"], "absent.py cannot be read"),
    (["check", "{}/sums.jsonl", "--verifier", "{}/broken.py:f"], "broken.py is not Python"),
    (["check", "{}/sums.jsonl", "--verifier", "{}/half.py:other"], "has no function other"),
    (["check", "{}/absent.jsonl"], "absent.jsonl: no such file or folder"),
    (["check", "{}/empty.jsonl"], "empty.jsonl"),
    (["check", "{}/sums.jsonl", "--limit", "0"], "--limit 0: must be at least 1"),
    (["check", "{}/sums.jsonl", "--limit", "x"], "Invalid value for '--limit'"),
    (
        ["check", "{}/sums.jsonl", "--max-model-len", "0", "--model", scripted.MODEL],
        "--max-model-len 0: must be at least 2",
    ),
    (["check", "{}/sums.jsonl", "--max-model-len", "0"], "--max-model-len 0: must be at least 2"),
    (["check", "{}/sums.jsonl", "--max-model-len", "-5"], "--max-model-len -5: must be at least 2"),
    (["check", "{}/sums.jsonl", "--template", "boxd"], "--template boxd: choose one of none, boxed, retool, dapo"),
    (["check", "{}/sums.jsonl", "--model", "smolm2-135m"], "did you mean smollm2-135m"),
    (["check", "{}/sums.jsonl", "--chat-template-kwargs", "{"], "--chat-template-kwargs {: not JSON"),
    (["check", "{}/sums.jsonl", "--grader-seconds", "0"], "--grader-seconds 0: must be above 0"),
    (["check", "{}/sums.jsonl", "--also", "dapo"], "No such option: --also"),
    (["check"], ""),
    (["regrade", "{}/nothing"], "nothing is not a run folder"),
    (["regrade", "{}/absent"], "absent is not a run folder"),
    (["regrade", "{}/sums.jsonl"], "sums.jsonl is not a run folder"),
    (["regrade", "{}/run", "--verifier", "bogus"], "--verifier bogus: choose one of math-verify"),
    (["regrade", "{}/run", "--verifier", "{}/absent.py:f"], "absent.py cannot be read"),
    (["regrade", "{}/run", "--verifier", "{}/half.py:other"], "has no function other"),
    (["regrade", "{}/run", "--also", "bogus"], "--also bogus: choose one of math-verify"),
    (["regrade", "{}/run", "--verifier", "dapo", "--also", "dapo"], "--also dapo: that is already the verifier"),
    (["regrade", "{}/run", "--grader-workers", "0"], "--grader-workers 0: must be at least 1"),
    (["regrade", "{}/run", "--n", "3"], "No such option: --n"),
]


@pytest.mark.parametrize(
    ("argv", "says"), REFUSED, ids=[re.sub(r"[^\w.-]+", "-", "-".join(argv))[:60] for argv, _ in REFUSED]
)
def test_what_is_wrong_is_one_clear_line_and_status_2(argv: list[str], says: str, folder: Path, finished: Path) -> None:
    before = scripted.tables(finished), (finished / "run.json").read_bytes()
    ended = call(*(word.replace("{}", str(folder)) for word in argv))
    assert ended["status"] == 2, ended["stderr"]
    if argv != ["check"]:
        assert ended["stdout"] == ""
        errors = ended["stderr"].splitlines()
        if errors[0].startswith("Usage:"):
            assert says in " ".join(" ".join(errors).replace("│", " ").split())
        else:
            (line,) = errors
            assert line.startswith("error: ")
            assert says in line
    assert (scripted.tables(finished), (finished / "run.json").read_bytes()) == before
    assert not (folder / "absent").exists()


def test_a_damaged_journal_is_one_line(run: Path) -> None:
    (run / "journal.sqlite").write_bytes(b"no database, whatever its name says" * 100)
    ended = regrade(run, "--verifier", "dapo")
    assert ended["status"] in (1, 2)
    (line,) = ended["stderr"].splitlines()
    assert line.startswith("error: ")
    assert str(run) in line


# Help.


def test_the_help_of_check_names_every_option() -> None:
    ended = call("check", "--help", width=220)
    assert ended["status"] == 0
    names = {field.name for field in dataclasses.fields(PromptOptions)} - {"dataset"}
    names |= {field.name for field in dataclasses.fields(GraderOptions)} - {"also", "truncated"}
    for name in names | {"model", "model_revision", "max_model_len", "json"}:
        assert re.search(rf"--{name.replace('_', '-')}\b", ended["stdout"]), name
    assert "Exit status: 0 for a clean dataset, 2 for offenders." in ended["stdout"]


def test_the_help_of_regrade_names_every_option() -> None:
    ended = call("regrade", "--help", width=220)
    assert ended["status"] == 0
    names = {field.name for field in dataclasses.fields(GraderOptions)} | {"skip_check", "json"}
    for name in names:
        assert re.search(rf"--{name.replace('_', '-')}\b", ended["stdout"]), name
    assert "Run folder." in ended["stdout"]


@pytest.mark.parametrize("command", ["check", "regrade"])
def test_the_help_fits_80_columns(command: str) -> None:
    ended = call(command, "--help", width=80)
    assert ended["status"] == 0
    assert max(map(len, ended["stdout"].splitlines())) <= 80


def test_the_programs_help_names_both() -> None:
    out = call("--help")["stdout"]
    assert re.search(r"\bcheck\b", out)
    assert re.search(r"\bregrade\b", out)


# show: suspects and second opinions.


@pytest.fixture(scope="module")
def suspicious(folder: Path, finished: Path) -> Path:
    """The run, graded by a function that reads the same answer everywhere, with `dapo` as the second verifier."""
    place = folder / "suspicious"
    shutil.copytree(finished, place)
    verifier = f"{folder / 'agreeing.py'}:compute_score"
    ended = regrade(place, "--verifier", verifier, "--also", "dapo", "--skip-check")
    assert ended["status"] == 0, ended["stderr"]
    return place


@pytest.mark.parametrize(("command", "width"), [("show", 80), ("show", 200), ("show", None), ("regrade", 80)])
def test_suspect_ground_truths_are_printed(suspicious: Path, command: str, width: int | None) -> None:
    """Prompts were printed below "prompt id" and ids below "prompt". At 80 columns the answers were cut to "[r…"."""
    suspects = json.loads(call("show", suspicious, "--json")["stdout"])["suspects"]
    assert suspects
    ended = call(command, suspicious, width=width)
    assert ended["status"] == 0, ended["stderr"]
    lines = ended["stdout"].splitlines()
    start = lines.index("suspect ground truths: all answers agree on another answer")
    header, *rows = lines[start + 1 : start + 2 + len(suspects)]
    assert header.split()[:4] == ["ground", "truth", "answer", "of"]
    for line, suspect in zip(rows, suspects, strict=True):
        assert suspect["answer"] == "[red]1001"
        gold, answer, *rest = line.split()
        assert (gold, answer) == (suspect["ground_truth"], "[red]1001")
        if width == 200:
            assert suspect["prompt_id"] in rest
            assert suspect["prompt"][:20] in line
    if width:
        assert max(map(len, rows)) <= width
    if width == 200:
        titles = [header.index("prompt id"), header.replace("prompt id", " " * 9).index("prompt")]
        assert rows[0][titles[0] :].startswith(suspects[0]["prompt_id"]), "the column says prompt id"
        assert rows[0][titles[1] :].startswith(suspects[0]["prompt"][:20]), "the column says prompt"


def test_markup_in_a_suspects_prompt_is_printed_as_it_is(suspicious: Path) -> None:
    summary = json.loads(call("show", suspicious, "--json")["stdout"])
    worst = [*summary["suspects"], *summary["second"]["worst"], *summary["hardest"]]
    assert any("[red]Which[/red]" in one["prompt"] for one in worst), "the run's seed hides it"
    assert "[red]Which[/red] of A and B?" in call("show", suspicious)["stdout"]


@pytest.mark.parametrize(("command", "width"), [("show", 80), ("show", 200), ("regrade", 80)])
def test_second_opinions_are_printed(suspicious: Path, command: str, width: int) -> None:
    """At 80 columns the verifier's long name left no room for the number of samples."""
    summary = json.loads(call("show", suspicious, "--json")["stdout"])
    second = summary["second"]
    assert second["verifier"] == "dapo"
    compared = second["compared"]
    assert compared == 36 - summary["verdicts"]["truncated"], "what a token limit ended has no second opinion"
    right = [row for row in scripted.journal_rows(suspicious) if row[3] == "correct"]
    assert second["disagree"] == len({row[:2] for row in right}) > 0
    flat = " ".join(call(command, suspicious, width=width)["stdout"].split())
    verifier = summary["verifier"]
    share = f"{second['disagree'] / compared:.1%}"
    said = f"second opinion: dapo disagrees with {verifier} on {second['disagree']} of {compared} samples ({share})"
    assert said.replace(" ", "") in flat.replace(" ", ""), "a path that is longer than a line is broken"
    assert f"its mean value is {second['value_mean']:.4f}" in flat
    for pair, count in second["pairs"].items():
        assert f"{count} {pair}" in flat
    for worst in second["worst"]:
        assert f"{worst['samples']} {worst['ground_truth']} {worst['first_answer']} {worst['second_answer']}" in flat


def test_a_dry_run_names_the_second_verifier(folder: Path) -> None:
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", folder / "sums.jsonl", "--out", folder / "never"]
    ended = call(*argv, "--verifier", "exact", "--also", "dapo", "--grader-workers", "1", "--dry-run")
    assert ended["status"] == 0, ended["stderr"]
    assert "verifier exact, also dapo" in ended["stderr"]
