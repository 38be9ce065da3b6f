"""Whether the machine's NVIDIA driver is new enough for the installed torch.

    check_driver()             # raises UserError if torch is built for CUDA 13 and the driver is older than 580

torch only warns about a driver that is too old, and then sees no GPU.
"""

import os
import re
from pathlib import Path

from spo_data.errors import UserError

DRIVER_FILE = Path("/proc/driver/nvidia/version")
"""Written by the driver's kernel module."""
LEAST_DRIVERS = {12: 525, 13: 580}
"""By CUDA's major version (NVIDIA: CUDA compatibility, table 1)."""


def check_driver() -> None:
    """Raise UserError if this machine's driver is too old for torch to use its GPUs, unless all of them are hidden."""
    import torch

    driver, needed = find_driver(), least_driver(torch.version.cuda)
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1")
    if driver is None or needed is None or hidden or int(driver.split(".")[0]) >= needed:
        return
    if torch.accelerator.is_available():  # CUDA's forward compatibility packages are installed
        return
    raise UserError(
        f"torch can use no GPU: this machine's NVIDIA driver is {driver}, and CUDA {torch.version.cuda}, for which"
        f" torch is built, needs {needed} or newer: install a newer driver, or use the CPU with CUDA_VISIBLE_DEVICES=-1"
    )


def least_driver(cuda: str | None) -> int | None:
    """Return the oldest driver for a CUDA version, None if that is not known or torch is built without CUDA."""
    major = (cuda or "").split(".")[0]
    return LEAST_DRIVERS.get(int(major)) if major.isdigit() else None


def find_driver() -> str | None:
    """Return the version of the loaded NVIDIA driver, None without one."""
    try:
        found = re.search(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s", DRIVER_FILE.read_text(), re.MULTILINE)
    except OSError:
        return None
    return found[1] if found else None
