"""One estimate: what it refuses, what it survives, what it leaves behind."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from spo_data import SpoError, UserError, sample_seed
from spo_data.engines.protocol import EngineError
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.verifiers.registry import RULES
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool
from spo_data.models.names import Model, resolve_model
from spo_data.options import GraderOptions
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, read_manifest
from spo_pipelines.estimate import _unless_abandoned
from spo_pipelines.graders import open_pool
from spo_pipelines.prompt_source import resolve_grader
from spo_pipelines.signals import Stopping, stop_on_signals
from support import scripted
from support.records import journal_of

Script, estimate, options = scripted.Script, scripted.estimate, scripted.options


@pytest.fixture(scope="module")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model's tokenizer and configuration in a folder of another name."""
    folder = tmp_path_factory.mktemp("models") / "other"
    folder.mkdir()
    for path in Path(resolve_model(scripted.MODEL).path).iterdir():
        if path.suffix in {".json", ".jinja"}:
            shutil.copy(path, folder)
    return folder


def rows_of(run: Path, table: str) -> list[dict[str, Any]]:
    (path,) = (run / table).glob("*.parquet")
    return list(pq.read_table(path).to_pylist())


def state_of(run: Path) -> tuple[bytes, list[tuple[str, int, int, str]]]:
    return (run / "run.json").read_bytes(), scripted.journal_rows(run)


# What a run stores.


def test_every_prompt_has_its_samples_with_their_seeds_and_its_value(dataset: Path, tmp_path: Path) -> None:
    outcome = estimate(options(dataset, tmp_path / "run", seed=7))
    assert outcome.signal is None
    assert outcome.engine_error is None
    assert outcome.summary.complete
    samples = rows_of(tmp_path / "run", "samples")
    prompts = [prompt.prompt_id for prompt in outcome.plan.prompt_set.prompts]
    assert [(row["prompt_id"], row["sample_index"]) for row in samples] == [(p, i) for p in prompts for i in range(4)]
    assert all(row["seed"] == sample_seed(7, row["prompt_id"], row["sample_index"]) for row in samples)
    for value in rows_of(tmp_path / "run", "values"):
        own = [row for row in samples if row["prompt_id"] == value["prompt_id"]]
        truncated = sum(row["verdict"] == "truncated" for row in own)
        assert value["vhat"] == [row["score"] for row in own]
        assert value["value"] == value["value_low"] == sum(value["vhat"]) / 4
        assert value["value_high"] == pytest.approx(value["value"] + truncated / 4)


def test_logprobs_are_in_the_samples_where_they_were_asked_for(dataset: Path, tmp_path: Path) -> None:
    estimate(options(dataset, tmp_path / "run", n=1, logprobs=True))
    samples = rows_of(tmp_path / "run", "samples")
    assert all(len(row["token_logprobs"]) == row["response_tokens"] > 0 for row in samples)
    estimate(options(dataset, tmp_path / "without", n=1))
    assert "token_logprobs" not in rows_of(tmp_path / "without", "samples")[0]


def test_the_same_command_again_starts_no_engine_and_changes_no_table(dataset: Path, tmp_path: Path) -> None:
    estimate(options(dataset, tmp_path / "run"))
    before, script, watcher = scripted.tables(tmp_path / "run"), Script(), scripted.Recorder()
    outcome = estimate(options(dataset, tmp_path / "run"), script, watcher=watcher)
    assert outcome.summary.complete
    assert watcher.present == 24
    assert script.seen is None
    assert scripted.tables(tmp_path / "run") == before


def test_a_higher_n_adds_samples_and_keeps_the_old_ones(dataset: Path, tmp_path: Path) -> None:
    estimate(options(dataset, tmp_path / "run", n=3))
    old = rows_of(tmp_path / "run", "samples")
    script = Script()
    outcome = estimate(options(dataset, tmp_path / "run", n=5), script)
    assert outcome.summary.complete
    assert sorted({index for _, index, _ in script.submitted}) == [3, 4]
    assert [row for row in rows_of(tmp_path / "run", "samples") if row["sample_index"] < 3] == old
    estimate(options(dataset, tmp_path / "at-once", n=5))
    assert scripted.tables(tmp_path / "run") == scripted.tables(tmp_path / "at-once")


def test_a_higher_limit_adds_prompts_and_keeps_the_old_ones(dataset: Path, tmp_path: Path) -> None:
    estimate(options(dataset, tmp_path / "run", limit=2))
    old = rows_of(tmp_path / "run", "samples")
    script = Script()
    outcome = estimate(options(dataset, tmp_path / "run", limit=5), script)
    assert outcome.summary.complete
    assert len(script.submitted) == 12
    assert rows_of(tmp_path / "run", "samples")[:8] == old
    estimate(options(dataset, tmp_path / "at-once", limit=5))
    assert scripted.tables(tmp_path / "run") == scripted.tables(tmp_path / "at-once")


