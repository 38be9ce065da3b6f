"""Escapes for what a terminal obeys or what reorders a text, and streams through which nothing else comes."""

import io
import json
import logging
import sys
import traceback
import unicodedata
import warnings
from typing import TextIO, cast

import pytest
from tqdm import tqdm

from spo_data.printable import PrintableStream, printable, printable_json, protect_streams
from support.hostile_text import LEGITIMATE, SIGNS, hidden, hostile

EVERY = "".join(
    each
    for number, each in enumerate(map(chr, range(sys.maxunicode + 1)))
    if (category := unicodedata.category(each))[0] in "CZ" and (category not in ("Cn", "Co") or number % 97 == 0)
)
"""All controls, format characters, surrogates, spaces and separators, and some that are private or not assigned."""


def test_no_character_that_has_an_effect_is_left() -> None:
    escaped = printable(EVERY)
    assert hidden(escaped) <= set("\t\u0600\u0601\u0602\u0603\u0604\u0605\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
    assert printable("\x1b]52;c;aGk=\x07 \x9b2J \u202e\udc80\U000e0067 \r") == (
        r"\x1b]52;c;aGk=\x07 \x9b2J \u202e\udc80\U000e0067 \r"
    )
    assert printable(escaped) == escaped


@pytest.mark.parametrize("text", [LEGITIMATE, "a\nb\tc", "a\u3000b\xa0c\u2009d", "\ue000 \U0001fae9", r"\x1b[31m", ""])
def test_legitimate_text_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_a_line_s_end_on_windows_is_no_control_character() -> None:
    assert printable("a\r\nb\rc") == "a\nb\\rc"


def test_json_stays_the_same_document() -> None:
    document = {hostile("key"): ["|".join(EVERY), LEGITIMATE]}
    text = printable_json(json.dumps(document, ensure_ascii=False, indent=1))
    assert json.loads(text) == document
    assert hidden(text) == hidden(printable(EVERY)) - {"\t"}
    assert LEGITIMATE in text


def test_what_libraries_print_is_escaped_too() -> None:
    below = io.StringIO()
    stream = cast("TextIO", PrintableStream(below))
    print(hostile("printed"), file=stream)
    stream.writelines([hostile("line") + "\n"])
    logger = logging.Logger("of a library")
    logger.addHandler(logging.StreamHandler(stream))
    logger.warning(hostile("logged"))
    stream.write(warnings.formatwarning(hostile("warned"), UserWarning, "x.py", 1))
    try:
        raise ValueError(hostile("raised"))
    except ValueError:
        traceback.print_exc(file=stream)
    said = below.getvalue()
    assert hidden(said) == set()
    for word in ("printed", "line", "logged", "warned", "raised"):
        assert f"{word}\\x1b]52" in said


def test_bars_of_tqdm_move_and_their_names_are_escaped() -> None:
    """huggingface_hub names its bars after files of a repository."""
    below = io.StringIO()
    stream = PrintableStream(below)
    for position in (0, 2):
        with tqdm(total=2, desc=hostile("file"), file=stream, position=position, ncols=300, mininterval=0) as bar:
            bar.update(1)
    said = below.getvalue()
    assert "\x1b[A" in said
    assert said.count("\rfile\\x1b]52") >= 2
    assert hidden(said.replace("\r", "").replace("\x1b[A", "")) == set()
    stream.write("\r\x1b[31m\x1b[A")
    assert below.getvalue().removeprefix(said) == "\r\\x1b[31m\\x1b[A"


def test_streams_are_protected_once_and_keep_their_other_methods(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "stderr", None)
    protect_streams()
    protect_streams()
    print(SIGNS.encode("latin-1", "ignore").decode("latin-1"))
    assert sys.stderr is None
    assert sys.stdout.encoding == "latin-1"
    assert not sys.stdout.isatty()
    sys.stdout.flush()
    written = stream.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]
    assert hidden(written) == set()
    assert r"\x9b31m" in written
    assert cast("PrintableStream", sys.stdout).rich_proxied_file is stream
