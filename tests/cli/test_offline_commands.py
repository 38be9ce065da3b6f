"""Every command that reads from the Hub, first with the loopback hub and an empty cache, then without a network.

The login node of a cluster has a network, and its compute nodes share its cache: there the same command must give the
same result at the same commit, or say in one line what the cache lacks.
"""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

pytest.importorskip("omegaconf", reason="verl is not installed")

from fake_hub.running import Hub, Server, client_environment, clients_of, hub_with_clients
from spo_data.models.embedded import embedded_model
from support import command_client, scripted
from support.command_client import Ended

pytestmark = pytest.mark.slow

MODEL, PROMPTS, VALUES = "acme/tiny", "acme/math", "me/values"
ESTIMATE = ("spo-data", "estimate", "--model", MODEL, "--dataset", PROMPTS, "--max-tokens", "64", "--out", "runs/a")
TRAIN = ("spo-train", "--offline-values", VALUES, "--dry-run", "data.train_batch_size=4")


@dataclass(frozen=True)
class Node:
    """A process with the commands, and the folder in which they are typed."""

    hub: Hub
    home: Path
    place: Path

    def run(self, program: str, *words: str) -> Ended:
        call = command_client.spo_train if program == "spo-train" else command_client.spo_data
        return cast(Ended, self.hub.ask(call, self.place, words, {"HF_TOKEN": "hf_writer"}))

    def download(self, command: str) -> None:
        """Run a `hf download …` that a message advises."""
        hf = str(Path(sys.executable).with_name("hf"))
        environment = client_environment(self.hub.server.address, self.home) | {"HF_TOKEN": "hf_writer"}
        subprocess.run([hf, *shlex.split(command)[1:]], env=environment, check=True, capture_output=True, timeout=120)


@pytest.fixture(scope="module")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """The node with a network, on which a run has been drawn and published."""
    root, home, place = (tmp_path_factory.mktemp(name) for name in ("hub", "home", "place"))
    shutil.copytree(embedded_model(), root / "models" / MODEL / "main")
    main = root / "datasets" / PROMPTS / "main"
    main.mkdir(parents=True)
    scripted.write_rows(main / "train.jsonl")
    with hub_with_clients(root, home, command_client.prepare) as hub:
        hub.ask(command_client.script_engine)
        node = Node(hub, home, place)
        for words in ((*ESTIMATE, "--n", "2"), ("spo-data", "push", VALUES, "runs/a")):
            done = node.run(*words)
            assert done.returncode == 0, done.stderr
        yield node


@pytest.fixture(scope="module")
def compute(login: Node, nowhere: str) -> Iterator[Node]:
    """The node without a network: its hub is an address at which nobody answers."""
    with clients_of(nowhere, login.home, command_client.prepare, HF_HUB_OFFLINE="1") as clients:
        hub = Hub(Server(login.hub.server.root, nowhere, 0), clients)
        hub.ask(command_client.script_engine)
        yield Node(hub, login.home, login.place)


def without_notes(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if "note: HF_HUB_OFFLINE is set: " not in line]


@pytest.mark.parametrize(
    "words",
    [
        (*ESTIMATE, "--n", "2", "--dry-run"),
        ("spo-data", "check", PROMPTS, "--model", MODEL),
        ("spo-data", "join", VALUES, PROMPTS),
        ("spo-data", "export", VALUES, "--format", "spo-json", "--out", "new/values.json"),
        ("spo-data", "import", VALUES, "--out", "new/imported"),
    ],
    ids=lambda words: words[1],
)
def test_a_command_gives_offline_what_it_gave_online(login: Node, compute: Node, words: tuple[str, ...]) -> None:
    """`HF_HUB_OFFLINE=1` made it say "not in the cache", although the cache had everything."""
    ended = []
    for node in (login, compute):
        (node.place / "new").mkdir()
        ended.append(node.run(*words))
        shutil.rmtree(node.place / "new")
    online, offline = ended
    assert (online.returncode, offline.returncode) == (0, 0), offline.stderr
    assert offline.stdout == online.stdout
    assert without_notes(offline.stderr) == online.stderr.splitlines()
    noted = "".join(line for line in offline.stderr.splitlines() if line.startswith("note: HF_HUB_OFFLINE is set: "))
    assert set(re.findall("[0-9a-f]{40}", online.stdout + online.stderr)) <= set(re.findall("[0-9a-f]{40}", noted))


def test_a_run_that_was_begun_online_continues_offline_and_the_other_way_round(login: Node, compute: Node) -> None:
    recorded = []
    for node, n in ((compute, "4"), (login, "6"), (compute, "8")):
        done = node.run(*ESTIMATE, "--n", n)
        assert done.returncode == 0, done.stderr
        assert f"{6 * int(n)} of {6 * int(n)} drawn" in done.stdout
        manifest = json.loads((node.place / "runs" / "a" / "run.json").read_text())
        recorded.append((manifest["dataset"], manifest["policy"]))
    assert recorded[0] == recorded[1] == recorded[2]


def test_training_says_what_is_missing_and_which_command_fetches_it(login: Node, compute: Node) -> None:
    """A training run with a network reads parts of the samples and all weights, neither of which a plan downloads."""
    files = ("--train-files", PROMPTS, "--val-files", PROMPTS)
    online = login.run(*TRAIN, *files)
    assert online.returncode == 0, online.stderr
    for missing in ("generation_config.json", "model.safetensors", "samples/train-00000-of-00001.parquet"):
        refused = compute.run(*TRAIN, *files)
        assert refused.returncode == 2
        (error,) = [line for line in refused.stderr.splitlines() if line.startswith("error: ")]
        assert f" lacks {missing}: where there is a network, run `hf download " in error
        login.download(error.split("`")[1])
    offline = compute.run(*TRAIN, *files)
    assert offline.returncode == 0, offline.stderr
    assert offline.stdout == online.stdout
    assert without_notes(offline.stderr) == online.stderr.splitlines()
    assert compute.run(*TRAIN).stdout == login.run(*TRAIN).stdout
