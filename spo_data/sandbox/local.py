"""Programs of a model, run on this machine: each in a sandbox of its own, thrown away with all that it wrote.

    await check_sandbox(unsafe=False, limits=Limits(seconds=30, memory_mb=1024))
    async with LocalInterpreter() as interpreter:
        execution = await interpreter.run("print(6 * 7)", Limits(seconds=30, memory_mb=1024))

What a program can and cannot do is said in bubblewrap.py. With `unsafe` there is no sandbox: its limits hold for
what stays in its session, and apart from a folder and an environment of its own it can do whatever the user can.
"""

import asyncio
import os
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

from tenacity.wait import wait_base

from spo_data.errors import UserError, first_line
from spo_data.sandbox.interpreter import Execution, Limits, SandboxError
from spo_data.sandbox.program import run_program
from spo_data.sandbox.retry import ATTEMPTS, WAIT, PassingError, retry

_LONGEST_SECONDS = 1_000_000_000
"""The kernel counts CPU time in nanoseconds, in 64 bits."""
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
        _allow_open_files()
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
        return await retry(
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
        except Exception as error:  # a bug, or a program that found one: it costs its own response, never all others
            raise SandboxError(f"local sandbox: {type(error).__name__}: {first_line(error)}") from error
        finally:
            cancelled.set()
            self._running.discard(cancelled)


def _allow_open_files() -> None:
    """Raise this process's soft limit of open files to its hard one; programs have their own."""
    # A program takes a dozen while it starts; as many programs as a large machine has cores exceed the usual 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def check_sandbox(unsafe: bool, limits: Limits) -> None:
    """Run a small program under the limits to come; raises UserError, in one line with the ways out, where that is not
    possible.
    """
    if limits.seconds > _LONGEST_SECONDS:
        raise UserError(f"--tool-seconds {limits.seconds:g}: at most {_LONGEST_SECONDS:,}")
    # Longer than a busy machine needs: a higher limit can be set only where a lower one can be.
    probed = Limits(max(limits.seconds, 60.0), limits.memory_mb)
    ways = "use --sandbox http://HOST:PORT" + ("" if unsafe else f", or {_UNSAFE}")
    try:
        async with LocalInterpreter(1, unsafe, attempts=1) as interpreter:
            execution = await interpreter.run(_PROBE if unsafe else _PROBE + _PROBE_ISOLATION, probed)
    except SandboxError as error:
        raise UserError(f"programs of a model cannot be run here: {first_line(error)}; {ways}") from error
    if execution.return_code != 0:
        said = execution.stderr.strip().splitlines() or [f"exit {execution.return_code}, {execution.stopped}"]
        raise UserError(f"programs of a model cannot be run here: {said[-1]}; {ways}")


_UNSAFE = "--sandbox-unsafe, which runs them with all your rights"
