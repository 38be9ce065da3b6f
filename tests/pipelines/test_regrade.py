"""Regrading a run changes the verdicts and what follows from them, and nothing else, even if it is interrupted."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from spo_data import SpoError, UserError
from spo_data.command_line import set_option
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool
from spo_data.options import GraderOptions
from spo_data.prompts.identity import Message, Prompt
from spo_data.run.journal import Journal
from spo_data.run.manifest import Manifest, read_manifest
from spo_data.run.sample import Sample
from spo_pipelines.regrade import RegradeOptions, RegradeOutcome
from spo_pipelines.regrade import regrade as run_regrade
from spo_pipelines.results import write_manifest
from support import scripted
from support.records import journal_of, make_manifest

pytestmark = pytest.mark.slow

estimate, options = scripted.estimate, scripted.options
N, SEED = 4, 49
"""With this seed some prompts have truncated samples and some have none."""

# The right answer scores 1. Any other boxed answer scores 0.5, or 0 if the ground truth is 7.
HALF = r"""
def compute_score(data_source, solution_str, ground_truth, extra_info):
    if ground_truth == "7":
        return float(solution_str == "\\boxed{7}")
    if solution_str.endswith("\\boxed{" + ground_truth + "}"):
        return 1.0
    return 0.5 * ("\\boxed{" in solution_str)
"""
# Fails on the ground truths 3 and 7, and accepts every response to the others.
PICKY = r"""
def compute_score(data_source, solution_str, ground_truth, extra_info):
    assert ground_truth not in ("3", "7")
    return 1.0
"""
RAISING = r"""
def compute_score(data_source, solution_str, ground_truth, extra_info):
    if solution_str == "\\boxed{" + ground_truth + "}":
        return 1.0
    raise RuntimeError("not today")
"""


def half(row: dict[str, Any], gold: str) -> float:
    """The score that HALF gives to a row of the samples table."""
    if row["finish_reason"] == "length" or gold == "7" or "\\boxed{" not in row["response"]:
        return 0.0
    return 1.0 if row["response"].endswith(f"\\boxed{{{gold}}}") else 0.5


def function(folder: Path, source: str, name: str = "reward.py") -> str:
    (folder / name).write_text(source)
    return f"{folder / name}:compute_score"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A dataset with five numbers and one letter as ground truths, and a run on it graded by `exact`."""
    folder = tmp_path_factory.mktemp("regrade")
    with pytest.MonkeyPatch.context() as patch:
        scripted.cheap_chat(patch)
        dataset = scripted.write_rows(folder / "sums.jsonl", r4={"answer": "B"})
        assert estimate(options(dataset, folder / "run", n=N, seed=SEED)).summary.complete
    return dataset, folder / "run"


@pytest.fixture(scope="module")
def finished(made: tuple[Path, Path]) -> Path:
    return made[1]


@pytest.fixture
def run(run: Path) -> Path:
    """A copy of the run. Its manifest's command names the copy."""
    manifest = manifest_of(run)
    command = set_option(shlex.split(manifest.command), "--out", str(run))
    manifest.model_copy(
        update={"command": shlex.join([*command, "--n", str(N), "--seed", str(SEED), "--max-tokens", "64"])}
    ).write(run)
    return run


def regrade(run: Path, verifier: str | None = None, also: str | None = None, **asked: Any) -> RegradeOutcome:
    grader = GraderOptions(verifier=verifier, also=also, grader_workers=1)
    return asyncio.run(run_regrade(RegradeOptions(run, grader, **asked), lambda *_: None))


def manifest_of(run: Path) -> Manifest:
    manifest = read_manifest(run)
    assert manifest is not None
    return manifest


def rows_of(run: Path, table: str) -> list[dict[str, Any]]:
    (path,) = (run / table).glob("*.parquet")
    return list(pq.read_table(path).to_pylist())


def values_of(run: Path) -> dict[str, float]:
    return {row["prompt_id"]: row["value"] for row in rows_of(run, "values")}


def golds_of(run: Path) -> dict[str, str]:
    with journal_of(run) as journal:
        return {prompt.prompt_id: prompt.ground_truth for prompt in journal.prompts()}


def state_of(run: Path) -> dict[str, bytes]:
    return {"run.json": (run / "run.json").read_bytes(), **scripted.tables(run)}


