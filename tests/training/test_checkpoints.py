"""Which checkpoints in a folder are whole, and which are deleted."""

from pathlib import Path

import pytest

from spo_train.checkpoints import find_checkpoints, find_newest_whole, read_latest
from spo_train.hooks import checkpoint
from support.made_checkpoints import make_checkpoint, mark_latest, write_shards


def steps(folder: Path) -> list[int]:
    return [each.step for each in find_checkpoints(folder)]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


FAULTS = {
    "no folder": "is missing",
    "no actor": "global_step_2 has no weights in actor/",
    "a shard": "global_step_2 has no actor/optim_world_size_2_rank_1.pt",
    "a cut shard": "global_step_2/actor/model_world_size_2_rank_0.pt was cut short",
    "no state": "global_step_2 has no spo/state.npz, so it was made without SPO",
    "a cut state": "global_step_2/spo/state.npz cannot be read",
    "an empty state": "global_step_2/spo/state.npz cannot be read",
}


def damage(place: Path, how: str) -> None:
    """Leave a checkpoint of two workers as a kill or a full disk could have."""
    actor, state = place / "actor", place / "spo" / "state.npz"
    if how in ("no folder", "no actor"):
        for path in actor.iterdir():
            path.unlink()
        actor.rmdir()
    if how == "no folder":
        state.unlink()
        state.parent.rmdir()
        (place / "data.pt").unlink()
        place.rmdir()
    elif how == "a shard":
        (actor / "optim_world_size_2_rank_1.pt").unlink()
    elif how == "a cut shard":
        cut(actor / "model_world_size_2_rank_0.pt")
    elif how == "no state":
        state.unlink()
    elif how == "a cut state":
        cut(state)
    elif how == "an empty state":
        state.write_bytes(b"")


@pytest.mark.parametrize("how", FAULTS)
def test_a_broken_checkpoint_is_told_from_a_whole_one(tmp_path: Path, how: str) -> None:
    for step in (1, 2):
        make_checkpoint(tmp_path, step, workers=2)
    broken = find_checkpoints(tmp_path)[1]
    assert broken.find_fault(2) is None
    damage(broken.path, how)
    fault = broken.find_fault(2)
    assert fault is not None
    assert fault.endswith(FAULTS[how])
    newest = find_newest_whole(tmp_path, workers=2)
    assert newest is not None
    assert newest.step == 1


def test_a_checkpoint_of_other_workers_is_whole_for_them_only(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 1, workers=2)
    assert find_newest_whole(tmp_path, workers=1) is None
    assert find_newest_whole(tmp_path) is not None


@pytest.mark.parametrize(("text", "step"), [("40", 40), (" 40\n", 40), ("", None), ("forty", None)])
def test_the_note_of_the_last_whole_checkpoint(tmp_path: Path, text: str, step: int | None) -> None:
    assert read_latest(tmp_path) is None
    mark_latest(tmp_path, text)
    assert read_latest(tmp_path) == step


def save(folder: Path, step: int, keep: int | None) -> list[int]:
    """Save a checkpoint as the trainer does; returns the steps that were there while it was written."""
    checkpoint.make_room(folder, step, keep)
    there = steps(folder)
    make_checkpoint(folder, step)
    mark_latest(folder, step)
    checkpoint.prune(folder, step, keep)
    return [*there, step]


@pytest.mark.parametrize(
    ("keep", "during", "after"),
    [(1, [20, 30], [30]), (2, [20, 30], [20, 30]), (3, [10, 20, 30], [10, 20, 30]), (None, [10, 20, 30], [10, 20, 30])],
)
def test_as_many_checkpoints_stay_as_are_wanted(
    tmp_path: Path, keep: int | None, during: list[int], after: list[int]
) -> None:
    """verl keeps count of those that one process saved: after a restart, the earlier ones stayed for ever.

    With 1, it deleted the weights that `latest_checkpointed_iteration.txt` still named.
    """
    for step in (10, 20):
        save(tmp_path, step, keep)
    assert save(tmp_path, 30, keep) == during
    assert steps(tmp_path) == after


def test_what_training_can_continue_from_is_never_deleted(tmp_path: Path) -> None:
    """A checkpoint that a kill broke does not count, the marked one stays, and so do later ones of another attempt."""
    for step in (10, 20, 30, 60):
        make_checkpoint(tmp_path, step)
    (tmp_path / "global_step_30" / "spo" / "state.npz").unlink()
    mark_latest(tmp_path, 10)
    checkpoint.make_room(tmp_path, 40, 2)
    assert steps(tmp_path) == [10, 20, 30, 60]
    make_checkpoint(tmp_path, 40)
    mark_latest(tmp_path, 40)
    checkpoint.prune(tmp_path, 40, 2)
    assert steps(tmp_path) == [20, 30, 40, 60]
    assert save(tmp_path, 50, 2) == [40, 60, 50]


def test_the_newest_checkpoint_stays_until_the_next_is_whole(tmp_path: Path) -> None:
    """Also if nothing notes that it is the last one."""
    for step in (10, 20):
        make_checkpoint(tmp_path, step)
    checkpoint.make_room(tmp_path, 30, 1)
    assert steps(tmp_path) == [20]


def test_what_an_earlier_attempt_left_of_a_step_is_no_part_of_it(tmp_path: Path) -> None:
    """Shards of two attempts made a checkpoint that looked whole."""
    write_shards(tmp_path / "global_step_20" / "actor", workers=2)
    checkpoint.make_room(tmp_path, 20, None)
    assert steps(tmp_path) == []


def test_a_user_s_files_in_a_checkpoint_stay(tmp_path: Path) -> None:
    make_checkpoint(tmp_path, 10)
    (tmp_path / "global_step_10" / "merged").mkdir()
    for step in (20, 30):
        save(tmp_path, step, 1)
    assert [path.name for path in (tmp_path / "global_step_10").iterdir()] == ["merged"]
