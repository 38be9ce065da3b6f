"""Checks of a composed configuration, before Ray starts.

    check_config(config, choice)              # raises UserError: one line, with the setting that would be right
    check_with_verl(config)                   # verl's own checks, for which verl is imported

verl would refuse most of these too, but only after minutes of start-up on machines that cost money.
"""

import contextlib
import io
from typing import TYPE_CHECKING

from spo_data.errors import UserError, first_line
from spo_train.config.checkpoint_settings import check_checkpoint_settings
from spo_train.config.keys import (
    ACTOR,
    ADVANTAGE_KEY,
    BATCH_KEY,
    BATCHED_TOKENS_KEY,
    KL_IN_REWARD_KEY,
    MICRO_BATCH_KEY,
    MINI_BATCH_KEY,
    MODE_KEY,
    MODES,
    OFFLOAD_POLICY_KEY,
    PARAM_OFFLOAD_KEY,
    PROMPT_TOKENS_KEY,
    RESPONSE_TOKENS_KEY,
    RESPONSES_KEY,
    ROLLOUT,
    ROLLOUT_NODES_KEY,
    SEQUENCE_PARALLEL_KEY,
    SEQUENCES_KEY,
    SHARDS_KEY,
    SPO,
    STEPS_KEY,
    SYNC_STEPS_KEY,
    TENSOR_PARALLEL_KEY,
    VAL_RESPONSES_KEY,
)
from spo_train.config.rollout_limits import check_rollout_limits
from spo_train.config.setting_kinds import check_kinds, is_whole
from spo_train.config.train_choice import Choice
from spo_train.config.unsupported import format_override, refuse_unsupported
from spo_train.spo.settings import settings_from

if TYPE_CHECKING:
    from omegaconf import DictConfig

COUNTS = (
    BATCH_KEY,
    PROMPT_TOKENS_KEY,
    RESPONSE_TOKENS_KEY,
    RESPONSES_KEY,
    f"{ROLLOUT}.agent.num_workers",
    TENSOR_PARALLEL_KEY,
    VAL_RESPONSES_KEY,
    MINI_BATCH_KEY,
    MICRO_BATCH_KEY,
    SEQUENCE_PARALLEL_KEY,
    SEQUENCES_KEY,
    BATCHED_TOKENS_KEY,
    SYNC_STEPS_KEY,
)
"""Settings that must be whole numbers, at least 1."""
VERL_CLASSES = (ACTOR, ROLLOUT, "algorithm")
"""The parts that verl turns into dataclasses, which refuse a setting without a field."""


def check_config(config: "DictConfig", choice: Choice, context_length: int | None = None) -> None:
    """Raise UserError if the settings do not fit each other, the prompts, the devices or the model's context."""
    _check_counts(config)
    check_kinds(config)
    refuse_unsupported(config, validation=choice.validation)
    _check_method(config, choice)
    _check_mode(config)
    _check_tokens(config, choice, context_length)
    _check_devices(config)
    _check_batch(config, choice)
    check_rollout_limits(config)
    check_checkpoint_settings(config, choice.prompts)


def is_sound(config: "DictConfig") -> bool:
    """Return whether counts, kinds and mode are usable, so that other settings can be derived from them."""
    try:
        _check_counts(config)
        check_kinds(config)
        _check_mode(config)
    except UserError:
        return False
    return True


def check_with_verl(config: "DictConfig") -> None:
    """Raise UserError with verl's reason if verl refuses the configuration."""
    from omegaconf import DictConfig, OmegaConf
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    copy = DictConfig(OmegaConf.to_container(config))  # verl resolves parts of it in place
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for part in VERL_CLASSES:
                omega_conf_to_dataclass(OmegaConf.select(copy, part))
            validate_config(copy, use_reference_policy=need_reference_policy(copy), use_critic=need_critic(copy))
    except Exception as error:  # assertions, ValueErrors and hydra's wrapping of them
        raise UserError(f"verl refuses the settings: {_find_reason(error)}") from error


