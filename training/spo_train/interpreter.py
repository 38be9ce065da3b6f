"""The interpreter of a process: opened by the first response that has one, shared by all later ones.

    interpreter = await shared_interpreter(ToolOptions(tools="python"), workers=8)
    execution = await interpreter.run(code, limits)

verl makes an agent loop for each response, many of them in one worker process with one event loop. The interpreter is
closed by the end of the process. Where more programs in a row cannot be run than run at once, each after all its
attempts, the training is told to end: what it samples meanwhile is thrown away.
"""

import asyncio
import os
import socket
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field

import ray

from spo_data.errors import UserError
from spo_data.options import ToolOptions
from spo_data.tools.interpreter import Execution, Interpreter, Limits, SandboxError
from spo_train import failures


async def shared_interpreter(options: ToolOptions, workers: int) -> Interpreter:
    """The interpreter of this process, one of so many agent-loop workers; raises UserError where there is none.

    Whoever waits for an opening that fails shares its failure; the next one tries again.
    """
    key = asyncio.get_running_loop(), options
    shared = _shared.setdefault(key, _Shared(options, concurrency_of(options, workers, _nodes())))
    return await shared.opened()


def concurrency_of(options: ToolOptions, workers: int, nodes: int) -> int:
    """How many programs one of the workers runs at once.

    Here: a core each, of its share of its node's cores. Elsewhere: its share of what an estimate sends at once.
    """
    from spo_data.tools.fusion import CONCURRENCY

    if options.sandbox != "local":
        return max(1, CONCURRENCY // workers)
    return max(1, len(os.sched_getaffinity(0)) // max(1, -(-workers // nodes)))


@dataclass
class _Shared:
    """An interpreter that counts how often in a row it failed."""

    options: ToolOptions
    concurrency: int
    _opening: "asyncio.Task[Interpreter] | None" = None
    _in_a_row: int = 0
    _contexts: list[AbstractAsyncContextManager[Interpreter]] = field(default_factory=list)
    """Kept: a context manager that is collected closes what it opened."""

    async def opened(self) -> "_Shared":
        """Itself, once it can run programs."""
        if self._opening is None or _failed(self._opening):
            self._opening = asyncio.create_task(self._open())
        await asyncio.shield(self._opening)  # a response that is given up must not take the others' interpreter with it
        return self

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program; raises SandboxError."""
        assert self._opening is not None
        try:
            execution = await self._opening.result().run(code, limits, stdin)
        except SandboxError as error:
            self._failed_again(error)
            raise
        self._in_a_row = 0
        return execution

    async def _open(self) -> Interpreter:
        from spo_data.tools.open import open_interpreter

        # An address was looked at before the training started; its programs are tried again for longer than a look.
        context = open_interpreter(self.options, self.concurrency, check=self.options.sandbox == "local")
        try:
            interpreter = await context.__aenter__()
        except UserError as error:
            self._failed_again(error)
            raise
        self._contexts.append(context)
        return interpreter

    def _failed_again(self, error: Exception) -> None:
        self._in_a_row += 1
        if self._in_a_row > self.concurrency:
            failures.give_up(f"{self._in_a_row} programs in a row could not be run on {socket.gethostname()}: {error}")


_shared: dict[tuple[asyncio.AbstractEventLoop, ToolOptions], _Shared] = {}


def _failed(task: "asyncio.Task[Interpreter]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _nodes() -> int:
    """The nodes among which verl divides its agent-loop workers."""
    if not ray.is_initialized():
        return 1
    return sum(node["Alive"] and node["Resources"].get("CPU", 0) > 0 for node in ray.nodes())  # type: ignore[no-untyped-call] # it has no types
