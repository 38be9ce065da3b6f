"""The attention kernels that verl trains with: installed, and right for the other settings.

    check_attention(config)               # whatever the device
    check_attention_kernels(config)       # on GPUs: flash-attn, or the Hub's kernels, which need no build

transformers calls all flash kernels through one function, which verl replaces by one that first gathers the parts of
a sequence (sequence parallelism). No other implementation is replaced: each GPU would attend to its own part only.
"""

import importlib.metadata
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.errors import SpoError, UserError
from spo_train.config.keys import (
    ATTENTION_KEY,
    MODEL,
    PARAM_DTYPE_KEY,
    REMOVE_PADDING_KEY,
    SEQUENCE_PARALLEL_KEY,
)
from spo_train.config.precision import OF_16_BITS
from spo_train.config.unsupported import format_override
from spo_train.plan import packages

if TYPE_CHECKING:
    from omegaconf import DictConfig

DEFAULT = "flash_attention_2"
FLASH_ATTN = "2.8.3.post2"
"""The last flash-attn 2, whose setup knows CUDA 13."""
FLASH_PACKAGES = {"flash_attention_2": "flash_attn", "flash_attention_3": "flash_attn_interface"}
"""The modules of the implementations that are packages."""
HUB_KERNEL = "kernels-community/flash-attn2"
"""What transformers uses for flash_attention_2 if flash-attn is not installed and `kernels` is."""
KERNELS = "kernels>=0.12,<0.13"
"""What transformers 5.9 asks for; later ones want a version of the kernel, which transformers does not name."""
ARCHITECTURES = {8: "80", 9: "90", 10: "100", 12: "120"}
"""flash-attn's name of each major compute capability."""

_FLASH = re.compile(r"flash_attention_[234]|kernels-community/(?:vllm-)?flash-attn\d*(?:@[^:]+)?")


def check_attention(config: "DictConfig") -> None:
    """Raise UserError if the attention would be wrong with the other settings."""
    from omegaconf import OmegaConf

    chosen = _choose(config)
    size = OmegaConf.select(config, SEQUENCE_PARALLEL_KEY)
    flash = _FLASH.fullmatch(chosen) is not None
    if size > 1 and not flash:
        raise UserError(
            f"+{ATTENTION_KEY}={chosen}: with {SEQUENCE_PARALLEL_KEY}={size} each GPU would attend to its own part of a"
            f" response only, and log-probs would be wrong: +{ATTENTION_KEY}={DEFAULT}, or {SEQUENCE_PARALLEL_KEY}=1"
        )
    if size > 1 and not OmegaConf.select(config, REMOVE_PADDING_KEY):
        raise UserError(
            f"{REMOVE_PADDING_KEY}=false: {SEQUENCE_PARALLEL_KEY}={size} needs it:"
            f" {REMOVE_PADDING_KEY}=true, or {SEQUENCE_PARALLEL_KEY}=1"
        )
    precision = OmegaConf.select(config, PARAM_DTYPE_KEY, default="bf16")
    if flash and str(precision) not in OF_16_BITS:
        raise UserError(
            f"+{PARAM_DTYPE_KEY}={format_override(precision)}: flash-attn computes with 16 bits only:"
            f" +{PARAM_DTYPE_KEY}=bf16, or +{ATTENTION_KEY}=sdpa {SEQUENCE_PARALLEL_KEY}=1"
        )


def check_attention_kernels(config: "DictConfig") -> None:
    """Raise SpoError if the flash kernels that are asked for are not there."""
    chosen = _choose(config)
    module = FLASH_PACKAGES.get(chosen)
    if module is not None:
        fault = packages.find_fault(module)
        if fault is None:
            return
        if packages.is_installed(module) or not packages.is_installed("kernels"):
            raise SpoError(f"verl trains with {_name(module)}, which {fault}: {_suggest_install(chosen)}")
        chosen = HUB_KERNEL  # transformers' own choice then
    if "/" in chosen:
        _check_hub_kernel(chosen)


def _choose(config: "DictConfig") -> str:
    from omegaconf import OmegaConf

    return str(OmegaConf.select(config, f"{MODEL}.override_config.attn_implementation") or DEFAULT)


def _name(module: str) -> str:
    return {"flash_attn": "flash-attn", "flash_attn_interface": "flash-attn 3"}[module]


def _suggest_install(chosen: str) -> str:
    hub = f'without a build: pip install "{KERNELS}", then +{ATTENTION_KEY}={HUB_KERNEL}'
    if chosen != DEFAULT:
        return hub
    architecture = find_architecture()
    variable = "" if architecture is None else f"FLASH_ATTN_CUDA_ARCHS={architecture} "
    return f"{variable}pip install flash-attn=={FLASH_ATTN} --no-build-isolation; or {hub}"


def find_architecture() -> str | None:
    """Return flash-attn's name of the GPU's architecture, or None; without taking any of its memory."""
    from vllm.platforms import current_platform

    capability = current_platform.get_device_capability()
    return None if capability is None else ARCHITECTURES.get(capability.major)


def read_kernels_version() -> str:
    """Return the version of the package kernels that is installed."""
    return importlib.metadata.version("kernels")


def _check_hub_kernel(chosen: str) -> None:
    """Raise SpoError if transformers could not load a kernel from the Hub."""
    from packaging.requirements import Requirement

    if not packages.is_installed("kernels"):
        raise SpoError(f'+{ATTENTION_KEY}={chosen} needs the package kernels: pip install "{KERNELS}"')
    version = read_kernels_version()
    if not Requirement(KERNELS).specifier.contains(version):
        raise SpoError(f'kernels {version} is installed, transformers needs another: pip install "{KERNELS}"')
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE

    name = chosen.partition(":")[0].partition("@")[0]
    cache = os.environ.get("HF_KERNELS_CACHE") or os.environ.get("KERNELS_CACHE") or HF_HUB_CACHE
    if HF_HUB_OFFLINE and not (Path(cache) / f"models--{name.replace('/', '--')}").is_dir():
        raise SpoError(
            f"HF_HUB_OFFLINE is set and {name} is not in the Hub's cache ({cache}): on a machine with such"
            f" GPUs that reaches the Hub, python -c \"from kernels import get_kernel; get_kernel('{name}')\" fetches it"
        )