@pytest.mark.parametrize(
    ("also", "says"),
    [
        ("exact", "--also exact: that is already the verifier"),
        ("{}/mine.py:nothing", "--also {}/mine.py:nothing does not load"),
    ],
)
def test_a_second_verifier_that_cannot_be_is_refused_before_the_engine_starts(
    dataset: Path, tmp_path: Path, also: str, says: str
) -> None:
    """The run's verifier is `exact` by its first call, or by --verifier; options alone do not know it."""
    estimate(options(dataset, tmp_path / "run", limit=1, n=1))
    (tmp_path / "mine.py").write_text("def compute_score(*_): return 1.0\n")
    script = Script()
    given = options(dataset, tmp_path / "run", also=also.format(tmp_path), verifier=None)
    with pytest.raises(UserError) as refused:
        estimate(given, script)
    assert str(refused.value).startswith(says.format(tmp_path))
    assert script.seen is None


# What is refused for an existing run.

REFUSED = [
    ({"temperature": 0.5}, "temperature 1.0 (now 0.5)"),
    ({"top_p": 0.9}, "top_p 1.0 (now 0.9)"),
    ({"top_k": 20}, "top_k -1 (now 20)"),
    ({"max_tokens": 32}, "max_tokens 64 (now 32)"),
    ({"seed": 1}, "seed 0 (now 1)"),
    ({"stop": ("</s>",)}, "stop () (now ('</s>',))"),
    ({"logprobs": True}, "logprobs False (now True)"),
    ({"dtype": "float32"}, "dtype 'auto' (now 'float32')"),
    ({"max_model_len": 512}, "max_model_len 8192 (now 512)"),
    ({"engine_arg": {"quantization": "fp8"}}, "engine_args {} (now {'quantization': 'fp8'})"),
    ({"template": "dapo"}, "template 'boxed' (now 'dapo')"),
    ({"system": "Be terse."}, "system None (now 'Be terse.')"),
    ({"chat_template_kwargs": {"enable_thinking": False}}, "chat_template_kwargs {} (now {'enable_thinking': False})"),
    ({"verifier": "math-verify"}, "verifier 'exact' (now 'math-verify')"),
    ({"n": 2}, "n = 4: --n 2"),
    ({"limit": 3}, "3 of its 6 prompts"),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A complete run and its dataset, for calls that must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        scripted.cheap_chat(patch)
        dataset = scripted.write_rows(folder / "sums.jsonl")
        estimate(options(dataset, folder / "run"))
    return dataset, folder / "run"


@pytest.mark.parametrize(
    ("changed", "named"), REFUSED, ids=lambda value: "-".join(value) if type(value) is dict else ""
)
def test_a_changed_option_is_refused_with_both_values_and_the_right_commands(
    changed: dict[str, Any], named: str, finished: tuple[Path, Path]
) -> None:
    dataset, run = finished
    before = state_of(run)
    with pytest.raises(UserError) as refused:
        estimate(options(dataset, run, **changed))
    message = str(refused.value)
    assert named in message
    check_commands(message, run, dataset)
    assert state_of(run) == before


def check_commands(message: str, run: Path, dataset: Path) -> None:
    first, *rest = message.splitlines()
    assert str(run) in first
    own, another, *regrade = (line.split(":", 1) for line in rest)
    if "verifier" in first:
        ((title, words),) = regrade
        assert title.strip() == "to grade that run again"
        assert shlex.split(words)[:4] == ["spo-data", "regrade", str(run), "--verifier"]
    else:
        assert not regrade
    command = ["spo-data", "estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out"]
    assert own[0].strip() == "to continue that run"
    assert shlex.split(own[1], comments=True) == [*command, str(run)]
    assert another[0].strip() == "to start another"
    *same, out = shlex.split(another[1])
    assert [Path(word).name for word in same] == [Path(word).name for word in command]
    assert Path(out).parent == run.parent
    assert not Path(out).exists()


DATED = "{% set day = date_string if date_string is defined else strftime_now('%d %b %Y') %}{{ day }}"


@pytest.mark.slow
def test_a_run_is_not_continued_on_another_date(finished: tuple[Path, Path], other_model: Path, tmp_path: Path) -> None:
    """A template that writes the date has the same checksum every day, so a run over midnight had two policies."""
    dataset, _ = finished
    folder = shutil.copytree(other_model, tmp_path / "dated")
    template = folder / "chat_template.jinja"
    template.write_text(DATED + template.read_text())
    with pytest.raises(UserError, match="writes today's date into the prompts") as refused:
        estimate(options(dataset, tmp_path / "run", model=folder))
    assert not (tmp_path / "run").exists()
    arguments = json.loads(shlex.split(str(refused.value))[-1])
    for day in (arguments, {"date_string": "30 Nov 2026"}):
        given = options(dataset, tmp_path / day["date_string"], model=folder, n=1, limit=1, chat_template_kwargs=day)
        assert estimate(given).plan.preview.startswith(day["date_string"])
    given = options(dataset, tmp_path / "30 Nov 2026", model=folder, chat_template_kwargs={"date_string": "1 Dec 2026"})
    with pytest.raises(UserError, match=r"{'date_string': '30 Nov 2026'} \(now {'date_string': '1 Dec 2026'}\)"):
        estimate(given)


@pytest.mark.slow
def test_a_chat_template_of_one_s_own_is_rendered_recorded_and_compared(dataset: Path, tmp_path: Path) -> None:
    """The checksum alone could not make the policy again: training would have rendered with the model's template."""
    text = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<you>"
    (tmp_path / "own.jinja").write_text(text)
    given = {"n": 1, "limit": 1, "chat_template": str(tmp_path / "own.jinja")}
    outcome = estimate(options(dataset, tmp_path / "run", **given))
    assert outcome.plan.preview.startswith("<user>What is 0 + 3?\n")
    manifest = read_manifest(tmp_path / "run")
    assert manifest is not None
    assert manifest.policy.chat_template_text == text
    assert "| chat template | not the model's own, checksum" in (tmp_path / "run" / "README.md").read_text()
    (tmp_path / "own.jinja").write_text(text + " ")
    for other in (given, {**given, "chat_template": None}):
        with pytest.raises(UserError, match=r"was made with chat_template '\w{16}' \(now '\w{16}'\)\n"):
            estimate(options(dataset, tmp_path / "run", **other))


def test_truncated_responses_are_graded_if_asked_and_the_run_stays_so(dataset: Path, tmp_path: Path) -> None:
    """verl's dapo reward manager grades what is there; the scripted answer is right when its limit ends it."""
    run = tmp_path / "run"
    asked = {"n": 8, "limit": 2}
    outcome = estimate(options(dataset, run, truncated="grade", **asked))
    samples = rows_of(run, "samples")
    assert {(row["verdict"], row["score"]) for row in samples if row["finish_reason"] == "length"} == {("truncated", 1)}
    for row in rows_of(run, "values"):
        own = [each for each in samples if each["prompt_id"] == row["prompt_id"]]
        cut, right = (sum(each["verdict"] == name for each in own) for name in ("truncated", "correct"))
        assert (row["n_truncated"], row["n_correct"], row["n_valid"]) == (cut, right, 8)
        assert [row["value"], row["value_low"], row["value_high"]] == [(right + cut) / 8, right / 8, (right + cut) / 8]
    assert outcome.summary.verifier == "exact, truncated responses graded"
    assert f"| verifier | exact (rules {RULES}), truncated responses graded |" in (run / "README.md").read_text()
    with pytest.raises(UserError, match=r"truncated 'grade' \(now 'zero'\)") as refused:
        estimate(options(dataset, run, truncated="zero", **asked))
    assert f"spo-data regrade {run} --verifier exact --truncated zero" in str(refused.value).splitlines()[-1]
    again = estimate(options(dataset, run, **asked))  # the run's own, as its verifier
    assert again.plan.manifest.grader.truncated == "grade"
    with pytest.raises(UserError, match="--truncated half: choose one of zero, grade"):
        GraderOptions(truncated="half")  # type: ignore[arg-type]


def test_another_model_is_refused_with_both_names(finished: tuple[Path, Path], other_model: Path) -> None:
    dataset, run = finished
    with pytest.raises(UserError, match=r"model 'smollm2-135m' \(now '.*other'\), revision 'sha256:") as refused:
        estimate(options(dataset, run, model=other_model))
    message = str(refused.value)
    assert f"--model {other_model}" in message.splitlines()[2]
    assert f"--model {scripted.MODEL}" in message.splitlines()[1]


@pytest.mark.parametrize(
    ("row", "named"),
    [({"question": "What is 2 + 6?"}, "1 of its 6 prompts are not in it"), ({"answer": "8"}, "was '7', now '8'")],
    ids=["question", "answer"],
)
def test_a_changed_row_of_the_dataset_is_refused(
    row: dict[str, str], named: str, finished: tuple[Path, Path], tmp_path: Path
) -> None:
    _, run = finished
    before = state_of(run)
    changed = scripted.write_rows(tmp_path / "sums.jsonl", r2=row)
    with pytest.raises(UserError) as refused:
        estimate(options(changed, run))
    message = str(refused.value)
    assert named in message
    assert "What is 2 + 5?" in message or "ground_truth of " in message
    assert str(read_manifest(run).command) in message  # type: ignore[union-attr]
    assert state_of(run) == before


FUNCTION = """
def compute_score(data_source, solution_str, ground_truth, extra_info):
    return float(f"boxed{{{ground_truth}}}" in solution_str) * extra_info.get("full", 1.0)
"""


@pytest.fixture(scope="module")
def by_function(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """A run with a reward function, its dataset, and the function."""
    folder = tmp_path_factory.mktemp("by_function")
    (folder / "mine.py").write_text(FUNCTION)
    verifier = f"{folder}/mine.py:compute_score"
    with pytest.MonkeyPatch.context() as patch:
        scripted.cheap_chat(patch)
        scripted.fork_graders(patch)
        rows: dict[str, Any] = {f"r{row}": {"data_source": "sums", "extra_info": {"index": row}} for row in range(2)}
        dataset = scripted.write_rows(folder / "sums.jsonl", 2, **rows)
        estimate(options(dataset, folder / "run", n=2, verifier=verifier))
    return dataset, folder / "run", verifier


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({"extra_info": {"index": 1, "full": 1}}, 'was {"index": 1}, now {"full": 1, "index": 1}'),
        ({"extra_info": None}, 'was {"index": 1}, now null'),
        ({"data_source": "products"}, 'was "sums", now "products"'),
    ],
    ids=["extra_info", "no extra_info", "data_source"],
)
def test_a_run_is_not_continued_with_rows_that_its_function_reads_otherwise(
    row: dict[str, Any], named: str, by_function: tuple[Path, Path, str], tmp_path: Path
) -> None:
    """Only ground truths were compared, so a prompt's samples, and its value, could come from two graders."""
    dataset, run, verifier = by_function
    before = state_of(run)
    own: dict[str, Any] = {f"r{number}": {"data_source": "sums", "extra_info": {"index": number}} for number in (0, 1)}
    changed = scripted.write_rows(tmp_path / "sums.jsonl", 2, **own | {"r1": own["r1"] | row})
    for n in (2, 4):
        with pytest.raises(UserError) as refused:
            estimate(options(changed, run, verifier=verifier, n=n))
        first, own_command, another = str(refused.value).splitlines()
        assert f"{next(iter(row))} differs for 1 of its 2 prompts, such as " in first
        assert '("What is 1 + 4? ' in first
        assert first.endswith(named)
        assert own_command.endswith(f"--dataset {dataset} --out {run}")
        assert f"--dataset {changed} --out {run}-2" in another
    assert state_of(run) == before


