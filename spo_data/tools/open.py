"""The interpreter that the options ask for.

async with open_interpreter(options.tools) as interpreter:
    execution = await interpreter.run(code, limits)
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from spo_data.options import ToolOptions
from spo_data.tools.interpreter import Interpreter, Limits


@asynccontextmanager
async def open_interpreter(options: ToolOptions, concurrency: int | None = None) -> AsyncIterator[Interpreter]:
    """Check that programs can be run, then yield what runs them; raises UserError, in one line, where they cannot.

    `concurrency` is how many a local one runs at once (default: one a core).
    """
    if options.sandbox == "local":
        from spo_data.tools.local import LocalInterpreter, check_sandbox

        await check_sandbox(options.sandbox_unsafe)
        async with LocalInterpreter(concurrency, unsafe=options.sandbox_unsafe) as interpreter:
            yield interpreter
    else:
        from spo_data.tools.fusion import RemoteInterpreter, check_remote

        await check_remote(options.sandbox, Limits(options.tool_seconds, options.tool_memory_mb))
        async with RemoteInterpreter(options.sandbox) as interpreter:
            yield interpreter
