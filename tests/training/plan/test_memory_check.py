"""What memory makes of the settings, what is refused, and the table in docs/training.md, all for pretended machines."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")
from omegaconf import DictConfig

from spo_data.engines.accelerators import Accelerators
from spo_data.errors import UserError
from spo_data.models.names import Model
from spo_train.config.checks import check_config, is_sound
from spo_train.config.compose import parse_overrides
from spo_train.config.gpu_memory import ModelShape
from spo_train.config.memory_settings import Machine, read_workload
from spo_train.config.precision import width_of
from spo_train.config.train_choice import Choice, Preset
from spo_train.plan import machine as machine_module
from spo_train.plan.composition import choose_preset, compose_choice, note_memory, note_preset
from spo_train.plan.machine import describe_machine, host_bytes
from spo_train.plan.memory_check import expect_memory, refuse_memory
from spo_train.plan.model_shape import shape_of
from support.qwen_shapes import QWEN3, qwen3_config

ACTOR = "actor_rollout_ref.actor"
FSDP = f"{ACTOR}.fsdp_config"
ROLLOUT = "actor_rollout_ref.rollout"
COLOCATE = "trainer.v1.trainer_mode=spo_colocate_async"
DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"
MACHINES = {"1 x 80 GB": (1, 1, 80), "1 x 141 GB": (1, 1, 141), "8 x 80 GB": (1, 8, 80), "2 x 8 x 80 GB": (2, 8, 80)}
"""Nodes, GPUs of each, and GiB of each GPU."""


@cache
def shape(name: str) -> ModelShape:
    found = shape_of(qwen3_config(name))
    assert found is not None
    return found


def choose(name: str, nodes: int = 1, gpus: int = 1, gib: int = 80, host: int = 2048, **fields: Any) -> Choice:
    preset: Preset = fields.pop("preset", choose_preset(None, None, nodes * gpus))
    return Choice(
        method="spo",
        preset=preset,
        model=name,
        out=Path("/runs/train"),
        prompts=13_904,
        longest_prompt=1_100,
        nodes=nodes,
        gpus_per_node=gpus,
        attention_heads=QWEN3[name][3],
        machine=Machine(shape(name), gib << 30, host << 30),
        **fields,
    )


def compose(choice: Choice, *overrides: str) -> DictConfig:
    return compose_choice(choice, parse_overrides(overrides), on_cpu=False)


def refusal(choice: Choice, *overrides: str) -> str:
    assert choice.machine is not None
    with pytest.raises(UserError) as refused:
        refuse_memory(compose(choice, *overrides), choice.machine)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def row(name: str, machine: str) -> list[str]:
    """A row of the document's table."""
    choice = choose(name, *MACHINES[machine])
    config, place = compose(choice), choice.machine
    assert place is not None
    check_config(config, choice, 40_960)
    refuse_memory(config, place)
    assert note_memory(config, choice) == []
    memory, actor = expect_memory(config, place), config.actor_rollout_ref.actor
    sizes = [size for size in (1, 2, 4) if size <= choice.gpus_per_node]
    return [
        name,
        machine,
        choice.preset,
        str(config.actor_rollout_ref.rollout.tensor_model_parallel_size),
        str(actor.ulysses_sequence_parallel_size),
        f"{actor.ppo_max_token_len_per_gpu:,}",
        "true" if actor.fsdp_config.offload_policy else "false",
        f"{memory.update.total / 2**30:.1f}",
        f"{memory.host.total / 2**30:.1f}",
        " / ".join(f"{2 * place.shape.parameters / size / 2**30:.1f}" for size in sizes),
    ]


@pytest.mark.parametrize(
    "name", [name if name == "Qwen3-8B" else pytest.param(name, marks=pytest.mark.slow) for name in QWEN3]
)
def test_the_document_says_what_is_chosen_for_which_machine(name: str) -> None:
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith(f"| {name} ")
    ]
    assert rows == [row(name, machine) for machine in MACHINES]


