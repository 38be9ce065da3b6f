"""Run a model's programs on this machine, each in its own sandbox, which is deleted with everything it wrote.

    await check_sandbox(unsafe=False, limits=Limits(seconds=30, memory_mb=1024))
    async with LocalInterpreter() as interpreter:
        execution = await interpreter.run("print(6 * 7)", Limits(seconds=30, memory_mb=1024))

bubblewrap.py lists what a program can and cannot do. With `unsafe` there is no sandbox: a program gets its own folder
and environment, but it can do whatever the user can, and limits hold only for processes that stay in its session.
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
    """Runs programs on this machine, by default one per core; it may be used from several event loops at once."""

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
        """Kill the programs that still run, and wait until they have ended."""
        self._closed = True
        for cancelled in tuple(self._running):
            cancelled.set()
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)

    @property
    def concurrency(self) -> int:
        """The number of programs that run at once. Others wait, and their time limit starts only when they run."""
        return self._concurrency

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program to its end or its limit; raises SandboxError. Cancelling soon kills it."""
        return await retry(
            lambda: self._try_once(code, limits, stdin), "local sandbox", attempts=self._attempts, wait=self._wait
        )

    async def _try_once(self, code: str, limits: Limits, stdin: str) -> Execution:
        cancelled = threading.Event()
        self._running.add(cancelled)
        try:
            future = self._threads.submit(run_program, code, stdin, limits, unsafe=self._unsafe, cancelled=cancelled)
            return await asyncio.wrap_future(future)
        except (SandboxError, OSError, RuntimeError) as error:  # no thread, file or process free: this passes
            if self._closed:
                raise SandboxError("the interpreter was closed") from error
            raise PassingError(first_line(error)) from error
        except Exception as error:  # a bug of ours costs one response, not all of them
            raise SandboxError(f"local sandbox: {type(error).__name__}: {first_line(error)}") from error
        finally:
            cancelled.set()
            self._running.discard(cancelled)


def _allow_open_files() -> None:
    """Raise this process's soft limit of open files to its hard limit; programs have their own limit."""
    # A program needs a dozen files while it starts: on a large machine one per core exceeds the usual 1,024.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def check_sandbox(unsafe: bool, limits: Limits) -> None:
    """Run a small program under the run's limits; raises UserError, in one line with the alternatives, if it fails."""
    if limits.seconds > _LONGEST_SECONDS:
        raise UserError(f"--tool-seconds {limits.seconds:g}: at most {_LONGEST_SECONDS:,}")
    # A busy machine may need up to a minute. If a high limit can be set, so can a lower one.
    probed = Limits(max(limits.seconds, 60.0), limits.memory_mb)
    ways = "use --sandbox http://HOST:PORT" + ("" if unsafe else f", or {_UNSAFE}")
    try:
        async with LocalInterpreter(1, unsafe, attempts=1) as interpreter:
            execution = await interpreter.run(_PROBE if unsafe else _PROBE + _PROBE_ISOLATION, probed)
    except SandboxError as error:
        raise UserError(f"this machine cannot run a model's programs: {first_line(error)}; {ways}") from error
    if execution.return_code != 0:
        said = execution.stderr.strip().splitlines() or [f"exit {execution.return_code}, {execution.stopped}"]
        raise UserError(f"this machine cannot run a model's programs: {said[-1]}; {ways}")


_UNSAFE = "--sandbox-unsafe, which runs them with all your rights"
