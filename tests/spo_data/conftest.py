"""Fixtures of the library's tests: a loopback hub with real clients."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fake_hub.running import client_environment, running_hub

# The clients read their environment when they are imported, so they run in their own process. Pauses between retries
# are skipped. A step {"remove": PATH} removes a folder from the hub between two calls.
CLIENT = """
import importlib, json, shutil, sys, time
time.sleep = lambda seconds: None
from spo_data.errors import UserError

answers = {}
for label, step in json.load(sys.stdin).items():
    if "remove" in step:
        shutil.rmtree(step["remove"])
        continue
    module, function = step["call"].rsplit(".", 1)
    try:
        found = getattr(importlib.import_module(module), function)(*step["args"], **step["kwargs"])
    except UserError as error:
        answers[label] = {"user_error": str(error)}
    except Exception as error:
        answers[label] = {"crash": f"{type(error).__name__}: {error}"}
    else:
        answers[label] = {**vars(found), "rows": [dict(row) for row in getattr(found, "rows", ())]}
json.dump(answers, sys.stdout)
"""


@dataclass(frozen=True)
class Hub:
    """A running loopback hub and the clients that ask it."""

    root: Path
    address: str
    home: Path
    """HF_HOME of the clients. Each client finds in its cache what earlier ones downloaded."""

    def write(self, repository: str, files: Mapping[str, str], branch: str = "main") -> None:
        """Put files on a branch of `datasets/ORG/NAME` or `models/ORG/NAME`."""
        for name, text in files.items():
            path = self.root / repository / branch / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def ask(self, steps: Mapping[str, Mapping[str, Any]], **environment: str) -> dict[str, dict[str, Any]]:
        """Run labelled steps in one client process. Each answer is the found object, a `user_error` or a `crash`."""
        client = subprocess.run(
            [sys.executable, "-c", CLIENT],
            input=json.dumps(steps),
            env={**client_environment(self.address, self.home), **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=120,
        )
        answers: dict[str, dict[str, Any]] = json.loads(client.stdout)
        return answers

    def requests(self) -> list[str]:
        """Every request so far, as `METHOD PATH`."""
        return (self.root / "requests.log").read_text().splitlines()


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """A separate, empty hub for each test module."""
    with running_hub(tmp_path_factory.mktemp("hub")) as server:
        yield Hub(server.root, server.address, tmp_path_factory.mktemp("home"))
