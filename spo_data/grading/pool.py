"""A pool of grading processes that outlives whatever it is fed.

    async with GraderPool("math-verify") as pool:
        graded = await pool.grade(GradeJob(response, ground_truth))

Parsing an answer can hang in C code, eat all memory or crash the interpreter, and math-verify's own timeout (SIGALRM)
helps against none of these: it needs the main thread, C code ignores it, and it says "wrong" when it fires. So each
job runs in a spawned process with a memory limit; the parent (pebble) starts the clock when a process takes the job up,
kills the process at the limit, starts another, and goes on. The job gets `grader_timeout` or `grader_error`, never a
score, and no other job notices.
"""

import asyncio
import logging
import multiprocessing
import os
import resource
import time
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as JobTimeoutError
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pebble import ProcessPool

from spo_data.errors import SpoError, first_line
from spo_data.grading.verdict import Graded, Verdict
from spo_data.grading.verifiers import Verifier, load_verifier

RECYCLE_AFTER = 20_000
"""Jobs after which a process is replaced: sympy's caches grow."""
ATTEMPTS = 3
"""How often a job is given to a new pool before it is taken for the one that breaks them."""
START_SECONDS = 60.0
"""What processes may take to start, above the time limit of a job, before the pool is taken for stuck."""


@dataclass(frozen=True, slots=True)
class GradeJob:
    """One response to grade; with `response` None, the ground truth is checked against itself."""

    response: str | None
    ground_truth: str
    task: Mapping[str, Any] | None = None


class GraderPool:
    """`workers` processes that grade with one verifier, each job limited to `seconds`, each process to `memory_gb`."""

    def __init__(
        self, verifier: str, *, workers: int | None = None, seconds: float = 10.0, memory_gb: float = 4.0
    ) -> None:
        load_verifier(verifier)
        self.workers = workers or min(16, os.cpu_count() or 1)
        self._verifier = verifier
        self._seconds = seconds
        self._memory_bytes = int(memory_gb * (1 << 30))
        self._patience = seconds + START_SECONDS
        self._last_end = time.monotonic()
        self._graded = self._closed = False
        self._pool = self._new_pool()

    @property
    def concurrency(self) -> int:
        """How many jobs to hand over at once so that no process waits for the parent."""
        return 8 * self.workers

    async def grade(self, job: GradeJob) -> Graded:
        """Grade one response. Raises SpoError if the processes do not start: everything else is a verdict."""
        detail = ""
        for _ in range(ATTEMPTS):
            pool = self._pool
            try:
                future = asyncio.wrap_future(pool.schedule(_grade, args=(job,), timeout=self._seconds))
            except RuntimeError as error:
                detail = first_line(error)
                await self._replace(pool, detail)
                continue
            try:
                while not future.done():
                    await asyncio.wait([future], timeout=self._patience)
                    if not future.done() and time.monotonic() - self._last_end > self._patience:
                        await self._replace(pool, "no answer from any of them")
            except asyncio.CancelledError:
                future.cancel()
                raise
            if future.cancelled() or isinstance(future.exception(), BrokenExecutor):
                detail = "the process pool broke"
                await self._replace(pool, detail)
                continue
            self._last_end = time.monotonic()
            return self._ended(future)
        return Graded.failed(Verdict.GRADER_ERROR, f"{detail}, {ATTEMPTS} times")

    def _ended(self, future: asyncio.Future[Graded]) -> Graded:
        error = future.exception()
        if error is None:
            self._graded = True
            return future.result()
        if isinstance(error, JobTimeoutError):
            return Graded.failed(Verdict.GRADER_TIMEOUT, f"over {self._seconds:g} s")
        # A dead process, a result that does not pickle: this job's failure alone.
        return Graded.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            max_tasks=RECYCLE_AFTER,
            initializer=_start_process,
            initargs=(self._verifier, self._memory_bytes),
            context=multiprocessing.get_context("spawn"),
        )

    async def _replace(self, broken: ProcessPool, why: str) -> None:
        """Start a new pool in place of a broken one, unless that was done already.

        pebble gives a pool up, or waits for a lock that nobody holds any more, when something else kills a process
        that has no job (memory that runs out elsewhere, a signal to a whole process group).
        """
        if broken is not self._pool:
            return
        if self._closed or not self._graded:
            raise SpoError(f"the grading processes {'are closed' if self._closed else f'do not start: {why}'}")
        self._graded = False
        self._last_end = time.monotonic()
        self._pool = self._new_pool()
        broken.stop()
        await asyncio.to_thread(broken.join)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)


_verifier: Verifier


def _start_process(verifier: str, memory_bytes: int) -> None:
    global _verifier  # a process has one verifier for life
    os.setpgid(0, 0)  # a signal to the command's process group is the parent's to handle: it drains us first
    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that its timeout is off, which is our doing
    _verifier = load_verifier(verifier)
    if verifier == "math-verify":
        _verifier.check_gold("x + 1", None)  # imports sympy before any job's clock runs
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _grade(job: GradeJob) -> Graded:
    try:
        if job.response is None:
            return _verifier.check_gold(job.ground_truth, job.task)
        return _verifier.grade(job.response, job.ground_truth, job.task)
    except Exception as error:  # a verifier that raises has not judged the policy
        if job.response is None:
            return Graded.failed(Verdict.GOLD_UNPARSEABLE, f"{type(error).__name__}: {first_line(error)}")
        return Graded.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")
