"""One style of errors and notes: a label, one line, colour only on a terminal."""

import io
import sys

import pytest
import typer
from typer.testing import CliRunner

from spo_cli.data_app import app, main
from spo_cli.terminal.messages import LABELS, tell
from spo_cli.terminal.usage import Command
from support.hostile_text import run_command


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, text: str, **environment: str) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm", **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stderr", stream)
    tell(text)
    return stream.getvalue()


@pytest.mark.parametrize("label", LABELS)
def test_a_label_is_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch, label: str) -> None:
    text = f"{label}: [red]x[/red]: :smile: " + "long " * 40
    coloured = told(monkeypatch, Terminal(), text)
    assert coloured.startswith("\x1b[")
    assert coloured.endswith(text.removeprefix(label) + "\n"), "the rest is plain, as it is and on one line"
    assert told(monkeypatch, Terminal(), text, NO_COLOR="1") == f"{text}\n"
    assert told(monkeypatch, Terminal(), text, TERM="dumb") == f"{text}\n"
    assert told(monkeypatch, io.StringIO(), text) == f"{text}\n"


def test_a_line_s_control_characters_are_escapes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also before the command has protected its streams: a signal may come first."""
    assert told(monkeypatch, io.StringIO(), "note: \x1b[2J") == "note: \\x1b[2J\n"
    assert told(monkeypatch, Terminal(), "error: \x1b[2J\x08").endswith(": \\x1b[2J\\x08\n")


def test_what_typer_prints_past_us_keeps_its_colours_or_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Escapes stand for the colours of what is printed through the protected streams."""
    monkeypatch.setattr("typer.completion.install", lambda **_: ("bash", "/x"))
    for words, start in {
        ("--help",): "\x1b[1m",
        ("--install-completion", "bash"): "bash completion installed in /x\n",
    }.items():
        said = run_command(main, ("spo-data", *words), on_terminal=True)
        assert said.stdout.startswith(start)
        assert "\\x1b" not in said.stdout


def test_other_lines_are_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, Terminal(), "counting tokens: 1") == "counting tokens: 1\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("sho",), "No such command 'sho'. Did you mean 'show'?"),
        (("show", "--jso"), "No such option: --jso"),
        (("export", "runs/x"), "Missing option '--format'"),
        (("sandbox", "--port", "x"), "Invalid value for '--port'"),
        (("show", "a", "b"), "Got unexpected extra argument"),
        (("show", "nowhere"), "nowhere is not a run folder"),
    ],
)
def test_wrong_usage_is_one_line_as_every_error(words: tuple[str, ...], says: str) -> None:
    """Typer drew its own errors in a box, ours were lines."""
    ended = CliRunner().invoke(app, words)
    assert (ended.exit_code, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line


def test_a_command_without_words_shows_its_help() -> None:
    for words in ((), ("show",)):
        ended = CliRunner().invoke(app, words)
        assert "Usage:" in ended.output
        assert "error:" not in ended.output
        assert ended.exit_code == 2


def test_a_single_command_has_the_same_style() -> None:
    alone = typer.Typer()
    alone.command(cls=Command)(lambda: None)
    ended = CliRunner().invoke(alone, ["--absent"])
    assert ended.exit_code == 2
    assert ended.stderr.startswith("error: No such option: --absent")
    assert CliRunner().invoke(alone, []).exit_code == 0
