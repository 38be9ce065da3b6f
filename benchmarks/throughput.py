"""How much of raw vLLM's speed the pipeline keeps, and how fast the pipeline is alone.

    python benchmarks/throughput.py engine      the same long-tailed requests through
                                                (a) one LLM.generate call: the ceiling
                                                (b) this pipeline, graded and journaled
                                                (c) LLM.generate in blocks with a barrier, ungraded
                                                (d) one LLM.generate call without seeds: what seeds cost
    python benchmarks/throughput.py front       a stub of the engine: CPU time of this process for each token
    python benchmarks/throughput.py pipeline    an engine that answers at once: samples/s and memory
    python benchmarks/throughput.py             all

Responses are a model's at temperature 1, so their lengths have the long tail of real ones. All arms get the same
prompts, seeds (except d) and engine settings, one after the other. Without options, the engine on a GPU has the
settings of an estimate without options; on a CPU it has 96 sequences, a context of 1,024 tokens and no compilation.
Compare the ratios: tokens/s depend on the machine.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

import numpy as np
import psutil

from front_end import measure_front
from spo_data.engines.accelerators import find_accelerators
from spo_data.engines.protocol import Completion, Devices, Engine, SampleRequest
from spo_data.engines.vllm_log import output_to
from spo_data.models.names import resolve_model
from spo_data.options import EngineOptions, PromptOptions, Sampling
from spo_data.run.manifest import read_manifest
from spo_pipelines.estimate import estimate
from spo_pipelines.sampling_plan import EstimateOptions, SamplingPlan
from spo_pipelines.stream import Progress

ON_CPU = {"max_num_seqs": 96, "max_model_len": 1024, "enforce_eager": True}
"""The engine's options on a CPU, unless the command line says otherwise."""
FRONT_SEQS = 256
MEMORY_POINTS = (10_000, 50_000, 100_000, 150_000, 200_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("engine", "front", "pipeline"), help="only this part")
    parser.add_argument("--prompts", type=int, default=48, help="prompts of the engine part, 8 samples each")
    parser.add_argument("--max-tokens", type=int, default=384, help="response tokens at most, in the engine part")
    parser.add_argument("--model", default="smollm2-135m", help="model of the engine part")
    for name, kind in (("--max-num-seqs", int), ("--max-model-len", int), ("--dtype", str)):
        parser.add_argument(name, type=kind, help="as for spo-data estimate, in the engine part")
    parser.add_argument("--tensor-parallel-size", type=int, default=1, help="as for spo-data estimate")
    parser.add_argument("--enforce-eager", action=argparse.BooleanOptionalAction, help="as for spo-data estimate")
    parser.add_argument("--tokens", type=int, default=500_000, help="response tokens of the front part")
    parser.add_argument("--samples", type=int, default=200_000, help="samples of the pipeline part")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="spo-benchmark-") as folder:
        if arguments.part in ("engine", None):
            measure_engine(
                Path(folder), arguments.model, choose_engine(arguments), arguments.prompts, arguments.max_tokens
            )
        if arguments.part in ("front", None):
            measure_front(resolve_model("smollm2-135m"), FRONT_SEQS, Path(folder), arguments.tokens)
        if arguments.part in ("pipeline", None):
            measure_pipeline(Path(folder), arguments.samples)


def choose_engine(arguments: argparse.Namespace) -> EngineOptions:
    """Return the engine's options: those of the command line, else an estimate's defaults, or small ones on a CPU."""
    names = ("max_num_seqs", "max_model_len", "dtype", "tensor_parallel_size", "enforce_eager")
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    # LLM.generate has one replica only, so the pipeline gets one too.
    return EngineOptions(data_parallel_size=1, **((ON_CPU if find_accelerators().on_cpu else {}) | given))


def measure_engine(folder: Path, model: str, engine: EngineOptions, n_prompts: int, max_tokens: int) -> None:
    """Print tokens/s of the four arms and their ratios."""
    block = engine.max_num_seqs or 1024
    options = EstimateOptions(
        model=model,
        out=folder / "run",
        prompts=PromptOptions(dataset=f"reasoning-gym:chain_sum?max_terms=3&max_digits=2&size={n_prompts}"),
        sampling=Sampling(max_tokens=max_tokens),
        engine=engine,
    )
    plan = asyncio.run(estimate(options, Quiet(), dry_run=True)).plan
    whole, blocks, unseeded = measure_raw(plan, folder / "raw.log", block)
    outcome = asyncio.run(estimate(options, Quiet()))
    summary = outcome.summary
    assert summary is not None
    assert summary.complete, "an arm that drops samples is not comparable"
    assert summary.tokens_per_second is not None
    print(
        f"{summary.drawn:,} requests of {summary.response_tokens_mean:,.0f} tokens on average, at most {max_tokens:,}"
    )
    for name, speed in (
        ("(a) LLM.generate, one call", whole),
        ("(b) pipeline, graded and journaled", summary.tokens_per_second),
        (f"(c) LLM.generate, blocks of {block}", blocks),
        ("(d) LLM.generate, one call, no seeds", unseeded),
    ):
        print(f"{name:<36} {speed:8,.1f} tokens/s")
    ours = summary.tokens_per_second
    print(f"b/a {ours / whole:.3f}   b/c {ours / blocks:.3f}   a/d {whole / unseeded:.3f}")
    manifest = read_manifest(folder / "run")
    assert manifest is not None
    print(f"model runner {', '.join(manifest.timings.sampled_by_runner)}; KV cache {manifest.timings.engine}")


