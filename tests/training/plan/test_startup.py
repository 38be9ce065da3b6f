"""What `spo-train` refuses before anything is loaded, on pretended machines, with the sentence that is shown."""

import functools
import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")
import huggingface_hub.constants
from omegaconf import DictConfig, OmegaConf

from spo_data.engines.accelerators import Accelerators
from spo_data.errors import SpoError, UserError
from spo_data.models.heads import Heads
from spo_data.models.names import Model, resolve_model
from spo_train.config.compose import parse_overrides
from spo_train.config.train_choice import Choice
from spo_train.plan import attention, checkpoint_size, disk, loggers, packages, ray_cluster, shared_memory
from spo_train.plan.assemble import compose_choice
from spo_train.plan.checkpoint_size import CheckpointSize, find_checkpoint_size
from spo_train.plan.divided_heads import read_heads
from spo_train.plan.model_shape import count_parameters
from spo_train.plan.ray_cluster import NoClusterError, Node, find_nodes
from spo_train.plan.ray_resources import check_ray, count_cpus, reserve_cpus
from spo_train.plan.startup import check_startup, list_notes, refuse_node
from spo_train.plan.weights import refuse_missing_weights

QWEN3_8B = Model("Qwen/Qwen3-8B", "Qwen/Qwen3-8B", "c0ffee")
HEADS = Heads(32, 8)
H100 = Accelerators(False, "NVIDIA H100 80GB HBM3", 8, 80 << 30)
CPU = Accelerators(True, "CPU (2 cores)", 1, 24 << 30)
PARAMETERS = 8_190_735_360
SEPARATE = ("trainer.v1.trainer_mode=spo_separate_async", "actor_rollout_ref.rollout.nnodes=1")
ATTENTION = "+actor_rollout_ref.model.override_config.attn_implementation"
SEQUENCE = "actor_rollout_ref.actor.ulysses_sequence_parallel_size"
TENSOR = "actor_rollout_ref.rollout.tensor_model_parallel_size"
ENOUGH = 10**13


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has all it takes, and no home with anyone's keys."""
    for name in list(os.environ):
        if name.startswith(("RAY_", "WANDB_", "SWANLAB_", "CLEARML_", "VOLC_", "NETRC", "KERNELS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(packages, "is_installed", lambda _module: True)
    monkeypatch.setattr(packages, "find_fault", lambda _module: None)
    monkeypatch.setattr(disk, "find_room", lambda _folder: ENOUGH)
    monkeypatch.setattr(checkpoint_size, "count_parameters", lambda _model: PARAMETERS)
    monkeypatch.setattr(shared_memory, "find_shared_memory", lambda: 64 << 30)


@functools.cache
def _compose(nodes: int, gpus: int, on_cpu: bool, overrides: tuple[str, ...]) -> DictConfig:
    choice = Choice(
        method="spo",
        preset="demo" if on_cpu else "paper",
        model="Qwen/Qwen3-8B",
        out=Path("/tmp/spo-train-nowhere"),
        prompts=13_904,
        nodes=nodes,
        gpus_per_node=gpus,
        attention_heads=HEADS.powers,
    )
    return compose_choice(choice, parse_overrides(overrides), on_cpu=on_cpu)


def compose(*overrides: str, nodes: int = 1, gpus: int = 8, on_cpu: bool = False) -> DictConfig:
    """A machine's configuration; what other settings are derived from (`SEPARATE`) is composed, the rest is set."""
    derived = overrides if SEPARATE[0] in overrides else ()
    config = _compose(nodes, gpus, on_cpu, derived).copy()
    for override in parse_overrides(overrides[len(derived) :]):
        OmegaConf.update(config, override.key, override.value, force_add=override.add)
    reserve_cpus(config, nodes)
    return config


def check(*overrides: str, heads: Heads = HEADS, devices: Accelerators = H100, **sizes: Any) -> None:
    config = compose(*overrides, **sizes, on_cpu=devices.on_cpu)
    check_startup(config, heads, size_of(config), devices)


def size_of(config: DictConfig, steps: int = 500) -> CheckpointSize:
    return find_checkpoint_size(config, QWEN3_8B, steps)


def refusal(run: Callable[[], object], kind: type[SpoError] = UserError) -> str:
    with pytest.raises(SpoError) as refused:
        run()
    assert type(refused.value) is kind
    return str(refused.value)


def test_a_checkpoint_of_the_adapter_only_is_not_counted_as_the_model() -> None:
    """A disk with room for the adapter was refused for a model's size; without an adapter verl saves the model."""
    config = compose("+actor_rollout_ref.actor.checkpoint.save_lora_only=true")
    assert size_of(config).each is not None
    OmegaConf.update(config, "actor_rollout_ref.model.lora_rank", 32)
    assert size_of(config).each is None


@pytest.mark.parametrize(
    ("overrides", "gpus"),
    [
        ((), 1),
        ((), 8),
        ((f"{ATTENTION}=kernels-community/vllm-flash-attn3",), 8),
        ((f"{ATTENTION}=sdpa", f"{SEQUENCE}=1"), 8),
        ((*SEPARATE, "actor_rollout_ref.rollout.n_gpus_per_node=4"), 4),
        (("trainer.logger=[console,tensorboard]",), 8),
    ],
)
def test_the_right_machine_passes(overrides: tuple[str, ...], gpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "read_kernels_version", lambda: "0.12.3")
    check(*overrides, gpus=gpus)


def test_a_cpu_passes() -> None:
    check(devices=CPU, gpus=1)
    check(*SEPARATE, "actor_rollout_ref.rollout.n_gpus_per_node=2", devices=CPU, gpus=6)
    refuse_node(1, CPU)
    refuse_node(2, H100)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            (f"{ATTENTION}=sdpa",),
            f"{ATTENTION}=sdpa: with {SEQUENCE}=8 each GPU would attend to its own part of a response only, and"
            f" log-probs would be wrong: {ATTENTION}=flash_attention_2, or {SEQUENCE}=1",
        ),
        (
            ("actor_rollout_ref.model.use_remove_padding=false",),
            f"actor_rollout_ref.model.use_remove_padding=false: {SEQUENCE}=8 needs it:"
            f" actor_rollout_ref.model.use_remove_padding=true, or {SEQUENCE}=1",
        ),
        (
            ("+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32",),
            "+actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=fp32: flash-attn computes with 16 bits"
            " only: +actor_rollout_ref.actor.fsdp_config.mixed_precision.param_dtype=bf16, or"
            f" {ATTENTION}=sdpa {SEQUENCE}=1",
        ),
        (
            ("+actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype=fp8",),
            "+actor_rollout_ref.actor.fsdp_config.mixed_precision.reduce_dtype=fp8: verl knows bf16, fp16, fp32",
        ),
        (
            ("actor_rollout_ref.rollout.dtype=bf16",),
            "actor_rollout_ref.rollout.dtype=bf16: vLLM knows auto, half, float16, bfloat16, float, float32",
        ),
        (("trainer.logger=[console,wandbb]",), "trainer.logger: verl has no logger wandbb; did you mean wandb?"),
        (
            ("ray_kwargs.ray_init.num_cpus=16",),
            "ray_kwargs.ray_init.num_cpus=16: verl would wait for ever for 33 CPUs (3 for each of 8 GPUs that train, 9"
            " for verl's queue); none of them is kept from other programs: ray_kwargs.ray_init.num_cpus=37, or leave it"
            " out",
        ),
        (
            SEPARATE,
            "8 GPUs train and 8 more sample, this machine has 8: --gpus-per-node 4"
            " actor_rollout_ref.rollout.n_gpus_per_node=4",
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else None,
)
def test_a_setting_is_refused(overrides: tuple[str, ...], sentence: str) -> None:
    assert refusal(lambda: check(*overrides)) == sentence


def test_more_gpus_than_the_machine_has() -> None:
    assert refusal(lambda: check(gpus=16)) == "--gpus-per-node 16: this machine has 8 GPUs: --gpus-per-node 8"


@pytest.mark.parametrize(
    ("heads", "overrides", "sentence"),
    [
        (Heads(28, 4), (f"{TENSOR}=8",), f"{TENSOR}=8: cannot divide the model's 28 attention heads and 4 key-value"),
        (Heads(24, 6), (f"{TENSOR}=4",), f"{TENSOR}=4: cannot divide the model's 24 attention heads and 6 key-value"),
        (Heads(20, 4), (), f"{SEQUENCE}=8: cannot divide the model's 20 attention heads and 4 key-value"),
    ],
)
def test_heads_that_gpus_cannot_share(heads: Heads, overrides: tuple[str, ...], sentence: str) -> None:
    said = refusal(lambda: check(*overrides, heads=heads))
    key, size = sentence.partition(":")[0].split("=")
    assert said == f"{sentence} heads: {key}={4 if heads != Heads(24, 6) else 2} fits"
    assert heads.allow(4 if heads != Heads(24, 6) else 2)
    assert not heads.allow(int(size))


@pytest.mark.parametrize("heads", [Heads(32, 8), Heads(12, 2), Heads(24, 6), Heads(9, 3), Heads(40, 40), Heads(28, 4)])
def test_the_preset_s_sizes_divide_both_kinds_of_heads(heads: Heads) -> None:
    """A power of two that divides the attention heads alone was chosen for 24 and 6 heads, and verl refused it."""
    for size in (1, 2, 4, 8, 16):
        assert heads.allow(size) == (heads.powers % size == 0)


def test_the_embedded_model_s_heads_and_parameters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    model = resolve_model("smollm2-135m")
    assert read_heads(model) == Heads(9, 3)
    assert count_parameters(model) == 134_515_008


def test_what_a_checkpoint_takes() -> None:
    """Weights and Adam's two moments in float32; with LoRA the moments are those of the adapter."""
    assert size_of(compose()).each == 12 * PARAMETERS
    assert size_of(compose("actor_rollout_ref.model.lora_rank=32")).each == 4 * PARAMETERS
    assert size_of(compose("actor_rollout_ref.actor.fsdp_config.model_dtype=bf16")).each == 6 * PARAMETERS
    assert size_of(compose("trainer.save_freq=-1")).each is None


def test_a_disk_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "find_room", lambda _: 60 * 10**9)
    key = "trainer.default_local_dir"
    assert refusal(check, SpoError) == (
        f"a checkpoint takes 98.3 GB, /tmp has 60.0 GB free: make room, or {key}=… on another disk"
    )
    monkeypatch.setattr(disk, "find_room", lambda _: 150 * 10**9)
    check()
    config = compose("trainer.max_actor_ckpt_to_keep=2")
    assert list_notes(config, size_of(config), H100) == [
        "/tmp has 150 GB free, 2 checkpoints take 197 GB: make room, or trainer.default_local_dir=… on another disk"
    ]
    assert list_notes(config, size_of(config, 20), H100) == []