def test_a_changed_file_is_named_beside_the_command_that_reads_it(dataset: Path, tmp_path: Path) -> None:
    """The refused command itself was printed as the right one."""
    estimate(options(dataset, tmp_path / "run", n=1))
    scripted.write_rows(dataset, r2={"answer": "8"})
    with pytest.raises(UserError) as refused:
        estimate(options(dataset, tmp_path / "run", n=1))
    assert str(refused.value).splitlines()[1].endswith(f"--out {tmp_path}/run   # with {dataset} as it was")


def test_what_no_verifier_reads_may_change_and_the_stored_rows_stay(dataset: Path, tmp_path: Path) -> None:
    """Many datasets number their rows in `extra_info`, and a file may move: neither is another grader."""
    estimate(options(dataset, tmp_path / "run", n=1))
    moved = scripted.write_rows(tmp_path / "moved.jsonl", r2={"extra_info": {"index": 9}})  # type: ignore[dict-item]
    assert estimate(options(moved, tmp_path / "run", n=2)).summary.complete
    assert {row["extra_info"] for row in rows_of(tmp_path / "run", "values")} == {None}
    assert {row["data_source"] for row in rows_of(tmp_path / "run", "values")} == {str(dataset)}


def test_a_function_grades_added_samples_by_the_stored_rows_of_a_file_that_moved(tmp_path: Path) -> None:
    """Without a `data_source` of its own, a row has the file's name, which differs if the file moves."""
    function = "def compute_score(data_source, **_):\n    return float('old' in data_source)\n"
    (tmp_path / "mine.py").write_text(function.replace("**_", "solution_str, ground_truth, extra_info"))
    named = {"n": 1, "verifier": f"{tmp_path}/mine.py:compute_score"}
    estimate(options(scripted.write_rows(tmp_path / "old.jsonl", 2), tmp_path / "run", **named))
    new = scripted.write_rows(tmp_path / "new.jsonl", 2)
    assert estimate(options(new, tmp_path / "run", **named | {"n": 6})).summary.complete
    graded = [row for row in rows_of(tmp_path / "run", "samples") if row["verdict"] != "truncated"]
    assert {row["score"] for row in graded} == {1.0}
    assert max(row["sample_index"] for row in graded) > 1


