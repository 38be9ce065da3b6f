"""A run folder that has lost its journal, samples of it or its manifest: nothing in it is replaced by less."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spo_data import SpoError, UserError, load_values
from spo_data.grading.verdict import Verdict
from spo_data.prompts.identity import Prompt
from spo_data.run.existing import read_run
from spo_data.run.journal import Journal
from spo_data.run.manifest import read_manifest
from spo_pipelines.push import PushOptions, push
from spo_pipelines.regrade import RegradeOptions
from spo_pipelines.results import write_results
from support import scripted
from support.records import journal_of

estimate, options = scripted.estimate, scripted.options
OWN = "train-?????-of-?????.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A complete run of n = 2 and its dataset."""
    return scripted.make_run(tmp_path_factory.mktemp("losses"), 3, n=2)


@pytest.fixture
def finished(made: tuple[Path, Path]) -> Path:
    """The run that each test gets a copy of."""
    return made[1]


@pytest.fixture
def dataset(made: tuple[Path, Path]) -> Path:
    return made[0]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Another dataset and its run, with the same policy."""
    return scripted.make_run(tmp_path_factory.mktemp("other"), 4, n=2)


def lose_journal(run: Path) -> None:
    for path in run.glob("journal.sqlite*"):
        path.unlink()


def lose_samples(run: Path) -> None:
    """What a journal holds whose write-ahead log was left behind."""
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("DELETE FROM samples WHERE sample_index = 1")
    db.close()


def read_prompts_of(run: Path) -> list[Prompt]:
    with read_run(run).open_journal(check=False) as journal:
        return list(journal.prompts())


def break_off(run: Path) -> None:
    """As if an interpreter failure had ended the second sample of each prompt."""
    with Journal(run / "journal.sqlite", read_run(run).manifest.grader) as journal:
        second = [sample for sample in journal.samples() if sample.sample_index == 1]
    lose_samples(run)
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("DELETE FROM verdicts WHERE sample_index = 1")
    db.close()
    with Journal(run / "journal.sqlite", read_run(run).manifest.grader) as journal:
        for sample in second:
            journal.add(replace(sample, finish_reason="tool_error", verdict=Verdict.TOOL_ERROR, score=None))


def empty_journal(run: Path) -> None:
    lose_journal(run)
    (run / "journal.sqlite").touch()


def forget_counts(run: Path) -> None:
    """As a call does when it begins, here and in the journal: only the tables still say how many samples there were."""
    manifest = read_manifest(run)
    assert manifest is not None
    begun = manifest.model_copy(update={"counts": None})
    begun.write(run)
    with Journal(run / "journal.sqlite", manifest.grader) as journal:
        journal.keep_manifest(begun.text)


def state_of(run: Path) -> dict[str, bytes]:
    names = ("run.json", "README.md", "histogram.png", "values/*", "samples/*")
    return {str(path): path.read_bytes() for name in names for path in run.glob(name)}


def regrade(run: Path) -> Any:
    import asyncio

    from spo_data.options import GraderOptions
    from spo_pipelines.regrade import regrade as run_regrade

    given = GraderOptions(verifier="dapo", grader_workers=1)
    return asyncio.run(run_regrade(RegradeOptions(run, given), lambda *_: None))


CALLS: dict[str, Callable[[Path, Path], object]] = {
    "estimate": lambda dataset, run: estimate(options(dataset, run, n=2)),
    "another policy": lambda dataset, run: estimate(options(dataset, run, n=2, temperature=0.5, seed=3)),
    "higher n": lambda dataset, run: estimate(options(dataset, run, n=3)),
    "dry run": lambda dataset, run: estimate(options(dataset, run, n=2), dry_run=True),
    "regrade": lambda _, run: regrade(run),
    "push": lambda _, run: push(PushOptions("me/values", run, token="hf_x"), lambda _: None),
    "read": lambda _, run: read_run(run).open_journal().__enter__(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_run_without_its_journal_is_refused_with_what_is_there_and_the_right_commands(
    call: Callable[[Path, Path], object], dataset: Path, run: Path
) -> None:
    """A published run as it was downloaded was replaced by a new one, even by one of another policy, with status 0."""
    lose_journal(run)
    before = state_of(run)
    with pytest.raises(UserError) as refused:
        call(dataset, run)
    first, *commands = str(refused.value).splitlines()
    assert first.startswith(
        f"{run} has no journal.sqlite, so this run can be neither continued, graded again nor shown"
    )
    assert first.endswith(f"run of {scripted.MODEL} on {dataset}, n = 2, 6 samples")
    assert commands[0] == f"  to train with its values: spo-train --offline-values {run}"
    assert commands[1].startswith(
        "  to continue that run:   copy journal.sqlite and, if there is one, journal.sqlite-wal"
    )
    assert state_of(run) == before
    assert not list(run.glob("journal.sqlite*"))
    assert len(load_values(run)) == 3, "its values can still be used"


def test_estimate_also_names_the_command_for_another_folder(dataset: Path, run: Path) -> None:
    lose_journal(run)
    with pytest.raises(UserError) as refused:
        estimate(options(dataset, run, n=2))
    another = str(refused.value).splitlines()[-1]
    assert another == (
        f"  to start another:       spo-data estimate --model {scripted.MODEL} --dataset {dataset} --out {run}-2"
    )


@pytest.mark.parametrize("lost", ["counts", "tables"])
def test_a_folder_without_a_journal_says_by_any_of_its_files_that_it_was_sampled(
    lost: str, dataset: Path, run: Path
) -> None:
    if lost == "counts":
        forget_counts(run)
    else:
        for table in ("values", "samples"):
            shutil.rmtree(run / table)
    lose_journal(run)
    with pytest.raises(UserError, match=r"has no journal\.sqlite"):
        estimate(options(dataset, run, n=2))


@pytest.mark.parametrize("counted", [True, False], ids=["by run.json", "by the tables"])
@pytest.mark.parametrize("lose", [lose_samples, empty_journal], ids=["samples", "all samples"])
@pytest.mark.parametrize("call", [CALLS[name] for name in ("higher n", "regrade", "push", "read")])
def test_a_journal_that_holds_less_than_the_folder_counts_is_refused(
    call: Callable[[Path, Path], object], lose: Callable[[Path], None], counted: bool, dataset: Path, run: Path
) -> None:
    """Smaller tables replaced the good ones, without a word. Only `push` looked."""
    if not counted:
        forget_counts(run)
    lose(run)
    before = state_of(run)
    by, left = "run.json" if counted else "samples", 0 if lose is empty_journal else 3
    with pytest.raises(UserError, match=rf"journal\.sqlite holds {left} samples, but {run}/{by} counts 6: ") as refused:
        call(dataset, run)
    assert state_of(run) == before
    first, copy, *again = str(refused.value).splitlines()
    assert first.endswith("the journal is an older copy, or its journal.sqlite-wal was left behind")
    assert "copy journal.sqlite" in copy
    assert bool(again) == (lose is lose_samples), "an emptied journal has no copy of the manifest"


@pytest.mark.parametrize("counted", [True, False], ids=["counted by the copy", "not counted"])
def test_the_command_for_a_loss_that_stays_draws_the_lost_samples_again(
    counted: bool, dataset: Path, run: Path
) -> None:
    """It removed a user's own files, and was printed again if the journal's own copy counts the lost samples."""
    lose_samples(run)
    (run / "values" / "mine.txt").write_text("notes")
    shutil.copy(next((run / "samples").glob(OWN)), run / "samples" / "train-mine.parquet")
    with pytest.raises(UserError) as refused:
        estimate(options(dataset, run, n=2))
    line = str(refused.value).splitlines()[-1]
    assert line.startswith(
        f"  to draw the lost samples again:  (cd {run} && rm run.json values/{OWN} samples/{OWN}) && spo-data"
    )
    if not counted:
        forget_counts(run)  # as the copy is that an older journal holds
    subprocess.run(line.partition(":  ")[2].partition(" && spo-data")[0], shell=True, check=True)
    assert (run / "values" / "mine.txt").read_text() == "notes"
    assert [path.name for path in (run / "samples").iterdir()] == ["train-mine.parquet"]
    script, watcher = scripted.Script(), scripted.Recorder()
    assert estimate(options(dataset, run, n=2), script, watcher=watcher).summary.complete
    note = next(stage for stage in watcher.stages if stage.startswith("note: "))
    assert ("without its counts (6 samples, but the journal holds 3)" in note) == counted
    assert sorted(index for _, index, _ in script.submitted) == [1, 1, 1]


def test_broken_off_samples_do_not_make_up_for_lost_ones(run: Path) -> None:
    break_off(run)
    with pytest.raises(UserError, match=r"holds 3 samples, but .*/run\.json counts 6"), read_run(run).open_journal():
        pass


def test_samples_that_mending_left_out_are_no_loss(dataset: Path, run: Path) -> None:
    """A call that was killed after it had mended the journal, and before it wrote the tables, could not go on."""
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("UPDATE samples SET seed = seed + 1 WHERE sample_index = 1")
    db.close()
    assert read_run(run).mend_journal(read_prompts_of(run)) is not None
    copy = (run / "run.json").read_text()
    with read_run(run).open_journal() as journal:
        assert journal.count_samples() == (3, 3)
        assert journal.read_manifest() == copy.encode()
    forget_counts(run)
    outcome = estimate(options(dataset, run, n=2))
    assert outcome.summary.complete
    lose_samples(run)
    with pytest.raises(UserError, match="holds 3 samples"), read_run(run).open_journal():
        pass


def test_what_a_call_may_change_is_no_loss(dataset: Path, run: Path) -> None:
    """A higher n, more prompts, another verifier, and responses that the interpreter broke off, which are deleted."""
    break_off(run)
    manifest = read_run(run).manifest
    with Journal(run / "journal.sqlite", manifest.grader) as journal:
        journal.mark_cut_short()
        write_results(journal, manifest, run)
    regrade(run)
    counts = read_manifest(run).counts  # type: ignore[union-attr]
    assert counts is not None
    assert (counts.samples, counts.verdicts["tool_error"]) == (6, 3)
    forget_counts(run)
    with sqlite3.connect(run / "journal.sqlite") as db:  # as a call does that is killed then
        db.execute("DELETE FROM samples WHERE finish_reason = 'tool_error'")
    db.close()
    given = options(dataset, run, n=2, verifier="dapo")
    estimate(given, scripted.Script(die_after=1))  # the broken ones are gone, and none is drawn
    assert estimate(options(dataset, run, n=3, verifier="dapo")).summary.complete


def test_a_journal_beside_the_manifest_of_another_run_is_refused(dataset: Path, run: Path, tmp_path: Path) -> None:
    """The call that belongs to the copied manifest took the journal's samples for its own."""
    estimate(options(dataset, tmp_path / "other", n=2, temperature=0.5))
    shutil.copy(tmp_path / "other" / "run.json", run / "run.json")
    for call in (lambda: estimate(options(dataset, run, n=2, temperature=0.5)), lambda: regrade(run)):
        with pytest.raises(UserError) as refused:
            call()
        first, copy, own = str(refused.value).splitlines()
        assert first == (
            f"{run}/run.json is not the manifest of {run}/journal.sqlite: temperature 0.5 (in the journal 1.0)"
        )
        assert copy == f"  to continue that run:   copy run.json back into {run} from where the run was made"
        assert own == f"  to use the journal's own copy:  rm {run}/run.json"
    (run / "run.json").unlink()
    assert estimate(options(dataset, run, n=2)).summary.complete