@pytest.mark.slow
def test_a_tensor_parallel_size_of_the_user_does_not_change_the_update() -> None:
    choice = choose("Qwen3-8B", *MACHINES["8 x 80 GB"])
    assert choice.machine is not None
    updates = set()
    for size in (1, 2, 4):
        config = compose(choice, f"{ROLLOUT}.tensor_model_parallel_size={size}")
        refuse_memory(config, choice.machine)
        updates.add(expect_memory(config, choice.machine).update)
    assert len(updates) == 1


def test_the_paper_s_sizes_fit_one_gpu_with_the_optimizer_on_the_host() -> None:
    """`--preset paper` on one or two GPUs ran out of memory at its first update, after a whole rollout."""
    for gpus in (1, 2):
        choice = choose("Qwen3-8B", gpus=gpus, preset="paper")
        config = compose(choice)
        assert choice.machine is not None
        refuse_memory(config, choice.machine)
        assert config.actor_rollout_ref.actor.fsdp_config.offload_policy
        assert config.data.train_batch_size == 2048
        assert config.actor_rollout_ref.model.lora_rank == 0


def test_the_user_s_settings_stay_and_what_does_not_fit_is_refused_with_what_would() -> None:
    said = refusal(choose("Qwen3-8B"), f"{FSDP}.offload_policy=false")
    assert said.startswith("an update does not fit: it takes 152.6 of 80.0 GiB a GPU: weights 30.5, gradients 30.5,")
    assert f"{FSDP}.offload_policy=true (16.0 GiB), or 4 GPUs (44.2 GiB), or " in said
    assert said.endswith("actor_rollout_ref.model.lora_rank=32 (44.3 GiB)")
    for remedy in (f"{FSDP}.offload_policy=true", "actor_rollout_ref.model.lora_rank=32"):
        choice = choose("Qwen3-8B")
        assert choice.machine is not None
        refuse_memory(compose(choice, remedy), choice.machine)


@pytest.mark.slow
def test_a_host_too_small_for_the_optimizer_is_named() -> None:
    said = refusal(choose("Qwen3-8B", host=64))
    assert f"{FSDP}.offload_policy=true needs 122.1 GiB of host memory, and this node has 64.0 GiB" in said
    said = refusal(choose("Qwen3-8B", gpus=8, host=64))
    assert said.startswith(
        "training takes 91.5 GiB of a host's memory (what is offloaded from the GPUs), and this node"
    )


def test_logits_that_do_not_fit_are_refused_with_smaller_micro_batches() -> None:
    choice = choose("Qwen3-8B", gpus=8)
    said = refusal(choice, f"{ACTOR}.ppo_max_token_len_per_gpu=200000", f"{FSDP}.offload_policy=false")
    assert "logits 56.6" in said
    assert f"what would fit: {ACTOR}.ppo_max_token_len_per_gpu=2304 (" in said
    derived = compose(choice, "data.max_response_length=240000")
    assert derived.actor_rollout_ref.actor.ppo_max_token_len_per_gpu == 242_048 // 4  # halved until it fits
    assert not derived.actor_rollout_ref.actor.fsdp_config.offload_policy


@pytest.mark.slow
def test_the_engine_s_share_is_checked() -> None:
    said = refusal(
        choose("Qwen3-8B", gpus=8),
        f"{ROLLOUT}.tensor_model_parallel_size=1",
        f"{ROLLOUT}.gpu_memory_utilization=0.1",
    )
    assert said.startswith("the engine's weights take 15.3 GiB of a GPU with")
    said = refusal(choose("Qwen3-8B", gpus=8), f"{FSDP}.param_offload=false", f"{ROLLOUT}.gpu_memory_utilization=0.97")
    assert "keep 3.8 GiB of a GPU's 80.0 GiB" in said
    assert said.endswith(f"{ROLLOUT}.gpu_memory_utilization=0.85")


@pytest.mark.slow
def test_little_room_is_told_and_not_refused() -> None:
    choice = choose("Qwen3-4B")
    config = compose(choice, f"{FSDP}.offload_policy=false")
    assert choice.machine is not None
    refuse_memory(config, choice.machine)
    assert note_memory(config, choice)[0].startswith("an update takes 74.9 GiB of a GPU's 80.0 GiB: CUDA,")
    small_host = choose("Qwen3-8B", host=125)
    assert note_memory(compose(small_host), small_host)[0].startswith("training takes 122.1 GiB of this node's 125.0")


