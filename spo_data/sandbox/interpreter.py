"""What runs a program that a model wrote, and what the model is told of it.

    execution = await interpreter.run(show_last("6 * 7"), Limits(seconds=30, memory_mb=1024))
    describe_for_model(execution, characters=2000)        # "42"

A program that fails, runs out of time or memory, or floods its output has a normal result, which the model reads. Only
what is our fault (no sandbox, an overloaded one) raises, and then nothing is known of the program.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

from spo_data.errors import SpoError

CAPTURED_BYTES = 1 << 20
"""What is kept of stdout and of stderr; a program that writes more is stopped."""

Stopped = Literal["time", "memory", "output"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one program may use, all its processes together."""

    seconds: float = 30.0
    """Wall-clock time, and CPU time of each process."""
    memory_mb: int = 1024


@dataclass(frozen=True, slots=True)
class Execution:
    """What became of a program."""

    stdout: str
    stderr: str
    return_code: int | None
    """None where it was stopped; minus the number of the signal that ended it."""
    stopped: Stopped | None = None
    """Which limit ended it."""
    seconds: float = 0.0


class SandboxError(SpoError):
    """We could not run a program; the message says why. Never the policy's failure."""


class Interpreter(Protocol):
    """What runs programs, each in a fresh Python."""

    @property
    def concurrency(self) -> int:
        """How many programs it runs at once; more wait, and their clock does not run meanwhile."""
        ...

    async def run(self, code: str, limits: Limits, stdin: str = "") -> Execution:
        """Run a program to its end or its limit; raises SandboxError. Cancelling kills it."""
        ...


def describe_for_model(execution: Execution, limits: Limits, characters: int) -> str:
    """What the model reads: stdout, stderr, and which limit ended the program; its middle left out, and marked."""
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
    """The text with its middle left out where it is longer; the mark says how much, and comes on top of the limit."""
    if len(text) <= characters:
        return text
    head = (characters + 1) // 2
    tail = characters - head
    mark = f"\n... ({len(text) - characters:,} characters left out) ...\n"
    return text[:head] + mark + text[len(text) - tail :]
