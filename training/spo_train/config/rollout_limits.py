"""How long a sequence of the engine may be, and how many it works on at once.

    set_rollout_limits(config, asked)         # sets what the user did not set
    check_rollout_limits(config)              # raises UserError

verl's default for the length is the model's maximum, for which vLLM would need room before it starts. Its default of
256 sequences also bounds the calls that Ray lets into an engine's actor, at 1,000: in asynchronous modes, the call that
pauses sampling waits behind the calls that sample, until few enough are left.
"""

from collections.abc import Collection
from typing import TYPE_CHECKING

from spo_data.errors import UserError
from spo_train.config.keys import (
    BATCHED_TOKENS_KEY,
    CONTEXT_KEY,
    MICRO_BATCH_KEY,
    MODE_KEY,
    SEQUENCE_PARALLEL_KEY,
    SEQUENCES_KEY,
    SYNC,
)

if TYPE_CHECKING:
    from omegaconf import DictConfig

CALLS = 1000
"""Calls that Ray lets into an engine's actor at least (verl's `max_concurrency` in `workers/rollout/replica.py`)."""
CONTROL_CALLS = 16
"""Those of them that verl leaves for pausing, waking and the like."""


def set_rollout_limits(config: "DictConfig", asked: Collection[str]) -> None:
    """Set context length and, in asynchronous modes, sequences; keys in `asked` are the user's and stay."""
    from omegaconf import OmegaConf

    rollout = config.actor_rollout_ref.rollout
    wanted = {CONTEXT_KEY: config.data.max_prompt_length + config.data.max_response_length}
    if (flying := prompts_in_flight(config)) > rollout.max_num_seqs:
        wanted[SEQUENCES_KEY] = flying
    sequences = rollout.max_num_seqs if SEQUENCES_KEY in asked else max(flying, rollout.max_num_seqs)
    # vLLM refuses more sequences than tokens in a step.
    wanted[BATCHED_TOKENS_KEY] = max(rollout.max_num_batched_tokens, sequences)
    for key, value in wanted.items():
        if key not in asked:
            OmegaConf.update(config, key, value)


def check_rollout_limits(config: "DictConfig") -> None:
    """Raise UserError if too many responses in flight keep an engine from pausing, or a GPU takes less than one."""
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    if (flying := prompts_in_flight(config)) > max(CALLS - CONTROL_CALLS, rollout.max_num_seqs):
        raise UserError(
            f"{SEQUENCES_KEY}={rollout.max_num_seqs}: {MODE_KEY}={config.trainer.v1.trainer_mode} has up to"
            f" {flying:,} responses in flight in each engine, which would wait for them instead of pausing:"
            f" {SEQUENCES_KEY}={flying}"
        )
    if rollout.max_num_batched_tokens < rollout.max_num_seqs:
        raise UserError(
            f"{BATCHED_TOKENS_KEY}={rollout.max_num_batched_tokens}: vLLM wants at least {SEQUENCES_KEY},"
            f" {rollout.max_num_seqs:,}"
        )
    context = config.data.max_prompt_length + config.data.max_response_length
    parts = actor.ulysses_sequence_parallel_size
    if actor.use_dynamic_bsz and actor.ppo_max_token_len_per_gpu * parts < context:
        raise UserError(
            f"{MICRO_BATCH_KEY}={actor.ppo_max_token_len_per_gpu} times {SEQUENCE_PARALLEL_KEY} {parts} is less than"
            f" the {context:,} tokens of a prompt and a response: {MICRO_BATCH_KEY}={-(-context // parts)}"
        )


def prompts_in_flight(config: "DictConfig") -> int:
    """Return the most responses that an engine has at once, or 0 if nothing depends on it: sampling then never pauses.

    An asynchronous mode draws its next batches while the first one is sampled. `spo_separate_async` can leave all of
    them to the engines on nodes of their own.
    """
    mode, rollout = config.trainer.v1.trainer_mode, config.actor_rollout_ref.rollout
    if mode == SYNC:
        return 0
    ahead = config.trainer.v1[mode.removeprefix("spo_")].get("num_warmup_batches") or 0
    apart = mode == "spo_separate_async" and rollout.nnodes
    gpus = rollout.nnodes * rollout.n_gpus_per_node if apart else config.trainer.nnodes * config.trainer.n_gpus_per_node
    size = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    responses = int(config.data.train_batch_size * (1 + ahead)) * rollout.n
    return int(-(-responses // max(1, gpus // max(1, size))))
