"""Send an engine's output to a file, so that it does not disturb the progress display.

vLLM's processes inherit standard output and error, and torch, oneDNN and compilers write there directly, so the file
descriptors themselves are redirected while the engine runs. To write to the terminal meanwhile, call `terminal()`
before the redirection starts.
"""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

_ERROR = re.compile(r"(?:^|[\s:\]])((?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*)?(?:Error|Exception|Interrupt)\b(?::\s.*)?)$")
_NOT_THE_CAUSE = ("See root cause above", "See stack trace", "EngineDeadError", "During handling", "KeyboardInterrupt")


def terminal() -> TextIO:
    """Return a stream to the current standard error; a later `output_to` does not redirect it."""
    return os.fdopen(os.dup(sys.stderr.fileno()), "w", buffering=1)


@contextmanager
def output_to(path: Path) -> Iterator[None]:
    """Append everything that this process and its children print to `path` while the block runs.

    What a failing disk refuses at the end is dropped: the block's own error says why the run ends.
    """
    saved = os.dup(1), os.dup(2)
    sys.stdout.flush()
    sys.stderr.flush()
    with path.open("a") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    try:
        yield
    finally:
        for descriptor, stream, original in zip((1, 2), (sys.stdout, sys.stderr), saved, strict=True):
            try:
                stream.flush()
            except OSError:
                with open(os.devnull, "w") as nowhere:
                    os.dup2(nowhere.fileno(), descriptor)
                    stream.flush()
            os.dup2(original, descriptor)
            os.close(original)


def last_error(path: Path, offset: int = 0) -> str | None:
    """The last error line after `offset` that names a cause, without vLLM's prefixes; None if there is none."""
    with path.open(errors="replace") as file:
        file.seek(offset)
        lines = file.read().splitlines()
    for line in reversed(lines):
        found = _ERROR.search(line.strip())
        if found and not any(phrase in line for phrase in _NOT_THE_CAUSE):
            return found.group(1)
    return None
