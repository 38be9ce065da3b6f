"""Inputs that nobody should give: the commands end in one line and status 2, never in a traceback, and never hang."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spo_data.formats.load import load_values
from spo_data.prompts.identity import Message, Prompt
from support import command_client, scripted
from support.command_client import Ended
from support.made_runs import make_run
from support.odd_files import odd_files

DRAWN = {Prompt((Message("user", f"What is {i} + {i}?"),), str(2 * i), "sums"): [1.0, 0.0] for i in range(3)}
ODD_NAME = os.fsdecode(b"odd \xff [1] %41:")
COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "join values": lambda name: ["join", name, "sums.jsonl"],
    "join dataset": lambda name: ["join", "values.parquet", name],
    "import": lambda name: ["import", name, "--out", "out"],
    "import pass rates": lambda name: ["import", name, "--out", "out", "--value-column", "answer"],
    "import a dump's dataset": lambda name: ["import", "sums.jsonl", "--out", "out", "--dataset", name, "--model", "m"],
    "export": lambda name: ["export", name, "--format", "verl", "--out", "out.parquet"],
    "export scores": lambda name: ["export", name, "--format", "spo-json", "--out", "out.json"],
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run, its table and a dataset."""
    folder = tmp_path_factory.mktemp("place")
    make_run(folder / "run", DRAWN, n=2)
    pq.write_table(load_values(folder / "run").table, folder / "values.parquet")
    scripted.write_rows(folder / "sums.jsonl")
    return folder


@pytest.fixture(autouse=True)
def _cache(datasets_cache: None) -> None:
    """No file of these tests goes into the user's cache."""


def call(place: Path, *words: str) -> Ended:
    """Run a command as a user types it; raises what ends it in a traceback."""
    return command_client.spo_data(place, words, {})


def check_end(ended: Ended) -> None:
    """One line and status 2, or a result."""
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert (ended.returncode, len(errors)) in ((0, 0), (2, 1)), ended


def refusal(ended: Ended) -> str:
    check_end(ended)
    assert ended.returncode == 2, ended
    return ended.stderr


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, bytes, str, str]:
    suffix, content = draw(odd_files())
    return suffix, content, draw(st.sampled_from(["odd", ODD_NAME])), draw(st.sampled_from(sorted(COMMANDS)))


def check_call(place: Path, asked: tuple[str, bytes, str, str]) -> None:
    suffix, content, stem, command = asked
    with tempfile.TemporaryDirectory(dir=place) as folder:
        inner = Path(folder)
        for name in ("values.parquet", "sums.jsonl"):
            (inner / name).symlink_to(place / name)
        (inner / f"{stem}.{suffix}").write_bytes(content)
        check_end(call(inner, *COMMANDS[command](f"{stem}.{suffix}")))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(asked=calls())
def test_a_file_as_no_tool_should_write_it_is_read_or_refused(place: Path, asked: tuple[str, bytes, str, str]) -> None:
    check_call(place, asked)


