"""Draw a chart: a matplotlib figure in our colours, saved as SVG.

    with new_figure(520, 280) as drawing:
        plot = new_axes(drawing, left=72)
        plot.bar([0, 1], [3, 4], color=COLOURS["accent"])
        element = to_svg(drawing, "bars", "What the chart shows")

matplotlib's settings for the process stay as they are, and it is imported only when a chart is drawn.
"""

import io
import re
import warnings
from contextlib import contextmanager
from html import escape
from typing import TYPE_CHECKING, Any
from unicodedata import east_asian_width

from spo_data.text import excerpt

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure
    from matplotlib.transforms import Transform

COLOURS = {
    "ink": "#1b1f27",
    "muted": "#5f6875",
    "line": "#e1e5ea",
    "accent": "#3459d3",
    "band": "#b9c7f4",
    "correct": "#1d8a63",
    "wrong": "#d2505f",
    "no_answer": "#dd9a2b",
    "truncated": "#7b6cc0",
    "failed": "#8b929d",
}
_VARIABLES = {colour: f"var(--chart-{name.replace('_', '-')}, {colour})" for name, colour in COLOURS.items()}
"""The page's variable for each colour, with the colour as its default."""


@contextmanager
def new_figure(width: float, height: float) -> "Iterator[Figure]":
    """Make a figure of this size, in units of 1/72 inch; the process's settings stay as they are."""
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": "spo-data",
        "font.family": ["DejaVu Sans"],
        "font.size": 12,
        "text.color": COLOURS["ink"],
        "axes.labelsize": 12,
        "axes.labelcolor": COLOURS["muted"],
        "axes.edgecolor": COLOURS["line"],
        "axes.facecolor": "none",
        "axes.axisbelow": True,
        "axes.spines.left": False,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.unicode_minus": True,
        "grid.color": COLOURS["line"],
        "grid.linewidth": 1,
        "xtick.labelcolor": COLOURS["muted"],
        "ytick.labelcolor": COLOURS["muted"],
        "xtick.bottom": False,
        "ytick.left": False,
    }
    with mpl.rc_context(settings), warnings.catch_warnings():
        # Our font, which only measures the text, lacks many scripts; the page draws it with a font of its own.
        warnings.filterwarnings("ignore", message=r"Glyph .* missing from")
        figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor="none")
        FigureCanvasAgg(figure)
        yield figure


def new_axes(figure: "Figure", left: float = 58, right: float = 14, bottom: float = 46, top: float = 14) -> "Axes":
    """Make axes with these margins, which hold their labels."""
    width, height = (72 * inches for inches in figure.get_size_inches())
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (bottom + top) / height)
    return figure.add_axes(box)


def put_text(axes: "Axes", x: float, y: float, text: str, **style: Any) -> None:
    """Put text at a place, vertically centred and not parsed as mathematics."""
    axes.text(x, y, text, va="center", parse_math=False, **style)


def draw_across(figure: "Figure", axes: "Axes") -> "Transform":
    """A transform: horizontally a share of the figure, vertically the axes' numbers."""
    from matplotlib.transforms import blended_transform_factory

    return blended_transform_factory(figure.transFigure, axes.transData)


def whole_numbers(axis: "Axis", bins: int) -> None:
    """Label an axis with whole numbers, at most `bins` + 1."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(bins, integer=True, min_n_ticks=1))
    axis.set_major_formatter(lambda x, _: short_count(round(x)))


def short_count(count: int) -> str:
    """A count with thousands separators, in at most six characters."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**5, "k")):
        if count >= size:
            return f"{count / min(size, 10**3 if unit == 'k' else size):.4g}{unit}"
    return f"{count:,}"


def format_change(x: float) -> str:
    """A change with its sign."""
    return "0" if abs(x) < 1e-9 else f"{x:+.2g}".replace("-", "\N{MINUS SIGN}")


def fit_name(name: str, cells: int) -> str:
    """A name cut to a width in cells; Chinese, Japanese and Korean characters take two."""
    flat = excerpt("".join(c if c.isprintable() else " " for c in name), cells)
    while sum(2 if east_asian_width(c) in "WF" else 1 for c in flat) > cells:
        flat = flat[:-2] + "…"
    return flat


def to_svg(figure: "Figure", name: str, label: str) -> str:
    """The figure as an element for a page: its ids begin with `name`, and the page sets its colours and font."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    drawn = out.getvalue()
    # Without the prolog, and without a style sheet that would apply to the whole page.
    content = drawn[drawn.index("</defs>") + len("</defs>") :]
    width, height = (72 * inches for inches in figure.get_size_inches())
    head = f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{escape(label)}">'
    # Only within tags: the text between them may be a user's.
    return head + re.sub(r"<[^>]*>", lambda tag: _adapt_tag(tag[0], name), content).strip() + "\n"


def _adapt_tag(tag: str, name: str) -> str:
    tag = re.sub(r'( id="|url\(#|href="#)', rf"\1{name}-", tag).replace("xlink:href", "href")
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag).replace("\n", "")
    return re.sub(r"#[0-9a-f]{6}\b", lambda colour: _VARIABLES.get(colour[0], colour[0]), tag)
