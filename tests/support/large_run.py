"""A run with many prompts, made fast, and what a process needs for its tables; from the folder tests/:

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
    """A journal of so many prompts with one sample each; every third is wrong."""
    from spo_data.grading.verdict import Verdict
    from spo_data.run.sample import Sample

    prompts = [
        Prompt((Message("user", QUESTION.format(k, k + 1)),), str(2 * k + 1), "sums", {"index": k})
        for k in range(n_prompts)
    ]
    token_ids = np.arange(8, dtype=np.int32)
    spo_data.run.journal.COMMIT_SAMPLES = 20_000  # waiting for the disk is not what is measured
    with Journal(run / "journal.sqlite", GRADER) as journal:
        journal.set_prompts(prompts, [])
        for k, prompt in enumerate(prompts):
            verdict, score = (Verdict.CORRECT, 1.0) if k % 3 else (Verdict.WRONG, 0.0)
            seed = sample_seed(0, prompt.prompt_id, 0)
            journal.add(Sample(prompt.prompt_id, 0, seed, "The answer is 4.", token_ids, "stop", "4", verdict, score))


def write(run: Path) -> None:
    """What ends an estimate."""
    from spo_pipelines.results import write_results

    with Journal(run / "journal.sqlite", GRADER, read_only=True) as journal:
        write_results(journal, make_manifest(n=1), run)


def load(run: Path) -> dict[str, float]:
    """What begins a training run."""
    from spo_data import load_values

    values = load_values(run)
    return {"rows": len(values), "mean": float(values.values.mean()), "ids": len(set(values.prompt_ids))}


def main() -> None:
    """Do one of them, in a process of its own, and say what it needed."""
    what, run = sys.argv[1], Path(sys.argv[2])
    said: dict[str, float] = {}
    if what == "make":
        make(run, int(sys.argv[3]))
    elif what == "write":
        write(run)
    else:
        said = load(run)
    # Not getrusage: what it says of a new program begins with the memory of the process that started it.
    (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    said["peak_mb"] = int(peak) / 1e3
    print(json.dumps(said))


if __name__ == "__main__":
    main()