def test_unknown_dimensions_are_told_and_not_refused() -> None:
    choice = replace(choose("Qwen3-8B"), machine=None)
    assert note_memory(compose(choice), choice)[0].endswith("configuration does not say all of its dimensions")


@pytest.mark.slow
def test_without_flash_attn_the_logits_take_more(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    kernels = "+actor_rollout_ref.model.override_config.attn_implementation=kernels-community/flash-attn2"
    sizes = [
        read_workload(compose(choose("Qwen3-0.6B"), *settings), shape("Qwen3-0.6B")).logit_bytes
        for settings in ((), (kernels,), (f"{ROLLOUT}.temperature=0.6",), (f"{ACTOR}.entropy_coeff=0.01",))
    ]
    assert sizes == [2, 6, 4, 4]


def test_the_number_of_gpus_chooses_the_preset() -> None:
    assert [choose_preset(None, None, gpus) for gpus in (0, 1, 2, 4, 8)] == ["demo", "small", "small", "paper", "paper"]
    assert choose_preset("paper", None, 1) == "paper"
    assert note_preset("small", 1) == (
        "--preset small: 256 responses a step, because a step of the paper's 2,048 would take hours with 1 GPU"
        " (--preset paper)"
    )
    assert note_preset("paper", 2) == (
        "--preset paper: a step of 2,048 responses takes hours with 2 GPUs; --preset small has 256"
    )


def test_a_resumed_training_run_keeps_its_preset() -> None:
    """A record from before the preset for few GPUs is one of the paper's sizes, whatever GPUs there are."""
    from spo_train.plan.record import TrainRecord

    fields = dict.fromkeys(TrainRecord.model_fields)
    assert choose_preset(None, TrainRecord.model_construct(**fields), 1) == "paper"
    assert choose_preset(None, TrainRecord.model_construct(**(fields | {"preset": "small"})), 8) == "small"
    assert choose_preset(None, TrainRecord.model_construct(**fields), 0) == "demo"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("overrides", "length", "sequences", "batched"),
    [
        ((), 18_432, 256, 8192),
        ((COLOCATE,), 18_432, 2048, 8192),
        ((COLOCATE, "data.train_batch_size=8192"), 18_432, 8192, 8192),
        ((COLOCATE, "data.train_batch_size=8192", f"{ROLLOUT}.tensor_model_parallel_size=8"), 18_432, 16_384, 16_384),
        ((COLOCATE, f"{ROLLOUT}.tensor_model_parallel_size=1"), 18_432, 512, 8192),
        ((COLOCATE, f"{ROLLOUT}.max_num_seqs=4096"), 18_432, 4096, 8192),
        (("trainer.v1.trainer_mode=spo_separate_async", f"{ROLLOUT}.nnodes=1"), 18_432, 2048, 8192),
        ((f"{ROLLOUT}.max_model_len=20000",), 20_000, 256, 8192),
        (("data.max_response_length=4096",), 6_144, 256, 8192),
    ],
)
def test_the_engine_takes_what_is_in_flight(
    overrides: tuple[str, ...], length: int, sequences: int, batched: int
) -> None:
    """verl's 256 sequences let 1,000 calls into an engine's actor, and the call that pauses it waits behind them."""
    rollout = compose(choose("Qwen3-8B", gpus=8), *overrides).actor_rollout_ref.rollout
    assert (rollout.max_model_len, rollout.max_num_seqs) == (length, sequences)
    assert rollout.max_num_batched_tokens == batched


