"""The processes below the graders: their clock, and what killed ones leave behind."""

import asyncio
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pebble import ProcessFuture

import spo_data.grading.workers.processes as processes_module
from spo_data.grading.verdict import Grade, Verdict
from spo_data.grading.workers.pool_folder import PoolFolder, mark_process, remove_leftovers
from spo_data.grading.workers.processes import Processes

TIMEOUT = Grade.failed(Verdict.GRADER_TIMEOUT, "over 2 s")


@pytest.mark.parametrize(
    ("jump", "seconds", "outcome"), [(3600.0, 0.8, None), pytest.param(-3600.0, 60.0, TIMEOUT, marks=pytest.mark.slow)]
)
def test_a_jump_of_the_wall_clock_changes_no_time_limit(
    monkeypatch: pytest.MonkeyPatch, jump: float, seconds: float, outcome: Grade | None
) -> None:
    """pebble measured with the wall clock: a jump by an hour ended every job under way as a timeout, and a jump back
    let a job that hangs run for an hour."""
    wall = time.time

    async def run() -> object:
        processes = Processes(mark_process, (), workers=1, start_seconds=60)
        try:
            await processes.run(time.sleep, 0.0, 30)
            job = asyncio.create_task(processes.run(time.sleep, seconds, 2.0))
            await asyncio.sleep(0.5)
            monkeypatch.setattr(time, "time", lambda: wall() + jump)
            return await asyncio.wait_for(job, 20)
        finally:
            await processes.close()

    assert asyncio.run(run()) == outcome


@pytest.mark.parametrize("worked", [False, True])
def test_an_idle_pool_is_not_stuck(monkeypatch: pytest.MonkeyPatch, worked: bool) -> None:
    """In training the first response comes minutes after the pool was made. Its grading, if not done within a second,
    ended as "the grading processes do not start", and no later one was ever graded."""
    monkeypatch.setattr(processes_module, "CHECK_SECONDS", 0.05)

    async def run() -> object:
        processes = Processes(mark_process, (), workers=1, start_seconds=60)
        try:
            if worked:
                await processes.run(time.sleep, 0.0, 30)
            pool = processes._pool
            processes._last_end -= 1000  # nothing was graded for so long
            return await processes.run(time.sleep, 0.2, 30), processes._pool is pool
        finally:
            await processes.close()

    assert asyncio.run(run()) == (None, True)


def test_a_call_that_a_breaking_pool_forgets_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a pool broke between a call and its start, nobody answered the call, and the run waited for ever."""
    forgotten: list[ProcessFuture[None]] = []

    def forget(*_: object, **__: object) -> "ProcessFuture[None]":
        pid = next(int(mark.name) for mark in processes._folder.marks())
        os.kill(pid, signal.SIGKILL)
        forgotten.append(ProcessFuture())
        return forgotten[-1]

    async def run() -> object:
        try:
            await processes.run(time.sleep, 0.0, 30)
            monkeypatch.setattr(processes_module, "CHECK_SECONDS", 0.1)
            monkeypatch.setattr(processes._pool, "schedule", forget)
            return await asyncio.wait_for(processes.run(time.sleep, 0.0, 30), 30)
        finally:
            await processes.close()

    processes = Processes(mark_process, (), workers=1, start_seconds=60)
    assert asyncio.run(run()) is None
    assert len(forgotten) == 1


KILLED = """
import asyncio, os, signal, subprocess, sys, time
from spo_data.grading.workers.pool import GradeJob, GraderPool

async def main():
    async with GraderPool(sys.argv[1], workers=1, seconds=1000) as pool:
        hangs = asyncio.create_task(pool.grade(GradeJob("", "")))
        while not os.path.exists(sys.argv[2]):
            await asyncio.sleep(0.05)
        print("hangs", flush=True)
        await hangs

if __name__ == "__main__":
    asyncio.run(main())
"""
HANGS = """
import os, pathlib, subprocess
def judge(**_):
    child = subprocess.Popen(["sleep", "1000"])
    path = pathlib.Path({pids!r})
    path.with_suffix(".new").write_text(f"{{os.getpid()}} {{child.pid}}")
    path.with_suffix(".new").rename(path)
    sum(range(10**15))   # in C, which lets no signal through
"""


def semaphores() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("sem.mp-*")}


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def wait_until_gone(pid: int) -> bool:
    end = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


@pytest.mark.slow
def test_what_a_killed_pool_leaves_is_removed_by_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGKILL of the process group, as a job scheduler sends it, left the folder and two semaphores for ever, and a
    grading process that hangs in C, with its children, for as long as the machine ran."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    (tmp_path / "main.py").write_text(KILLED)
    (tmp_path / "reward.py").write_text(HANGS.format(pids=str(tmp_path / "pids")))
    command = [sys.executable, tmp_path / "main.py", f"{tmp_path / 'reward.py'}:judge", tmp_path / "pids"]
    environment = os.environ | {"TMPDIR": str(temporary)}
    pool = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, env=environment)
    assert pool.stdout is not None
    assert pool.stdout.readline() == "hangs\n"
    grading, child = map(int, (tmp_path / "pids").read_text().split())
    (owner,) = temporary.glob("*/owner")
    made = {f"sem.{line.split()[0].strip('/')}" for line in owner.read_text().splitlines()}
    assert len(made) == 2
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    remove_leftovers()
    assert is_alive(grading), "the pool lives"
    assert len(list(temporary.iterdir())) == 1
    os.killpg(pool.pid, signal.SIGKILL)
    pool.wait()
    assert is_alive(grading)
    assert made <= semaphores()
    PoolFolder().remove()
    assert wait_until_gone(grading)
    assert wait_until_gone(child)
    assert list(temporary.iterdir()) == []
    assert not made & semaphores()


@pytest.fixture
def dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that a dead pool left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = tmp_path / "spo-data-graders-dead"
    folder.mkdir()
    (folder / "owner").touch()
    return folder


def test_a_process_that_reuses_a_number_is_not_killed(dead: Path) -> None:
    later = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        (dead / str(later.pid)).write_text("another boot 4026531836 123")
        remove_leftovers()
        assert not dead.exists()
        assert later.poll() is None
    finally:
        later.kill()
        later.wait()


def test_a_semaphore_that_reuses_a_name_stays(dead: Path) -> None:
    semaphore = Path("/dev/shm") / f"sem.spo-test-{os.getpid()}"
    semaphore.touch()
    try:
        (dead / "owner").write_text(f"/spo-test-{os.getpid()} 1\n/spo-test-gone 2\n")
        remove_leftovers()
        assert not dead.exists()
        assert semaphore.exists()
    finally:
        semaphore.unlink()


def test_what_cannot_be_told_to_be_a_dead_pool_s_stays(dead: Path, tmp_path: Path) -> None:
    """A pool that lives holds the lock, also in another container with the same temporary folder."""
    (tmp_path / "spo-data-graders-of-an-earlier-version").mkdir()
    with (dead / "owner").open() as lives:
        fcntl.flock(lives, fcntl.LOCK_EX)
        remove_leftovers()
        assert dead.exists()
    own = PoolFolder()
    remove_leftovers()
    assert {path.name for path in tmp_path.iterdir()} == {"spo-data-graders-of-an-earlier-version", own.path.name}
    own.remove()
