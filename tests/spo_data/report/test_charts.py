"""The charts: what is drawn, that it is text and nothing else, and that the same numbers give the same bytes."""

import re
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from spo_data.report import charts
from spo_data.report.figure import COLOURS

HOSTILE = [
    "$\\frac{1}{2}$",
    "</text><script>alert(1)</script>",
    "a & b \"c\" 'd'",
    "数学题库",
    "\u202eevil",
    'style="fill: #3459d3" id="x"',
    "x" * 500,
    "",
]


def drawings() -> dict[str, str]:
    return {
        "histogram": charts.draw_histogram([13, 12, 3, 2, 0, 0, 0, 0, 0]),
        "sources": charts.draw_sources(
            [("a", 5, 0.5, 0.25, 0.75), ("b", 1, None, 0.0, 1.0), ("c", 1, None, None, None)]
        ),
        "verdicts": charts.draw_verdicts({"correct": 3, "truncated": 0, "grader_timeout": 1}, 4),
        "bounds": charts.draw_bounds([(0.0, 0.0, 0.5), (0.5, 0.25, 0.75)]),
        "lengths": charts.draw_lengths([0, 10, 15], {"correct": [1, 2], "failed": [0, 1]}, [1.0, None]),
        "throughput": charts.draw_throughput([0.0, 60.0, 120.0], [100.0, 50.0], [60.0]),
        "compared": charts.draw_comparison({(0.0, 0.5): 3, (1.0, 1.0): 1}, "this run", "the other run"),
        "shifts": charts.draw_shifts([-0.5, 0.0, 0.5], [1, 2, 3]),
    }


def texts(svg: str) -> list[str]:
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg).iter("text")]


def boxes(svg: str, colour: str) -> Iterator[tuple[float, float]]:
    """Width and height of each shape that is filled with `colour`."""
    for path in ElementTree.fromstring(svg).iter("path"):
        if f"fill: var(--chart-{colour}" in path.get("style", ""):
            points = re.findall(r"(-?[\d.]+) (-?[\d.]+)", path.get("d", ""))
            x, y = ([float(point[k]) for point in points] for k in range(2))
            yield max(x) - min(x), max(y) - min(y)


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return drawings()


def test_the_same_numbers_give_the_same_elements(drawn: dict[str, str]) -> None:
    assert drawings() == drawn


