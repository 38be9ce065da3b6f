"""A disk that fails, or becomes read-only, in the middle of a run: a real file system, in a file."""

import fcntl
import itertools
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from spo_data import SpoError
from spo_data.run.journal import Journal
from spo_pipelines import results
from support import scripted

pytestmark = pytest.mark.slow

SHUTDOWN = 0x8004587D
"""FS_IOC_SHUTDOWN: from then on, ext4 answers everything but what it has in memory with EIO."""
WITHOUT_FLUSHING = struct.pack("I", 2)


class Disk:
    """An ext4 in a file, mounted at `place`."""

    def __init__(self, folder: Path) -> None:
        self.image, self.place = folder / "disk.img", folder / "disk"
        self.place.mkdir()
        with self.image.open("wb") as file:
            file.truncate(32 << 20)
        self._run("mkfs.ext4", "-q", str(self.image))
        self.mount()

    def mount(self) -> None:
        self._run("mount", "-o", "loop,errors=remount-ro", str(self.image), str(self.place))

    def unmount(self) -> None:
        self._run("umount", str(self.place))

    def mend(self) -> None:
        """As an administrator does."""
        self.unmount()
        subprocess.run(["fsck.ext4", "-fy", str(self.image)], capture_output=True, check=False)
        self.mount()

    def fail(self) -> None:
        """Answer with EIO."""
        place = os.open(self.place, os.O_RDONLY)
        try:
            fcntl.ioctl(place, SHUTDOWN, WITHOUT_FLUSHING)
        finally:
            os.close(place)

    def become_read_only(self) -> None:
        """As the kernel does when it finds an error."""
        device = self._run("findmnt", "-no", "SOURCE", str(self.place)).strip()
        Path(f"/sys/fs/ext4/{Path(device).name}/trigger_fs_error").write_text("by a test")

    def _run(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    try:
        made = Disk(tmp_path)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    yield made
    with suppress(subprocess.CalledProcessError):
        made.unmount()


@pytest.mark.parametrize(
    ("breaks", "says"),
    [(Disk.fail, "Input/output error"), (Disk.become_read_only, "the file system is read-only")],
    ids=["EIO", "read-only"],
)
@pytest.mark.parametrize("at", ["commit", "summarize", "write_tables", "write_manifest", "write_card"])
def test_a_run_on_a_disk_that_fails_ends_in_one_line_and_the_same_command_continues(
    at: str, breaks: Callable[[Disk], None], says: str, disk: Disk, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that answers with EIO, the journal was sometimes called malformed."""
    monkeypatch.setattr("spo_data.run.journal.COMMIT_SAMPLES", 4)
    run = disk.place / "run"
    owner: Any = Journal if at == "commit" else results
    with monkeypatch.context() as patch:
        patch.setattr(
            owner, at, _break_before(getattr(owner, at), lambda: breaks(disk), nth=2 if at == "commit" else 1)
        )
        with pytest.raises(SpoError) as failed:
            scripted.estimate(scripted.options(dataset, run))
    assert failed.value.exit_status == 1
    assert str(failed.value).startswith(f"{run}")
    assert str(failed.value).endswith(says)
    assert "\n" not in str(failed.value)
    disk.mend()
    there = scripted.journal_rows(run)
    assert len(there) >= (4 if at == "commit" else 24)
    again = scripted.Script()
    assert scripted.estimate(scripted.options(dataset, run), again).summary.complete
    assert len(again.submitted) == 24 - len(there)


def _break_before(function: Callable[..., Any], breaks: Callable[[], None], nth: int) -> Callable[..., Any]:
    """The function, which breaks the disk before its n-th call."""
    calls = itertools.count(1)

    def called(*arguments: Any, **named: Any) -> Any:
        if next(calls) == nth:
            breaks()
        return function(*arguments, **named)

    return called
