"""The platform "cpu" of `verl.plugin.platform`.

`register()` is called in every verl process. Ray places workers by a logical resource: `ray_init.num_gpus` is the
number of workers, and each is a process on the CPU. Weights reach the rollout engine through shared memory.
"""

import types
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import psutil
import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry


def register() -> None:
    """Make `VERL_PLATFORM=cpu` known to verl."""
    PlatformRegistry.register(platform="cpu")(PlatformCPU)


class PlatformCPU(PlatformBase):
    """CPU cores as verl's accelerator."""

    device_name = "cpu"
    vendor_name = "cpu"

    @property
    def device_module(self) -> types.ModuleType:
        return _device_module

    def is_available(self) -> bool:
        return True

    def is_platform_available(self, use_smi_check: bool = False) -> bool:  # noqa: ARG002 - verl's signature
        return not torch.accelerator.is_available()

    def current_device(self) -> Any:
        return "cpu"

    def device_count(self) -> int:
        return 1

    def set_device(self, device_index: int) -> None:
        pass

    def synchronize(self, device_index: int | None = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        torch.manual_seed(seed)

    def set_allocator_settings(self, settings: str) -> None:
        pass

    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:  # noqa: ARG002 - verl's
        return None, None

    def communication_backend_name(self) -> str:
        return "gloo"

    def visible_devices_envvar(self) -> str:
        return "CUDA_VISIBLE_DEVICES"

    @contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:  # noqa: ARG002 - verl's signature
        yield

    def profiler_start(self) -> None:
        pass

    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        return False

    def cudart(self) -> None:
        return None


class _DeviceModule(types.ModuleType):
    """`torch.cpu`, with the memory functions of `torch.cuda` that verl's logging calls."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def current_device(self) -> str:
        return "cpu"

    def empty_cache(self) -> None:
        pass

    def ipc_collect(self) -> None:
        pass

    def get_device_name(self, device: Any = None) -> str:  # noqa: ARG002 - torch.cuda's signature
        return "cpu"

    def mem_get_info(self, device: Any = None) -> tuple[int, int]:  # noqa: ARG002 - torch.cuda's signature
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def memory_allocated(self, device: Any = None) -> int:  # noqa: ARG002 - torch.cuda's signature
        return int(psutil.Process().memory_info().rss)

    memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated

    def set_per_process_memory_fraction(self, fraction: float, device: Any = None) -> None:
        pass

    def get_rng_state(self, device: Any = None) -> torch.Tensor:  # noqa: ARG002 - torch.cuda's signature
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor, device: Any = None) -> None:  # noqa: ARG002 - torch.cuda's signature
        torch.set_rng_state(state)

    def stream(self, stream: Any) -> Any:  # noqa: ARG002 - torch.cuda's signature
        return nullcontext()


_device_module = _DeviceModule("verl_cpu.device")
