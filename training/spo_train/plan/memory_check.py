"""Whether an update fits the GPUs and the host, said before anything is loaded.

memory = expect_memory(config, machine)      # MemoryPlan
memory.line()                                # "28.9 of 80.0 GiB a GPU: weights 3.8, gradients 3.8, ..."
refuse_memory(config, machine)               # raises UserError if it surely does not fit
"""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from spo_data.errors import UserError
from spo_train.config.gpu_memory import HALF, HostMemory, UpdateMemory, host_memory, resident_memory, update_memory
from spo_train.config.keys import (
    ENGINE_SHARE_KEY,
    MOMENTS_OFFLOAD_KEY,
    OFFLOAD_POLICY_KEY,
    PARAM_OFFLOAD_KEY,
    TENSOR_PARALLEL_KEY,
)
from spo_train.config.memory_settings import (
    ROOM,
    Machine,
    fits,
    list_remedies,
    may_move_to_host,
    read_workload,
    show_bytes,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

NAMES = {
    "weights": "weights",
    "gradients": "gradients",
    "moments": "Adam",
    "gathered": "gathered layers",
    "activations": "activations",
    "logits": "logits",
    "scratch": "Adam's step",
}


@dataclass(frozen=True)
class MemoryPlan:
    """The memory that training is expected to take, and what there is."""

    update: UpdateMemory
    gpu: int
    """Bytes of each GPU."""
    host: HostMemory
    host_total: int
    """Bytes of this node's memory."""

    def line(self) -> str:
        """Return the expectation in words."""
        parts = ", ".join(
            f"{NAMES[part]} {size / 2**30:,.1f}" for part, size in asdict(self.update).items() if size >= 2**30 / 20
        )
        offloaded = f"; {show_bytes(self.host.offloaded)} of each host" if self.host.offloaded else ""
        return f"{self.update.total / 2**30:,.1f} of {show_bytes(self.gpu)} a GPU: {parts}{offloaded}"

    def warning(self) -> str | None:
        """Return a remark if little room is left for what the formula does not count."""
        if self.update.total > ROOM * self.gpu:
            return (
                f"an update takes {show_bytes(self.update.total)} of a GPU's {show_bytes(self.gpu)}: CUDA, the sleeping"
                " engine and fragmentation need some of the rest, so it may run out of memory"
            )
        if self.host.total > ROOM * self.host_total:
            return (
                f"training takes {show_bytes(self.host.total)} of this node's {show_bytes(self.host_total)} of memory,"
                " which Ray and the responses need too"
            )
        return None

    def as_dict(self) -> dict[str, Any]:
        """The expectation for JSON, in bytes."""
        return {
            "update": {**asdict(self.update), "total": self.update.total},
            "gpu": self.gpu,
            "host": {**asdict(self.host), "total": self.host_total},
        }


def expect_memory(config: "DictConfig", machine: Machine) -> MemoryPlan:
    """Return the memory that training with a composed configuration is expected to take."""
    work = read_workload(config, machine.shape)
    return MemoryPlan(update_memory(work), machine.gpu, host_memory(work), machine.host)


def refuse_memory(config: "DictConfig", machine: Machine) -> None:
    """Raise UserError if tensors that surely exist do not fit a GPU or the host, with the settings that would fit."""
    memory, rollout = expect_memory(config, machine), config.actor_rollout_ref.rollout
    if memory.update.total > memory.gpu:
        remedies = list_remedies(config, machine)
        fits = f"; what would fit: {', or '.join(remedies)}" if remedies else ""
        host = "" if any(OFFLOAD_POLICY_KEY in each for each in remedies) else _say_host(config, machine)
        raise UserError(f"an update does not fit: it takes {memory.line()}{fits}{host}")
    if memory.host.total > memory.host_total:
        kept = _keep_on_gpus(config, machine)
        raise UserError(
            f"training takes {show_bytes(memory.host.total)} of a host's memory ({_name_host(memory.host)}), and this"
            f" node has {show_bytes(memory.host_total)}:"
            f" {kept or 'more memory, more nodes (--nodes) or a smaller model would fit'}"
        )
    share = float(rollout.gpu_memory_utilization) * machine.gpu
    engine = HALF * machine.shape.parameters / rollout.tensor_model_parallel_size
    if engine > share:
        size, remedies = rollout.tensor_model_parallel_size, []
        if engine < ROOM * machine.gpu:
            remedies.append("a larger share has room for them")
        if size < config.trainer.n_gpus_per_node:
            remedies.append(f"a larger {TENSOR_PARALLEL_KEY} divides them")
        raise UserError(
            f"the engine's weights take {show_bytes(engine)} of a GPU with {TENSOR_PARALLEL_KEY}"
            f" {size}, and {ENGINE_SHARE_KEY}={rollout.gpu_memory_utilization:g} leaves it {show_bytes(share)}:"
            f" {', or '.join(remedies) or 'more GPUs (--gpus-per-node) or a smaller model would fit'}"
        )
    resident = resident_memory(read_workload(config, machine.shape))
    if resident + share > machine.gpu:
        free = int(100 * (ROOM * machine.gpu - resident) / machine.gpu) / 100
        fits = f"{ENGINE_SHARE_KEY}={free}" if free > 0 else "leave param_offload and optimizer_offload true"
        raise UserError(
            f"{ENGINE_SHARE_KEY}={rollout.gpu_memory_utilization:g}: weights and moments that are not offloaded keep"
            f" {show_bytes(resident)} of a GPU's {show_bytes(machine.gpu)}: {fits}"
        )


def _keep_on_gpus(config: "DictConfig", machine: Machine) -> str | None:
    """Return the settings that keep on the GPUs what the host has no room for, or None if they have none either."""
    work = read_workload(config, machine.shape)
    share = float(config.actor_rollout_ref.rollout.gpu_memory_utilization) * machine.gpu
    weights, moments = f"{PARAM_OFFLOAD_KEY}=false", f"{MOMENTS_OFFLOAD_KEY}=false"
    if work.everything_on_host:
        weights = f"{OFFLOAD_POLICY_KEY}=false {weights}"
    for settings, tried in (
        (weights, replace(work, everything_on_host=False, weights_offloaded=False)),
        (
            f"{weights} {moments}",
            replace(work, everything_on_host=False, weights_offloaded=False, moments_offloaded=False),
        ),
    ):
        if fits(tried, machine) and resident_memory(tried) + share <= machine.gpu:
            return f"{settings} keeps them on the GPUs"
    return None


def _say_host(config: "DictConfig", machine: Machine) -> str:
    """Say how much memory the host would need to take the optimizer, if that is why it does not help."""
    work = replace(read_workload(config, machine.shape), everything_on_host=True)
    needed = host_memory(work).total
    if needed <= machine.host or not may_move_to_host(config):
        return ""
    return (
        f"; {OFFLOAD_POLICY_KEY}=true needs {show_bytes(needed)} of host memory, and this node has"
        f" {show_bytes(machine.host)}"
    )


def _name_host(host: HostMemory) -> str:
    return "the model while it is read" if host.loading > host.offloaded else "what is offloaded from the GPUs"
