"""The composed configuration: checked against verl's own schema and checks, and what is refused before Ray starts."""

import ast
import importlib.util
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")
from omegaconf import DictConfig, OmegaConf

from spo_data.errors import SpoError, UserError
from spo_train.config import compose as compose_module
from spo_train.config.checks import check_config, check_with_verl
from spo_train.config.compose import compose_config, list_keys, parse_overrides, verl_defaults
from spo_train.config.preset import parallel_size, preset_overrides
from spo_train.config.train_choice import Choice, sizes_of
from spo_train.config.unsupported import refuse_device
from spo_train.literal import from_literal
from spo_train.plan.composition import compose_choice
from spo_train.spo.settings import SPOSettings
from verl_cpu.overrides import bucket_mib, cpu_overrides

PAPER = Choice(
    method="spo",
    preset="paper",
    model="Qwen/Qwen3-8B",
    out=Path("/runs/train"),
    prompts=13_904,
    longest_prompt=1_100,
    attention_heads=32,
)
SMALL = replace(PAPER, preset="small", gpus_per_node=1)
DEMO = replace(PAPER, preset="demo", prompts=30, longest_prompt=70, gpus_per_node=1, attention_heads=9)
MINI = "actor_rollout_ref.actor.ppo_mini_batch_size"
VLLM = "actor_rollout_ref.rollout.engine_kwargs.vllm"
METHODS = ("spo", "grpo", "no-baseline")
SEPARATE = ("trainer.v1.trainer_mode=spo_separate_async", "actor_rollout_ref.rollout.nnodes=1")


def compose(choice: Choice, *overrides: str, on_cpu: bool = False) -> DictConfig:
    return compose_choice(choice, parse_overrides(overrides), on_cpu=on_cpu)


def get(config: DictConfig, key: str) -> Any:
    return OmegaConf.select(config, key)


def test_without_verl_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SpoError, match="spo-train needs verl, which is not installed: pip install"):
        compose_module._read_defaults.__wrapped__()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("choice", "on_cpu"), [(PAPER, False), (PAPER, True), (DEMO, True), (DEMO, False)])
@pytest.mark.slow
def test_a_setting_is_verl_s_or_said_to_be_none(method: Any, choice: Choice, on_cpu: bool) -> None:
    choice = replace(choice, method=method)
    settings = preset_overrides(choice, sizes_of(choice, {}))
    if on_cpu:
        settings |= cpu_overrides(choice.model, 512, 1, rollout_workers=1)
    listed = set(list_keys(verl_defaults()))
    assert {key for key in settings if not key.startswith("+")} <= listed
    assert not {key for key in settings if key.removeprefix("+") in listed and key.startswith("+")}


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("choice", "on_cpu"), [(PAPER, False), (DEMO, True)], ids=["8 GPUs", "CPU"])
def test_verl_accepts_it(method: Any, choice: Choice, on_cpu: bool) -> None:
    config = compose(replace(choice, method=method), on_cpu=on_cpu)
    before = OmegaConf.to_yaml(config)
    check_config(config, replace(choice, method=method), context_length=40_960)
    check_with_verl(config)
    assert OmegaConf.to_yaml(config) == before


def test_the_reward_is_where_verl_looks_for_it() -> None:
    """verl imports the reward only in its workers, minutes after the start."""
    place = compose(PAPER).reward.reward_manager
    spec = importlib.util.find_spec(place.module.path.removeprefix("pkg://"))
    assert spec is not None
    assert spec.origin is not None
    classes = [node.name for node in ast.parse(Path(spec.origin).read_text()).body if isinstance(node, ast.ClassDef)]
    assert place.name in classes


def test_the_paper_s_settings() -> None:
    config = compose(PAPER)
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    assert (actor.optim.lr, actor.clip_ratio_low, actor.clip_ratio_high, actor.clip_ratio_c) == (1e-6, 0.2, 0.28, 10)
    assert (rollout.temperature, rollout.top_p, rollout.top_k) == (1.0, 1.0, -1)
    assert (rollout.prompt_length, rollout.response_length) == (2048, 16384)
    assert not actor.use_kl_loss
    assert not config.algorithm.use_kl_in_reward
    assert (rollout.tensor_model_parallel_size, actor.ulysses_sequence_parallel_size) == (4, 8)
    assert config.trainer.v1.trainer_mode == "spo_sync"


