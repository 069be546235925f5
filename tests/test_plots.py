"""Promises of `common.bench.plots`: the same bytes every time, readable names, a source under every figure."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from common.bench import plots
from common.errors import UserError

LENGTHS = [64, 128, 256, 512, 1024]
DRAW = """
import sys
from common.bench import plots
figure, axes = plots.new_figure("A title", "tokens", "ms")
plots.line(axes, [1, 2, 4], [1.0, 2.0, 4.0], "one")
plots.name_lines(axes)
plots.caption(figure, "a machine", "s03")
for path in sys.argv[1:]:
    plots.save(figure, path)
"""


def drawing(ends: list[float]) -> tuple[Figure, list]:
    """A figure whose lines end at these heights, and the texts that name them."""
    figure, axes = plots.new_figure("A title", "tokens", "ms")
    for index, end in enumerate(ends):
        plots.line(axes, LENGTHS, [1.0, 2.0, 3.0, 4.0, end], f"line {index}")
    plots.powers(axes, LENGTHS)
    axes.set_ylim(0, 10)
    plots.name_lines(axes)
    plots.caption(figure, "AMD EPYC, 2 cores", "s03")
    return figure, list(axes.texts)


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_two_runs_write_the_same_bytes(ending, tmp_path):
    paths = [tmp_path / f"{run}.{ending}" for run in "ab"]
    for path in paths:
        subprocess.run([sys.executable, "-c", DRAW, str(path)], check=True, timeout=120)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert not re.search(rb"matplotlib v|Matplotlib v|<dc:date>|Software", first)


def test_a_png_is_sharp_at_seven_hundred_pixels(tmp_path):
    figure, _ = drawing([5.0])
    path = plots.save(figure, tmp_path / "new" / "folder" / "a.png")
    assert imread(path).shape[1] == 1400


def test_nothing_is_cut_off_at_the_edges(tmp_path):
    figure, _ = drawing([5.0, 5.1, 9.9])
    image = imread(plots.save(figure, tmp_path / "a.png"))[:, :, :3]
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert (edge == 1).all()


@settings(deadline=None)
@given(st.lists(st.floats(0, 10), min_size=1, max_size=7))
def test_names_of_lines_never_overlap_and_stay_inside(ends):
    _, texts = drawing(ends)
    places = sorted(text.get_position()[1] for text in texts)
    assert all(high - low >= 0.064 for low, high in itertools.pairwise(places))
    assert places[-1] <= 1.001
    order = sorted(range(len(ends)), key=lambda index: (ends[index], index))
    named = sorted(texts, key=lambda text: text.get_position()[1])
    assert [ends[int(text.get_text().split()[1])] for text in named] == [ends[index] for index in order]


def test_a_name_has_its_lines_colour_and_lonely_ones_stay_beside_their_end():
    figure, texts = drawing([2.0, 8.0])
    lines = figure.axes[0].get_lines()
    assert [text.get_color() for text in texts] == [line.get_color() for line in lines]
    assert [text.get_position()[1] for text in texts] == pytest.approx([0.2, 0.8])


def test_bounds_are_dashed_and_take_no_colour_from_the_measured():
    _, axes = plots.new_figure("A title")
    plots.line(axes, [1, 2], [1, 2], "bound", dashed=True)
    plots.line(axes, [1, 2], [1, 2], "measured")
    bound, measured = axes.get_lines()
    assert bound.get_linestyle() == "--"
    assert measured.get_color() == plots.COLORS[0]
    assert measured.get_marker() == plots.MARKERS[0]


def test_lines_differ_by_marker_and_by_brightness_on_white():
    assert len(set(plots.MARKERS)) == len(plots.COLORS) == len(set(plots.COLORS))
    for colour in plots.COLORS:
        red, green, blue = to_rgb(colour)
        assert 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.75


def test_ticks_are_the_measured_lengths():
    figure, _ = drawing([5.0])
    figure.canvas.draw()
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["64", "128", "256", "512", "1,024"]


def test_bars_carry_their_values():
    figure, axes = plots.new_figure("Throughput", height=3)
    plots.bars(axes, ["03", "08"], [265.4, 1402.0])
    assert [text.get_text() for text in axes.texts] == ["265", "1,402"]
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["03", "08"]


def test_a_figure_without_a_source_is_not_saved(tmp_path):
    figure, _ = plots.new_figure("A title")
    with pytest.raises(UserError, match="call caption"):
        plots.save(figure, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())


def test_another_ending_is_refused_with_the_possible_ones(tmp_path):
    figure, _ = drawing([5.0])
    with pytest.raises(UserError, match=r"'a\.jpg': must end in \.png or \.svg"):
        plots.save(figure, tmp_path / "a.jpg")


def test_style_of_other_programs_is_left_alone():
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    drawing([5.0])
    assert dict(mpl.rcParams) == before


def test_a_long_title_over_narrow_axes_is_not_cut_off(tmp_path):
    title = "A statement that is as long as the whole figure is wide"
    figure, axes = plots.new_figure(title)
    plots.bars(axes, ["a bar whose name takes up a third of the width", "another"], [1.0, 2.0])
    plots.caption(figure, "AMD EPYC", "s05")
    plots.save(figure, tmp_path / "a.png")
    figure.draw_without_rendering()
    places = [
        t.get_window_extent() for t in axes.get_children() if isinstance(t, Text) and t.get_text() == title
    ]
    assert len(places) == 1
    assert places[0].x0 >= 0
    assert places[0].x1 <= figure.bbox.width


def test_a_logarithmic_axis_has_plain_numbers(tmp_path):
    figure, axes = plots.new_figure("A title", "requests", "ms")
    plots.line(axes, [1.0, 2.0], [30.0, 4000.0], "one")
    axes.set_yscale("log")
    plots.caption(figure, "AMD EPYC", "s05")
    plots.save(figure, tmp_path / "a.png")
    shown = [label.get_text() for label in axes.get_yticklabels()]
    assert {"50", "1,000"} <= set(shown)
    assert not [text for text in shown if "^" in text]