@pytest.mark.slow
def test_a_smaller_number_of_sequences_that_can_still_be_paused_is_the_user_s() -> None:
    choice = choose("Qwen3-8B", gpus=8)
    config = compose(choice, COLOCATE, "data.train_batch_size=512", f"{ROLLOUT}.max_num_seqs=128")
    check_config(config, choice, 40_960)
    assert config.actor_rollout_ref.rollout.max_num_seqs == 128


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ((COLOCATE, f"{ROLLOUT}.max_num_seqs=256"), f"instead of pausing: {ROLLOUT}.max_num_seqs=2048"),
        ((f"{ROLLOUT}.max_num_batched_tokens=128",), "vLLM wants at least"),
        (
            (f"{ACTOR}.ppo_max_token_len_per_gpu=1024",),
            f"less than the 18,432 tokens of a prompt and a response: {ACTOR}.ppo_max_token_len_per_gpu=2304",
        ),
        (
            ("trainer.v1.trainer_mode=spo_separate_async", f"{ROLLOUT}.nnodes=1", f"{FSDP}.offload_policy=true"),
            f"{FSDP}.offload_policy=false",
        ),
        ((f"{FSDP}.fsdp_size=3",), f"fsdp_size=3: must divide the 8 GPUs; {FSDP}.fsdp_size=-1 takes all"),
        ((f"{FSDP}.fsdp_size=0",), "fsdp_size=0: must divide"),
        ((f"{ROLLOUT}.max_num_seqs=null",), "max_num_seqs=null: wanted a whole number"),
    ],
)
def test_limits_that_would_fail_after_an_hour_are_refused(overrides: tuple[str, ...], says: str) -> None:
    choice = choose("Qwen3-8B", gpus=8)
    with pytest.raises(UserError) as refused:
        check_config(compose(choice, *overrides), choice, 40_960)
    assert says in str(refused.value)


@pytest.mark.slow
def test_a_machine_is_described_from_the_model_s_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    qwen3_config("Qwen3-0.6B").save_pretrained(tmp_path)
    model = Model(name="me/model", path=str(tmp_path), revision="main")
    monkeypatch.setattr(machine_module, "host_bytes", lambda: 7)
    gpus = Accelerators(False, "H100", 8, 80 << 30)
    assert describe_machine(gpus, model) == Machine(shape("Qwen3-0.6B"), 80 << 30, 7)
    assert describe_machine(replace(gpus, on_cpu=True), model) is None


def test_a_container_s_limit_is_the_host_s_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    limit, none = tmp_path / "memory.max", tmp_path / "none"
    limit.write_text("123456789\n")
    none.write_text("max\n")
    monkeypatch.setattr(machine_module, "CGROUP_LIMITS", (none, limit, tmp_path / "absent"))
    assert host_bytes() == 123_456_789
    monkeypatch.setattr(machine_module, "CGROUP_LIMITS", (none,))
    assert host_bytes() > 1 << 30


def test_a_small_host_keeps_weights_on_the_gpus() -> None:
    """A container with 64 GiB was refused with "more nodes", although eight GPUs have room for what was offloaded."""
    small = choose("Qwen3-8B", gpus=8, host=64)
    said = refusal(small)
    assert f"this node has 64.0 GiB: {FSDP}.param_offload=false keeps them on the GPUs" in said
    assert small.machine is not None
    refuse_memory(compose(small, f"{FSDP}.param_offload=false"), small.machine)
    assert f": {FSDP}.param_offload=false {FSDP}.optimizer_offload=false keeps" in refusal(
        choose("Qwen3-8B", gpus=8, host=40), f"{FSDP}.param_offload=true"
    )
    assert f": {FSDP}.offload_policy=false {FSDP}.param_offload=false keeps" in refusal(
        small, f"{FSDP}.offload_policy=true"
    )


def test_offload_policy_is_not_proposed_where_verl_ignores_it() -> None:
    """verl reads it with fsdp2 only; pasted, the same refusal came again."""
    said = refusal(choose("Qwen3-8B"), f"{ACTOR}.strategy=fsdp")
    assert "offload_policy=true" not in said
    assert "offload_policy=true" not in refusal(choose("Qwen3-8B", host=64), f"{ACTOR}.strategy=fsdp")
    assert not compose(choose("Qwen3-8B"), f"{ACTOR}.strategy=fsdp").actor_rollout_ref.actor.fsdp_config.offload_policy


