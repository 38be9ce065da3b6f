"""Which of verl's settings decide the memory of an update, and their values for a machine.

choose_memory_settings(config, machine, asked)        # sets what the user did not set
read_workload(config, machine.shape)                  # the formula's input, whoever set the settings
list_remedies(config, machine)                        # ["data…=…: 16.0 GiB", ...] for a refusal
"""

import importlib.util
import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spo_train.config.gpu_memory import FULL, HALF, ModelShape, Workload, host_memory, update_memory
from spo_train.config.keys import (
    LORA_RANK_KEY,
    MICRO_BATCH_KEY,
    MODEL,
    OFFLOAD_POLICY_KEY,
    PARAM_OFFLOAD_KEY,
)
from spo_train.config.precision import width_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

ROOM = 0.9
"""Share of a GPU that the formula may fill: what it does not count needs the rest."""
REMEDY_RANK = 32
"""The adapter's rank that a refusal proposes."""
MOST_GPUS = 64


@dataclass(frozen=True)
class Machine:
    """What a training run has to fit into, and the model that it trains."""

    shape: ModelShape
    gpu: int
    """Bytes of each GPU."""
    host: int
    """Bytes of each node's memory."""


def choose_memory_settings(config: "DictConfig", machine: Machine, asked: Collection[str]) -> None:
    """Set the micro-batch and the offloading to the first that fit the machine; leave them if none does.

    Keys in `asked` are the user's and stay as they are. Large micro-batches and GPUs come first.
    """
    from omegaconf import OmegaConf

    work = read_workload(config, machine.shape)
    fixed = {OFFLOAD_POLICY_KEY, PARAM_OFFLOAD_KEY} & set(asked) or not may_move_to_host(config)
    hosts = (work.everything_on_host,) if fixed else (False, True)
    dynamic = config.actor_rollout_ref.actor.use_dynamic_bsz and MICRO_BATCH_KEY not in asked
    sizes = tuple(_micro_batches(config)) if dynamic else (None,)
    for on_host in hosts:
        for tokens in sizes:
            tried = replace(work, everything_on_host=on_host, tokens=tokens or work.tokens)
            if fits(tried, machine):
                if not fixed:
                    OmegaConf.update(config, OFFLOAD_POLICY_KEY, on_host)
                if tokens is not None:
                    OmegaConf.update(config, MICRO_BATCH_KEY, tokens)
                return


def fits(work: Workload, machine: Machine) -> bool:
    """Return whether an update fits the GPU with room to spare, and what is offloaded fits the host."""
    return update_memory(work).total <= ROOM * machine.gpu and host_memory(work).total <= machine.host


