"""Programs run on this machine: what they may do, what stops them, and that they leave nothing behind."""

import asyncio
import gc
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import psutil
import pytest
from tenacity import wait_none

from spo_data.errors import UserError
from spo_data.sandbox.interpreter import CAPTURED_BYTES, Execution, Limits, SandboxError
from spo_data.sandbox.local import LocalInterpreter, check_sandbox
from support.sandboxes import Outside, eventually_nothing_left, left, outside

LIMITS = Limits(seconds=30, memory_mb=512)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Outside]:
    with outside(tmp_path / "outside") as found:
        yield found


def run(code: str, limits: Limits = LIMITS, stdin: str = "", unsafe: bool = False) -> Execution:
    async def one() -> Execution:
        async with LocalInterpreter(1, unsafe) as interpreter:
            return await interpreter.run(code, limits, stdin)

    return asyncio.run(one())


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_program_prints_reads_its_input_and_fails_with_a_traceback(unsafe: bool) -> None:
    execution = run("print(input() + 'é')\nraise ValueError('no')", stdin="caf", unsafe=unsafe)
    assert execution.stdout == "café\n"
    assert execution.stderr.startswith("Traceback")
    assert 'main.py", line 2' in execution.stderr
    assert (execution.return_code, execution.stopped) == (1, None)
    for each in (signal.SIGABRT, signal.SIGKILL, signal.SIGSEGV):
        killed = run(f"import os\nos.kill(os.getpid(), {each.value})", unsafe=unsafe)
        assert (killed.return_code, killed.stderr) == (-each, ""), "a shell says how its child ended"


@pytest.mark.parametrize("unsafe", [False, True])
def test_each_limit_ends_a_program_and_what_it_wrote_is_kept(unsafe: bool) -> None:
    limits = Limits(seconds=1, memory_mb=256)
    sleeping = "print('a')\nimport time\ntime.sleep(60)"
    slept = run(sleeping, limits, unsafe=unsafe)
    assert (slept.stdout, slept.stderr, slept.stopped, slept.return_code) == ("a\n", "", "time", None)
    assert slept.seconds >= 1
    again = (run(sleeping, limits, unsafe=unsafe) for _ in range(4))
    assert any(each.seconds < 2 for each in chain([slept], again)), "one that a busy machine slows down shows nothing"
    flooded = run("import os\nwhile True: os.write(1, b'x' * 4096)", LIMITS, unsafe=unsafe)
    assert (len(flooded.stdout), flooded.stopped, flooded.return_code) == (CAPTURED_BYTES, "output", None)
    assert flooded.stderr == ""
    exceeded = run("print('a')\nx = bytearray(300 << 20)", limits, unsafe=unsafe)
    assert (exceeded.stdout, exceeded.stopped, exceeded.return_code) == ("a\n", None, 1)
    assert exceeded.stderr.endswith("MemoryError\n")
    forked = "import os, time\nfor _ in range(3): os.fork()\nx = bytearray(100 << 20)\ntime.sleep(60)"
    together = run(forked, Limits(20, 256), unsafe=unsafe)
    assert (together.stderr, together.stopped, together.return_code) == ("", "memory", None)


@pytest.mark.slow
def test_what_contains_a_program_writes_nothing_into_its_output() -> None:
    """`unshare` often wrote to the program's stderr that its child had been killed, and the model read that message.
    This happened only if root made the sandbox."""

    async def all_stopped() -> list[Execution]:
        async with LocalInterpreter() as interpreter:
            return await asyncio.gather(*(interpreter.run("while True: pass", Limits(0.2)) for _ in range(12)))

    assert {(each.stderr, each.stopped) for each in asyncio.run(all_stopped())} == {("", "time")}