def test_a_folder_that_checkpoints_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    said = refusal(lambda: disk.check_disk(tmp_path / "file" / "checkpoints", None))
    assert said == f"trainer.default_local_dir={tmp_path}/file/checkpoints: {tmp_path}/file is not a folder"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    said = refusal(lambda: disk.check_disk(tmp_path / "new" / "checkpoints", None), SpoError)
    assert said == (
        f"trainer.default_local_dir={tmp_path}/new/checkpoints: {tmp_path} cannot be written to;"
        " trainer.default_local_dir=… names another"
    )
    assert not (tmp_path / "new").exists()


def test_shared_memory_is_a_remark_on_gpus_and_a_refusal_for_weights_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "find_shared_memory", lambda: 64 << 20)
    check()
    unsaved = compose("trainer.save_freq=-1")
    assert list_notes(unsaved, size_of(unsaved), H100) == [
        "/dev/shm has 0.1 GB free: Ray keeps its objects in /tmp then, and NCCL may find no room for its buffers;"
        " docker run --shm-size=16g"
    ]
    assert refusal(lambda: check(devices=CPU, gpus=1), SpoError) == (
        "/dev/shm has 0.1 GB free, the weights that verl sends to vLLM take 2.1 GB: start the container with docker run"
        " --shm-size=3g"
    )
    assert list_notes(unsaved, size_of(unsaved), CPU) == []


