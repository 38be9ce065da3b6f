"""The memory of previous responses: what it returns, what it stores, what it drops, and how it is saved."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spo_train.spo.divergence import measure_divergence
from spo_train.spo.memory import LARGEST, ResponseMemory

ROOMY = 2**30


def stored(memory: ResponseMemory, row: int, tokens: int = 100, step: int = 0) -> None:
    """Store a response of this length, whose token ids identify its row."""
    memory.store(row, [row], np.full(tokens, row), np.full(tokens, -0.5), np.ones(tokens, bool), step)


def size_of(tokens: int) -> int:
    """The bytes that one such response takes."""
    memory = ResponseMemory(1, ROOMY)
    stored(memory, 0, tokens)
    return memory.nbytes


RESPONSES = st.lists(
    st.tuples(
        st.lists(st.integers(0, 2**31 - 1), max_size=5),
        st.lists(st.tuples(st.integers(0, 200_000), st.floats(-30, 0), st.booleans()), max_size=20),
        st.integers(0, 2**40),
    ),
    min_size=1,
    max_size=6,
)


@given(RESPONSES)
def test_a_response_comes_back_as_it_was(responses: list[tuple[list[int], list[tuple[int, float, bool]], int]]) -> None:
    """Token ids, mask and step come back exactly, and log-probs within float16's eleven bits."""
    memory = ResponseMemory(len(responses), ROOMY)
    for row, (prompt, tokens, step) in enumerate(responses):
        memory.store(row, prompt, [t for t, _, _ in tokens], [p for _, p, _ in tokens], [m for _, _, m in tokens], step)
    for row, (prompt, tokens, step) in enumerate(responses):
        response = memory.get(row)
        assert response is not None
        assert response.prompt_ids.tolist() == prompt
        assert response.response_ids.tolist() == [token for token, _, _ in tokens]
        assert response.mask.tolist() == [own for _, _, own in tokens]
        assert response.step == step
        np.testing.assert_allclose(response.log_probs, [p for _, p, _ in tokens], rtol=2**-11, atol=1e-7)
        arrays = (response.prompt_ids, response.response_ids, response.log_probs, response.mask)
        assert [array.dtype.name for array in arrays] == ["int32", "int32", "float32", "bool"]


def test_float16_moves_a_divergence_by_less_than_a_hundredth_of_what_halves_a_prompts_knowledge() -> None:
    """The log-probs resemble a trained model's (mean near -0.4). The policy has not moved, so D should be 0."""
    log_probs = -np.random.default_rng(0).gamma(0.25, 1.6, 4096)
    memory = ResponseMemory(1, ROOMY)
    memory.store(0, [1], np.zeros(4096), log_probs, np.ones(4096, bool), 1)
    response = memory.get(0)
    assert response is not None
    assert 0 < measure_divergence(response.log_probs, log_probs, "abs") < 0.06 / 100


@pytest.mark.parametrize(
    ("log_prob", "kept"),
    [(-1e6, -LARGEST), (-np.inf, -LARGEST), (np.nan, -LARGEST), (1e6, LARGEST), (np.inf, LARGEST), (-3.0, -3.0)],
)
def test_a_log_prob_beyond_float16_is_clamped_and_poisons_nothing(log_prob: float, kept: float) -> None:
    memory = ResponseMemory(1, ROOMY)
    memory.store(0, [], [5], [log_prob], [True], 0)
    response = memory.get(0)
    assert response is not None
    assert response.log_probs.tolist() == [kept]


def test_a_mask_costs_bits_and_only_where_it_says_something() -> None:
    plain, masked = ResponseMemory(1, ROOMY), ResponseMemory(1, ROOMY)
    plain.store(0, [], np.zeros(80), np.zeros(80), np.ones(80, bool), 0)
    masked.store(0, [], np.zeros(80), np.zeros(80), np.arange(80) != 79, 0)
    assert masked.nbytes - plain.nbytes == 10


def test_a_response_token_takes_six_bytes() -> None:
    assert size_of(16_384) - size_of(0) == 6 * 16_384


def test_arrays_that_do_not_match_are_refused() -> None:
    memory = ResponseMemory(1, ROOMY)
    with pytest.raises(ValueError, match="wanted equal lengths"):
        memory.store(0, [], [1, 2], [-1.0], [True, True], 0)
    assert len(memory) == memory.nbytes == 0


def test_known_is_what_can_be_measured_against() -> None:
    memory = ResponseMemory(4, ROOMY)
    stored(memory, 2)
    assert memory.has_responses([0, 2, 2, 3]).tolist() == [False, True, True, False]
    assert memory.get(0) is None
    assert not memory.was_dropped(0)


