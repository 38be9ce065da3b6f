"""One estimation, from options to tables, on one machine.

    outcome = asyncio.run(estimate(options, watcher))
    outcome.summary.value_mean

The same call continues a run that ended early, a higher n or limit adds to it, and anything that would mix two
policies, datasets or graders in one run is refused before an engine starts. SIGINT and SIGTERM end the stream cleanly:
what is finished is graded, journaled and tabled.
"""

import asyncio
import contextlib
import os
import shlex
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Protocol

from spo_data.card import write_card
from spo_data.engine import Engine, EngineError
from spo_data.engine_log import output_to
from spo_data.errors import Interrupted, SpoError, UserError, first_line
from spo_data.grading.pool import GraderPool
from spo_data.journal import Journal, reading
from spo_data.manifest import MANIFEST, GraderRecord, Manifest, Timings, policy_differences, read_manifest
from spo_data.prompt_set import excerpt
from spo_data.summary import Summary, summarize
from spo_data.tables import write_tables
from spo_data.vllm_engine import start_vllm
from spo_pipelines.plan import EstimateOptions, Plan, make_plan, read_prompts
from spo_pipelines.stream import Progress, regrade_failed, stream

JOURNAL = "journal.sqlite"
ENGINE_LOG = "engine.log"

StartEngine = Callable[[Plan], AbstractAsyncContextManager[Engine]]


class Watcher(Protocol):
    """Who is told what an estimate does."""

    def planned(self, plan: Plan, present: int) -> None:
        """The plan stands; `present` samples are there already."""

    def stage(self, text: str) -> None:
        """Something that takes a while begins."""

    def sampled(self, progress: Progress) -> None:
        """A sample reached the journal, or failed."""


@dataclass(frozen=True)
class Outcome:
    """How an estimate ended."""

    plan: Plan
    summary: Summary | None
    """None for a dry run."""
    signal: int | None = None
    """The signal that ended it early."""
    engine_error: EngineError | None = None


def start_vllm_for(plan: Plan) -> AbstractAsyncContextManager[Engine]:
    """The vLLM engine that a plan wants, its output in the run folder."""
    return start_vllm(
        plan.model,
        plan.options.sampling,
        plan.options.engine,
        max_model_len=plan.engine_length,
        log=plan.options.out / ENGINE_LOG,
    )


async def estimate(
    options: EstimateOptions, watcher: Watcher, *, dry_run: bool = False, start_engine: StartEngine = start_vllm_for
) -> Outcome:
    """Estimate the values of a dataset's prompts into a run folder.

    Raises UserError for what is wrong before anything starts, EngineError where the engine does not start, SpoError
    where the journal cannot be written.
    """
    with _raising_signals():
        out = options.out
        _check_folder(out)
        grading = options.grader
        watcher.stage("reading prompts")
        begun = read_manifest(out)
        read = read_prompts(options, begun_with=begun.grader.verifier if begun else None)
        with output_to(Path(os.devnull)):  # Python's resource tracker, which would comment on killed engines later
            resource_tracker.ensure_running()
        async with GraderPool(
            read.grader.verifier,
            workers=grading.grader_workers,
            seconds=grading.grader_seconds,
            memory_gb=grading.grader_memory_gb,
        ) as pool:
            plan = await make_plan(options, read, pool, _trusted(out, read.grader))
            if dry_run:
                watcher.planned(plan, sum(map(len, _admitted(plan)[1].values())))
                return Outcome(plan, None)
            with _lock(out):
                old, done = _admitted(plan)
                watcher.planned(plan, sum(map(len, done.values())))
                return await _run(plan, old, done, pool, watcher, start_engine)


async def _run(
    plan: Plan,
    old: Manifest | None,
    done: dict[str, set[int]],
    pool: GraderPool,
    watcher: Watcher,
    start_engine: StartEngine,
) -> Outcome:
    out = plan.options.out
    manifest = plan.manifest.model_copy(update={"timings": old.timings if old else Timings()})
    if old is not None and old.packages != manifest.packages:
        changed = {name for name, _ in old.packages.items() ^ manifest.packages.items()}
        versions = (f"{name} {old.packages.get(name)} → {manifest.packages.get(name)}" for name in sorted(changed))
        watcher.stage(f"note: versions changed since the last call: {', '.join(versions)}")
    stop = asyncio.Event()
    signals: list[int] = []
    death: EngineError | None = None
    try:
        manifest.write(out)
        with Journal(out / JOURNAL) as journal:
            journal.set_prompts(plan.prompt_set.prompts, plan.prompt_set.dropped)
            prompts = {prompt.prompt_id: prompt for prompt in plan.prompt_set.prompts}
            if ungraded := journal.ungraded():
                watcher.stage(f"grading {len(ungraded):,} stored responses again")
                await regrade_failed(ungraded, prompts, pool, journal)
            present = sum(map(len, done.values()))
            if present < plan.n_samples:
                watcher.stage(f"starting the engine (its log: {out / ENGINE_LOG})")
                async with start_engine(plan) as engine:
                    progress = Progress(plan.n_samples, present)
                    with _stopping_signals(stop, signals):
                        death = await stream(
                            engine, plan.requests(done), prompts, pool, journal, progress, watcher.sampled, stop
                        )
                    manifest = _with_timings(manifest, progress, time.monotonic() - progress.started)
            watcher.stage("writing tables")
            summary = _write_results(journal, manifest, out)
    except sqlite3.Error as error:
        raise SpoError(f"{out / JOURNAL} cannot be written: {first_line(error)}") from error
    except OSError as error:
        raise SpoError(f"{error.filename or out} cannot be written: {error.strerror or first_line(error)}") from error
    return Outcome(plan, summary, signals[0] if signals else None, death)


