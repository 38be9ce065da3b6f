"""Options from a YAML file."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import spo_pipelines.estimate
from spo_cli.data_app import main as spo_data
from spo_data.errors import SpoError
from support.records import make_manifest

FILE = """
model: Qwen3-8B
dataset: sums.jsonl
max-tokens: 512
temperature: 0.5
enforce-eager: true
revision: null
stop: ["</answer>", "###"]
chat-template-kwargs: {enable_thinking: false}
engine-arg: {swap_space: 2, quantization: fp8}
"""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options of the estimates that were asked for; none of them starts."""
    found: list[Any] = []

    async def record(options: Any, *_: object, **__: object) -> None:
        found.append(options)
        raise SpoError("not today")

    monkeypatch.setattr(spo_pipelines.estimate, "estimate", record)
    return found


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr("sys.argv", ["spo-data", *words])
    with pytest.raises(SystemExit) as ended:
        spo_data()
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_a_files_options_are_the_command_lines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[Any]
) -> None:
    (tmp_path / "options.yaml").write_text(FILE)
    given = ("--config", str(tmp_path / "options.yaml"), "--temperature", "0.7")
    assert run(monkeypatch, "estimate", *given) == 1
    (options,) = asked
    assert (options.model, options.prompts.dataset, options.prompts.revision) == ("Qwen3-8B", "sums.jsonl", None)
    assert (options.sampling.max_tokens, options.sampling.temperature) == (512, 0.7)
    assert options.sampling.stop == ("</answer>", "###")
    assert options.prompts.chat_template_kwargs == {"enable_thinking": False}
    assert options.engine.engine_arg == {"swap_space": 2, "quantization": "fp8"}
    assert options.engine.enforce_eager
    assert options.out == Path("runs/Qwen3-8B-sums")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max_tokens: 8", "no option max_tokens; did you mean max-tokens?"),
        ("config: other.yaml", "no option config"),
        ("- model", "has no options, as in `model: Qwen3-8B`"),
        ("model: [", "is not YAML"),
        ("max-tokens: many", "Invalid value for '--max-tokens'"),
        (None, "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    asked: list[Any],
    capfd: pytest.CaptureFixture[str],
    text: str | None,
    says: str,
) -> None:
    if text is not None:
        (tmp_path / "options.yaml").write_text(text)
    assert run(monkeypatch, "estimate", "--model", "m", "--config", str(tmp_path / "options.yaml")) == 2
    assert says in " ".join(capfd.readouterr().err.replace("│", " ").split())
    assert asked == []


def test_only_the_model_must_be_named(
    monkeypatch: pytest.MonkeyPatch, asked: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """`spo-data estimate --model Qwen3-8B` ended with "Missing option '--dataset'", and then '--out'."""
    assert run(monkeypatch, "estimate", "--model", "Qwen3-8B", "--limit", "3") == 1
    (options,) = asked
    assert options.prompts.dataset == "open-r1/DAPO-Math-17k-Processed"
    assert (options.prompts.dataset_config, options.prompts.limit) == ("en", 3)
    assert options.out == Path("runs/Qwen3-8B-DAPO-Math-17k-Processed")
    notes = capfd.readouterr().err
    assert "note: the prompts are those of the published values, open-r1/DAPO-Math-17k-Processed" in notes
    assert "note: the run folder is runs/Qwen3-8B-DAPO-Math-17k-Processed (--out names another)" in notes


@pytest.mark.parametrize(("words", "says"), [(("--version",), "0.1.0"), (("-h",), "estimate"), (("show", "-h"), "run")])
def test_what_every_program_answers(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert run(monkeypatch, *words) == 0
    assert says in capfd.readouterr().out


def test_a_run_can_be_turned_into_a_file_and_records_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    """A run recorded `--config options.yaml`, so the command in run.json said something else once the file changed."""
    file = tmp_path / "options.yaml"
    file.write_text(FILE)
    run(monkeypatch, "estimate", "--config", str(file), "--top-k", "-1", "--out", "runs/here", "--dry-run")
    recorded = asked[0].command
    assert str(file) not in recorded
    make_manifest(command=shlex.join(recorded)).write(tmp_path)
    (tmp_path / "journal.sqlite").touch()
    capfd.readouterr()
    assert run(monkeypatch, "show", str(tmp_path), "--config") == 0
    file.write_text(capfd.readouterr().out)
    assert "\nmax-tokens: 512\n" in file.read_text()
    run(monkeypatch, "estimate", "--config", str(file))
    assert replace(asked[1], command=()) == replace(asked[0], command=())
    assert asked[1].command == recorded


def test_only_an_estimate_can_be_turned_into_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make_manifest(command="spo-data import x.json").write(tmp_path)
    (tmp_path / "journal.sqlite").touch()
    assert run(monkeypatch, "show", str(tmp_path), "--config") == 2
    assert "not made by `spo-data estimate`" in capfd.readouterr().err
