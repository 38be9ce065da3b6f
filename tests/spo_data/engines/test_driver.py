"""A driver that is too old for the installed torch is refused with the version that is needed."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from spo_data.engines import driver
from spo_data.errors import UserError

VERSION = """NVRM version: NVIDIA UNIX {kind}x86_64 Kernel Module  {version}  Wed Jan  1 00:00:00 UTC 2025
GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the driver's version, on a machine whose torch is built for CUDA 13 and sees no GPU."""
    monkeypatch.setattr(driver, "DRIVER_FILE", tmp_path / "version")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    torch = SimpleNamespace(
        version=SimpleNamespace(cuda="13.0"), accelerator=SimpleNamespace(is_available=lambda: False)
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    return tmp_path / "version"


@pytest.mark.parametrize("kind", ["", "Open Kernel Module for "])
def test_an_old_driver_is_refused(machine: Path, kind: str) -> None:
    """torch only warned, saw no GPU, and `spo-train` became the CPU demo on a machine with eight."""
    machine.write_text(VERSION.format(kind=kind, version="550.54.14"))
    with pytest.raises(UserError, match=r"driver is 550\.54\.14, and CUDA 13\.0, .* needs 580 or newer"):
        driver.check_driver()


def test_a_new_driver_hidden_gpus_and_a_cpu_build_are_not(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.check_driver()  # no driver at all
    machine.write_text(VERSION.format(kind="", version="580.65.06"))
    driver.check_driver()
    machine.write_text(VERSION.format(kind="", version="550.54.14"))
    for cuda in (None, "12.8"):
        monkeypatch.setattr(sys.modules["torch"].version, "cuda", cuda)
        driver.check_driver()
    monkeypatch.setattr(sys.modules["torch"].version, "cuda", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    driver.check_driver()


def test_an_old_driver_with_the_forward_compatibility_packages_is_used(machine: Path) -> None:
    machine.write_text(VERSION.format(kind="", version="550.54.14"))
    sys.modules["torch"].accelerator.is_available = lambda: True
    driver.check_driver()
