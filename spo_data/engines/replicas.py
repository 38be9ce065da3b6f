"""How many copies of a model sample side by side on this machine, and on how many GPUs each.

    replicas = choose_replicas(find_accelerators(), options, read_dimensions(model))
    str(replicas)        # "8 x NVIDIA H100 80GB HBM3: 4 replicas of 2 GPUs each (--tensor-parallel-size 2)"

Replicas are vLLM's data parallelism. Those of a dense model know nothing of each other. Those of a mixture of experts
share its experts and take each step together. How many there are changes only the speed of an estimate.
"""

from dataclasses import dataclass, replace
from typing import Any

from spo_data.engines.accelerators import Accelerators
from spo_data.errors import UserError
from spo_data.models.dimensions import Dimensions
from spo_data.options import EngineOptions

VLLM_MEMORY_SHARE = 0.92
"""vLLM's default of `--gpu-memory-utilization`."""
_WITH_CACHE = 0.8
"""The share of the engine's memory that weights may take in a size that we suggest; the KV cache needs the rest."""
_WITHIN_A_REPLICA = ("pipeline_parallel_size", "prefill_context_parallel_size")
"""Engine arguments that multiply the GPUs of one replica, besides the tensor parallel size."""
_QUANTIZES_OR_OFFLOADS = ("quantization", "quantization_config", "load_format", "cpu_offload_gb", "offload_backend")
"""Engine arguments with which stored weights say nothing about a GPU's memory."""


@dataclass(frozen=True)
class Replicas:
    """The replicas of an engine and their GPUs."""

    accelerators: Accelerators
    count: int
    gpus_each: int
    reason: str = ""
    """The settings that led to the two numbers."""
    weight_bytes: int | None = None
    """Of one copy of the model once loaded; None if it is not known before it is loaded."""
    memory_bytes: int | None = None
    """Of the GPUs of one copy, as far as the engine may use it; None for a CPU, a cluster or shared experts."""
    in_step: bool = False
    """Whether the replicas share a mixture of experts."""
    on_cluster: bool = False
    """Whether GPUs of other machines take part, so that this machine's do not bound their number."""

    @property
    def idle(self) -> tuple[int, ...]:
        """The GPUs that no replica uses, numbered among the visible ones."""
        if self.accelerators.on_cpu or self.on_cluster:
            return ()
        return tuple(range(self.count * self.gpus_each, self.accelerators.count))

    def __str__(self) -> str:
        many = f"{self.count} replica{'s' * (self.count > 1)}"
        if self.accelerators.on_cpu:
            return f"{self.accelerators.name}: {many}{self.reason}"
        each = f"{self.gpus_each} GPU{'s' * (self.gpus_each > 1)}{' each' * (self.count > 1)}"
        machine = "a cluster" if self.on_cluster else f"{self.accelerators.count} x {self.accelerators.name}"
        shared = ", which share the experts and step together" if self.in_step else ""
        idle = f"; {_name_gpus(self.idle)} idle" if self.idle else ""
        return f"{machine}: {many} of {each}{shared}{self.reason}{idle}{self._weights}"

    @property
    def _weights(self) -> str:
        if self.memory_bytes is None:
            return ""
        if self.weight_bytes is None:
            return "; the size of the weights is not known before they are loaded"
        return f"; the weights take {self.weight_bytes / 1e9:.1f} of {self.memory_bytes / 1e9:,.0f} GB"

    def as_dict(self) -> dict[str, Any]:
        """For the JSON of a dry run."""
        return {
            "device": self.accelerators.name,
            "devices": self.accelerators.count,
            "replicas": self.count,
            "devices_per_replica": 1 if self.accelerators.on_cpu else self.gpus_each,
            "idle": list(self.idle),
            "weight_bytes": self.weight_bytes,
            "memory_bytes": self.memory_bytes,
            "described": str(self),
        }


