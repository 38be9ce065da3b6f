"""Grades responses with the verifiers of a run, and grades those in the journal again.

    graders = Graders(pool, manifest.grader, others=(), thinking=manifest.policy.opens_thinking)
    await grade_stored(journal, manifest.grader, prompts, graders)

A response from the journal is graded in the same way as one from the engine. Verdicts are journaled in small
transactions, so a call that ends early keeps its work.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from spo_data.grading.verdict import TRUNCATED, Grade
from spo_data.grading.workers.import_guard import ChangedGraderError
from spo_data.grading.workers.job import GradeJob
from spo_data.grading.workers.pool import GraderPool
from spo_data.options import GraderOptions
from spo_data.prompts.identity import Prompt
from spo_data.provenance import GraderRecord
from spo_data.run.journal import COMMIT_SAMPLES, COMMIT_SECONDS, Journal


@dataclass(frozen=True)
class Graders:
    """The verifiers of a run, in one pool."""

    pool: GraderPool
    current: GraderRecord
    others: tuple[GraderRecord, ...] = ()
    """Second opinions."""
    thinking: bool = False
    """Whether the rendered prompts end inside the thinking."""

    async def grade(self, prompt: Prompt, response: str, grader: GraderRecord, *, is_truncated: bool = False) -> Grade:
        """Return one grader's verdict on a response, which a limit may have ended."""
        if is_truncated and grader.truncated == "zero":
            return TRUNCATED
        job = GradeJob.of(prompt, response, verifier=grader.verifier, thinking=self.thinking)
        graded = await self.pool.grade(job)
        return graded.as_truncated() if is_truncated else graded


@asynccontextmanager
async def open_pool(
    options: GraderOptions, graders: Iterable[GraderRecord], advise: Callable[[], str]
) -> AsyncIterator[GraderPool]:
    """Open a pool of graders with their recorded versions.

    If one of them changes before the pool is closed, the ChangedGraderError also says what `advise` returns.
    """
    try:
        async with GraderPool.from_options(options, {grader.verifier: grader.version for grader in graders}) as pool:
            yield pool
    except ChangedGraderError as error:
        raise ChangedGraderError(f"{error}; {advise()}") from error


async def grade_stored(
    journal: Journal,
    grader: GraderRecord,
    prompts: Mapping[str, Prompt],
    graders: Graders,
    listen: Callable[[int, int], object] | None = None,
    bad_golds: Mapping[str, Grade] | None = None,
) -> int:
    """Grade every stored response that this grader has not graded, or failed to grade; returns how many.

    `listen` is called with the number graded so far and the total. `bad_golds` are the verdicts on prompts whose ground
    truth does not verify under this grader; without them, samples that failed for their ground truth are not graded.
    """
    journal.mark_cut_short(grader)
    ungraded = journal.find_ungraded(grader, bad_golds=bad_golds is not None)
    pending = iter(ungraded)
    fresh: list[tuple[str, int, Grade]] = []
    done = 0

    written = time.monotonic()

    def write() -> None:
        nonlocal fresh, written
        written = time.monotonic()
        verdicts, fresh = fresh, []
        journal.regrade(verdicts, grader)

    async def work() -> None:
        nonlocal done
        for prompt_id, index in pending:
            graded = (bad_golds or {}).get(prompt_id) or await graders.grade(
                prompts[prompt_id],
                journal.response(prompt_id, index),
                grader,
                is_truncated=journal.is_truncated(prompt_id, index),
            )
            fresh.append((prompt_id, index, graded))
            done += 1
            if listen is not None:
                listen(done, len(ungraded))
            if len(fresh) >= COMMIT_SAMPLES or time.monotonic() - written >= COMMIT_SECONDS:
                write()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(graders.pool.concurrency):
                group.create_task(work())
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from errors  # one thing went wrong; the others were cancelled for it
    finally:
        write()
    return len(ungraded)
