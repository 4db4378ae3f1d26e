"""What the figures of all chapters share: an empty page, a word in a box, recorded runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from utils.errors import CourseError
from utils.evidence import read_runs
from utils.settings import root


class Source(NamedTuple):
    """How a figure comes about: `inputs()` reads what `draw` shows, or raises CourseError when it is missing."""

    inputs: Callable[[], Any]
    draw: Callable[[Any], Figure]


def repository(path: Path) -> Path:
    """A path of the repository; tests put another one in the place of `root`."""
    return root() / path


def runs_file(lab: str) -> Path:
    """The recorded runs of a lab, in the repository."""
    return Path("evidence") / "runs" / f"{lab}.csv"


def experiment(lab: str, name: str) -> list[tuple[dict[str, Any], dict[str, float]]]:
    """The recorded runs of one sweep of a lab as pairs of setting and metrics."""
    runs: dict[str, dict[str, float]] = {}
    for (sweep, setting, metric), value in read_runs(repository(runs_file(lab))).items():
        if sweep == name:
            runs.setdefault(setting, {})[metric] = value
    if not runs:
        raise CourseError(f"{runs_file(lab)} has no runs of {name!r} yet: run `make evidence LAB={lab}`.")
    return [(json.loads(setting), metrics) for setting, metrics in runs.items()]


def page(height: float) -> tuple[Figure, Axes]:
    """An empty page 6 inches wide for a drawing; one unit is one inch, y grows downwards."""
    fig = plt.figure(figsize=(6.0, height))
    ax = fig.add_axes((0, 0, 1, 1))
    ax.set(xlim=(0, 6), ylim=(height, 0))
    ax.axis("off")
    return fig, ax


def box(ax: Axes, x: float, y: float, width: float, text: str, color: str = "", asked: bool = False) -> None:
    """A word in a box with its left edge at x and its middle at y; `asked`: what a model has to say."""
    ax.add_patch(
        FancyBboxPatch(
            (x, y - 0.15),
            width,
            0.3,
            boxstyle="round,pad=0,rounding_size=0.05",
            facecolor="white" if asked else color + "30" if color else "#EFEFEF",
            edgecolor=color or "#BBBBBB",
            linewidth=1.6 if asked else 0.8,
            linestyle="--" if asked else "-",
        )
    )
    ax.text(x + width / 2, y, text, ha="center", va="center", fontsize=13)
