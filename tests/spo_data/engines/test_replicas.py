"""How many replicas sample on a machine, and which sizes are refused before anything is loaded."""

from dataclasses import replace
from typing import Any

import pytest

from spo_data import UserError
from spo_data.engines.accelerators import Accelerators
from spo_data.engines.replicas import VLLM_MEMORY_SHARE, Replicas, choose_replicas
from spo_data.models.dimensions import Dimensions
from spo_data.models.heads import Heads
from spo_data.options import EngineOptions

CPU = Accelerators(True, "CPU (2 cores)", 1, 24 << 30)
QWEN3_8B = Dimensions("Qwen3-8B", Heads(32, 8), stored_bytes=16_381_470_720, bytes_each=2)
QWEN3_32B = Dimensions("Qwen3-32B", Heads(64, 8), stored_bytes=65_524_246_528, bytes_each=2)
QWEN3_30B_A3B = Dimensions("Qwen3-30B-A3B", Heads(32, 4), 128, 768, stored_bytes=61_000_000_000, bytes_each=2)


def gpus(count: int, gigabytes: int = 80) -> Accelerators:
    return Accelerators(False, f"NVIDIA H100 {gigabytes}GB HBM3", count, gigabytes << 30)


def chosen(machine: Accelerators, model: Dimensions = QWEN3_8B, **options: Any) -> Replicas:
    return choose_replicas(machine, EngineOptions(**options), model)


@pytest.mark.parametrize(
    ("count", "options", "replicas", "idle"),
    [
        (8, {}, 8, ()),
        (8, {"tensor_parallel_size": 2}, 4, ()),
        (8, {"tensor_parallel_size": 8}, 1, ()),
        (7, {"tensor_parallel_size": 2}, 3, (6,)),
        (8, {"tensor_parallel_size": 2, "data_parallel_size": 1}, 1, (2, 3, 4, 5, 6, 7)),
        (8, {"tensor_parallel_size": 2, "engine_arg": {"pipeline_parallel_size": 2}}, 2, ()),
        (8, {"engine_arg": {"device_ids": [4, 5, 6]}}, 3, ()),
    ],
)
def test_all_visible_gpus_are_used_and_the_others_named(
    count: int, options: dict[str, Any], replicas: int, idle: tuple[int, ...]
) -> None:
    """An estimate on eight GPUs used one of them and did not say so."""
    found = chosen(gpus(count), **options)
    assert (found.count, found.idle) == (replicas, idle)
    assert ("idle" in str(found)) == bool(idle)
    assert found.as_dict()["idle"] == list(idle)


def test_idle_gpus_are_named_by_number() -> None:
    assert "(--tensor-parallel-size 2); GPU 6 idle" in str(chosen(gpus(7), tensor_parallel_size=2))
    assert "--data-parallel-size 6); GPUs 6 and 7 idle" in str(chosen(gpus(8), data_parallel_size=6))
    assert "--data-parallel-size 1); GPUs 1 to 7 idle" in str(chosen(gpus(8), data_parallel_size=1))


def test_a_cpu_has_one_replica_unless_asked() -> None:
    assert (chosen(CPU).count, str(chosen(CPU))) == (1, "CPU (2 cores): 1 replica")
    assert str(chosen(CPU, data_parallel_size=2)) == "CPU (2 cores): 2 replicas (--data-parallel-size 2)"