def measure_raw(plan: SamplingPlan, log: Path, block: int) -> tuple[float, float, float]:
    """Return tokens/s on one vLLM engine: of one call, of blocks with a barrier, and of one call without seeds."""
    from spo_data.engines.vllm import engine_arguments, sampling_params
    from spo_data.engines.vllm_runner import faster_runner

    requests = list(plan.requests({}))
    prompts = [{"prompt_token_ids": request.prompt_token_ids.tolist()} for request in requests]
    with output_to(log):
        from vllm import LLM, EngineArgs

        parameters = [sampling_params(plan.options.sampling, request) for request in requests]
        ours = engine_arguments(plan.model, plan.options.engine, plan.engine_length)
        with faster_runner(ours):
            llm = LLM.from_engine_args(
                EngineArgs(**{field.name: getattr(ours, field.name) for field in fields(EngineArgs)})
            )
        llm.generate(prompts[:8], parameters[:8], use_tqdm=False)

        def generate(start: int, end: int) -> int:
            outputs = llm.generate(prompts[start:end], parameters[start:end], use_tqdm=False)
            return sum(len(output.outputs[0].token_ids) for output in outputs)

        started = time.monotonic()
        tokens = generate(0, len(prompts))
        whole = tokens / (time.monotonic() - started)
        started = time.monotonic()
        tokens = sum(generate(start, start + block) for start in range(0, len(prompts), block))
        blocks = tokens / (time.monotonic() - started)
        for each in parameters:
            each.seed = None
        started = time.monotonic()
        tokens = generate(0, len(prompts))
        unseeded = tokens / (time.monotonic() - started)
        llm.llm_engine.engine_core.shutdown()
    return whole, blocks, unseeded


def measure_pipeline(folder: Path, n_samples: int) -> None:
    """Print samples/s with an engine that answers at once, and memory at several points of the run."""
    n_prompts = 1_000
    watcher = MemoryWatcher()
    options = EstimateOptions(
        model="smollm2-135m",
        out=folder / "instant",
        prompts=PromptOptions(dataset=f"reasoning-gym:chain_sum?min_digits=3&max_digits=4&size={n_prompts}"),
        sampling=Sampling(n=n_samples // n_prompts, max_tokens=128),
    )
    summary = asyncio.run(estimate(options, watcher, start_engine=instant_engine)).summary
    assert summary is not None
    assert summary.drawn == summary.asked, "every sample reaches the journal"
    verdicts = ", ".join(f"{name} {count / summary.drawn:.0%}" for name, count in summary.verdicts.items())
    print(f"{summary.drawn:,} samples with an engine that answers at once ({verdicts})")
    print(f"{summary.samples_per_second:,.0f} samples/s graded and journaled")
    for count, megabytes in watcher.points:
        print(f"  after {count:>9,} samples: {megabytes:,.0f} MB")


class Quiet:
    """A watcher that prints nothing."""

    def on_plan(self, plan: SamplingPlan, present: int) -> None: ...

    def on_stage(self, text: str) -> None: ...

    def on_sample(self, progress: Progress) -> None: ...

    def on_stop(self, progress: Progress) -> None: ...


class MemoryWatcher(Quiet):
    """Records the resident memory of this process and its grading processes at some counts of samples."""

    def __init__(self) -> None:
        self.points: list[tuple[int, float]] = []

    def on_sample(self, progress: Progress) -> None:
        if progress.sampled in MEMORY_POINTS:
            process = psutil.Process()
            family = [process, *process.children(recursive=True)]
            resident = sum(member.memory_info().rss for member in family)
            self.points.append((progress.sampled, resident / 1e6))


class InstantEngine:
    """Answers at once: right and wrong integers, fractions, no answer, and truncated responses."""

    capacity = 64
    devices = Devices("no device", 1)

    def __init__(self, plan: SamplingPlan) -> None:
        self._prompts = {prompt.prompt_id: prompt for prompt in plan.prompt_set.prompts}

    async def submit(self, request: SampleRequest) -> Completion:
        random = np.random.default_rng(request.seed)
        kind, gold = random.random(), self._prompts[request.prompt_id].ground_truth
        token_ids = random.integers(0, 49_152, size=int(random.integers(64, 128)), dtype=np.int32)
        thoughts = " ".join(map(str, token_ids[:64].tolist()))
        if kind < 0.1:
            return Completion(thoughts, token_ids, "length")
        if kind < 0.2:
            return Completion("I do not know the answer to this problem.", token_ids, "stop")
        answer = gold if kind < 0.5 else str(random.integers(1_000)) if kind < 0.9 else f"\\frac{{{gold}}}{{1}}"
        return Completion(f"{thoughts} so the answer is \\boxed{{{answer}}}", token_ids, "stop")


@asynccontextmanager
async def instant_engine(plan: SamplingPlan) -> AsyncIterator[Engine]:
    yield InstantEngine(plan)


if __name__ == "__main__":
    main()
