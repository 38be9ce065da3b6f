"""The accelerators of this machine.

    find_accelerators()        # Accelerators(on_cpu=False, name="NVIDIA H100 80GB HBM3", count=8, memory=85899345920)

torch and vLLM are imported when it is needed. vLLM asks the driver; torch's own functions for names and memory would
take some of the first GPU's memory until this process ends.
"""

import os
from dataclasses import dataclass

from spo_data.engines.driver import check_driver


@dataclass(frozen=True)
class Accelerators:
    """The accelerators that this process may use, or its CPU."""

    on_cpu: bool
    name: str
    count: int
    """On this machine, after CUDA_VISIBLE_DEVICES; 1 for a CPU."""
    memory: int
    """Bytes of each, or of the machine for a CPU."""


def find_accelerators() -> Accelerators:
    """Return the accelerators that torch sees, or one CPU if it sees none; raises UserError for a driver too old."""
    import torch

    if not torch.accelerator.is_available():
        import psutil

        check_driver()
        return Accelerators(True, f"CPU ({os.cpu_count()} cores)", 1, psutil.virtual_memory().total)
    from vllm.platforms import current_platform

    name, memory = current_platform.get_device_name(), current_platform.get_device_total_memory()
    return Accelerators(False, str(name), torch.accelerator.device_count(), int(memory))
