"""Things outside a sandbox for a program to find, and a search for processes that programs left behind."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from spo_data.sandbox.bubblewrap import ENVIRONMENT

SECRET = "hunter2-of-the-host"


@dataclass
class Outside:
    """Listeners, a folder with a canary and a home folder, a process, and the mark of every sandbox process."""

    folder: Path
    mark: str
    port: int
    abstract: str
    listeners: list[socket.socket] = field(default_factory=list)

    def filled(self, code: str) -> str:
        """The program, with its placeholders replaced by what exists outside."""
        values = {"PORT": self.port, "ABSTRACT": self.abstract, "FOLDER": self.folder, "PID": os.getpid()}
        for name, value in {**values, "SECRET": SECRET}.items():
            code = code.replace(f"${name}", str(value))
        return code

    def untouched(self) -> bool:
        """Whether nothing connected and every file is unchanged."""
        for listener in self.listeners:
            try:
                listener.accept()
            except BlockingIOError:
                continue
            return False
        return (self.folder / "canary").read_text() == "alive" and sorted(os.listdir(self.folder)) == _NAMES


_NAMES = ["canary", "home", "socket"]


@contextmanager
def outside(folder: Path) -> Iterator[Outside]:
    """Set it up. Every sandbox started in the block carries the mark in its environment."""
    (folder / "home" / ".ssh").mkdir(parents=True)
    (folder / "home" / ".ssh" / "id_ed25519").write_text(SECRET)
    (folder / "canary").write_text("alive")
    place = Outside(folder, f"mark-{os.getpid()}-{time.monotonic_ns()}", 0, f"abstract-{os.getpid()}")
    tcp = socket.create_server(("", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    place.port = tcp.getsockname()[1]
    place.listeners.append(tcp)
    for address in (f"\0{place.abstract}", str(folder / "socket")):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(address)
        listener.listen()
        place.listeners.append(listener)
    for listener in place.listeners:
        listener.setblocking(False)
    os.environ["SPO_TEST_SECRET"] = SECRET
    ENVIRONMENT["MARK"] = place.mark
    try:
        yield place
    finally:
        del os.environ["SPO_TEST_SECRET"], ENVIRONMENT["MARK"]
        for listener in place.listeners:
            listener.close()


def left(mark: str) -> list[int]:
    """The sandbox processes with this mark that are still running."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as file:
                if f"MARK={mark}".encode() in file.read():
                    found.append(int(pid))
        except OSError:
            continue
    return found


def eventually_nothing_left(mark: str, seconds: float = 10.0) -> bool:
    """Whether all processes with this mark end within `seconds`."""
    deadline = time.monotonic() + seconds
    while left(mark):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
