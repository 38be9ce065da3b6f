"""Programs of a model, run on this machine: each in a sandbox of its own, thrown away with all that it wrote.

    await check_sandbox(unsafe=False)
    async with LocalInterpreter() as interpreter:
        execution = await interpreter.run("print(6 * 7)", Limits(seconds=30, memory_mb=1024))

What a program can and cannot do is said in bubblewrap.py. With `unsafe` there is no sandbox: its limits hold for
what stays in its session, and apart from a folder and an environment of its own it can do whatever the user can.
"""

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor

from tenacity.wait import wait_base

from spo_data.errors import UserError, first_line
from spo_data.tools.interpreter import Execution, Limits, SandboxError
from spo_data.tools.program import run_program
from spo_data.tools.retry import ATTEMPTS, WAIT, PassingError, tried_again

_PROBE = """
import subprocess
assert subprocess.run(["/bin/sh", "-c", "exit 7"]).returncode == 7, "a program cannot start another"
"""
_PROBE_ISOLATION = """
import os
assert os.getuid() == 65534, "the user is not nobody"
assert [line.split()[0] for line in open("/proc/net/dev")][2:] == ["lo:"], "there is a network"
"""


class LocalInterpreter:
    """Runs programs on this machine, as many at once as it has cores for us; from any event loop, and from several."""

    def __init__(
        self,
        concurrency: int | None = None,
        unsafe: bool = False,
        *,
        attempts: int = ATTEMPTS,
        wait: wait_base = WAIT,
    ) -> None:
        self._concurrency = concurrency or len(os.sched_getaffinity(0))
        self._unsafe = unsafe
        self._attempts = attempts
        self._wait = wait
        self._threads = ThreadPoolExecutor(self._concurrency, thread_name_prefix="interpreter")
        self._running: set[threading.Event] = set()
        self._closed = False

    async def __aenter__(self) -> "LocalInterpreter":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Kill what still runs, and wait until it has ended."""
        self._closed = True
        for cancelled in tuple(self._running):
            cancelled.set()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    @property
    def concurrency(self) -> int:
        """How many programs run at once; more wait, and their clock does not run meanwhile."""
        return self._concurrency

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program to its end or its limit; raises SandboxError. Cancelling kills it, within a few moments."""
        return await tried_again(
            lambda: self._once(code, limits, stdin), "local sandbox", attempts=self._attempts, wait=self._wait
        )

    async def _once(self, code: str, limits: Limits, stdin: str) -> Execution:
        cancelled = threading.Event()
        self._running.add(cancelled)
        try:
            future = self._threads.submit(run_program, code, stdin, limits, unsafe=self._unsafe, cancelled=cancelled)
            return await asyncio.wrap_future(future)
        except (SandboxError, OSError, RuntimeError) as error:  # no room for a thread, a file, a process: that passes
            if self._closed:
                raise SandboxError("the interpreter was closed") from error
            raise PassingError(first_line(error)) from error
        finally:
            cancelled.set()
            self._running.discard(cancelled)


async def check_sandbox(unsafe: bool) -> None:
    """Run a small program; raises UserError, in one line that names the ways out, where that is not possible."""
    limits = Limits(seconds=60, memory_mb=1024)
    ways = "use --sandbox http://HOST:PORT" + ("" if unsafe else f", or {_UNSAFE}")
    try:
        async with LocalInterpreter(1, unsafe, attempts=1) as interpreter:
            execution = await interpreter.run(_PROBE if unsafe else _PROBE + _PROBE_ISOLATION, limits)
    except SandboxError as error:
        raise UserError(f"programs of a model cannot be run here: {first_line(error)}; {ways}") from error
    if execution.return_code != 0:
        said = execution.stderr.strip().splitlines() or [f"exit {execution.return_code}, {execution.stopped}"]
        raise UserError(f"programs of a model cannot be run here: {said[-1]}; {ways}")


_UNSAFE = "--sandbox-unsafe, which runs them with all your rights"
