"""Run one program, from its start until every process that it started has ended.

    execution = run_program("print(6 * 7)", "", Limits(), unsafe=False, cancelled=threading.Event())

`run_program` blocks, so call it in a thread: a busy event loop then does not stretch a time limit, and any loop can
wait for it. The thread must outlive the program, because bwrap ends with the thread that started it.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from spo_data.sandbox.bubblewrap import (
    ENVIRONMENT,
    FOLDER,
    PROGRAM,
    Descriptors,
    sandbox_command,
    unsafe_command,
)
from spo_data.sandbox.cpu_watch import CpuWatch
from spo_data.sandbox.interpreter import CAPTURED_BYTES, Execution, Limits, SandboxError, Stopped
from spo_data.sandbox.memory_limit import MemoryLimit
from spo_data.sandbox.memory_watch import children, walk_tree
from spo_data.sandbox.seccomp import system_call_filter
from spo_data.sandbox.slots import Slot, claim_slot

START_SECONDS = 60.0
"""How long a sandbox may take to start, or its processes to end, on a busy machine."""
SOCKETS_SECONDS = 0.025
"""Time between two looks at how many sockets there are, which fill the kernel's memory fastest."""
LOOK_SECONDS = 0.1
"""Time between two checks of the program's memory and of whether it was cancelled."""
WAITED_SHARE = 0.7
"""A program that reaches its time limit is run again if its machine kept it from running for this share of its time."""
_CHUNK = 1 << 16


@dataclass(slots=True)
class _Running:
    """A program's processes, and its output so far."""

    process: subprocess.Popen[bytes]
    root: int
    """The process that is the ancestor of all others."""
    gate: socket.socket
    """We read a line from it when the sandbox is ready, and write one to start the program."""
    place: bytes = b""
    """Without a sandbox: the folder that replaces the sandbox's /tmp."""
    inside: int | None = None
    """A process in the sandbox, which lives as long as the sandbox; None without one."""
    root_handle: int | None = None
    """A pidfd of the process whose end ends all others; None without a sandbox."""
    output: dict[int, bytearray] = field(default_factory=dict)
    """The bytes read so far, by file descriptor."""

    def kill(self) -> None:
        """Kill every process and wait until it has ended; only once, because the pid may be reused."""
        if self.process.returncode is not None:
            return
        if self.root_handle is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
        else:
            # Kill the process that we started first: it would report its child's death on the program's stderr.
            self.process.kill()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.root_handle, signal.SIGKILL)
            if not _wait_until_readable(self.root_handle, START_SECONDS):
                raise SandboxError(f"a program's processes did not end within {START_SECONDS:g} s of their SIGKILL")
        self.process.wait()


def run_program(code: str, stdin: str, limits: Limits, *, unsafe: bool, cancelled: threading.Event) -> Execution:
    """Run a program to its end or its limit; raises SandboxError if it cannot be run or was cancelled."""
    with ExitStack() as stack:
        texts = code.encode(errors="surrogatepass"), stdin.encode(errors="surrogatepass")
        try:
            slot = stack.enter_context(claim_slot())
            running = _start_unsafe(stack, *texts, limits) if unsafe else _start_in_sandbox(stack, *texts, limits, slot)
            stack.callback(running.kill)
            for pid in walk_tree(running.process.pid):
                os.sched_setaffinity(pid, {slot.core})
        except OSError as error:
            raise SandboxError(f"cannot start a program: {error}") from error
        began = time.monotonic()
        with running.gate, contextlib.suppress(OSError):  # it may have ended already, which _watch notices
            running.gate.send(b"\n")
        cpu = CpuWatch(slot.core)
        stopped = _watch(stack, running, limits, began, cancelled, cpu)
        seconds = time.monotonic() - began
        if stopped == "time" and cpu.waited >= WAITED_SHARE * limits.seconds:
            raise SandboxError(
                f"other work kept the program's core busy for {cpu.waited:.1f} of the {limits.seconds:g} seconds that "
                "it had: run fewer programs or other processes at once"
            )
        running.kill()
        _read_all(running)
        return _make_execution(running, stopped, limits, seconds, unsafe=unsafe)


def _start_in_sandbox(stack: ExitStack, code: bytes, stdin: bytes, limits: Limits, slot: Slot) -> _Running:
    """Start a sandbox that is certain to end with us; its program waits at the gate."""
    with ExitStack() as handed_over:
        descriptors = Descriptors(
            program=_make_memory_file(handed_over, code),
            stdin=_make_memory_file(handed_over, stdin),
            system_calls=_make_memory_file(handed_over, system_call_filter()),
        )
        inherited = (descriptors.program, descriptors.stdin, descriptors.system_calls)
        # Never our own environment: programs inside can read the first process's.
        running = _start(stack, sandbox_command(limits, descriptors, slot.user), ENVIRONMENT, "/", inherited)
    _wait_for_gate(running)
    running.root = next(children(running.process.pid), 0)
    if not running.root:
        raise SandboxError("the sandbox ended before its program started")
    *_, running.inside = walk_tree(running.root)
    running.root_handle = os.pidfd_open(running.root)
    stack.callback(os.close, running.root_handle)
    return running


def _start_unsafe(stack: ExitStack, code: bytes, stdin: bytes, limits: Limits) -> _Running:
    """Start an ordinary process in its own folder and session; its program waits at the gate."""
    place = Path(tempfile.mkdtemp(prefix="spo-data-program-")).resolve()
    stack.callback(shutil.rmtree, place, ignore_errors=True)
    folder, its_input = place / Path(FOLDER).name, place / "input"
    folder.mkdir()
    (folder / PROGRAM).write_bytes(code)
    its_input.write_bytes(stdin)
    command = unsafe_command(limits, str(its_input))
    running = _start(stack, command, {**ENVIRONMENT, "HOME": str(place), "TMPDIR": str(place)}, str(folder))
    running.place = os.fsencode(place)
    _wait_for_gate(running)
    return running


