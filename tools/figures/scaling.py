"""The figure of the page on several machines."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tools.figures import Source, box, page
from utils.plots import COLORS

INK = "#222222"


def arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """An arrow from one point to another."""
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.4})


def data_parallel(_: object) -> Figure:
    """A batch that two processes share, their gradients, the sum, and one step."""
    fig, ax = page(2.9)
    middle = 1.3
    box(ax, 0.1, middle, 1.0, "8 rows")
    box(ax, 4.75, middle, 1.1, "sum", COLORS["scratch"], asked=True)
    for y, name, color in ((0.5, "A", COLORS["pretrained"]), (2.1, "B", COLORS["pretrained"])):
        box(ax, 1.6, y, 1.3, f"process {name}", color)
        box(ax, 3.2, y, 1.1, "gradient", color)
        ax.text(2.25, y + 0.38, "same weights", ha="center", va="center", fontsize=12, color=INK)
        arrow(ax, (1.1, middle), (1.6, y))
        ax.text(
            1.2,
            (y + middle) / 2 + (0.32 if y > middle else -0.32),
            "4 rows",
            ha="right",
            va="center",
            fontsize=12,
        )
        arrow(ax, (2.9, y), (3.2, y))
        arrow(ax, (4.3, y), (4.9, middle + (0.2 if y > middle else -0.2)))
    ax.text(
        5.3, middle + 0.95, "back to both:\nthe same step", ha="center", va="center", fontsize=12, color=INK
    )
    arrow(ax, (5.3, middle + 0.15), (5.3, middle + 0.6))
    return fig


FIGURES = {"data-parallel": Source(lambda: None, data_parallel)}