def test_a_sandbox_that_cannot_be_made_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only remote sandboxes were retried. A brief lack of file descriptors or threads became a `tool_error` at once."""
    made, start = [], subprocess.Popen

    def failing(*arguments: Any, **named: Any) -> Any:
        made.append(1)
        if len(made) < 3:
            raise OSError(24, "Too many open files")
        return start(*arguments, **named)

    async def attempted(attempts: int) -> Execution:
        async with LocalInterpreter(1, attempts=attempts, wait=wait_none()) as interpreter:
            return await interpreter.run("print(1)", LIMITS)

    monkeypatch.setattr("spo_data.sandbox.program.subprocess.Popen", failing)
    assert asyncio.run(attempted(5)).stdout == "1\n"
    made.clear()
    with pytest.raises(SandboxError, match=r"local sandbox: .*Too many open files.* \(2 attempts\)"):
        asyncio.run(attempted(2))


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.slow
def test_a_programs_name_can_be_any_bytes(unsafe: bool) -> None:
    """A process name that is not UTF-8 ended the whole estimate, and ended it again after every resume. A name with a
    carriage return and `VmRSS: -999999` disabled the memory limit."""
    name = "import ctypes, os, time\nassert ctypes.CDLL(None).prctl(15, {!r}) == 0\n"
    assert run(name.format(b"\xff\xfe") + "time.sleep(0.5)\nprint(1)", unsafe=unsafe).stdout == "1\n"
    forked = "for _ in range(3):\n    if os.fork() == 0: break\nx = b'x' * (110 << 20)\ntime.sleep(60)"
    assert run(name.format(b"\rVmRSS: -999999") + forked, Limits(20, 192), unsafe=unsafe).stopped == "memory"


@pytest.mark.slow
def test_an_error_that_nobody_expects_costs_one_program_and_no_further_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Any other exception during a program ended the whole estimate, and resuming drew the same program again."""
    attempts = []

    def failing(*_: Any, **__: Any) -> int:
        attempts.append(1)
        raise ZeroDivisionError("division by zero")

    async def both() -> Execution:
        async with LocalInterpreter(1, wait=wait_none()) as interpreter:
            with pytest.raises(SandboxError, match=r"^local sandbox: ZeroDivisionError: division by zero$"):
                await interpreter.run("import time\ntime.sleep(5)", LIMITS)
            return await interpreter.run("print(1)", LIMITS)

    monkeypatch.setattr("spo_data.sandbox.program.MemoryLimit.measure", failing)
    monkeypatch.setattr("spo_data.sandbox.program.LOOK_SECONDS", 1.0)
    assert asyncio.run(both()).stdout == "1\n"
    assert len(attempts) == 1


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(("limits", "said"), [(Limits(1e20, 256), "CPU limit"), (Limits(30, 10**14), "AS limit")])
def test_a_limit_that_cannot_be_set_is_our_failure(unsafe: bool, limits: Limits, said: str) -> None:
    """The model read `prlimit: failed to parse CPU limit` instead of its program's output."""

    async def once() -> Execution:
        async with LocalInterpreter(1, unsafe, attempts=1) as interpreter:
            return await interpreter.run("print(1)", limits)

    with pytest.raises(SandboxError, match=f"prlimit: failed to parse {said}"):
        asyncio.run(once())


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_status_above_128_is_no_time_limit_where_none_was_reached(unsafe: bool) -> None:
    """The model read that its program was stopped after 30 seconds, although it had run for less than one."""
    execution = run("import sys\nsys.exit(152)", unsafe=unsafe)
    assert (execution.stopped, execution.return_code) == (None, -signal.SIGXCPU)


def test_a_program_reads_the_same_with_and_without_a_sandbox() -> None:
    """A traceback named a folder with a random name, so the tokens of a response differed from run to run."""
    code = "import os, tempfile\nprint(os.getcwd(), __file__, os.environ['HOME'], tempfile.gettempdir())\nint('x')"
    contained, plain = run(code), run(code, unsafe=True)
    assert (contained.stdout, contained.stderr) == (plain.stdout, plain.stderr)
    assert plain.stdout == "/tmp/program /tmp/program/main.py /tmp /tmp\n"
    assert 'File "/tmp/program/main.py", line 3' in plain.stderr


