"""One estimation, from options to tables, on one machine.

    outcome = asyncio.run(estimate(options, watcher))
    outcome.summary.value_mean

The same call continues a run that ended early, and a higher n or limit adds to it. Whatever would mix two policies,
datasets or graders in one run is refused before an engine starts. SIGINT and SIGTERM end the stream cleanly: finished
responses are graded, journaled and written to the tables.
"""

import asyncio
import os
import shlex
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol

from spo_data.engines.protocol import Engine, EngineError
from spo_data.engines.tool_use import ToolEngine
from spo_data.engines.use import use_of
from spo_data.engines.vllm import start_vllm
from spo_data.engines.vllm_log import output_to
from spo_data.errors import SpoError, UserError, reason
from spo_data.files import folder_lock
from spo_data.provenance import GraderRecord
from spo_data.run.existing import ExistingRun, find_run
from spo_data.run.journal import Journal
from spo_data.run.manifest import JOURNAL, Manifest, Timings, new_run_id
from spo_data.run.summary import Summary
from spo_data.sandbox.open import open_interpreter
from spo_data.sqlite import sqlite_reason
from spo_pipelines.graders import Graders, grade_stored, open_pool
from spo_pipelines.prompt_source import read_prompts, resolve_grader
from spo_pipelines.results import write_results
from spo_pipelines.resume import ResumePoint, find_checked_golds, find_resume_point, mend_run, refuse_lost_journal
from spo_pipelines.sampling_plan import EstimateOptions, SamplingPlan, plan_sampling
from spo_pipelines.signals import Stopping, stop_on_signals
from spo_pipelines.stream import Progress, stream
from spo_pipelines.timings import add_timings, note_other_runner

ENGINE_LOG = "engine.log"

StartEngine = Callable[[SamplingPlan], AbstractAsyncContextManager[Engine]]


class EstimateWatcher(Protocol):
    """Receives the events of an estimate."""

    def on_plan(self, plan: SamplingPlan, present: int) -> None:
        """The plan is made; `present` samples were drawn by earlier calls."""

    def on_stage(self, text: str) -> None:
        """Something that takes a while begins."""

    def on_sample(self, progress: Progress) -> None:
        """A sample reached the journal, or failed."""

    def on_stop(self, progress: Progress) -> None:
        """A signal ended the sampling; `progress.grading` finished responses are still graded."""


@dataclass(frozen=True)
class EstimateOutcome:
    """How an estimate ended."""

    plan: SamplingPlan
    summary: Summary | None
    """None for a dry run."""
    signal: int | None = None
    """The signal that ended the estimate early."""
    engine_error: EngineError | None = None


def start_vllm_for(plan: SamplingPlan) -> AbstractAsyncContextManager[Engine]:
    """Start the plan's vLLM engine, with its output in the run folder."""
    return start_vllm(
        plan.model,
        plan.options.sampling,
        replace(plan.options.engine, data_parallel_size=plan.replicas.count),
        max_model_len=plan.engine_length,
        log=plan.options.out / ENGINE_LOG,
    )


async def estimate(
    options: EstimateOptions,
    watcher: EstimateWatcher,
    *,
    dry_run: bool = False,
    start_engine: StartEngine = start_vllm_for,
) -> EstimateOutcome:
    """Estimate the values of a dataset's prompts into a run folder.

    Raises UserError if the input is wrong, before anything starts; EngineError if the engine does not start; SpoError
    if the journal cannot be written, or if no more verdicts can be given, as when a verifier's code changes. Finished
    responses are then journaled, and the next call grades those that are not graded yet.
    """
    out = options.out
    existing = find_run(out)
    if existing is not None and existing.note is not None:
        watcher.on_stage(f"note: {existing.note}")
    refuse_lost_journal(options, existing)
    grading = options.grader
    truncated = grading.truncated or (existing.manifest.grader.truncated if existing else "zero")
    watcher.on_stage("reading prompts")
    loaded = read_prompts(
        options.prompts,
        grading.verifier,
        run_verifier=existing.manifest.grader.verifier if existing else None,
        instruction="retool" if options.tools.enabled else "boxed",
        also=grading.also or (existing.manifest.also.verifier if existing and existing.manifest.also else None),
        truncated=truncated,
    )
    also = _resolve_second_opinion(options, loaded.grader, existing)
    with output_to(Path(os.devnull)):  # silences Python's resource tracker, which would report killed engines
        resource_tracker.ensure_running()
    others = () if also is None else (also,)
    async with open_pool(grading, (loaded.grader, *others), partial(_advise_if_changed, out)) as pool:
        plan = await plan_sampling(options, loaded, pool, find_checked_golds(existing, loaded.grader), also)
        graders = Graders(pool, loaded.grader, others, bool(plan.manifest.policy.opens_thinking))
        if dry_run:
            watcher.on_plan(plan, find_resume_point(plan, existing).present)
            return EstimateOutcome(plan, None)
        with folder_lock(out, "spo-data"):
            run = find_run(out)  # again: another call may have ended since
            watcher.on_stage("checking the journal")
            if mended := mend_run(plan, run):
                watcher.on_stage(f"note: {mended}")
            resume_point = find_resume_point(plan, run, locked=True)
            watcher.on_plan(plan, resume_point.present)
            return await _run(plan, resume_point, graders, watcher, start_engine)


