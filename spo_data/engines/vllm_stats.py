"""vLLM's own counts of preemptions and of its KV cache's use, without what costs time for every token.

    meter, stat_logger = make_stat_logger()
    client = AsyncLLM.from_engine_args(arguments, stat_loggers=[stat_logger])
    count_preemptions(client, meter)
    meter.read(runner)

With statistics, vLLM measures the time of every token and gives it to Prometheus's histograms, which doubles what a
token costs in this process (`benchmarks/throughput.py front`). We need four numbers a step and the rare events in which
the scheduler preempts a request, so both are left out.
"""

from typing import Any

from spo_data.engines.use import UseMeter


def make_stat_logger() -> tuple[UseMeter, type]:
    """Return a meter, and the class of which vLLM makes a logger that feeds it."""
    from vllm.v1.metrics.loggers import PrometheusStatLogger

    meter = UseMeter()

    # vLLM adds its own Prometheus logger to an engine with statistics, unless it is given a subclass of it.
    class StatLogger(PrometheusStatLogger):  # type: ignore[misc, unused-ignore] # untyped without vLLM
        """See `StatLoggerBase` in vLLM."""

        def __init__(self, vllm_config: Any, engine_indexes: list[int] | None = None) -> None:
            del vllm_config, engine_indexes  # registers no metric, unlike its base class

        def record(
            self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
        ) -> None:
            del iteration_stats, mm_cache_stats
            if scheduler_stats is not None:
                meter.add_step(engine_idx, scheduler_stats.kv_cache_usage)

        def log(self) -> None: ...

        def log_engine_initialized(self) -> None: ...

        def record_sleep_state(self, is_awake: int = 0, level: int = 0) -> None: ...

    return meter, StatLogger


def count_preemptions(client: Any, meter: UseMeter, *, only: bool = True) -> None:
    """Let an AsyncLLM's output processor count preemptions in the meter.

    If `only`, it measures nothing else of a token; vLLM's own loggers, if there are any, would then log zeros.
    """
    from vllm.v1.engine import EngineCoreEventType

    measure = None if only else client.output_processor._update_stats_from_output

    def update(request: Any, output: Any, timestamp: float | None, iteration_stats: Any) -> None:
        if measure is not None:
            measure(request, output, timestamp, iteration_stats)
        for event in output.events or ():
            if event.type == EngineCoreEventType.PREEMPTED:
                meter.add_preemption(request.prompt_len + request.detokenizer.num_output_tokens())

    client.output_processor._update_stats_from_output = update
