"""Tables and plots of benchmarks/learning.py from the records of all finished runs.

    print_tables(records)
    draw_plots(records, folder)

An interval is the mean over seeds +/- the half width of its 95 % t-interval. Differences are paired by seed, since all
variants of a seed start from the same estimate. Accuracy is the exact success probability at temperature 1 unless it is
called greedy.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Record = dict[str, Any]
Floats = npt.NDArray[np.float64]

T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365, 9: 2.306, 10: 2.262}
"""Two-sided 95 % quantile of Student's t, by number of seeds."""
ACCURACIES = ("train", "train_greedy", "held_out", "held_out_greedy")
METHODS = ("spo", "grpo", "no-baseline")
WITHOUT_ESTIMATE, UNIFORM, DRAWS_ONLY = "spo, no offline values", "spo, uniform draws", "spo, draws only"
DIFFERENCES = ((UNIFORM, "no-baseline"), (DRAWS_ONLY, "no-baseline"), (WITHOUT_ESTIMATE, "grpo"))
"""The effect of values alone, the effect of draws alone, and SPO against GRPO with every sample counted."""
COLORS = {"spo": "#4477aa", "grpo": "#ee7733", "no-baseline": "#777777", UNIFORM: "#66ccee"}
WINDOW = 20
"""Steps at either end of a run that are averaged, and the window of smoothed curves."""


def print_tables(records: list[Record]) -> None:
    """Print every table of docs/learning.md."""
    runs = by_variant(records)
    if not runs:
        print("no run is finished")
        return
    print_accuracy(runs)
    print_by_samples(runs)
    print_advantages(runs)
    print_ablations(runs)


def print_tuning(records: list[Record]) -> None:
    """Print the accuracy at the end, by method and learning rate."""
    print(f"\n{'one seed, not reported':<24}{'steps':>6}{'rate':>9}{'train':>9}{'held-out':>10}")
    for record in sorted(records, key=lambda each: (each["steps"], each["variant"], each["learning_rate"])):
        last, run = (
            record["evaluations"][-1],
            f"{record['variant']:<24}{record['steps']:6}{record['learning_rate']:>9g}",
        )
        print(f"{run}{last['train']:9.3f}{last['held_out']:10.3f}")


def by_variant(records: list[Record]) -> dict[str, dict[int, Record]]:
    """Return the records by variant and seed."""
    runs: dict[str, dict[int, Record]] = defaultdict(dict)
    for record in records:
        runs[record["variant"]][record["seed"]] = record
    return dict(runs)