def test_a_ground_truth_check_that_we_failed_is_no_other_dataset(
    finished: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the grader timed out on a ground truth during a resume, the run was refused as one of "another dataset"."""
    dataset, run = finished
    fail_grading(monkeypatch, lambda job: job.response is None and job.ground_truth == "7")
    assert estimate(options(dataset, run)).summary.complete


def test_a_ground_truth_is_checked_again_when_another_verifier_begins_the_run(dataset: Path, tmp_path: Path) -> None:
    """A call that ended before its first sample left its prompts, and the next call's verifier did not check them."""
    scripted.write_rows(dataset, r2={"answer": "\\frac{"})
    estimate(options(dataset, tmp_path / "run", verifier="exact"), Script(die_after=1))
    outcome = estimate(options(dataset, tmp_path / "run", verifier="math-verify"))
    assert outcome.summary.dropped == {"gold_unparseable": 1}
    assert outcome.summary.prompts == 5


def test_the_failures_of_an_earlier_call_do_not_stick_to_other_prompts(dataset: Path, tmp_path: Path) -> None:
    """Prompt numbers were reused while old failures still had them: other prompts got a wrong n and bounds."""
    estimate(options(dataset, tmp_path / "run", n=8), Script(fail_all=True))
    other = scripted.write_rows(tmp_path / "other.jsonl", 4)
    outcome = estimate(options(other, tmp_path / "run", n=4, template="none"))
    assert outcome.summary.complete
    assert (outcome.summary.engine_failures, outcome.summary.not_drawn) == (0, 0)
    assert {row["n"] for row in pq.read_table(tmp_path / "run" / "values").to_pylist()} == {4}


@pytest.mark.slow
def test_an_n_or_limit_that_was_never_drawn_can_be_taken_back(dataset: Path, tmp_path: Path) -> None:
    """After a mistyped --n 80 that ended before its first sample, the run refused --n 4."""
    estimate(options(dataset, tmp_path / "run", n=2, limit=2))
    estimate(options(dataset, tmp_path / "run", n=80), Script(fail_all=True))
    assert estimate(options(dataset, tmp_path / "run", n=3, limit=3)).summary.complete


def test_more_prompts_keep_the_verifier_that_the_run_began_with(tmp_path: Path) -> None:
    """The default verifier depends on the ground truths. A higher limit added a text answer and was refused."""
    source = "reasoning-gym:base_conversion?seed=1"
    first = estimate(options(source, tmp_path / "run", n=1, limit=4, verifier=None))
    more = estimate(options(source, tmp_path / "run", n=1, limit=9, verifier=None))
    assert first.plan.manifest.grader == more.plan.manifest.grader
    assert more.summary.drawn > first.summary.drawn


# Folders.


def test_an_out_that_is_a_file_is_refused(dataset: Path) -> None:
    with pytest.raises(UserError, match=r"sums\.jsonl is a file"):
        estimate(options(dataset, dataset))


def test_an_out_below_a_file_is_refused(dataset: Path) -> None:
    """The user saw a NotADirectoryError's traceback."""
    with pytest.raises(UserError, match=r"sums\.jsonl"):
        estimate(options(dataset, dataset / "run"))


def test_a_folder_with_other_files_is_refused_and_left_alone(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("x")
    with pytest.raises(UserError, match="neither a run nor empty"):
        estimate(options(dataset, tmp_path / "thesis"))
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_an_empty_folder_and_missing_parents_are_fine(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert estimate(options(dataset, tmp_path / "empty", n=1)).summary.complete
    assert estimate(options(dataset, tmp_path / "a" / "b" / "c", n=1)).summary.complete


@pytest.mark.parametrize("state", ["fresh", "finished"])
def test_a_dry_run_writes_nothing(state: str, finished: tuple[Path, Path], tmp_path: Path) -> None:
    dataset, run = finished
    out = run if state == "finished" else tmp_path / "fresh"
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    script, watcher = Script(), scripted.Recorder()
    outcome = estimate(options(dataset, out, n=6), script, watcher=watcher, dry_run=True)
    assert outcome.summary is None
    assert outcome.plan.n_samples == 36
    assert watcher.present == (24 if state == "finished" else 0)
    assert script.seen is None
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert out.exists() == (state == "finished")


def test_a_second_writer_is_refused_in_one_line_and_the_first_goes_on(dataset: Path, tmp_path: Path) -> None:
    run, refused = tmp_path / "run", []

    def second(number: int) -> None:
        if number == 3:
            argv = ["estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(run), "--n", "4"]
            argv += ["--max-tokens", "64", "--verifier", "exact", "--grader-workers", "1"]
            refused.append(scripted.server().run({"argv": argv, "lock_seconds": 0}))

    outcome = estimate(options(dataset, run), Script(hook=second))
    assert outcome.summary.complete
    (other,) = refused
    assert other["status"] == 2
    refusal = f"error: another spo-data is writing to {run} (process {os.getpid()}): wait for it to finish, or stop it"
    assert other["stderr"].splitlines()[-1] == refusal
    assert "Traceback" not in other["stderr"]
    assert other["submitted"] == []


# Failures.


def test_failed_requests_are_recorded_and_the_next_call_draws_just_those(dataset: Path, tmp_path: Path) -> None:
    run, watcher, script = tmp_path / "run", scripted.Recorder(), Script(fail_every=3)
    outcome = estimate(options(dataset, run), script, watcher=watcher)
    failed = {one for one in script.submitted if one[2] % 3 == 0}
    summary = outcome.summary
    assert outcome.engine_error is None
    assert 0 < len(failed) < 24
    assert (summary.engine_failures, summary.not_valid, summary.drawn) == (len(failed), len(failed), 24 - len(failed))
    assert (summary.not_drawn, summary.unfinished) == (0, 0)
    assert summary.errors == {"ValueError: [/INST] the script refuses this request": len(failed)}
    assert watcher.failed == len(failed)
    assert not summary.complete
    values = {row["prompt_id"]: row for row in rows_of(run, "values")}
    for prompt_id, value in values.items():
        lost = sum(one[0] == prompt_id for one in failed)
        assert (value["n"], value["n_valid"], value["n_failed"]) == (4, 4 - lost, lost)
        assert value["value_high"] - value["value_low"] >= lost / 4
    again = Script()
    assert estimate(options(dataset, run), again).summary.complete
    assert set(again.submitted) == failed
    estimate(options(dataset, tmp_path / "undisturbed"))
    assert scripted.tables(run) == scripted.tables(tmp_path / "undisturbed")


def test_a_prompt_without_a_valid_sample_has_no_value(dataset: Path, tmp_path: Path) -> None:
    summary = estimate(options(dataset, tmp_path / "run"), Script(fail_all=True)).summary
    assert (summary.drawn, summary.not_valid, summary.prompts_without_value, summary.value_mean) == (0, 24, 6, None)
    assert rows_of(tmp_path / "run", "values") == []


@pytest.mark.parametrize("die_after", [1, *(pytest.param(k, marks=pytest.mark.slow) for k in (9, 24))])
def test_a_dead_engine_ends_the_run_with_what_was_finished(die_after: int, dataset: Path, tmp_path: Path) -> None:
    run, script = tmp_path / "run", Script(die_after=die_after)
    outcome = estimate(options(dataset, run), script)
    assert isinstance(outcome.engine_error, EngineError)
    assert "the script says so" in str(outcome.engine_error)
    assert outcome.signal is None
    there = {(row[0], row[1]) for row in scripted.journal_rows(run)}
    assert there == set(script.finished)
    assert len(rows_of(run, "samples")) == len(there) < 24
    again = Script()
    assert estimate(options(dataset, run), again).summary.complete
    assert len(again.submitted) == 24 - len(there)
    estimate(options(dataset, tmp_path / "undisturbed"))
    assert scripted.tables(run) == scripted.tables(tmp_path / "undisturbed")


def test_an_engine_that_does_not_start_is_the_engines_error_and_the_run_can_go_on(
    dataset: Path, tmp_path: Path
) -> None:
    from spo_pipelines.estimate import estimate as run_estimate

    def start(plan: Any) -> Any:
        raise EngineError(f"vLLM does not start for {plan.model.name}")

    with pytest.raises(EngineError, match="does not start"):
        asyncio.run(run_estimate(options(dataset, tmp_path / "run"), scripted.Recorder(), start_engine=start))
    assert estimate(options(dataset, tmp_path / "run")).summary.complete


def test_an_unexpected_error_in_the_engine_is_raised_and_loses_nothing(dataset: Path, tmp_path: Path) -> None:
    def broken(number: int) -> None:
        if number == 20:
            raise ZeroDivisionError("a bug")

    script = Script(hook=broken)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        estimate(options(dataset, tmp_path / "run"), script)
    assert scripted.journal_rows(tmp_path / "run")
    assert estimate(options(dataset, tmp_path / "run")).summary.complete


def fail_grading(monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:
    grade = GraderPool.grade

    async def failing(self: GraderPool, job: GradeJob) -> Grade:
        return Grade.failed(Verdict.GRADER_TIMEOUT, "over 10 s") if fails(job) else await grade(self, job)

    monkeypatch.setattr(GraderPool, "grade", failing)


def test_a_grader_failure_is_graded_again_without_sampling(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        fail_grading(patch, lambda job: job.response is not None and len(job.response) % 2)
        outcome = estimate(options(dataset, run))
    timeouts = outcome.summary.verdicts["grader_timeout"]
    assert 0 < timeouts < 24
    assert (outcome.summary.not_valid, outcome.summary.unfinished) == (timeouts, 0)
    assert all(row["score"] is None for row in rows_of(run, "samples") if row["verdict"] == "grader_timeout")
    script = Script()
    assert estimate(options(dataset, run), script).summary.complete
    assert script.submitted == []
    estimate(options(dataset, tmp_path / "undisturbed"))
    assert scripted.tables(run) == scripted.tables(tmp_path / "undisturbed")


class FullDisk(sqlite3.Connection):
    """A connection that cannot grow the database, as if the disk were full."""

    def executemany(self, sql: str, *arguments: Any) -> Any:
        if "INSERT INTO samples" in sql:
            (pages,) = self.execute("PRAGMA page_count").fetchone()
            self.execute(f"PRAGMA max_page_count = {pages}")
        return super().executemany(sql, *arguments)


def test_a_full_disk_is_one_error_that_says_so_and_the_run_can_go_on(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite itself rolls back if the disk is full. Our own ROLLBACK then failed and hid the cause."""
    with monkeypatch.context() as patch:
        connect = sqlite3.connect
        patch.setattr("spo_data.run.journal.sqlite3.connect", lambda *a, **k: connect(*a, **k, factory=FullDisk))
        with pytest.raises(SpoError, match=r"journal\.sqlite cannot be written: .*full"):
            estimate(options(dataset, tmp_path / "run", n=40))
    assert estimate(options(dataset, tmp_path / "run", n=40)).summary.complete


def test_an_error_of_the_database_is_one_line(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(Journal, "add", fail)
    with pytest.raises(SpoError, match=r"^.*journal\.sqlite cannot be written: disk I/O error$") as failed:
        estimate(options(dataset, tmp_path / "run"))
    assert failed.value.exit_status == 1


@pytest.mark.parametrize("where", ["spo_data.run.manifest:Manifest.write", "spo_pipelines.results:write_tables"])
def test_a_disk_that_fills_up_outside_the_journal_is_one_error_too(
    where: str, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The user saw the traceback of an OSError from writing the manifest or the tables."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(where.replace(":", "."), full)
    with pytest.raises(SpoError, match="cannot be written: the disk is full"):
        estimate(options(dataset, tmp_path / "run"))


def test_a_journal_that_is_no_database_is_one_error(dataset: Path, tmp_path: Path) -> None:
    """The user saw a sqlite3.DatabaseError's traceback: the code that read the folder did not convert the error."""
    estimate(options(dataset, tmp_path / "run", n=1))
    for path in (tmp_path / "run").glob("journal.sqlite*"):
        path.unlink()
    (tmp_path / "run" / "journal.sqlite").write_bytes(b"not a database, whatever its name says" * 200)
    with pytest.raises(SpoError, match=r"journal\.sqlite"):
        estimate(options(dataset, tmp_path / "run", n=1))


# Dropped prompts.


def test_over_long_prompts_are_dropped_and_counted(tmp_path: Path) -> None:
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", r1={"question": "What is 1 + 4? " * 40})
    script = Script()
    outcome = estimate(options(dataset, tmp_path / "run", max_model_len=100), script)
    assert outcome.summary.dropped == {"prompt_too_long": 1}
    assert (outcome.summary.prompts, outcome.summary.not_valid, outcome.summary.complete) == (5, 0, False)
    assert read_manifest(tmp_path / "run").counts.dropped == {"prompt_too_long": 1}  # type: ignore[union-attr]
    with journal_of(tmp_path / "run") as journal:
        (drop,) = journal.read_dropped()
    assert drop.row == 1
    assert "leave no room in a context of 100" in drop.detail
    assert len(script.submitted) == 20


def test_prompts_whose_ground_truth_cannot_be_verified_are_dropped_and_counted(tmp_path: Path) -> None:
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", r0={"answer": "}{"}, r4={"answer": "\\boxed{"})
    summary = estimate(options(dataset, tmp_path / "run", n=1)).summary
    assert summary.dropped == {"gold_unparseable": 2}
    assert summary.prompts == 4


def test_a_run_in_which_no_prompt_is_left_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is left to sample \(6 prompt_too_long; row 5: 56 tokens leave no"):
        estimate(options(dataset, tmp_path / "run", max_model_len=8))
    assert not (tmp_path / "run").exists()


# Signals and exit statuses, each in its own process.


def argv(dataset: Path, run: Path, *more: str) -> list[str]:
    return [
        *("estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(run), "--n", "4"),
        *("--max-tokens", "64", "--verifier", "exact", "--grader-workers", "1", *more),
    ]


@pytest.mark.parametrize(
    ("number", "group"),
    [
        pytest.param(signal.SIGTERM, False, id="SIGTERM-to-the-process"),
        pytest.param(signal.SIGINT, True, id="SIGINT-to-its-group", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_run_cleanly_and_the_same_command_completes_it(
    number: signal.Signals, group: bool, dataset: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    engine = {"signal": int(number), "signal_after": 13, "signal_group": group}
    ended = scripted.server().run({"argv": argv(dataset, run), "engine": engine, "spawn_graders": group})
    assert ended["status"] == 128 + number
    *_, last = said = ended["stderr"].splitlines()
    assert last.startswith("interrupted: nothing that was sampled is lost; to continue: ")
    assert last.endswith(shlex.join(argv(dataset, run)))
    assert any(line.startswith("stopping: waiting for ") for line in said)
    assert "Traceback" not in ended["stderr"]
    there = scripted.journal_rows(run)
    assert 0 < len(there) < 24
    assert len(ended["submitted"]) <= 13 + 6, "nothing new is asked for"
    assert len(rows_of(run, "samples")) == len(there)
    assert len(there) >= 13 - 6, "only what was being generated is drawn again"
    resumed = scripted.server().run({"argv": argv(dataset, run)})
    assert resumed["status"] == 0, resumed["stderr"]
    assert len(resumed["submitted"]) == 24 - len(there)
    scripted.server().run({"argv": argv(dataset, tmp_path / "undisturbed")})
    assert scripted.tables(run) == scripted.tables(tmp_path / "undisturbed")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_engine_ends_the_call_at_once(
    number: signal.Signals, dataset: Path, tmp_path: Path
) -> None:
    signalled = {"at": "spo_pipelines.estimate:plan_sampling", "signal": int(number)}
    ended = scripted.server().run({"argv": argv(dataset, tmp_path / "run"), "kill": signalled})
    assert ended["status"] == 128 + number
    assert ended["stderr"].splitlines()[-1].startswith("interrupted")
    assert "Traceback" not in ended["stderr"]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("engine", "more", "status", "says"),
    [
        ({}, (), 0, "(complete)"),
        ({"fail_every": 3}, (), 1, "the same command tries them again"),
        ({"fail_every": 3}, ("--allow-missing",), 0, "ValueError: [/INST] the script refuses this request"),
        ({"die_after": 6}, (), 1, "error: vLLM died: RuntimeError: the script says so"),
        ({"die_after": 6}, ("--allow-missing",), 1, "; to continue: "),
        ({}, ("--max-model-len", "60"), 1, "1 rows were dropped"),
        ({}, ("--max-model-len", "60", "--allow-missing"), 0, "1 dropped: prompt_too_long"),
    ],
)
@pytest.mark.slow
def test_the_exit_status_is_0_only_where_nothing_is_missing_or_that_was_allowed(
    engine: dict[str, int], more: tuple[str, ...], status: int, says: str, tmp_path: Path
) -> None:
    """The summary stopped at an engine error with brackets, because rich parsed `[/INST]` as markup."""
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", r1={"question": "What is 1 + 4? " * 4})
    ended = scripted.server().run({"argv": argv(dataset, tmp_path / "run", *more), "engine": engine})
    assert "Traceback" not in ended["stderr"], ended["stderr"]
    assert ended["status"] == status
    assert says in ended["stdout"] + ended["stderr"]


def test_a_manifest_accounts_for_all_calls(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    estimate(options(dataset, run), Script(die_after=9))
    first = read_manifest(run)
    estimate(options(dataset, run))
    second = read_manifest(run)
    assert isinstance(first, Manifest)
    assert isinstance(second, Manifest)
    assert 0 < first.timings.sampled < second.timings.sampled == 24
    assert first.timings.sampling_seconds < second.timings.sampling_seconds
    samples = rows_of(run, "samples")
    assert second.timings.sampled_tokens == sum(row["response_tokens"] for row in samples)
    assert second.counts is not None
    assert second.counts.samples == 24
    assert json.loads((run / "run.json").read_text())["schema_version"] == 7
    used = second.timings.device_seconds
    assert used == {"scripted core": pytest.approx(3 * second.timings.sampling_seconds)}, "over both calls"


def test_a_model_folder_without_weights_is_enough_to_plan(other_model: Path) -> None:
    assert isinstance(resolve_model(str(other_model)), Model)


def test_the_second_signal_leaves_responses_that_are_being_graded() -> None:
    """The first one waits for them, ten seconds each at worst, and nothing could be done about it."""

    async def stopped_twice() -> tuple[list[str], Any]:
        said: list[str] = []

        async def draw() -> None:
            await stopping.stop.wait()
            said.append("stopped")
            try:
                await asyncio.Event().wait()
            finally:
                said.append("ended")

        stopping = Stopping()
        with stop_on_signals(stopping, lambda: said.append("waiting")):
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            asyncio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGTERM)
            death = await asyncio.wait_for(_unless_abandoned(draw(), stopping.abandon), 20)
        assert stopping.signals == [signal.SIGINT, signal.SIGTERM]
        return said, death

    assert asyncio.run(stopped_twice()) == (["waiting", "stopped", "ended"], None)


def test_what_the_stream_raises_is_raised() -> None:
    async def fail() -> None:
        raise UserError("no stream")

    with pytest.raises(UserError, match="no stream"):
        asyncio.run(_unless_abandoned(fail(), asyncio.Event()))


# A verifier that changes during a run.

REWARD = """
import os
import marks
def judge(solution_str, ground_truth, **_):
    open({pids!r}, "a").write(f"{{os.getpid()}} ")
    return float(marks.MARK % ground_truth in solution_str)
"""


class Changing:
    """A reward function's files, changed at a submission of the engine, with the grading process killed."""

    def __init__(self, folder: Path, change: Any, at: int = 12) -> None:
        self.files = {"reward.py": REWARD.format(pids=str(folder / "pids")), "marks.py": "MARK = 'boxed{%s}'\n"}
        self.folder, self._change, self._at = folder, change, at
        self.undo()
        self.verifier = f"{folder / 'reward.py'}:judge"

    def undo(self) -> None:
        for name, source in self.files.items():
            (self.folder / name).write_text(source)

    def __call__(self, number: int) -> None:
        if number == self._at:
            self._change(self)
            os.kill(int((self.folder / "pids").read_text().split()[-1]), signal.SIGKILL)


def accept_all(changing: Changing) -> None:
    (changing.folder / "reward.py").write_text("def judge(**_): return 1.0\n")


def accept_any_box(changing: Changing) -> None:
    (changing.folder / "marks.py").write_text("MARK = 'boxed%.0s'\n")


@pytest.mark.parametrize(
    ("change", "named"), [pytest.param(accept_all, "reward.py", marks=pytest.mark.slow), (accept_any_box, "marks.py")]
)
def test_a_verifier_that_changes_during_a_run_ends_it_and_no_response_is_lost(
    dataset: Path, tmp_path: Path, change: Any, named: str
) -> None:
    """A grading process that is replaced imported the file as it was then: 25 verdicts of another function were
    journaled under the checksum taken at the start."""
    run = tmp_path / "run"
    changing = Changing(tmp_path, change)
    asked = options(dataset, run, verifier=changing.verifier)
    script = Script(hook=changing)
    with pytest.raises(SpoError) as caught:
        estimate(asked, script)
    assert str(caught.value).startswith(f"{tmp_path / named} changed during grading: sha256 ")
    assert str(caught.value).endswith(
        "now; finished responses are kept: undo the change and run the same command; to keep the changed verifier, run"
        f" spo-data regrade {run} first"
    )
    stored = rows_of(run, "samples")
    assert {(row["prompt_id"], row["sample_index"]) for row in stored} == set(script.finished)
    assert "not graded yet" in {row["detail"] for row in stored}
    with pytest.raises(UserError, match=r"was made with version 'judge sha256 .* \(now 'judge sha256 "):
        estimate(asked)
    changing.undo()
    again = Script()
    assert estimate(asked, again).summary.complete
    assert len(script.finished) + len(again.submitted) == 24, "no finished response is drawn again"
    estimate(options(dataset, tmp_path / "undisturbed", verifier=changing.verifier))
    assert scripted.journal_rows(run) == scripted.journal_rows(tmp_path / "undisturbed")


def test_a_verifier_that_changed_before_it_was_loaded_is_not_taken_for_the_recorded_one(tmp_path: Path) -> None:
    """Between the reading of the version and the first grading process lies the reading of the prompts."""
    changing = Changing(tmp_path, accept_all)
    recorded = resolve_grader(changing.verifier)
    accept_any_box(changing)

    async def enter() -> None:
        async with open_pool(GraderOptions(grader_workers=1), [recorded], lambda: "do as follows"):
            pass

    with pytest.raises(SpoError, match=r"marks\.py changed during grading: .* is there now; do as follows$"):
        asyncio.run(enter())
