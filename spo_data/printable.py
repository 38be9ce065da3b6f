r"""Show the characters that a terminal obeys, or that reorder a text, as visible escapes.

    printable("a\x1b[2Jb")            # r"a\x1b[2Jb"
    printable_json('"a\u202eb"')      # r'"a\u202eb"', the same JSON document
    protect_streams()                 # from now on, whatever this process prints goes through `printable`

A prompt or a response may hold anything: an escape sequence that writes into the clipboard (OSC 52), a bidirectional
override that shows an answer backwards.
"""

import re
import sys
from collections.abc import Callable, Iterable
from typing import Any, TextIO, cast
from unicodedata import category

_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Controls, format characters, halves of surrogate pairs, line and paragraph separators: no glyph, but an effect.

Private-use characters and those newer than Python's tables stay: they are drawn, if only as a box.
"""
_SHOWN = frozenset(
    "\n\t\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
"""What stays although it is a control or a format character: lines and columns, the joiners that emoji and Persian are
spelled with, and the Arabic, Syriac and Kaithi signs that have a glyph."""
_BAR_MOVES = re.compile(r"[\r\n]*(?:\x1b\[A)*")
"""How tqdm moves the cursor to one of its bars, each time in a write of its own."""


def printable(text: str) -> str:
    r"""Return the text with an escape such as \x1b or \u202e for each character that a reader would not see."""
    text = text.replace("\r\n", "\n")  # a line's end on Windows
    return _escape(text, lambda character: character.encode("unicode_escape").decode())


def printable_json(text: str) -> str:
    """Return the same JSON document without a character that a reader would not see."""
    return _escape(text, _escape_in_json)


def _escape(text: str, escape: Callable[[str], str]) -> str:
    if text.isprintable():  # most texts, and ten times as fast
        return text
    hidden = {ord(each): escape(each) for each in set(text) if category(each) in _HIDDEN and each not in _SHOWN}
    return text.translate(hidden) if hidden else text


def _escape_in_json(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


class PrintableStream:
    """A text stream that escapes all that is written to it, as `printable` does. tqdm's bars can still move.

    A console of rich writes past it, because rich looks for an attribute with the name `rich_proxied_file`: colours
    are escape sequences too. Ours (`spo_cli.terminal.console`) escapes before it colours.
    """

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream

    def write(self, text: str) -> int:
        """Write the text with escapes."""
        if _BAR_MOVES.fullmatch(text):
            return self.rich_proxied_file.write(text)
        start = "\r" if text.startswith("\r") else ""  # tqdm draws its bar over the last one
        return self.rich_proxied_file.write(start + printable(text[len(start) :]))

    def writelines(self, lines: Iterable[str]) -> None:
        """Write lines with escapes."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def protect_streams() -> None:
    """Put a `PrintableStream` in front of this process's stdout and stderr."""
    sys.stdout, sys.stderr = _protect(sys.stdout), _protect(sys.stderr)


def _protect(stream: TextIO) -> TextIO:
    # A closed stream is None.
    return stream if stream is None or isinstance(stream, PrintableStream) else cast("TextIO", PrintableStream(stream))
