"""/dev/shm, in which Ray keeps its objects, NCCL and vLLM their buffers and, on a CPU, verl the weights that it sends.

    check_shared_memory(config, on_cpu=True)      # raises SpoError if the weights cannot be sent
    note_shared_memory(on_cpu=False)              # "/dev/shm has 0.1 GB free: …"

With too little of it Ray takes /tmp instead and says so only in its log; buffers of others may fail or not. So it is a
remark, except for weights: a process that writes more than there is dies without a word.
"""

import os
from typing import TYPE_CHECKING

from spo_data.errors import SpoError

if TYPE_CHECKING:
    from omegaconf import DictConfig

FOLDER = "/dev/shm"
ENOUGH = 8 * 10**9


def check_shared_memory(config: "DictConfig", *, on_cpu: bool) -> None:
    """Raise SpoError if verl would send weights through more shared memory than there is."""
    from omegaconf import OmegaConf

    from verl_cpu.overrides import BUCKET

    free = find_shared_memory()
    wanted = OmegaConf.select(config, BUCKET) << 20
    if on_cpu and free is not None and free < wanted:
        raise SpoError(
            f"{FOLDER} has {free / 1e9:,.1f} GB free, the weights that verl sends to vLLM take {wanted / 1e9:,.1f} GB:"
            f" start the container with docker run --shm-size={-(-(wanted + wanted // 4) // 10**9)}g"
        )


def note_shared_memory(*, on_cpu: bool) -> str | None:
    """Return a remark if GPUs would train with little shared memory, or None."""
    free = find_shared_memory()
    if on_cpu or free is None or free >= ENOUGH:
        return None
    return (
        f"{FOLDER} has {free / 1e9:,.1f} GB free: Ray keeps its objects in /tmp then, and NCCL may find no room for its"
        " buffers; docker run --shm-size=16g"
    )


def find_shared_memory() -> int | None:
    """Return the free bytes of /dev/shm, or None on a system without it."""
    try:
        found = os.statvfs(FOLDER)
    except OSError:
        return None
    return found.f_bavail * found.f_bsize
