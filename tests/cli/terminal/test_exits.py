"""Ctrl-C: one line and a command to go on with, at once, whatever the command does."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest
import typer

from spo_cli.terminal import exits
from spo_cli.terminal.exits import clean_exit
from spo_data.errors import SpoError

COMMAND = "spo-data regrade 'runs/my run' --token TOKEN --token=TOKEN"


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["regrade", "runs/my run", "--token", "hf_secret", "--token=hf_secret"]
    monkeypatch.setattr(sys, "argv", ["/venv/bin/spo-data", *words])


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def ended(body: Callable[[exits.Interruptible], object]) -> int:
    with pytest.raises(typer.Exit) as exit_, clean_exit("nothing is lost", "continue") as command:
        body(command)
    return exit_.value.exit_code


async def interrupted_in_a_task() -> None:
    """An exception there would be "never retrieved", and this coroutine would not end."""

    async def signalled() -> None:
        await asyncio.sleep(0)
        interrupt()
        await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        group.create_task(signalled())


async def interrupted_while_it_waits() -> None:
    asyncio.get_running_loop().call_soon(interrupt)
    await asyncio.sleep(60)


async def interrupted_in_its_own_code() -> None:
    """asyncio's own handler only cancels the task, which its code notices at its next await."""
    interrupt()
    pytest.fail("it went on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_one_line_with_the_command_that_continues(
    capsys: pytest.CaptureFixture[str], number: signal.Signals
) -> None:
    before = [signal.getsignal(each) for each in exits.NUMBERS]
    assert ended(lambda _: interrupt(number)) == 128 + number
    assert capsys.readouterr().err == f"interrupted: nothing is lost; to continue: {COMMAND}\n"
    assert [signal.getsignal(each) for each in exits.NUMBERS] == before


@pytest.mark.parametrize("work", [interrupted_in_a_task, interrupted_while_it_waits, interrupted_in_its_own_code])
def test_a_coroutine_is_interrupted_without_a_traceback(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, work: Callable[[], object]
) -> None:
    start = time.monotonic()
    assert ended(lambda command: command.run(work())) == 130  # type: ignore[arg-type]
    assert time.monotonic() - start < 30
    assert capsys.readouterr().err == f"interrupted: nothing is lost; to continue: {COMMAND}\n"
    assert not caplog.records, "asyncio reports tasks whose exception nobody took"


def test_a_coroutine_s_result_and_error_are_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    async def give(value: int) -> int:
        if not value:
            raise SpoError("no value")
        return value

    with clean_exit() as command:
        assert command.run(give(3)) == 3
    assert ended(lambda command: command.run(give(0))) == 1
    assert capsys.readouterr().err == "error: no value\n"


def test_what_an_import_makes_of_an_interruption_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A module in C that is being imported, such as those of pandas, raises an ImportError in its place."""

    def body(_: object) -> None:
        try:
            interrupt()
        except BaseException:
            raise ImportError("C extension: not built") from None

    assert ended(body) == 130
    assert capsys.readouterr().err == f"interrupted: nothing is lost; to continue: {COMMAND}\n"
    with pytest.raises(ImportError), clean_exit():
        raise ImportError("no such module")


@pytest.mark.parametrize(
    ("error", "said", "status"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "run/run.json"),
            "run/run.json cannot be used: Permission",
            2,
        ),
        (OSError(errno.ENAMETOOLONG, "File name too long", b"x"), "x cannot be used: File name too long", 2),
        (OSError(errno.ESTALE, "Stale file handle", "run"), "run cannot be used: Stale file handle", 1),
    ],
)
def test_a_file_that_the_system_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], error: OSError, said: str, status: int
) -> None:
    """A run.json, or a folder to list, without permission to read it ended in a traceback."""

    def body(_: object) -> None:
        raise error

    assert ended(body) == status
    assert capsys.readouterr().err.startswith(f"error: {said}")
    with pytest.raises(OSError, match="no file has a part in it"), clean_exit():
        raise OSError("no file has a part in it")


def test_a_long_clean_up_is_announced(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exits, "SAY_AFTER", 0.01)

    def body(_: object) -> None:
        try:
            interrupt()
        finally:
            time.sleep(0.1)

    ended(body)
    stopping, interrupted = capsys.readouterr().err.splitlines()
    assert stopping == "stopping: waiting for the current step; Ctrl-C again ends it now"
    assert interrupted.startswith("interrupted: ")


def test_a_second_signal_ends_the_process(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    statuses: list[int] = []
    monkeypatch.setattr(os, "_exit", statuses.append)

    def body(_: object) -> None:
        try:
            interrupt()
        finally:
            interrupt()

    ended(body)
    assert statuses == [130]
    assert "interrupted: ended before the clean-up was over; to start again: spo-data" in capsys.readouterr().err


def test_a_command_in_another_thread_runs_as_well() -> None:
    found: list[int] = []

    def work() -> None:
        with clean_exit():
            found.append(1)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [1]


IMPORTING = r"""
import os, signal, sys
from spo_cli import start
class Interrupts:
    def find_spec(self, name, path=None, target=None):
        if name == "spo_cli.commands.show":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except BaseException:
                pass  # as some modules do
sys.meta_path.insert(0, Interrupts())
sys.argv = ["spo-data", "show", "my \x1b[2J run"]
start.spo_data()
"""


def test_ctrl_c_during_the_imports_is_one_line() -> None:
    """Half a second after the start it ended in thirty lines of KeyboardInterrupt."""
    done = subprocess.run([sys.executable, "-c", IMPORTING], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "interrupted: nothing was started; to start again: spo-data show 'my \\x1b[2J run'\n"


def test_the_start_imports_next_to_nothing() -> None:
    """Until it has set its handler, a Ctrl-C is Python's own."""
    code = "import sys; before = set(sys.modules); import spo_cli.start; print(*(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.split(".")[0] in ("typer", "rich", "pydantic", "spo_data")}
    assert ours == set()


def test_output_that_a_full_disk_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.suppress(OSError), open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert ended(lambda _: print("a summary")) == 1
    assert capsys.readouterr().err == "error: the output cannot be written: the disk is full\n"


def test_a_full_disk_anywhere_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def write(number: int) -> None:
        raise OSError(number, os.strerror(number), "/tmp/x")

    assert ended(lambda _: write(errno.ENOSPC)) == 1
    assert capsys.readouterr().err == "error: /tmp/x cannot be written: the disk is full\n"
    assert ended(lambda _: write(errno.EIO)) == 1
    assert capsys.readouterr().err == "error: /tmp/x cannot be read or written: Input/output error\n"


@pytest.mark.parametrize("go_on", [exits.Interruptible.stop_if_interrupted, lambda c: c.run(asyncio.sleep(60))])
def test_a_signal_that_a_library_swallows_still_ends_the_command(
    go_on: Callable[[exits.Interruptible], object],
) -> None:
    """An import of pandas catches everything: `spo-train` said "stopping", and would then have started to train."""

    def swallow(command: exits.Interruptible) -> None:
        with contextlib.suppress(BaseException):
            interrupt()
        go_on(command)
        pytest.fail("it went on")

    assert ended(swallow) == 130