def test_a_journal_of_another_dataset_is_refused(other: tuple[Path, Path], dataset: Path, run: Path) -> None:
    """`regrade` and `show` gave one dataset's prompts out as the other's, since only the policies were compared."""
    shutil.copy(other[1] / "journal.sqlite", run / "journal.sqlite")
    before = state_of(run)
    for call in (CALLS["estimate"], CALLS["regrade"], CALLS["read"]):
        with pytest.raises(UserError, match=rf"is not the manifest of .*: dataset '{dataset}' with fingerprint \w+ \("):
            call(dataset, run)
    assert state_of(run) == before


@pytest.mark.parametrize("older", ["both", "run.json", "journal.sqlite"])
def test_without_run_ids_another_dataset_is_refused_but_not_one_that_moved_or_grew(
    older: str, other: tuple[Path, Path], dataset: Path, run: Path
) -> None:
    """As earlier versions wrote them. A call killed between run.json and its copy leaves two datasets, and one id."""
    own = read_run(run).manifest
    id_there = own.run_id if older == "run.json" else None
    id_here = own.run_id if older == "journal.sqlite" else None
    theirs = read_run(other[1]).manifest.dataset
    moved = own.dataset.model_copy(update={"source": "elsewhere.jsonl"})
    grown = own.dataset.model_copy(update={"fingerprint": theirs.fingerprint, "rows": 9})
    for copied, fits in ((own.dataset, True), (moved, True), (grown, True), (theirs, False)):
        with Journal(run / "journal.sqlite", own.grader) as journal:
            journal.keep_manifest(own.model_copy(update={"dataset": copied, "run_id": id_there}).text)
        own.model_copy(update={"run_id": id_here}).write(run)
        if fits:
            CALLS["read"](dataset, run)
            continue
        with pytest.raises(UserError, match=rf": dataset '{dataset}' \(in the journal '{theirs.source}'\)"):
            CALLS["read"](dataset, run)


