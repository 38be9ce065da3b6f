"""A run killed by SIGKILL at any point and then resumed ends with the same bytes as an undisturbed run."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from spo_data import sample_seed
from spo_data.run.manifest import read_manifest
from support import scripted
from support.records import journal_of

pytestmark = pytest.mark.slow

ROWS = 6
SMALL, WHOLE, MORE = ("--limit", "3", "--n", "4"), ("--n", "4"), ("--n", "6")


@dataclass(frozen=True)
class Kill:
    """Where a process dies (see `scripted.arm`), and how the engine behaved in that call."""

    at: str
    nth: int = 1
    when: str = "before"
    under_run: bool = False
    engine: tuple[tuple[str, int], ...] = ()

    def job(self, run: Path) -> dict[str, Any]:
        kill = {"at": self.at, "nth": self.nth, "when": self.when, "under": str(run) if self.under_run else ""}
        return {"kill": kill, "engine": dict(self.engine)}


@dataclass(frozen=True)
class Scenario:
    """A starting folder, kills in consecutive calls, and a last call that runs undisturbed."""

    name: str
    kills: tuple[Kill, ...]
    start: str = "empty"
    arguments: tuple[str, ...] = WHOLE


def once(name: str, at: str, **where: Any) -> Scenario:
    start, arguments = where.pop("start", "empty"), where.pop("arguments", WHOLE)
    return Scenario(name, (Kill(at, **where),), start, arguments)


def in_folder(name: str, at: str, **where: Any) -> Scenario:
    return once(name, f"pathlib:Path.{at}", under_run=True, **where)


ESTIMATE = "spo_pipelines.estimate:"
RESULTS = "spo_pipelines.results:"
JOURNAL = "spo_data.run.journal:Journal."
TRANSACTION = "spo_data.sqlite:Transaction."
SUBMIT = "__main__:ScriptedEngine.submit"
WRITER = "pyarrow.parquet:ParquetWriter."

SCENARIOS = [
    in_folder("when the folder is made", "mkdir", when="after"),
    once("when the folder is locked", f"{ESTIMATE}find_resume_point"),
    in_folder("before the first manifest is in its place", "replace"),
    in_folder("when the first manifest is in its place", "replace", when="after"),
    once("within the journal's schema", "sql:CREATE TABLE", when="half"),
    once("within the prompts' transaction", "sql:INSERT INTO prompts", when="after"),
    once("before the prompts' commit", "sql:COMMIT", nth=2),
    once("at the 11th request", SUBMIT, nth=11),
    once("at the last request", SUBMIT, nth=24),
    once("while the 5th response is graded", "spo_data.grading.workers.pool:GraderPool.grade", nth=ROWS + 5),
    once("when 4 samples wait for a commit", f"{JOURNAL}add", nth=4, when="after"),
    once("within the first batch's transaction", "sql:INSERT INTO samples", when="after"),
    once("before the first batch's commit", "sql:COMMIT", nth=3),
    once("after the last commit", "sql:COMMIT", nth=7, when="after"),
    once("when a failure is recorded", f"{JOURNAL}add_failure", when="after", engine=(("fail_every", 3),)),
    once("before the summary", f"{RESULTS}summarize"),
    once("after the values' rows", f"{WRITER}write_table", when="after"),
    once("within the samples' table", f"{WRITER}write_table", nth=2, when="after"),
    in_folder("between the two tables", "rename", when="after"),
    in_folder("before the samples are in their place", "rename", nth=2),
    once("before the card", f"{RESULTS}write_card"),
    in_folder("before the card is in its place", "replace", nth=2),
    in_folder("between the old values and the new", "rename", when="after", start="whole", arguments=MORE),
    in_folder("between the old samples and the new", "rename", nth=3, when="after", start="whole", arguments=MORE),
    once("when n is raised and a batch is drawn", "sql:COMMIT", nth=2, when="after", start="whole", arguments=MORE),
    once("when more prompts are stored", "sql:COMMIT", when="after", start="small"),
    once("after the regrade", f"{JOURNAL}regrade", when="after", start="ungraded"),
    Scenario("twice, in the run and in its resume", (Kill(f"{JOURNAL}add", 9), Kill("sql:COMMIT", 3, "after"))),
    Scenario(
        "three times, in the run, its resume and the tables",
        (Kill(SUBMIT, 9), Kill("sql:COMMIT", 2), Kill(f"{WRITER}close", 2, "after")),
    ),
    Scenario(
        "among failures, then in the call that draws them",
        (Kill(f"{JOURNAL}add", 12, engine=(("fail_every", 3),)), Kill("sql:DELETE FROM failures", 1, "after")),
    ),
]
# The same places a step earlier or later.
NEIGHBOURS = [
    in_folder("before the folder is made", "mkdir"),
    once("before the journal has a schema", "sql:CREATE TABLE"),
    once("when the journal has a schema", "sql:CREATE TABLE", when="after"),
    once("before the prompts are stored", f"{JOURNAL}set_prompts"),
    once("before the schema's commit", "sql:COMMIT"),
    once("when the prompts are stored", f"{JOURNAL}set_prompts", when="after"),
    once("at the first request", SUBMIT),
    once("at the 11th response", SUBMIT, nth=11, when="after"),
    once("before the first sample is taken", f"{JOURNAL}add"),
    once("when the last sample is taken", f"{JOURNAL}add", nth=24, when="after"),
    once("after the first batch's commit", "sql:COMMIT", nth=3, when="after"),
    once("before the third batch's commit", f"{TRANSACTION}__exit__", nth=4),
    once("after the third batch's commit", f"{JOURNAL}commit", nth=3, when="after"),
    once("before the last commit", "sql:COMMIT", nth=7),
    once("before the values' rows", f"{WRITER}write_table"),
    once("before the values' footer", f"{WRITER}close"),
    in_folder("before the values are in their place", "rename"),
    once("before the picture", f"{RESULTS}write_histogram_png"),
    once("before the last manifest", "spo_data.run.manifest:Manifest.write", nth=2),
    once("when all is written", "spo_data.run.manifest:Manifest.write", nth=2, when="after"),
    in_folder("before the old values are gone", "rename", nth=2, when="after", start="whole", arguments=MORE),
    in_folder("when n is raised and no sample drawn", "replace", when="after", start="whole", arguments=MORE),
    once("before more prompts are stored", f"{JOURNAL}set_prompts", start="small"),
    once("before the regrade", f"{JOURNAL}regrade", start="ungraded"),
]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scripted.write_rows(tmp_path_factory.mktemp("crash") / "sums.jsonl", ROWS)


def call(dataset: Path, run: Path, arguments: tuple[str, ...], **job: Any) -> dict[str, Any]:
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", str(dataset), "--out", str(run), "--max-tokens", "64"]
    argv += ["--verifier", "exact", "--grader-workers", "1", *arguments]
    return scripted.server().run({"argv": argv, "commit_samples": 5, **job})


@pytest.fixture(scope="module")
def undisturbed(dataset: Path) -> dict[tuple[str, ...], Path]:
    """An uninterrupted run for each set of arguments."""
    runs = {}
    for arguments in (SMALL, WHOLE, MORE):
        runs[arguments] = dataset.parent / f"undisturbed{'-'.join(arguments)}"
        ended = call(dataset, runs[arguments], arguments)
        assert ended["status"] == 0, ended["stderr"]
    return runs


@pytest.fixture(scope="module")
def starts(dataset: Path, undisturbed: dict[tuple[str, ...], Path]) -> dict[str, Path]:
    """The folders from which the killed calls start, by name."""
    ungraded = dataset.parent / "ungraded"
    ended = call(dataset, ungraded, WHOLE, grader_fails=3)
    assert ended["status"] == 1
    timeouts = [row for row in scripted.journal_rows(ungraded) if row[3] == "grader_timeout"]
    assert len(timeouts) >= 3
    return {"small": undisturbed[SMALL], "whole": undisturbed[WHOLE], "ungraded": ungraded}


def expected_samples(run: Path, n: int) -> set[tuple[str, int, int]]:
    with journal_of(run) as journal:
        ids = [prompt.prompt_id for prompt in journal.prompts()]
    return {(prompt_id, index, sample_seed(0, prompt_id, index)) for prompt_id in ids for index in range(n)}


def check_resumed(dataset: Path, run: Path, arguments: tuple[str, ...], undisturbed: Path) -> None:
    n = int(arguments[-1])
    expected = expected_samples(undisturbed, n)
    assert len(expected) == ROWS * n
    present = {row[:3] for row in scripted.journal_rows(run)} if (run / "journal.sqlite").exists() else set()
    ended = call(dataset, run, arguments)
    assert ended["status"] == 0, ended["stderr"]
    assert set(ended["submitted"]) == expected - present, "a resume draws what is missing and nothing else"
    assert len(ended["submitted"]) == len(set(ended["submitted"]))
    rows = scripted.journal_rows(run)
    assert {row[:3] for row in rows} == expected
    assert len(rows) == len(expected), "each sample once"
    assert scripted.tables(run) == scripted.tables(undisturbed)
    left, there = read_manifest(run), read_manifest(undisturbed)
    assert left is not None
    assert there is not None
    assert left.counts == there.counts
    assert not [path.name for path in run.iterdir() if path.name.endswith((".new", ".old"))]


def test_the_undisturbed_run_has_every_verdict_that_the_script_gives(
    undisturbed: dict[tuple[str, ...], Path],
) -> None:
    verdicts = {row[3] for row in scripted.journal_rows(undisturbed[WHOLE])}
    assert verdicts == {"correct", "wrong", "no_answer", "truncated"}


@pytest.mark.parametrize(
    "scenario",
    [*SCENARIOS, *(pytest.param(scenario, marks=pytest.mark.long) for scenario in NEIGHBOURS)],
    ids=lambda scenario: scenario.name.replace(" ", "-"),
)
def test_a_killed_run_resumes_to_the_same_bytes(
    scenario: Scenario,
    dataset: Path,
    undisturbed: dict[tuple[str, ...], Path],
    starts: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Two of these scenarios failed to resume. A kill before the first manifest was written left `.run.json.new` in a
    folder that was refused as "neither a run nor empty". A kill while the schema was created left a journal without
    tables, and the resume crashed.
    """
    run = tmp_path / "run"
    if scenario.start != "empty":
        shutil.copytree(starts[scenario.start], run)
    for kill in scenario.kills:
        ended = call(dataset, run, scenario.arguments, **kill.job(run))
        assert ended["status"] == -9, f"the kill was never reached: {ended['stderr']}"
    check_resumed(dataset, run, scenario.arguments, undisturbed[scenario.arguments])


