"""How many programs per second the local sandbox runs, compared with the same Python without a sandbox.

    python benchmarks/sandbox.py [--programs 400]

The ceiling is the same number of plain processes at once (`python -u main.py`); the difference is what the sandbox
costs. The program imports nothing; a program that imports sympy takes a second more, with or without a sandbox.
"""

import argparse
import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spo_data.sandbox.interpreter import Limits
from spo_data.sandbox.local import LocalInterpreter

PROGRAM = "print(sum(range(1000)))"
PRINTS = "499500\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=400)
    programs = parser.parse_args().programs
    at_once = len(os.sched_getaffinity(0))
    plain = _measure_plain(programs, at_once)
    before = _read_peak_mb()
    sandboxed = asyncio.run(_measure_sandboxed(programs))
    print(f"{programs:,} programs, {at_once} at once")
    print(f"plain processes   {plain:>7.1f} programs/s, {1000 * at_once / plain:.1f} ms each")
    print(f"LocalInterpreter  {sandboxed:>7.1f} programs/s, {1000 * at_once / sandboxed:.1f} ms each")
    print(f"ratio             {sandboxed / plain:>7.2f}")
    print(f"memory of this process: {before:,.0f} MB before, {_read_peak_mb():,.0f} MB at most")


def _measure_plain(programs: int, at_once: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.py").write_text(PROGRAM)

        def run(_: int) -> None:
            command = [sys.executable, "-u", "main.py"]
            assert subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout == PRINTS

        began = time.monotonic()
        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(run, range(programs)))
        return programs / (time.monotonic() - began)


async def _measure_sandboxed(programs: int) -> float:
    async with LocalInterpreter() as interpreter:
        began = time.monotonic()
        executions = await asyncio.gather(*(interpreter.run(PROGRAM, Limits()) for _ in range(programs)))
        seconds = time.monotonic() - began
    assert {(each.stdout, each.stderr, each.return_code) for each in executions} == {(PRINTS, "", 0)}
    return programs / seconds


def _read_peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
