"""An update of a model as verl's FSDP engine makes it, in torch's own account of its memory.

    measured = track_update(qwen3_config("Qwen3-8B", layers=2), tokens=4096, gpus=8)
    measured.backward, measured.step          # bytes of one GPU at the fullest moments

Nothing is computed: the tensors are fake, and so is the process group.
"""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.testing._internal.distributed.fake_pg import FakeStore
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

CPU = torch.device("cpu")
ATTENTION = "plain"


@dataclass(frozen=True)
class Measured:
    """Bytes of one GPU."""

    backward: int
    step: int


class _CrossEntropy(torch.autograd.Function):
    """What flash-attn's cross entropy keeps and returns: it writes the gradient over the logits."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
        losses = torch.empty(logits.shape[0], dtype=torch.float32)
        ctx.save_for_backward(logits, torch.empty_like(losses))
        return losses

    @staticmethod
    def backward(ctx: Any, _gradient: torch.Tensor) -> torch.Tensor:
        logits, _ = ctx.saved_tensors
        return logits.mul_(1.0)


def track_update(config: Any, tokens: int, gpus: int) -> Measured:
    """Return the memory of two micro-batches and an optimizer's step, when Adam's moments exist."""
    ALL_ATTENTION_FUNCTIONS.register(ATTENTION, _attention)
    dist.init_process_group("fake", rank=0, world_size=gpus, store=FakeStore())
    mesh = init_device_mesh("cpu", (gpus,))
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            model = AutoModelForCausalLM.from_config(config, attn_implementation=ATTENTION, dtype=torch.float32)
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
            _shard(model, mesh, tied=config.tie_word_embeddings)
            model.train()
            optimizer = torch.optim.AdamW(model.parameters(), foreach=True)
            tracker = MemTracker()
            tracker.track_external(model, optimizer)
            with tracker:
                _update(model, optimizer, tracker, tokens)  # makes the moments
                _forget_peak(tracker)
                backward = _backward(model, tracker, tokens)
                _forget_peak(tracker)
                optimizer.step()
                return Measured(backward, _peak(tracker))
    finally:
        dist.destroy_process_group()


def _attention(_module: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> tuple[torch.Tensor, None]:
    found = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    return found.transpose(1, 2).contiguous(), None


def _shard(model: nn.Module, mesh: Any, *, tied: bool) -> None:
    """Wrap the modules that verl's `apply_fsdp2` wraps."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=True)
    for name, module in list(model.named_modules()):
        outer = name.rpartition(".")[2] in ("embed_tokens", "lm_head")
        if type(module).__name__ in model._no_split_modules or (outer and not tied):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(model, mesh=mesh, mp_policy=policy)


def _update(model: nn.Module, optimizer: Any, tracker: MemTracker, tokens: int) -> None:
    _backward(model, tracker, tokens)
    optimizer.step()
    optimizer.zero_grad()


def _backward(model: nn.Module, tracker: MemTracker, tokens: int) -> int:
    """Accumulate two micro-batches, and return the peak of both."""
    for _ in range(2):
        tracker.reset_mod_stats()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            places = torch.arange(tokens)[None]
            logits = model(input_ids=torch.zeros_like(places), position_ids=places, use_cache=False).logits.squeeze(0)
            loss = _CrossEntropy.apply(logits).mean()
            del logits
        loss.backward()
    return _peak(tracker)


def _peak(tracker: MemTracker) -> int:
    return int(tracker.get_tracker_snapshot("peak")[CPU]["Total"])


def _forget_peak(tracker: MemTracker) -> None:
    tracker._peak_mem = dict.fromkeys(tracker._peak_mem, 0)
    tracker._peak_mem_snap = {}
