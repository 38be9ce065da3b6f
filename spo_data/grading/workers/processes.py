"""Processes that are killed at a time limit and replaced: pebble's pool, restarted if it breaks.

    processes = Processes(start, arguments, workers=2)
    outcome = await processes.run(work, argument, seconds=10)     # work(argument), or a Grade failure

A call's clock starts when a process starts it. A call gets a failure verdict if it exceeds its time, if its process
dies, or if its result cannot be pickled. The children of a killed process are killed too.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from concurrent.futures import TimeoutError as JobTimeoutError
from multiprocessing import resource_tracker
from typing import Any, TypeVar

import pebble.pool.process
import psutil
from pebble import CONSTS, ProcessPool

from spo_data.errors import SpoError, first_line
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.workers.import_guard import GraderCodeError
from spo_data.grading.workers.pool_folder import PoolFolder

CONSTS.term_timeout = 0.1  # a process that hangs in C ignores SIGTERM, and pebble's other jobs wait for it


class _MonotonicTime:
    """The module `time` with a clock that nobody sets, for pebble's time limits."""

    time = staticmethod(time.monotonic)

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)


vars(pebble.pool.process)["time"] = _MonotonicTime()

RECYCLE_AFTER = 20_000
"""A process is replaced after this many calls, because sympy's caches grow."""
CHECK_SECONDS = 1.0
"""How often a call that waits looks whether its pool still works."""
ATTEMPTS = 3
"""After this many broken pools, the call itself is assumed to break them and gets `grader_error`."""

Argument = TypeVar("Argument")
Result = TypeVar("Result")


class Processes:
    """`workers` spawned processes.

    Each calls `start(*arguments, folder)` first, which leaves its mark in the pool's folder (`mark_process`).
    If no call ends for the time limit of a call plus `start_seconds` while one waits, the pool is considered stuck.
    """

    def __init__(
        self, start: Callable[..., None], arguments: tuple[Any, ...], *, workers: int, start_seconds: float
    ) -> None:
        self._start, self._arguments, self._workers, self._start_seconds = start, arguments, workers, start_seconds
        self._last_end = time.monotonic()
        self._worked = self._closed = False
        self._folder = PoolFolder()
        self._pool = self._start_pool()
        self._launched: ProcessPool | None = None
        self._launching: asyncio.Future[None] | None = None

    async def run(self, work: Callable[[Argument], Result], argument: Argument, seconds: float) -> Result | Grade:
        """Call `work` in one of the processes; any failure is a verdict.

        Raises SpoError if the processes do not start, and the GraderCodeError that `work` raises.
        """
        patience = seconds + self._start_seconds
        detail = ""
        for _ in range(ATTEMPTS):
            pool, began = self._pool, time.monotonic()
            try:
                await self._launch(pool)
                future = asyncio.wrap_future(pool.schedule(work, args=(argument,), timeout=seconds))
            except RuntimeError as error:
                detail = first_line(error)
                await self._replace(pool, detail)
                continue
            try:
                while not future.done():
                    await asyncio.wait([future], timeout=min(patience, CHECK_SECONDS))
                    if future.done():
                        break
                    if pool is not self._pool or not pool.active:
                        future.cancel()  # a pool that breaks forgets the calls that it has not taken yet
                    elif time.monotonic() - max(self._last_end, began) > patience:
                        await self._replace(pool, "no answer from any of them")
            except asyncio.CancelledError:
                future.cancel()
                raise
            if future.cancelled() or isinstance(future.exception(), BrokenExecutor):
                detail = "the process pool broke"
                await self._replace(pool, detail)
                continue
            self._last_end = time.monotonic()
            return self._read_outcome(future, seconds)
        return Grade.failed(Verdict.GRADER_ERROR, f"{detail}, {ATTEMPTS} times")

    async def close(self) -> None:
        """Stop the processes and kill their children."""
        self._closed = True
        if self._launching is not None:
            await asyncio.wait([self._launching])  # a pool that stops while it starts would go on
        self._pool.stop()
        await asyncio.to_thread(self._pool.join)
        self._kill_orphans()
        self._folder.remove()

    def _read_outcome(self, future: "asyncio.Future[Result]", seconds: float) -> Result | Grade:
        error = future.exception()
        if error is None:
            self._worked = True
            return future.result()
        if isinstance(error, GraderCodeError):
            raise error
        self._kill_orphans()
        if isinstance(error, JobTimeoutError):
            return Grade.failed(Verdict.GRADER_TIMEOUT, f"over {seconds:g} s")
        # A dead process or a result that does not pickle: only this call has failed.
        return Grade.failed(Verdict.GRADER_ERROR, f"{type(error).__name__}: {first_line(error)}")

    def _start_pool(self) -> ProcessPool:
        resource_tracker.ensure_running()  # else it starts with the first process, and unblocks SIGINT
        return ProcessPool(
            max_workers=self._workers,
            max_tasks=RECYCLE_AFTER,
            initializer=self._start,
            initargs=(*self._arguments, self._folder.path),
            context=self._folder.record_locks(multiprocessing.get_context("spawn")),
        )

    async def _launch(self, pool: ProcessPool) -> None:
        """Start a pool's processes in a thread: a signal handler runs in the main thread, and would break the start."""
        if pool is self._launched:
            return
        if self._launching is None or self._launching.done():
            self._launching = asyncio.get_running_loop().run_in_executor(None, _start_deaf, pool)
        await asyncio.shield(self._launching)
        self._launched, self._launching = pool, None

    async def _replace(self, broken: ProcessPool, why: str) -> None:
        """Replace a broken pool by a new one, unless another call has done so.

        If something else kills an idle process (the kernel when memory runs out, a signal to the process group),
        pebble gives up the pool or waits for ever for a lock that the dead process held.
        """
        if broken is not self._pool:
            return
        if self._closed or not self._worked:
            raise SpoError(f"the grading processes {'are closed' if self._closed else f'do not start: {why}'}")
        self._worked = False
        self._last_end = time.monotonic()
        self._pool = self._start_pool()
        broken.stop()
        await asyncio.to_thread(broken.join)

    def _kill_orphans(self) -> None:
        """Kill the children of dead processes: each process leads its own process group."""
        for mark in self._folder.marks():
            if not psutil.pid_exists(int(mark.name)) or self._closed:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(int(mark.name), signal.SIGKILL)
                mark.unlink(missing_ok=True)


def _start_deaf(pool: ProcessPool) -> None:
    """Start a pool's processes with SIGINT blocked, which they and pebble's threads inherit.

    Else a Ctrl-C, which reaches the whole process group, ends a process in a traceback while it imports its modules.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        pool.active  # noqa: B018 # reading it starts them
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT,))
