"""Run one check with a time limit, measure its memory, and judge it.

    python benchmarks/gpu/run_check.py runs/gpu-check demo "spo-data estimate …" 150

It fails if its command fails or runs too long, if something that must hold does not, or if a process outlives it. Such
processes are ended, so that the next check has the whole GPU.
"""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from judge import Judgement, judge
from results import Check, add, read_results
from spo_train.launch.process_tree import ProcessTree

POLL_SECONDS = 0.5
KILL_SECONDS = 15
"""How long a command that ran too long may take to end."""
ORPHAN_SECONDS = 10.0
TIMEOUT_STATUSES = (124, 137)


def main() -> None:
    signal.signal(
        signal.SIGTERM, lambda number, _frame: sys.exit(128 + number)
    )  # as Ctrl-C, it ends the check's processes
    out, name, command, limit = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    sizes = str(read_results(out)["sizes"])
    printed, log = out / "logs" / f"{name}.out", out / "logs" / f"{name}.log"
    log.unlink(missing_ok=True)
    peak = 0
    started = time.monotonic()
    with ProcessTree() as family:
        words = ["timeout", f"--kill-after={KILL_SECONDS}", str(limit), "bash", "-c"]
        process = family.start([*words, f"({command}) > {shlex.quote(str(printed))}"], {}, log)
        while process.poll() is None:
            peak = max(peak, measure_memory(sizes, family.find_living()))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(POLL_SECONDS)
        seconds = time.monotonic() - started
        orphans = wait_for_orphans(family)
    causes = []
    if process.returncode in TIMEOUT_STATUSES and seconds >= limit:
        causes.append(f"stopped after its limit of {limit} s")
    else:
        if process.returncode != 0:
            causes.append(f"exit status {process.returncode}: {last_line(log, printed)}")
        if orphans:
            causes.append(f"left {len(orphans)} processes: {', '.join(sorted(set(orphans)))}")
    found = judge(name, out, printed, sizes)
    check = Check(
        name=name,
        command=command,
        outcome="failed" if causes or not found.holds else "passed",
        seconds=round(seconds, 1),
        limit=limit,
        causes=causes,
        claims=found.claims,
        figures=found.figures,
        peak_memory_mb=round(peak / 1e6) or None,
    )
    add(out, check)
    print(describe(check, found), flush=True)
    sys.exit(check.outcome != "passed")


def measure_memory(sizes: str, processes: Iterable[psutil.Process]) -> int:
    """Return the bytes that the GPU's processes take, or the resident bytes of these processes on a CPU."""
    if sizes == "gpu":
        return gpu_memory()
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def gpu_memory() -> int:
    """Return the used bytes of the first visible GPU as the driver counts them, 0 if it does not answer."""
    device = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0] or "0"
    query = ["nvidia-smi", f"--id={device}", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
        return int(subprocess.run(query, capture_output=True, text=True, timeout=10, check=True).stdout) << 20
    return 0


def wait_for_orphans(family: ProcessTree) -> list[str]:
    """Return the names of the processes that outlive their command by more than a few seconds."""
    end = time.monotonic() + ORPHAN_SECONDS
    while (living := family.find_living()) and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    names = []
    for process in living:
        with contextlib.suppress(psutil.Error):
            names.append(process.name())
    return names


def last_line(*files: Path) -> str:
    """Return the last line that says something, of the first file that has one."""
    for file in files:
        with contextlib.suppress(OSError):
            lines = [line.strip() for line in file.read_text(errors="replace").splitlines() if line.strip()]
            if lines:
                return lines[-1][:300]
    return "it printed nothing"


def describe(check: Check, found: Judgement) -> str:
    """Return the lines that are printed when a check ends."""
    broken = [f"{claim.text}, but {claim.seen}" for claim in found.claims if not claim.holds]
    figures = ", ".join(f"{name} {value:,.3g}" for name, value in found.figures.items())
    first = f"{check.outcome:<8}{check.name:<16}{check.seconds:7.1f} s  {figures}"
    return "\n".join([first.rstrip(), *(f"        {line}" for line in [*check.causes, *broken])])


if __name__ == "__main__":
    main()
