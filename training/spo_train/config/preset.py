"""What `spo-train` sets in verl's configuration, by preset and method.

    choice = Choice(method="spo", preset="paper", model="Qwen/Qwen3-8B", out=Path("runs/train"), prompts=13_904)
    preset_overrides(choice, sizes_of(choice, {}))      # {"data.train_batch_size": 2048, ...}

`paper` is the published experiment (arXiv 2509.13232, section 5) on eight GPUs, `demo` the same in small. Settings that
follow from others (mini-batch, context, memory of a micro-batch) follow from the user's where the user gave one.

Keys are verl's; one with `+` is read by verl or by us and not listed in verl's configuration, as in hydra.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from spo_train.config.keys import (
    ACTOR,
    BATCH_KEY,
    CHECKPOINTS_KEY,
    EPOCHS_KEY,
    MODE_KEY,
    MODEL,
    PROMPT_TOKENS_KEY,
    RESPONSE_TOKENS_KEY,
    ROLLOUT,
    STEPS_KEY,
    SYNC,
)
from spo_train.filenames import CHECKPOINTS, METRICS
from spo_train.spo.settings import Method, SPOSettings

Preset = Literal["paper", "demo"]


SAMPLES = {"paper": 2048, "demo": 16}
"""Responses in a step."""
UPDATES = {"paper": 8, "demo": 2}
"""Updates of the model in a step."""
STEPS = {"paper": 500, "demo": 20}
LEARNING_RATE = {"paper": 1e-6, "demo": 1e-5}
RESPONSE_TOKENS = {"paper": 16_384, "demo": 96}
PROMPT_TOKENS = {"paper": 2_048, "demo": 64}
VALIDATION_SAMPLES = {"paper": 16, "demo": 1}
GROUP = 8
"""Responses to one prompt with GRPO."""
REWARD_MANAGER = {
    "reward.reward_manager.source": "importlib",
    "reward.reward_manager.name": "GradedReward",
    "reward.reward_manager.module.path": "pkg://spo_train.reward",
}
"""Where verl finds `spo_train.hooks.reward`."""


@dataclass(frozen=True)
class Choice:
    """What is trained, on what, and how responses are drawn and graded."""

    method: Method
    preset: Preset
    model: str
    """A folder, or a Hub id."""
    out: Path
    prompts: int
    """How many training prompts there are."""
    longest_prompt: int = 0
    """Tokens of the longest one."""
    validation: bool = False
    """Whether there are validation prompts."""
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = -1
    response_tokens: int | None = None
    """None for the preset's."""
    stop: tuple[str, ...] = ()
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    verifier: str = "math-verify"
    thinking: bool = False
    """Whether a response begins inside the thinking."""
    nodes: int = 1
    gpus_per_node: int = 8
    attention_heads: int | None = None
    """Sequence and tensor parallelism divide them."""
    resume: bool = False


@dataclass(frozen=True)
class Sizes:
    """How much a step is; the settings that follow from these follow from the user's."""

    prompts: int
    responses: int
    """Responses to one prompt."""
    prompt_tokens: int
    response_tokens: int
    steps: int | None
    """None where the user counts epochs."""
    rollout_devices: int
    """Devices that sample while others train; 0 where the same ones do both."""

    @property
    def context_length(self) -> int:
        """Tokens of a prompt and its response."""
        return self.prompt_tokens + self.response_tokens


