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
import signal
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
        self._graded = self._closed = False
        self._pool = self._new_pool()

    @property
    def concurrency(self) -> int:
        """How many jobs to hand over at once so that no process waits for the parent."""
        return 8 * self.workers

    async def grade(self, job: GradeJob) -> Graded:
        """Grade one response. Raises SpoError if no process ever starts: everything else is a verdict."""
        pool = self._pool
        try:
            graded = await asyncio.wrap_future(pool.schedule(_grade, args=(job,), timeout=self._seconds))
        except JobTimeoutError:
            return Graded.failed(Verdict.GRADER_TIMEOUT, f"over {self._seconds:g} s")
        except RuntimeError as error:
            # pebble gives a whole pool up when a process dies without a job, as when memory runs out elsewhere.
            if pool.active and not isinstance(error, BrokenExecutor):
                return Graded.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")
            await self._replace(pool, error)
            return await self.grade(job)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a dead process, a result that does not pickle: this job's failure alone
            return Graded.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")
        self._graded = True
        return graded

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self.workers,
            max_tasks=RECYCLE_AFTER,
            initializer=_start_process,
            initargs=(self._verifier, self._memory_bytes),
            context=multiprocessing.get_context("spawn"),
        )

    async def _replace(self, broken: ProcessPool, error: RuntimeError) -> None:
        """Start a new pool in place of a broken one; a pool that never graded anything would break again."""
        if broken is not self._pool:
            return
        if self._closed:
            raise SpoError("the grading processes are closed") from error
        if not self._graded:
            raise SpoError(f"the grading processes do not start: {first_line(error)}") from error
        self._graded = self._closed = False
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it drains us first
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
        return Graded.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")