def read_workload(config: "DictConfig", shape: ModelShape) -> Workload:
    """Read the formula's input from a composed configuration."""
    actor, model = config.actor_rollout_ref.actor, config.actor_rollout_ref.model
    fsdp, optim = actor.fsdp_config, actor.optim
    gpus = config.trainer.nnodes * config.trainer.n_gpus_per_node
    sequence = actor.ulysses_sequence_parallel_size
    context = config.data.max_prompt_length + config.data.max_response_length
    if actor.use_dynamic_bsz:
        tokens = actor.ppo_max_token_len_per_gpu
    else:
        tokens = (actor.ppo_micro_batch_size_per_gpu or 1) * context // sequence
    mini_batch = actor.ppo_mini_batch_size * config.actor_rollout_ref.rollout.n
    own = optim.override_optimizer_config or {}
    return Workload(
        shape=shape,
        gpus=gpus,
        nodes=config.trainer.nnodes,
        # A GPU's share of a mini-batch has no more.
        tokens=min(tokens, -(-mini_batch * context // gpus)),
        shards=fsdp.fsdp_size if 0 < (fsdp.fsdp_size or 0) < gpus else gpus,
        stored=width_of(fsdp.model_dtype),
        logit_bytes=_logit_bytes(config),
        fused_logits=bool(model.use_fused_kernels),
        checkpointing=bool(model.enable_gradient_checkpointing),
        checkpoints_offloaded=bool(model.enable_activation_offload),
        reshard=bool(fsdp.reshard_after_forward),
        adam=optim.optimizer in ("AdamW", "Adam") and optim.optimizer_impl == "torch.optim",
        scratch=not own.get("fused") and own.get("foreach") is not False,
        everything_on_host=bool(fsdp.offload_policy) and actor.strategy == "fsdp2",
        weights_offloaded=bool(fsdp.param_offload),
        moments_offloaded=bool(fsdp.optimizer_offload),
        lora_rank=int(model.lora_rank or 0),
    )


def list_remedies(config: "DictConfig", machine: Machine) -> list[str]:
    """Return settings and machines with which the update would fit, each with its memory, the least change first."""
    work = read_workload(config, machine.shape)
    smallest = min(_micro_batches(config))
    tried: list[tuple[str, Workload]] = []
    if config.actor_rollout_ref.actor.use_dynamic_bsz and smallest < work.tokens:
        tried.append((f"{MICRO_BATCH_KEY}={smallest}", replace(work, tokens=smallest)))
    tried.append((f"{MODEL}.use_fused_kernels=true", replace(work, fused_logits=True)))
    if may_move_to_host(config):
        tried.append((f"{OFFLOAD_POLICY_KEY}=true", replace(work, everything_on_host=True)))
    gpus = 2 * work.gpus
    while gpus <= MOST_GPUS and not fits(more := replace(work, gpus=gpus, shards=gpus), machine):
        gpus *= 2
    if gpus <= MOST_GPUS:
        tried.append((f"{gpus} GPUs", more))
    tried.append((f"{LORA_RANK_KEY}={REMEDY_RANK}", replace(work, lora_rank=REMEDY_RANK)))
    return [f"{name} ({show_bytes(update_memory(each).total)})" for name, each in tried if fits(each, machine)]


def show_bytes(number: float) -> str:
    """Return a number of bytes in GiB."""
    return f"{number / 2**30:,.1f} GiB"


def trains_apart(config: "DictConfig") -> bool:
    """Return whether verl copies the parameters to the host itself, which fails if they are there already."""
    return bool(config.trainer.v1.trainer_mode == "spo_separate_async")


def may_move_to_host(config: "DictConfig") -> bool:
    """Return whether `offload_policy` works, which verl reads with fsdp2 only."""
    return config.actor_rollout_ref.actor.strategy == "fsdp2" and not trains_apart(config)


def _micro_batches(config: "DictConfig") -> Iterator[int]:
    """Yield tokens of a micro-batch for each GPU: one whole sequence, then halves, down to a share of one."""
    context = config.data.max_prompt_length + config.data.max_response_length
    parts = 1
    while parts <= config.actor_rollout_ref.actor.ulysses_sequence_parallel_size:
        yield -(-context // parts)
        parts *= 2


def _logit_bytes(config: "DictConfig") -> int:
    """Return the bytes for each entry of the vocabulary and token while the logits' gradient is computed.

    flash-attn's cross entropy writes the gradient over the logits. verl's own keeps log-softmax as well, in fp32. A
    temperature other than 1 and an entropy need the logits once more.
    """
    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    chosen = (config.actor_rollout_ref.model.override_config or {}).get("attn_implementation")
    # flash-attn is required unless another implementation is asked for, or `kernels` has one.
    required = chosen in (None, "flash_attention_2") and importlib.util.find_spec("kernels") is None
    in_place = required or importlib.util.find_spec("flash_attn") is not None
    if os.environ.get("VERL_DISABLE_FLASH_ATTN_CE") == "1":
        in_place = False
    again = (float(rollout.temperature) != 1.0) + bool(actor.calculate_entropy or actor.entropy_coeff)
    return (HALF if in_place else HALF + FULL) + HALF * again
