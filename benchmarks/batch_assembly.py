"""Single samples against groups: how much faster a batch fills, and how much shorter its samples are.

    python benchmarks/batch_assembly.py                     # 10,000 draws, some seconds on one core
    python benchmarks/batch_assembly.py --images docs/images

The paper's simulation (SPO, arXiv 2509.13232, section on agentic training): 48 samples start together, and a batch is
24 of them. Singles keep the first 24 that finish. Groups are 6 of 8 and keep the first 3 that finish, and a group
finishes with its slowest member. Speedup is the groups' time divided by the singles' time, from the same 48 durations.
(If durations depend on the prompt, singles have 48 prompts and groups 6.) The paper shows one draw of it, 4.35.

The samples that finish first are short ones, so each part also prints the mean duration of the kept samples divided by
the mean of all. The second part drops no sample: 48 run at all times, and when a batch of 24 is taken, 24 new ones
start while the stragglers continue. `finished` takes the first 24 that finish, `drawn` the 24 that started first,
`groups` the first 3 groups of 8 that finish. Durations do not depend on the policy here. Pure numpy.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLES, KEPT, GROUP = 48, 24, 8
STREAM_STEPS, STREAM_RUNS = 100, 2000
STEPS_SHOWN = (1, 2, 3, 5, 10, 20, 50, 100)

Floats = npt.NDArray[np.float64]
Durations = Callable[[np.random.Generator, int, int], Floats]
"""(generator, draws, groups) to durations of the shape (draws, groups, GROUP)."""


def log_normal(sigma: float, shared: float = 0.0) -> Durations:
    """Return durations exp(sigma z); the share `shared` of z's variance is the prompt's, the same for a whole group."""

    def draw(generator: np.random.Generator, draws: int, groups: int) -> Floats:
        own = generator.standard_normal((draws, groups, GROUP))
        prompt = generator.standard_normal((draws, groups, 1)) if shared else 0.0
        return np.asarray(np.exp(sigma * (np.sqrt(1 - shared) * own + np.sqrt(shared) * prompt)))

    return draw


def pareto(index: float) -> Durations:
    """Return durations of at least 1 that are longer than x with probability x^-index."""
    return lambda generator, draws, groups: 1.0 + generator.pareto(index, (draws, groups, GROUP))


MAIN, BY_PROMPT = "log-normal, sigma 1", "log-normal, sigma 1, half of its variance the prompt's"
DURATIONS: dict[str, tuple[Durations, float]] = {
    MAIN: (log_normal(1.0), float(np.exp(0.5))),
    "log-normal, sigma 0.5": (log_normal(0.5), float(np.exp(0.125))),
    "log-normal, sigma 1.5": (log_normal(1.5), float(np.exp(1.125))),
    BY_PROMPT: (log_normal(1.0, 0.5), float(np.exp(0.5))),
    "Pareto, index 2": (pareto(2.0), 2.0),
}
"""Each with its exact mean."""


@dataclass(frozen=True, slots=True)
class Assembly:
    """Results of the first part: one number per draw."""

    singles_time: Floats
    groups_time: Floats
    singles_mean: Floats
    """Mean duration of the samples that singles keep."""
    groups_mean: Floats

    @property
    def speedup(self) -> Floats:
        return self.groups_time / self.singles_time


@dataclass(frozen=True, slots=True)
class Stream:
    """Results of the second part: one row per run and one column per step."""

    time: Floats
    """From the previous batch to this one."""
    mean: Floats
    """Mean duration of the batch's samples."""
    age: Floats
    """How many batches were taken between a sample's start and its own batch, averaged over the batch."""
    oldest: Floats


