"""The nodes of a Ray cluster that runs, asked for in a process of its own.

    nodes = find_nodes("10.0.0.1:6379")       # [Node(cpus=64.0, gpus=8.0), …]; raises NoClusterError

Only a process that ends leaves nothing of Ray's client behind, and only it can be ended if no answer comes: the client
itself waits for more than a minute. No Ray is started where none runs.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from spo_data.ray_address import find_fault

ANSWER_SECONDS = 60.0
NONE_RUNS = "Could not find any running Ray instance"
"""What Ray says of the address "auto"."""
NOT_LET_IN = "Failed to connect to Ray cluster"
"""What Ray says of a cluster that is there."""


@dataclass(frozen=True)
class Node:
    """What a node of a Ray cluster offers to all jobs together."""

    cpus: float
    gpus: float


class NoClusterError(Exception):
    """No cluster answers at the address; the message says why."""


def find_nodes(address: str) -> list[Node]:
    """Return the living nodes of the cluster at an address, in the order of their ids; raises NoClusterError."""
    if address != "auto":
        _check_port(address)
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "nodes.json"
        command = [sys.executable, "-m", "spo_train.plan.ray_cluster", address, str(answer)]
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                timeout=ANSWER_SECONDS,
            )
        except subprocess.TimeoutExpired:
            raise NoClusterError(f"it does not answer within {ANSWER_SECONDS:g} s") from None
        if done.returncode == 0:
            return [Node(**node) for node in json.loads(answer.read_bytes())]
    said = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "it does not answer")
    if NONE_RUNS in said:
        raise NoClusterError("no Ray runs on this machine")
    # Of an explicit address, Ray's client does not try the token that `ray start --head` makes.
    tokens = address != "auto" and NOT_LET_IN in said and "RAY_AUTH_MODE" not in os.environ
    raise NoClusterError(f"{said}: if the cluster has tokens, export RAY_AUTH_MODE=token" if tokens else said)


def _check_port(address: str) -> None:
    if not address.rpartition(":")[2].isdigit():
        raise NoClusterError("is not an address (HOST:PORT)")
    if (fault := find_fault(address)) is not None:
        raise NoClusterError(f"nothing answers there ({fault})")


def _write_nodes(address: str, answer: Path) -> None:
    import ray

    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    told = ray.nodes()  # type: ignore[no-untyped-call] # Ray has no types here
    nodes = sorted((node for node in told if node["Alive"]), key=lambda node: str(node["NodeID"]))
    found = [{"cpus": node["Resources"].get("CPU", 0.0), "gpus": node["Resources"].get("GPU", 0.0)} for node in nodes]
    ray.shutdown()
    answer.write_text(json.dumps(found))


if __name__ == "__main__":
    _write_nodes(sys.argv[1], Path(sys.argv[2]))
