"""The forward pass before the first step: shown while it runs, and made once."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("verl", reason="verl is not installed")

from spo_train.filenames import FIRST_VISITS, PREPARATION
from spo_train.hooks import first_visits
from spo_train.launch.preparation import Preparation, PreparationFile
from spo_train.spo.memory import ResponseMemory

ROWS = [0, 2, 3, 5]
SETTINGS = {"model": "m", "revision": "r", "temperature": 1.0}
TOKENS = [(np.array([row], np.int32), np.arange(row + 1, dtype=np.int32), np.arange(row + 1) % 2 == 0) for row in ROWS]


class Policy:
    """A forward pass that counts its sequences, and keeps what `preparation.json` said meanwhile."""

    def __init__(self, out: Path) -> None:
        self.calls: list[int] = []
        self.said: list[dict[str, Any]] = []
        self._out = out

    def __call__(self, sequences: Any) -> list[Any]:
        self.calls.append(len(sequences))
        self.said.append(json.loads((self._out / PREPARATION).read_bytes()))
        return [-np.ones(len(response), np.float32) / 8 for _, response, _ in sequences]


def remember(
    out: Path, tokens: Any = TOKENS, max_bytes: int = 1 << 20, **changed: Any
) -> tuple[Policy, ResponseMemory]:
    memory, policy = ResponseMemory(6, max_bytes), Policy(out)
    first_visits.remember(memory, ROWS, tokens, policy, out, {**SETTINGS, **changed})
    return policy, memory


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first_visits, "ROWS", 3)


def test_a_start_that_repeats_the_first_steps_does_not_repeat_the_pass(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten to thirty minutes on eight GPUs were lost by each failure before the first checkpoint."""
    policy, memory = remember(tmp_path)
    assert policy.calls == [3, 1]
    assert [(each["done"], each["total"]) for each in policy.said] == [(0, 4), (3, 4)]
    assert not (tmp_path / PREPARATION).exists()
    assert "first visits: 3 of 4 responses after 0 s" in capsys.readouterr().out
    again, restored = remember(tmp_path)
    assert again.calls == []
    assert f"4 responses with their log-probs are read from {tmp_path / FIRST_VISITS}" in capsys.readouterr().out
    for name, array in memory.state().items():
        np.testing.assert_array_equal(array, restored.state()[name], err_msg=name)
    stored = restored.get(5)
    assert stored is not None
    assert stored.response_ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert stored.log_probs.tolist() == [-0.125] * 6
    assert stored.mask.tolist() == [True, False] * 3
    first_visits.forget(tmp_path)
    assert remember(tmp_path)[0].calls == [3, 1]


OTHERS = {
    "weights": ({"revision": "s"}, TOKENS),
    "temperature": ({"temperature": 0.6}, TOKENS),
    "memory": ({"max_bytes": 1 << 19}, TOKENS),
    "a response": ({}, [*TOKENS[:3], (TOKENS[3][0], TOKENS[3][1] + 1, TOKENS[3][2])]),
    "a prompt": ({}, [(TOKENS[0][0] + 1, *TOKENS[0][1:]), *TOKENS[1:]]),
    "a mask": ({}, [*TOKENS[:3], (*TOKENS[3][:2], ~TOKENS[3][2])]),
}


@pytest.mark.parametrize("what", OTHERS)
def test_the_saved_pass_of_anything_else_is_not_used(tmp_path: Path, what: str) -> None:
    """D of each first visit would be between two policies, or of two responses."""
    changed, tokens = OTHERS[what]
    remember(tmp_path)
    assert remember(tmp_path, tokens, **changed)[0].calls == [3, 1]
    assert remember(tmp_path, tokens, **changed)[0].calls == []


@pytest.mark.parametrize("damage", [lambda whole: whole[:-40], lambda _: b"", lambda _: b"no archive"])
def test_a_damaged_file_is_made_again(tmp_path: Path, damage: Any) -> None:
    remember(tmp_path)
    path = tmp_path / FIRST_VISITS
    path.write_bytes(damage(path.read_bytes()))
    assert remember(tmp_path)[0].calls == [3, 1]
    assert remember(tmp_path)[0].calls == []


def test_the_launcher_reads_how_far_it_is(tmp_path: Path) -> None:
    path = tmp_path / PREPARATION
    path.write_text("of an earlier launch")
    file = PreparationFile(path)
    assert not path.exists()
    assert file.read_new() is None
    path.write_text('{"done": 2048, "total": 8192, "seconds": 30.5}')
    assert file.read_new() == Preparation(2048, 8192, 30.5)
    assert file.read_new() is None
    path.write_text('{"done": 40')
    assert file.read_new() is None
    assert Preparation(2048, 8192, 30).seconds_left == pytest.approx(90)
    assert Preparation(0, 8192, 0.1).seconds_left is None
