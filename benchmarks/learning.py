"""Does SPO learn, and better than GRPO? A small Llama on arithmetic, with SPO's own code in a plain training loop.

    python benchmarks/learning.py tune       the same learning rates for each method, on a seed that is not reported
    python benchmarks/learning.py run        three methods x 5 seeds, then the ablations x 3 seeds
    python benchmarks/learning.py table      what is finished, as tables
    python benchmarks/learning.py plot       and as PNGs
    python benchmarks/learning.py            run, table and plot

Each line of `results.jsonl` in `--out` is one run. Finished runs are not repeated, so an interrupted call continues
where it stopped. It uses one thread. Methods are compared at equal samples and from one model; each seed has its own
estimate, draws and samples. SPO's estimate took samples too: the tables give SPO's accuracy with and without them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from learning_loop import ABLATIONS, METHODS, Start, prepare, train
from learning_model import success
from learning_report import Record, draw_plots, print_tables, print_tuning

LEARNING_RATES = {"spo": 1e-4, "grpo": 1e-4, "no-baseline": 1e-4}
"""The best of GRID by `tune`: the highest sum of train and held-out accuracy. Ablations take SPO's."""
GRID = (3e-5, 1e-4, 3e-4)
TUNING_SEED = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("tune", "run", "table", "plot"), help="only this part")
    parser.add_argument("--out", type=Path, default=Path("runs/learning"), help="folder of results")
    parser.add_argument("--images", type=Path, help="folder of plots, if not that of results")
    parser.add_argument("--model-seed", type=int, default=0, help="another starting model; give it another --out")
    parser.add_argument("--steps", type=int, default=150, help="training steps, 256 samples each")
    parser.add_argument("--seeds", type=int, default=5, help="seeds of the three methods")
    parser.add_argument("--ablation-seeds", type=int, default=3, help="seeds of each ablation")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = arguments.out / "results.jsonl"
    if arguments.part == "tune":
        tuning = arguments.out / "tuning.jsonl"
        for rate in GRID:
            for method in METHODS:
                start = prepare(TUNING_SEED, arguments.out, arguments.model_seed)
                run_once(method, start, rate, arguments.steps, tuning)
        print_tuning(read(tuning))
    if arguments.part in (None, "run"):
        print_start(prepare(0, arguments.out, arguments.model_seed))
        for variants, seeds in ((METHODS, arguments.seeds), (ABLATIONS, arguments.ablation_seeds)):
            for seed in range(seeds):
                start = prepare(seed, arguments.out, arguments.model_seed)
                for variant in variants:
                    run_once(
                        variant, start, LEARNING_RATES.get(variant, LEARNING_RATES["spo"]), arguments.steps, results
                    )
    if arguments.part in (None, "table"):
        print_tables(read(results))
    if arguments.part in (None, "plot"):
        draw_plots(read(results), arguments.images or arguments.out)


def print_start(start: Start) -> None:
    """Print the model before training, and the distribution of its success probabilities on the training prompts."""
    chances, _ = success(start.model, start.problems.train_prompts, start.problems.train_golds)
    tenths = np.histogram(chances, np.linspace(0, 1, 11))[0]
    parameters = sum(each.numel() for each in start.model.parameters())
    print(f"{parameters:,} parameters; values: mean {chances.mean():.3f}, by tenths {', '.join(map(str, tenths))}")


def run_once(variant: str, start: Start, learning_rate: float, steps: int, results: Path) -> None:
    """Run, and append the record to the results, unless they have one of the same variant, seed, rate and steps."""
    wanted = (variant, start.seed, learning_rate, steps)
    if any(
        wanted == tuple(line[key] for key in ("variant", "seed", "learning_rate", "steps")) for line in read(results)
    ):
        return
    record = train(variant, start, learning_rate, steps)
    with results.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
    change = ", ".join(
        f"{name} {record['evaluations'][0][name]:.3f} to {record['evaluations'][-1][name]:.3f}"
        for name in ("train", "held_out")
    )
    print(f"{variant:<24} seed {start.seed}  rate {learning_rate:g}  {record['seconds']:4.0f} s  {change}", flush=True)


def read(results: Path) -> list[Record]:
    """Return the records of all finished runs."""
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


if __name__ == "__main__":
    main()
