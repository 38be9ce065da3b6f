"""What is wrong with a composed configuration, found before Ray starts.

    check_config(config, choice)              # raises UserError: one line, with the setting that would be right
    check_with_verl(config)                   # verl's own checks, for which verl is imported

verl would stop at most of these too: after minutes of starting, on machines that are paid for.
"""

import contextlib
import io
from typing import TYPE_CHECKING

from spo_data.errors import UserError, first_line
from spo_train.config.keys import (
    ACTOR,
    BATCH_KEY,
    MODE_KEY,
    MODES,
    PROMPT_TOKENS_KEY,
    RESPONSE_TOKENS_KEY,
    ROLLOUT,
    STEPS_KEY,
)
from spo_train.config.preset import Choice
from spo_train.config.unsupported import format_override, refuse_unsupported
from spo_train.spo.settings import settings_from

if TYPE_CHECKING:
    from omegaconf import DictConfig

COUNTS = (
    BATCH_KEY,
    PROMPT_TOKENS_KEY,
    RESPONSE_TOKENS_KEY,
    f"{ROLLOUT}.n",
    f"{ROLLOUT}.agent.num_workers",
    f"{ROLLOUT}.tensor_model_parallel_size",
    f"{ROLLOUT}.val_kwargs.n",
    f"{ACTOR}.ppo_mini_batch_size",
    f"{ACTOR}.ulysses_sequence_parallel_size",
    "trainer.v1.separate_async.parameter_sync_step",
)
VERL_CLASSES = ("actor_rollout_ref.actor", "actor_rollout_ref.rollout", "algorithm")
"""The parts that verl turns into dataclasses, which refuse what they have no field for."""


def check_config(config: "DictConfig", choice: Choice, context_length: int | None = None) -> None:
    """Raise UserError where the settings do not fit each other, the prompts, the devices or the model's context."""
    _check_counts(config)
    refuse_unsupported(config, validation=choice.validation)
    _check_method(config, choice)
    _check_mode(config)
    _check_tokens(config, choice, context_length)
    _check_devices(config)
    _check_batch(config, choice)


def check_with_verl(config: "DictConfig") -> None:
    """Raise UserError with what verl says against the configuration."""
    from omegaconf import DictConfig, OmegaConf
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import omega_conf_to_dataclass, validate_config

    copy = DictConfig(OmegaConf.to_container(config))  # verl resolves some of it in place
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            for part in VERL_CLASSES:
                omega_conf_to_dataclass(OmegaConf.select(copy, part))
            validate_config(copy, use_reference_policy=need_reference_policy(copy), use_critic=need_critic(copy))
    except Exception as error:  # assertions, ValueErrors and hydra's wrapping of them
        raise UserError(f"verl refuses the settings: {_reason(error)}") from error


