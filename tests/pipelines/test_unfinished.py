"""A run that stopped early never looks finished: right answers end first, so the first samples of a prompt mislead.

The engine gives every prompt the true value 0.5, and its right answers are twelve times faster than its wrong ones.
"""

import json
import math
import shlex
import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from typer.testing import CliRunner

from spo_cli.commands.export import export
from spo_cli.commands.join import join
from spo_cli.commands.list_runs import list_runs
from spo_cli.commands.show import show
from spo_data.errors import UserError
from spo_data.formats.export import export_values
from spo_data.formats.import_values import import_values
from spo_data.formats.load import load_values
from spo_data.grading.verdict import Verdict
from spo_data.prompts.identity import Message, Prompt
from spo_data.provenance import Completeness
from spo_data.report.page import write_report
from spo_data.report.statistics import read_reported_prompts
from spo_data.run.journal import Journal
from spo_data.run.manifest import read_manifest
from spo_data.run.sample import Sample
from spo_data.run.summary import Summary, summarize
from spo_pipelines.push import PushOptions, push
from support import scripted
from support.records import GRADER, journal_of, make_manifest
from support.virtual_time import FastRight

PROMPTS, N = 256, 8
CAPACITY = 128
STOPPED_AFTER = PROMPTS * N // 4


@dataclass(frozen=True)
class Stopped:
    """A run that was interrupted at a quarter of its samples."""

    folder: Path
    dataset: Path
    engine: FastRight
    summary: Summary

    @property
    def drawn(self) -> Counter[str]:
        """The number of samples in the journal by prompt id, of prompts that have one."""
        return Counter(prompt_id for prompt_id, *_ in scripted.journal_rows(self.folder))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    folder = tmp_path_factory.mktemp("stopped")
    engine = FastRight(CAPACITY, STOPPED_AFTER)
    dataset = scripted.write_rows(folder / "sums.jsonl", PROMPTS)
    with pytest.MonkeyPatch.context() as patch:
        scripted.cheap_chat(patch)
        scripted.fork_graders(patch)
        outcome = scripted.estimate(scripted.options(dataset, folder / "run", n=N), start_engine=engine.start)
    assert outcome.signal is not None
    assert outcome.summary.drawn == STOPPED_AFTER
    return Stopped(folder / "run", dataset, engine, outcome.summary)


@pytest.fixture
def run(stopped: Stopped, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(stopped.folder, tmp_path / "run"))


def call(command: Any, *words: object) -> Any:
    app = typer.Typer()
    app.command()(command)
    return CliRunner(env={"COLUMNS": "300"}).invoke(app, [str(word) for word in words])


def stopped_prompts(run: Path) -> int:
    manifest = read_manifest(run)
    assert manifest is not None
    assert manifest.counts is not None
    return manifest.counts.unfinished or 0


def value_rows(run: Path) -> list[dict[str, Any]]:
    return pq.read_table(run / "values").to_pylist()


def test_only_prompts_with_all_samples_have_a_value(stopped: Stopped) -> None:
    """69 half-drawn prompts had the value 1.0 with the bounds 1.0 to 1.0, and the run's mean was 0.74."""
    rows, drawn = value_rows(stopped.folder), stopped.drawn
    assert {row["prompt_id"] for row in rows} == {prompt_id for prompt_id, count in drawn.items() if count == N}
    assert {(row["n"], row["n_valid"], row["n_failed"]) for row in rows} == {(N, N, 0)}
    mean = sum(row["value"] for row in rows) / len(rows)
    assert abs(mean - 0.5) < 0.1
    assert stopped.summary.value_mean == pytest.approx(mean)
    with journal_of(stopped.folder) as journal:
        assert list(journal.values(journal.grader, N)) == [row["prompt_id"] for row in rows]
        scores = journal.query("SELECT prompt_id, avg(score) FROM graded JOIN prompts USING (prompt_number) GROUP BY 1")
    assert sum(score for _, score in scores) / len(scores) > 0.65  # what the table said when it held every prompt


def test_bounds_are_those_of_the_whole_run(stopped: Stopped) -> None:
    summary = stopped.summary
    correct = summary.verdicts["correct"]
    assert summary.value_low == pytest.approx(correct / (PROMPTS * N))
    assert summary.value_high == pytest.approx((correct + summary.not_drawn) / (PROMPTS * N))
    assert summary.value_low < 0.5 < summary.value_high
    assert (summary.not_drawn, summary.not_valid) == (PROMPTS * N - STOPPED_AFTER, 0)
    assert summary.unfinished + summary.prompts_with_value == PROMPTS
    assert not summary.complete


