"""One style for all figures: Okabe-Ito colors, a white card, type that can still be read on a phone."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from utils.intervals import Interval

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
BLUE, VERMILION, PURPLE, GREY = "#0072B2", "#D55E00", "#CC79A7", "#767676"

# Colors by role, from Okabe and Ito's palette (2008), which most color-blind readers can tell apart, and a gray.
# Roles that meet in one figure differ.
COLORS = {
    "pretrained": BLUE,
    "scratch": VERMILION,
    "frozen": GREEN,
    "supervised": PURPLE,
    "distant": ORANGE,
    "baseline": GREY,
    "causal": BLUE,
    "masked": VERMILION,
    "lstm": GREEN,
    "ngram": PURPLE,
    "unigram": SKY,
    "exact": BLACK,
}
DPI = 150


def style() -> None:
    """Set matplotlib's defaults for the course; call it once at the top of a lab."""
    cycle = mpl.cycler(color=[BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK])
    plt.rcParams.update(
        {
            "figure.figsize": (6.0, 3.8),  # inches: 900 pixels wide, so 13 points are 10 pixels on a phone
            "figure.facecolor": "white",
            "savefig.facecolor": "white",
            "font.size": 13,
            "axes.titlesize": 14,
            "xtick.labelsize": 12,
            "ytick.labelsize": 12,
            "legend.fontsize": 12,
            "legend.frameon": False,
            "lines.linewidth": 2,
            "axes.prop_cycle": cycle,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#E0E0E0",
            "axes.axisbelow": True,
        }
    )


def band(ax: Axes, x: Sequence[float], intervals: Sequence[Interval], label: str, color: str) -> None:
    """Draw estimates over `x` as a line with dots, and their intervals as a band around it."""
    estimates = [interval.estimate for interval in intervals]
    lows, highs = [interval.low for interval in intervals], [interval.high for interval in intervals]
    ax.plot(x, estimates, marker="o", label=label, color=color)
    ax.fill_between(x, lows, highs, color=color, alpha=0.2, linewidth=0)


def show(fig: Figure) -> None:
    """Display a figure once, as a PNG with the same bytes each time, and close it.

    Outside a notebook the figure is only closed. The alt text of the book is not set here: it stands in the
    metadata of the cell, `# %% mystnb={"image": {"alt": "..."}}`, the one place from which it reaches the
    page.
    """
    from IPython import get_ipython
    from IPython.display import Image, display

    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, bbox_inches="tight", metadata={"Software": None})
    plt.close(fig)
    if get_ipython():
        display(Image(buffer.getvalue()))