def sampled(run: Path) -> list[tuple[Any, ...]]:
    """Everything that the engine sampled, as the journal holds it."""
    database = sqlite3.connect(run / "journal.sqlite")
    try:
        rows = database.execute("SELECT * FROM samples ORDER BY prompt_number, sample_index").fetchall()
        return [*rows, *database.execute("SELECT * FROM prompts ORDER BY prompt_number").fetchall()]
    finally:
        database.close()


def verdicts_of(run: Path) -> dict[tuple[str, int], Grade]:
    with journal_of(run) as journal:
        return {(one.prompt_id, one.sample_index): one.graded for one in journal.samples()}


# What changes and what does not.


def test_verdicts_tables_card_and_manifest_are_the_new_verifiers_and_nothing_else_changes(
    run: Path, tmp_path: Path
) -> None:
    reward = function(tmp_path, HALF)
    before, engine = manifest_of(run), sampled(run)
    old = {name: rows_of(run, name) for name in ("samples", "values")}
    card = (run / "README.md").read_bytes()
    golds = golds_of(run)
    outcome = regrade(run, reward)
    assert sampled(run) == engine
    new = {name: rows_of(run, name) for name in ("samples", "values")}
    judged = {"verdict", "score", "answer"}
    for was, now in zip(old["samples"], new["samples"], strict=True):
        assert {k: v for k, v in was.items() if k not in judged} == {k: v for k, v in now.items() if k not in judged}
        assert now["score"] == half(now, golds[now["prompt_id"]])
    assert new["samples"] != old["samples"]
    for row in new["values"]:
        own = [half(one, golds[row["prompt_id"]]) for one in new["samples"] if one["prompt_id"] == row["prompt_id"]]
        assert row["vhat"] == own
        assert row["value"] == pytest.approx(sum(own) / N)
    after = manifest_of(run)
    assert after.grader.verifier == reward
    assert shlex.split(after.command) == [*shlex.split(before.command), "--verifier", reward]
    assert after.counts is not None
    assert after.counts.verdicts == Counter(row["verdict"] for row in new["samples"])
    changed = {"grader": before.grader, "command": before.command, "counts": before.counts}
    assert after.model_copy(update=changed) == before
    assert (run / "README.md").read_bytes() != card
    assert outcome.summary.verifier == reward
    assert outcome.graded == sum(row["finish_reason"] == "stop" for row in new["samples"])


def test_going_back_restores_the_bytes_of_the_tables_without_grading(run: Path, tmp_path: Path) -> None:
    before, manifest = scripted.tables(run), manifest_of(run)
    regrade(run, function(tmp_path, HALF))
    assert scripted.tables(run) != before
    back = regrade(run, "exact")
    assert back.graded == 0
    assert scripted.tables(run) == before
    after = manifest_of(run)
    assert shlex.split(after.command) == [*shlex.split(manifest.command), "--verifier", "exact"]
    assert after.model_copy(update={"command": manifest.command}) == manifest


def test_the_confusion_counts_every_sample_once(run: Path, tmp_path: Path) -> None:
    before = verdicts_of(run)
    outcome = regrade(run, function(tmp_path, HALF))
    after = verdicts_of(run)
    assert outcome.confusion == Counter((before[key].verdict, after[key].verdict) for key in before)
    assert sum(outcome.confusion.values()) == len(before) == 6 * N


def test_moves_rises_and_falls_are_those_computed_by_hand(run: Path, tmp_path: Path) -> None:
    golds, before = golds_of(run), values_of(run)
    samples = rows_of(run, "samples")
    after = {
        prompt_id: sum(half(row, gold) for row in samples if row["prompt_id"] == prompt_id) / N
        for prompt_id, gold in golds.items()
    }
    outcome = regrade(run, function(tmp_path, HALF))
    moved = {prompt_id: after[prompt_id] - before[prompt_id] for prompt_id in golds}
    assert outcome.rose == sum(by > 0 for by in moved.values()) > 0
    assert outcome.fell == sum(by < 0 for by in moved.values())
    assert outcome.unchanged == sum(by == 0 for by in moved.values())
    assert (outcome.gained, outcome.lost) == (0, 0)
    assert outcome.mean_before == pytest.approx(sum(before.values()) / 6)
    assert outcome.mean_after == pytest.approx(sum(after.values()) / 6)
    assert {move.prompt_id for move in outcome.moves} == {prompt_id for prompt_id, by in moved.items() if by}
    sizes = [abs(moved[move.prompt_id]) for move in outcome.moves]
    assert sizes == sorted(sizes, reverse=True)
    for move in outcome.moves:
        assert (move.before, move.after) == (before[move.prompt_id], pytest.approx(after[move.prompt_id]))
        assert move.ground_truth == golds[move.prompt_id]
        assert move.prompt.startswith("What is ")
    back = regrade(run, "exact")
    assert (back.rose, back.fell, back.unchanged) == (outcome.fell, outcome.rose, outcome.unchanged)


