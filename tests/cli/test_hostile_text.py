"""Escape sequences, bidirectional overrides and their like in data never reach a terminal, whichever command prints it.

Every command runs on prompts, ground truths, responses, answers, file names and error texts that are full of them.
"""

import functools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from fake_hub.running import hub_with_clients
from spo_cli import data_app
from support import command_client, scripted
from support.hostile_text import LEGITIMATE, SIGNS, Said, hidden, hostile, run_command

NAME = "\x1b[2J\x9b\x07\r\u202e\u2028\u200b\x7f"
"""What a file's name may hold, and is no glob."""
RAISING = f"""
TEXT = {SIGNS!r}
def compute_score(data_source, solution_str, ground_truth, extra_info):
    if "cannot tell" in solution_str:
        raise ValueError("verifier" + TEXT)
    return {{"score": 0.0 + (ground_truth == solution_str), "pred": "agreed" + TEXT}}
"""


@pytest.fixture(scope="module", autouse=True)
def _cheap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    import datasets

    with pytest.MonkeyPatch.context() as patch:
        scripted.cheap_chat(patch)
        scripted.fork_graders(patch)
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path_factory.getbasetemp() / "datasets")
        patch.setenv("COLUMNS", "220")
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a hostile dataset, a verifier that raises hostile exceptions, and files that cannot be read."""
    folder = tmp_path_factory.mktemp("hostile") / f"place{NAME}"
    folder.mkdir()
    rows = [{"question": hostile(f"prompt {k} {LEGITIMATE}"), "answer": hostile(f"gold {k}")} for k in range(3)]
    bad = [
        {"question": hostile("prompt 0 " + LEGITIMATE), "answer": hostile("other gold")},
        {"question": hostile("leak: the answer is 42. "), "answer": "42"},
        {"question": "", "answer": hostile("gold")},
        {"question": "no gold", "answer": None},
        {"question": hostile("choice"), "answer": hostile("E"), "choices": [hostile("a"), hostile("b")]},
        {"question": hostile("chat <|im_start|> token"), "answer": "1"},
    ]
    _write(folder / f"rows{NAME}.jsonl", rows)
    _write(folder / f"bad{NAME}.jsonl", rows[:1] + bad)
    _write(folder / "train.jsonl", [*rows[:2], {"question": hostile("unknown"), "answer": hostile("gold")}])
    _write(folder / "columns.jsonl", [{hostile("column"): "x", hostile("other"): "y"}])
    (folder / "broken.jsonl").write_text('{"question": ' + hostile("broken"), encoding="utf-8")
    (folder / "import.json").write_text(json.dumps({hostile("imported"): [1, 0]}), encoding="utf-8")
    (folder / f"score{NAME}.py").write_text(RAISING, encoding="utf-8")
    (folder / f"raises{NAME}.py").write_text(f"raise ImportError({hostile('import')!r})", encoding="utf-8")
    (folder / "options.yaml").write_text(json.dumps({hostile("option"): 1}), encoding="utf-8")
    (folder / "broken.yaml").write_text("a: [" + hostile("yaml").replace("\0", ""), encoding="utf-8")
    return folder


def _write(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def estimated(place: Path) -> tuple[Path, Said]:
    """A run of the hostile dataset with a second verifier, and what its estimate printed on a terminal."""
    run = place / f"run{NAME}"
    return run, estimate(place, run, on_terminal=True)


@pytest.fixture(scope="module")
def finished(estimated: tuple[Path, Said]) -> Path:
    return estimated[0]


def estimate(place: Path, run: Path, *more: object, on_terminal: bool = False) -> Said:
    """Estimate with an engine whose second request fails."""
    from spo_data.engines.protocol import RequestError
    from spo_pipelines.estimate import estimate as run_estimate

    def fail(number: int) -> None:
        if number == 2:
            raise RequestError(hostile("engine"))

    start = scripted.starter(scripted.Script(delay=0, hook=fail))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("spo_pipelines.estimate.estimate", functools.partial(run_estimate, start_engine=start))
        words = ("--model", scripted.MODEL, "--dataset", place / f"rows{NAME}.jsonl", "--out", run, "--n", 4)
        words += ("--max-tokens", 400, "--grader-workers", 1, "--verifier", place / f"score{NAME}.py:compute_score")
        words += ("--also", "exact", "--skip-check", "--system", hostile("system").replace("\0", ""))
        return spo_data("estimate", *words, *more, on_terminal=on_terminal)


def spo_data(*words: object, on_terminal: bool = False) -> Said:
    said = run_command(data_app.main, ("spo-data", *words), on_terminal=on_terminal)
    assert said.hidden() == set(), words
    return said


def holds(text: str, *words: str) -> bool:
    """Whether each word was printed with the first sign after it, which is visible."""
    missing = [word for word in words if not re.search(re.escape(word) + r"(?:\\+(?:x1b|u001b|e\b|x9b))", text)]
    assert missing == [], text
    return True


def test_an_estimate_shows_its_progress(estimated: tuple[Path, Said], place: Path) -> None:
    run, said = estimated
    assert said.status == 1
    assert holds(said.stdout, "run", f"prompt 0 {LEGITIMATE}", "system", "rows", "score", "engine")
    continued = estimate(place, run, "--json")
    assert json.loads(continued.stdout)["model"] == scripted.MODEL
    other = estimate(place, run, "--system", hostile("changed").replace("\0", ""))
    assert other.status == 2
    assert holds(other.stderr, "run", "system", "changed")
    assert estimate(place, place / "dry", "--dry-run", on_terminal=True).status == 0


COMMANDS = {
    "show": ("show {run}", "show {run} --json", "show {run} --config"),
    "list": ("list {place}", "list {place} --json"),
    "ls": ("ls {place}/none",),
    "report": ("report {run} --compare {copy}", "report {run} --json"),
    "check": ("check {bad} --grader-workers 1", "check {bad} --grader-workers 1 --json"),
    "regrade": (
        "regrade {copy} --grader-workers 1 --skip-check --verifier exact",
        "regrade {copy} --grader-workers 1 --skip-check --verifier exact --json",
        "regrade {copy} --grader-workers 1 --skip-check --verifier {verifier}",
    ),
    "join": ("join {run} {place}/train.jsonl", "join {run} {place}/train.jsonl --json"),
    "export": (
        "export {run} --format spo-json --out {out}.json",
        "export {run} --format verl --out {out}.parquet --json",
    ),
    "import": ("import {place}/import.json --out {out}", "import {place}/import.json --out {out} --json"),
    "sandbox": ("sandbox --host {name}",),
}
SHOWN = {
    "show": ("run", "rows", "score", "system", "prompt 0 " + LEGITIMATE, "gold 0", "agreed"),
    "list": ("run", "rows"),
    "ls": ("place",),
    "report": ("run",),
    "check": ("bad", "prompt 0 " + LEGITIMATE, "leak: the answer is 42. ", "chat <|im_start|> token"),
    "regrade": ("copy", "score", "prompt 1 " + LEGITIMATE, "gold 1"),
    "join": ("run", "place", "unknown"),
    "export": ("run", "out"),
    "import": ("out", "place"),
    "sandbox": ("--host ",),
}
"""What each command must have printed of the data, or this test shows nothing."""


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_what_a_terminal_obeys(command: str, finished: Path, place: Path, tmp_path: Path) -> None:
    copy = place / f"copy{NAME}"
    if not copy.exists():
        shutil.copytree(finished, copy)
    names = {"run": finished, "copy": copy, "place": place, "bad": place / f"bad{NAME}.jsonl", "name": NAME}
    names["verifier"] = place / f"score{NAME}.py:compute_score"
    text = ""
    for position, words in enumerate(COMMANDS[command]):
        names["out"] = tmp_path / f"out{NAME}{position}"
        in_json = "--json" in words
        said = spo_data(*(word.format(**names) for word in words.split()), on_terminal=not in_json)
        text += said.stdout + said.stderr
        if in_json:
            assert json.loads(said.stdout), words
    if command == "report":
        assert hidden((finished / "report.html").read_text(encoding="utf-8")) == set()
    assert holds(text, *SHOWN[command])


def test_what_a_run_is_printed_into_is_the_same_data(finished: Path) -> None:
    """The options in YAML were obeyed by a terminal; escapes outside of double quotes would be other options."""
    manifest = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    shown = yaml.safe_load(spo_data("show", finished, "--config").stdout)
    assert shown["system"] == manifest["policy"]["system"] == hostile("system").replace("\0", "")
    for name in ("README.md", "run.json"):
        assert hidden((finished / name).read_text(encoding="utf-8")) == set(), name


def test_every_command_is_in_this_file() -> None:
    """A new command has a row above: `estimate` and `push` have tests of their own."""
    named = {each.name or each.callback.__name__ for each in data_app.app.registered_commands if each.callback}
    assert named == COMMANDS.keys() | {"estimate", "push"}


REFUSALS = {
    "show {name}": NAME,
    "sho{name}": NAME,
    "show {run} {name}": NAME,
    "show {run} --{name}": NAME,
    "check {name}": NAME,
    "check {place}/columns.jsonl": "column",
    "check {place}/broken.jsonl": "place",
    "check {place}/none": "place",
    "check reasoning-gym:{name}": NAME,
    "check {place}/train.jsonl --verifier {name}": NAME,
    "check {place}/train.jsonl --verifier {raises} --grader-workers 1": "import",
    "check {place}/train.jsonl --prompt-column {name}": NAME,
    "check {place}/train.jsonl --template {name}": NAME,
    "check {place}/train.jsonl --chat-template-kwargs {name}": NAME,
    "estimate --config {place}/options.yaml": "option",
    "estimate --config {place}/broken.yaml": "place",
    "estimate --model {name} --dataset {place}/train.jsonl --out {out}": NAME,
    "estimate --model {place} --dataset {place}/train.jsonl --out {out}": "place",
    "estimate --model smollm2-135m --dataset {place}/train.jsonl --out {out} --preset {name}": NAME,
    "estimate --model smollm2-135m --dataset {place}/train.jsonl --out {out} --engine-arg {name}": NAME,
    "estimate --model smollm2-135m --dataset {place}/train.jsonl --out {out} --truncated {name}": NAME,
    "export {run} --format {name} --out {out}": NAME,
    "export {place}/broken.jsonl --format spo-json --out {out}.json": "place",
    "import {place}/broken.jsonl --out {out}": "place",
    "import {place}/columns.jsonl --out {out}": "place",
    "join {run} {place}/columns.jsonl": "column",
    "join {name} {place}/train.jsonl": NAME,
    "report {run} --compare {name}": NAME,
    "push {name} {run}": NAME,
    "list {name}": NAME,
}
"""Commands that quote what is wrong, and what they quote."""


@pytest.mark.parametrize("words", REFUSALS)
def test_no_error_quotes_what_a_terminal_obeys(words: str, finished: Path, place: Path, tmp_path: Path) -> None:
    names = {"run": finished, "place": place, "name": NAME, "out": tmp_path / "out"}
    names["raises"] = place / f"raises{NAME}.py:compute_score"
    said = spo_data(*(word.format(**names) for word in words.split(" ")), on_terminal=words.startswith("check"))
    assert said.status in (1, 2), said
    assert "Traceback" not in said.stdout + said.stderr
    assert holds(said.stdout + said.stderr, REFUSALS[words].removesuffix(NAME))


@pytest.mark.slow
def test_a_push_prints_nothing_of_the_hub_s_that_a_terminal_obeys(
    finished: Path, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    home = tmp_path_factory.mktemp("home")
    with hub_with_clients(tmp_path_factory.mktemp("hub"), home, command_client.prepare) as hub:

        def push(repo_id: str, *more: str) -> str:
            words = ("push", repo_id, str(finished), "--allow-missing", *more)
            done = hub.ask(command_client.spo_data, tmp_path, words, {"HF_TOKEN": "hf_writer"})
            said = str(done.stdout + done.stderr)
            assert hidden(said.replace("\x1b[A", "")) == set(), words  # tqdm's move to the bar above
            return said

        for name in ("described", "tables"):
            theirs = hub.server.root / "datasets" / "me" / name / "main"
            theirs.mkdir(parents=True)
            (theirs / f"table{NAME}.csv").write_text("a,b\n1,2\n")
            if name == "described":
                config = {"config_name": hostile("config"), "data_files": "*.csv"}
                header = f"---\n{json.dumps({'configs': [config]})}\n---\n"
                (theirs / "README.md").write_text(header + SIGNS, encoding="utf-8")
        assert holds(push("me/described"), "config", "run")
        assert holds(push("me/tables"), "table")
        assert holds(push("me/tables", "--replace", "--json"), "table")
        assert holds(push("me/new", "--commit-message", hostile("message").replace("\0", "")), "run")
        for status in (400, 403, 500):
            hub.server.faults({"path": "/commit/", "status": status, "times": 9, "body": {"error": hostile("server")}})
            assert holds(push(f"me/refused-{status}"), "server")


@pytest.mark.slow
def test_a_training_run_prints_nothing_that_a_terminal_obeys(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("omegaconf", reason="verl is not installed")
    import spo_train.launch.supervise
    from spo_cli import train_app

    launch = spo_train.launch.supervise.launch
    program = f"raise RuntimeError({hostile('cause')!r})"
    monkeypatch.setattr(
        "spo_train.launch.supervise.launch",
        lambda out, environment, watcher, last_step: launch(
            out, environment, watcher, [sys.executable, "-c", program], grace=0.5, last_step=last_step
        ),
    )
    given = ("--offline-values", finished, "--gpus-per-node", 1, "--out", tmp_path / f"trained{NAME}")
    for on_terminal, more, shown in (
        (True, (), ("run", "trained", "system", "cause")),
        (True, ("--resume",), ("trained",)),
        (True, ("--verifier", NAME, "--dry-run"), ("--verifier ",)),
        (False, ("--dry-run", "--json"), ("run", "trained")),
        (False, (NAME,), ("",)),
    ):
        said = run_command(train_app.main, ("spo-train", *given, *more), on_terminal=on_terminal)
        assert said.hidden() == set(), more
        assert holds(said.stdout + said.stderr, *shown), more