def test_an_interpreter_may_open_as_many_files_as_its_machine_allows() -> None:
    """On a large machine with one program per core, 1,024 files were too few, because the process opens others too."""

    async def opened() -> tuple[int, int, Execution]:
        async with LocalInterpreter(1) as interpreter:
            counted = "import resource\nprint(resource.getrlimit(resource.RLIMIT_NOFILE))"
            return *resource.getrlimit(resource.RLIMIT_NOFILE), await interpreter.run(counted, LIMITS)

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[1]), before[1]))
    try:
        soft, hard, execution = asyncio.run(opened())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert soft == hard == before[1]
    assert execution.stdout == "(128, 128)\n"


def test_a_program_that_fills_its_output_exactly_is_not_stopped() -> None:
    whole = run(f"print('x' * {CAPTURED_BYTES - 1})")
    assert (len(whole.stdout), whole.stopped, whole.return_code) == (CAPTURED_BYTES, None, 0)
    assert run(f"print('x' * {CAPTURED_BYTES})").stopped == "output"


@pytest.mark.slow
def test_pages_that_processes_share_are_counted_once() -> None:
    """A parent of 150 MB with seven idle children was counted as 1.2 GB."""
    code = "import os, time\nx = b'x' * (150 << 20)\nfor _ in range(7):\n    if os.fork() == 0: break\ntime.sleep(1)"
    assert run(code, Limits(20, 512)).return_code == 0


def test_what_a_program_may_do() -> None:
    code = """
import asyncio, concurrent.futures, ctypes, multiprocessing, os, socket, sqlite3, subprocess, tempfile, threading
from multiprocessing import shared_memory
if __name__ == "__main__":
    with multiprocessing.Pool(2) as pool:
        print(pool.map(abs, [-1, -2]))
    memory = shared_memory.SharedMemory(create=True, size=1 << 20)
    memory.close(), memory.unlink()
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        print(sum(threads.map(abs, range(-9, 0))))
    print(asyncio.run(asyncio.sleep(0, "loop")))
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("file")
        file.seek(0)
        print(file.read())
    print(subprocess.run("echo $((6 * 7))", shell=True, capture_output=True, text=True).stdout, end="")
    here, there = socket.socketpair()
    here.send(b"own socket")
    print(there.recv(99).decode())
    with multiprocessing.Manager() as manager:
        print(manager.list("xy"))
    with sqlite3.connect("own.db") as database:
        print(*database.execute("create table own as select 5 as five"), *database.execute("select * from own"))
    print(ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)(lambda x: x + 1)(41))
    import sympy, numpy
    print(sympy.factorint(2 ** 64 + 1), numpy.ones((200, 200)) @ numpy.ones(200) @ numpy.ones(200))
"""
    execution = run(code)
    assert execution.stderr == ""
    expected = (
        "[1, 2] | 45 | loop | file | 42 | own socket | ['x', 'y'] | (5,) | 42 | {274177: 1, 67280421310721: 1} 40000.0"
    )
    assert " | ".join(execution.stdout.splitlines()) == expected


def test_every_program_finds_an_empty_folder_and_the_same_hashes() -> None:
    """If the virtual environment was in /tmp, a program found part of that path in its own folder."""
    code = "import os\nprint(os.listdir(), hash('x'))\nopen('left', 'w').close()\nopen('/dev/shm/left', 'w').close()"
    first, second = run(code), run(code)
    assert first.stdout == second.stdout
    assert first.stdout.startswith("['main.py']")


@pytest.mark.parametrize("code", ["x = '\ud800'", "print('\0')", "def f(:"])
def test_a_text_that_is_no_program_has_an_ordinary_result(code: str) -> None:
    execution = run(code)
    assert execution.return_code == 1
    assert execution.stderr


