"""Why a training run ended, in one line, from verl's and Ray's log.

    find_cause(Path("runs/train/verl.log").read_text())        # "ValueError: the checkpoint was made with other …"

Ray wraps an exception once for each process that it passes through, and prints the innermost one last. If a process
died without an exception, Ray reports only its death. The cause is then the last error that the process printed, or
else that it was killed.

Failed responses end a training run only if there are too many. Each one's exception is in the log at the failure.
"""

import re
from itertools import pairwise

OURS = "spo-train: "
"""The start of the line with which `hooks.deadline` ends a training run."""

SEE_ABOVE = ": see the reasons above in this log"
"""The end of the message of `hooks.trainer` if too many responses of one step failed."""

_FAILED_RESPONSE = "Error in _run_prompt"
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FROM_WORKER = re.compile(r"^\((?P<name>[^()]*?) ?pid=(?P<pid>\d+)(?:, ip=[^)]*)?\) ?")
_REPEATED = re.compile(r"\s*\[repeated \d+x across cluster\].*$")
_EXCEPTION = re.compile(r"^[A-Za-z_][\w.]*(?::\s.*)?$")
_IN_A_LINE = re.compile(r"(?:^|[\s:\]])((?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*)?(?:Error|Exception)\b(?::\s.*)?)$")
_PLACE = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<name>\S+)')
_WRAPPER = re.compile(r"RayTaskError|ActorDiedError|ActorUnavailableError|WorkerCrashedError|OwnerDiedError")
_ELSEWHERE = ("See root cause above", "See stack trace", "EngineDeadError", "EngineCore encountered an issue")
_OUT_OF_MEMORY = re.compile(r"killed due to (?:the node running low on memory|memory pressure)|OutOfMemoryError", re.I)


def find_cause(log: str) -> str | None:
    """Return the innermost cause of the last failure in a log; None if nothing in it looks like one."""
    lines = [_REPEATED.sub("", _ANSI.sub("", line)).rstrip() for line in log.splitlines()]
    said = [_FROM_WORKER.sub("", line) for line in lines]
    for line in reversed(said):
        if line.startswith(OURS):
            return line.removeprefix(OURS)
    raised = _find_raised(lines)
    if raised is not None and raised.endswith(SEE_ABOVE):
        what = raised.removeprefix("RuntimeError: ").removesuffix(SEE_ABOVE)
        reason = _find_failed_response(lines)
        return raised if reason is None else f"{what}, the last one: {reason}"
    if raised is not None and not _WRAPPER.search(raised) and not _is_elsewhere(raised):
        return raised
    dead = _find_dead_worker(lines)
    if dead is not None:
        name, pid = dead
        return _find_last_error(_select_lines(pid, lines)) or _describe_killed(name, pid, said)
    return _find_last_error(said) or raised


def _find_raised(lines: list[str]) -> str | None:
    """Return what the driver raised: the last line of its last traceback. Workers' lines have a prefix."""
    for position in range(len(lines) - 1, 0, -1):
        line = lines[position]
        if _EXCEPTION.match(line) and lines[position - 1].startswith("  ") and not _is_ignored(lines[:position]):
            return line if ":" in line else _add_place(line, lines[:position])
    return None


def _find_failed_response(lines: list[str]) -> str | None:
    """Return the innermost exception of the last response that failed, as its worker logged it."""
    reported = [place for place, line in enumerate(lines) if _FAILED_RESPONSE in line]
    for place in reversed(reported):
        worker = _FROM_WORKER.match(lines[place])
        said = _select_lines(worker["pid"], lines[place + 1 :]) if worker else lines[place + 1 :]
        for before, line in pairwise(said):
            if _FAILED_RESPONSE in line:
                break  # Ray prints a traceback once if several workers have the same
            raised = before.startswith("  ") and _EXCEPTION.match(line)
            if raised and not _WRAPPER.search(line) and not _is_elsewhere(line):
                return line
    return _find_last_error([line for line in lines if SEE_ABOVE not in line]) if reported else None


def _is_ignored(before: list[str]) -> bool:
    """Whether Python only reported the exception, from a destructor or at exit."""
    start = next((place for place in range(len(before) - 1, 0, -1) if before[place].startswith("Traceback")), 0)
    return start > 0 and before[start - 1].startswith("Exception ignored in")


def _add_place(exception: str, before: list[str]) -> str:
    """Add where it was raised to an exception without a message."""
    for line in reversed(before):
        if place := _PLACE.match(line):
            return f"{exception} in {place['name']} ({place['file']}, line {place['line']})"
    return exception


def _find_dead_worker(lines: list[str]) -> tuple[str, str] | None:
    """Return name and process id of the actor that Ray last reported as dead."""
    for position in range(len(lines) - 1, -1, -1):
        if "ActorDiedError" not in lines[position]:
            continue
        indented = (line.strip() for line in lines[position + 1 : position + 8] if line[:1].isspace())
        facts = dict(line.split(": ", 1) for line in indented if ": " in line)
        if "pid" in facts:
            return facts.get("class_name", "a worker"), facts["pid"]
    return None


def _select_lines(pid: str, lines: list[str]) -> list[str]:
    return [line[found.end() :] for line in lines if (found := _FROM_WORKER.match(line)) and found["pid"] == pid]


def _find_last_error(lines: list[str]) -> str | None:
    for line in reversed(lines):
        found = _IN_A_LINE.search(line.strip())
        if found and not _WRAPPER.search(found[1]) and not _is_elsewhere(line):
            return found[1]
    return None


def _is_elsewhere(line: str) -> bool:
    return any(phrase in line for phrase in _ELSEWHERE)


def _describe_killed(name: str, pid: str, said: list[str]) -> str:
    if any(_OUT_OF_MEMORY.search(line) for line in said):
        return f"{name} (process {pid}) was killed by Ray because the machine's memory ran out"
    return f"{name} (process {pid}) was killed or crashed without a message, as when the machine's memory runs out"