@pytest.mark.parametrize(
    ("method", "prompts", "responses", "mini"),
    [("spo", 2048, 1, 256), ("no-baseline", 2048, 1, 256), ("grpo", 256, 8, 32)],
)
def test_eight_updates_a_step_at_equal_samples(method: Any, prompts: int, responses: int, mini: int) -> None:
    config = compose(replace(PAPER, method=method))
    actor = config.actor_rollout_ref.actor
    assert (config.data.train_batch_size, config.actor_rollout_ref.rollout.n) == (prompts, responses)
    assert actor.ppo_mini_batch_size == mini
    assert prompts * responses == 2048
    assert config.algorithm.adv_estimator == ("grpo" if method == "grpo" else "spo")


def test_what_follows_from_a_size_follows_from_the_user_s() -> None:
    config = compose(PAPER, "data.train_batch_size=512", "data.max_response_length=8192")
    actor = config.actor_rollout_ref.actor
    assert actor.ppo_mini_batch_size == 64
    assert actor.ppo_max_token_len_per_gpu == 2048 + 8192
    assert compose(PAPER, "data.train_batch_size=512", f"{MINI}=128").actor_rollout_ref.actor.ppo_mini_batch_size == 128


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("actor_rollout_ref.actor.optim.lr=3e-6", "actor_rollout_ref.actor.optim.lr", 3e-6),
        ("actor_rollout_ref.rollout.top_p=0.9", "actor_rollout_ref.rollout.top_p", 0.9),
        ("trainer.spo.half_divergence=0.03", "trainer.spo.half_divergence", 0.03),
        ("trainer.logger=[console,wandb]", "trainer.logger", ["console", "wandb", "file"]),
        ("trainer.logger=wandb", "trainer.logger", ["wandb", "file"]),
        ("trainer.max_actor_ckpt_to_keep=2", "trainer.max_actor_ckpt_to_keep", 2),
        ("data.seed=null", "data.seed", None),
        ("+data.rooms=[1,2]", "data.rooms", [1, 2]),
        (f"+{VLLM}.block_size=32", f"{VLLM}.block_size", 32),
        ("trainer.experiment_name=${trainer.project_name}", "trainer.experiment_name", "spo"),
        ("trainer.total_epochs=3", "trainer.total_training_steps", None),
        ("trainer.total_training_steps=900", "trainer.total_epochs", 900),
    ],
)
@pytest.mark.slow
def test_the_user_s_override_wins(override: str, key: str, value: Any) -> None:
    assert get(compose(PAPER, override), key) == value


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("data.train_bach_size=3", "verl has no setting data.train_bach_size; did you mean data.train_batch_size"),
        ("+data.train_bach_size=3", "did you mean data.train_batch_size? ++data.train_bach_size=… adds it"),
        ("rollout.temperature=1", "did you mean actor_rollout_ref.rollout.temperature"),
        ("lr=1", "did you mean actor_rollout_ref.actor.optim.lr"),
        ("trainer.spo.half_divergance=1", "did you mean trainer.spo.half_divergence"),
        ("data.apply_chat_template_kwargs.x=1", "+data.apply_chat_template_kwargs.x=… adds one"),
        ("qqqq=1", "verl has no setting qqqq"),
        ("trainer.nnodes=two", "wanted a number, as the default 1 is"),
        ("trainer.balance_batch=1", "wanted true or false, as the default True is"),
        ("data=3", "wanted key: value pairs"),
        ("data.seed=${data.nothing}", "Interpolation key 'data.nothing' not found"),
        ("a==3", "not in hydra's syntax"),
        ("data.seed", "not a setting; write key=value"),
        ("~data.seed=1", "key=null unsets it"),
        ("data.seed=1,2", "a list is key=[a,b]"),
        ("model_engine=megatron", "model_engine=dp"),
    ],
)
def test_an_override_that_verl_does_not_know_is_refused(override: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        compose(PAPER, override)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("choice", "overrides", "says"),
    [
        (replace(PAPER, prompts=1000), (), "2,048 is more than the 1,000 training prompts: data.train_batch_size=1000"),
        (replace(PAPER, prompts=1001), (), "data.train_batch_size=1000 fits"),
        (replace(PAPER, prompts=255, method="grpo"), (), "data.train_batch_size=248 fits"),
        (
            replace(PAPER, prompts=3000),
            ("trainer.v1.trainer_mode=spo_colocate_async",),
            "2,048 and 2,048 prompts in flight",
        ),
        (PAPER, (f"{MINI}=4096",), "ppo_mini_batch_size 4,096 is more than"),
        (replace(PAPER, gpus_per_node=6), (), "a mini-batch of 256 responses cannot be split evenly among 3 workers"),
        (PAPER, ("actor_rollout_ref.rollout.tensor_model_parallel_size=3",), "must divide the 8 GPUs"),
        (PAPER, ("trainer.v1.trainer_mode=colocate_async",), "did you mean spo_colocate_async?"),
        (PAPER, ("trainer.v1.trainer_mode=asynchronous",), "did you mean spo_sync, spo_colocate_async"),
        (PAPER, ("trainer.v1.trainer_mode=spo_separate_async",), "actor_rollout_ref.rollout.nnodes=1"),
        (
            PAPER,
            ("trainer.v1.trainer_mode=spo_separate_async", "actor_rollout_ref.hybrid_engine=False"),
            "verl 0.9.1 fails with it",
        ),
        (PAPER, ("algorithm.adv_estimator=grpo",), "--method grpo uses verl's"),
        (PAPER, ("actor_rollout_ref.rollout.n=8",), "--method grpo draws groups"),
        (replace(PAPER, method="grpo"), ("actor_rollout_ref.rollout.n=1",), "at least 2 responses"),
        (PAPER, ("data.train_batch_size=null",), "data.train_batch_size=null: wanted a whole number, at least 1"),
        (PAPER, ("actor_rollout_ref.rollout.tensor_model_parallel_size=0",), "wanted a whole number, at least 1"),
        (PAPER, ("data.max_response_length=1.5",), "data.max_response_length=1.5: wanted a whole number"),
        (PAPER, ("algorithm.use_kl_in_reward=true",), "without a penalty"),
        (PAPER, ("trainer.spo.rho_min=0.99",), "trainer.spo: rho_min 0.99 and rho_max 0.96"),
        (PAPER, ("+trainer.spo.tempo=2",), "trainer.spo.tempo is not a setting; the settings are method,"),
        (PAPER, ("data.max_prompt_length=1000",), "the longest prompt has 1,100 tokens"),
        (PAPER, ("data.max_response_length=50000",), "the model's context is 40,960: data.max_response_length=38912"),
        (
            PAPER,
            ("data.max_prompt_length=50000",),
            "context is 40,960: data.max_prompt_length=1100 data.max_response_length=16384 fit",
        ),
        (
            replace(PAPER, longest_prompt=45_000),
            ("data.max_prompt_length=50000",),
            "the longest prompt has 45,000, which leaves no room for a response",
        ),
        (
            PAPER,
            ("actor_rollout_ref.rollout.max_model_len=18431",),
            "max_model_len is 18,431: actor_rollout_ref.rollout.max_model_len=18432",
        ),
        (PAPER, ("actor_rollout_ref.rollout.val_kwargs.n=0",), "val_kwargs.n=0: wanted a whole number, at least 1"),
        (
            PAPER,
            ("trainer.total_training_steps=0",),
            "trainer.total_training_steps=0: wanted a whole number, at least 1",
        ),
        (
            PAPER,
            (*SEPARATE, "actor_rollout_ref.actor.fsdp_config.param_offload=true"),
            "actor_rollout_ref.actor.fsdp_config.param_offload=false",
        ),
        (PAPER, ("trainer.test_freq=5",), "trainer.test_freq=5: there are no validation prompts; give --val-files"),
        (PAPER, ("trainer.val_before_train=true",), "trainer.val_before_train=true: there are no validation prompts"),
        (PAPER, ("trainer.val_only=true",), "trainer.val_only=true: there are no validation prompts"),
    ],
)
@pytest.mark.slow
def test_settings_that_do_not_fit_are_refused(choice: Choice, overrides: tuple[str, ...], says: str) -> None:
    with pytest.raises(UserError) as refused:
        check_config(compose(choice, *overrides), choice, context_length=40_960)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("algorithm.filter_groups.enable=true", "algorithm.filter_groups.enable=true: spo-train trains on every group"),
        ("trainer.v1.sampler.custom_sampler.path=mine.py", "trainer.spo.batch_order chooses its order"),
        ("trainer.v1.sampler.custom_sampler.name=Mine", "trainer.spo.batch_order chooses its order"),
        ("+trainer.v1.sampler.sampler_kwargs.whole_cohorts=true", "trainer.spo.batch_order chooses its order"),
        ("trainer.v1.sampler.sync_refill_failed_groups=false", "failed samples are always replaced"),
        ("reward.custom_reward_function.path=mine.py", "use --verifier FILE.py:FUNCTION"),
        (
            "reward.reward_manager.name=dapo",
            "reward.reward_manager.name=dapo: spo-train grades responses as the estimate did",
        ),
        ("reward.reward_manager.source=register", "use --verifier"),
        ("reward.reward_manager.module.path=mine.py", "use --verifier"),
        ("reward.reward_model.enable=true", "use --verifier"),
        ("trainer.use_v1=false", "trainer.use_v1=false: spo-train runs in verl's V1 trainer"),
        ("actor_rollout_ref.rollout.name=sglang", "actor_rollout_ref.rollout.name=vllm"),
        ("actor_rollout_ref.rollout.ignore_eos=true", "a response ends where the model ends it"),
        ("actor_rollout_ref.rollout.multi_turn.enable=true", "uses no tools of verl; --tools python gives the model"),
        ("actor_rollout_ref.rollout.multi_turn.tool_config_path=t.yaml", "uses no tools of verl; --tools python"),
        ("actor_rollout_ref.rollout.agent.default_agent_loop=single_turn_agent", "leave it spo_agent"),
        ("actor_rollout_ref.rollout.agent.num_workers=0", "num_workers=0: wanted a whole number, at least 1"),
        ("data.val_batch_size=8", "failed samples are counted over all validation prompts"),
        ("data.train_max_samples=100", "to train on fewer prompts, use --train-files"),
        ("data.filter_overlong_prompts=true", "to leave out long prompts, use --train-files"),
    ],
)
@pytest.mark.slow
def test_a_setting_that_would_be_ignored_is_refused(override: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        check_config(compose(PAPER, override), PAPER)
    assert str(refused.value).startswith(
        override.removeprefix("+").split("=", maxsplit=1)[0].removesuffix(".whole_cohorts")
    )
    assert says in str(refused.value)


def test_settings_as_they_are_anyhow_are_accepted() -> None:
    same = ("algorithm.filter_groups=null", "trainer.use_v1=true", "trainer.v1.sampler.custom_sampler.path=null")
    check_config(compose(PAPER, *same), PAPER)
    validated = replace(PAPER, validation=True)
    check_config(compose(validated, "trainer.val_before_train=true", "trainer.test_freq=5"), validated)


@pytest.mark.parametrize(("on_cpu", "wrong", "right"), [(True, "cuda", "cpu"), (False, "cpu", "cuda")])
def test_the_device_is_the_machine_s(on_cpu: bool, wrong: str, right: str) -> None:
    choice = DEMO if on_cpu else PAPER
    refuse_device(compose(choice, on_cpu=on_cpu), on_cpu=on_cpu)
    with pytest.raises(UserError, match=f"trainer.device={wrong}: this machine has .*: trainer.device={right}"):
        refuse_device(compose(choice, f"trainer.device={wrong}", on_cpu=on_cpu), on_cpu=on_cpu)


def test_stragglers_are_waited_for() -> None:
    assert compose(PAPER).trainer.v1.sampler.max_off_policy_strategy == "wait"


@pytest.mark.slow
def test_verl_s_own_refusal_is_one_line() -> None:
    for override, says in (
        ("actor_rollout_ref.actor.loss_agg_mode=mean", "Invalid loss_agg_mode: mean"),
        ("+actor_rollout_ref.rollout.tempo=2", "unexpected keyword argument 'tempo'"),
    ):
        with pytest.raises(UserError) as refused:
            check_with_verl(compose(PAPER, override))
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


def test_separate_devices_that_sample_get_their_weights() -> None:
    config = compose(PAPER, *SEPARATE)
    check_config(config, PAPER, 40_960)
    assert config.actor_rollout_ref.rollout.checkpoint_engine.backend == "nccl"
    assert not config.actor_rollout_ref.actor.fsdp_config.param_offload
    cpu = compose(DEMO, *SEPARATE, on_cpu=True)
    check_config(cpu, DEMO, 40_960)
    assert cpu.actor_rollout_ref.rollout.checkpoint_engine.backend == "cpu_file"
    assert cpu.ray_kwargs.ray_init.num_gpus == 2


def test_the_demo_takes_no_more_prompts_than_there_are() -> None:
    assert compose(replace(DEMO, prompts=5), on_cpu=True).data.train_batch_size == 4
    assert compose(replace(DEMO, prompts=1), on_cpu=True).data.train_batch_size == 1
    assert compose(replace(DEMO, prompts=5, method="grpo"), on_cpu=True).data.train_batch_size == 2
    assert compose(DEMO, "trainer.v1.trainer_mode=spo_colocate_async", on_cpu=True).data.train_batch_size == 14
    assert compose(DEMO, on_cpu=True).data.max_prompt_length == 128


@pytest.mark.parametrize(
    ("limit", "devices", "heads", "size"),
    [(8, 8, 32, 8), (8, 16, 32, 8), (4, 8, 14, 2), (8, 6, 32, 2), (8, 1, 32, 1), (4, 8, None, 4), (8, 8, 9, 1)],
)
def test_parallel_sizes_divide_devices_and_heads(limit: int, devices: int, heads: int | None, size: int) -> None:
    assert parallel_size(limit, devices, heads) == size


def test_all_weights_fit_into_one_bucket(tmp_path: Path) -> None:
    """A tied `lm_head`, which the model's files lack, went into a second bucket, and the first weight sync hung."""
    header = b'{"__metadata__":{},"a":{"shape":[1024,1024,32]},"b":{"shape":[3]}}'
    (tmp_path / "model-1.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    assert bucket_mib(tmp_path) == 258
    (tmp_path / "model-1.safetensors").unlink()
    assert bucket_mib(tmp_path) == 64


def test_the_policy_of_the_values_is_the_one_that_samples() -> None:
    policy = replace(
        PAPER, temperature=0.6, top_p=0.95, top_k=20, response_tokens=4096, stop=("</answer>",), thinking=True
    )
    policy = replace(policy, truncated="grade", chat_template="{{ messages }}\n\n  \n")
    config = compose(replace(policy, verifier="dapo", template_kwargs={"enable_thinking": False}))
    rollout, reward = config.actor_rollout_ref.rollout, config.reward.reward_kwargs
    assert (rollout.temperature, rollout.top_p, rollout.top_k, rollout.response_length) == (0.6, 0.95, 20, 4096)
    assert (reward.verifier, reward.thinking, list(reward.stop)) == ("dapo", True, ["</answer>"])
    assert reward.truncated == "grade"
    assert config.data.apply_chat_template_kwargs == {"enable_thinking": False}
    saved = OmegaConf.create(OmegaConf.to_yaml(config))
    assert saved.actor_rollout_ref.model.custom_chat_template == "{{ messages }}\n\n  \n"


def test_a_text_of_ours_is_no_reference_in_the_configuration() -> None:
    """`--stop '${'` was a traceback, and `--stop '${oc.env:HOME}'` the name of a folder where rewards were given."""
    texts = ("${", "${oc.env:HOME}", "???")
    kwargs = {"${x}": "${data.seed}", "1e5": ["1e5"]}
    version = "score sha256 1a2b ${b}.py 3c4d"
    choice = replace(
        PAPER, stop=texts, verifier="/a/${b}/mine.py:score", verifier_version=version, template_kwargs=kwargs
    )
    config = OmegaConf.create(OmegaConf.to_yaml(compose(choice)))
    OmegaConf.resolve(config)  # as verl does
    reward = config.reward.reward_kwargs
    assert from_literal(reward.stop) == list(texts)
    assert from_literal(reward.verifier) == choice.verifier
    assert from_literal(reward.version) == version
    assert from_literal(config.data.apply_chat_template_kwargs) == kwargs


def test_every_setting_of_spo_is_in_the_configuration() -> None:
    settings = OmegaConf.to_container(compose(PAPER).trainer.spo)
    assert settings == {**vars_of(SPOSettings()), "values": "/runs/train/values.parquet"}


def vars_of(settings: SPOSettings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in SPOSettings.__dataclass_fields__}


def test_verl_s_defaults_are_not_changed_by_a_composition() -> None:
    before = OmegaConf.to_yaml(verl_defaults())
    compose_config({"data.train_batch_size": 7})
    assert OmegaConf.to_yaml(verl_defaults()) == before


DOCUMENT = Path(__file__).parents[3] / "docs" / "training.md"


def documented() -> list[DictConfig]:
    """The cells of the document's table."""
    demo = replace(DEMO, longest_prompt=64, response_tokens=96)
    return [compose(PAPER), compose(replace(PAPER, method="grpo")), compose(SMALL), compose(demo, on_cpu=True)]


def shown(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_document_says_what_the_presets_resolve_to() -> None:
    rows = [
        [cell.strip() for cell in line.strip("| \n").split("|")]
        for line in DOCUMENT.read_text(encoding="utf-8").splitlines()
        if line.startswith(("| `actor_", "| `data.", "| `trainer.", "| `algorithm.", "| `reward."))
        and line.count("|") == 6
    ]
    configs = documented()
    expected = [[row[0], *(shown(get(config, row[0].strip("`"))) for config in configs)] for row in rows]
    assert len(rows) > 30
    assert rows == expected


def test_the_document_has_every_setting_of_spo() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    defaults = vars_of(SPOSettings())
    rows = dict(re.findall(r"^\| `trainer\.spo\.(\w+)` \| `?([^|`]+?)`? \|", text, re.MULTILINE))
    assert rows == {name: shown(default) for name, default in defaults.items() if name not in ("method", "values")}