@pytest.mark.parametrize(
    ("machine", "options", "said"),
    [
        (
            gpus(8),
            {"tensor_parallel_size": 3},
            "--tensor-parallel-size 3: 3 does not divide the 32 attention heads of Qwen3-8B; use 1, 2, 4 or 8",
        ),
        (
            gpus(1),
            {"tensor_parallel_size": 2},
            "--tensor-parallel-size 2: one replica takes 2 GPUs, and there is 1 visible GPU"
            " (NVIDIA H100 80GB HBM3); use 1",
        ),
        (
            gpus(4),
            {"tensor_parallel_size": 2, "engine_arg": {"pipeline_parallel_size": 4}},
            "--tensor-parallel-size 2, pipeline_parallel_size=4: one replica takes 8 GPUs, and there are 4 visible"
            " GPUs (NVIDIA H100 80GB HBM3); use 1",
        ),
        (
            gpus(8),
            {"tensor_parallel_size": 2, "data_parallel_size": 5},
            "--data-parallel-size 5: 5 replicas of 2 GPUs each (--tensor-parallel-size 2) take 10 GPUs, and there are"
            " 8 visible GPUs (NVIDIA H100 80GB HBM3); use at most 4",
        ),
        (
            gpus(8),
            {"engine_arg": {"pipeline_parallel_size": "two"}},
            "--engine-arg pipeline_parallel_size=two: must be a whole number of at least 1",
        ),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_those_that_do(
    machine: Accelerators, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError) as raised:
        chosen(machine, **options)
    assert str(raised.value) == said


def test_key_value_heads_count_too() -> None:
    """28 heads divide by 7, but vLLM cannot split 4 key/value heads among 7 GPUs: it fails while it loads."""
    qwen = replace(QWEN3_8B, name="Qwen2.5-7B", heads=Heads(28, 4))
    with pytest.raises(UserError, match=r"7 neither divides the 4 key/value heads of Qwen2.5-7B.*; use 1, 2 or 4"):
        chosen(gpus(8), qwen, tensor_parallel_size=7)
    assert chosen(gpus(8), qwen, tensor_parallel_size=4).count == 2


@pytest.mark.parametrize(
    ("machine", "options", "said"),
    [
        (gpus(8, 40), {}, "the weights of Qwen3-32B take 65.5 GB, and the engine may use 39.5 GB"),
        (gpus(8, 40), {}, "of a replica's 1 x NVIDIA H100 40GB HBM3; use --tensor-parallel-size 4"),
        (gpus(2, 24), {}, "it needs --tensor-parallel-size 4, more than the machine has"),
        (gpus(8), {"dtype": "float32"}, "take 131.0 GB, and the engine may use 79.0 GB"),
        (gpus(8), {"gpu_memory_utilization": 0.5}, "use --tensor-parallel-size 2"),
        (gpus(8, 1), {}, "no tensor parallel size of this model leaves room for its KV cache on such GPUs"),
    ],
)
def test_weights_that_plainly_do_not_fit_are_refused(machine: Accelerators, options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as raised:
        chosen(machine, QWEN3_32B, **options)
    assert said in str(raised.value)


def test_weights_that_fit_or_may_fit_are_loaded() -> None:
    assert chosen(gpus(8), QWEN3_32B).count == 8
    assert chosen(gpus(8, 40), QWEN3_32B, tensor_parallel_size=2).count == 4, "83 % of the memory is no plain refusal"
    assert chosen(gpus(8, 40), QWEN3_32B, engine_arg={"quantization": "fp8"}).weight_bytes is None
    unknown = chosen(gpus(1), replace(QWEN3_32B, stored_bytes=None))
    assert str(unknown).endswith("; the size of the weights is not known before they are loaded")


def test_the_replicas_of_a_mixture_of_experts_share_them() -> None:
    """vLLM splits each expert among all GPUs of all replicas, so 7 of 8 GPUs could not even load 768 wide experts."""
    found = chosen(gpus(8), QWEN3_30B_A3B)
    assert (found.count, found.in_step, found.weight_bytes) == (8, True, None)
    assert "8 replicas of 1 GPU each, which share the experts and step together (" in str(found)
    seven = chosen(gpus(7), QWEN3_30B_A3B)
    assert (seven.count, seven.idle) == (6, (6,))
    assert chosen(gpus(7), QWEN3_30B_A3B, engine_arg={"enable_expert_parallel": True}).count == 7
    assert not chosen(gpus(1), QWEN3_30B_A3B).in_step


def test_an_experts_share_is_whole_blocks_of_its_quantization() -> None:
    """768 / 8 = 96 columns were planned for each GPU, which vLLM refuses of weights quantized in blocks of 128."""
    fp8 = replace(QWEN3_30B_A3B, expert_block=128, quantized=True)
    assert chosen(gpus(8), fp8).count == 6
    assert chosen(gpus(8), fp8, tensor_parallel_size=2).count == 3
    assert chosen(gpus(8), fp8, engine_arg={"enable_expert_parallel": True}).count == 8
    pipelined = chosen(gpus(8), fp8, engine_arg={"pipeline_parallel_size": 4})
    assert (pipelined.count, pipelined.gpus_each) == (2, 4), "the stages of a pipeline do not split experts"
    for sizes, use in (
        ({"data_parallel_size": 8}, "use --data-parallel-size 1, 2, 3 or 6, or --engine-arg"),
        ({"tensor_parallel_size": 8}, "use --tensor-parallel-size 1, 2 or 4, or --engine-arg"),
    ):
        narrow = fp8 if "data_parallel_size" in sizes else replace(fp8, expert_width=512)
        with pytest.raises(UserError, match=r"width \d+, quantized in blocks of 128, among that many GPUs; " + use):
            chosen(gpus(8), narrow, **sizes)


def test_gpus_of_a_cluster_are_not_counted_on_this_machine() -> None:
    ray = {"distributed_executor_backend": "ray"}
    found = chosen(gpus(8), tensor_parallel_size=16, engine_arg=ray)
    assert (found.count, found.idle) == (1, ())
    assert str(found) == "a cluster: 1 replica of 16 GPUs (--tensor-parallel-size 16)"


@pytest.mark.parametrize(("stored", "dtype", "times"), [(4, "auto", 0.5), (2, "auto", 1), (2, "float32", 2)])
def test_weights_take_what_they_are_loaded_as(stored: int, dtype: str, times: float) -> None:
    dimensions = replace(QWEN3_8B, bytes_each=stored)
    assert dimensions.loaded_bytes(dtype) == 16_381_470_720 * times
    assert replace(dimensions, quantized=True).loaded_bytes(dtype) == 16_381_470_720, "quantized, as stored"
    assert replace(dimensions, bytes_each=None).loaded_bytes(dtype) is None


def test_the_share_of_memory_is_vllms_default() -> None:
    import importlib.util
    from pathlib import Path

    spec = importlib.util.find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("vLLM is not installed")
    source = (Path(spec.submodule_search_locations[0]) / "config" / "cache.py").read_text(encoding="utf-8")
    assert f"gpu_memory_utilization: float = Field(default={VLLM_MEMORY_SHARE}," in source
