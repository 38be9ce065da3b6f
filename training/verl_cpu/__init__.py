"""verl on CPU cores: a platform for verl's registry, and what else verl 0.9.1 needs there.

    environment = verl_cpu.environment()             # before Ray starts
    overrides = verl_cpu.overrides.cpu_overrides(…)  # the settings that verl needs on a CPU

`VERL_USE_EXTERNAL_MODULES` makes every verl process import this package when it imports verl, which registers the
platform and applies the patches (`patches` lists each with its reason). On a machine with an accelerator neither
happens: `spo-train` sets these variables only where torch sees none. It never imports anything of SPO.
"""

import os

if os.environ.get("VERL_PLATFORM") == "cpu":
    from verl_cpu import patches, platform

    platform.register()
    patches.apply()


def environment() -> dict[str, str]:
    """Return the environment variables that every process of a verl run on a CPU must start with."""
    return {
        "VERL_USE_EXTERNAL_MODULES": "verl_cpu",
        "VERL_PLATFORM": "cpu",
        # The FSDP engines are registered for cuda and npu only; this is verl's own override.
        "VERL_ENGINE_DEVICE": "cuda",
        # Ray would hide the devices that a worker did not ask for, but there are none.
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        # vLLM would take a fraction of the machine's memory for its cache, beside the trainer's.
        "VLLM_CPU_KVCACHE_SPACE": os.environ.get("VLLM_CPU_KVCACHE_SPACE", "1"),
    }
