"""A loopback hub (serve.py) that runs during some tests, and real clients that know no other hub.

with hub_with_clients(root, home, hub_client.prepare) as hub:
    hub.ask(hub_client.create, "me/values")
"""

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Server:
    """A hub's process."""

    root: Path
    address: str
    pid: int

    def faults(self, *rules: dict[str, Any]) -> None:
        """Inject faults; see faults.py."""
        (self.root / "faults.json").write_text(json.dumps(rules))

    def faults_left(self) -> list[dict[str, Any]]:
        """The faults that have not happened yet."""
        left: list[dict[str, Any]] = json.loads((self.root / "faults.json").read_text())
        return left

    def requests(self) -> list[str]:
        """Every request so far, as `METHOD PATH`."""
        return (self.root / "requests.log").read_text().splitlines()


@dataclass(frozen=True)
class Hub:
    """A running hub and a process with the real clients."""

    server: Server
    clients: ProcessPoolExecutor

    def ask(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Call a function in the clients' process."""
        return self.clients.submit(function, *arguments, **options).result(timeout=120)


@contextmanager
def running_hub(root: Path) -> Iterator[Server]:
    """Serve the folder until the block ends."""
    program = [sys.executable, "-m", "fake_hub.serve", str(root)]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as server:
        try:
            assert server.stdout is not None
            yield Server(root, server.stdout.readline().strip(), server.pid)
        finally:
            server.terminate()


def client_environment(address: str, home: Path) -> dict[str, str]:
    """A client's environment: this process's, without its Hub settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    return {
        **inherited,
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        "NO_PROXY": "127.0.0.1",
    }


@contextmanager
def clients_of(
    address: str, home: Path, prepare: Callable[[], None], **variables: str
) -> Iterator[ProcessPoolExecutor]:
    """A process with the real clients, which read their environment when imported; `variables` are added to it."""
    environment = {**client_environment(address, home), **variables}
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name not in environment]:
            patch.delenv(name)
        for name, value in environment.items():
            patch.setenv(name, value)
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, spawn, initializer=prepare) as clients:
            yield clients


@contextmanager
def hub_with_clients(root: Path, home: Path, prepare: Callable[[], None]) -> Iterator[Hub]:
    """A hub that serves the folder, with a process of the real clients, until the block ends."""
    with running_hub(root) as server, clients_of(server.address, home, prepare) as clients:
        yield Hub(server, clients)
