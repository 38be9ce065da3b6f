"""`spo-data push` and `spo-data join` as a user types them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from fake_hub.running import Server, client_environment, running_hub
from support import scripted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_hub(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one run in runs/, and its dataset."""
    folder = tmp_path_factory.mktemp("place")
    scripted.write_rows(folder / "sums.jsonl")
    scripted.estimate(scripted.options(folder / "sums.jsonl", folder / "runs" / "one"))
    return folder


def spo_data(
    place: Path, hub: Server | str, *words: str, token: str | None = "hf_writer", **environment: str
) -> "subprocess.CompletedProcess[str]":
    address = hub if isinstance(hub, str) else hub.address
    known = client_environment(address, place / "home") | environment | ({"HF_TOKEN": token} if token else {})
    program = Path(sys.executable).with_name("spo-data")
    return subprocess.run(
        [str(program), *words], cwd=place, env=known, capture_output=True, text=True, check=False, timeout=120
    )


def test_the_only_run_is_pushed_and_the_next_push_says_that_nothing_changed(place: Path, hub: Server) -> None:
    first = spo_data(place, hub, "push", "me/published")
    assert first.returncode == 0, first.stderr
    assert f"{hub.address}/datasets/me/published (public)" in first.stdout
    assert "uploading 5 files" in first.stderr
    assert 'load_dataset("me/published", revision="' in first.stdout
    again = spo_data(place, hub, "push", "me/published", "runs/one", "--json")
    assert again.returncode == 0, again.stderr
    said = json.loads(again.stdout)
    assert (said["uploaded"], said["deleted"], said["complete"]) == ([], [], True)
    assert said["commit"] in first.stdout


def test_of_several_runs_one_must_be_named(hub: Server, tmp_path: Path) -> None:
    for name in ("a", "b c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    done = spo_data(tmp_path, hub, "push", "me/x")
    assert done.returncode == 2
    assert "2 runs in runs/: name the one to push" in done.stderr
    assert "`spo-data push ORG/NAME 'runs/b c'`" in done.stderr


@pytest.mark.parametrize(
    ("token", "environment", "message"),
    [
        (None, {}, "error: no Hub token: `hf auth login`, or set HF_TOKEN, or give --token\n"),
        ("hf_writer", {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set; unset it\n"),
        ("hf_nobody", {}, "refuses the token"),
    ],
)
def test_a_push_that_cannot_be_ends_with_one_line_and_status_1(
    place: Path, hub: Server, token: str | None, environment: dict[str, str], message: str
) -> None:
    done = spo_data(place, hub, "push", "me/refused", token=token, **environment)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [line for line in done.stderr.splitlines() if line.startswith("error:")] == done.stderr.splitlines()[-1:]


def test_an_unreachable_hub_is_said_and_tried_again(place: Path, tmp_path: Path) -> None:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    patched = tmp_path / "sitecustomize.py"
    patched.write_text("import time\ntime.sleep = lambda seconds: None\n")
    done = spo_data(place, address, "push", "me/lost", PYTHONPATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr.count("trying again in") == 5
    assert f"the Hub at {address} did not answer" in done.stderr.splitlines()[-1]


def test_a_second_push_at_the_same_time_is_refused(place: Path, hub: Server) -> None:
    from filelock import FileLock

    with FileLock(place / "runs" / "one" / ".lock"):
        done = spo_data(place, hub, "push", "me/locked")
    assert done.returncode == 2
    assert "another spo-data is writing to runs/one" in done.stderr


def test_join_counts_and_ends_with_2_below_the_coverage_that_is_asked_for(place: Path, hub: Server) -> None:
    rows = [json.loads(line) for line in (place / "sums.jsonl").read_text().splitlines()]
    more = [*rows, {"question": "What is  0 + 3?", "answer": "3"}, {"question": "Name a prime.", "answer": "2"}]
    (place / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in more))
    whole = spo_data(place, hub, "join", "runs/one", "sums.jsonl")
    assert whole.returncode == 0, whole.stderr
    assert "6 of 6 prompts (100.00%)" in whole.stdout
    short = spo_data(place, hub, "join", "runs/one", "train.jsonl")
    assert short.returncode == 2
    assert "6 of 8 prompts (75.00%)" in short.stdout
    assert short.stderr.endswith("2 have none; --min-coverage 0.75 accepts this\n")
    allowed = spo_data(place, hub, "join", "runs/one", "train.jsonl", "--min-coverage", "0.75", "--json")
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["with_value"] == 6


def test_join_takes_values_from_the_hub(place: Path, hub: Server) -> None:
    assert spo_data(place, hub, "push", "me/joined").returncode == 0
    done = spo_data(place, hub, "join", "me/joined", "sums.jsonl", "--values-revision", "main", "--json")
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
def test_join_refuses_wrong_input_in_one_line(place: Path, hub: Server, words: tuple[str, ...], message: str) -> None:
    done = spo_data(place, hub, "join", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert os.path.isdir(place / "runs" / "one")