def test_the_oldest_are_dropped_first_and_counted() -> None:
    """The memory has room for three. Rows 0 to 3 leave 1 to 3, and storing 1 again makes 2 the oldest."""
    memory = ResponseMemory(6, 3 * size_of(100))
    for row in (0, 1, 2, 3, 1, 4):
        stored(memory, row)
    assert memory.has_responses(range(6)).tolist() == [False, True, False, True, True, False]
    assert [memory.was_dropped(row) for row in range(6)] == [True, False, True, False, False, False]
    assert (memory.dropped, len(memory), memory.nbytes) == (2, 3, 3 * size_of(100))
    assert memory.get(0) is None


def test_a_dropped_prompt_that_comes_again_is_known_again() -> None:
    memory = ResponseMemory(2, size_of(100))
    stored(memory, 0)
    stored(memory, 1)
    assert memory.was_dropped(0)
    stored(memory, 0, step=7)
    assert not memory.was_dropped(0)
    response = memory.get(0)
    assert response is not None
    assert (response.step, response.response_ids[0]) == (7, 0)
    assert memory.dropped == 2


def test_a_response_larger_than_the_memory_costs_no_other() -> None:
    memory = ResponseMemory(2, 2 * size_of(100))
    stored(memory, 0)
    stored(memory, 1)
    stored(memory, 1, tokens=1000)
    assert memory.has_responses([0, 1]).tolist() == [True, False]
    assert (memory.was_dropped(1), memory.dropped, memory.nbytes) == (True, 1, size_of(100))


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), max_size=60), st.integers(0, 3000))
def test_the_bound_holds_and_the_count_is_what_is_there(stores: list[tuple[int, int]], max_bytes: int) -> None:
    """Compared with a plain list of (row, tokens), oldest first."""
    memory = ResponseMemory(10, max_bytes)
    kept: list[tuple[int, int]] = []
    for row, tokens in stores:
        stored(memory, row, tokens)
        kept = [pair for pair in kept if pair[0] != row]
        if size_of(tokens) <= max_bytes:
            kept.append((row, tokens))
        while sum(size_of(each) for _, each in kept) > max_bytes:
            del kept[0]
        assert memory.nbytes == sum(size_of(each) for _, each in kept) <= max_bytes
    assert memory.state()["rows"].tolist() == [row for row, _ in kept]
    assert memory.has_responses(np.arange(10)).tolist() == [row in dict(kept) for row in range(10)]


def through_npz(state: dict[str, npt.NDArray[Any]], folder: Any) -> dict[str, npt.NDArray[Any]]:
    np.savez(folder / "memory.npz", **state)  # type: ignore[arg-type]
    with np.load(folder / "memory.npz") as saved:
        return dict(saved)


def test_a_restored_memory_is_the_same_and_drops_the_same_next(tmp_path: Any) -> None:
    """Through a file without pickle: responses, bytes, flags, count, and the order in which responses are dropped."""
    original = ResponseMemory(8, 4 * size_of(100))
    for row in (5, 1, 4, 0, 5, 2):
        stored(original, row, step=row)
    original.store(4, [7, 8], [1, 2, 3], [-0.1, -np.inf, -2], [True, False, True], 9)
    restored = ResponseMemory(8, 4 * size_of(100))
    stored(restored, 7)
    restored.restore(through_npz(original.state(), tmp_path))
    for _ in range(2):
        assert restored.nbytes == original.nbytes
        assert (len(restored), restored.dropped) == (len(original), original.dropped)
        first, second = original.state(), restored.state()
        assert first.keys() == second.keys()
        for name, array in first.items():
            np.testing.assert_array_equal(second[name], array)
        for row in (3, 6):
            stored(original, row)
            stored(restored, row)
    assert restored.has_responses(range(8)).tolist() == original.has_responses(range(8)).tolist()
    response = restored.get(4)
    assert response is not None
    assert (response.prompt_ids.tolist(), response.mask.tolist(), response.step) == ([7, 8], [True, False, True], 9)


def test_an_empty_memory_is_saved_and_restored(tmp_path: Any) -> None:
    restored = ResponseMemory(3, ROOMY)
    stored(restored, 1)
    restored.restore(through_npz(ResponseMemory(3, ROOMY).state(), tmp_path))
    assert (len(restored), restored.nbytes, restored.has_responses([0, 1, 2]).tolist()) == (0, 0, [False] * 3)


def test_a_smaller_memory_keeps_the_youngest_of_a_checkpoint() -> None:
    original = ResponseMemory(4, ROOMY)
    for row in (3, 0, 2, 1):
        stored(original, row)
    restored = ResponseMemory(4, 2 * size_of(100))
    restored.restore(original.state())
    assert restored.state()["rows"].tolist() == [2, 1]
    assert (restored.dropped, restored.was_dropped(3)) == (2, True)


def test_another_runs_memory_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 prompts, this run 3"):
        ResponseMemory(3, ROOMY).restore(ResponseMemory(2, ROOMY).state())