def test_a_run_keeps_its_id_and_one_of_an_earlier_version_gets_one(dataset: Path, run: Path) -> None:
    first = read_run(run).manifest
    assert first.run_id is not None
    estimate(options(dataset, run, n=3))
    regrade(run)
    assert read_run(run).manifest.run_id == first.run_id
    for call in (lambda: regrade(run), lambda: estimate(options(dataset, run, n=3, verifier="dapo"))):
        bare = read_run(run).manifest.model_copy(update={"run_id": None})
        bare.write(run)
        with Journal(run / "journal.sqlite", bare.grader) as journal:
            journal.keep_manifest(bare.text)
        call()
        assert read_run(run).manifest.run_id not in (None, first.run_id)
        with journal_of(run) as journal:
            assert journal.read_manifest() == (run / "run.json").read_bytes()


def test_an_older_manifest_beside_a_newer_journal_is_refused(dataset: Path, run: Path) -> None:
    """`show` said "72 of 48 drawn" and "-24 samples not valid"."""
    older = (run / "run.json").read_bytes()
    estimate(options(dataset, run, n=3))
    (run / "run.json").write_bytes(older)
    for call in (
        lambda: estimate(options(dataset, run, n=3)),
        lambda: regrade(run),
        lambda: CALLS["read"](dataset, run),
    ):
        with pytest.raises(UserError) as refused:
            call()
        first, _, own = str(refused.value).splitlines()
        assert first == (
            f"{run}/run.json is older than {run}/journal.sqlite: n = 2 (in the journal 3), but 3 samples have a higher"
            " index"
        )
        assert own == f"  to use the journal's own copy:  rm {run}/run.json"
    (run / "run.json").unlink()
    assert read_run(run).manifest.n == 3


