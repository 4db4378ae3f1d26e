"""The figures of the introduction."""

from __future__ import annotations

from math import log2
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tools.figures import Source, page
from tools.figures.pretraining import Points, sentiment_runs
from utils.intervals import Interval
from utils.plots import COLORS, band

INK, QUIET, OURS = "#222222", "#777777", COLORS["pretrained"]

# A head start

SHOWN = {  # method of the sweep "sentiment" -> (label, color, marker)
    "tuned": ("pretrained,\ntuned", OURS, "o"),
    "bag of words": ("bag of words", COLORS["baseline"], "D"),
    "scratch": ("from scratch", COLORS["scratch"], "^"),
}


def known_words() -> dict[str, Points]:
    """Accuracy on the opinion words of the labels; see `sentiment_runs`."""
    return sentiment_runs("accuracy", SHOWN)


def reaches(rows: Points, goal: float) -> float:
    """At how many labels a curve passes `goal`, straight over the logarithm; its last point if it never does."""
    for (left, low, *_), (right, high, *_) in zip(rows, rows[1:], strict=False):
        if low <= goal <= high:
            return 2 ** (log2(left) + log2(right / left) * (goal - low) / (high - low))
    return rows[-1][0]


def head_start(points: dict[str, Points]) -> Figure:
    """Accuracy on the words that labels show, over labels, and how far the untrained network has to go."""
    fig, ax = plt.subplots(figsize=(6.0, 4.4), layout="constrained")
    sizes = [labels for labels, *_ in points["tuned"]]
    place = 2.0
    for method in sorted(SHOWN, key=lambda name: -points[name][-1][1]):
        label, color, marker = SHOWN[method]
        rows = points[method]
        band(ax, [row[0] for row in rows], [Interval(*row[1:], method="", n=0) for row in rows], label, color)
        ax.lines[-1].set(marker=marker, markersize=6)
        place = min(rows[-1][1], place - 0.06)
        ax.text(sizes[-1] * 1.12, min(place, 0.97), label, va="center", color=color, fontsize=13)
    first, goal = points["tuned"][0][:2]
    there = reaches(points["scratch"], goal)
    ax.annotate(
        "",
        xy=(there, goal),
        xytext=(first, goal),
        arrowprops={"arrowstyle": "-|>", "color": "black", "linewidth": 1.6, "shrinkA": 7, "shrinkB": 1},
    )
    ax.plot(first, goal, "o", markersize=13, markerfacecolor="none", markeredgecolor="black")
    ax.axhline(0.5, color="#444444", linewidth=1, linestyle=":")
    ax.text(sizes[-1], 0.49, "dotted: guessing", va="top", ha="right", fontsize=12, color="#444444")
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{labels:,}" for labels in sizes])
    ax.minorticks_off()
    ax.set(xlim=(sizes[0] * 0.85, sizes[-1] * 1.08), ylim=(0.45, 1.01), xlabel="labeled reviews (log scale)")
    ax.set_title("accuracy on opinion words that the labels show", loc="left", fontsize=12, pad=12)
    ax.set_yticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


# A map of transfer learning

Point = tuple[float, float]


def node(ax: Axes, x: float, y: float, title: str, note: str, ours: bool = False) -> None:
    """A name with a note below it; the kind that the course is about stands in color."""
    color = OURS if ours else INK
    ax.text(x, y, title, ha="center", va="center", fontsize=13, fontweight="bold", color=color)
    for row, line in enumerate(note.split("\n")):
        ax.text(x, y + 0.25 + 0.21 * row, line, ha="center", va="center", fontsize=12, color=QUIET)


def fork(ax: Axes, start: Point, ends: list[Point], marked: int | None = None) -> None:
    """Lines from one point down to several; one of them may be marked."""
    for number, (x, y) in enumerate(ends):
        strong = number == marked
        middle = start[1] + 0.16
        line = [(start[0], start[1]), (start[0], middle), (x, middle), (x, y)]
        ax.plot(
            *zip(*line, strict=True),
            color=OURS if strong else "#BBBBBB",
            linewidth=2.4 if strong else 1.4,
            zorder=2 if strong else 1,
        )