def test_logits_are_counted_whole_without_flash_attns_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the Hub's kernels instead of flash-attn, verl's own cross entropy takes three times as much."""
    choice = choose("Qwen3-8B", gpus=8)
    assert choice.machine is not None
    config = compose(choice)
    there = expect_memory(config, choice.machine).update.logits
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "kernels" else None)
    assert expect_memory(config, choice.machine).update.logits == pytest.approx(3 * there, rel=0.01)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "flash_attn" else None)
    assert expect_memory(config, choice.machine).update.logits == there
    monkeypatch.setenv("VERL_DISABLE_FLASH_ATTN_CE", "1")
    assert expect_memory(config, choice.machine).update.logits == pytest.approx(3 * there, rel=0.01)


def test_a_small_share_of_the_engine_is_raised_on_one_gpu() -> None:
    """ "a larger tensor parallel size divides them" could not be followed on one GPU."""
    said = refusal(choose("Qwen3-8B", gib=141), f"{ROLLOUT}.gpu_memory_utilization=0.1")
    assert said.endswith("a larger share has room for them")
    # None of a GPU's share holds them, and there is no second GPU to divide them.
    assert refusal(choose("Qwen3-8B", gib=16), "data.max_response_length=1024", f"{FSDP}.offload_policy=true").endswith(
        "smaller model would fit"
    )


def test_each_of_verl_s_formats_has_its_width() -> None:
    """`32` was counted as a format of 16 bits."""
    from verl.utils.torch_dtypes import BFLOAT_LIST, FLOAT_LIST, HALF_LIST, PrecisionType

    for name in (*HALF_LIST, *FLOAT_LIST, *BFLOAT_LIST):
        assert width_of(str(name).removeprefix("torch.")) == PrecisionType.to_dtype(name).itemsize  # type: ignore[no-untyped-call] # verl has no types


@pytest.mark.parametrize("dtype", ["32", "fp32", "float32"])
def test_each_name_of_32_bits_counts_four_bytes(dtype: str) -> None:
    choice = choose("Qwen3-8B", gpus=8)
    assert choice.machine is not None
    config = compose(choice, f"{FSDP}.model_dtype={dtype}")
    assert expect_memory(config, choice.machine) == expect_memory(compose(choice), choice.machine)


WRONG_KINDS = [
    ("trainer.save_freq=null", "trainer.save_freq=null: wanted a whole number"),
    ("trainer.save_freq=10.5", "trainer.save_freq=10.5: wanted a whole number"),
    (f"{ACTOR}.checkpoint.save_contents=null", "save_contents=null: wanted a list, such as [model,optimizer,extra]"),
    (f"{ACTOR}.checkpoint.save_contents=model", "save_contents=model: wanted a list"),
    ("actor_rollout_ref.model.lora_rank=null", "lora_rank=null: wanted a whole number"),
    (f"{ROLLOUT}.gpu_memory_utilization=null", "gpu_memory_utilization=null: wanted a number above 0, at most 1"),
    (f"{ROLLOUT}.gpu_memory_utilization=1.5", "gpu_memory_utilization=1.5: wanted a number above 0, at most 1"),
    ("ray_kwargs.ray_init.num_cpus=many", "ray_init.num_cpus=many: wanted a number, or null"),
    ("transfer_queue.backend=null", "transfer_queue.backend=null: wanted verl's settings of its queue"),
    ("trainer.total_epochs=null", "trainer.total_epochs=null: wanted a whole number"),
    (f"{ROLLOUT}.temperature=null", "temperature=null: wanted a number"),
    (f"{ROLLOUT}.top_k=null", "top_k=null: wanted a whole number"),
    (f"{ROLLOUT}.max_model_len=many", "max_model_len=many: wanted a whole number, or null"),
    (f"{ACTOR}.optim.override_optimizer_config=many", "wanted key: value pairs, or null"),
    ("ray_kwargs.ray_init=null", "ray_init=null: wanted key: value pairs"),
    (f"{FSDP}.fsdp_size=null", "fsdp_size=null: wanted a whole number"),
    ("trainer.default_local_dir=null", "trainer.default_local_dir=null: wanted a folder"),
]


@pytest.mark.parametrize(("override", "sentence"), WRONG_KINDS, ids=[override for override, _ in WRONG_KINDS])
def test_a_setting_of_a_wrong_kind_is_one_line(override: str, sentence: str) -> None:
    """What is derived from it ended in a traceback, or took letters for parts of a checkpoint."""
    choice = choose("Qwen3-8B", gpus=8)
    config = compose(choice, override)
    assert not is_sound(config)
    with pytest.raises(UserError) as refused:
        check_config(config, choice, 40_960)
    assert sentence in str(refused.value)