def _check_counts(config: "DictConfig") -> None:
    from omegaconf import OmegaConf

    epochs = config.trainer.total_training_steps is None
    for key in COUNTS if epochs else (*COUNTS, STEPS_KEY):
        value = OmegaConf.select(config, key)
        if not is_whole(value) or value < 1:
            raise UserError(f"{key}={format_override(value)}: wanted a whole number, at least 1")


def _check_method(config: "DictConfig", choice: Choice) -> None:
    from omegaconf import OmegaConf

    try:
        settings = settings_from(dict(OmegaConf.to_container(config.trainer.spo, resolve=True)))  # type: ignore[arg-type] # its keys are names
    except (ValueError, TypeError) as error:
        raise UserError(f"{SPO}: {first_line(error)}".replace(f"{SPO}: {SPO}", SPO)) from error
    if settings.method != choice.method:
        raise UserError(f"{SPO}.method={settings.method}: use --method {settings.method}")
    if choice.method != "grpo":
        if config.algorithm.adv_estimator != "spo":
            raise UserError(
                f"{ADVANTAGE_KEY}={config.algorithm.adv_estimator}: --method {choice.method} computes its own"
                " advantages; --method grpo uses verl's"
            )
        if config.actor_rollout_ref.rollout.n != 1:
            raise UserError(
                f"{RESPONSES_KEY}={config.actor_rollout_ref.rollout.n}: --method {choice.method} draws one response per"
                " prompt; --method grpo draws groups"
            )
    elif config.actor_rollout_ref.rollout.n < 2:
        raise UserError(
            f"{RESPONSES_KEY}={config.actor_rollout_ref.rollout.n}: a GRPO group needs at least 2 responses"
        )
    if config.algorithm.use_kl_in_reward:
        raise UserError(f"{KL_IN_REWARD_KEY}=true: a value is the expected reward without a penalty")


def _check_mode(config: "DictConfig") -> None:
    mode = config.trainer.v1.trainer_mode
    if mode not in MODES:
        near = f"spo_{mode}" if f"spo_{mode}" in MODES else ", ".join(MODES)
        raise UserError(f"{MODE_KEY}={mode}: did you mean {near}?")
    if mode != "spo_separate_async":
        return
    if not config.actor_rollout_ref.hybrid_engine:
        raise UserError("actor_rollout_ref.hybrid_engine=false: verl 0.9.1 fails with it when it writes a log line")
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    if rollout.nnodes < 1:
        raise UserError(
            f"{MODE_KEY}={mode} samples on separate nodes, in addition to the --nodes that train: {ROLLOUT_NODES_KEY}=1"
        )
    for key, offloaded in (
        (PARAM_OFFLOAD_KEY, actor.fsdp_config.param_offload),
        (OFFLOAD_POLICY_KEY, actor.fsdp_config.offload_policy),
    ):
        if offloaded:
            # verl's save_model_to_cpu does not copy offloaded parameters, so what it restores has changed since.
            raise UserError(f"{key}=true: {MODE_KEY}={mode} would lose updates of a step: {key}=false")
    steps = config.trainer.v1.separate_async.parameter_sync_step
    if config.data.train_batch_size != steps * actor.ppo_mini_batch_size:
        raise UserError(
            f"{MODE_KEY}={mode}: {BATCH_KEY} {config.data.train_batch_size} has to be"
            f" {SYNC_STEPS_KEY} {steps} times {MINI_BATCH_KEY} {actor.ppo_mini_batch_size}"
        )