def test_drawing_goes_prompt_by_prompt(stopped: Stopped) -> None:
    """Only prompts of which a sample is in flight are half-drawn when a run stops."""
    half = [count for count in stopped.drawn.values() if count < N]
    assert 0 < len(half) <= stopped.engine.samplers + 1
    asked = [prompt_id for prompt_id, _ in stopped.engine.submitted]
    begun = list(dict.fromkeys(asked))
    assert asked == sorted(asked, key=begun.index)
    assert len(begun) == math.ceil((STOPPED_AFTER + stopped.engine.samplers) / N)


def test_the_next_call_draws_half_drawn_prompts_first_and_finishes_the_run(stopped: Stopped, run: Path) -> None:
    engine = FastRight(CAPACITY, present=STOPPED_AFTER)
    options = scripted.options(stopped.dataset, run, n=N)
    summary = scripted.estimate(options, start_engine=engine.start).summary
    half = [prompt_id for prompt_id, count in stopped.drawn.items() if count < N]
    lacking = sum(N - stopped.drawn[prompt_id] for prompt_id in half)
    assert {prompt_id for prompt_id, _ in engine.submitted[:lacking]} == set(half)
    assert summary.complete
    assert (summary.unfinished, summary.not_drawn) == (0, 0)
    assert load_values(run).completeness == Completeness(prompts=PROMPTS, unfinished=0, without_value=0)
    before = {row["prompt_id"]: row for row in value_rows(stopped.folder)}
    assert {row["prompt_id"]: row for row in value_rows(run) if row["prompt_id"] in before} == before


@pytest.mark.parametrize("more", [{"n": 2 * N}, {"n": N, "limit": None}], ids=["n", "limit"])
def test_more_samples_or_prompts_are_unfinished_until_they_are_drawn(more: dict[str, Any], tmp_path: Path) -> None:
    dataset = scripted.write_rows(tmp_path / "sums.jsonl", 6)
    scripted.estimate(scripted.options(dataset, tmp_path / "run", n=N, limit=4), start_engine=FastRight(4).start)
    engine = FastRight(4, stop_after=12, present=4 * N)
    options = scripted.options(dataset, tmp_path / "run", **{"limit": 4, **more})
    watcher = scripted.Recorder()
    summary = scripted.estimate(options, start_engine=engine.start, watcher=watcher).summary
    assert any("has no value until its new samples" in said for said in watcher.stages) is (more["n"] > N)
    asked = summary.prompts * more["n"]
    assert (summary.asked, summary.drawn, summary.not_drawn) == (asked, 4 * N + 12, asked - 4 * N - 12)
    assert summary.unfinished == summary.prompts - len(value_rows(tmp_path / "run")) > 0
    assert all(row["n_valid"] == more["n"] for row in value_rows(tmp_path / "run"))


def test_show_and_list_count_unfinished_prompts_beside_the_mean(stopped: Stopped) -> None:
    summary = stopped.summary
    shown = call(show, stopped.folder).stdout
    assert f"{summary.unfinished} of {PROMPTS} prompts, which have no value yet: {summary.not_drawn:,} samples" in shown
    assert f"{summary.value_mean:.4f} of {summary.prompts_with_value} prompts; bounds of all {PROMPTS}: " in shown
    assert "not valid" not in shown
    said = json.loads(call(show, stopped.folder, "--json").stdout)
    assert (said["unfinished"], said["not_drawn"], said["not_valid"]) == (summary.unfinished, summary.not_drawn, 0)
    (listed,) = json.loads(call(list_runs, stopped.folder.parent, "--json").stdout)
    assert listed["unfinished"] == summary.unfinished
    assert (
        listed["done"] == f"{STOPPED_AFTER} of {PROMPTS * N:,} samples, {summary.unfinished} of 256 prompts unfinished"
    )
    assert listed["mean"] == pytest.approx(summary.value_mean)


def test_manifest_card_and_page_say_it_too(run: Path, stopped: Stopped) -> None:
    summary = stopped.summary
    manifest = read_manifest(run)
    assert manifest is not None
    assert manifest.counts is not None
    assert (manifest.counts.unfinished, manifest.counts.without_value) == (summary.unfinished, 0)
    card = (run / "README.md").read_text()
    assert f"**Incomplete.** {summary.unfinished} of {PROMPTS} prompts are unfinished: {summary.not_drawn:,} of" in card
    assert f"| unfinished | {summary.unfinished} of {PROMPTS} prompts, not in the mean |" in card
    assert "| not valid | 0 of 2,048 samples |" in card
    assert "| not drawn yet | 1,536 of 2,048 samples |" in card
    page = write_report(run).path.read_text()
    assert f"so <b>{summary.unfinished}</b> of {PROMPTS} prompts are unfinished" in page
    assert f"of {summary.prompts_with_value} prompts; {summary.unfinished} unfinished. Bounds of all {PROMPTS}" in page


