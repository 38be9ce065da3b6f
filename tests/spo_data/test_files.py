"""Files that are written whole."""

import ctypes
import errno
import os
import signal
import time
from pathlib import Path

import pytest

from spo_data.errors import SpoError, UserError
from spo_data.files import appears_whole, clear_write_errors, folder_lock, replace_whole, write_whole


def test_the_new_text_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")
    write_whole(path, "é\n")
    assert path.read_bytes() == "é\n".encode()
    assert [found.name for found in tmp_path.iterdir()] == ["run.json"]


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")

    def write_half() -> None:
        with replace_whole(path) as fresh:
            fresh.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert path.read_text() == "old"


def test_a_writer_that_is_killed_while_it_starts_a_process_leaves_no_lock(tmp_path: Path) -> None:
    """The new process has the lock until it has loaded its program: the next call was told of another writer."""
    killed = os.fork()
    if not killed:
        with folder_lock(tmp_path, "spo-data"):
            if not ctypes.CDLL(None).fork():  # as `subprocess` does it: without Python's own handlers
                time.sleep(0.3)  # until it has loaded its program
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)
    assert os.waitpid(killed, 0)[1] == signal.SIGKILL
    with pytest.raises(UserError, match="another spo-data is writing"), folder_lock(tmp_path, "spo-data", seconds=0):
        pass
    with folder_lock(tmp_path, "spo-data"):
        pass


def test_a_live_writer_is_named_with_its_process(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    other = os.fork()
    if not other:
        with folder_lock(tmp_path, "spo-data"):
            os.write(tell, b"x")
            signal.pause()
    os.read(ready, 1)
    said = rf"^another spo-data is writing to {tmp_path} \(process {other}\): wait for it to finish, or stop it$"
    with pytest.raises(UserError, match=said), folder_lock(tmp_path, "spo-data", seconds=0.05):
        pass
    os.kill(other, signal.SIGKILL)
    os.waitpid(other, 0)


def test_the_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three of the seven writers before this one renamed without a sync: a power cut could leave an empty file."""
    path, seen = tmp_path / "README.md", []
    monkeypatch.setattr("spo_data.files.os.fsync", lambda _: seen.append(path.exists()))
    write_whole(path, "words")
    assert seen == [False]


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "the disk is full"), (errno.EISDIR, "Is a directory")])
def test_an_error_of_the_disk_is_one_line_with_its_file(tmp_path: Path, number: int, said: str) -> None:
    for write in (clear_write_errors, appears_whole):
        with pytest.raises(SpoError, match=rf"out cannot be written: {said}$"), write(tmp_path / "out"):
            raise OSError(number, os.strerror(number))
    with pytest.raises(SpoError, match=rf"^a/file cannot be written: {said}$"), clear_write_errors(tmp_path):
        raise OSError(number, os.strerror(number), "a/file")