def test_prompts_that_lose_their_value_and_gain_it_again_are_counted(run: Path, tmp_path: Path) -> None:
    before = values_of(run)
    outcome = regrade(run, function(tmp_path, PICKY))
    lost = [move for move in outcome.moves if move.after is None]
    assert outcome.lost == len(lost) == outcome.unparseable == 2
    assert {move.ground_truth for move in lost} == {"3", "7"}
    assert outcome.moves[: len(lost)] == lost
    assert values_of(run).keys() == before.keys() - {move.prompt_id for move in lost}
    assert not outcome.summary.complete
    back = regrade(run, "exact")
    assert (back.gained, back.lost) == (outcome.lost, 0)
    assert values_of(run) == before


def test_a_verifier_that_fails_on_most_responses_does_not_become_the_runs(run: Path, tmp_path: Path) -> None:
    """A reward that hung on every response was accepted, and prompts with one truncated sample got the value 0."""
    before = state_of(run)
    reward = function(tmp_path, RAISING)
    with pytest.raises(SpoError, match=r"failed on (\d+) of \1 responses .*: .* stays graded by exact"):
        regrade(run, reward)
    assert state_of(run) == before
    reward_again = function(tmp_path, HALF)
    assert regrade(run, reward_again).summary.complete


def test_what_a_token_limit_ended_stays_truncated(run: Path, tmp_path: Path) -> None:
    outcome = regrade(run, function(tmp_path, "def compute_score(*a, **k): return 1.0"))
    cut = {(row["prompt_id"], row["sample_index"]) for row in rows_of(run, "samples") if row["verdict"] == "truncated"}
    assert cut == {
        (row["prompt_id"], row["sample_index"]) for row in rows_of(run, "samples") if row["finish_reason"] == "length"
    }
    assert outcome.confusion[Verdict.TRUNCATED, Verdict.TRUNCATED] == len(cut) > 0
    assert not [pair for pair in outcome.confusion if (pair[0] is Verdict.TRUNCATED) != (pair[1] is Verdict.TRUNCATED)]


def test_ground_truths_that_the_new_verifier_cannot_read_give_no_value(run: Path) -> None:
    """`choice` can read only "B". For the other prompts it knows only which samples were truncated, so they have no
    value. The value 0 would mean that the policy failed a problem that nobody can grade.
    """
    golds = golds_of(run)
    outcome = regrade(run, "choice")
    assert outcome.unparseable == 5
    for (prompt_id, _), graded in verdicts_of(run).items():
        if golds[prompt_id] != "B" and graded.verdict is not Verdict.TRUNCATED:
            assert (graded.verdict, graded.score) == (Verdict.GOLD_UNPARSEABLE, None)
            assert graded.detail
    assert not outcome.summary.complete
    assert {golds[prompt_id] for prompt_id in values_of(run)} == {"B"}
    assert outcome.lost == 5