def _check_counts(config: "DictConfig") -> None:
    from omegaconf import OmegaConf

    epochs = config.trainer.total_training_steps is None
    for key in COUNTS if epochs else (*COUNTS, STEPS_KEY):
        value = OmegaConf.select(config, key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UserError(f"{key}={format_override(value)}: wanted a whole number from 1 on")


def _check_method(config: "DictConfig", choice: Choice) -> None:
    from omegaconf import OmegaConf

    try:
        settings = settings_from(dict(OmegaConf.to_container(config.trainer.spo, resolve=True)))  # type: ignore[arg-type] # its keys are names
    except (ValueError, TypeError) as error:
        raise UserError(
            f"trainer.spo: {first_line(error)}".replace("trainer.spo: trainer.spo", "trainer.spo")
        ) from error
    if settings.method != choice.method:
        raise UserError(f"trainer.spo.method={settings.method}: use --method {settings.method}")
    if choice.method != "grpo":
        if config.algorithm.adv_estimator != "spo":
            raise UserError(
                f"algorithm.adv_estimator={config.algorithm.adv_estimator}: --method {choice.method} has advantages of"
                " its own; --method grpo takes verl's"
            )
        if config.actor_rollout_ref.rollout.n != 1:
            raise UserError(
                f"{ROLLOUT}.n={config.actor_rollout_ref.rollout.n}: --method {choice.method} draws one response a"
                " prompt; --method grpo draws groups"
            )
    elif config.actor_rollout_ref.rollout.n < 2:
        raise UserError(f"{ROLLOUT}.n={config.actor_rollout_ref.rollout.n}: a group of GRPO has at least 2 responses")
    if config.algorithm.use_kl_in_reward:
        raise UserError("algorithm.use_kl_in_reward=true: a value is the expected reward without a penalty")


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
            f"{MODE_KEY}={mode} samples on nodes of its own, beside --nodes to train on: {ROLLOUT}.nnodes=1"
        )
    if actor.fsdp_config.param_offload:
        # verl's save_model_to_cpu keeps offloaded parameters themselves, not a copy: what it restores has moved on.
        raise UserError(
            f"{ACTOR}.fsdp_config.param_offload=true: {MODE_KEY}={mode} would lose updates of a step with it:"
            f" {ACTOR}.fsdp_config.param_offload=false"
        )
    steps = config.trainer.v1.separate_async.parameter_sync_step
    if config.data.train_batch_size != steps * actor.ppo_mini_batch_size:
        raise UserError(
            f"{MODE_KEY}={mode}: {BATCH_KEY} {config.data.train_batch_size} has to be"
            f" trainer.v1.separate_async.parameter_sync_step {steps} times {ACTOR}.ppo_mini_batch_size"
            f" {actor.ppo_mini_batch_size}"
        )


def _check_tokens(config: "DictConfig", choice: Choice, context_length: int | None) -> None:
    prompt, response = config.data.max_prompt_length, config.data.max_response_length
    if choice.longest_prompt > prompt:
        raise UserError(
            f"the longest prompt has {choice.longest_prompt:,} tokens, {PROMPT_TOKENS_KEY} is {prompt:,}:"
            f" {PROMPT_TOKENS_KEY}={choice.longest_prompt} takes it"
        )
    both = f"{PROMPT_TOKENS_KEY} {prompt:,} and {RESPONSE_TOKENS_KEY} {response:,} are {prompt + response:,} tokens"
    if context_length is not None and prompt + response > context_length:
        fits = _fit_tokens(choice.longest_prompt, prompt, response, context_length)
        raise UserError(f"{both}, the model's context is {context_length:,}: {fits}")
    engine = config.actor_rollout_ref.rollout.max_model_len
    if engine is not None and engine < prompt + response:
        raise UserError(f"{both}, {ROLLOUT}.max_model_len is {engine:,}: {ROLLOUT}.max_model_len={prompt + response}")


def _fit_tokens(longest: int, prompt: int, response: int, context_length: int) -> str:
    """The settings that fit into the model's context."""
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
        f"{ROLLOUT}.tensor_model_parallel_size": (config.actor_rollout_ref.rollout.tensor_model_parallel_size, here),
        f"{ACTOR}.ulysses_sequence_parallel_size": (
            config.actor_rollout_ref.actor.ulysses_sequence_parallel_size,
            devices,
        ),
    }
    for key, (size, there) in parts.items():
        if there % size:
            raise UserError(f"{key}={size}: does not divide the {there} GPUs (--nodes, --gpus-per-node)")


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
        raise UserError(f"{ACTOR}.ppo_mini_batch_size {mini:,} is more than {BATCH_KEY} {prompts:,}")
    workers = config.trainer.nnodes * config.trainer.n_gpus_per_node // actor.ulysses_sequence_parallel_size
    if mini * responses % workers:
        raise UserError(
            f"a mini-batch of {mini * responses} responses does not divide among {workers} workers:"
            f" {ACTOR}.ppo_mini_batch_size={-(-mini // workers) * workers}"
        )


def _reason(error: Exception) -> str:
    """The message that says something: hydra puts its own in front of the cause."""
    while error.__cause__ is not None and isinstance(error.__cause__, Exception):
        error = error.__cause__
    return first_line(error)
