"""The memory formula: against torch's own account of an update, against verl's functions, and by hand."""

import weakref
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("verl", reason="verl is not installed")

from spo_train.config.gpu_memory import Workload, host_memory, resident_memory, update_memory
from spo_train.plan.model_shape import shape_of
from support.qwen_shapes import QWEN3, qwen3_config

TOKENS = 18_432


@pytest.fixture(scope="module")
def qwen3_8b() -> Workload:
    shape = shape_of(qwen3_config("Qwen3-8B"))
    assert shape is not None
    return Workload(shape, gpus=8, nodes=1, tokens=TOKENS, shards=8)


def test_a_model_s_dimensions_are_those_of_the_model(qwen3_8b: Workload) -> None:
    shape = qwen3_8b.shape
    assert (shape.parameters, shape.layer, shape.head, shape.layers) == (8_190_735_360, 192_946_432, 622_329_856, 36)
    assert (shape.query, shape.key_value, shape.query_norm, shape.tied) == (4096, 1024, True, False)
    assert shape.linear == 36 * (2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 12288))


@pytest.mark.slow
def test_a_model_of_unknown_dimensions_has_none() -> None:
    from transformers import AutoConfig

    assert shape_of(AutoConfig.for_model("wav2vec2")) is None


def test_parameters_gradients_and_moments_are_shared_out_and_all_there_during_an_update(qwen3_8b: Workload) -> None:
    """verl's `optimizer_offload` frees the moments between updates only, so it does not change an update's memory."""
    memory = update_memory(qwen3_8b)
    share = qwen3_8b.shape.parameters // 8
    assert (memory.weights, memory.gradients, memory.moments) == (4 * share, 4 * share, 8 * share)
    assert update_memory(replace(qwen3_8b, moments_offloaded=False, weights_offloaded=False)) == memory
    assert resident_memory(qwen3_8b) == 0
    assert resident_memory(replace(qwen3_8b, moments_offloaded=False, weights_offloaded=False)) == 12 * share


def test_the_fullest_moment_counts(qwen3_8b: Workload) -> None:
    alone = replace(qwen3_8b, gpus=1, shards=1)
    assert update_memory(alone).total == 20 * qwen3_8b.shape.parameters  # the optimizer's step
    assert update_memory(qwen3_8b).logits == 2 * 151_936 * TOKENS
    small = replace(qwen3_8b, shape=replace(qwen3_8b.shape, vocabulary=1000, head=4_096_000))
    assert update_memory(small).logits == 0  # a layer's gradient
    assert update_memory(small).activations == TOKENS * (36 * 2 * 4096 + 12 * 12288 + 18 * 4096 + 10 * (4096 + 1024))


@pytest.mark.parametrize(
    ("changed", "part", "less"),
    [
        ({"fused_logits": True}, "logits", True),
        ({"checkpoints_offloaded": True}, "activations", True),
        ({"lora_rank": 32}, "moments", True),
        ({"stored": 2}, "weights", True),
        ({"adam": False}, "moments", True),
        ({"checkpointing": False}, "activations", False),
        ({"reshard": False}, "gathered", False),
        ({"logit_bytes": 6}, "logits", False),
        ({"shards": 4}, "weights", False),
    ],
)
def test_a_setting_changes_its_part(qwen3_8b: Workload, changed: dict[str, Any], part: str, less: bool) -> None:
    before, after = update_memory(qwen3_8b), update_memory(replace(qwen3_8b, **changed))
    assert (getattr(after, part) < getattr(before, part)) is less
    assert getattr(after, part) != getattr(before, part)


def test_the_host_holds_what_is_offloaded_or_the_model_that_is_read(qwen3_8b: Workload) -> None:
    parameters = qwen3_8b.shape.parameters
    assert host_memory(qwen3_8b).offloaded == 12 * parameters
    assert host_memory(replace(qwen3_8b, everything_on_host=True)).offloaded == 16 * parameters
    assert host_memory(replace(qwen3_8b, gpus=16, nodes=2, shards=16)).offloaded == 6 * parameters
    assert host_memory(qwen3_8b).loading == 4 * parameters
    tied = replace(qwen3_8b, shape=replace(qwen3_8b.shape, tied=True))
    assert host_memory(tied).loading == 32 * parameters  # each process reads it


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vocabulary", "gpus", "fullest"),
    [
        ("Qwen3-8B", 151_936, 8, "logits"),
        ("Qwen3-8B", 8_000, 2, "activations"),
        ("Qwen3-4B", 151_936, 2, "logits"),
        ("Qwen3-4B", 8_000, 2, "activations"),
    ],
)
def test_the_formula_is_torch_s_account(name: str, vocabulary: int, gpus: int, fullest: str) -> None:
    from support.tracked_update import track_update

    config = qwen3_config(name, layers=3, vocabulary=vocabulary)
    shape = shape_of(config)
    assert shape is not None
    work = Workload(shape, gpus=gpus, nodes=1, tokens=TOKENS, shards=gpus)
    memory, measured = update_memory(work), track_update(config, TOKENS, gpus)
    assert memory.total == pytest.approx(measured.backward, rel=0.01)
    assert (memory.logits > 0) is (fullest == "logits")
    assert 20 * shape.parameters / gpus == pytest.approx(measured.step, rel=0.01)


def test_verl_s_own_cross_entropy_takes_three_times_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without flash-attn. Autocast computes log-softmax in fp32 on a GPU, but not on a CPU."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.utils._python_dispatch import TorchDispatchMode
    from verl.utils import torch_functional

    monkeypatch.setattr(torch_functional, "FLAH_ATTN_CROSS_ENTROPY_LOSS_AVAILABLE", False)
    monkeypatch.setattr(torch_functional.F, "log_softmax", lambda row, dim: torch.log_softmax(row.float(), dim))
    rows, vocabulary = 16, 100_000

    class Live(TorchDispatchMode):
        """The bytes that are alive, and the most there were."""

        bytes = peak = 0

        def __init__(self) -> None:
            super().__init__()
            self.seen: set[int] = set()

        def __torch_dispatch__(self, function: Any, _types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = function(*args, **(kwargs or {}))
            for tensor in made if isinstance(made, tuple | list) else (made,):
                if isinstance(tensor, torch.Tensor) and (storage := tensor.untyped_storage())._cdata not in self.seen:
                    self.seen.add(storage._cdata)
                    self.bytes += storage.nbytes()
                    weakref.finalize(storage, self.free, storage._cdata, storage.nbytes())
            self.peak = max(self.peak, self.bytes)
            return made

        def free(self, key: int, size: int) -> None:
            self.seen.discard(key)
            self.bytes -= size

    with FakeTensorMode(), Live() as live:
        leaf = torch.empty(rows, vocabulary, dtype=torch.bfloat16, requires_grad=True)
        logits = leaf * 1  # as the model makes them
        loss = torch_functional.logprobs_from_logits(logits, torch.zeros(rows, dtype=torch.int64)).mean()
        del logits
        loss.backward()
    assert (live.peak / (rows * vocabulary) - 2) == pytest.approx(6, rel=0.1)  # without the leaf


def test_the_stand_ins_are_the_models() -> None:
    shapes = {name: shape_of(qwen3_config(name)) for name in QWEN3}
    sizes = {name: shape.parameters for name, shape in shapes.items() if shape is not None}
    assert [round(size / 1e9, 2) for size in sizes.values()] == [0.60, 1.72, 4.02, 8.19]
