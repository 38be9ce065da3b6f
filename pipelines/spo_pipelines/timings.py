"""What a call adds to a run's timings."""

from spo_data.engines.protocol import Devices
from spo_data.engines.use import EngineUse
from spo_data.run.manifest import EngineTotals, Timings
from spo_pipelines.stream import Progress


def add_timings(
    before: Timings, progress: Progress, seconds: float, devices: Devices, use: EngineUse | None
) -> Timings:
    """Return the timings after a call whose engine drew samples for so many seconds."""
    device_seconds = before.device_seconds.get(devices.name, 0.0) + seconds * devices.count
    by_runner = dict(before.sampled_by_runner)
    if use is not None and use.runner is not None and progress.sampled:
        by_runner[use.runner] = by_runner.get(use.runner, 0) + progress.sampled
    return Timings(
        sampling_seconds=before.sampling_seconds + seconds,
        sampled=before.sampled + progress.sampled,
        sampled_tokens=before.sampled_tokens + progress.tokens,
        device_seconds={**before.device_seconds, devices.name: device_seconds},
        sampled_by_runner=by_runner,
        engine=before.engine if use is None else _add_use(before.engine or EngineTotals(), use, seconds),
    )


def note_other_runner(before: Timings, use: EngineUse | None) -> str | None:
    """Return a note if another model runner of vLLM drew a run's earlier samples, else None."""
    if use is None or use.runner is None:
        return None
    others = [f"{count:,} with {runner}" for runner, count in before.sampled_by_runner.items() if runner != use.runner]
    if not others:
        return None
    return (
        f"vLLM's model runner changed since an earlier call: samples were drawn {', '.join(others)}, this call draws"
        f" with {use.runner}, which draws another response for the same seed"
    )


def _add_use(before: EngineTotals, use: EngineUse, seconds: float) -> EngineTotals:
    return EngineTotals(
        seconds=before.seconds + seconds,
        kv_seconds=before.kv_seconds + use.kv_mean * seconds,
        preemptions=before.preemptions + use.preemptions,
        preempted_tokens=before.preempted_tokens + use.preempted_tokens,
    )
