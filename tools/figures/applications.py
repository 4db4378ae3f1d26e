"""The figures of the chapter on applications."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from tools.figures import Source, box, page, repository
from utils.errors import CourseError
from utils.evidence import load
from utils.plots import COLORS

INK, QUIET = "#222222", "#666666"
FILMS, QUESTIONS, REPLIES = (
    "04a_imdb_ulmfit_fastai",
    "04b_squad_bert_tensorflow",
    "04c_convai2_gpt_huggingface",
)

# Two rivals

# (task, lab, points per unit, row against the same network from random weights, row against the best simple rival, or
# "" where there is none, and the sign with which that row counts)
DUELS = (
    ("films, world", FILMS, 100, "step-pretraining-128", "", 1),
    ("films, IMDb", FILMS, 100, "imdb-recipe-minus-scratch", "imdb-recipe-minus-words", 1),
    ("questions, world", QUESTIONS, 1, "world-pretrained-512", "", 1),
    ("questions, SQuAD", QUESTIONS, 1, "squad-pretrained-4364", "", 1),
    ("replies, world", REPLIES, 1, "start-hits-200", "ranker-head-n-gram", 1),
    ("replies, ConvAI2", REPLIES, 1, "convai-gpt-hits", "convai-minilm-hits", -1),
)


def duels() -> list[list[Any]]:
    """For each task its name and the differences to both rivals as [estimate, low, high] in points, or None."""
    found: list[list[Any]] = []
    for task, lab, unit, scratch, rival, sign in DUELS:
        rows = load(lab, repository(Path("evidence")))
        line: list[Any] = [task]
        for name, turn in ((scratch, 1), (rival, sign)):
            if name and name not in rows:
                raise CourseError(f"{lab}.json has no row {name!r}: run `make evidence LAB={lab}`.")
            row = rows.get(name)
            ends = sorted(turn * unit * x for x in row["ci95"]) if row else []
            line.append([round(x, 4) for x in (turn * unit * row["estimate"], *ends)] if row else None)
        found.append(line)
    return found


def two_rivals(found: list[list[Any]]) -> Figure:
    """The tuned network minus the same network from random weights, and minus a simple rival."""
    fig, ax = plt.subplots(figsize=(6.0, 4.2), layout="constrained")
    kinds = (
        ("minus itself from random weights", COLORS["pretrained"], "o", -0.14),
        ("minus a simple rival", COLORS["scratch"], "s", 0.14),
    )
    for column, (label, color, marker, shift) in enumerate(kinds, 1):
        for y, line in enumerate(found):
            if line[column] is None:
                continue
            estimate, low, high = line[column]
            ax.plot([low, high], [y + shift] * 2, color=color, linewidth=2.4)
            ax.plot(estimate, y + shift, marker, color=color, markersize=8)
        ax.plot([], [], marker=marker, color=color, label=label)
    ax.axvline(0, color=INK, linewidth=1)
    ax.set(xlim=(-64, 92), xticks=(-50, 0, 50))
    ax.set_yticks(range(len(found)), [line[0] for line in found])
    ax.invert_yaxis()
    ax.set_xlabel("points by which the tuned network is ahead")
    ax.grid(axis="y", visible=False)
    fig.legend(loc="outside upper left")
    return fig


# Four shapes of an answer


def output_shapes(_: Any) -> Figure:
    """The same encoder with four kinds of answers."""
    fig, ax = page(5.05)
    color = COLORS["pretrained"]
    words = ("ann", "lives", "in", "new", "york")

    def title(y: float, name: str, note: str) -> None:
        ax.text(0.1, y, name, fontsize=13, fontweight="bold", color=INK, va="center")
        ax.text(5.9, y, note, fontsize=12, color=QUIET, va="center", ha="right")

    def row(y: float, start: float = 0.1) -> list[float]:
        middles = []
        for number, word in enumerate(words):
            box(ax, start + 0.82 * number, y, 0.74, word)
            middles.append(start + 0.82 * number + 0.37)
        return middles

    title(0.2, "one label for a text", "topic, opinion")
    row(0.55)
    ax.annotate("", (4.75, 0.55), (4.25, 0.55), arrowprops={"arrowstyle": "->", "color": QUIET})
    box(ax, 4.8, 0.55, 1.1, "person", color, asked=True)

    title(1.2, "one label for each word", "tags, start and end of a span")
    for x, tag in zip(row(1.55), ("NAME", "VERB", "ADP", "NAME", "NAME"), strict=True):
        box(ax, x - 0.37, 1.95, 0.74, tag, color, asked=True)

    title(2.6, "a structure", "named entities, trees, coreference")
    middles = row(2.95)
    for first, last, name in ((0, 0, "PER"), (3, 4, "PLACE")):
        x = middles[first] - 0.37
        box(ax, x, 3.35, middles[last] + 0.37 - x, name, color, asked=True)

    title(4.0, "a text", "reply, translation, summary")
    row(4.35)
    for number, word in enumerate(("and", "where", "do", "you", "live", "?")):
        box(ax, 0.1 + 0.82 * number, 4.75, 0.74, word, color, asked=True)
    return fig


FIGURES = {
    "two-rivals": Source(duels, two_rivals),
    "output-shapes": Source(lambda: None, output_shapes),
}
