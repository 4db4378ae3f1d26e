"""The figures of the chapter on pretraining."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tools.figures import Source, box, experiment, page, repository, runs_file
from utils.errors import CourseError
from utils.intervals import Interval, mean_ci
from utils.plots import COLORS, band

LAB = "01_pretraining"
TOKENIZER = Path("checkpoints") / "tokenizer.json"

SIGNALS = {  # kind of signal -> color
    "unsupervised": COLORS["pretrained"],
    "supervised": COLORS["supervised"],
    "distant": COLORS["distant"],
}


# One sentence, five questions

WORDS = ["sadly", ",", "the", "soup", "was", "bland", "."]
TAGS = ["ADV", "PUNCT", "DET", "NOUN", "AUX", "ADJ", "PUNCT"]
WIDTHS = [0.88, 0.74, 0.66, 0.78, 0.66, 0.8, 0.74]


def sentence(ax: Axes, y: float, words: Sequence[str], color: str = "", asked: Sequence[int] = ()) -> None:
    """A row of word boxes; those at `asked` are dashed and colored."""
    x = 0.22
    for place, (text, width) in enumerate(zip(words, WIDTHS, strict=True)):
        box(ax, x, y, width, text, color if place in asked else "", place in asked)
        x += width + 0.05


def objectives(_: Any) -> Figure:
    """What five pretraining objectives ask of the same sentence."""
    fig, ax = page(7.2)
    everywhere = range(len(WORDS))
    rows = [
        ("unsupervised", "Which word comes next?", "language model: 7 answers", WORDS, everywhere),
        ("unsupervised", "Which word is hidden?", "masked model: 1 answer in 7", [], [3]),
        (
            "unsupervised",
            "Does it follow “we visited the hotel .”?",
            "sentence pair: 1 answer (no)",
            WORDS,
            [],
        ),
        ("supervised", "Which tag has each word?", "7 answers, by a person", TAGS, everywhere),
        ("distant", "Which cue word was cut out?", "1 answer, free but noisy", [], [0]),
    ]
    ax.text(0.22, 0.3, "One sentence …", va="center", fontsize=14, fontweight="bold")
    sentence(ax, 0.72, WORDS)
    ax.text(0.22, 1.26, "… and what five objectives ask of it", va="center", fontsize=14, fontweight="bold")
    y = 1.72
    for signal, question, answers, words, asked in rows:
        color = SIGNALS[signal]
        ax.add_patch(plt.Rectangle((0.05, y - 0.2), 0.07, 0.98, color=color))
        ax.text(0.22, y - 0.06, question, va="center", fontsize=13, fontweight="bold")
        row = list(words) or ["?" if place in asked else text for place, text in enumerate(WORDS)]
        sentence(ax, y + 0.29, row, color, asked)
        ax.text(0.22, y + 0.64, f"{signal} · {answers}", va="center", fontsize=12, color="#444444")
        y += 1.15
    return fig


# A history on one page


class Model(NamedTuple):
    """One model of the history: what it predicts, what is transferred, and the kind of its signal."""

    year: int
    name: str
    predicts: str
    transfers: str
    signal: str


HISTORY = [
    Model(2013, "word2vec", "a word from its neighbors", "word", "unsupervised"),
    Model(2014, "GloVe", "counts of word pairs", "word", "unsupervised"),
    Model(2014, "paragraph vectors", "words from their text", "sentence", "unsupervised"),
    Model(2015, "skip-thought", "the sentences around", "sentence", "unsupervised"),
    Model(2015, "Dai & Le", "next word, or a copy", "network", "unsupervised"),
    Model(2016, "context2vec", "a word from both sides", "network", "unsupervised"),
    Model(2017, "TagLM", "next word, both ways", "network", "unsupervised"),
    Model(2017, "CoVe", "a translation", "network", "supervised"),
    Model(2017, "InferSent", "entailment labels", "sentence", "supervised"),
    Model(2017, "DeepMoji", "the emoji of a tweet", "network", "distant"),
    Model(2018, "ELMo", "next word, both ways", "network", "unsupervised"),
    Model(2018, "ULMFiT", "next word", "network", "unsupervised"),
    Model(2018, "GPT", "next word", "network", "unsupervised"),
    Model(2018, "Flair", "next character, both ways", "network", "unsupervised"),
    Model(2019, "BERT", "masked words, next sentence", "network", "unsupervised"),
    Model(2019, "XLNet", "words in a permuted order", "network", "unsupervised"),
    Model(2019, "RoBERTa", "masked words, more text", "network", "unsupervised"),
    Model(2020, "T5", "cut-out spans", "network", "unsupervised"),
    Model(2020, "ELECTRA", "which words were replaced", "network", "unsupervised"),
    Model(2020, "GPT-3", "next word, at scale", "network", "unsupervised"),
]
SHAPES = {"word": "o", "sentence": "s", "network": "^"}
TRANSFERS = {"word": "word vectors", "sentence": "sentence vectors", "network": "a network"}


def timeline(_: Any) -> Figure:
    """Models of 2013 to 2020 by year, with what they predict, what is kept, and the kind of signal."""
    step = 0.315
    fig, ax = page(1.36 + step * len(HISTORY))
    ax.text(1.05, 0.25, "model", va="center", fontsize=13, fontweight="bold")
    ax.text(2.95, 0.25, "learns to predict", va="center", fontsize=13, fontweight="bold")
    top = 0.6
    for row, model in enumerate(HISTORY):
        y = top + step * row
        if row == 0 or HISTORY[row - 1].year != model.year:
            ax.text(0.1, y, str(model.year), va="center", fontsize=13, color="#444444")
            ax.plot([0.1, 5.9], [y - step / 2] * 2, color="#DDDDDD", linewidth=0.8)
        ax.plot(0.85, y, SHAPES[model.transfers], color=SIGNALS[model.signal], markersize=9)
        ax.text(1.05, y, model.name, va="center", fontsize=13)
        ax.text(2.95, y, model.predicts, va="center", fontsize=13)
    bottom = top + step * len(HISTORY)
    ax.plot([0.1, 5.9], [bottom - step / 2] * 2, color="#DDDDDD", linewidth=0.8)
    for row, (title, entries) in enumerate(
        [
            ("kept", [(TRANSFERS[name], shape, "#444444") for name, shape in SHAPES.items()]),
            ("signal", [(name, "D", color) for name, color in SIGNALS.items()]),
        ]
    ):
        y = bottom + 0.2 + 0.35 * row
        ax.text(0.1, y, title, va="center", fontsize=13, color="#444444")
        for x, (name, marker, color) in zip((0.85, 2.5, 4.45), entries, strict=True):
            ax.plot(x, y, marker, color=color, markersize=9)
            ax.text(x + 0.15, y, name, va="center", fontsize=13)
    return fig


# Byte pair encoding at work

SEEN, UNSEEN = "unluckily", ("unhappily", "unbearable")  # the corpus has the first word and not the others


def merged(word: str, merges: Sequence[Sequence[str]]) -> list[tuple[int, list[str]]]:
    """Cut `word` into characters and merge as byte pair encoding does: (number of the merge, pieces), step by step."""
    order = {tuple(pair): number for number, pair in enumerate(merges, 1)}
    pieces = ["▁", *word]
    steps = [(0, pieces)]
    while possible := [order[pair] for pair in zip(pieces, pieces[1:], strict=False) if pair in order]:
        number = min(possible)
        left, right = merges[number - 1]
        joined: list[str] = []
        for piece in pieces:
            if joined and (joined[-1], piece) == (left, right):
                joined[-1] = left + right
            else:
                joined.append(piece)
        pieces = joined
        steps.append((number, pieces))
    return steps


def tokenizer_steps() -> dict[str, list[tuple[int, list[str]]]]:
    """The merges of the course tokenizer at work on three words."""
    path = repository(TOKENIZER)
    if not path.is_file():
        raise CourseError(f"{TOKENIZER} does not exist yet: run `make checkpoints`.")
    merges = json.loads(path.read_text("utf-8"))["model"]["merges"]
    pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in merges]
    return {word: merged(word, pairs) for word in (SEEN, *UNSEEN)}


def bpe(words: dict[str, list[tuple[int, list[str]]]]) -> Figure:
    """How the pieces of one word grow, and in what pieces two words end that the corpus does not have."""
    steps = words[SEEN]
    letter, gap = 0.25, 0.1
    fig, ax = page(0.42 * len(steps) + 1.95)

    def pieces(y: float, row: Sequence[str], new: str = "") -> None:
        x = 1.45
        for piece in row:
            width = letter * len(piece) + gap
            box(ax, x, y, width, piece, COLORS["pretrained"] if piece == new else "")
            x += width + 0.06

    ax.text(0.1, 0.28, "merge", va="center", fontsize=13, fontweight="bold")
    ax.text(1.45, 0.28, "pieces (▁ marks the start of a word)", va="center", fontsize=13, fontweight="bold")
    y = 0.72
    before: list[str] = []
    for number, row in steps:
        ax.text(0.1, y, f"no. {number:,}" if number else "start", va="center", fontsize=13, color="#444444")
        pieces(y, row, next((piece for piece in row if before and piece not in before), ""))
        before = row
        y += 0.42
    ax.text(0.1, y + 0.12, "words that the corpus does not have", va="center", fontsize=13, fontweight="bold")
    for place, word in enumerate(UNSEEN):
        ax.text(0.1, y + 0.55 + 0.42 * place, word, va="center", fontsize=13, color="#444444")
        pieces(y + 0.55 + 0.42 * place, words[word][-1][1])
    return fig


# Figures of recorded runs

METHODS = {  # method of the sweep "sentiment" -> (label, color, marker)
    "tuned": ("pretrained, tuned", COLORS["pretrained"], "o"),
    "frozen": ("pretrained, frozen", COLORS["frozen"], "s"),
    "bag of words": ("bag of words", COLORS["baseline"], "D"),
    "scratch": ("from scratch", COLORS["scratch"], "^"),
}
Points = list[tuple[int, float, float, float]]  # labels, estimate, low, high


def sentiment_runs(metric: str, methods: Iterable[str]) -> dict[str, Points]:
    """Mean of a metric of the sweep "sentiment" with its interval over seeds, by method and number of labels.

    "accuracy" is that on the opinion words of the labels, "accuracy_new" that on words that no label shows. Raises
    CourseError for a method without runs.
    """
    values: dict[tuple[str, int], list[float]] = {}
    for setting, metrics in experiment(LAB, "sentiment"):
        if metric in metrics:
            values.setdefault((setting["method"], setting["labels"]), []).append(metrics[metric])
    points: dict[str, Points] = {}
    for method in methods:
        sizes = sorted(labels for name, labels in values if name == method)
        if not sizes:
            raise CourseError(
                f"{runs_file(LAB)}: the sweep 'sentiment' has no {metric} of the method {method!r} yet: "
                f"run `make evidence LAB={LAB}`."
            )
        intervals = [mean_ci(values[method, labels]) for labels in sizes]
        points[method] = [
            (labels, *(round(x, 6) for x in (ci.estimate, ci.low, ci.high)))
            for labels, ci in zip(sizes, intervals, strict=True)
        ]
    return points


def new_words() -> dict[str, Points]:
    """Accuracy on words that no label shows; see `sentiment_runs`."""
    return sentiment_runs("accuracy_new", METHODS)


def label_efficiency(points: dict[str, Points]) -> Figure:
    """Accuracy on words that no label ever showed, over the number of labels."""
    fig, ax = plt.subplots(figsize=(6.0, 4.7), layout="constrained")
    sizes = [labels for labels, *_ in points["tuned"]]
    ends = {}
    for method, (_, color, marker) in METHODS.items():
        rows = points[method]
        intervals = [Interval(*row[1:], method="", n=0) for row in rows]
        band(ax, [row[0] for row in rows], intervals, method, color)
        ax.lines[-1].set(marker=marker, markersize=6)
        ends[method] = rows[-1][1]
    ax.axhline(0.5, color="#444444", linewidth=1, linestyle=":")
    ax.text(sizes[0], 0.405, "dotted: guessing", va="bottom", fontsize=12, color="#444444")
    above = 0.99  # a label stands beside the end of its line, or below the label before it
    for method in sorted(ends, key=ends.__getitem__, reverse=True):
        label, color, _ = METHODS[method]
        text = label.replace(", ", ",\n")
        half = 0.022 * len(text.split("\n"))
        place = min(ends[method], above - half)
        ax.text(sizes[-1] * 1.12, place, text, va="center", color=color, fontsize=13)
        above = place - half
    few, many = points["tuned"][0], points["scratch"][-1]
    ax.annotate(
        "",
        xy=few[:2],
        xytext=many[:2],
        arrowprops={
            "arrowstyle": "-|>",
            "color": "black",
            "linewidth": 1.6,
            "shrinkA": 7,
            "shrinkB": 7,
            "connectionstyle": "arc3,rad=0.12",
        },
    )
    for labels, value in (few[:2], many[:2]):
        ax.plot(labels, value, "o", markersize=13, markerfacecolor="none", markeredgecolor="black")
    for (labels, value), text, place, side, anchor in (
        (few[:2], f"{few[0]} labels,\npretrained: {few[1]:.0%}", (few[0] * 0.94, 0.93), "left", (0.03, 0)),
        (
            many[:2],
            f"{many[0]:,} labels, from scratch: {many[1]:.0%}",
            (many[0] * 1.06, 0.44),
            "right",
            (0.97, 1),
        ),
    ):
        leader = {"arrowstyle": "-", "color": "black", "shrinkB": 8, "relpos": anchor}
        ax.annotate(text, xy=(labels, value), xytext=place, ha=side, fontweight="bold", arrowprops=leader)
    ax.set_xscale("log", base=2)
    ax.set_xticks(sizes, [f"{labels:,}" for labels in sizes])
    ax.minorticks_off()
    ax.set(xlim=(sizes[0] * 0.85, sizes[-1] * 1.08), ylim=(0.4, 1.0), xlabel="labeled reviews (log scale)")
    ax.set_title("accuracy on opinion words that no label showed", loc="left", fontsize=12, pad=12)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


MODELS = {  # metric of the sweep "held out" -> (label, color)
    "ngram": ("5-gram\nKneser–Ney", COLORS["ngram"]),
    "lstm": ("AWD-LSTM", COLORS["lstm"]),
    "causal": ("causal\nTransformer", COLORS["causal"]),
}


def held_out_runs() -> dict[str, float]:
    """Bits per word of held-out text under each model and exactly, means over texts."""
    runs = [metrics for _, metrics in experiment(LAB, "held out")]
    return {name: round(sum(run[name] for run in runs) / len(runs), 6) for name in (*MODELS, "exact")}


def entropy_floor(bits: dict[str, float]) -> Figure:
    """Bits per word of each model, cut into the entropy, which no model can avoid, and what comes on top."""
    fig, ax = plt.subplots(figsize=(6.0, 3.3), layout="constrained")
    exact = bits["exact"]
    for y, (model, (_, color)) in enumerate(MODELS.items()):
        excess = bits[model] - exact
        ax.barh(y, exact, color="#DDDDDD", height=0.6)
        ax.barh(y, excess, left=exact, color=color, height=0.6)
        ax.text(bits[model] + 0.03, y, f"{bits[model]:.2f}  (+{excess:.2f})", va="center", fontsize=13)
    ax.axvline(exact, color=COLORS["exact"], linewidth=2)
    fig.suptitle(f"black line: exact entropy, {exact:.2f}, the floor", fontsize=14)
    ax.set_yticks(range(len(MODELS)), [label for label, _ in MODELS.values()])
    ax.set(ylim=(len(MODELS) - 0.5, -0.5), xlim=(0, 1.45 * max(bits.values())))
    ax.set_xticks(range(int(1.45 * max(bits.values())) + 1))
    ax.set_xlabel("bits per word, held-out text (colored: excess)")
    ax.grid(axis="y", visible=False)
    return fig


FIGURES = {
    "objectives": Source(lambda: None, objectives),
    "timeline": Source(lambda: None, timeline),
    "bpe": Source(tokenizer_steps, bpe),
    "label-efficiency": Source(new_words, label_efficiency),
    "entropy-floor": Source(held_out_runs, entropy_floor),
}
