"""What `spo-train` sets in verl's configuration, by preset and method.

    choice = Choice(method="spo", preset="paper", model="Qwen/Qwen3-8B", out=Path("runs/train"), prompts=13_904)
    preset_overrides(choice, sizes_of(choice, {}))      # {"data.train_batch_size": 2048, ...}

`paper` is the published experiment (arXiv 2509.13232, section 5) on eight GPUs. `small` has an eighth of its responses
in each step, for one or two GPUs, and `demo` is small enough for a CPU.
Settings derived from others (mini-batch, context, memory of a micro-batch) are derived from the user's if given.

Keys are verl's. As in hydra, `+` marks one that verl's configuration does not list; verl or SPO reads it.
"""

from dataclasses import asdict
from typing import Any

from spo_train.config.keys import (
    ACTOR,
    ADVANTAGE_KEY,
    BATCH_KEY,
    CHAT_TEMPLATE_KEY,
    CHECKPOINTS_KEY,
    DEFAULT_LOOP_KEY,
    EPOCHS_KEY,
    FILTER_OVERLONG_KEY,
    GPUS_KEY,
    KEEP_KEY,
    KL_IN_REWARD_KEY,
    LOADER_PROCESSES_KEY,
    LOGGER_KEY,
    LOOP_FILE_KEY,
    MINI_BATCH_KEY,
    MODE_KEY,
    MODEL,
    MODEL_PATH_KEY,
    MOMENTS_OFFLOAD_KEY,
    NODES_KEY,
    PARAM_OFFLOAD_KEY,
    PROMPT_TOKENS_KEY,
    REFILL_KEY,
    RESPONSE_TOKENS_KEY,
    RESPONSES_KEY,
    RESUME_KEY,
    REWARD_KWARGS,
    ROLLOUT,
    SAMPLER,
    SEQUENCE_PARALLEL_KEY,
    SPO,
    STEPS_KEY,
    SYNC,
    SYNC_STEPS_KEY,
    TEMPLATE_KWARGS_KEY,
    TENSOR_PARALLEL_KEY,
    TRAIN_FILES_KEY,
    VAL_FILES_KEY,
    VAL_RESPONSES_KEY,
)
from spo_train.config.train_choice import UPDATES, Choice, Sizes
from spo_train.filenames import AGENT_LOOP, CHECKPOINTS, METRICS, TRAIN_ROWS, VALIDATION_ROWS, VALUES
from spo_train.literal import to_literal
from spo_train.spo.settings import SPOSettings

LEARNING_RATE = {"paper": 1e-6, "small": 1e-6, "demo": 1e-5}
VALIDATION_SAMPLES = {"paper": 16, "small": 4, "demo": 1}
REWARD_MANAGER = {
    "reward.reward_manager.source": "importlib",
    "reward.reward_manager.name": "GradedReward",
    "reward.reward_manager.module.path": "pkg://spo_train.hooks.reward",
}
"""How verl finds `spo_train.hooks.reward`."""
LOOP_NAME = "spo_agent"
"""How `agent_loop.yaml` names `spo_train.hooks.agent_loop`."""