@asynccontextmanager
async def _open_engine(plan: SamplingPlan, start_engine: StartEngine) -> AsyncIterator[Engine]:
    """Open the plan's engine, with the tool loop around it if the policy has tools."""
    settings = plan.manifest.policy.tools
    if settings is None:
        async with start_engine(plan) as engine:
            yield engine
        return
    async with open_interpreter(plan.options.tools) as interpreter, start_engine(plan) as engine:
        yield ToolEngine(engine, interpreter, plan.chat.tokenizer, settings, plan.options.sampling.stop)


async def _run(
    plan: SamplingPlan,
    resume_point: ResumePoint,
    graders: Graders,
    watcher: EstimateWatcher,
    start_engine: StartEngine,
) -> EstimateOutcome:
    out, old, done = plan.options.out, resume_point.manifest, resume_point.done
    manifest = plan.manifest.model_copy(update=_carry_over(old))
    if old is not None and old.packages != manifest.packages:
        changed = {name for name, _ in old.packages.items() ^ manifest.packages.items()}
        versions = (f"{name} {old.packages.get(name)} → {manifest.packages.get(name)}" for name in sorted(changed))
        watcher.on_stage(f"note: versions changed since the last call: {', '.join(versions)}")
    if old is not None and old.n < manifest.n and done:
        watcher.on_stage(
            f"note: --n {manifest.n} adds samples to the run's {len(done):,} prompts; a prompt is unfinished and has no"
            " value until its new samples are drawn"
        )
    stopping = Stopping()
    death: SpoError | None = None
    try:
        manifest.write(out)
        with Journal(out / JOURNAL, manifest.grader) as journal:
            journal.keep_manifest(manifest.text)
            journal.set_prompts(plan.prompt_set.prompts, plan.prompt_set.dropped)
            # As stored: a sample that is added is graded by the same row as the earlier ones.
            prompts = {prompt.prompt_id: prompt for prompt in journal.prompts()}
            for grader in (graders.current, *graders.others):
                if ungraded := journal.find_ungraded(grader):
                    watcher.on_stage(f"grading {len(ungraded):,} stored responses again with {grader.verifier}")
                    await grade_stored(journal, grader, prompts, graders)
            present = resume_point.present
            bad_golds = journal.bad_golds()
            n_samples = plan.n_samples - sum(plan.options.sampling.n - len(done[pid]) for pid in bad_golds)
            if bad_golds:
                watcher.on_stage(
                    f"note: {len(bad_golds):,} prompts have no readable ground truth and are not sampled further"
                )
            if present < n_samples:
                started = "the engine" if manifest.policy.tools is None else "the interpreter and the engine"
                watcher.on_stage(f"starting {started} (its log: {out / ENGINE_LOG})")
                async with _open_engine(plan, start_engine) as engine:
                    if note := note_other_runner(manifest.timings, use_of(engine)):
                        watcher.on_stage(f"note: {note}")
                    progress = Progress(n_samples, present)
                    with stop_on_signals(stopping, lambda: watcher.on_stop(progress)):
                        drawing = stream(
                            engine,
                            plan.requests(done, bad_golds),
                            prompts,
                            graders,
                            journal,
                            progress,
                            watcher.on_sample,
                            stopping.stop,
                        )
                        death = await _unless_abandoned(drawing, stopping.abandon)
                        journal.commit()
                    seconds = time.monotonic() - progress.started
                    timings = add_timings(manifest.timings, progress, seconds, engine.devices, use_of(engine))
                    manifest = manifest.model_copy(update={"timings": timings})
            watcher.on_stage("writing tables")
            summary = write_results(journal, manifest, out)
        if death is not None and not isinstance(death, EngineError):
            raise death
    except sqlite3.Error as error:
        raise SpoError(f"{out / JOURNAL} cannot be written: {sqlite_reason(error, out)}") from error
    except OSError as error:
        raise SpoError(f"{error.filename or out} cannot be written: {reason(error)}") from error
    return EstimateOutcome(plan, summary, stopping.signals[0] if stopping.signals else None, death)


def _carry_over(old: Manifest | None) -> dict[str, Any]:
    """Return what a manifest takes over from the one before."""
    return {"timings": old.timings if old else Timings(), "run_id": (old and old.run_id) or new_run_id()}


def _advise_if_changed(out: Path) -> str:
    if not (out / JOURNAL).exists():
        return "run the same command again"
    regrade = shlex.join(["spo-data", "regrade", str(out)])
    return (
        "finished responses are kept: undo the change and run the same command; to keep the changed verifier, run"
        f" {regrade} first"
    )


async def _unless_abandoned(drawing: Coroutine[Any, Any, SpoError | None], abandon: asyncio.Event) -> SpoError | None:
    """Wait for the stream, or cancel it: responses that are not graded yet are then drawn again by the next call."""
    task, abandoned = asyncio.create_task(drawing), asyncio.create_task(abandon.wait())
    try:
        await asyncio.wait([task, abandoned], return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        return None
    finally:
        for each in (task, abandoned):
            each.cancel()
        await asyncio.wait([task, abandoned])


def _resolve_second_opinion(
    options: EstimateOptions, grader: GraderRecord, existing: ExistingRun | None
) -> GraderRecord | None:
    """Return the second verifier that was asked for, else the run's; raises UserError if it is the first one too."""
    recorded = existing.manifest.also if existing else None
    name = options.grader.also or (recorded.verifier if recorded else None)
    if name is None:
        return None
    also = resolve_grader(name, "--also", grader.truncated)
    if name == grader.verifier:
        raise UserError(f"--also {name}: that is already the verifier")
    return also