def _with_timings(manifest: Manifest, progress: Progress, seconds: float) -> Manifest:
    before = manifest.timings
    timings = Timings(
        sampling_seconds=before.sampling_seconds + seconds,
        sampled=before.sampled + progress.sampled,
        sampled_tokens=before.sampled_tokens + progress.tokens,
    )
    return manifest.model_copy(update={"timings": timings})


def _write_results(journal: Journal, manifest: Manifest, out: Path) -> Summary:
    summary = summarize(journal, manifest)
    write_tables(journal, out)
    write_card(out, manifest, summary)
    manifest.model_copy(update={"counts": summary.counts()}).write(out)
    return summary


def _check_folder(out: Path) -> None:
    try:
        names = {path.name for path in out.iterdir()} if out.is_dir() else set()
        if not out.is_dir():
            os.stat(out)
            raise UserError(f"--out {out} is a file")
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"--out {out} cannot be used: {error.strerror}") from error
    if read_manifest(out) is None and names - {".lock", f".{MANIFEST}.new"}:
        raise UserError(f"--out {out} is neither a run nor empty: choose another folder")


def _admitted(plan: Plan) -> tuple[Manifest | None, dict[str, set[int]]]:
    """The manifest and the samples that the run folder has; raises UserError where they are not this plan's."""
    out = plan.options.out
    old = read_manifest(out)
    if old is None:
        return None, {}
    done, difference = _journaled(out, plan)
    if not done:
        return None, {}  # nothing was sampled yet, so there is nothing to mix
    differences = policy_differences(old, plan.manifest)
    if differences:
        named = ", ".join(f"{name} {before!r} (now {after!r})" for name, (before, after) in differences.items())
        raise UserError(f"{out} was made with {named}\n{_right_commands(plan, old)}")
    drawn = 1 + max(max(indices) for indices in done.values())
    if plan.manifest.n < drawn:
        raise UserError(
            f"{out} has n = {drawn}: --n {plan.manifest.n} would not take samples away\n{_right_commands(plan, old)}"
        )
    if difference:
        raise UserError(f"{out} was made from another dataset: {difference}\n{_right_commands(plan, old)}")
    return old, done


def _journaled(out: Path, plan: Plan) -> tuple[dict[str, set[int]], str | None]:
    """The samples that the run has by prompt id, and how its prompts differ from the plan's."""
    if not (out / JOURNAL).is_file():
        return {}, None
    with reading(out / JOURNAL) as journal:
        done = journal.done()
        return done, _dataset_difference(journal, done, plan)


def _trusted(out: Path, grader: GraderRecord) -> frozenset[tuple[str, str]]:
    """(prompt id, ground truth) of the run's prompts, whose ground truths this grader checked when they came in.

    Checking them again could drop one that only timed out this time, and make the dataset look like another.
    """
    old = read_manifest(out)
    if old is None or old.grader != grader or not (out / JOURNAL).is_file():
        return frozenset()
    with reading(out / JOURNAL) as journal:
        return frozenset((prompt.prompt_id, prompt.ground_truth) for prompt in journal.prompts())


def _dataset_difference(journal: Journal, done: Mapping[str, set[int]], plan: Plan) -> str | None:
    """What the sampled prompts have and the dataset lacks or contradicts; more prompts are no difference."""
    now = {prompt.prompt_id: prompt for prompt in plan.prompt_set.prompts}
    before = {prompt.prompt_id: prompt for prompt in journal.prompts() if prompt.prompt_id in done}
    gone = [prompt for prompt_id, prompt in before.items() if prompt_id not in now]
    if gone:
        return (
            f"{len(gone)} of its {len(before)} prompts are not in it, such as {gone[0].prompt_id}"
            f" ({excerpt(gone[0].text, 60)!r})"
        )
    for prompt_id, prompt in before.items():
        if prompt.ground_truth != now[prompt_id].ground_truth:
            return f"ground_truth of {prompt_id} was {prompt.ground_truth!r}, now {now[prompt_id].ground_truth!r}"
    return None


def _right_commands(plan: Plan, old: Manifest) -> str:
    out = plan.options.out
    other = next(path for number in range(2, 10_000) if not (path := out.with_name(f"{out.name}-{number}")).exists())
    words = list(plan.options.command)
    for position, word in enumerate(words):
        if word == "--out" and position + 1 < len(words):
            words[position + 1] = str(other)
        elif word.startswith("--out="):
            words[position] = f"--out={other}"
    return f"  to continue that run:   {old.command}\n  to start another:       {shlex.join(words)}"


@contextlib.contextmanager
def _lock(out: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = FileLock(out / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise UserError(f"another spo-data is writing to {out}: wait for it or end it") from error
    except OSError as error:
        raise UserError(f"--out {out} cannot be written: {error.strerror}") from error
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _raising_signals() -> Iterator[None]:
    """Outside the stream a signal ends the call at once: nothing is in memory that is not on disk."""

    def raise_interrupted(number: int, _frame: object) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, raise_interrupted) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _stopping_signals(stop: asyncio.Event, signals: list[int]) -> Iterator[None]:
    """In the stream the first signal stops it cleanly."""

    def note(number: int) -> None:
        signals.append(number)
        stop.set()

    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, note, number)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
