"""Make a run with many prompts quickly, and measure the memory that its tables need. From the folder tests/:

python -m support.large_run make RUN 1000000      # a journal
python -m support.large_run write RUN             # its tables, card and picture
python -m support.large_run load RUN              # prints rows, mean value and its own peak memory in MB
"""

import json
import re
import sys
from pathlib import Path

import numpy as np

import spo_data.run.journal
from spo_data.prompts.identity import Message, Prompt, sample_seed
from spo_data.run.journal import Journal
from support.records import GRADER, make_manifest

QUESTION = "Problem {0}: what is {0} plus {1}, " + "in words and in figures, with every step, " * 6 + "please?"


def make(run: Path, n_prompts: int) -> None:
    """A journal with `n_prompts` prompts and one sample each. Every third sample is wrong."""
    from spo_data.grading.verdict import Verdict
    from spo_data.run.sample import Sample

    prompts = [
        Prompt((Message("user", QUESTION.format(k, k + 1)),), str(2 * k + 1), "sums", {"index": k})
        for k in range(n_prompts)
    ]
    token_ids = np.arange(8, dtype=np.int32)
    spo_data.run.journal.COMMIT_SAMPLES = 20_000  # waiting for the disk is not part of the measurement
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(prompts, [])
        for k, prompt in enumerate(prompts):
            verdict, score = (Verdict.CORRECT, 1.0) if k % 3 else (Verdict.WRONG, 0.0)
            seed = sample_seed(0, prompt.prompt_id, 0)
            journal.add(Sample(prompt.prompt_id, 0, seed, "The answer is 4.", token_ids, "stop", "4", verdict, score))


def write(run: Path) -> None:
    """Write the results, as at the end of an estimate."""
    from spo_pipelines.results import write_results

    with Journal(run / "journal.sqlite", GRADER, read_only=True) as journal:
        write_results(journal, make_manifest(n=1), run)


def load(run: Path) -> dict[str, float]:
    """Load the values, as at the start of a training run."""
    from spo_data import load_values

    values = load_values(run)
    return {"rows": len(values), "mean": float(values.values.mean()), "ids": len(set(values.prompt_ids))}


def main() -> None:
    """Run one of these commands and print its result and peak memory."""
    what, run = sys.argv[1], Path(sys.argv[2])
    said: dict[str, float] = {}
    if what == "make":
        make(run, int(sys.argv[3]))
    elif what == "write":
        write(run)
    else:
        said = load(run)
    # Not getrusage: for a new program, its peak starts at the memory of the parent process.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    said["peak_mb"] = int(peak) / 1e3
    print(json.dumps(said))


if __name__ == "__main__":
    main()