def interval(numbers: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return the mean over the first axis, the seeds, and the half width of its 95 % t-interval; NaN for one seed."""
    seeds = np.asarray(numbers, np.float64)
    n = len(seeds)
    if n < 2:
        return seeds.mean(0), np.full(seeds.shape[1:], np.nan)
    return seeds.mean(0), T_95[n] * seeds.std(0, ddof=1) / np.sqrt(n)


def evaluated(runs: dict[int, Record], name: str) -> Floats:
    """Return one row per seed and one column per evaluation."""
    return np.array([[point[name] for point in record["evaluations"]] for record in runs.values()])


def sampled(runs: dict[int, Record]) -> Floats:
    """Return the training samples at each evaluation, which are the same for all seeds."""
    samples: Floats = evaluated(runs, "samples")[0]
    return samples


def by_step(runs: dict[int, Record], name: str) -> Floats:
    """Return one row per seed and one column per step."""
    return np.array([record["by_step"][name] for record in runs.values()])


def print_accuracy(runs: dict[str, dict[int, Record]]) -> None:
    """Print accuracy before and after training, and the paired differences of the methods."""
    some = next(iter(next(iter(runs.values())).values()))
    print(f"{some['steps']} steps of {some['batch']} samples; SPO's estimate took {some['estimate_samples']:,} samples")
    print(f"\n{'accuracy at the end':<34}{'seeds':>6}" + "".join(f"{name:>18}" for name in ACCURACIES))
    before = [f"{evaluated(next(iter(runs.values())), name)[:, 0].mean():.3f}" for name in ACCURACIES]
    print(f"{'before':<40}" + "".join(f"{each:>18}" for each in before))
    present = [method for method in METHODS if method in runs]
    for method in present:
        cells = [_format_cell(evaluated(runs[method], name)[:, -1]) for name in ACCURACIES]
        print(f"{method:<38}{len(runs[method]):2}" + "".join(f"{cell:>18}" for cell in cells))
    for other in present[1:] if present[:1] == ["spo"] else []:
        print_difference(runs, "spo", other)


def print_difference(runs: dict[str, dict[int, Record]], one: str, other: str) -> None:
    """Print the differences of the accuracies at the end, over the seeds that both have."""
    seeds = sorted(set(runs[one]) & set(runs[other]))
    if not seeds:
        return
    pair = [{seed: runs[variant][seed] for seed in seeds} for variant in (one, other)]
    cells = [
        _format_cell(evaluated(pair[0], name)[:, -1] - evaluated(pair[1], name)[:, -1], "+") for name in ACCURACIES
    ]
    print(f"{f'{one} - {other}':<38}{len(seeds):2}" + "".join(f"{cell:>18}" for cell in cells))


def print_by_samples(runs: dict[str, dict[int, Record]]) -> None:
    """Print accuracy by samples; SPO's a second time with the estimate's samples counted."""
    for name in ("train", "held_out"):
        shown = {method: runs[method] for method in (*METHODS, WITHOUT_ESTIMATE) if method in runs}
        at = sampled(next(iter(shown.values())))
        print(f"\n{f'{name} by samples':<24}" + "".join(f"{f'{samples:,.0f}':>16}" for samples in at))
        for method, found in shown.items():
            print(f"{method:<24}" + "".join(f"{_format_cell(column):>16}" for column in evaluated(found, name).T))
        if "spo" in shown:
            late = np.array(
                [np.interp(at, *count_estimate(found, row)) for found, row in _pair_rows(shown["spo"], name)]
            )
            print(f"{'spo, estimate counted':<24}" + "".join(f"{_format_cell(column):>16}" for column in late.T))


def count_estimate(record: Record, accuracy: Floats) -> tuple[Floats, Floats]:
    """Return the samples at each evaluation, including those of the estimate, and the accuracies."""
    samples = np.array([point["samples"] for point in record["evaluations"]])
    return samples + record["estimate_samples"], accuracy


def print_advantages(runs: dict[str, dict[int, Record]]) -> None:
    """Print the variance of r - v and the share of samples that the baseline predicted, in the first and last steps."""
    names = ("variance ratio", "|r - v| <= 1e-4", "|r - v| <= 0.02", "reward")
    print(f"\n{f'first, last {WINDOW} steps':<24}" + "".join(f"{name:>18}" for name in names))
    for method in (method for method in (*METHODS, UNIFORM) if method in runs):
        curves = [variance_ratio(runs[method]), *(by_step(runs[method], f"within_{near}") for near in ("1e-4", "0.02"))]
        curves.append(by_step(runs[method], "reward"))
        cells = [f"{curve[:, :WINDOW].mean():.3f}, {curve[:, -WINDOW:].mean():.3f}" for curve in curves]
        print(f"{method:<24}" + "".join(f"{cell:>18}" for cell in cells))


def variance_ratio(runs: dict[int, Record]) -> Floats:
    """Return the variance of reward minus baseline divided by the reward's variance, for each step."""
    reward = by_step(runs, "reward_variance")
    return np.asarray(by_step(runs, "advantage_variance") / np.where(reward > 0, reward, np.nan))


def print_ablations(runs: dict[str, dict[int, Record]]) -> None:
    """Print each variant of SPO: accuracy, difference from SPO over the same seeds, and the error of its values."""
    variants = [variant for variant in runs if variant.startswith("spo")]
    if not variants:
        return
    print(f"\n{'variants of spo':<24}{'seeds':>6}{'train':>18}{'held_out':>18}{'rho':>8}{'D':>8}{'ratio':>8}")
    for variant in variants:
        found = runs[variant]
        cells = [_format_cell(evaluated(found, name)[:, -1]) for name in ("train", "held_out")]
        means = [by_step(found, "rho").mean(), by_step(found, "divergence").mean(), np.nanmean(variance_ratio(found))]
        print(
            f"{variant:<24}{len(found):6}"
            + "".join(f"{cell:>18}" for cell in cells)
            + "".join(f"{mean:8.3f}" for mean in means)
        )
    print(f"\n{'error of the values':<24}" + "".join(f"{samples:>9,.0f}" for samples in sampled(runs[variants[0]])))
    for variant in variants:
        print(f"{variant:<24}" + "".join(f"{error:9.3f}" for error in evaluated(runs[variant], "value_rmse").mean(0)))
    ends = ", ".join(
        f"{name} {curve[:, :WINDOW].mean():.3f} and {curve[:, -WINDOW:].mean():.3f}"
        for name in ("divergence", "rho", "rho_clipped_low", "rho_clipped_high")
        for curve in [by_step(runs[variants[0]], name)]
    )
    print(f"{variants[0]}, first and last {WINDOW} steps: {ends}")
    print(f"\n{'differences':<34}{'seeds':>6}" + "".join(f"{name:>18}" for name in ACCURACIES))
    for pair in (*((variant, "spo") for variant in variants[1:]), *DIFFERENCES):
        if set(pair) <= set(runs):
            print_difference(runs, *pair)


def draw_plots(records: list[Record], folder: Path) -> None:
    """Write learning-accuracy.png, learning-advantages.png and learning-ablations.png."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    runs = by_variant(records)
    methods = {method: runs[method] for method in METHODS if method in runs}
    folder.mkdir(parents=True, exist_ok=True)

    def panels(titles: tuple[str, str]) -> tuple[Any, Any]:
        figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), dpi=90, layout="constrained")
        for axis, title in zip(axes, titles, strict=True):
            axis.set(title=title)
            axis.grid(alpha=0.3)
        return figure, axes

    def save(figure: Any, axes: Any, name: str, xlabel: str, legend: int = 0) -> None:
        for axis in axes:
            axis.set(xlabel=xlabel)
        axes[legend].legend(frameon=False, fontsize=8)
        figure.savefig(folder / f"learning-{name}.png", metadata={"Software": None})
        plt.close(figure)

    figure, axes = panels(("training prompts", "held-out prompts"))
    for axis, name in zip(axes, ("train", "held_out"), strict=True):
        for method, found in methods.items():
            _draw_band(axis, sampled(found), evaluated(found, name), COLORS[method], method)
        if "spo" in methods:
            record = next(iter(methods["spo"].values()))
            axis.plot(*count_estimate(record, evaluated(methods["spo"], name).mean(0)), ":", color=COLORS["spo"])
    axes[0].plot([], [], ":", color=COLORS["spo"], label="spo, estimate counted")
    axes[0].set(ylabel="accuracy at temperature 1")
    save(figure, axes, "accuracy", "samples")

    figure, axes = panels(("share of samples with |r - v| <= 0.02", "variance of r - v / variance of r"))
    # Without a baseline r - v is r: there is nothing to show.
    for method in (each for each in ("spo", "grpo", UNIFORM) if each in runs):
        for axis, curve in zip(axes, (by_step(runs[method], "within_0.02"), variance_ratio(runs[method])), strict=True):
            smooth = np.array([np.convolve(row, np.ones(WINDOW) / WINDOW, "valid") for row in curve])
            _draw_band(axis, np.arange(smooth.shape[1], dtype=np.float64) + WINDOW / 2, smooth, COLORS[method], method)
    save(figure, axes, "advantages", f"step (mean of {WINDOW})")

    figure, axes = panels(("accuracy less spo's, training prompts", "error of the values (rmse)"))
    for k, variant in enumerate(variant for variant in runs if variant.startswith("spo")):
        seeds = sorted(set(runs[variant]) & set(runs["spo"]))
        same = [{seed: runs[each][seed] for seed in seeds} for each in (variant, "spo")]
        differences = evaluated(same[0], "train") - evaluated(same[1], "train")
        axes[0].plot(sampled(same[0]), differences.mean(0), color=f"C{k}")
        axes[1].plot(sampled(same[0]), evaluated(same[0], "value_rmse").mean(0), color=f"C{k}", label=variant)
    save(figure, axes, "ablations", "samples", legend=1)


def _pair_rows(runs: dict[int, Record], name: str) -> list[tuple[Record, Floats]]:
    return list(zip(runs.values(), evaluated(runs, name), strict=True))


def _format_cell(numbers: Floats, sign: str = "") -> str:
    mean, half = interval(numbers)
    return f"{float(mean):{sign}.3f} ±{float(half):.3f}"


def _draw_band(axis: Any, x: Floats, curves: Floats, color: str, label: str) -> None:
    mean, half = interval(curves)
    axis.plot(x, mean, color=color, label=label)
    axis.fill_between(x, mean - half, mean + half, color=color, alpha=0.2, linewidth=0)
