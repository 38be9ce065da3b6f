r"""Text that a terminal must not get as it is, and what a command writes to a pipe or a terminal.

said = run_command(main, ["show", run], on_terminal=True)
said.hidden()          # the characters and sequences in it that no reader sees, apart from rich's own
hostile("gold")        # "gold", then all that is worth trying
"""

import os
import re
import sys
import threading
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import TextIOWrapper

import pytest

SIGNS = (
    "\x1b]52;c;aGk=\x07"  # into the clipboard
    "\x1b[38;5;219m\x1b[2J\x1b[1A\x1b]0;title\x1b\\\x1b[?1049h\x1bc\x1bP+q\x1b\\"
    "\x9b31m\x9d52;c;aGk=\x9c"  # the same as ESC [ and ESC ]
    "\x00\x07\x08\x0b\x0c\x0e\x0f\x7f\x80\x85\r"
    "\u202a\u202b\u202d\u202e\u202c\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    "\u2028\u2029\u200b\u2060\ufeff\u00ad\U000e0067\ufff9"
)
LEGITIMATE = "中文、标点 العربية ۝ עברית \u0645\u06cc\u200c\u062e\u0648 é́ 👩‍👩‍👧 ❤️ β → █"
"""What stays readable: other scripts, joiners in Persian and in emoji, variation selectors, combining marks."""

_RICH = re.compile(
    r"\x1b\[(?:0|1|2|22|3[1-6]|9[0-7]|1;3[1-6]|2;3[1-6]|38;2;\d+;\d+;\d+|38;5;(?:237|197|70|106))m"
    r"|\x1b\[\?25[lh]|\x1b\[1A(?=\x1b\[2K)|\x1b\[2K|\r(?=\x1b|\n)"
)
"""The colours of rich that we ask for, and how it redraws a bar. `\r` before a line's end is the terminal's own."""


def hostile(word: str) -> str:
    """The word, and all signs."""
    return f"{word}{SIGNS}"


def hidden(text: str) -> set[str]:
    """The characters in a text that no reader sees, without line ends and joiners."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    found = {each for each in text if unicodedata.category(each) in kinds}
    return found - set("\n\u200c\u200d\u06dd")


@dataclass(frozen=True)
class Said:
    """What a command wrote."""

    status: int
    stdout: str
    stderr: str
    """Empty on a terminal, which shows both."""

    def hidden(self) -> set[str]:
        """What must not be in it."""
        return hidden(_RICH.sub("", self.stdout + self.stderr))


def run_command(main: Callable[[], None], words: Sequence[object], *, on_terminal: bool) -> Said:
    """Run a command in this process as a user does, in a pipe or on a terminal."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [str(word) for word in words])
        patch.setenv("TERM", "xterm-256color")
        for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
            patch.delenv(name, raising=False)
        captured = [_Captured(on_terminal)] if on_terminal else [_Captured(False), _Captured(False)]
        patch.setattr(sys, "stdout", captured[0].stream)
        patch.setattr(sys, "stderr", captured[-1].stream)
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            texts = [each.close() for each in captured]
    return Said(status, texts[0], "" if on_terminal else texts[1])


class _Captured:
    """A stream, and what comes out at its other end."""

    END = b"\0\0\0"
    """What ends it: a process that the command started may hold the stream open."""

    def __init__(self, on_terminal: bool) -> None:
        self._end, writing = os.openpty() if on_terminal else os.pipe()
        self.stream = TextIOWrapper(os.fdopen(writing, "wb", buffering=0), encoding="utf-8", write_through=True)
        self._read = b""
        self._reader = threading.Thread(target=self._drain)
        self._reader.start()

    def _drain(self) -> None:
        while not self._read.endswith(self.END):
            self._read += os.read(self._end, 65536)

    def close(self) -> str:
        os.write(self.stream.fileno(), self.END)
        self._reader.join()
        self.stream.close()
        os.close(self._end)
        return self._read.removesuffix(self.END).decode().replace("\r\n", "\n")
