"""What this process spends on a token, without an engine: the part `front` of throughput.py.

A stub stands where vLLM's engine core stands. It "samples" given texts, one token of each running request a step, and
its outputs go through vLLM's own message decoding, output processing and AsyncLLM, into our engine. An engine on a fast
GPU gives thousands of tokens a second, and one process has to take all of them.
"""

import asyncio
import gc
import time
from collections import deque
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from spo_data.engines.protocol import SampleRequest
from spo_data.engines.vllm import VllmEngine, engine_arguments
from spo_data.engines.vllm_log import output_to
from spo_data.engines.vllm_stats import count_preemptions, make_stat_logger
from spo_data.models.names import Model
from spo_data.options import EngineOptions, Sampling

ROUNDS = 3
"""How often each arm runs; the best time counts, since other programs only add to it."""
RESPONSE_TOKENS = 512
PROMPT_TOKENS = 200
TEXT = (
    "Let $x = \\frac{3}{4}$, so that $x^2 ≤ 1$. Wait — 三角形 has 3 sides, and the answer is \\boxed{12}. \U0001f642\n"
)


def measure_front(model: Model, max_num_seqs: int, folder: Path, n_tokens: int) -> None:
    """Print the microseconds of this process's CPU time that a token takes, with and without our changes."""
    arms = (
        ("vLLM's text, no statistics", False, None),
        ("decoded once, no statistics", True, None),
        ("decoded once, our statistics (as an estimate runs)", True, "ours"),
        ("vLLM's text, vLLM's statistics", False, "vLLM"),
    )
    n_requests = max(1, n_tokens // RESPONSE_TOKENS // ROUNDS)
    engine = EngineOptions(max_num_seqs=max_num_seqs, enforce_eager=True)
    print(f"{n_requests:,} responses of {RESPONSE_TOKENS} tokens, {max_num_seqs} at once, no engine")
    best = {name: float("inf") for name, _, _ in arms}
    with output_to(folder / "front.log"):
        for _ in range(ROUNDS):
            for name, decodes_once, statistics in arms:
                seconds = asyncio.run(_run(model, engine, n_requests, decodes_once, statistics))
                best[name] = min(best[name], seconds)
                gc.collect()  # at interpreter exit the client's __del__ would print an error
    for name, seconds in best.items():
        print(f"{name:<52} {seconds / (n_requests * RESPONSE_TOKENS) * 1e6:6.1f} µs a token")


async def _run(
    model: Model, options: EngineOptions, n_requests: int, decodes_once: bool, statistics: str | None
) -> float:
    """Return the CPU seconds of one arm, without the stub's own."""
    core = StubCore(options.max_num_seqs or 1024)
    engine = stub_engine(core, model, options, Sampling(stop=() if decodes_once else ("<never>",)), statistics)
    requests = iter([make_request(number) for number in range(n_requests + 1)])

    async def sample() -> None:
        for request in requests:
            completion = await engine.submit(request)
            assert len(completion.token_ids) == RESPONSE_TOKENS

    await asyncio.wait_for(engine.submit(next(requests)), 60)
    core.own_seconds = 0.0
    started = time.process_time()
    await asyncio.gather(*(sample() for _ in range(core.capacity + core.capacity // 8)))
    seconds = time.process_time() - started - core.own_seconds
    engine._client.shutdown()
    engine._client = None
    return seconds


def make_request(number: int) -> SampleRequest:
    prompt = np.arange(PROMPT_TOKENS, dtype=np.int32) + 100
    return SampleRequest(f"prompt{number}", 0, number, prompt, RESPONSE_TOKENS)


def stub_engine(
    core: "StubCore", model: Model, options: EngineOptions, sampling: Sampling, statistics: str | None
) -> VllmEngine:
    """Return our engine over a real AsyncLLM over a stub, with statistics of "ours", of "vLLM", of "both" or none."""
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM
    from vllm.v1.engine.core_client import EngineCoreClient

    arguments = engine_arguments(model, options, PROMPT_TOKENS + RESPONSE_TOKENS)
    arguments.disable_log_stats = statistics in ("ours", None)
    meter, stat_logger = make_stat_logger()
    with patch.object(EngineCoreClient, "make_async_mp_client", lambda **_: core):
        client = AsyncLLM.from_engine_args(
            arguments,
            usage_context=UsageContext.LLM_CLASS,
            stat_loggers=[stat_logger] if statistics in ("ours", "both") else None,
        )
    if statistics in ("ours", "both"):
        count_preemptions(client, meter, only=arguments.disable_log_stats)
    core.text = client.get_tokenizer()(TEXT * 40, add_special_tokens=False)["input_ids"][:RESPONSE_TOKENS]
    return VllmEngine(client, sampling, Path("front.log"), 0, meter)


class StubCore:
    """Stands for vLLM's client of an engine core: every step gives one token to each of at most `capacity` requests."""

    engine_ranks_managed = (0,)

    def __init__(self, capacity: int) -> None:
        from vllm.v1.engine import EngineCoreOutputs
        from vllm.v1.serial_utils import MsgpackDecoder, MsgpackEncoder

        self.capacity = capacity
        self.own_seconds = 0.0
        self.preempted_at: int | None = None
        """If set, every request is preempted once, after so many tokens."""
        self.text: list[int] = []
        self.resources = type("Resources", (), {"engine_dead": False})()
        self._running: dict[str, int] = {}
        self._waiting: deque[str] = deque()
        self._encoder, self._decoder = MsgpackEncoder(), MsgpackDecoder(EngineCoreOutputs)

    async def add_request_async(self, request: Any) -> None:
        self._waiting.append(request.request_id)

    async def abort_requests_async(self, request_ids: list[str]) -> None:
        for each in request_ids:
            self._running.pop(each, None)

    async def get_supported_tasks_async(self) -> tuple[str, ...]:
        return ("generate",)

    async def get_output_async(self) -> Any:
        while not self._running and not self._waiting:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0)
        started = time.process_time()
        frames = self._encoder.encode(self._step())
        self.own_seconds += time.process_time() - started
        return self._decoder.decode(frames)

    def shutdown(self, timeout: float | None = None) -> None: ...

    def _step(self) -> Any:
        from vllm.v1.engine import (
            EngineCoreEvent,
            EngineCoreEventType,
            EngineCoreOutput,
            EngineCoreOutputs,
            FinishReason,
        )
        from vllm.v1.metrics.stats import SchedulerStats

        while self._waiting and len(self._running) < self.capacity:
            self._running[self._waiting.popleft()] = 0
        outputs = []
        for request_id, position in list(self._running.items()):
            last = position + 1 == RESPONSE_TOKENS
            is_preempted = position == self.preempted_at
            outputs.append(
                EngineCoreOutput(
                    request_id,
                    [self.text[position]],
                    finish_reason=FinishReason.LENGTH if last else None,
                    events=[EngineCoreEvent.new_event(EngineCoreEventType.PREEMPTED)] if is_preempted else None,
                )
            )
            if last:
                del self._running[request_id]
            else:
                self._running[request_id] = position + 1
        stats = SchedulerStats(num_running_reqs=len(outputs), kv_cache_usage=0.9)
        return EngineCoreOutputs(outputs=outputs, scheduler_stats=stats, timestamp=time.monotonic())