def _start(
    stack: ExitStack, command: list[str], environment: Mapping[str, str], folder: str, inherited: tuple[int, ...] = ()
) -> _Running:
    """Start a command that ends at the gate; its stdin is the gate."""
    gate, gate_end = socket.socketpair()
    stack.enter_context(gate)
    with gate_end:
        process = subprocess.Popen(
            command,
            stdin=gate_end.fileno(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=environment,
            cwd=folder,
            pass_fds=inherited,
            # A Ctrl-C must reach us only: we end the processes that we started.
            start_new_session=True,
        )
    return _Running(process, process.pid, gate, output=_open_pipes(stack, process))


def _wait_for_gate(running: _Running) -> None:
    """Wait for the gate's line; if none comes, raises SandboxError with the last line of stderr."""
    if _wait_until_readable(running.gate.fileno(), START_SECONDS) and running.gate.recv(1):
        return
    # Never kill it earlier: a bwrap killed while it makes the sandbox leaves processes that nobody ends.
    running.process.kill()
    return_code = running.process.wait()
    _read_all(running)
    said = bytes(list(running.output.values())[1]).decode(errors="replace").strip()
    raise SandboxError(said.splitlines()[-1] if said else f"no program was started (exit {return_code})")


def _open_pipes(stack: ExitStack, process: subprocess.Popen[bytes]) -> dict[int, bytearray]:
    """Make the pipes of stdout and stderr non-blocking; return an empty buffer for each, by file descriptor."""
    output: dict[int, bytearray] = {}
    for pipe in (process.stdout, process.stderr):
        assert pipe is not None
        stack.enter_context(pipe)
        os.set_blocking(pipe.fileno(), False)
        output[pipe.fileno()] = bytearray()
    return output


def _watch(
    stack: ExitStack, running: _Running, limits: Limits, began: float, cancelled: threading.Event, cpu: CpuWatch
) -> Stopped | None:
    """Read the program's output until it ends (None) or reaches a limit (which one); it may still run then."""
    poll = select.poll()
    ended = os.pidfd_open(running.process.pid)
    stack.callback(os.close, ended)
    poll.register(ended, select.POLLIN)
    for pipe in running.output:
        poll.register(pipe, select.POLLIN)
    limit = limits.memory_mb << 20
    memory = MemoryLimit(running.root, running.inside, limit)
    stack.callback(memory.close)
    deadline, look, glance = began + limits.seconds, began + LOOK_SECONDS, began + SOCKETS_SECONDS
    while True:
        now = time.monotonic()
        if cancelled.is_set():
            raise SandboxError("the program was cancelled")
        if now >= min(deadline, look):
            cpu.look(running.root, memory.cpu_seconds())
        if now >= deadline:
            return "time"
        if now >= look:
            if memory.measure() > limit:
                return "memory"
            look = now + LOOK_SECONDS
        if now >= glance:
            if memory.measure_sockets() > limit:
                return "memory"
            glance = now + SOCKETS_SECONDS
        ready = dict(poll.poll(max(0.0, min(deadline, look, glance) - now) * 1000 + 1))
        for pipe, output in running.output.items():
            if pipe in ready and not _read(pipe, output):
                poll.unregister(pipe)
            if len(output) > CAPTURED_BYTES:
                return "output"
        if ended in ready:
            return None


def _make_execution(
    running: _Running, stopped: Stopped | None, limits: Limits, seconds: float, *, unsafe: bool
) -> Execution:
    """Return the result of a program that has ended; raises SandboxError if bwrap was killed."""
    return_code = running.process.returncode
    if stopped is None:
        if return_code < 0 and not unsafe:
            raise SandboxError(f"another process killed bwrap with signal {-return_code}")
        if return_code > 128:
            return_code = 128 - return_code
        # `sys.exit(152)` looks the same, so check that all cores together had time to reach the CPU limit.
        if return_code == -signal.SIGXCPU and seconds * len(os.sched_getaffinity(0)) >= limits.seconds:
            stopped = "time"
        elif any(len(output) > CAPTURED_BYTES for output in running.output.values()):
            stopped = "output"
    stdout, stderr = (_decode_output(running, output) for output in running.output.values())
    return Execution(stdout, stderr, None if stopped else return_code, stopped, seconds)


def _decode_output(running: _Running, output: bytearray) -> str:
    """Decode the kept part of an output; paths become those of a sandbox, as the model reads them in tracebacks."""
    if running.place:
        output = output.replace(running.place, os.path.dirname(FOLDER).encode())
    return bytes(output[:CAPTURED_BYTES]).decode(errors="replace")


def _read(pipe: int, output: bytearray) -> bool:
    """Read once; return whether more may come."""
    try:
        chunk = os.read(pipe, _CHUNK)
    except BlockingIOError:
        return True
    output += chunk
    return bool(chunk)


def _read_all(running: _Running) -> None:
    """Read the rest of the pipes, up to CAPTURED_BYTES."""
    for pipe, output in running.output.items():
        before = -1
        while before < len(output) <= CAPTURED_BYTES:
            before = len(output)
            _read(pipe, output)


def _wait_until_readable(descriptor: int, seconds: float) -> bool:
    """Wait until there is something to read; return False if there is nothing within this time."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _make_memory_file(stack: ExitStack, content: bytes) -> int:
    """Return the descriptor of a file in memory that holds `content`, positioned at its start."""
    file = os.memfd_create("spo-data")
    stack.callback(os.close, file)
    with os.fdopen(os.dup(file), "wb") as stream:
        stream.write(content)
    os.lseek(file, 0, os.SEEK_SET)
    return file
