"""What is printed where a terminal cannot show every character."""

import ast
import io
import json
import sys
from pathlib import Path
from typing import TextIO, cast

import pytest
from rich.text import Text

from spo_cli.data_app import main
from spo_cli.terminal.console import DataConsole
from spo_cli.terminal.display import Display
from spo_cli.terminal.printing import PLAIN, add_row, make_table, print_facts, print_json, use_plain_characters
from spo_data.printable import PrintableStream
from spo_data.prompts.identity import Message, Prompt

ROOT = Path(__file__).resolve().parents[3]
PROMPT = Prompt((Message("user", "1 + 1 in 中文, café?"),), "2", "sums")
DRAWN = [(PROMPT, [1.0, 0.0])]
N = 2


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> "Printed":
    return Printed(monkeypatch)


class Printed:
    """What a command prints on a stdout of another encoding."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, encoding: str, *words: object) -> str:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        self._monkeypatch.setattr(sys, "stdout", stream)
        self._monkeypatch.setattr(sys, "argv", ["spo-data", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        stream.flush()
        return stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [
        ("ascii", r"1 + 1 in \u4e2d\u6587, caf\xe9?"),
        ("latin-1", r"1 + 1 in \u4e2d\u6587, café?"),
        ("utf-8", "中文, café"),
    ],
)
def test_bars_are_ascii_where_the_terminal_is(run: Path, printed: Printed, encoding: str, shown: str) -> None:
    """`show` ended in a UnicodeEncodeError."""
    text = printed(encoding, "show", run)
    assert shown in text
    bar, arrow = ("█", "→ 2") if encoding == "utf-8" else ("#", "-> 2")
    assert bar * 40 in text
    assert arrow in text


def test_json_keeps_its_text_where_the_encoding_has_no_such_character(run: Path, printed: Printed) -> None:
    for encoding in ("ascii", "utf-8"):
        summary = json.loads(printed(encoding, "show", run, "--json"))
        assert summary["hardest"][0]["prompt"] == PROMPT.text


def test_a_lone_surrogate_is_an_escape(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", newline="\n")
    monkeypatch.setattr(sys, "stdout", stream)
    use_plain_characters(stream)
    print("a\ud800")
    print_json(["b\ud800"])
    stream.flush()
    assert stream.buffer.getvalue() == b'a\\ud800\n[\n  "b\\ud800"\n]\n'  # type: ignore[attr-defined]


def on_console(*printed: object) -> str:
    """What a console puts behind a protected stream."""
    stream = io.StringIO()
    protected = cast("TextIO", PrintableStream(stream))
    DataConsole(protected, width=60, force_terminal=True, color_system="standard").print(*printed)
    return stream.getvalue()


def test_a_console_shows_escapes_and_its_own_colours_are_none() -> None:
    """rich dropped a bell or a carriage return in silence, and passed on all other control characters."""
    assert on_console("[b]\x1b[2J\x08\x9b\u202e :smile:") == "[b]\\x1b[2J\\x08\\x9b\\u202e :smile:\n"
    assert on_console(Text("\x1b[2J\x9b", style="red")) == "\x1b[31m\\x1b[2J\\x9b\x1b[0m\n"


def test_cells_are_as_wide_as_their_escapes_and_have_one_line() -> None:
    table = make_table("name", "other", "last")
    add_row(table, "\x1b\x08", "b", "two\nlines")
    add_row(table, "a", "\x9b" * 3, "c")
    table.add_row("\r", "d", "e")
    assert on_console(table).splitlines()[1:] == [
        r"\x1b\x08  b             two\nlines",
        r"a         \x9b\x9b\x9b  c         ",
        r"\r        d             e         ",
    ]
    stream = io.StringIO()
    print_facts(DataConsole(stream), [("label", "one\n\x08")])
    assert stream.getvalue().strip() == r"label  one\n\x08"


def test_progress_is_ascii_too() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with Display(stream) as display:
        display._print_line("note: 1 → 2 …")
        display._start_bar("half · way", 10, 5)
        display._move_bar(7, "more · way")
    stream.flush()
    text = stream.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert "note: 1 -> 2 ..." in text
    assert "more | way" in text
    assert "?" not in text


def test_every_character_that_is_printed_has_a_plain_text() -> None:
    """Messages and tables come from these packages; the others compare, draw and write text, and print none of it."""
    quiet = ("grading", "report", "card")
    files = [path for top in ("cli", "pipelines", "spo_data", "training") for path in (ROOT / top).rglob("*.py")]
    used = {
        character
        for path in files
        if not set(path.parts) & set(quiet)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for character in node.value
        if not character.isascii()
    }
    shown = {character for character in used if character.isprintable()}
    assert shown - set(PLAIN) == {"中"}, "no plain text stands for them"
    assert "".join(PLAIN.values()).isascii()