def assemble(singles: Floats, groups: Floats) -> Assembly:
    """Assemble both batches, half of each kept, from durations (draws, samples) and (draws, groups, members)."""
    kept = np.sort(singles, axis=1)[:, : singles.shape[1] // 2]
    ends = groups.max(axis=2)
    first = np.argsort(ends, axis=1)[:, : groups.shape[1] // 2]
    return Assembly(
        singles_time=kept[:, -1],
        groups_time=np.take_along_axis(ends, first, axis=1)[:, -1],
        singles_mean=kept.mean(axis=1),
        groups_mean=np.take_along_axis(groups.mean(axis=2), first, axis=1).mean(axis=1),
    )


def stream(start: Callable[[int], Floats], out: int, steps: int, order: str) -> Stream:
    """Take batches of half of the `out` running groups, and drop none; a single is a group of one member.

    `start(n)` returns the durations of n new groups, (runs, n, members). A group counts as running until its batch is
    taken.
    """
    durations = start(out)
    left, born = durations.max(axis=2), np.zeros(durations.shape[:2])
    columns: list[tuple[Floats, ...]] = []
    for step in range(steps):
        ranking = born if order == "drawn" else left
        ranked = np.argsort(ranking, axis=1, kind="stable")
        taken, stay = ranked[:, : out // 2], ranked[:, out // 2 :]
        wait = np.take_along_axis(left, taken, axis=1).max(axis=1).clip(min=0)
        age = step - np.take_along_axis(born, taken, axis=1)
        mean = np.take_along_axis(durations.mean(axis=2), taken, axis=1).mean(axis=1)
        columns.append((wait, mean, age.mean(axis=1), age.max(axis=1)))
        new = start(out // 2)
        durations = np.concatenate([np.take_along_axis(durations, stay[..., None], axis=1), new], axis=1)
        left = np.concatenate([np.take_along_axis(left, stay, axis=1) - wait[:, None], new.max(axis=2)], axis=1)
        born = np.concatenate([np.take_along_axis(born, stay, axis=1), np.full(new.shape[:2], step + 1.0)], axis=1)
    return Stream(*(np.stack(column, axis=1) for column in zip(*columns, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--images", type=Path, help="folder for batch-assembly.png")
    arguments = parser.parse_args()
    print(f"{SAMPLES} start together, {KEPT} are kept, the others dropped; {arguments.draws:,} draws")
    print(f"{'':<56}{'speedup':^35}  kept mean / true mean")
    print(f"{'durations':<56}{'mean':>7}{'median':>8}{'5 %':>7}{'95 %':>7}{'>=4.35':>8}{'singles':>10}{'groups':>9}")
    assemblies = {name: print_assembly(name, arguments.draws) for name in DURATIONS}
    streams = {order: run_stream(order) for order in ("finished", "drawn", "groups")}
    print_streams(streams)
    if arguments.images:
        draw_plot(assemblies[MAIN], streams, arguments.images / "batch-assembly.png")


def print_assembly(name: str, draws: int) -> Assembly:
    """Print one line of the first table; returns its numbers."""
    durations, true_mean = DURATIONS[name]
    generator = np.random.default_rng(0)
    groups = durations(generator, draws, SAMPLES // GROUP)
    singles = durations(generator, draws, SAMPLES)[:, :, 0] if name == BY_PROMPT else groups.reshape(draws, -1)
    found = assemble(singles, groups)
    low, median, high = np.percentile(found.speedup, [5, 50, 95])
    print(
        f"{name:<56}{found.speedup.mean():7.2f}{median:8.2f}{low:7.2f}{high:7.2f}{np.mean(found.speedup >= 4.35):8.1%}"
        f"{found.singles_mean.mean() / true_mean:10.2f}{found.groups_mean.mean() / true_mean:9.2f}"
    )
    return found


def run_stream(order: str) -> Stream:
    """Run a stream with the main durations many times."""
    generator, (durations, _) = np.random.default_rng(1), DURATIONS[MAIN]

    def start(n: int) -> Floats:
        if order == "groups":
            return durations(generator, STREAM_RUNS, n)
        return durations(generator, STREAM_RUNS, -(-n // GROUP)).reshape(STREAM_RUNS, -1, 1)[:, :n]

    return stream(start, SAMPLES // GROUP if order == "groups" else SAMPLES, STREAM_STEPS, order)


def print_streams(streams: dict[str, Stream]) -> None:
    """Print the mean duration by step, and averages over the second half of the steps."""
    true_mean = DURATIONS[MAIN][1]
    print(f"\nnobody is dropped: {SAMPLES} out at all times, {MAIN}, {STREAM_RUNS:,} runs of {STREAM_STEPS} batches")
    print(f"{'mean duration of batch / true mean':<36}" + "".join(f"{f'step {step}':>10}" for step in STEPS_SHOWN))
    for order, found in streams.items():
        means = found.mean.mean(axis=0) / true_mean
        print(f"{order:<36}" + "".join(f"{means[step - 1]:10.3f}" for step in STEPS_SHOWN))
    half = STREAM_STEPS // 2
    print(
        f"\n{f'steps {half + 1} to {STREAM_STEPS}':<16}{'time a batch':>14}{'mean / true':>13}{'age':>7}{'oldest':>9}"
    )
    for order, found in streams.items():
        mean, age = found.mean[:, half:].mean() / true_mean, found.age[:, half:].mean()
        time, oldest = found.time[:, half:].mean(), found.oldest[:, half:].mean()
        print(f"{order:<16}{time:14.3f}{mean:13.3f}{age:7.2f}{oldest:9.2f}")


def draw_plot(shown: Assembly, streams: dict[str, Stream], path: Path) -> None:
    """Plot the speedups of the main durations, and the streams' mean durations."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=90, layout="constrained")
    left.hist(shown.speedup, bins=np.linspace(1, 9, 65), color="#4477aa")
    left.axvline(4.35, color="#cc3311", label="the paper's draw, 4.35")
    left.axvline(float(np.median(shown.speedup)), color="black", linestyle="--", label="median")
    left.set(xlabel="groups' time / singles' time", ylabel=f"draws of {len(shown.speedup):,}", title=MAIN)
    left.legend(frameon=False)
    steps = np.arange(1, STREAM_STEPS + 1)
    for (order, found), color in zip(streams.items(), ("#4477aa", "#228833", "#ee7733"), strict=True):
        right.plot(steps, found.mean.mean(axis=0) / DURATIONS[MAIN][1], color=color, label=order)
    right.axhline(1, color="black", linewidth=0.7)
    right.set(xscale="log", xlabel="batch", ylabel="mean duration / true mean", title="nobody dropped")
    right.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})


if __name__ == "__main__":
    main()