def test_a_chart_is_one_element_that_says_what_it_is_and_not_when_it_was_made(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        root = ElementTree.fromstring(svg)
        assert (root.tag, root.get("class"), root.get("role")) == ("svg", "chart", "img")
        assert root.get("aria-label")
        assert "<?xml" not in svg
        assert "<style" not in svg, "it would be for the whole page"
        assert not re.search(r"\d{4}-\d\d-\d\d", svg)


def test_no_two_charts_share_an_id_and_each_finds_its_own(drawn: dict[str, str]) -> None:
    ids = [found for svg in drawn.values() for found in re.findall(r' id="([^"]+)"', svg)]
    assert len(ids) == len(set(ids)) > 50
    for name, svg in drawn.items():
        used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
        assert used <= set(re.findall(r' id="([^"]+)"', svg)), name
    assert any("url(#" in svg for svg in drawn.values())


def test_colours_and_fonts_are_the_page_s(drawn: dict[str, str]) -> None:
    for name, svg in drawn.items():
        assert "font-family" not in svg
        bare = re.sub(r"var\(--chart-[a-z-]+, #[0-9a-f]{6}\)", "", svg)
        assert not re.findall(r"(?:fill|stroke): #[0-9a-f]+", bare), name
        assert set(re.findall(r"var\(--chart-([a-z-]+)", svg)) <= {colour.replace("_", "-") for colour in COLOURS}


def test_the_histogram_s_bars_are_as_high_as_their_counts() -> None:
    svg = charts.draw_histogram([40, 20, 10, 0, 5])
    heights = [height for _, height in boxes(svg, "accent")]
    assert [round(height / heights[-1]) for height in heights] == [8, 4, 2, 0, 1]
    assert {"40", "20", "10", "0", "5", "0/4", "1/4", "4/4"} <= set(texts(svg))


@pytest.mark.parametrize("n", [1, 4, 8, 16, 64, 256])
def test_a_histogram_of_any_n_has_few_labels_the_first_and_its_counts_or_an_axis(n: int) -> None:
    svg = charts.draw_histogram([1_234_567] * (n + 1))
    labels = [text for text in texts(svg) if text.endswith(f"/{n}") and text[0].isdigit()]
    assert labels[0] == f"0/{n}"
    assert len(labels) <= 9
    assert (texts(svg).count("1.235M") == n + 1) == (n <= 8)
    assert ("prompts" in texts(svg)) == (n > 8)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_data_source_s_name_is_drawn_as_it_is(name: str) -> None:
    svg = charts.draw_sources([(name, 3, 0.5, 0.5, 0.5), ("plain", 2, 0.5, 0.5, 0.5)])
    shown = [text for text in texts(svg) if text not in ("plain", "prompts", "value") and not text[:1].isdigit()]
    if len(name) <= 20 and name.isprintable() and name:
        assert name in shown
    assert all(len(text) <= 30 for text in shown)
    assert "<script" not in svg


def test_a_control_character_in_a_name_is_not_drawn() -> None:
    svg = charts.draw_sources([("a\0b\x1b\ud800", 3, 0.5, 0.5, 0.5)])
    svg.encode()
    assert not re.search("[\0\x1b]", svg)


def test_verdicts_have_their_counts_and_shares() -> None:
    svg = charts.draw_verdicts({"correct": 3, "no_answer": 1, "grader_timeout": 0}, 4)
    assert texts(svg) == ["correct", "3 · 75.0%", "no answer", "1 · 25.0%", "grader timeout", "0 · 0.0%"]
    ((long, _),), ((short, _),) = boxes(svg, "correct"), boxes(svg, "no-answer")
    assert long / short == pytest.approx(3, rel=0.01)


def test_length_bins_are_stacked_to_their_sum() -> None:
    svg = charts.draw_lengths([0, 100, 150], {"correct": [30, 0], "wrong": [10, 40]}, [0.75, 0.0])
    ((_, correct), _), ((_, first), (_, second)) = boxes(svg, "correct"), boxes(svg, "wrong")
    assert correct / first == pytest.approx(3, rel=0.01)
    assert second / first == pytest.approx(4, rel=0.01)
    assert {"0", "100", "150", "mean score", "samples"} <= set(texts(svg))


@pytest.mark.parametrize(
    ("seconds", "unit"), [(30.0, "seconds"), (119.0, "seconds"), (121.0, "minutes"), (7201.0, "hours")]
)
def test_working_time_is_in_a_unit_that_one_can_read(seconds: float, unit: str) -> None:
    svg = charts.draw_throughput([0.0, seconds], [10.0], [])
    assert f"{unit} of sampling" in texts(svg)


def test_charts_of_nothing_are_drawn_too() -> None:
    for svg in (
        charts.draw_histogram([0] * 9),
        charts.draw_bounds([]),
        charts.draw_lengths([0, 1], {}, [None]),
        charts.draw_verdicts({"correct": 0}, 0),
        charts.draw_throughput([0.0, 1.0], [0.0], []),
    ):
        ElementTree.fromstring(svg)


def chunks(png: bytes) -> dict[bytes, bytes]:
    found, place = {}, 8
    while place < len(png):
        (size,) = struct.unpack(">I", png[place : place + 4])
        found[png[place + 4 : place + 8]] = png[place + 8 : place + 8 + size]
        place += 12 + size
    return found


def test_the_png_is_1200_by_500_white_says_nothing_of_who_wrote_it_and_is_the_same_every_time(tmp_path: Path) -> None:
    from matplotlib.image import imread

    counts = [5321, 1200, 830, 2000, 1011, 900, 1100, 2000, 12345]
    for name in ("a.png", "b.png"):
        charts.write_histogram_png(counts, tmp_path / name)
    first = (tmp_path / "a.png").read_bytes()
    assert first == (tmp_path / "b.png").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "b.png"}
    found = chunks(first)
    assert set(found) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}
    assert struct.unpack(">II", found[b"IHDR"][:8]) == (1200, 500)
    pixels = imread(tmp_path / "a.png")
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1], :3] == 1).all()
    blue = [int(COLOURS["accent"][k : k + 2], 16) / 255 for k in (1, 3, 5)]
    assert 0.05 < (abs(pixels[:, :, :3] - blue).max(axis=2) < 0.01).mean() < 0.5


def test_drawing_changes_no_setting_of_the_process() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    drawings()
    assert dict(mpl.rcParams) == before


def test_matplotlib_is_imported_when_something_is_drawn_and_pyplot_never() -> None:
    program = (
        "import sys, spo_data.report.charts as charts\n"
        "print('matplotlib' in sys.modules)\n"
        "charts.draw_histogram([1, 2])\n"
        "print('matplotlib' in sys.modules, 'matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "True", "False"]
