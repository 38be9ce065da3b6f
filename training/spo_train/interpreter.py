"""The interpreter of a process: opened by the first response that has one, shared by all later ones.

    interpreter = await shared_interpreter(ToolOptions(tools="python"), concurrency=4)

verl makes an agent loop for each response, many of them in one worker process with one event loop. The interpreter is
closed by the end of the process.
"""

import asyncio
from contextlib import AbstractAsyncContextManager

from spo_data.options import ToolOptions
from spo_data.tools.interpreter import Interpreter

_Key = tuple[asyncio.AbstractEventLoop, ToolOptions]
_opened: dict[_Key, "asyncio.Task[Interpreter]"] = {}
_contexts: list[AbstractAsyncContextManager[Interpreter]] = []
"""Kept: a context manager that is collected closes what it opened."""


async def shared_interpreter(options: ToolOptions, concurrency: int) -> Interpreter:
    """The interpreter of this process; raises UserError where there cannot be one.

    Whoever waits for an opening that fails shares its failure; the next one tries again.
    """
    key = asyncio.get_running_loop(), options
    task = _opened.get(key)
    if task is None or _failed(task):
        task = _opened[key] = asyncio.create_task(_open(options, concurrency))
    return await asyncio.shield(task)  # a response that is given up must not take the others' interpreter with it


async def _open(options: ToolOptions, concurrency: int) -> Interpreter:
    from spo_data.tools.open import open_interpreter

    context = open_interpreter(options, concurrency)
    interpreter = await context.__aenter__()
    _contexts.append(context)
    return interpreter


def _failed(task: "asyncio.Task[Interpreter]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
