"""`spo-data push` and `spo-data join` as a user types them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from fake_hub.running import Hub, client_environment, hub_with_clients
from support import command_client, scripted
from support.command_client import Ended

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[Hub]:
    with hub_with_clients(tmp_path_factory.mktemp("hub"), place / "home", command_client.prepare) as hub:
        yield hub


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run in runs/, and its dataset."""
    folder = tmp_path_factory.mktemp("place")
    scripted.write_rows(folder / "sums.jsonl")
    scripted.estimate(scripted.options(folder / "sums.jsonl", folder / "runs" / "one"))
    return folder


def spo_data(place: Path, hub: Hub, *words: str, token: str | None = "hf_writer") -> Ended:
    """The command in the process that all tests of this module share."""
    return cast(Ended, hub.ask(command_client.spo_data, place, words, {"HF_TOKEN": token} if token else {}))


def fresh_spo_data(place: Path, address: str, *words: str, **environment: str) -> Ended:
    """The installed command in its own process."""
    known = client_environment(address, place / "home") | {"HF_TOKEN": "hf_writer"} | environment
    command = [str(Path(sys.executable).with_name("spo-data")), *words]
    done = subprocess.run(command, cwd=place, env=known, capture_output=True, text=True, check=False, timeout=120)
    return Ended(done.returncode, done.stdout, done.stderr)


def test_the_only_run_is_pushed_and_the_next_push_says_that_nothing_changed(place: Path, hub: Hub) -> None:
    first = spo_data(place, hub, "push", "me/published")
    assert first.returncode == 0, first.stderr
    assert f"{hub.server.address}/datasets/me/published (public)" in first.stdout
    assert "uploading 5 files" in first.stderr
    assert 'load_dataset("me/published", "values", revision="' in first.stdout
    again = spo_data(place, hub, "push", "me/published", "runs/one", "--json")
    assert again.returncode == 0, again.stderr
    said = json.loads(again.stdout)
    assert (said["uploaded"], said["deleted"], said["complete"]) == ([], [], True)
    assert said["commit"] in first.stdout


def test_what_is_another_s_is_replaced_if_asked_and_json_says_what_it_was(place: Path, hub: Hub) -> None:
    theirs = hub.server.root / "datasets" / "me" / "theirs" / "main"
    theirs.mkdir(parents=True)
    (theirs / "sums.csv").write_text("a,b\n1,2\n")
    refused = spo_data(place, hub, "push", "me/theirs", "--no-samples")
    assert (refused.returncode, refused.stdout) == (2, "")
    command = "spo-data push me/theirs runs/one --no-samples --replace"
    assert refused.stderr.splitlines()[-1].startswith(
        "error: me/theirs holds tables that record no policy (sums.csv), "
    )
    assert f"`{command}`" in refused.stderr
    done = spo_data(place, hub, *command.split()[1:], "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["deleted"] == ["sums.csv"]
    assert said["replaced"] == {"configs": [], "files": ["sums.csv"]}
    assert (said["found"]["kind"], said["found"]["provenance"]) == ("other_dataset", None)
    again = json.loads(spo_data(place, hub, *command.split()[1:], "--json").stdout)
    assert (again["found"]["kind"], again["found"]["changes"], again["replaced"]) == ("same", {}, None)


def test_of_several_runs_one_must_be_named(hub: Hub, tmp_path: Path) -> None:
    for name in ("a", "b c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    done = spo_data(tmp_path, hub, "push", "me/x")
    assert done.returncode == 2
    assert "2 runs in runs/: name the one that you mean" in done.stderr
    assert "`spo-data push me/x 'runs/b c'`" in done.stderr


def refused(done: Ended, message: str) -> bool:
    """Whether the command ended with status 1 and one line that has the message."""
    lines = done.stderr.splitlines()
    errors = [line for line in lines if line.startswith("error:")]
    return done.returncode == 1 and errors == lines[-1:] and message in errors[0] and "Traceback" not in done.stderr


def test_a_push_that_cannot_be_ends_with_one_line_and_status_1(place: Path, hub: Hub) -> None:
    push = ("push", "me/refused")
    assert refused(
        spo_data(place, hub, *push, token=None),
        "error: no Hub token: `hf auth login`, or set HF_TOKEN, or give --token",
    )
    assert refused(spo_data(place, hub, *push, token="hf_nobody"), "refuses the token")
    offline = fresh_spo_data(place, hub.server.address, *push, HF_HUB_OFFLINE="1")
    assert refused(offline, "HF_HUB_OFFLINE is set; unset it")


def test_an_unreachable_hub_is_said_and_tried_again(place: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    patched = tmp_path / "sitecustomize.py"
    patched.write_text("import time\ntime.sleep = lambda seconds: None\n")
    done = fresh_spo_data(
        place, address, "push", "me/lost", PYTHONPATH=f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"
    )
    assert done.returncode == 1
    assert done.stderr.count("trying again in") == 5
    assert f"the Hub at {address} did not answer" in done.stderr.splitlines()[-1]


def test_a_second_push_at_the_same_time_is_refused(place: Path, hub: Hub) -> None:
    from filelock import FileLock

    with FileLock(place / "runs" / "one" / ".lock"):
        done = spo_data(place, hub, "push", "me/locked")
    assert done.returncode == 2
    assert "another spo-data is writing to runs/one" in done.stderr


def test_join_counts_and_ends_with_2_below_the_coverage_that_is_asked_for(place: Path, hub: Hub) -> None:
    rows = [json.loads(line) for line in (place / "sums.jsonl").read_text().splitlines()]
    more = [*rows, {"question": "What is  0 + 3?", "answer": "3"}, {"question": "Name a prime.", "answer": "2"}]
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    whole = spo_data(place, hub, "join", "runs/one", "sums.jsonl")
    assert whole.returncode == 0, whole.stderr
    assert "6 of 6 prompts (100.00%)" in whole.stdout
    short = spo_data(place, hub, "join", "runs/one", "train.jsonl")
    assert short.returncode == 2
    assert "6 of 8 prompts (75.00%)" in short.stdout
    assert "without a value: 2 (2 not in the values)" in short.stdout
    assert short.stderr.endswith("2 have none; --min-coverage 0.75 accepts this\n")
    (place / "other.jsonl").write_text(json.dumps({"question": "Name a prime.", "answer": "2"}) + "\n")
    none = spo_data(place, hub, "join", "runs/one", "other.jsonl")
    assert none.stderr.endswith("1 have none; these are the values of other prompts\n")
    allowed = spo_data(place, hub, "join", "runs/one", "train.jsonl", "--min-coverage", "0.75", "--json")
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["with_value"] == 6


def test_join_takes_values_from_the_hub(place: Path, hub: Hub) -> None:
    assert spo_data(place, hub, "push", "me/joined").returncode == 0
    words = ("join", "me/joined", "sums.jsonl", "--values-revision", "main", "--json")
    done = fresh_spo_data(place, hub.server.address, *words)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["coverage"], len(said["revision"])) == (1.0, 40)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("absent.parquet", "sums.jsonl"), "absent.parquet: no such file or folder"),
        (("runs/one", "absent.jsonl"), "absent.jsonl: no such file or folder"),
        (("runs/one", "sums.jsonl", "--min-coverage", "1.5"), "--min-coverage 1.5: between 0 and 1"),
    ],
)
def test_join_refuses_wrong_input_in_one_line(place: Path, hub: Hub, words: tuple[str, ...], message: str) -> None:
    done = spo_data(place, hub, "join", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.path.isdir(place / "runs" / "one")
