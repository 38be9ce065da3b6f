"""The interpreter protocol: running a program that a model wrote, and describing its result to the model.

    execution = await interpreter.run(show_last("6 * 7"), Limits(seconds=30, memory_mb=1024))
    describe_for_model(execution, Limits(), characters=2000)        # "42"

A program that fails, reaches its time or memory limit, or floods its output has a normal result, which the model reads.
If the failure is ours (no sandbox, an overloaded one), `run` raises SandboxError: nothing is known about the program.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from spo_data.errors import SpoError

CAPTURED_BYTES = 1 << 20
"""Bytes kept of stdout and of stderr, each; a program that writes more is stopped."""

Stopped = Literal["time", "memory", "output"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What all processes of one program together may use."""

    seconds: float = 30.0
    """The limit of wall-clock time, and of the CPU time of each process."""
    memory_mb: int = 1024


@dataclass(frozen=True, slots=True)
class Execution:
    """The result of a program that has ended."""

    stdout: str
    stderr: str
    return_code: int | None
    """None if a limit stopped it; negative if a signal ended it: minus the signal's number."""
    stopped: Stopped | None = None
    """The limit that ended it, if one did."""
    seconds: float = 0.0


class SandboxError(SpoError):
    """A program could not be run; the message says why. It is never the policy's failure."""


class Interpreter(Protocol):
    """Anything that runs programs, each in a fresh Python."""

    @property
    def concurrency(self) -> int:
        """The number of programs that it runs at once. Others wait, and their time limit starts only when they run."""
        ...

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program to its end or its limit; raises SandboxError. Cancelling kills it."""
        ...


def describe_for_model(execution: Execution, limits: Limits, characters: int) -> str:
    """Return what the model reads: stdout and stderr, shortened in the middle, and which limit ended the program."""
    text = execution.stdout
    if execution.stderr:
        text = f"{text.rstrip()}\n{execution.stderr}".lstrip("\n")
    text = text.strip("\n")
    if execution.stopped is not None:
        reason = {
            "time": f"TimeoutError: the program was stopped after {limits.seconds:g} seconds",
            "memory": f"MemoryError: the program was stopped at {limits.memory_mb} MB",
            "output": f"OutputError: the program was stopped after {CAPTURED_BYTES >> 20} MB of output",
        }[execution.stopped]
        kept = shorten(text, max(characters - len(reason) - 1, 0))
        return f"{kept}\n{reason}".lstrip("\n")
    return shorten(text, characters)


def shorten(text: str, characters: int) -> str:
    """Return the text, its middle left out if it is too long; the mark that says so is added to `characters`."""
    if len(text) <= characters:
        return text
    head = (characters + 1) // 2
    tail = characters - head
    mark = f"\n... ({len(text) - characters:,} characters left out) ...\n"
    return text[:head] + mark + text[len(text) - tail :]