def _check_tokens(config: "DictConfig", choice: Choice, context_length: int | None) -> None:
    prompt, response = config.data.max_prompt_length, config.data.max_response_length
    if choice.longest_prompt > prompt:
        raise UserError(
            f"the longest prompt has {choice.longest_prompt:,} tokens, {PROMPT_TOKENS_KEY} is {prompt:,}:"
            f" {PROMPT_TOKENS_KEY}={choice.longest_prompt} makes room for it"
        )
    both = f"{PROMPT_TOKENS_KEY} {prompt:,} and {RESPONSE_TOKENS_KEY} {response:,} are {prompt + response:,} tokens"
    if context_length is not None and prompt + response > context_length:
        fits = _fit_tokens(choice.longest_prompt, prompt, response, context_length)
        raise UserError(f"{both}, the model's context is {context_length:,}: {fits}")
    engine = config.actor_rollout_ref.rollout.max_model_len
    if engine is not None and engine < prompt + response:
        raise UserError(f"{both}, {ROLLOUT}.max_model_len is {engine:,}: {ROLLOUT}.max_model_len={prompt + response}")


def _fit_tokens(longest: int, prompt: int, response: int, context_length: int) -> str:
    """Return the settings that fit into the model's context, for a message."""
    if prompt < context_length:
        return f"{RESPONSE_TOKENS_KEY}={context_length - prompt} fits"
    if longest < context_length:
        prompt = max(longest, 1)
        response = min(response, context_length - prompt)
        return f"{PROMPT_TOKENS_KEY}={prompt} {RESPONSE_TOKENS_KEY}={response} fit"
    return f"the longest prompt has {longest:,}, which leaves no room for a response"


def _check_devices(config: "DictConfig") -> None:
    here = config.trainer.n_gpus_per_node
    devices = config.trainer.nnodes * here
    parts = {
        TENSOR_PARALLEL_KEY: (config.actor_rollout_ref.rollout.tensor_model_parallel_size, here),
        SEQUENCE_PARALLEL_KEY: (config.actor_rollout_ref.actor.ulysses_sequence_parallel_size, devices),
    }
    for key, (size, there) in parts.items():
        if there % size:
            raise UserError(
                f"{key}={size}: must divide the {there} GPU{'' if there == 1 else 's'} (--nodes, --gpus-per-node)"
            )

    shards = config.actor_rollout_ref.actor.fsdp_config.fsdp_size
    if shards == 0 or (0 < shards < devices and devices % shards):
        raise UserError(f"{SHARDS_KEY}={shards}: must divide the {devices:,} GPUs; {SHARDS_KEY}=-1 takes all")


def _check_batch(config: "DictConfig", choice: Choice) -> None:
    prompts, actor = config.data.train_batch_size, config.actor_rollout_ref.actor
    mini, responses = actor.ppo_mini_batch_size, config.actor_rollout_ref.rollout.n
    if prompts > choice.prompts:
        multiple = max(1, prompts // mini)
        fits = choice.prompts // multiple * multiple or choice.prompts
        raise UserError(
            f"{BATCH_KEY} {prompts:,} is more than the {choice.prompts:,} training prompts: {BATCH_KEY}={fits} fits"
        )
    mode = config.trainer.v1.trainer_mode.removeprefix("spo_")
    ahead = config.trainer.v1[mode].get("num_warmup_batches", 0)
    if prompts * (1 + ahead) > choice.prompts:
        raise UserError(
            f"{BATCH_KEY} {prompts:,} and {prompts * ahead:,.0f} prompts in flight ({MODE_KEY}=spo_{mode}) are more"
            f" than the {choice.prompts:,} training prompts: {BATCH_KEY}={int(choice.prompts / (1 + ahead)) or 1} fits"
        )
    if mini > prompts:
        raise UserError(f"{MINI_BATCH_KEY} {mini:,} is more than {BATCH_KEY} {prompts:,}")
    workers = config.trainer.nnodes * config.trainer.n_gpus_per_node // actor.ulysses_sequence_parallel_size
    if mini * responses % workers:
        raise UserError(
            f"a mini-batch of {mini * responses} responses cannot be split evenly among {workers} workers:"
            f" {MINI_BATCH_KEY}={-(-mini // workers) * workers}"
        )


def _find_reason(error: Exception) -> str:
    """Return the message of the innermost cause: hydra wraps it in a less specific one."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error)