def test_later_samples_of_an_unreadable_ground_truth_are_not_called_wrong(
    made: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    """With a higher n, the run's ground truths counted as already checked. If one had failed the regrade's check, every
    new sample of its prompt was graded wrong, and its value was 0.
    """
    reward = function(tmp_path, HALF.replace('float(solution_str == "\\\\boxed{7}")', "0.0"))
    assert regrade(run, reward).unparseable == 1
    estimate(options(made[0], run, seed=SEED, n=N + 4, verifier=reward))
    golds = golds_of(run)
    of_seven = [row for row in rows_of(run, "samples") if golds[row["prompt_id"]] == "7"]
    assert {row["verdict"] for row in of_seven if row["finish_reason"] == "stop"} == {"gold_unparseable"}


def test_unreadable_ground_truths_can_be_trusted(run: Path) -> None:
    outcome = regrade(run, "dapo", skip_check=True)
    assert outcome.unparseable == 0
    assert outcome.summary.complete


def test_a_verifier_that_can_read_no_ground_truth_is_refused_and_changes_nothing(dataset: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    estimate(options(dataset, run, n=2))
    before = state_of(run), verdicts_of(run)
    with pytest.raises(UserError, match=r"no ground truth of .* under choice .*nothing was changed; --skip-check"):
        regrade(run, "choice")
    assert (state_of(run), verdicts_of(run)) == before
    regrade(run, "exact")
    assert scripted.tables(run) == {name: data for name, data in before[0].items() if name != "run.json"}


def failing(monkeypatch: pytest.MonkeyPatch) -> list[GradeJob]:
    """Make some responses time out. Returns the list of grading jobs, filled as they are requested."""
    grade, asked = GraderPool.grade, []

    async def fails(self: GraderPool, job: GradeJob) -> Grade:
        asked.append(job)
        if job.response is not None and len(job.response) % 3 == 0:
            return Grade.failed(Verdict.GRADER_TIMEOUT, "over 10 s")
        return await grade(self, job)

    monkeypatch.setattr(GraderPool, "grade", fails)
    return asked


def test_the_same_verifier_again_grades_only_what_failed(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reward = function(tmp_path, HALF)
    with monkeypatch.context() as patch:
        failing(patch)
        outcome = regrade(run, reward)
    failed = sum(count for (_, after), count in outcome.confusion.items() if after is Verdict.GRADER_TIMEOUT)
    assert 0 < failed < outcome.graded
    again = regrade(run)
    assert again.before == again.after
    assert again.graded == failed
    assert again.summary.complete
    undisturbed, third = scripted.tables(run), regrade(run, reward)
    assert third.graded == 0
    assert scripted.tables(run) == undisturbed
    assert [pair for pair in third.confusion if pair[0] is not pair[1]] == []


def test_a_verifier_that_changes_during_the_grading_ends_it_and_nothing_is_switched(run: Path, tmp_path: Path) -> None:
    """A grading process that was replaced graded with the file as it was then, under the version of the start."""
    pids = tmp_path / "pids"
    slow = f"import os, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(0.06)"
    reward = function(tmp_path, HALF.replace("extra_info):\n", f"extra_info):\n    {slow}\n"))
    source, before = (tmp_path / "reward.py").read_text(), (run / "run.json").read_bytes()

    def change(_verifier: str, done: int, _total: int) -> None:
        if done == 3:
            function(tmp_path, source.replace("time.sleep(0.06)", "return 1.0"))
            os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)

    asked = RegradeOptions(run, GraderOptions(verifier=reward, grader_workers=1), skip_check=True)
    with pytest.raises(
        SpoError, match=r"reward\.py changed during grading: .* now; nothing was switched: undo"
    ) as caught:
        asyncio.run(run_regrade(asked, change))
    assert "\n" not in str(caught.value)
    assert (run / "run.json").read_bytes() == before
    function(tmp_path, source)
    outcome = regrade(run, reward, skip_check=True)
    assert 0 < outcome.graded <= sum(outcome.confusion.values()) - 3, "the verdicts so far were kept"
    assert all(row["score"] == half(row, golds_of(run)[row["prompt_id"]]) for row in rows_of(run, "samples"))


def test_progress_is_heard_by_verifier(run: Path, tmp_path: Path) -> None:
    reward, heard = function(tmp_path, HALF), []
    grader = GraderOptions(verifier=reward, also="dapo", grader_workers=1)
    outcome = asyncio.run(run_regrade(RegradeOptions(run, grader), lambda *said: heard.append(said)))
    each = outcome.graded // 2
    assert heard == [(name, done, each) for name in (reward, "dapo") for done in range(1, each + 1)]


# Continuing after a regrade.


def test_estimate_goes_on_with_the_new_verifier_and_refuses_the_old_one(
    made: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    dataset, reward = made[0], function(tmp_path, HALF)
    regrade(run, reward)
    before = state_of(run)
    with pytest.raises(UserError) as refused:
        estimate(options(dataset, run, seed=SEED, n=N))
    assert f"verifier {reward!r} (now 'exact')" in str(refused.value)
    assert state_of(run) == before
    script = scripted.Script()
    outcome = estimate(options(dataset, run, seed=SEED, n=N + 2, verifier=reward), script)
    assert outcome.summary.complete
    assert sorted({index for _, index, _ in script.submitted}) == [N, N + 1]
    golds = golds_of(run)
    assert all(row["score"] == half(row, golds[row["prompt_id"]]) for row in rows_of(run, "samples"))
    back = regrade(run, "exact")
    assert back.graded == sum(r["sample_index"] >= N and r["finish_reason"] == "stop" for r in rows_of(run, "samples"))
    estimate(options(dataset, tmp_path / "at-once", n=N + 2, seed=SEED))
    assert scripted.tables(run) == scripted.tables(tmp_path / "at-once")


def spo_data(argv: list[str], **job: Any) -> dict[str, Any]:
    return scripted.server().run({"argv": argv, **job})


def test_the_commands_that_a_refusal_prints_work(made: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    dataset, reward = made[0], function(tmp_path, HALF)
    regrade(run, reward)
    with pytest.raises(UserError) as refused:
        estimate(options(dataset, run, seed=SEED, n=N))
    _, own, _, anew = str(refused.value).splitlines()
    program, *command = shlex.split(own.partition(":")[2])
    assert program == "spo-data"
    ended = spo_data([*command, "--json"])
    assert (ended["status"], ended["submitted"]) == (0, []), ended["stderr"]
    assert json.loads(ended["stdout"])["verifier"] == reward
    assert anew.strip().startswith("to grade that run again:")
    ended = spo_data(shlex.split(anew.partition(":")[2])[1:])
    assert ended["status"] == 0, ended["stderr"]
    assert manifest_of(run).grader.verifier == "exact"
    assert estimate(options(dataset, run, seed=SEED, n=N)).summary.complete


def test_a_changed_reward_function_is_refused_by_estimate_and_accepted_by_regrade(
    made: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    """The refusal also printed the run's own command "to continue that run", which was refused in the same way."""
    dataset, reward = made[0], function(tmp_path, HALF)
    first = regrade(run, reward)
    function(tmp_path, HALF.replace("0.5", "0.25"))
    with pytest.raises(UserError, match=r"(?s)version 'compute_score sha256 .*to grade that run again") as refused:
        estimate(options(dataset, run, seed=SEED, n=N, verifier=reward))
    assert "to continue that run" not in str(refused.value)
    second = regrade(run, reward)
    assert (second.before, second.before.verifier) == (first.after, second.after.verifier)
    assert second.before.version != second.after.version
    assert second.graded == first.graded
    assert second.fell > 0 == second.rose
    assert estimate(options(dataset, run, seed=SEED, n=N, verifier=reward)).summary.complete


def test_the_commands_that_continue_a_run_of_an_earlier_version_work(
    made: tuple[Path, Path], run: Path, tmp_path: Path
) -> None:
    """If another option differed too, the run's own command was printed alone, and refused for the version."""
    dataset, reward = made[0], function(tmp_path, HALF)
    regrade(run, reward)
    function(tmp_path, HALF.replace("0.5", "0.25"))
    with pytest.raises(UserError, match=r"temperature 1.0 .now 0.5., version 'compute_score sha256") as refused:
        estimate(options(dataset, run, seed=SEED, n=N, verifier=reward, temperature=0.5))
    title, _, commands = str(refused.value).splitlines()[1].partition(":")
    assert title.strip() == "to continue that run"
    for command in commands.split(" && "):
        ended = spo_data(shlex.split(command)[1:])
        assert (ended["status"], ended["submitted"]) == (0, []), ended["stderr"]


def test_a_reward_function_may_move_to_another_folder(made: tuple[Path, Path], run: Path, tmp_path: Path) -> None:
    regrade(run, function(tmp_path, HALF))
    moved = function(run.parent, HALF, "elsewhere.py")
    assert estimate(options(made[0], run, seed=SEED, n=N, verifier=moved)).summary.complete
    assert regrade(run, moved).graded == 0


# Second opinions.


def test_a_second_opinion_is_added_kept_and_dropped_where_it_is_the_verifier(run: Path, tmp_path: Path) -> None:
    added = regrade(run, None, also="dapo")
    second = added.summary.second
    assert second is not None
    graded = sum(row["finish_reason"] == "stop" for row in rows_of(run, "samples"))
    assert (second.verifier, second.compared, second.disagree) == ("dapo", graded, 0)
    assert added.graded == sum(row["finish_reason"] == "stop" for row in rows_of(run, "samples"))
    kept = regrade(run, function(tmp_path, HALF))
    assert kept.summary.second is not None
    assert kept.summary.second.verifier == "dapo"
    assert kept.summary.second.disagree == sum(kept_score(run, key) for key in verdicts_of(run))
    dropped = regrade(run, "dapo")
    assert dropped.summary.second is None
    assert manifest_of(run).also is None
    assert dropped.graded == 0


def kept_score(run: Path, key: tuple[str, int]) -> bool:
    """Whether HALF and dapo score a sample differently."""
    (row,) = (row for row in rows_of(run, "samples") if (row["prompt_id"], row["sample_index"]) == key)
    gold = golds_of(run)[key[0]]
    right = row["finish_reason"] == "stop" and row["response"].endswith(f"\\boxed{{{gold}}}")
    return half(row, gold) != float(right)


@pytest.mark.parametrize("then", [{"verifier": "dapo"}, {"verifier": "exact", "also": "math-verify"}], ids=str)
def test_the_runs_command_still_works_when_its_second_opinion_became_another(
    then: dict[str, str], made: tuple[Path, Path], tmp_path: Path
) -> None:
    """The manifest's command is printed "to continue that run", but `--also dapo --verifier dapo` is refused."""
    run = tmp_path / "run"
    argv = ["estimate", "--model", scripted.MODEL, "--dataset", str(made[0]), "--out", str(run), "--n", "2"]
    argv += ["--max-tokens", "64", "--verifier", "exact", "--also", "dapo", "--grader-workers", "1"]
    assert spo_data(argv)["status"] == 0
    regrade(run, **then)
    before = manifest_of(run)
    ended = spo_data(shlex.split(before.command)[1:])
    assert (ended["status"], ended["submitted"]) == (0, []), ended["stderr"]
    after = manifest_of(run)
    assert (after.grader, after.also) == (before.grader, before.also)


def test_an_option_that_is_there_twice_is_set_where_it_counts() -> None:
    """If `--verifier` is given twice, the last one applies."""
    for command in ("--verifier dapo --verifier exact", "--verifier dapo --verifier=exact"):
        words = set_option(["estimate", *command.split()], "--verifier", "choice")
        values = [word for word in " ".join(words).replace("=", " ").split() if word in ("dapo", "exact", "choice")]
        assert values[-1] == "choice", words


# Refusals.


def test_a_run_that_another_process_writes_is_refused(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spo_data.files.LOCK_SECONDS", 0)
    before = state_of(run)
    with FileLock(run / ".lock"), pytest.raises(UserError, match="another spo-data is writing to"):
        regrade(run, "dapo")
    assert state_of(run) == before


@pytest.mark.parametrize("what", ["absent", "empty", "no journal"])
def test_what_is_no_run_is_refused_and_left_as_it_is(what: str, made: tuple[Path, Path], tmp_path: Path) -> None:
    place = tmp_path / "it"
    if what != "absent":
        place.mkdir()
    if what == "no journal":
        shutil.copy(made[1] / "run.json", place)
    with pytest.raises(UserError, match="has no journal" if what == "no journal" else "is not a run folder"):
        regrade(place, "dapo")
    assert place.exists() == (what != "absent")
    assert {path.name for path in place.glob("*")} == ({"run.json"} if what == "no journal" else set())


@pytest.mark.parametrize(
    ("verifier", "says"),
    [("bogus", "choose one of"), ("absent.py:f", "cannot be read"), ("reasoning-gym", "no ground truth of")],
)
def test_a_verifier_that_is_none_changes_nothing(verifier: str, says: str, run: Path) -> None:
    before = state_of(run)
    with pytest.raises(UserError, match=says):
        regrade(run, verifier)
    assert state_of(run) == before


# Thinking.


def test_responses_to_a_prompt_that_opened_the_thinking_begin_inside_it(run: Path) -> None:
    """If the prompt ends with `<think>`, a response that never closes it has given no answer, whatever it contains."""
    manifest = manifest_of(run)
    policy = manifest.policy.model_copy(update={"opens_thinking": True})
    golds = golds_of(run)
    first = next(row for row in rows_of(run, "samples") if row["finish_reason"] == "stop")
    said = f"\\boxed{{0}} hm</think> \\boxed{{{golds[first['prompt_id']]}}}"
    with Journal(run / "journal.sqlite", manifest.grader) as journal:
        write_manifest(journal, manifest.model_copy(update={"policy": policy}), run)
        samples = list(journal.samples())
    with sqlite3.connect(run / "journal.sqlite") as database:
        database.execute("DELETE FROM samples")
        database.execute("DELETE FROM verdicts")
    database.close()
    with Journal(run / "journal.sqlite", manifest.grader) as journal:
        for sample in samples:
            closed = (sample.prompt_id, sample.sample_index) == (first["prompt_id"], first["sample_index"])
            journal.add(replace(sample, response=said) if closed else sample)
    regrade(run, "math-verify")
    for row in rows_of(run, "samples"):
        expected = "truncated" if row["finish_reason"] == "length" else "no_answer"
        closed = (row["prompt_id"], row["sample_index"]) == (first["prompt_id"], first["sample_index"])
        assert row["verdict"] == ("correct" if closed else expected)


# Kills. A regrade that is killed before its new manifest is in place changes nothing that a reader sees.

POOL, JOURNAL = "spo_data.grading.workers.pool:GraderPool.", "spo_data.run.journal:Journal."
MANIFEST, TABLES = "spo_data.run.manifest:Manifest.", "spo_pipelines.results:write_tables"
LONG = pytest.mark.long
# (the function, which call, before or after it, the signal, whether the new verdicts are current by then)
KILLS = [
    pytest.param(f"{POOL}grade", 3, "before", 9, False, id="among the ground truths", marks=LONG),
    pytest.param(f"{POOL}grade", 11, "before", 9, False, id="among the responses"),
    pytest.param(f"{POOL}grade", 11, "before", 15, False, id="SIGTERM among the responses"),
    pytest.param(f"{JOURNAL}mark_cut_short", 1, "after", 9, False, id="truncated ones marked", marks=LONG),
    pytest.param("sql:INSERT OR REPLACE INTO verdicts", 1, "after", 9, False, id="verdicts in, not committed"),
    pytest.param("sql:COMMIT", 1, "before", 9, False, id="before the commit", marks=LONG),
    pytest.param(f"{JOURNAL}regrade", 1, "after", 9, False, id="after the commit"),
    pytest.param(f"{JOURNAL}regrade", 1, "after", 15, False, id="SIGTERM after the commit", marks=LONG),
    pytest.param(f"{MANIFEST}write", 1, "before", 9, False, id="before the manifest"),
    pytest.param(f"{MANIFEST}write", 1, "after", 9, True, id="between manifest and tables"),
    pytest.param(f"{MANIFEST}write", 1, "after", 15, True, id="SIGTERM between manifest and tables", marks=LONG),
    pytest.param(TABLES, 1, "after", 9, True, id="between tables and card", marks=LONG),
    pytest.param(f"{MANIFEST}write", 2, "before", 9, True, id="before the counts"),
    pytest.param(f"{MANIFEST}write", 2, "after", 9, True, id="when all is written", marks=LONG),
]


@pytest.fixture(scope="module")
def undisturbed(made: tuple[Path, Path]) -> tuple[Path, str, dict[str, Any], dict[str, Any]]:
    """A regraded copy of the run, its verifier, and the output of `show` before and after."""
    folder = made[1].parent / "undisturbed"
    reward = function(made[1].parent, HALF)
    shutil.copytree(made[1], folder)
    before = shown(folder)
    ended = spo_data(["regrade", str(folder), "--verifier", reward, "--grader-workers", "1"])
    assert ended["status"] == 0, ended["stderr"]
    return folder, reward, before, shown(folder)


def shown(run: Path) -> dict[str, Any]:
    ended = spo_data(["show", str(run), "--json"])
    assert ended["status"] == 0, ended["stderr"]
    return dict(json.loads(ended["stdout"]))


@pytest.mark.parametrize(("at", "nth", "when", "number", "switched"), KILLS)
def test_a_killed_regrade_shows_one_verifiers_verdicts_and_ends_the_same_when_it_is_repeated(
    at: str,
    nth: int,
    when: str,
    number: int,
    switched: bool,
    made: tuple[Path, Path],
    undisturbed: tuple[Path, str, dict[str, Any], dict[str, Any]],
    tmp_path: Path,
) -> None:
    whole, reward, before, after = undisturbed
    run = tmp_path / "run"
    shutil.copytree(made[1], run)
    command = ["regrade", str(run), "--verifier", reward, "--grader-workers", "1"]
    kill = {"at": at, "nth": nth, "when": when}
    ended = spo_data(command, kill=kill if number == 9 or at.startswith("sql") else {**kill, "signal": number})
    assert ended["status"] == (-9 if number == 9 else 143), ended["stderr"]
    assert "Traceback" not in ended["stderr"]
    assert shown(run) == (after if switched else before)
    if not switched:
        assert state_of(run) == state_of(made[1])
    ended = spo_data(command)
    assert ended["status"] == 0, ended["stderr"]
    assert scripted.tables(run) == scripted.tables(whole)
    assert shown(run) == after
    mine, theirs = manifest_of(run), manifest_of(whole)
    assert (mine.grader, mine.counts, mine.command) == (theirs.grader, theirs.counts, theirs.command)
    assert not [path.name for path in run.iterdir() if path.name.endswith((".new", ".old"))]


def test_a_regrade_that_was_interrupted_keeps_what_it_graded(made: tuple[Path, Path], tmp_path: Path) -> None:
    reward, run = function(tmp_path, HALF), tmp_path / "run"
    shutil.copytree(made[1], run)
    kill = {"at": f"{JOURNAL}response", "nth": 20, "signal": 15}
    ended = spo_data(["regrade", str(run), "--verifier", reward, "--grader-workers", "1"], kill=kill)
    assert ended["status"] == 143, ended["stderr"]
    (line,) = [line for line in ended["stderr"].splitlines() if "interrupted" in line]
    assert "; to continue: " in line
    stops = sum(row["finish_reason"] == "stop" for row in rows_of(run, "samples"))
    assert stops >= 20
    assert regrade(run, reward).graded <= stops - 3, "16 are graded at once"


def test_truncated_responses_are_graded_and_scored_0_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    estimate(options(scripted.write_rows(tmp_path / "sums.jsonl"), run, n=8))
    before = {row["prompt_id"]: row for row in pq.read_table(run / "values").to_pylist()}
    zero = read_manifest(run)
    assert zero is not None

    def scores(truncated: Any) -> set[tuple[str, float]]:
        asked = GraderOptions(truncated=truncated, grader_workers=1)
        asyncio.run(run_regrade(RegradeOptions(run, asked), lambda *_: None))
        samples = pq.read_table(run / "samples").to_pylist()
        return {(row["verdict"], row["score"]) for row in samples if row["finish_reason"] == "length"}

    assert scores("grade") == {("truncated", 1.0)}
    for row in pq.read_table(run / "values").to_pylist():
        old = before[row["prompt_id"]]
        assert row["value"] == pytest.approx(old["value"] + row["n_truncated"] / 8)
        names = ("n_truncated", "n_correct", "n_valid", "value_low", "value_high")
        assert [row[name] for name in names] == [old[name] for name in names]
    manifest = read_manifest(run)
    assert manifest is not None
    assert manifest.command.endswith("--verifier exact --truncated grade")
    with journal_of(run) as journal:
        assert journal.graders() == [zero.grader, manifest.grader]
    assert scores(None) == {("truncated", 1.0)}
    assert scores("zero") == {("truncated", 0.0)}
    assert {row["prompt_id"]: row for row in pq.read_table(run / "values").to_pylist()} == before


def test_the_library_as_it_is_disputes_samples_of_a_run(tmp_path: Path) -> None:
    """Both verifiers grade in one process, in which `math-verify` has replaced functions of the library."""
    responses = {
        "11": [r"\boxed{5 6}", r"\boxed{11}", r"<think>\boxed{11}"],
        "1/2^{98}": [r"\boxed{1/2^{99}}", r"\boxed{1/2^{98}}", r"\boxed{3}"],
        "42": [r"\boxed{42}", r"\boxed{41}", "I do not know."],
    }
    run, manifest = tmp_path / "run", make_manifest(n=3)
    run.mkdir()
    manifest.write(run)
    prompts = [Prompt((Message("user", f"What is {gold}?"),), gold, "d") for gold in responses]
    with Journal(run / "journal.sqlite", manifest.grader) as journal:
        journal.set_prompts(prompts, [])
        for prompt in prompts:
            for index, response in enumerate(responses[prompt.ground_truth]):
                ids, judged = np.zeros(1, dtype=np.int32), (None, Verdict.NO_ANSWER, 0.0)
                journal.add(Sample(prompt.prompt_id, index, 0, response, ids, "stop", *judged))
    second = regrade(run, "math-verify", also="math-verify-plain").summary.second
    assert second is not None
    assert (second.compared, second.disagree, second.prompts) == (9, 3, 2)
    assert second.pairs == {"wrong → correct": 2, "no_answer → correct": 1}
    assert {(each.kind, each.samples, each.first_higher) for each in second.kinds} == {
        ("number", 1, 0),
        ("formula", 1, 0),
        ("only one found an answer", 1, 0),
    }
    assert {row["ground_truth"]: row["n_disputed"] for row in rows_of(run, "values")} == {
        "11": 2,
        "1/2^{98}": 1,
        "42": 0,
    }
    assert "| disputed | 3 of 9 samples, which math-verify-plain scores differently" in (run / "README.md").read_text()