def test_an_n_that_was_never_drawn_can_be_taken_back_even_by_a_call_that_was_killed(dataset: Path, run: Path) -> None:
    old = read_run(run).manifest
    with Journal(run / "journal.sqlite", old.grader) as journal:
        journal.keep_manifest(old.model_copy(update={"n": 5}).text)
    CALLS["read"](dataset, run)
    assert estimate(options(dataset, run, n=2)).summary.complete


def test_the_commands_of_a_run_that_has_moved_name_its_folder(dataset: Path, run: Path, tmp_path: Path) -> None:
    """They named the folder where the run was made, and so began another run there."""
    moved = tmp_path / "moved run"
    shutil.copytree(run, moved)
    with sqlite3.connect(moved / "journal.sqlite") as db:
        db.execute("UPDATE samples SET seed = seed + 1 WHERE sample_index = 1")
    db.close()
    assert read_run(moved).mending_command.endswith(f" --out '{moved}'")
    assert load_values(moved).command == read_run(moved).mending_command
    lose_samples(moved)
    with pytest.raises(UserError) as refused:
        CALLS["read"](dataset, moved)
    assert str(refused.value).endswith(f" --out '{moved}'")
    lose_journal(moved)
    assert load_values(moved).command == read_manifest(moved).command, "a published run is not continued where it is"  # type: ignore[union-attr]


