"""Open the interpreter that the options name.

    async with open_interpreter(options.tools) as interpreter:
        execution = await interpreter.run(code, limits)

It is either a sandbox on this machine or one behind an HTTP address.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spo_data.options import ToolOptions
from spo_data.sandbox.interpreter import Interpreter, Limits


@asynccontextmanager
async def open_interpreter(
    options: ToolOptions, concurrency: int | None = None, *, check: bool = True
) -> AsyncIterator[Interpreter]:
    """Check that programs can be run, then yield their interpreter; raises UserError, in one line, if they cannot.

    `concurrency` is the number of programs run at once (default: one per core locally, 64 at an address).
    """
    limits = Limits(options.tool_seconds, options.tool_memory_mb)
    if options.sandbox == "local":
        from spo_data.sandbox.local import LocalInterpreter, check_sandbox

        if check:
            await check_sandbox(options.sandbox_unsafe, limits)
        async with LocalInterpreter(concurrency, unsafe=options.sandbox_unsafe) as interpreter:
            yield interpreter
    else:
        from spo_data.sandbox.remote import CONCURRENCY, RemoteInterpreter, check_remote

        if check:
            await check_remote(options.sandbox, limits)
        async with RemoteInterpreter(options.sandbox, concurrency=concurrency or CONCURRENCY) as interpreter:
            yield interpreter