@pytest.mark.slow
def test_waiting_for_a_turn_is_not_on_the_clock() -> None:
    async def several() -> list[Execution]:
        async with LocalInterpreter(2) as interpreter:
            assert interpreter.concurrency == 2
            code = "import time\ntime.sleep(0.3)\nprint('done')"
            return await asyncio.gather(*(interpreter.run(code, Limits(5, 256)) for _ in range(6)))

    began = time.monotonic()
    executions = asyncio.run(several())
    elapsed = time.monotonic() - began
    assert [execution.stdout for execution in executions] == ["done\n"] * 6
    assert max(execution.seconds for execution in executions) < elapsed - 0.6, "two others had the same place"
    assert LocalInterpreter().concurrency == len(os.sched_getaffinity(0))


@pytest.mark.slow
def test_cancelling_kills_the_whole_tree_at_any_moment(place: Outside) -> None:
    code = "import os, time\nos.fork()\nos.fork()\nos.setsid() if os.getpid() > 2 else None\ntime.sleep(60)"

    async def cancelled() -> None:
        async with LocalInterpreter(2) as interpreter:
            for moment in range(24):
                tasks = [asyncio.create_task(interpreter.run(code, LIMITS)) for _ in range(3)]
                await asyncio.sleep(moment / 200)
                for task in tasks:
                    task.cancel()
                for result in await asyncio.gather(*tasks, return_exceptions=True):
                    assert isinstance(result, asyncio.CancelledError)
            assert (await interpreter.run("print(1)", LIMITS)).stdout == "1\n"
            assert eventually_nothing_left(place.mark)

    asyncio.run(cancelled())


def test_closing_kills_what_still_runs(place: Outside) -> None:
    async def closed() -> None:
        interpreter = LocalInterpreter(1)
        tasks = [asyncio.create_task(interpreter.run("while True: pass", LIMITS)) for _ in range(2)]
        while not left(place.mark):
            await asyncio.sleep(0.01)
        await interpreter.__aexit__()
        assert left(place.mark) == []
        first, second = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(first, SandboxError)
        assert isinstance(second, asyncio.CancelledError)

    asyncio.run(closed())


PARENT = """
import asyncio, sys
from spo_data.sandbox.bubblewrap import ENVIRONMENT
from spo_data.sandbox.interpreter import Limits
from spo_data.sandbox.local import LocalInterpreter
ENVIRONMENT["MARK"] = sys.argv[1]
async def main():
    async with LocalInterpreter(3) as interpreter:
        code = "import os, time\\nos.fork()\\nif os.fork() == 0: os.setsid()\\ntime.sleep(%s)"
        while True:
            await asyncio.gather(*(interpreter.run(code % seconds, Limits(60, 512)) for seconds in (0, 0.1, 60)))
asyncio.run(main())
"""


@pytest.mark.parametrize("moment", [0.0, 0.005, 0.02, 0.3])
@pytest.mark.slow
def test_a_killed_command_leaves_no_program_behind(place: Outside, moment: float) -> None:
    """A bwrap that was killed while it made a sandbox left behind a child that waited for it forever."""
    if os.geteuid() != 0 and moment < 0.1:
        pytest.skip("only root's sandbox is in a namespace that ends with us from its first moment on")
    command = subprocess.Popen([sys.executable, "-c", PARENT, place.mark], start_new_session=True)
    while not left(place.mark):
        time.sleep(0.005)
    time.sleep(moment)
    command.kill()
    command.wait()
    assert eventually_nothing_left(place.mark)


@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_any_loop_in_any_thread_can_wait_for_a_program(loops: str) -> None:
    uvloop = pytest.importorskip("uvloop") if loops == "uvloop" else asyncio
    interpreter = LocalInterpreter(2)
    found: list[str] = []

    def work() -> None:
        loop = uvloop.new_event_loop()
        try:
            found.append(loop.run_until_complete(interpreter.run("print(6 * 7)", LIMITS)).stdout)
        finally:
            loop.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["42\n"] * 4
    asyncio.run(interpreter.__aexit__())


