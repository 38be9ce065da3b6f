"""What a training run has to fit into: the GPUs' memory, this node's, and the model's dimensions.

machine = describe_machine(find_accelerators(), model)        # None on a CPU, or for a model of unknown dimensions
"""

from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.engines.accelerators import Accelerators
from spo_train.config.memory_settings import Machine
from spo_train.plan.model_shape import read_shape

if TYPE_CHECKING:
    from spo_data.models.names import Model

CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))
"""Files with a container's limit, for both versions of cgroups."""


def describe_machine(devices: Accelerators, model: "Model") -> Machine | None:
    """Return what a training run has to fit into, or None on a CPU or if the model's dimensions are unknown."""
    shape = None if devices.on_cpu else read_shape(model)
    return None if shape is None else Machine(shape, devices.memory, host_bytes())


def host_bytes() -> int:
    """Return the bytes of memory that this node, or the container that this process is in, may use."""
    import psutil

    sizes = [int(psutil.virtual_memory().total)]
    for path in CGROUP_LIMITS:
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdigit():
            sizes.append(int(text))
    return min(sizes)