def lack(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Let these modules be missing."""
    monkeypatch.setattr(packages, "is_installed", lambda module: module not in modules)
    monkeypatch.setattr(packages, "find_fault", lambda name: "is not installed" if name in modules else None)


def test_flash_attn_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "flash_attn", "kernels")
    monkeypatch.setattr(attention, "find_architecture", lambda: "90")
    hub = f'without a build: pip install "kernels>=0.12,<0.13", then {ATTENTION}=kernels-community/flash-attn2'
    assert refusal(check, SpoError) == (
        "verl trains with flash-attn, which is not installed: FLASH_ATTN_CUDA_ARCHS=90 pip install"
        f" flash-attn==2.8.3.post2 --no-build-isolation; or {hub}"
    )
    assert refusal(lambda: check(f"{ATTENTION}=kernels-community/flash-attn2"), SpoError) == (
        f'{ATTENTION}=kernels-community/flash-attn2 needs the package kernels: pip install "kernels>=0.12,<0.13"'
    )
    check(devices=CPU, gpus=1)


def test_the_hub_s_kernels_stand_for_flash_attn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """transformers takes them for flash_attention_2 if flash-attn is missing; offline they must be in the cache."""
    lack(monkeypatch, "flash_attn")
    monkeypatch.setattr(attention, "read_kernels_version", lambda: "0.12.3")
    check()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("KERNELS_CACHE", str(tmp_path))
    assert refusal(check, SpoError).startswith(
        f"HF_HUB_OFFLINE is set and kernels-community/flash-attn2 is not in the Hub's cache ({tmp_path}): on a machine"
    )
    (tmp_path / "models--kernels-community--flash-attn2").mkdir()
    check()
    monkeypatch.setattr(attention, "read_kernels_version", lambda: "0.17.2")
    assert refusal(check, SpoError) == (
        'kernels 0.17.2 is installed, transformers needs another: pip install "kernels>=0.12,<0.13"'
    )


def test_cupy_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "cupy")
    check()
    sizes = "actor_rollout_ref.rollout.n_gpus_per_node=4"
    assert refusal(lambda: check(*SEPARATE, sizes, gpus=4), SpoError) == (
        "trainer.v1.trainer_mode=spo_separate_async sends weights by NCCL through cupy, which is not installed:"
        " pip install cupy-cuda13x"
    )
    check(*SEPARATE, devices=CPU, gpus=1)


def test_a_package_that_is_there_and_broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.undo()
    (tmp_path / "broken_build.py").write_text("raise ImportError('undefined symbol: _ZN3c10\\nmore')")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert packages.find_fault("broken_build") == "cannot be imported (undefined symbol: _ZN3c10)"
    assert packages.find_fault("no_such.module_at_all") == "is not installed"
    assert packages.find_fault("json") is None


@pytest.mark.parametrize(
    ("logger", "environment", "lacks"),
    [
        ("wandb", {}, "wandb has no API key: wandb login, export WANDB_API_KEY=…, or export WANDB_MODE=offline"),
        ("wandb", {"WANDB_API_KEY": "k"}, None),
        ("wandb", {"WANDB_MODE": "offline"}, None),
        ("wandb", {"WANDB_MODE": "disabled"}, None),
        (
            "swanlab",
            {},
            "swanlab has no API key: swanlab login, export SWANLAB_API_KEY=…, or export SWANLAB_MODE=local",
        ),
        ("swanlab", {"SWANLAB_MODE": "local"}, None),
        ("vemlp_wandb", {"VOLC_ACCESS_KEY_ID": "k", "MLP_TRACKING_REGION": "r"}, "vemlp_wandb needs VOLC_SECRET"),
        ("clearml", {}, "clearml has no credentials: clearml-init, or export CLEARML_API_ACCESS_KEY=…"),
        ("clearml", {"CLEARML_OFFLINE_MODE": "1"}, None),
        ("mlflow", {}, None),
        ("trackio", {}, None),
    ],
)
def test_a_logger_s_key(logger: str, environment: dict[str, str], lacks: str | None) -> None:
    config = compose(f"trainer.logger=[console,{logger}]")
    if lacks is None:
        loggers.check_loggers(config, environment)
    else:
        said = refusal(lambda: loggers.check_loggers(config, environment), SpoError)
        assert said.startswith(f"trainer.logger: {lacks}")
        loggers.check_loggers(config, environment, elsewhere=True)


def test_a_logger_s_key_in_a_file_or_in_the_settings(tmp_path: Path) -> None:
    config = compose("trainer.logger=wandb")
    (tmp_path / ".netrc").write_text("machine example.org login user password k\n")
    assert refusal(lambda: loggers.check_loggers(config, {}), SpoError).startswith("trainer.logger: wandb has no")
    (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password k\n")
    loggers.check_loggers(config, {})
    assert refusal(lambda: loggers.check_loggers(config, {"WANDB_BASE_URL": "https://w.example.org"}), SpoError)
    (tmp_path / ".netrc").unlink()
    loggers.check_loggers(
        compose("trainer.logger=wandb", "+ray_kwargs.ray_init.runtime_env.env_vars.WANDB_API_KEY=k"), {}
    )


def test_a_logger_s_package(monkeypatch: pytest.MonkeyPatch) -> None:
    lack(monkeypatch, "mlflow")
    assert refusal(lambda: check("trainer.logger=[console,mlflow]"), SpoError) == (
        "trainer.logger: mlflow is not installed: pip install mlflow, or trainer.logger=[console]"
    )


def test_every_logger_of_verl_is_known() -> None:
    from verl.utils.tracking import Tracking

    assert {*loggers.MODULES, "console", "file"} - {"tracking"} == set(Tracking.supported_backend)


def test_a_cluster_is_not_left_from_a_node_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--nodes 2` on a login node trained the demo on its CPU."""
    assert refusal(lambda: refuse_node(2, CPU)) == (
        "--nodes 2: this machine has no GPU, and spo-train takes the GPUs of each node to be those of its own: start it"
        " on a node with GPUs"
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        assert refusal(lambda: refuse_node(1, CPU)) == (
            f"RAY_ADDRESS={address}: this machine has no GPU; start spo-train on a node of the cluster that has, or"
            " unset RAY_ADDRESS to train on this machine's CPU"
        )
    assert refusal(lambda: refuse_node(1, H100)).startswith(f"RAY_ADDRESS is {address}, where no Ray cluster answers (")
    refuse_node(1, CPU, "local")  # was refused for the variable, which Ray does not read then
    assert refusal(lambda: refuse_node(1, CPU, "auto")).startswith("RAY_ADDRESS is ")
    assert refusal(lambda: refuse_node(1, CPU, "10.0.0.1:6379")).startswith("ray_kwargs.ray_init.address=10.0.0.1:6379")
    monkeypatch.setenv("RAY_ADDRESS", "")
    refuse_node(1, CPU)


def test_one_node_gets_the_cpus_that_verl_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """With fewer, verl waited for ever and said nothing; a CPU's five workers did so too."""
    config = compose()
    assert count_cpus(config) == 3 * 8 + 9
    assert config.ray_kwargs.ray_init.num_cpus == 37
    four = compose(*SEPARATE, "actor_rollout_ref.rollout.n_gpus_per_node=4", gpus=4)
    assert count_cpus(four) == 3 * 4 + 2 * 4 + 9
    for workers in (1, 5, 9):
        on_cpu = compose(gpus=workers, on_cpu=True)
        assert on_cpu.ray_kwargs.ray_init.num_cpus >= count_cpus(on_cpu) == 3 * workers + 2
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")  # a running Ray refuses to be told
    assert compose("trainer.save_freq=7").ray_kwargs.ray_init.num_cpus is None


HALF_A_NODE = [Node(64, 4)] * 4
SENTENCE_END = "start each node with ray start --num-cpus=33, which keeps no core from other programs"


@pytest.mark.parametrize(
    ("nodes", "sentence"),
    [
        ([Node(64, 8)] * 2, None),
        ([Node(30, 8), Node(28, 8)], None),
        ([Node(4, 0), Node(64, 8), Node(64, 8)], None),
        (
            [Node(64, 8)],
            "the Ray cluster of --nodes 2 has 8 GPUs, training takes 16: add nodes (ray start --address=…), or lower"
            " --nodes 2 or --gpus-per-node 8",
        ),
        (
            [Node(16, 8)] * 2,
            "the Ray cluster of --nodes 2 has 32 CPUs, verl would wait for ever for 57 (3 for each of 16 GPUs that"
            f" train, 9 for verl's queue): {SENTENCE_END}",
        ),
        (
            HALF_A_NODE,
            "the Ray cluster of --nodes 2 has 0 nodes with 8 GPUs and 24 CPUs each beside verl's queue, verl would wait"
            " for ever for 2 (--nodes, --gpus-per-node): start each node with ray start --num-cpus=31, which keeps no"
            " core from other programs",
        ),
        (
            [Node(27, 8), Node(64, 8)],
            "the Ray cluster of --nodes 2 has 1 nodes with 8 GPUs and 24 CPUs each beside verl's queue, verl would wait"
            f" for ever for 2 (--nodes, --gpus-per-node): {SENTENCE_END}",
        ),
    ],
)
def test_a_cluster_has_what_verl_waits_for(nodes: list[Node], sentence: str | None) -> None:
    config = compose(nodes=2)
    if sentence is None:
        check_ray(config, H100, lambda _: nodes)
    else:
        assert refusal(lambda: check_ray(config, H100, lambda _: nodes)) == sentence


@pytest.mark.parametrize(
    ("nodes", "fit"),
    [
        ([Node(64, 8), Node(64, 4)], 1),
        ([Node(64, 4), Node(64, 8)], 1),
        ([Node(64, 12)], 1),
        ([Node(64, 8), Node(64, 2), Node(64, 2)], 0),
        ([Node(64, 8), Node(9, 4)], 0),
    ],
)
def test_the_gpus_that_only_sample_have_room_on_one_node(nodes: list[Node], fit: int) -> None:
    """They were only summed: verl waited for ever for four GPUs of one node."""
    config = compose(
        *SEPARATE, "actor_rollout_ref.rollout.n_gpus_per_node=4", "+ray_kwargs.ray_init.address=10.0.0.1:6379"
    )
    if fit:
        check_ray(config, H100, lambda _: nodes)
    else:
        assert (
            "has room for 0 groups of 4 GPUs that sample and 8 CPUs, each on one node, beside the GPUs that"
            in refusal(lambda: check_ray(config, H100, lambda _: nodes))
        )


def test_a_stale_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's client waits for more than a minute, in a process whose output goes to a log."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{port}")
    assert refusal(check) == (
        f"RAY_ADDRESS=127.0.0.1:{port}: nothing answers there (Connection refused); unset RAY_ADDRESS to train on"
        " this machine alone, or start the cluster that it names"
    )
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    assert refusal(check).startswith("RAY_ADDRESS=nonsense: is not an address (HOST:PORT); unset RAY_ADDRESS")
    monkeypatch.setenv("RAY_ADDRESS", "local")
    check()


def test_a_running_cluster_is_not_told_of_its_resources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    config = compose("ray_kwargs.ray_init.num_cpus=64")
    assert refusal(lambda: check_ray(config, H100, lambda _: [Node(64, 8)])) == (
        "ray_kwargs.ray_init.num_cpus=64: a running Ray cluster (RAY_ADDRESS=10.0.0.1:6379) is told when it starts"
        " (ray start --num-cpus): leave it null"
    )
    other = compose("+ray_kwargs.ray_init.address=10.0.0.2:6379")
    asked: list[str] = []
    check_ray(other, H100, lambda address: asked.append(address) or [Node(64, 8)])
    assert asked == ["10.0.0.2:6379"]


def test_several_nodes_need_a_cluster() -> None:
    def find_none(address: str) -> list[Node]:
        assert address == "auto"
        raise NoClusterError("no Ray runs on this machine")

    assert refusal(lambda: check_ray(compose(nodes=2), H100, find_none)) == (
        "--nodes 2: no Ray runs on this machine; start the cluster first (ray start --head on one node, ray start"
        " --address=HOST:6379 on the others), and spo-train on one of its nodes"
    )


def test_what_ray_says_is_read_from_a_process_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The process imports a scripted ray; it must neither read RAY_ADDRESS nor start a Ray."""
    (tmp_path / "ray.py").write_text(
        "import os\n"
        "def init(address, **_):\n"
        "    assert 'RAY_ADDRESS' not in os.environ\n"
        "    if address == 'auto':\n"
        "        raise ConnectionError('Could not find any running Ray instance. Please specify the one')\n"
        "    if os.environ.get('REFUSING'):\n"
        "        raise ConnectionError('Failed to connect to Ray cluster at ' + address)\n"
        "def nodes():\n"
        "    node = {'Alive': True, 'NodeID': 'b', 'Resources': {'CPU': 64.0, 'GPU': 8.0}}\n"
        "    return [node, {**node, 'Alive': False}, {'Alive': True, 'NodeID': 'a', 'Resources': {'CPU': 4.0}}]\n"
        "def shutdown():\n"
        "    pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.setenv("RAY_ADDRESS", "elsewhere:1")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert find_nodes(address) == [Node(4, 0), Node(64, 8)]
        monkeypatch.setenv("REFUSING", "1")
        with pytest.raises(NoClusterError) as refused:
            find_nodes(address)
    assert str(refused.value) == (
        f"ConnectionError: Failed to connect to Ray cluster at {address}: if the cluster has tokens, export"
        " RAY_AUTH_MODE=token"
    )
    with pytest.raises(NoClusterError, match=r"^no Ray runs on this machine$"):
        find_nodes("auto")
    monkeypatch.setattr(ray_cluster, "ANSWER_SECONDS", 0.0)
    with pytest.raises(NoClusterError, match=r"^it does not answer within 0 s$"):
        find_nodes("auto")


def test_a_folder_without_weights(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert refusal(lambda: refuse_missing_weights(tmp_path)) == (
        f"--model {tmp_path}: has no weights (*.safetensors, *.bin), so there is nothing to train"
    )
    part = tmp_path / "model-00001-of-00002.safetensors"
    part.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n")
    assert refusal(lambda: refuse_missing_weights(tmp_path)) == (
        f"{part} is a pointer of git-lfs, not weights: git lfs pull, in {tmp_path}"
    )
    part.write_bytes(b"weights")
    refuse_missing_weights(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    weight_map = {name: f"model-0000{number}-of-00002.safetensors" for number, name in ((1, "a"), (2, "b"))}
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert refusal(lambda: refuse_missing_weights(tmp_path)) == (
        f"--model {tmp_path}: model-00002-of-00002.safetensors of 2 files of weights are missing"
    )
    index.write_text("{")
    assert refusal(lambda: refuse_missing_weights(tmp_path)) == f"{index} does not say where the weights are"
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    refuse_missing_weights(tmp_path)


def test_the_reserved_cpus_are_in_the_configuration_that_verl_reads() -> None:
    assert OmegaConf.select(compose(gpus=1), "ray_kwargs.ray_init.num_cpus") == 3 + 9 + 4