def executions_leave_nothing(place: Outside, count: int, growth_mb: float) -> None:
    """Run several kinds of programs, two at once, and compare resources before and after."""
    kinds = [
        ("print(6 * 7)", "42\n"),
        (
            "import os\nopen('x', 'w').write('x' * 10**6)\nif os.fork() == 0: os.setsid()\nprint(os.getpid() > 0)",
            "True",
        ),
        ("raise ValueError(input())", ""),
    ]
    ours = psutil.Process()
    temporary = set(os.listdir("/tmp"))

    async def several() -> tuple[float, int, int]:
        async with LocalInterpreter(2) as interpreter:

            async def one(number: int) -> None:
                code, printed = kinds[number % len(kinds)]
                assert (await interpreter.run(code, LIMITS, "input")).stdout.startswith(printed)

            await asyncio.gather(*map(one, range(20)))
            gc.collect()
            before, files, threads = ours.memory_info().rss, ours.num_fds(), ours.num_threads()
            for start in range(0, count, 100):
                await asyncio.gather(*map(one, range(start, start + 100)))
            gc.collect()
            assert ours.num_threads() == threads
            return (ours.memory_info().rss - before) / 2**20, files, ours.num_fds()

    grown, files_before, files_after = asyncio.run(several())
    assert grown < growth_mb
    assert files_after == files_before
    assert left(place.mark) == []
    assert [child for child in ours.children(recursive=True) if "bwrap" in child.name()] == []
    assert not [name for name in set(os.listdir("/tmp")) - temporary if name.startswith("spo-data-program")]


@pytest.mark.slow
def test_a_hundred_executions_leave_nothing(place: Outside) -> None:
    executions_leave_nothing(place, count=100, growth_mb=10)


@pytest.mark.long
def test_three_thousand_executions_two_at_once_leave_nothing(place: Outside) -> None:
    executions_leave_nothing(place, count=3000, growth_mb=12)


def test_unsafe_leaves_no_folder_and_no_process_of_its_session() -> None:
    code = (
        "import os, time\nprint(os.getcwd()[::-1], os.getpid(), 'SPO_TEST' in os.environ)\n"
        "if os.fork() == 0: time.sleep(60)"
    )
    os.environ["SPO_TEST"] = "1"
    try:
        backwards, pid, inherited = run(code, unsafe=True).stdout.split()
    finally:
        del os.environ["SPO_TEST"]
    assert inherited == "False"
    folder = Path(backwards[::-1])
    assert (folder.name, folder.exists(), folder.parent.exists()) == ("program", False, False)
    deadline = time.monotonic() + 10
    while any(os.getpgid(each) == int(pid) for each in psutil.pids() if alive(each)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert time.monotonic() < deadline


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_machine_that_can_run_programs_passes_the_check(unsafe: bool) -> None:
    asyncio.run(check_sandbox(unsafe, LIMITS))


@pytest.mark.parametrize("unsafe", [False, True])
def test_the_check_passes_with_the_smallest_limits(unsafe: bool) -> None:
    asyncio.run(check_sandbox(unsafe, Limits(0.001, 128)))


@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(
    ("limits", "said"),
    [
        (Limits(1e20, 256), r"--tool-seconds 1e\+20: at most 1,000,000,000"),
        (
            Limits(30, 10**14),
            "this machine cannot run a model's programs: .*prlimit: failed to parse AS limit.*; use .*",
        ),
    ],
)
def test_limits_that_cannot_be_set_are_refused_in_one_line(unsafe: bool, limits: Limits, said: str) -> None:
    """The check used its own limits, so it passed although every program of the run failed."""
    with pytest.raises(UserError) as refused:
        asyncio.run(check_sandbox(unsafe, limits))
    assert re.fullmatch(said, str(refused.value))


CONFINED = """
import asyncio
from spo_data.errors import UserError
from spo_data.sandbox.interpreter import Limits
from spo_data.sandbox.local import check_sandbox
asyncio.run(check_sandbox(False, Limits(30, 512)))
try:
    asyncio.run(check_sandbox(False, Limits(30, 8192)))
except UserError as error:
    print(error)
"""


def test_a_memory_limit_above_our_own_is_refused() -> None:
    """The check could set its own 1,024 MB, but the run could not set its limit. The model read prlimit's error."""
    command = ["prlimit", f"--as={4 << 30}", sys.executable, "-c", CONFINED]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert "prlimit: failed to set the AS resource limit: Operation not permitted (1 attempt); use" in done.stdout


def test_a_machine_without_bubblewrap_is_told_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError) as refused:
        asyncio.run(check_sandbox(False, LIMITS))
    message = str(refused.value)
    assert "\n" not in message
    assert "bwrap is not installed: apt install bubblewrap" in message
    assert "--sandbox http://HOST:PORT" in message
    assert "--sandbox-unsafe" in message


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (
            "echo 'bwrap: No permissions to create a new namespace' >&2; exit 1",
            "No permissions to create a new namespace",
        ),
        ("exit 3", "exit 3"),
        ("echo; echo escaped; exit 0", "exit 0"),
    ],
)
def test_a_bubblewrap_that_cannot_isolate_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str
) -> None:
    bwrap = tmp_path / "bwrap"
    bwrap.write_text(f"#!/bin/sh\n{script}\n")
    bwrap.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(UserError) as refused:
        asyncio.run(check_sandbox(False, LIMITS))
    assert re.fullmatch(
        rf"this machine cannot run a model's programs: .*{said}.*; use --sandbox http.*", str(refused.value)
    )


