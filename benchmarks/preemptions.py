"""How much work preemptions cost, by the share of the KV cache that vLLM keeps free when it admits a request.

    python benchmarks/preemptions.py

vLLM's own scheduler and KV cache manager run here without a model: every running request gets one token a step, until
it has as many as its length says. A step takes as long as Qwen3-8B would on an H100 of 80 GB, by this model: the
weights are read once, then the keys and values of all running requests, at 3 TB/s, and prompts are computed at 25,000
tokens/s. Lengths and cache are a tenth of real ones, and one token counts as ten. Compare the lines with each other.
"""

import argparse
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from spo_data.engines.vllm import KV_WATERMARK, engine_arguments
from spo_data.models.names import resolve_model
from spo_data.options import EngineOptions

ONE_STANDS_FOR = 10
CACHE_TOKENS = 370_000 // ONE_STANDS_FOR
PROMPT_TOKENS = 200 // ONE_STANDS_FOR
MAX_TOKENS = 16_384 // ONE_STANDS_FOR
BLOCK = 16
WEIGHTS_SECONDS, KV_SECONDS, PREFILL_SECONDS = 0.0055, 147e3 / 3e12, 1 / 25_000
LENGTHS = {"long": (6_000, 0.75), "short": (500, 0.9)}
"""Median and spread of the log-normal lengths of responses that think, and of those that do not."""


@dataclass(frozen=True)
class Drawn:
    """What drawing all responses took."""

    seconds: float
    tokens: int
    preemptions: int
    recomputed: int
    """Tokens that were scheduled more than once."""
    kv_mean: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=1_500)
    arguments = parser.parse_args()
    for kind, (median, spread) in LENGTHS.items():
        lengths = draw_lengths(median, spread, arguments.responses)
        print(f"{kind}: {len(lengths):,} responses of {lengths.mean() * ONE_STANDS_FOR:,.0f} tokens on average")
        for share in (0.0, 0.02, KV_WATERMARK, 0.1, 0.2):
            drawn = draw_all(lengths.tolist(), share)
            print(
                f"  {share:4.0%} free  {drawn.tokens * ONE_STANDS_FOR / drawn.seconds:8,.0f} tokens/s"
                f"  {drawn.preemptions / len(lengths):5.2f} preemptions a response"
                f"  {drawn.recomputed / drawn.tokens:5.2f} tokens computed again a token"
                f"  KV cache {drawn.kv_mean:.0%} full"
            )


def draw_lengths(median: float, spread: float, count: int) -> np.ndarray:
    """Return lengths in tokens of this simulation."""
    real = np.random.default_rng(0).lognormal(np.log(median), spread, count)
    return np.clip(real / ONE_STANDS_FOR, 1, MAX_TOKENS).astype(int)


def draw_all(
    lengths: list[int], watermark: float, *, cache_tokens: int = CACHE_TOKENS, max_num_seqs: int = 1024
) -> Drawn:
    """Draw responses of these lengths, with all requests submitted as an estimate submits them."""
    from vllm.v1.outputs import ModelRunnerOutput

    scheduler, make_request = _make_scheduler(watermark, cache_tokens, max_num_seqs)
    numbers = random.Random(0)
    waiting = iter([make_request(f"{number}", length) for number, length in enumerate(lengths)])
    seconds = kv_sum = 0.0
    in_flight = preemptions = computed = steps = 0
    while True:
        for request in waiting if in_flight < max_num_seqs * 9 // 8 + 2 else ():
            scheduler.add_request(request)
            in_flight += 1
            if in_flight == max_num_seqs * 9 // 8 + 2:
                break
        if not in_flight:
            break
        step = scheduler.schedule()
        scheduled = step.num_scheduled_tokens
        prefill = sum(scheduled.values()) - len(scheduled)
        names = [name for name in scheduled if not scheduler.requests[name].is_prefill_chunk]
        sampled = [[numbers.randrange(100, 40_000)] if name in names else [] for name in scheduled]
        order = {name: position for position, name in enumerate(scheduled)}
        outputs = scheduler.update_from_output(
            step, ModelRunnerOutput(req_ids=list(scheduled), req_id_to_index=order, sampled_token_ids=sampled)
        )
        usage = scheduler.kv_cache_manager.usage
        steps, computed, kv_sum = steps + 1, computed + sum(scheduled.values()), kv_sum + usage
        kv_seconds = usage * cache_tokens * ONE_STANDS_FOR * KV_SECONDS
        seconds += ONE_STANDS_FOR * (WEIGHTS_SECONDS + kv_seconds + prefill * PREFILL_SECONDS)
        for output in (one for client in outputs.values() for one in client.outputs):
            preemptions += sum(event.type.name == "PREEMPTED" for event in output.events or ())
            in_flight -= output.finish_reason is not None
    needed = sum(lengths) + len(lengths) * (PROMPT_TOKENS - 1)  # a response's last token is never computed
    return Drawn(seconds, sum(lengths), preemptions, computed - needed, kv_sum / steps)


def _make_scheduler(watermark: float, cache_tokens: int, max_num_seqs: int) -> tuple[Any, Any]:
    import torch
    from vllm import SamplingParams
    from vllm.usage.usage_lib import UsageContext
    from vllm.utils.hashing import sha256
    from vllm.v1.core.kv_cache_utils import get_request_block_hasher, init_none_hash
    from vllm.v1.core.sched.scheduler import Scheduler
    from vllm.v1.kv_cache_interface import FullAttentionSpec, KVCacheConfig, KVCacheGroupSpec
    from vllm.v1.request import Request
    from vllm.v1.structured_output import StructuredOutputManager

    options = EngineOptions(
        max_num_seqs=max_num_seqs,
        engine_arg={
            "watermark": watermark,
            "async_scheduling": False,
            "block_size": BLOCK,
            "enable_chunked_prefill": True,
            "max_num_batched_tokens": 8192,
        },
    )
    config = engine_arguments(resolve_model("smollm2-135m"), options, 4096).create_engine_config(UsageContext.LLM_CLASS)
    config.cache_config.num_gpu_blocks = cache_tokens // BLOCK
    spec = FullAttentionSpec(block_size=BLOCK, num_kv_heads=1, head_size=1, dtype=torch.float32)
    cache = KVCacheConfig(
        num_blocks=cache_tokens // BLOCK, kv_cache_tensors=[], kv_cache_groups=[KVCacheGroupSpec(["layer"], spec)]
    )
    init_none_hash(sha256)
    hasher = get_request_block_hasher(BLOCK, sha256)

    def make_request(name: str, length: int) -> Any:
        prompt = random.Random(name).choices(range(100, 40_000), k=PROMPT_TOKENS)
        parameters = SamplingParams(max_tokens=length, ignore_eos=True)
        return Request(name, prompt, parameters, None, block_hasher=hasher)

    scheduler = Scheduler(config, cache, StructuredOutputManager(config), BLOCK, log_stats=True)
    return scheduler, make_request


if __name__ == "__main__":
    main()
