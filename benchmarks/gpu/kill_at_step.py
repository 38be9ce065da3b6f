"""Kill a training run with SIGKILL once a step is done, and see that none of its processes is left.

    python benchmarks/gpu/kill_at_step.py 12 spo-train --offline-values runs/demo --out runs/training

Only the command itself is killed, as the kernel does if memory runs out. Exit status 0 if it was killed after that step
and its processes ended within a minute. If the command ends by itself, its status is given, or 1 for 0.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from spo_train.filenames import METRICS
from spo_train.launch.process_tree import ProcessTree
from spo_train.launch.steps import MetricsFile

POLL_SECONDS = 0.1
LEFT_SECONDS = 60.0
"""How long the killed command's processes may take to end."""


def main() -> None:
    last, command = int(sys.argv[1]), sys.argv[2:]
    out = Path(command[command.index("--out") + 1])
    metrics = MetricsFile(out / METRICS)
    with ProcessTree() as family:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        done = 0
        while process.poll() is None and done < last:
            done = max([done, *(step.step for step in metrics.new_steps())])
            time.sleep(POLL_SECONDS)
        if process.poll() is not None:
            print(f"it ended with exit status {process.returncode} before it was killed after step {last}")
            sys.exit(process.returncode or 1)
        process.kill()
        process.wait()
        print(f"killed process {process.pid} after step {done}", flush=True)
        end = time.monotonic() + LEFT_SECONDS
        while (left := family.find_living()) and time.monotonic() < end:
            time.sleep(POLL_SECONDS)
        seconds = LEFT_SECONDS - (end - time.monotonic())
        if left:
            names = ", ".join(sorted({process.name() for process in left if process.is_running()}))
            print(f"{len(left)} of its processes are still there after {LEFT_SECONDS:.0f} s: {names}")
            sys.exit(os.EX_SOFTWARE)
        print(f"none of its processes is left after {seconds:.1f} s")


if __name__ == "__main__":
    main()
