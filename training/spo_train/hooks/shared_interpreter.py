"""The interpreter of a worker process: opened for the first response that needs it, shared by all later ones.

    interpreter = await share_interpreter(ToolOptions(tools="python"), workers=8, is_training=True)
    execution = await interpreter.run(code, limits)

verl makes an agent loop for each response, many of them in one worker process with one event loop. The interpreter is
closed when the process ends. A short outage costs the responses that it interrupts, and verl draws others. After a
longer one the trainer is told to end, since every sample would be discarded. Failures in validation do not count here:
validation counts its own.
"""

import asyncio
import os
import socket
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import ray

from spo_data.options import ToolOptions
from spo_data.sandbox.interpreter import Execution, Interpreter, Limits, SandboxError
from spo_train.hooks import failures

PATIENCE_SECONDS = 300.0
"""How long programs may fail before training ends; as many as run at once must have failed in that time."""


async def share_interpreter(options: ToolOptions, workers: int, *, is_training: bool) -> Interpreter:
    """Return the interpreter of this process, one of `workers`; raises UserError if it cannot be opened.

    Everyone who waits for an opening that fails gets the error; the next call tries again.
    """
    key = asyncio.get_running_loop(), options
    if key not in _shared:
        _shared[key] = _Shared(options, concurrency_of(options, workers, _count_nodes()))
    shared = _shared[key]
    watched = await shared.open()
    return watched if is_training else watched.interpreter


def concurrency_of(options: ToolOptions, workers: int, nodes: int) -> int:
    """Return how many programs one of the workers runs at once.

    A local sandbox gets the worker's share of its node's cores. A remote one gets its share of an estimate's requests.
    """
    from spo_data.sandbox.remote import CONCURRENCY

    if options.sandbox != "local":
        return max(1, CONCURRENCY // workers)
    return max(1, len(os.sched_getaffinity(0)) // max(1, -(-workers // nodes)))


@dataclass
class _Shared:
    """An interpreter that is opened once."""

    options: ToolOptions
    concurrency: int
    _opening: "asyncio.Task[_WatchedInterpreter] | None" = None
    _contexts: list[AbstractAsyncContextManager[Interpreter]] = field(default_factory=list)
    """References to the opened contexts, which would close the interpreter when garbage-collected."""

    async def open(self) -> "_WatchedInterpreter":
        """Open the interpreter, or wait for it; raises UserError if it cannot be opened."""
        if self._opening is None or _has_failed(self._opening):
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)  # a cancelled response must not cancel the opening for the others

    async def _open(self) -> "_WatchedInterpreter":
        from spo_data.sandbox.open import open_interpreter

        # A remote address was checked before training started, and its programs are retried for longer than a check.
        context = open_interpreter(self.options, self.concurrency, check=self.options.sandbox == "local")
        interpreter = await context.__aenter__()
        self._contexts.append(context)
        return _WatchedInterpreter(interpreter, self.concurrency)


@dataclass
class _WatchedInterpreter:
    """An interpreter that ends training if it fails for too long."""

    interpreter: Interpreter
    concurrency: int
    _since: float | None = None
    """When the current series of failures began; None after a program that ran."""
    _failures: int = 0
    """Programs that started after that and failed too; those already running share the first one's cause."""

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program; raises SandboxError if it could not be run."""
        began = time.monotonic()
        try:
            execution = await self.interpreter.run(code, limits, stdin)
        except SandboxError as error:
            now = time.monotonic()
            self._since = now if self._since is None else self._since
            self._failures += began >= self._since
            if self._failures >= self.concurrency and now - self._since >= PATIENCE_SECONDS:
                failures.give_up(
                    f"no program could be run on {socket.gethostname()} for {now - self._since:,.0f} seconds: {error}"
                )
            raise
        self._since, self._failures = None, 0
        return execution


_shared: dict[tuple[asyncio.AbstractEventLoop, ToolOptions], _Shared] = {}


def _has_failed(task: "asyncio.Task[_WatchedInterpreter]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _count_nodes() -> int:
    """Return the number of nodes that verl spreads its agent-loop workers over."""
    if not ray.is_initialized():
        return 1
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())  # type: ignore[no-untyped-call] # it has no types