@pytest.mark.parametrize("torn", [1, 9000])
def test_a_torn_write_ahead_log_costs_its_last_transactions_only(
    torn: int, dataset: Path, undisturbed: dict[tuple[str, ...], Path], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    killed = call(dataset, run, WHOLE, kill={"at": "sql:COMMIT", "nth": 5, "when": "after"})
    assert killed["status"] == -9
    whole = scripted.journal_rows(run)
    assert len(whole) == 15
    log = run / "journal.sqlite-wal"
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - torn)
    left = scripted.journal_rows(run)
    assert len(left) < len(whole)
    assert set(left) < set(whole)
    check_resumed(dataset, run, WHOLE, undisturbed[WHOLE])


def test_a_reader_of_a_killed_run_sees_what_was_committed(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert call(dataset, run, WHOLE, kill={"at": "sql:COMMIT", "nth": 4, "when": "after"})["status"] == -9
    shown = scripted.server().run({"argv": ["show", str(run)]})
    assert shown["status"] == 0, shown["stderr"]
    assert "incomplete" in shown["stdout"]
    assert "10 of 24 drawn" in shown["stdout"]


def test_the_grading_processes_of_a_killed_run_end(dataset: Path, tmp_path: Path) -> None:
    """Orphaned processes would hold memory on the machine where the user resumes."""
    psutil = pytest.importorskip("psutil")
    ended = call(dataset, tmp_path / "run", WHOLE, kill={"at": f"{JOURNAL}add", "nth": 9}, spawn_graders=True)
    assert ended["status"] == -9

    def orphans() -> list[Any]:
        session = [psutil.Process(pid) for pid in psutil.pids() if _session(pid) == ended["pid"]]
        return [process for process in session if process.status() != psutil.STATUS_ZOMBIE]

    psutil.wait_procs(orphans(), timeout=20)
    assert not orphans()


def _session(pid: int) -> int | None:
    import os

    try:
        return os.getsid(pid)
    except OSError:
        return None
