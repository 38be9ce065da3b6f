"""Draw the charts of a run from plain numbers, with matplotlib.

    svg = draw_histogram([13, 12, 3, 2, 0, 0, 0, 0, 0])          # prompts whose value is nearest to 0/8, 1/8, ..., 8/8
    write_histogram_png([13, 12, 3, 2, 0, 0, 0, 0, 0], run / "values.png")

Every chart but the PNG is an `<svg>` element to put into a page. Its text takes the page's font, and its colours are
CSS variables (`--chart-accent`, ...; `COLOURS` has the names and the default colours), so one drawing serves a light
and a dark page. The same numbers give the same bytes, and no two charts of one page share an id. Names
are drawn literally: nothing in them is read as mathematics or markup.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from spo_data.files import replace_whole
from spo_data.report.figure import (
    COLOURS,
    draw_across,
    fit_name,
    format_change,
    new_axes,
    new_figure,
    put_text,
    short_count,
    to_svg,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 520, 280
"""The size of an SVG in its own units, which are pixels if the page shows the chart at its natural size."""
DIGIT = 8.5
"""The width of the widest character."""


def draw_histogram(counts: Sequence[int]) -> str:
    """A histogram of values: `counts` are the n + 1 numbers of prompts with a value nearest to 0/n, 1/n, ..., n/n."""
    with new_figure(WIDTH, HEIGHT) as figure:
        _put_histogram(figure, counts)
        return to_svg(figure, "histogram", f"Prompts by value, to the nearest k/{len(counts) - 1}")


def write_histogram_png(histogram: Sequence[int], path: Path) -> None:
    """Write the same histogram as a PNG of 1200 x 500 pixels on white."""
    with new_figure(600, 250) as figure, replace_whole(path) as fresh:
        figure.set_facecolor("white")
        _put_histogram(figure, histogram, top=58)
        figure.text(14 / 600, 222 / 250, f"{sum(histogram):,} prompts by value", fontsize=14, fontweight="bold")
        figure.savefig(fresh, format="png", dpi=144, metadata={"Software": None})


def draw_sources(sources: Sequence[tuple[str, int, float | None, float | None, float | None]]) -> str:
    """One line for each data source: its name, number of prompts, mean value and bounds."""
    row = 27
    height = row * len(sources) + 58
    with new_figure(WIDTH, height) as figure:
        axes = new_axes(figure, left=236, right=62, bottom=42, top=16)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(sources) - 0.5, -0.5), yticks=[], xlabel="mean value and its bounds")
        axes.grid(axis="x")
        for y, (name, prompts, value, low, high) in enumerate(sources):
            if low is not None and high is not None:
                axes.plot([low, high], [y, y], color=COLOURS["band"], linewidth=7, solid_capstyle="round")
            if value is not None:
                axes.plot([value], [y], "o", color=COLOURS["accent"], markersize=8)
            columns = ((0, "left", fit_name(name, 23), "ink"), (222, "right", f"{prompts:,}", "muted"))
            shown = "none" if value is None else f"{value:.3f}"
            for x, side, text, colour in (*columns, (WIDTH, "right", shown, "ink")):
                put_text(axes, x / WIDTH, y, text, ha=side, color=COLOURS[colour], transform=draw_across(figure, axes))
        put_text(
            axes,
            222 / WIDTH,
            1 - 6 / height,
            "prompts",
            ha="right",
            color=COLOURS["muted"],
            transform=figure.transFigure,
        )
        put_text(axes, 1, 1 - 6 / height, "value", ha="right", color=COLOURS["muted"], transform=figure.transFigure)
        return to_svg(figure, "sources", "Mean value and bounds by data source")


def draw_verdicts(counts: Mapping[str, int], total: int) -> str:
    """Samples by verdict. A verdict without a colour in `COLOURS` is drawn as a failure."""
    row = 40
    with new_figure(WIDTH, row * len(counts) + 12) as figure:
        axes = new_axes(figure, left=136, right=112, bottom=6, top=6)
        largest = max(counts.values(), default=0) or 1
        axes.set(xlim=(0, largest), ylim=(len(counts) - 0.5, -0.5), xticks=[], yticks=[])
        axes.spines["bottom"].set_visible(False)
        for y, (name, count) in enumerate(counts.items()):
            axes.barh(y, count, height=0.6, color=COLOURS.get(name, COLOURS["failed"]))
            put_text(axes, 0, y, name.replace("_", " "), ha="left", transform=draw_across(figure, axes))
            share = f"{count:,} · {count / total:.1%}" if total else "0"
            put_text(axes, count + largest * 8 / 272, y, share, ha="left", color=COLOURS["ink"])
        return to_svg(figure, "verdicts", "Samples by verdict")


def draw_bounds(values: Sequence[tuple[float, float, float]]) -> str:
    """Value, lower and upper bound of the prompts in rising order; each point may be the mean over several prompts."""
    with new_figure(WIDTH, HEIGHT) as figure:
        axes = new_axes(figure)
        axes.set(xlim=(0, 100), ylim=(-0.02, 1.02), xlabel="% of prompts, hardest first", ylabel="value")
        axes.grid(axis="y")
        if values:
            share = [100 * place / len(values) for place in range(len(values) + 1)]
            value, low, high = ([*(row[k] for row in values), values[-1][k]] for k in range(3))
            axes.fill_between(share, low, high, step="post", color=COLOURS["band"], linewidth=0)
            axes.plot(share, value, drawstyle="steps-post", color=COLOURS["accent"], linewidth=2)
        return to_svg(figure, "bounds", "The value of every prompt, hardest first, between its bounds")


def draw_lengths(edges: Sequence[int], counts: Mapping[str, Sequence[int]], scores: Sequence[float | None]) -> str:
    """Samples by verdict in each bin of response tokens, and above them the bin's mean score, None if it has none.

    The bins are drawn equally wide, whatever their edges are.
    """
    with new_figure(WIDTH, 340) as figure:
        above, below = new_axes(figure, bottom=222, top=12), new_axes(figure, top=142)
        middles = [place + 0.5 for place in range(len(scores))]
        stacked = [0] * len(scores)
        for name, column in counts.items():
            below.bar(middles, column, 0.9, stacked, color=COLOURS.get(name, COLOURS["failed"]))
            stacked = [base + count for base, count in zip(stacked, column, strict=True)]
        below.set(xlim=(0, len(scores)), ylim=(0, 1.06 * max([1, *stacked])), xlabel="response tokens")
        points = [(x, score) for x, score in zip(middles, scores, strict=True) if score is not None]
        x, y = ([point[k] for point in points] for k in range(2))
        above.plot(x, y, "o-", color=COLOURS["accent"], markersize=5, linewidth=1.6, clip_on=False)
        above.set(xlim=(0, len(scores)), ylim=(0, 1), xticks=[], yticks=[0, 0.5, 1])
        labels = [short_count(edge) for edge in edges]
        ticks = range(0, len(edges), -(-round(DIGIT * max(map(len, labels)) * len(edges)) // (WIDTH - 72)))
        below.set_xticks(ticks, [labels[place] for place in ticks])
        whole_numbers(below.yaxis, 4)
        for axes, label in ((above, "mean score"), (below, "samples")):
            axes.grid(axis="y")
            axes.set_ylabel(label)
            axes.yaxis.set_label_coords(-48 / (WIDTH - 72), 0.5)
        return to_svg(figure, "lengths", "Response length against correctness")


def draw_throughput(edges: Sequence[float], rates: Sequence[float], calls: Sequence[float]) -> str:
    """Tokens per second in each bin of working time (edges in seconds), and when further calls began."""
    size, unit = next(
        (size, unit)
        for size, unit in ((3600, "hours"), (60, "minutes"), (1, "seconds"))
        if edges[-1] >= 2 * size or size == 1
    )
    with new_figure(WIDTH, HEIGHT) as figure:
        axes = new_axes(figure, left=72)
        scaled = [edge / size for edge in edges]
        heights = [*rates, rates[-1]]
        axes.fill_between(scaled, heights, step="post", color=COLOURS["band"], linewidth=0)
        axes.plot(scaled, heights, drawstyle="steps-post", color=COLOURS["accent"], linewidth=1.6)
        top = 1.15 * max(*rates, 1e-9)
        axes.set(xlim=(0, scaled[-1]), ylim=(0, top), xlabel=f"{unit} of sampling", ylabel="tokens/s")
        axes.grid(axis="y")
        for call in calls:
            axes.axvline(call / size, color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)))
        whole_numbers(axes.yaxis, 5)
        return to_svg(figure, "throughput", "Tokens per second over the working time")


def draw_comparison(points: Mapping[tuple[float, float], int], this: str, other: str) -> str:
    """A bubble for each pair of values, its area the number of prompts, over the line of no change."""
    with new_figure(WIDTH, 420) as figure:
        axes = new_axes(figure, left=58, right=22)
        axes.set(xlim=(-0.05, 1.05), ylim=(-0.05, 1.05), xlabel=f"value in {this}", ylabel=f"value in {other}")
        for label in (axes.xaxis.label, axes.yaxis.label):
            label.set_parse_math(False)
        axes.grid()
        axes.plot([0, 1], [0, 1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (3, 3)))
        largest = max(points.values(), default=1)
        x, y = ([pair[k] for pair in points] for k in range(2))
        areas = [12 + 700 * count / largest for count in points.values()]
        axes.scatter(x, y, areas, color=COLOURS["accent"], alpha=0.6, linewidths=0, clip_on=False)
        return to_svg(figure, "compared", f"Values in {this} against values in {other}")


def draw_shifts(centres: Sequence[float], counts: Sequence[int]) -> str:
    """The distribution of shifts: values that fell, stayed and rose in three colours."""
    with new_figure(WIDTH, 420) as figure:
        axes = new_axes(figure)
        width = 0.86 * (centres[1] - centres[0])
        colours = [COLOURS["wrong" if centre < 0 else "correct" if centre > 0 else "failed"] for centre in centres]
        axes.bar(centres, counts, width, color=colours)
        axes.set(xlabel="change of the value", ylabel="prompts", ylim=(0, 1.06 * max([1, *counts])))
        axes.grid(axis="y")
        axes.xaxis.set_major_formatter(lambda x, _: format_change(x))
        whole_numbers(axes.yaxis, 4)
        return to_svg(figure, "shifts", "Prompts by the change of their value")


def _put_histogram(figure: "Figure", counts: Sequence[int], top: float = 30) -> None:
    n, width = len(counts) - 1, 72 * figure.get_size_inches()[0]
    # Counts stand on their bars if the widest fits; otherwise an axis shows them.
    labelled = DIGIT * max(len(short_count(count)) for count in counts) < (width - 28) / (n + 1)
    axes = new_axes(figure, left=14 if labelled else 58, right=14 if labelled else 24, top=top)
    axes.bar(range(n + 1), counts, 0.82, color=COLOURS["accent"])
    axes.set(xlim=(-0.6, n + 0.6), ylim=(0, 1.02 * max([1, *counts])), xlabel=f"value, to the nearest k/{n}")
    ticks = range(0, n + 1, -(-n // 8))
    axes.set_xticks(ticks, [f"{k}/{n}" for k in ticks])
    if labelled:
        axes.set_yticks([])
        for k, count in enumerate(counts):
            colour = COLOURS["ink" if count else "muted"]
            axes.annotate(short_count(count), (k, count), (0, 4), textcoords="offset points", ha="center", color=colour)
    else:
        axes.grid(axis="y")
        axes.set_ylabel("prompts")
        whole_numbers(axes.yaxis, 4)