@pytest.mark.slow
@settings(max_examples=1_500, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(asked=calls())
def test_many_files_as_no_tool_should_write_them(place: Path, asked: tuple[str, bytes, str, str]) -> None:
    check_call(place, asked)


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_pipe_is_not_waited_for(tmp_path: Path, place: Path, command: str) -> None:
    """A named pipe among a folder's tables made `join` and `export` wait for ever."""
    (tmp_path / "folder" / "values").mkdir(parents=True)
    for name in ("values/train-00000-of-00001.parquet", "README.md", "train.jsonl"):
        os.mkfifo(tmp_path / "folder" / name)
    for name in ("values.parquet", "sums.jsonl"):
        (tmp_path / name).symlink_to(place / name)
    refusal(call(tmp_path, *COMMANDS[command]("folder")))
    refusal(call(tmp_path, *COMMANDS[command]("folder/train.jsonl")))


def test_a_pipe_for_a_file_of_options_is_not_waited_for(tmp_path: Path, place: Path) -> None:
    """The file was read, which waits for somebody to write it, or never ends."""
    os.mkfifo(tmp_path / "pipe")
    pipe, estimate = str(tmp_path / "pipe"), ["estimate", "--dataset", "sums.jsonl", "--out", str(tmp_path / "o")]
    for config in (pipe, "/dev/zero"):
        assert "it is no regular file" in refusal(call(place, "estimate", "--config", config))
    estimate += ["--model", scripted.MODEL, "--dry-run"]
    assert "it is no regular file" in refusal(call(place, *estimate, "--chat-template", pipe))
    os.mkfifo(tmp_path / "pipe.py")
    assert "it is no regular file" in refusal(call(place, *estimate, "--verifier", f"{pipe}.py:f"))


@pytest.mark.parametrize("text", ["model: " + "[" * 400, "stop: 2024-13-01", "stop: &a [*a]", "model: !!int x"])
def test_a_file_of_options_that_is_no_yaml_is_one_line(tmp_path: Path, text: str) -> None:
    """yaml raises ValueError and RecursionError too, which ended in a traceback."""
    (tmp_path / "c.yaml").write_text(text)
    assert "c.yaml" in refusal(call(tmp_path, "estimate", "--config", "c.yaml"))


def test_a_card_that_is_not_utf8_is_named(tmp_path: Path, place: Path) -> None:
    """The message was the decoder's, without the file."""
    (tmp_path / "data").mkdir()
    scripted.write_rows(tmp_path / "data" / "train.jsonl")
    (tmp_path / "data" / "README.md").write_bytes("# Ça\n".encode("latin-1"))
    said = refusal(call(place, "join", "values.parquet", str(tmp_path / "data")))
    assert "its dataset card" in said
    assert "README.md cannot be read: 'utf-8' codec" in said


def test_two_columns_of_one_name_are_named(tmp_path: Path, place: Path) -> None:
    """A parquet file ended in a KeyError; of a csv file, the last column was read."""
    table = pa.table([["What?"], ["4"], ["5"]], names=["question", "answer", "answer"])
    pq.write_table(table, tmp_path / "twice.parquet")
    (tmp_path / "twice.csv").write_text("question,answer,answer\nWhat?,4,5\n")
    (tmp_path / "empty.csv").write_text("question,answer,,\nWhat?,4,,\n")
    assert "two columns answer" in refusal(call(tmp_path, "import", "twice.parquet", "--out", "o"))
    values = str(place / "values.parquet")
    assert "two columns 'answer'" in refusal(call(tmp_path, "join", values, "twice.csv"))
    assert "0 have none" not in call(tmp_path, "join", values, "empty.csv", "--min-coverage", "0").stderr


def test_a_date_that_python_cannot_hold_is_one_line(tmp_path: Path, place: Path) -> None:
    """The rows are read after the file was opened, and their errors ended in a traceback."""
    far = pa.array([2**40], pa.timestamp("s"))
    pq.write_table(pa.table({"question": ["What?"], "answer": ["4"], "when": far}), tmp_path / "far.parquet")
    said = refusal(call(tmp_path, "join", str(place / "values.parquet"), "far.parquet"))
    assert "far.parquet has a value that cannot be read: " in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("HF_ENDPOINT", "http://[::1", "HF_ENDPOINT 'http://[::1' is not a URL (Invalid IPv6 URL)"),
        ("HF_HUB_ETAG_TIMEOUT", "soon", "HF_HUB_ETAG_TIMEOUT 'soon' is not a whole number of seconds"),
    ],
)
def test_a_setting_of_the_hub_s_client_is_named(
    monkeypatch: pytest.MonkeyPatch, place: Path, name: str, value: str, said: str
) -> None:
    """The client ended in a traceback while it was imported."""
    monkeypatch.setenv(name, value)
    assert refusal(call(place, "show", "run")) == f"error: {said}\n"
