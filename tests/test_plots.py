"""Figures: shown once, closed, the same bytes each time, colors that differ."""

import base64
import io
import re

import matplotlib.pyplot as plt
import nbformat
import pytest
from matplotlib.colors import to_rgb
from nbclient import NotebookClient

from utils import plots
from utils.intervals import Interval

DRAW = """
import matplotlib.pyplot as plt
from utils import plots
plots.style()
fig, ax = plt.subplots()
ax.plot([1, 2, 3], label="a")
ax.legend()
plots.show(fig)
"""


@pytest.fixture(scope="module")
def outputs():
    cells = [
        nbformat.v4.new_code_cell(source)
        for source in (DRAW, DRAW + "plt.show()", "print(plt.get_fignums())")
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    return [cell.outputs for cell in notebook.cells]


def test_figure_is_shown_once(outputs):
    for shown in outputs[:2]:
        assert [output.output_type for output in shown] == ["display_data"]
        assert set(shown[0].data) == {"image/png", "text/plain"}
    assert outputs[2][0].text == "[]\n"


def test_png_is_repeatable_and_anonymous(outputs):
    first, second = (base64.b64decode(shown[0].data["image/png"]) for shown in outputs[:2])
    assert first == second
    assert b"Matplotlib" not in first and b"tEXt" not in first


def test_png_fits_a_page(outputs):
    image = plt.imread(io.BytesIO(base64.b64decode(outputs[0][0].data["image/png"])))
    assert 700 <= image.shape[1] <= 1000


def test_type_is_legible_on_a_phone():
    plots.style()
    smallest = min(plt.rcParams[key] for key in ("font.size", "xtick.labelsize", "legend.fontsize"))
    pixels = (
        smallest / 72 * plt.rcParams["figure.figsize"][0] ** -1 * 350
    )  # the figure is 350 pixels wide there
    assert pixels >= 9


def test_show_outside_a_notebook_only_closes(capsys):
    before = plt.get_fignums()
    fig, _ = plt.subplots()
    plots.show(fig)
    assert plt.get_fignums() == before
    assert capsys.readouterr().out == ""


def test_colors_of_one_figure_differ():
    assert all(re.fullmatch("#[0-9A-F]{6}", color) for color in plots.COLORS.values())
    for roles in (
        ("pretrained", "scratch", "frozen", "supervised", "distant", "baseline", "exact"),
        ("causal", "masked", "lstm", "ngram", "unigram", "exact", "baseline"),
    ):
        assert len({plots.COLORS[role] for role in roles}) == len(roles)


def test_band():
    fig, ax = plt.subplots()
    plots.band(
        ax, [1, 2], [Interval(0.5, 0.4, 0.6, "t", 5), Interval(0.7, 0.6, 0.9, "t", 5)], "tuned", "#0072B2"
    )
    (line,), (area,) = ax.lines, ax.collections
    assert line.get_ydata().tolist() == [0.5, 0.7] and line.get_label() == "tuned"
    corners = area.get_paths()[0].vertices
    assert corners[:, 1].min() == 0.4 and corners[:, 1].max() == 0.9
    assert tuple(area.get_facecolor()[0][:3]) == to_rgb("#0072B2")
    plt.close(fig)
