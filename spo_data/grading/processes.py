"""Processes that are killed and replaced: pebble's pool, kept alive whatever happens to it.

    processes = Processes(start, arguments, workers=2)
    outcome = await processes.run(work, argument, seconds=10)     # what work returned, or a Graded failure

The clock of a call starts when a process takes it up. A call that outlives its time, or its process, is a verdict; so
is one whose result cannot be sent. What a killed process leaves behind, its children, is killed with it.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as JobTimeoutError
from pathlib import Path
from typing import Any, TypeVar

import psutil
from pebble import CONSTS, ProcessPool

from spo_data.errors import SpoError, first_line
from spo_data.grading.verdict import Graded, Verdict

CONSTS.term_timeout = 0.1  # a process that hangs in C does not hear SIGTERM, and pebble serves no other job meanwhile

RECYCLE_AFTER = 20_000
"""Calls after which a process is replaced: sympy's caches grow."""
ATTEMPTS = 3
"""How often a call is given to a new pool before it is taken for the one that breaks them."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Processes:
    """`workers` spawned processes, each made ready by `start(*arguments, pids)`, where `pids` is a folder for its mark.

    `start_seconds` is what they may take to start before the pool is taken for stuck.
    """

    def __init__(
        self, start: Callable[..., None], arguments: tuple[Any, ...], *, workers: int, start_seconds: float
    ) -> None:
        self._start, self._arguments, self._workers, self._start_seconds = start, arguments, workers, start_seconds
        self._last_end = time.monotonic()
        self._worked = self._closed = False
        self._pids = Path(tempfile.mkdtemp(prefix="spo-data-graders-"))
        self._pool = self._new_pool()

    async def run(self, work: Callable[[Argument], Result], argument: Argument, seconds: float) -> Result | Graded:
        """Call `work` in one of the processes. Raises SpoError if they do not start: other failures are verdicts."""
        patience = seconds + self._start_seconds
        detail = ""
        for _ in range(ATTEMPTS):
            pool = self._pool
            try:
                future = asyncio.wrap_future(pool.schedule(work, args=(argument,), timeout=seconds))
            except RuntimeError as error:
                detail = first_line(error)
                await self._replace(pool, detail)
                continue
            try:
                while not future.done():
                    await asyncio.wait([future], timeout=patience)
                    if not future.done() and time.monotonic() - self._last_end > patience:
                        await self._replace(pool, "no answer from any of them")
            except asyncio.CancelledError:
                future.cancel()
                raise
            if future.cancelled() or isinstance(future.exception(), BrokenExecutor):
                detail = "the process pool broke"
                await self._replace(pool, detail)
                continue
            self._last_end = time.monotonic()
            return self._ended(future, seconds)
        return Graded.failed(Verdict.GRADER_ERROR, f"{detail}, {ATTEMPTS} times")

    async def close(self) -> None:
        """End the processes and whatever they left behind."""
        self._closed = True
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)
        self._end_orphans()
        shutil.rmtree(self._pids, ignore_errors=True)

    def _ended(self, future: "asyncio.Future[Result]", seconds: float) -> Result | Graded:
        error = future.exception()
        if error is None:
            self._worked = True
            return future.result()
        self._end_orphans()
        if isinstance(error, JobTimeoutError):
            return Graded.failed(Verdict.GRADER_TIMEOUT, f"over {seconds:g} s")
        # A dead process, a result that does not pickle: this call's failure alone.
        return Graded.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._workers,
            max_tasks=RECYCLE_AFTER,
            initializer=self._start,
            initargs=(*self._arguments, self._pids),
            context=multiprocessing.get_context("spawn"),
        )

    async def _replace(self, broken: ProcessPool, why: str) -> None:
        """Start a new pool in place of a broken one, unless that was done already.

        pebble gives a pool up, or waits for a lock that nobody holds any more, when something else kills a process
        that has no job (memory that runs out elsewhere, a signal to a whole process group).
        """
        if broken is not self._pool:
            return
        if self._closed or not self._worked:
            raise SpoError(f"the grading processes {'are closed' if self._closed else f'do not start: {why}'}")
        self._worked = False
        self._last_end = time.monotonic()
        self._pool = self._new_pool()
        broken.stop()
        await asyncio.to_thread(broken.join)

    def _end_orphans(self) -> None:
        """Kill what processes that are gone have left behind: each leads a group of its own."""
        try:
            marks = list(self._pids.iterdir())
        except FileNotFoundError:  # somebody tidied up the temporary folder
            return
        for mark in marks:
            if not psutil.pid_exists(int(mark.name)) or self._closed:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(int(mark.name), signal.SIGKILL)
                mark.unlink(missing_ok=True)
