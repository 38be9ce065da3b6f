"""How long the tracker takes with a million prompts, and how many bytes the response memory takes per prompt.

    python benchmarks/tracker.py

The first part draws a batch and updates it, on one core, with values from 0/8 to 8/8. The second part stores 2,000
responses of each length with a 200-token prompt in a fresh process, replaces each once as training does, and prints
bytes per prompt: as the memory counts them (its bound), as the process grew, and in a checkpoint, plain and compressed.
"""

import argparse
import gc
import io
import multiprocessing
import time
from statistics import median

import numpy as np
import psutil

from spo_train.spo.memory import ResponseMemory
from spo_train.spo.settings import SPOSettings
from spo_train.spo.tracker import ValueTracker

PROMPT_TOKENS = 200
RESPONSE_TOKENS = (4_096, 16_384)
VOCABULARY = 150_000


def main() -> None:
    """Measure both parts, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=2_048)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--responses", type=int, default=2_000)
    arguments = parser.parse_args()
    draws, updates = time_tracker(arguments.prompts, arguments.batch, arguments.steps)
    both = [draw + update for draw, update in zip(draws, updates, strict=True)]
    print(f"{arguments.prompts:,} prompts, batches of {arguments.batch:,}, {arguments.steps} steps on one core")
    for name, times in (("draw", draws), ("update", updates), ("draw + update", both)):
        print(f"  {name:14} best {min(times):6.1f} ms   median {median(times):6.1f} ms")
    for tokens in RESPONSE_TOKENS:
        with multiprocessing.get_context("spawn").Pool(1) as fresh:
            counted, grown, saved, compressed = fresh.apply(measure_memory, (arguments.responses, tokens))
        print(f"{arguments.responses:,} responses of {tokens:,} tokens, bytes per prompt")
        print(f"  counted {counted:9,.0f}   process {grown:9,.0f}   npz {saved:9,.0f}   compressed {compressed:9,.0f}")


def time_tracker(prompts: int, batch: int, steps: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each draw and of each update."""
    generator = np.random.default_rng(0)
    tracker = ValueTracker.from_scores(generator.integers(0, 9, prompts), np.full(prompts, 8), SPOSettings())
    busy = np.zeros(prompts, np.bool_)
    draws, updates = [], []
    for _ in range(steps):
        rewards, rho = generator.integers(0, 2, batch), generator.uniform(0.875, 0.96, batch)
        start = time.perf_counter()
        rows = tracker.draw(batch, generator, busy)
        drawn = time.perf_counter()
        tracker.update(rows, rewards, rho)
        draws.append((drawn - start) * 1000)
        updates.append((time.perf_counter() - drawn) * 1000)
    return draws, updates


def measure_memory(responses: int, tokens: int) -> tuple[float, float, float, float]:
    """Return bytes per prompt: as counted, as the process grew, as saved, as saved compressed."""
    generator = np.random.default_rng(0)
    prompt = generator.integers(0, VOCABULARY, PROMPT_TOKENS)
    mask = np.ones(tokens, np.bool_)
    memory = ResponseMemory(responses, 2**40)
    gc.collect()
    before = psutil.Process().memory_info().rss
    for step in range(2):
        for row in generator.permutation(responses).tolist():
            ids = generator.integers(0, VOCABULARY, tokens)
            memory.store(row, prompt, ids, -generator.gamma(0.25, 1.6, tokens), mask, step)
    gc.collect()
    grown = psutil.Process().memory_info().rss - before
    plain, compressed = io.BytesIO(), io.BytesIO()
    state = memory.state()
    np.savez(plain, **state)  # type: ignore[arg-type]
    np.savez_compressed(compressed, **state)  # type: ignore[arg-type]
    counted, saved, small = (size / responses for size in (memory.nbytes, plain.tell(), compressed.tell()))
    return counted, grown / responses, saved, small


if __name__ == "__main__":
    main()