def test_push_refuses_it_unless_it_is_allowed(stopped: Stopped) -> None:
    refused = (
        f"{stopped.summary.unfinished} of {PROMPTS} prompts are unfinished \\(1,536 of 2,048 samples are not drawn"
    )
    with pytest.raises(UserError, match=refused + " yet\\), 0 samples are not valid: `spo-data estimate .* --allow"):
        push(PushOptions("me/values", stopped.folder), print)


def test_loading_exporting_and_joining_count_what_is_unfinished(stopped: Stopped, tmp_path: Path) -> None:
    values, summary = load_values(stopped.folder), stopped.summary
    assert values.completeness == summary.completeness
    assert len(values) == summary.prompts_with_value
    command = shlex.join(["spo-data", "estimate", "--model", scripted.MODEL, "--dataset", str(stopped.dataset)])
    note = (
        f"note: {stopped.folder}: {summary.unfinished} of the run's {PROMPTS} prompts are unfinished: some of their"
        f" samples are not drawn yet, so they have no value; `{command} --out {stopped.folder}` continues the run\n"
    )
    written = call(export, stopped.folder, "--format", "spo-hf", "--out", tmp_path / "exported")
    assert written.stderr == note
    assert f"unfinished  {summary.unfinished} further prompts of the run" in written.stdout
    assert load_values(tmp_path / "exported").completeness == summary.completeness
    joined = call(join, stopped.folder, stopped.dataset)
    assert joined.exit_code == 2
    assert joined.stderr.startswith(note)
    assert f"{summary.prompts_with_value} prompts, {summary.unfinished} further ones unfinished" in joined.stdout
    said = json.loads(call(join, stopped.folder, stopped.dataset, "--json").stdout)
    assert (said["with_value"], said["unfinished"]) == (summary.prompts_with_value, summary.unfinished)


@pytest.mark.parametrize("kind", ["own", "spo-hf", "verl", "a-star-po"])
def test_every_copy_of_the_values_says_how_complete_they_are(stopped: Stopped, tmp_path: Path, kind: str) -> None:
    copy = stopped.folder
    if kind != "own":
        copy = tmp_path / ("copy" if kind == "spo-hf" else "copy.parquet")
        assert export_values(str(stopped.folder), kind, copy).written.prompts == stopped.summary.prompts_with_value
    imported = import_values(str(copy), tmp_path / "imported")
    assert imported.unfinished == stopped.summary.unfinished
    assert f"* {imported.unfinished} unfinished prompts" in (tmp_path / "imported" / "README.md").read_text()
    values = load_values(tmp_path / "imported")
    assert (values.completeness, len(values)) == (stopped.summary.completeness, stopped.summary.prompts_with_value)


def test_an_export_without_a_finished_prompt_says_why(run: Path, tmp_path: Path) -> None:
    table = pq.read_table(run / "values")
    pq.write_table(table.slice(0, 0), run / "values" / "train-00000-of-00001.parquet")
    with pytest.raises(UserError, match=rf"no prompt can be written as verl \({stopped_prompts(run)} are unfinished\)"):
        export_values(str(run), "verl", tmp_path / "v.parquet")


def test_a_prompt_is_suspect_only_once_it_is_finished(tmp_path: Path) -> None:
    """The samples that end first may all be wrong: a later one is not."""
    wrong = Sample("", 0, 0, "r", np.zeros(1, np.int32), "stop", "5", Verdict.WRONG, 0.0)
    prompt = Prompt((Message("user", "What is 2 + 2?"),), "4", "sums")
    with Journal(tmp_path / "journal.sqlite", GRADER) as journal:
        journal.set_prompts([prompt], [])
        for index in range(3):
            journal.add(replace(wrong, prompt_id=prompt.prompt_id, sample_index=index))
        journal.commit()
        for n, suspects in ((3, 1), (4, 0)):
            assert len(summarize(journal, make_manifest(n=n)).suspects) == suspects
            assert sum(found.agreed is not None for found in read_reported_prompts(journal, n)) == suspects


def test_a_call_that_has_begun_leaves_no_finished_table_behind(run: Path) -> None:
    """A run that was extended and killed had whole tables, so it looked finished."""
    manifest = read_manifest(run)
    assert manifest is not None
    manifest.model_copy(update={"counts": None}).write(run)
    values = load_values(run)
    assert values.is_outdated
    assert "the last call of `spo-data estimate` has not ended" in values.gap