def sizes_of(choice: Choice, asked: Mapping[str, Any]) -> Sizes:
    """The preset's sizes, or the user's of the same settings."""
    preset = choice.preset
    responses = GROUP if choice.method == "grpo" else 1
    prompts = SAMPLES[preset] // responses
    prompt_tokens = PROMPT_TOKENS[preset]
    mode = asked.get(MODE_KEY, SYNC)
    if preset == "demo":
        # Asynchronous modes have as many prompts in flight as in the batch.
        free = choice.prompts if mode == SYNC else choice.prompts // 2
        prompts = min(prompts, free // UPDATES[preset] * UPDATES[preset]) or 1
        prompt_tokens = max(prompt_tokens, _round_up(choice.longest_prompt, 64))
    return Sizes(
        prompts=_integer(asked, BATCH_KEY, prompts),
        responses=_integer(asked, f"{ROLLOUT}.n", responses),
        prompt_tokens=_integer(asked, PROMPT_TOKENS_KEY, prompt_tokens),
        response_tokens=_integer(asked, RESPONSE_TOKENS_KEY, choice.response_tokens or RESPONSE_TOKENS[preset]),
        steps=None if EPOCHS_KEY in asked and STEPS_KEY not in asked else _integer(asked, STEPS_KEY, STEPS[preset]),
        rollout_devices=_integer(asked, f"{ROLLOUT}.nnodes", 0)
        * _integer(asked, f"{ROLLOUT}.n_gpus_per_node", choice.gpus_per_node),
    )


def preset_overrides(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    """All that is set, before the settings of a CPU and the user's."""
    preset, out = choice.preset, choice.out
    train = [str(out / "train.parquet")]
    return {
        **_method(choice),
        "data.train_files": train,
        # verl reads validation rows whether it validates or not.
        "data.val_files": [str(out / "val.parquet")] if choice.validation else train,
        "data.val_max_samples": -1 if choice.validation else 1,
        BATCH_KEY: sizes.prompts,
        "data.gen_batch_size": 1,
        PROMPT_TOKENS_KEY: sizes.prompt_tokens,
        RESPONSE_TOKENS_KEY: sizes.response_tokens,
        "data.filter_overlong_prompts": False,
        "data.truncation": "error",
        "data.return_raw_chat": True,
        "data.shuffle": True,
        "data.seed": 0,
        "data.apply_chat_template_kwargs": dict(choice.template_kwargs),
        **_actor(choice, sizes),
        **_rollout(choice, sizes),
        **_reward(choice),
        **_trainer(choice, sizes),
        f"{ACTOR}.optim.lr": LEARNING_RATE[preset],
    }


def parallel_size(limit: int, devices: int, attention_heads: int | None) -> int:
    """The largest power of two up to `limit` that divides the devices and the attention heads."""
    size = 1
    while 2 * size <= limit and devices % (2 * size) == 0 and (attention_heads or 2 * size) % (2 * size) == 0:
        size *= 2
    return size


def _method(choice: Choice) -> dict[str, Any]:
    settings = asdict(SPOSettings(method=choice.method, values=str(choice.out / "values.parquet")))
    return {
        "+trainer.spo": settings,
        "algorithm.adv_estimator": "grpo" if choice.method == "grpo" else "spo",
        "algorithm.use_kl_in_reward": False,
        "critic.enable": False,
        MODE_KEY: SYNC,
        # Samples whose grading failed are replaced, never scored 0.
        "trainer.v1.sampler.sync_refill_failed_groups": True,
        # Dropping the responses that take long would leave the short ones.
        "trainer.v1.sampler.max_off_policy_strategy": "wait",
        "trainer.v1.separate_async.parameter_sync_step": UPDATES[choice.preset],
    }


def _actor(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    devices = choice.nodes * choice.gpus_per_node
    return {
        f"{MODEL}.path": choice.model,
        f"{MODEL}.use_remove_padding": True,
        f"{MODEL}.enable_gradient_checkpointing": True,
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.fsdp_config.strategy": "fsdp2",
        # `spo_separate_async` keeps a copy of the parameters, which fails where they are offloaded.
        f"{ACTOR}.fsdp_config.param_offload": not sizes.rollout_devices,
        f"{ACTOR}.fsdp_config.optimizer_offload": True,
        # verl multiplies it by the responses to a prompt.
        f"{ACTOR}.ppo_mini_batch_size": max(1, sizes.prompts // UPDATES[choice.preset]),
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": sizes.context_length,
        f"{ACTOR}.ulysses_sequence_parallel_size": parallel_size(8, devices, choice.attention_heads),
        f"{ACTOR}.clip_ratio_low": 0.2,
        f"{ACTOR}.clip_ratio_high": 0.28,
        f"{ACTOR}.clip_ratio_c": 10.0,
        f"{ACTOR}.loss_agg_mode": "token-mean",
        f"{ACTOR}.use_kl_loss": False,
        f"{ACTOR}.entropy_coeff": 0,
    }


def _rollout(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    return {
        f"{ROLLOUT}.name": "vllm",
        f"{ROLLOUT}.n": sizes.responses,
        f"{ROLLOUT}.temperature": choice.temperature,
        f"{ROLLOUT}.top_p": choice.top_p,
        f"{ROLLOUT}.top_k": choice.top_k,
        f"{ROLLOUT}.calculate_log_probs": True,
        f"{ROLLOUT}.gpu_memory_utilization": 0.8,
        # How weights reach devices that only sample.
        f"{ROLLOUT}.checkpoint_engine.backend": "nccl" if sizes.rollout_devices else "naive",
        f"{ROLLOUT}.tensor_model_parallel_size": parallel_size(4, choice.gpus_per_node, choice.attention_heads),
        f"{ROLLOUT}.agent.default_agent_loop": "spo_agent",
        f"{ROLLOUT}.agent.agent_loop_config_path": str(choice.out / "agent_loop.yaml"),
        f"{ROLLOUT}.val_kwargs.do_sample": True,
        f"{ROLLOUT}.val_kwargs.n": VALIDATION_SAMPLES[choice.preset],
        f"{ROLLOUT}.val_kwargs.temperature": 0.6,
        f"{ROLLOUT}.val_kwargs.top_p": 0.95,
        f"{ROLLOUT}.val_kwargs.top_k": 20,
    }


def _reward(choice: Choice) -> dict[str, Any]:
    from spo_data.options import GraderOptions

    limits = GraderOptions()
    return {
        **REWARD_MANAGER,
        "+reward.reward_kwargs": {
            "verifier": choice.verifier,
            "thinking": choice.thinking,
            "stop": list(choice.stop),
            "seconds": limits.grader_seconds,
            "memory_gb": limits.grader_memory_gb,
            # Of each of verl's reward workers.
            "workers": 2 if choice.preset == "paper" else 1,
        },
    }


def _trainer(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    out = choice.out
    return {
        "trainer.project_name": "spo",
        "trainer.experiment_name": out.name,
        "trainer.logger": ["console", "tensorboard", "file"],
        "trainer.nnodes": choice.nodes,
        "trainer.n_gpus_per_node": choice.gpus_per_node,
        STEPS_KEY: sizes.steps,
        # An epoch has at least one step, so that the steps end the training.
        EPOCHS_KEY: sizes.steps or 1,
        "trainer.save_freq": 20 if choice.preset == "paper" else 10,
        "trainer.test_freq": 10 if choice.validation else -1,
        "trainer.val_before_train": False,
        CHECKPOINTS_KEY: str(out / CHECKPOINTS),
        "trainer.validation_data_dir": str(out / "validation"),
        "trainer.resume_mode": "auto" if choice.resume else "disable",
        # Where verl's loggers write, on whichever node they run.
        "+ray_kwargs.ray_init.runtime_env.env_vars": {
            "VERL_FILE_LOGGER_PATH": str(out / METRICS),
            "TENSORBOARD_DIR": str(out / "tensorboard"),
        },
    }


def _integer(asked: Mapping[str, Any], key: str, default: int) -> int:
    value = asked.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else default


def _round_up(number: int, step: int) -> int:
    return -(-number // step) * step