def taxonomy(_: Any) -> Figure:
    """Four kinds of transfer learning by three questions, with an example of each."""
    fig, ax = page(4.6)
    node(ax, 3.0, 0.25, "transfer learning", "does the task stay the same?")
    fork(ax, (3.0, 0.65), [(1.5, 1.0), (4.5, 1.0)], marked=1)
    node(ax, 1.5, 1.2, "transductive", "the same task;\nlabels in the source only")
    node(ax, 4.5, 1.2, "inductive", "another task;\nlabels in the target", ours=True)
    leaves = [
        (0.75, "domain\nadaptation", "other kind\nof text", "books →\nkitchens"),
        (2.25, "cross-lingual\nlearning", "other\nlanguage", "English →\nUrdu"),
        (3.75, "multi-task\nlearning", "at the\nsame time", "tags and\nnames"),
        (5.25, "sequential\ntransfer", "one after\nthe other", "raw text, then\nreviews"),
    ]
    fork(ax, (1.5, 1.85), [(0.75, 2.2), (2.25, 2.2)])
    fork(ax, (4.5, 1.85), [(3.75, 2.2), (5.25, 2.2)], marked=1)
    for number, (x, name, note, example) in enumerate(leaves):
        ours = number == 3
        color = OURS if ours else INK
        for row, line in enumerate(name.split("\n")):
            ax.text(
                x,
                2.4 + 0.24 * row,
                line,
                ha="center",
                va="center",
                fontsize=13,
                fontweight="bold",
                color=color,
            )
        for row, line in enumerate(note.split("\n")):
            ax.text(x, 2.95 + 0.21 * row, line, ha="center", va="center", fontsize=12, color=QUIET)
        for row, line in enumerate(example.split("\n")):
            ax.text(
                x, 3.5 + 0.22 * row, line, ha="center", va="center", fontsize=12, style="italic", color=color
            )
    ax.text(5.25, 4.2, "this course", ha="center", va="center", fontsize=13, fontweight="bold", color=OURS)
    ax.plot([4.62, 5.88], [4.02, 4.02], color=OURS, linewidth=2.4)
    return fig


# A history: what was carried over

STEPS = [  # name of the step, color by what is kept, works by year
    (
        "counts and clusters",
        COLORS["baseline"],
        [(1990, "LSA"), (1992, "Brown clusters"), (2003, "LDA"), (2005, "Ando & Zhang")],
    ),
    ("neural language models", COLORS["unigram"], [(2003, "Bengio et al."), (2008, "Collobert & Weston")]),
    ("cheap word vectors", COLORS["unigram"], [(2013, "word2vec"), (2014, "GloVe"), (2017, "fastText")]),
    (
        "sentence vectors",
        COLORS["supervised"],
        [(2014, "paragraph vectors"), (2015, "skip-thought"), (2017, "InferSent")],
    ),
    ("words in context", COLORS["frozen"], [(2016, "context2vec"), (2017, "TagLM, CoVe"), (2018, "ELMo")]),
    (
        "whole language models",
        OURS,
        [(2015, "Dai & Le"), (2018, "ULMFiT, GPT"), (2019, "BERT, XLNet, RoBERTa")],
    ),
    ("prompts and instructions", INK, [(2020, "GPT-3"), (2022, "FLAN, InstructGPT")]),
]
KEPT = [
    "features",
    "a first layer",
    "a first layer",
    "a vector per text",
    "a frozen network",
    "all weights",
    "weights and wording",
]
FIRST, LAST = 1988, 2024


def history(_: Any) -> Figure:
    """Seven steps from counts to instructions, with their works by year and what each carries over."""
    names = sum(len(works) for _, _, works in STEPS)
    fig, ax = page(0.55 + 0.27 * names + 0.42 * len(STEPS))
    left, right = 0.15, 3.55
    place = {year: left + (right - left) * (year - FIRST) / (LAST - FIRST) for year in range(FIRST, LAST + 1)}
    bottom = 0.45 + 0.27 * names + 0.42 * len(STEPS)
    for year in (1990, 2000, 2010, 2020):
        ax.plot([place[year]] * 2, [0.4, bottom], color="#E0E0E0", linewidth=0.9, zorder=0)
        ax.text(place[year], 0.22, str(year), ha="center", va="center", fontsize=12, color=QUIET)
    y = 0.6
    for (name, color, works), kept in zip(STEPS, KEPT, strict=True):
        clear = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        ax.text(left, y, name, va="center", fontsize=13, fontweight="bold", color=INK, bbox=clear)
        ax.text(5.9, y, f"kept: {kept}", va="center", ha="right", fontsize=12, color=QUIET)
        for row, (year, work) in enumerate(works):
            here = y + 0.29 + 0.27 * row
            ax.plot([place[year], right + 0.1], [here, here], color=color, linewidth=0.8, alpha=0.5)
            ax.plot(place[year], here, "o", color=color, markersize=8)
            ax.text(right + 0.2, here, f"{work}", va="center", fontsize=12.5)
        y += 0.42 + 0.27 * len(works)
    return fig


FIGURES = {
    "head-start": Source(known_words, head_start),
    "taxonomy": Source(lambda: None, taxonomy),
    "history": Source(lambda: None, history),
}