def test_the_counts_of_the_copy_end_the_allowance_for_mended_samples_at_once(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the copy and that, a call left an allowance for samples that are lost later."""
    manifest = read_run(run).manifest
    with Journal(run / "journal.sqlite", manifest.grader) as journal:
        journal._db.execute("INSERT INTO mended VALUES (3)")
        kept = Journal.keep_manifest

        def kill_after(*args: Any, **options: Any) -> None:
            kept(*args, **options)
            raise KeyboardInterrupt

        monkeypatch.setattr(Journal, "keep_manifest", kill_after)
        with pytest.raises(KeyboardInterrupt):
            write_results(journal, manifest, run)
        assert journal.count_mended() == 0


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_a_manifest_that_is_no_file_is_refused_and_stays(kind: str, dataset: Path, run: Path) -> None:
    """It was taken for lost, and renamed."""
    path = run / "run.json"
    path.unlink()
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    for call in (CALLS["estimate"], CALLS["read"]):
        with pytest.raises(UserError, match=r"run\.json is no regular file: move it away"):
            call(dataset, run)
    assert path.exists()
    assert not path.is_file()


# The manifest.


@pytest.mark.parametrize("damage", ["lost", "unreadable"])
def test_a_lost_manifest_is_written_again_from_the_journal_s_copy(damage: str, dataset: Path, run: Path) -> None:
    """Without run.json, the folder was "neither a run nor empty"."""
    before = state_of(run)
    (run / "run.json").unlink() if damage == "lost" else (run / "run.json").write_text("{")
    watcher = scripted.Recorder()
    assert estimate(options(dataset, run, n=2), watcher=watcher, dry_run=True).summary is None
    assert state_of(run) == before
    (note,) = (stage for stage in watcher.stages if stage.startswith("note: "))
    assert note.startswith(f"note: {run}/run.json ")
    assert note.endswith(": its copy in journal.sqlite is written in its place")
    assert (run / "run.json.unreadable").exists() == (damage == "unreadable")
    assert read_run(run).note is None
    assert estimate(options(dataset, run, n=2)).summary.complete


def test_a_manifest_is_read_from_its_copy_while_a_call_works_on_the_run(run: Path) -> None:
    from spo_data.files import folder_lock

    copied = read_run(run).manifest
    (run / "run.json").unlink()
    with folder_lock(run, "spo-data"):
        found = read_run(run)
        assert found.manifest == copied
        assert found.note == f"{run}/run.json is lost: its copy in journal.sqlite is read in its place"
        assert not (run / "run.json").exists()
    values = load_values(run)
    assert values.note is not None
    assert values.command == copied.command_for(run)


def test_the_copy_follows_the_manifest_at_every_step(dataset: Path, run: Path) -> None:
    def check() -> None:
        with journal_of(run) as journal:
            assert journal.read_manifest() == (run / "run.json").read_bytes()

    check()
    estimate(options(dataset, run, n=3), scripted.Script(die_after=2, hook=lambda _: check()))
    check()
    estimate(options(dataset, run, n=3))
    regrade(run)
    check()
    assert json.loads((run / "run.json").read_text())["grader"]["verifier"] == "dapo"


def test_a_call_that_was_killed_between_the_manifest_and_its_copy_has_the_manifest_s_grader(run: Path) -> None:
    """run.json is written first: if the two name different graders, it is the newer one."""
    old = read_run(run).manifest
    regrade(run)
    with Journal(run / "journal.sqlite", old.grader) as journal:
        journal.keep_manifest(old.text)
    with read_run(run).open_journal() as journal:
        assert journal.grader.verifier == "dapo"
    (run / "run.json").unlink()
    assert read_run(run).manifest.grader.verifier == "exact", "the state before, which is whole too"


def test_a_journal_of_an_earlier_version_gets_its_copy_in_the_next_call(dataset: Path, run: Path) -> None:
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("DROP TABLE manifest")
        db.execute("PRAGMA user_version = 4")
    db.close()
    with read_run(run).open_journal() as journal:
        assert journal.read_manifest() is None
    estimate(options(dataset, run, n=2))
    (run / "run.json").unlink()
    assert read_run(run).manifest.n == 2


def test_a_damaged_copy_is_no_copy_and_the_next_call_writes_it_again(dataset: Path, run: Path) -> None:
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("UPDATE manifest SET text = CAST(replace(CAST(text AS TEXT), '\"seed\": 0', '\"seed\": 8') AS BLOB)")
    db.close()
    with read_run(run).open_journal() as journal:
        assert journal.read_manifest() is None
    estimate(options(dataset, run, n=2))
    with journal_of(run) as journal:
        assert journal.read_manifest() == (run / "run.json").read_bytes()


def test_without_manifest_and_copy_the_folder_says_so(dataset: Path, run: Path) -> None:
    with sqlite3.connect(run / "journal.sqlite") as db:
        db.execute("DELETE FROM manifest")
    db.close()
    (run / "run.json").unlink()
    for call in (lambda: estimate(options(dataset, run, n=2)), lambda: read_run(run)):
        with pytest.raises(UserError, match=r"has journal\.sqlite but no run\.json, and this journal holds no copy"):
            call()
    (run / "run.json").write_text("{")
    with pytest.raises(SpoError, match="is not a run manifest: Invalid JSON"):
        estimate(options(dataset, run, n=2))
