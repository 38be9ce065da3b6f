"""Moments at which a process of `scripted` dies: a place in the code that it has reached, or a byte that it writes.

    {"record": "places.json"}                                    # dies never; writes which places it passed, how often
    {"place": ["spo_data/run/journal.py", 132, "c_call"], "nth": 3}
    {"bytes": 9000}                                              # within the write that makes a file this long
    {"bytes": 9000, "as_error": True}                            # that write fails, as on a full disk

A place is a line of our code, or of the modules with which it makes and moves files, that calls something: `call` and
`c_call` are before the call, the other events after it. A kill within a write tears it, as no kill at a place does.
"""

import json
import os
import pathlib
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
OURS = tuple(str(ROOT / part) + os.sep for part in ("spo_data", "cli", "pipelines", "training"))
OTHERS = tuple(str(module.__file__) for module in (pathlib, shutil, tempfile))

Place = tuple[str, int, str]


def arm(moment: Mapping[str, Any], begin: str | None = "folder_lock") -> None:
    """Die at the moment; places count from the first call of a function, if one is named.

    That is the lock on the run's folder: before it, nothing is written.
    """
    if "bytes" in moment:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (moment["bytes"], moment["bytes"]))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN if moment.get("as_error") else signal.SIG_DFL)
    elif "record" in moment:
        passed: Counter[Place] = Counter()
        _note_exit(lambda: _write(moment["record"], passed))
        _watch(lambda place: passed.update((place,)), begin)
    elif "place" in moment:
        wanted, left = tuple(moment["place"]), moment["nth"]

        def count(place: Place) -> None:
            nonlocal left
            if place == wanted:
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        _watch(count, begin)


def call_in_fork(moment: Mapping[str, Any], function: Callable[..., object], *arguments: Any, **named: Any) -> int:
    """Call a function in a fork of this process that dies at the moment; returns its exit status, as `Popen` does.

    The moment may come too late: the status is 0 then, or 1 if the function raised.
    """
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            arm(moment, begin=None)
            function(*arguments, **named)
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def passed_places(function: Callable[..., object], *arguments: Any, **named: Any) -> list[tuple[Place, int]]:
    """The places that a function passes, and how often; it is called in a fork of this process."""
    with tempfile.NamedTemporaryFile() as file:
        assert call_in_fork({"record": file.name}, function, *arguments, **named) == 0
        return read_places(file.name)


def read_places(path: str | Path) -> list[tuple[Place, int]]:
    """The places that `record` wrote, and how often each was passed."""
    return [((name, line, event), times) for name, line, event, times in json.loads(Path(path).read_text())]


def choose_place(places: Sequence[tuple[Place, int]], chance: random.Random) -> dict[str, Any]:
    """A moment: a module, then a place in it, then how often it is passed before, few times more often than many."""
    module = chance.choice(sorted({name for (name, *_), _ in places}))
    place, times = chance.choice([each for each in places if each[0][0] == module])
    return {"place": place, "nth": int(times ** chance.random())}


def note_commits(path: str) -> None:
    """Append the samples that a commit made durable to a file, one a line, when the commit has returned."""
    from spo_data.run.journal import Journal

    taken: list[tuple[str, int]] = []
    add, commit = Journal.add, Journal.commit

    def noting_add(self: Any, sample: Any, *others: Any) -> None:
        taken.append((sample.prompt_id, sample.sample_index))
        add(self, sample, *others)

    def noting_commit(self: Any) -> None:
        commit(self)
        with open(path, "a") as file:
            file.write("".join(json.dumps(each) + "\n" for each in taken))
        taken.clear()

    Journal.add, Journal.commit = noting_add, noting_commit  # type: ignore[method-assign]


def use_temporary_folder(path: str) -> None:
    """Put temporary files, the marks of grading processes among them, into a folder of this job."""
    os.environ["TMPDIR"] = tempfile.tempdir = path


def _watch(passed: Callable[[Place], None], begin: str | None) -> None:
    """Call `passed` for each call that a watched line makes, before and after it, in this thread."""
    names: dict[Any, str | None] = {}
    has_begun = begin is None

    def note(frame: Any, event: str, _argument: Any) -> None:
        nonlocal has_begun
        if not has_begun:
            if frame.f_code.co_name != begin:
                return
            has_begun = True
        if event in ("call", "return"):
            frame = frame.f_back
            if frame is None:
                return
        code = frame.f_code
        try:
            name = names[code]
        except KeyError:
            name = names[code] = _name(code.co_filename)
        if name is not None:
            passed((name, frame.f_lineno, event))

    sys.setprofile(note)


def _name(file: str) -> str | None:
    if file.startswith(OURS):
        return str(Path(file).relative_to(ROOT))
    if file in OTHERS:
        return Path(file).name
    return None


def _note_exit(write: Callable[[], None]) -> None:
    leave = os._exit

    def leaving(status: int) -> None:
        sys.setprofile(None)
        write()
        leave(status)

    os._exit = leaving  # type: ignore[assignment]


def _write(path: str, passed: Counter[Place]) -> None:
    Path(path).write_text(json.dumps([[*place, times] for place, times in passed.items()]))
