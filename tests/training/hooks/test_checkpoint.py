"""SPO's part of a checkpoint on disk."""

from pathlib import Path

import numpy as np
import pytest

from spo_train.hooks import checkpoint


def test_what_is_saved_is_loaded_to_the_bit(tmp_path: Path) -> None:
    state = {"alpha": np.random.default_rng(0).random(1000), "rest": np.array('{"drawn": 3}')}
    checkpoint.save(state, checkpoint.folder_of(tmp_path, 7))
    loaded = checkpoint.load(tmp_path / "global_step_7" / "spo")
    assert loaded["alpha"].tobytes() == state["alpha"].tobytes()
    assert str(loaded["rest"]) == '{"drawn": 3}'


def test_a_try_that_was_killed_leaves_the_earlier_state(tmp_path: Path) -> None:
    """The file is written beside the old one and then renamed, so a partial file is never read."""
    folder = checkpoint.folder_of(tmp_path, 1)
    checkpoint.save({"alpha": np.ones(3)}, folder)
    (folder / ".state.npz.new").write_bytes(b"half a fi")
    assert checkpoint.load(folder)["alpha"].tolist() == [1, 1, 1]
    checkpoint.save({"alpha": np.zeros(3)}, folder)
    assert checkpoint.load(folder)["alpha"].tolist() == [0, 0, 0]


def test_a_checkpoint_of_another_trainer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="made without SPO"):
        checkpoint.load(checkpoint.folder_of(tmp_path, 1))