def choose_replicas(accelerators: Accelerators, options: EngineOptions, dimensions: Dimensions) -> Replicas:
    """Return as many replicas as the visible GPUs hold, or as many as were asked for; one on a CPU by default.

    Raises UserError if the sizes do not fit the machine or the model, before anything is loaded.
    """
    tensor, asked = options.tensor_parallel_size, options.data_parallel_size
    if fault := dimensions.find_tensor_parallel_fault(tensor):
        most = tensor if accelerators.on_cpu else max(tensor, accelerators.count)
        raise UserError(
            f"--tensor-parallel-size {tensor}: {fault}; use {_list_or(_find_tensor_sizes(dimensions, most))}"
        )
    each, reason = tensor, f"--tensor-parallel-size {tensor}"
    for name in _WITHIN_A_REPLICA:
        size = options.engine_arg.get(name, 1)
        if not isinstance(size, int) or size < 1:
            raise UserError(f"--engine-arg {name}={size}: must be a whole number of at least 1")
        each *= size
        reason += f", {name}={size}" if size > 1 else ""
    if accelerators.on_cpu:
        return Replicas(accelerators, asked or 1, each, f" (--data-parallel-size {asked})" if asked else "")
    if _spans_machines(options):
        asked_for = f", --data-parallel-size {asked}" if asked else ""
        return Replicas(accelerators, asked or 1, each, f" ({reason}{asked_for})", on_cluster=True)

    visible = _count_visible(accelerators, options)
    accelerators = replace(accelerators, count=visible)
    there = f"there {'are' if visible > 1 else 'is'} {visible} visible GPU{'s' * (visible > 1)} ({accelerators.name})"
    if each > visible:
        fitting = [size for size in _find_tensor_sizes(dimensions, visible * tensor // each) if size <= visible]
        advice = f"use {_list_or(fitting)}" if fitting else "lower these sizes"
        raise UserError(f"{reason}: one replica takes {each} GPUs, and {there}; {advice}")
    if asked is not None and asked * each > visible:
        most = visible // each
        raise UserError(
            f"--data-parallel-size {asked}: {asked} replicas of {each} GPU{'s' * (each > 1)} each ({reason}) take"
            f" {asked * each} GPUs, and {there}; use at most {most}"
        )
    count = _choose_count(dimensions, options, visible, each)
    settings = f" ({reason}{f', --data-parallel-size {asked}' if asked else ''})"
    if dimensions.experts > 0 and count > 1:  # what one replica holds of the experts is not known here
        return Replicas(accelerators, count, each, settings, in_step=True)
    weights = None if _hides_weights(options) else dimensions.loaded_bytes(options.dtype)
    share = options.gpu_memory_utilization or VLLM_MEMORY_SHARE
    chosen = Replicas(accelerators, count, each, settings, weights, int(accelerators.memory * share) * each)
    _refuse_too_large(chosen, options, dimensions, visible)
    return chosen


def uses_ray(options: EngineOptions) -> bool:
    """Whether Ray starts the engine's processes, on the machines of its cluster."""
    given = options.engine_arg
    return "ray" in (given.get("distributed_executor_backend"), given.get("data_parallel_backend"))


def _refuse_too_large(chosen: Replicas, options: EngineOptions, dimensions: Dimensions, visible: int) -> None:
    """Raise UserError if the weights plainly do not fit one replica's memory."""
    weights, memory = chosen.weight_bytes, chosen.memory_bytes
    if weights is None or memory is None or weights < memory:
        return
    per_size = memory // options.tensor_parallel_size
    pipelined = chosen.gpus_each // options.tensor_parallel_size
    wide = (size for size in _find_tensor_sizes(dimensions, 64) if weights <= _WITH_CACHE * per_size * size)
    fitting = next(wide, None)
    said = (
        f"--tensor-parallel-size {options.tensor_parallel_size}: the weights of {dimensions.name} take"
        f" {weights / 1e9:.1f} GB, and the engine may use {memory / 1e9:.1f} GB of a replica's"
        f" {chosen.gpus_each} x {chosen.accelerators.name}"
    )
    if fitting is None:
        raise UserError(f"{said}; no tensor parallel size of this model leaves room for its KV cache on such GPUs")
    if fitting * pipelined > visible:
        raise UserError(f"{said}; it needs --tensor-parallel-size {fitting}, more than the machine has")
    raise UserError(f"{said}; use --tensor-parallel-size {fitting}")


def _find_tensor_sizes(dimensions: Dimensions, most: int) -> list[int]:
    return [size for size in range(1, most + 1) if dimensions.find_tensor_parallel_fault(size) is None]


def _choose_count(dimensions: Dimensions, options: EngineOptions, visible: int, each: int) -> int:
    """Return how many replicas were asked for, or the most that can share the experts.

    vLLM splits each expert among the GPUs of all replicas, those of a pipeline's stages counted once. Raises UserError
    if it cannot.
    """
    asked, tensor = options.data_parallel_size, options.tensor_parallel_size
    most, width = visible // each, dimensions.expert_width
    if width is None or options.engine_arg.get("enable_expert_parallel"):
        return asked or most
    copies = each // tensor

    def sharing(size: int) -> list[int]:
        shares = size * int(options.engine_arg.get("prefill_context_parallel_size", 1))
        counts = range(1, visible // (size * copies) + 1)
        return [n for n in counts if n * shares == 1 or width % (n * shares * dimensions.expert_block) == 0]

    counts = sharing(tensor)
    if counts and asked in (None, *counts):
        return asked or counts[-1]
    sizes = [size for size in _find_tensor_sizes(dimensions, visible) if sharing(size)]
    setting = f"--tensor-parallel-size {tensor}{f', --data-parallel-size {asked}' if asked else ''}"
    blocks = f", quantized in blocks of {dimensions.expert_block}" if dimensions.expert_block > 1 else ""
    fits = f"--data-parallel-size {_list_or(counts)}" if counts else f"--tensor-parallel-size {_list_or(sizes)}"
    raise UserError(
        f"{setting}: vLLM cannot split experts of width {width}{blocks}, among that many GPUs; use"
        f" {f'{fits}, or ' if counts or sizes else ''}--engine-arg enable_expert_parallel=true"
    )


def _count_visible(accelerators: Accelerators, options: EngineOptions) -> int:
    chosen = options.engine_arg.get("device_ids")
    return min(accelerators.count, len(chosen)) if isinstance(chosen, list) and chosen else accelerators.count


def _spans_machines(options: EngineOptions) -> bool:
    return uses_ray(options) or options.engine_arg.get("nnodes", 1) not in (None, 1)


def _hides_weights(options: EngineOptions) -> bool:
    return any(options.engine_arg.get(name) is not None for name in _QUANTIZES_OR_OFFLOADS)


def _name_gpus(numbers: tuple[int, ...]) -> str:
    if len(numbers) == 1:
        return f"GPU {numbers[0]}"
    return f"GPUs {numbers[0]} {'and' if len(numbers) == 2 else 'to'} {numbers[-1]}"


def _list_or(sizes: list[int]) -> str:
    *first, last = map(str, sizes)
    return f"{', '.join(first)} or {last}" if first else last
