"""The first result of the course, twice: on the landing page, and beside a shared link, 1,200 by 630 pixels."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tools.figures import Source
from tools.figures.pretraining import Points, sentiment_runs
from utils.plots import COLORS

LINES = {"tuned": ("pretrained", COLORS["pretrained"]), "scratch": ("from scratch", COLORS["scratch"])}


def ends() -> dict[str, Points]:
    """The two lines of the picture; see `sentiment_runs`."""
    return sentiment_runs("accuracy_new", LINES)


def preview(points: dict[str, Points]) -> Figure:
    """The title of the book beside its first result."""
    fig = plt.figure(figsize=(8.0, 4.2))
    fig.text(0.05, 0.86, "Transfer Learning", fontsize=26, fontweight="bold", va="center")
    fig.text(0.05, 0.745, "in NLP", fontsize=26, fontweight="bold", va="center")
    fig.text(0.05, 0.63, "the executable tutorial", fontsize=17, va="center", color="#444444")
    few, many = points["tuned"][0], points["scratch"][-1]
    lines = [
        (f"{few[0]} labels, pretrained:", f"{few[1]:.0%}", LINES["tuned"][1]),
        (f"{many[0]:,} from scratch:", f"{many[1]:.0%}", LINES["scratch"][1]),
    ]
    for row, (text, accuracy, color) in enumerate(lines):
        y = 0.43 - 0.12 * row
        fig.text(0.05, y, text, fontsize=16, va="center")
        fig.text(0.46, y, accuracy, fontsize=21, fontweight="bold", va="center", ha="right", color=color)
    fig.text(0.05, 0.14, "accuracy on words\nthat no label showed", fontsize=13, va="center", color="#444444")

    ax = fig.add_axes((0.59, 0.17, 0.36, 0.7))
    for method, (label, color) in LINES.items():
        sizes, estimates, lows, highs = zip(*points[method], strict=True)
        ax.plot(sizes, estimates, marker="o", color=color, linewidth=4, markersize=9)
        ax.fill_between(sizes, lows, highs, color=color, alpha=0.2, linewidth=0)
        ax.text(sizes[-1], estimates[-1] + 0.045, label, color=color, fontsize=16, ha="right", va="bottom")
    ax.set_xscale("log", base=2)
    ax.set_xticks([32, 1024], ["32", "1,024"])
    ax.set(ylim=(0.38, 1.08), yticks=[0.5, 1.0], yticklabels=["50%", "100%"])
    ax.tick_params(labelsize=15)
    ax.set_xlabel("labels", fontsize=15)
    return fig


def landing(points: dict[str, Points]) -> Figure:
    """The two lines with the two ends that the landing page compares."""
    fig, ax = plt.subplots(figsize=(6.0, 3.5), layout="constrained")
    sizes = [labels for labels, *_ in points["tuned"]]
    for method, (label, color) in LINES.items():
        _, estimates, lows, highs = zip(*points[method], strict=True)
        ax.plot(sizes, estimates, marker="o", color=color, linewidth=3, markersize=6)
        ax.fill_between(sizes, lows, highs, color=color, alpha=0.2, linewidth=0)
        ax.text(sizes[-2], estimates[-2] - 0.03, label, color=color, fontsize=15, ha="center", va="top")
    for (labels, value, *_), method, side, heights in (
        (points["tuned"][0], "tuned", "left", (-0.085, -0.155)),
        (points["scratch"][-1], "scratch", "right", (0.125, 0.055)),
    ):
        color = LINES[method][1]
        ax.plot(labels, value, "o", markersize=13, color=color)
        number, size = (value + height for height in heights)
        ax.text(
            labels, number, f"{value:.0%}", ha=side, va="center", color=color, fontsize=30, fontweight="bold"
        )
        ax.text(labels, size, f"with {labels:,} labels", ha=side, va="center", fontsize=15)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{labels:,}" for labels in sizes])
    ax.minorticks_off()
    ax.set(xlim=(sizes[0] * 0.85, sizes[-1] * 1.15), ylim=(0.42, 1.02), yticks=[0.5, 0.75, 1.0])
    ax.set_xlabel("labeled reviews")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


FIGURES = {"preview": Source(ends, preview), "landing": Source(ends, landing)}