def test_a_missing_filter_of_system_calls_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from spo_data.sandbox import seccomp

    seccomp.system_call_filter.cache_clear()
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    with pytest.raises(UserError, match="the filter of system calls cannot be made"):
        asyncio.run(check_sandbox(False, LIMITS))


def test_a_python_around_the_home_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "alice"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    with pytest.raises(UserError, match="holds your home folder"):
        asyncio.run(check_sandbox(False, LIMITS))


UNPRIVILEGED = """
import asyncio, os, sys
sys.path += sys.argv[1:]
from spo_data.sandbox.interpreter import Limits
from spo_data.sandbox.local import LocalInterpreter, check_sandbox
async def main():
    await check_sandbox(False, Limits(30, 256))
    async with LocalInterpreter(1) as interpreter:
        code = "import os\\nprint(os.getuid())\\nwhile True:\\n    try: os.fork()\\n    except OSError: pass"
        print((await interpreter.run(code, Limits(1, 256))))
        code = "print(open('/proc/1/limits').read() == open('/proc/self/limits').read())"
        print((await interpreter.run(code, Limits(20, 256))))
        code = "import socket\\nlistener = socket.socket(socket.AF_UNIX)\\nlistener.bind('')\\nlistener.listen(4096)\\n"
        code += "for _ in range(4000): socket.socket(socket.AF_UNIX).connect(listener.getsockname())\\n"
        print((await interpreter.run(code + "import time\\ntime.sleep(9)", Limits(20, 256))))
        code = "import os\\nprint(os.path.exists('/root'), os.path.exists('/home'), os.listdir('/etc'))"
        print((await interpreter.run(code, Limits(20, 256))))
assert os.geteuid() != 0
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
@pytest.mark.slow
def test_an_ordinary_user_is_isolated_without_the_outer_sandbox() -> None:
    python = "/usr/bin/python3"
    paths = [str(Path(__file__).parents[3]), os.path.dirname(os.path.dirname(psutil.__file__))]
    as_user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "--"]
    suitable = "import sys; sys.path += sys.argv[1:]; import pyseccomp, spo_data; sys.exit(sys.version_info < (3, 11))"
    if subprocess.run([*as_user, python, "-c", suitable, *paths], capture_output=True, check=False).returncode != 0:
        pytest.skip("no Python 3.11 of the system that another user can run with these packages")
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    done = subprocess.run(
        [*as_user, python, "-c", UNPRIVILEGED, *paths], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    bomb, process_1, sockets, files = done.stdout.splitlines()
    assert "stdout='True\\n'" in process_1
    assert "stopped='memory'" in sockets
    assert "stdout='65534\\n'" in bomb
    assert "stopped='time'" in bomb
    assert "False False" in files