def preset_overrides(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    """Return the preset's settings, to which a CPU's and the user's are added."""
    preset, out = choice.preset, choice.out
    train = [str(out / TRAIN_ROWS)]
    return {
        **_set_method(choice),
        TRAIN_FILES_KEY: train,
        # verl reads validation rows even if it does not validate.
        VAL_FILES_KEY: [str(out / VALIDATION_ROWS)] if choice.validation else train,
        "data.val_max_samples": -1 if choice.validation else 1,
        BATCH_KEY: sizes.prompts,
        "data.gen_batch_size": 1,
        PROMPT_TOKENS_KEY: sizes.prompt_tokens,
        RESPONSE_TOKENS_KEY: sizes.response_tokens,
        FILTER_OVERLONG_KEY: False,
        "data.truncation": "error",
        "data.return_raw_chat": True,
        "data.shuffle": True,
        "data.seed": 0,
        # verl would start its loader's processes from a trainer with many threads, at each checkpoint.
        LOADER_PROCESSES_KEY: 0,
        TEMPLATE_KWARGS_KEY: to_literal(choice.template_kwargs),
        **_set_actor(choice, sizes),
        **_set_rollout(choice, sizes),
        **_set_reward(choice),
        **_set_trainer(choice, sizes),
        f"{ACTOR}.optim.lr": LEARNING_RATE[preset],
    }


def parallel_size(limit: int, devices: int, attention_heads: int | None) -> int:
    """Return the largest power of two up to `limit` that divides the devices and the attention heads."""
    size = 1
    while 2 * size <= limit and devices % (2 * size) == 0 and (attention_heads or 2 * size) % (2 * size) == 0:
        size *= 2
    return size


def _set_method(choice: Choice) -> dict[str, Any]:
    settings = asdict(SPOSettings(method=choice.method, values=str(choice.out / VALUES)))
    return {
        f"+{SPO}": settings,
        ADVANTAGE_KEY: "grpo" if choice.method == "grpo" else "spo",
        KL_IN_REWARD_KEY: False,
        "critic.enable": False,
        MODE_KEY: SYNC,
        # Samples whose grading failed are replaced, never scored 0.
        REFILL_KEY: True,
        # Dropping slow responses would bias the batch towards short ones.
        f"{SAMPLER}.max_off_policy_strategy": "wait",
        SYNC_STEPS_KEY: UPDATES[choice.preset],
    }


def _set_actor(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    devices = choice.nodes * choice.gpus_per_node
    return {
        MODEL_PATH_KEY: choice.model,
        CHAT_TEMPLATE_KEY: choice.chat_template,
        f"{MODEL}.use_remove_padding": True,
        f"{MODEL}.enable_gradient_checkpointing": True,
        f"{ACTOR}.strategy": "fsdp2",
        f"{ACTOR}.fsdp_config.strategy": "fsdp2",
        # `spo_separate_async` keeps a copy of the parameters, which fails if they are offloaded.
        PARAM_OFFLOAD_KEY: not sizes.rollout_devices,
        MOMENTS_OFFLOAD_KEY: True,
        # verl multiplies it by the responses to a prompt.
        MINI_BATCH_KEY: max(1, sizes.prompts // UPDATES[choice.preset]),
        f"{ACTOR}.use_dynamic_bsz": True,
        f"{ACTOR}.ppo_max_token_len_per_gpu": sizes.context_length,
        SEQUENCE_PARALLEL_KEY: parallel_size(8, devices, choice.attention_heads),
        f"{ACTOR}.clip_ratio_low": 0.2,
        f"{ACTOR}.clip_ratio_high": 0.28,
        f"{ACTOR}.clip_ratio_c": 10.0,
        f"{ACTOR}.loss_agg_mode": "token-mean",
        f"{ACTOR}.use_kl_loss": False,
        f"{ACTOR}.entropy_coeff": 0,
    }


def _set_rollout(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    return {
        f"{ROLLOUT}.name": "vllm",
        RESPONSES_KEY: sizes.responses,
        f"{ROLLOUT}.temperature": choice.temperature,
        f"{ROLLOUT}.top_p": choice.top_p,
        f"{ROLLOUT}.top_k": choice.top_k,
        f"{ROLLOUT}.calculate_log_probs": True,
        f"{ROLLOUT}.gpu_memory_utilization": 0.8,
        # How weights reach devices that only sample.
        f"{ROLLOUT}.checkpoint_engine.backend": "nccl" if sizes.rollout_devices else "naive",
        TENSOR_PARALLEL_KEY: parallel_size(4, choice.gpus_per_node, choice.attention_heads),
        DEFAULT_LOOP_KEY: LOOP_NAME,
        LOOP_FILE_KEY: str(choice.out / AGENT_LOOP),
        f"{ROLLOUT}.val_kwargs.do_sample": True,
        VAL_RESPONSES_KEY: VALIDATION_SAMPLES[choice.preset],
        f"{ROLLOUT}.val_kwargs.temperature": 0.6,
        f"{ROLLOUT}.val_kwargs.top_p": 0.95,
        f"{ROLLOUT}.val_kwargs.top_k": 20,
    }


def _set_reward(choice: Choice) -> dict[str, Any]:
    from spo_data.options import GraderOptions

    limits = GraderOptions()
    return {
        **REWARD_MANAGER,
        f"+{REWARD_KWARGS}": {
            "verifier": to_literal(choice.verifier),
            "version": to_literal(choice.verifier_version),
            "truncated": choice.truncated,
            "thinking": choice.thinking,
            "stop": to_literal(choice.stop),
            "seconds": limits.grader_seconds,
            "memory_gb": limits.grader_memory_gb,
            # Grader processes of each of verl's reward workers.
            "workers": 1 if choice.preset == "demo" else 2,
        },
    }


def _set_trainer(choice: Choice, sizes: Sizes) -> dict[str, Any]:
    out = choice.out
    return {
        "trainer.project_name": "spo",
        "trainer.experiment_name": out.name,
        LOGGER_KEY: ["console", "tensorboard", "file"],
        NODES_KEY: choice.nodes,
        GPUS_KEY: choice.gpus_per_node,
        STEPS_KEY: sizes.steps,
        # Each epoch has at least one step, so with as many epochs the steps end the training run.
        EPOCHS_KEY: sizes.steps or 1,
        "trainer.save_freq": 10 if choice.preset == "demo" else 20,
        "trainer.test_freq": 10 if choice.validation else -1,
        "trainer.val_before_train": False,
        CHECKPOINTS_KEY: str(out / CHECKPOINTS),
        KEEP_KEY: 2,
        "trainer.validation_data_dir": str(out / "validation"),
        RESUME_KEY: "auto" if choice.resume else "disable",
        # Where verl's loggers write, on any node.
        "+ray_kwargs.ray_init.runtime_env.env_vars": {
            "VERL_FILE_LOGGER_PATH": str(out / METRICS),
            "TENSORBOARD_DIR": str(out / "tensorboard"),
        },
    }
