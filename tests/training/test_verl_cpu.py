"""The CPU platform: verl finds it, and every patch is still needed."""

import json
import os
import subprocess
import sys

import pytest

import verl_cpu

pytest.importorskip("ray", reason="verl is not installed")
pytestmark = pytest.mark.slow

UNPATCHED = r"""
import json, os, tempfile, importlib.metadata
import verl
from verl.plugin.platform.platform_manager import set_platform
from verl_cpu.platform import PlatformCPU
set_platform(PlatformCPU())
needed = {}

from verl.utils.distributed import initialize_global_process_group_ray
os.environ["DIST_INIT_METHOD"] = "file://" + tempfile.mktemp()
try:
    initialize_global_process_group_ray()
    needed["backend"] = False
except Exception as error:
    needed["backend"] = str(error)

try:
    importlib.metadata.version("vllm")
    needed["distribution"] = False
except importlib.metadata.PackageNotFoundError:
    try:
        import verl.workers.rollout.vllm_rollout
        needed["distribution"] = False
    except (importlib.metadata.PackageNotFoundError, ValueError) as error:
        needed["distribution"] = str(error)

from verl.workers.engine.base import EngineRegistry
import verl.workers.engine.fsdp
try:
    EngineRegistry.get_engine_cls("language_model", "fsdp2")
    needed["engine"] = False
except ValueError as error:
    needed["engine"] = str(error)

import torch
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from verl.utils import fsdp_utils
torch.distributed.init_process_group("gloo", init_method="file://" + tempfile.mktemp(), rank=0, world_size=1)
model = fully_shard(torch.nn.Linear(2, 2, bias=False), mesh=init_device_mesh("cpu", (1,)))
def change_after_saving():
    with torch.no_grad():
        local = next(model.parameters())._local_tensor
        local.fill_(0)
        saved, _ = fsdp_utils.fsdp2_sharded_save_to_cpu(model)
        local.fill_(1)
        return float(next(iter(saved.values()))[0].sum())
needed["copies"] = change_after_saving()
from verl_cpu import patches
patches._copy_saved_weights()
needed["copied"] = change_after_saving()
print(json.dumps(needed))
"""

PATCHED = r"""
import json, os, tempfile
import verl
from verl.plugin.platform import get_platform
from verl.utils.distributed import initialize_global_process_group_ray
from verl.utils.device import get_device_id, get_device_name, get_torch_device
from verl.workers.engine.base import EngineRegistry
import verl.workers.engine.fsdp
import verl.workers.rollout.vllm_rollout as rollout
import torch

os.environ["DIST_INIT_METHOD"] = "file://" + tempfile.mktemp()
initialize_global_process_group_ray()
tensor = torch.ones(3)
torch.distributed.all_reduce(tensor)
free, whole = get_torch_device().mem_get_info()

from vllm.config import VllmConfig, set_current_vllm_config
from vllm.distributed import init_distributed_environment, initialize_model_parallel
loadable = {}
with set_current_vllm_config(VllmConfig()):
    init_distributed_environment(1, 0, "env://", 0, "gloo")
    initialize_model_parallel(1, 1)
    from vllm.model_executor.layers.linear import LinearBase, ReplicatedLinear
    for skip in (False, True):
        LinearBase.skip_weight_relayout = LinearBase._cpu_skip_gemm_dispatch = skip
        layer = ReplicatedLinear(64, 64, bias=False, params_dtype=torch.float32)
        layer.quant_method.process_weights_after_loading(layer)
        loadable[str(skip)] = hasattr(layer.weight, "weight_loader")
print(json.dumps({
    "platform": type(get_platform()).__name__,
    "device": [get_device_name(), get_device_id()],
    "backend": torch.distributed.get_backend(),
    "memory": 0 < free <= whole,
    "reduced": tensor.tolist(),
    "engine": EngineRegistry.get_engine_cls("language_model", "fsdp2").__name__,
    "vllm": rollout.vllm_package_version,
    "loadable": loadable,
}))
"""


def run(script: str, **environment: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def test_every_patch_is_still_needed() -> None:
    """This fails if a new verl or torch works without one of the patches, which can then be removed."""
    needed = run(UNPATCHED, VERL_PLATFORM="", VERL_USE_EXTERNAL_MODULES="", VERL_ENGINE_DEVICE="")
    assert "cpu" in str(needed["backend"])
    assert "vllm" in str(needed["distribution"])
    assert "No engine registered for device='cpu'" in str(needed["engine"])
    # Without the patch, saved weights (4 numbers) changed when an update added 1 to each. Our copy does not change.
    assert (needed["copies"], needed["copied"]) == (4.0, 0.0)


def test_verl_runs_on_the_platform() -> None:
    found = run(PATCHED, **verl_cpu.environment())
    assert found["platform"] == "PlatformCPU"
    assert found["device"] == ["cpu", "cpu"]
    assert found["backend"] == "cpu:gloo"
    assert found["memory"] is True
    assert found["reduced"] == [1.0, 1.0, 1.0]
    assert found["engine"] == "FSDPEngineWithLMHead"
    assert str(found["vllm"]).endswith("+cpu")
    # vLLM's CPU build packs linear weights and drops their loader, unless the worker extension's switch is set. When
    # vLLM 0.31 renamed the switch, a weight update found no loader.
    assert found["loadable"] == {"False": False, "True": True}


def test_the_accelerators_own_platform_is_left_alone() -> None:
    """If the platform's variable is not set, importing the package registers and patches nothing."""
    script = (
        "import json, importlib.metadata as m; before = m.version; import verl_cpu, sys;"
        "print(json.dumps({'patched': m.version is not before, 'verl': 'verl' in sys.modules}))"
    )
    environment = dict.fromkeys(("VERL_PLATFORM", "VERL_USE_EXTERNAL_MODULES"), "")
    assert run(script, **environment) == {"patched": False, "verl": False}
