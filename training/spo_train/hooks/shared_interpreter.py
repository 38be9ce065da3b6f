"""The interpreter of a process: opened by the first response that has one, shared by all later ones.

    interpreter = await share_interpreter(ToolOptions(tools="python"), workers=8, is_training=True)
    execution = await interpreter.run(code, limits)

verl makes an agent loop for each response, many of them in one worker process with one event loop. The interpreter is
closed by the end of the process. An outage of some minutes costs the responses that it breaks off, and verl draws
others. After a longer one the training is told to end: all that it samples is thrown away. What fails in a validation
counts for nothing here: the validation has its own count.
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
"""How long no program could be run before a training ends; as many have to have failed since as run at once."""


async def share_interpreter(options: ToolOptions, workers: int, *, is_training: bool) -> Interpreter:
    """The interpreter of this process, one of so many agent-loop workers; raises UserError where there is none.

    Whoever waits for an opening that fails shares its failure; the next one tries again.
    """
    key = asyncio.get_running_loop(), options
    if key not in _shared:
        _shared[key] = _Shared(options, concurrency_of(options, workers, _nodes()))
    shared = _shared[key]
    watched = await shared.opened()
    return watched if is_training else watched.interpreter


def concurrency_of(options: ToolOptions, workers: int, nodes: int) -> int:
    """How many programs one of the workers runs at once.

    Here: a core each, of its share of its node's cores. Elsewhere: its share of what an estimate sends at once.
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
    _opening: "asyncio.Task[_Watched] | None" = None
    _contexts: list[AbstractAsyncContextManager[Interpreter]] = field(default_factory=list)
    """Kept: a context manager that is collected closes what it opened."""

    async def opened(self) -> "_Watched":
        """The interpreter; raises UserError where it could not be opened."""
        if self._opening is None or _has_failed(self._opening):
            self._opening = asyncio.create_task(self._open())
        return await asyncio.shield(self._opening)  # a response that is given up must not take the others' with it

    async def _open(self) -> "_Watched":
        from spo_data.sandbox.open import open_interpreter

        # An address was looked at before the training started; its programs are tried again for longer than a look.
        context = open_interpreter(self.options, self.concurrency, check=self.options.sandbox == "local")
        interpreter = await context.__aenter__()
        self._contexts.append(context)
        return _Watched(interpreter, self.concurrency)


@dataclass
class _Watched:
    """An interpreter that ends the training where it fails for too long."""

    interpreter: Interpreter
    concurrency: int
    _since: float | None = None
    """When the first program failed that no other one has followed that could be run."""
    _failures: int = 0
    """Programs that began after that, and failed too: those that ran already share one cause with the first."""

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program; raises SandboxError."""
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


def _has_failed(task: "asyncio.Task[_Watched]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _nodes() -> int:
    """The nodes among which verl divides its agent-loop workers."""
    if not ray.is_initialized():
        return 1
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())  # type: ignore[no-untyped-call] # it has no types
