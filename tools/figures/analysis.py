"""The figures of the chapter on analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tools.figures import Source, box, experiment, page, runs_file
from utils.errors import CourseError
from utils.intervals import Interval, mean_ci
from utils.plots import COLORS, band

LAB = "02_analysis"
FROZEN, TRAINED, CHANGED = "#8C8C8C", COLORS["distant"], COLORS["masked"]
QUIET = "#444444"

# Four ways to look inside

WORDS = ["the", "fence", "near", "the", "rustic", "plows"]
WIDTHS = [0.46, 0.68, 0.58, 0.46, 0.7, 0.74]


def network(ax: Axes, x: float, y: float, words: Sequence[str] = WORDS, layers: int = 2) -> list[float]:
    """A frozen network above its words, the words' middle at y; returns the middle of each word."""
    middles = []
    for text, width in zip(words, WIDTHS, strict=True):
        box(ax, x, y, width, text)
        middles.append(x + width / 2)
        for layer in range(1, layers + 1):
            state(ax, x + width / 2, y - 0.34 * layer)
        x += width + 0.05
    return middles


def state(ax: Axes, x: float, y: float, color: str = FROZEN, dashed: bool = False) -> None:
    """A state of the network: a small box with its middle at (x, y)."""
    edge = {"facecolor": color + "50", "edgecolor": color, "linewidth": 1.8 if dashed else 1.0}
    ax.add_patch(plt.Rectangle((x - 0.17, y - 0.1), 0.34, 0.2, linestyle="--" if dashed else "-", **edge))


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], color: str = QUIET, bend: float = 0.0
) -> None:
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.6, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xy=end, xytext=start, arrowprops={**style, "connectionstyle": f"arc3,rad={bend}"})


def answer(ax: Axes, x: float, y: float, shares: dict[str, float], color: str, width: float = 0.9) -> None:
    """What the network would say next: a bar for each of two words, the first at y."""
    for row, (text, share) in enumerate(shares.items()):
        ax.text(x, y + 0.3 * row, text, va="center", ha="right", fontsize=13)
        ax.add_patch(plt.Rectangle((x + 0.08, y + 0.3 * row - 0.09), width * share, 0.18, color=color))


def ways_to_look(_: Any) -> Figure:
    """Look at the states, test the behavior, probe a state, change a state: what is trained, what is changed."""
    fig, ax = page(7.25)
    rows = [
        ("Look: draw the states", "trained: nothing · changed: nothing"),
        ("Test: compare what it says next", "trained: nothing · changed: the sentence"),
        ("Probe: read a property off a state", "trained: a classifier · changed: nothing"),
        ("Change: put another state in its place", "trained: nothing · changed: the network’s state"),
    ]
    for row, (title, note) in enumerate(rows):
        top = 0.24 + 1.8 * row
        if row:
            ax.plot([0.1, 5.9], [top - 0.28] * 2, color="#DDDDDD", linewidth=0.8)
        ax.text(0.12, top, title, va="center", fontsize=14, fontweight="bold")
        ax.text(0.12, top + 0.27, note, va="center", fontsize=12, color=QUIET)
        words = top + 1.28
        middles = network(ax, 0.12, words)
        upper, last = words - 0.68, middles[-1]
        if row == 0:
            arrow(ax, (last + 0.3, upper), (4.66, upper))
            singular = [(4.85, 0.05), (5.0, 0.24), (5.15, 0.1), (4.97, -0.06)]
            plural = [(5.4, 0.55), (5.62, 0.45), (5.55, 0.7), (5.75, 0.62)]
            for points, marker, color in (
                (singular, "o", COLORS["causal"]),
                (plural, "^", COLORS["masked"]),
            ):
                ax.plot(
                    *zip(*[(px, upper + py) for px, py in points], strict=True),
                    marker,
                    color=color,
                    markersize=8,
                )
        elif row == 1:
            arrow(ax, (last + 0.3, upper), (4.66, upper))
            answer(ax, 4.98, upper - 0.05, {"is": 0.95, "are": 0.25}, FROZEN)
        elif row == 2:
            arrow(ax, (last + 0.3, upper), (4.5, upper))
            box(ax, 4.55, upper, 0.78, "probe", TRAINED, asked=True)
            arrow(ax, (4.94, upper + 0.18), (4.94, upper + 0.43))
            ax.text(4.94, upper + 0.58, "singular?", ha="center", va="center", fontsize=13)
        else:
            arrow(ax, (last + 0.3, upper), (4.66, upper))
            answer(ax, 4.98, upper - 0.05, {"is": 0.25, "are": 0.95}, FROZEN)
            ax.add_patch(plt.Rectangle((middles[1] - 0.17, words - 0.44), 0.34, 0.2, color="white"))
            state(ax, middles[1], words - 0.34, CHANGED, dashed=True)
            ax.plot(middles[1], words - 0.34, "x", color=CHANGED, markersize=9, markeredgewidth=2.2)
    return fig


# A probe and its control


def control_task(_: Any) -> Figure:
    """The labels of a tagging task and of its control, for two sentences that share words."""
    fig, ax = page(3.3)
    sentences = [
        (["the", "fence", "was", "old"], ["DET", "NOUN", "AUX", "ADJ"], ["NOUN", "DET", "NOUN", "VERB"]),
        (["the", "plow", "was", "new"], ["DET", "NOUN", "AUX", "ADJ"], ["NOUN", "ADJ", "NOUN", "DET"]),
    ]
    left, width = 1.62, 0.98
    for row, (words, tags, controls) in enumerate(sentences):
        top = 0.3 + 1.62 * row
        for column, word in enumerate(words):
            shared = word == sentences[1 - row][0][column]
            x = left + (width + 0.08) * column
            box(ax, x, top, width, word)
            box(ax, x, top + 0.46, width, tags[column], COLORS["causal"], asked=True)
            box(ax, x, top + 0.92, width, controls[column], TRAINED, asked=not shared)
        for y, name, color in (
            (top, "words", QUIET),
            (top + 0.46, "task: tags", COLORS["causal"]),
            (top + 0.92, "control", "#8A5A00"),
        ):
            ax.text(0.12, y, name, va="center", fontsize=13, color=color, fontweight="bold")
    return fig


# One step of activation patching

ROLES = ["<s>", "the", "fence", "near", "the", "rustic", "plows"]


def patching(_: Any) -> Figure:
    """Two runs of one network; a state of the second is copied into the first, which is then computed anew."""
    fig, ax = page(5.3)
    left, step, layers = 0.36, 0.68, 5
    layer, column = 2, ROLES.index("fence")  # where the copied state stands
    first, second = 1.78, 4.5
    plural = [word.replace("fence", "fences") for word in ROLES]
    x = left + step * column
    for base, words, title in (
        (first, ROLES, "first run: goes on from the copied state"),
        (second, plural, "second run: only to copy from"),
    ):
        ax.text(x - 0.17, base - 1.48, title, va="center", fontsize=13, fontweight="bold")
        for place, word in enumerate(words):
            ax.text(left + step * place, base + 0.3, word, ha="center", va="center", fontsize=13)
            for height in range(layers):
                anew = base == first and height > layer and place >= column  # it can see the copied state
                copied = (height, place) == (layer, column)
                color = CHANGED if anew or copied else FROZEN
                state(ax, left + step * place, base - 0.28 * height, color, dashed=copied)
    start, end, gap = second - 0.28 * layer, first - 0.28 * layer, x - 0.33
    ax.plot([x - 0.17, gap, gap], [start, start, end], color=CHANGED, linewidth=1.6)
    arrow(ax, (gap, end), (x - 0.17, end), CHANGED)
    right, top = left + step * (len(ROLES) - 1) + 0.2, 0.28 * (layers - 1)
    for base, shares, color in (
        (first, {"is": 0.35, "are": 0.6}, CHANGED),
        (second, {"is": 0.06, "are": 0.95}, FROZEN),
    ):
        arrow(ax, (right, base - top), (right + 0.25, base - top))
        answer(ax, right + 0.66, base - top, shares, color, width=0.55)
    return fig


# Figures of recorded runs


def means(name: str, metrics: Sequence[str], **fixed: Any) -> list[float]:
    """The mean of each metric over the recorded runs of a sweep whose settings have the values `fixed`."""
    runs = [found for setting, found in experiment(LAB, name) if fixed.items() <= setting.items()]
    if not runs:
        raise CourseError(f"{runs_file(LAB)}: the sweep {name!r} has no runs with {fixed}.")
    missing = [metric for metric in metrics if any(metric not in run for run in runs)]
    if missing:
        raise CourseError(f"{runs_file(LAB)}: the sweep {name!r} lacks the metric {missing[0]!r}.")
    return [round(sum(run[metric] for run in runs) / len(runs), 6) for metric in metrics]


def cells(
    ax: Axes, table: Sequence[Sequence[float]], rows: Sequence[str], columns: Sequence[str], top: float = 1.0
) -> None:
    """A table of shares as colored cells, the brightest at `top`, with the numbers in them, in hundredths."""
    ax.imshow(table, cmap="cividis", vmin=0, vmax=top, aspect="auto")
    for y, row in enumerate(table):
        for x, value in enumerate(row):
            ink = "white" if value < 0.55 * top else "black"
            ax.text(
                x,
                y,
                f"{round(100 * value)}".replace("-", "−"),
                ha="center",
                va="center",
                color=ink,
                fontsize=12,
            )
    ax.set_yticks(range(len(rows)), rows, fontsize=13)
    ax.set_xticks(range(len(columns)), columns, fontsize=13)
    ax.tick_params(length=0)
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)


PATCHED_LAYERS = 5


def patched_shares() -> list[list[float]]:
    """How far each copied state moves the verb, by layer from the top down and by place: means over samples."""
    names = [
        [f"patch {layer} {place}" for place in range(len(ROLES))] for layer in reversed(range(PATCHED_LAYERS))
    ]
    return [means("patching", row) for row in names]


def patching_grid(shares: list[list[float]]) -> Figure:
    """For every layer and place, the share of the way to the other number that copying this one state goes."""
    fig, ax = plt.subplots(figsize=(6.0, 3.9), layout="constrained")
    rows = [f"layer {layer}" for layer in reversed(range(1, PATCHED_LAYERS))] + ["word\nvectors"]
    cells(ax, shares, rows, [word.replace("fence", "fence(s)") for word in ROLES])
    fig.suptitle("share of the verb’s number that one copied state moves (%)", fontsize=13)
    return fig


ATTRACTORS = range(4)
Curve = list[tuple[float, float, float]]  # estimate and ends of its interval for each number of attractors
MODELS = {"causal": "Transformer", "lstm": "AWD-LSTM", "ngram": "5-gram"}
DOSES = {0: COLORS["lstm"], 0.5: COLORS["unigram"], 0.9: COLORS["distant"], 1: COLORS["masked"]}


def curve(runs: Sequence[dict[str, float]], metric: str) -> Curve:
    """Mean and interval of `metric K` for K attractors over runs."""
    intervals = [mean_ci([run[f"{metric}_{k}"] for run in runs]) for k in ATTRACTORS]
    return [tuple(round(x, 6) for x in (ci.estimate, ci.low, ci.high)) for ci in intervals]


def agreement_runs() -> dict[str, Curve]:
    """Agreement by attractors: of three models, and of small networks by how often a shortcut works in their text."""
    items = [metrics for _, metrics in experiment(LAB, "attractors")]
    networks = experiment(LAB, "dose")
    found = {name: curve(items, name) for name in MODELS}
    for dose in DOSES:
        found[f"dose {dose}"] = curve([m for setting, m in networks if setting["dose"] == dose], "original")
    return found


def agreement(curves: dict[str, Curve]) -> Figure:
    """Agreement accuracy over attractors: models of ordinary text, and networks whose text offers a shortcut."""
    fig, axes = plt.subplots(1, 2, figsize=(6.0, 4.1), layout="constrained", sharey=True)
    panels = (
        [
            (name, label, COLORS[name], marker)
            for (name, label), marker in zip(MODELS.items(), "o^D", strict=True)
        ],
        [
            (f"dose {dose}", f"{dose:.0%}", color, marker)
            for (dose, color), marker in zip(DOSES.items(), "o^sD", strict=True)
        ],
    )
    for ax, panel in zip(axes, panels, strict=True):
        for name, label, color, marker in panel:
            band(ax, ATTRACTORS, [Interval(*point, method="", n=0) for point in curves[name]], label, color)
            ax.lines[-1].set(
                marker=marker, markersize=11 if name == "causal" else 7
            )  # it lies below another line
        ax.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
        ax.set(xticks=ATTRACTORS, xlim=(-0.2, 3.2), ylim=(-0.02, 1.04), yticks=(0, 0.25, 0.5, 0.75, 1))
    axes[0].set_title("ordinary text", fontsize=13)
    axes[1].set_title("misleading text removed", fontsize=13)
    axes[0].legend(loc="upper right", bbox_to_anchor=(1.0, 0.92), handlelength=1.5)
    axes[1].legend(loc="lower left", handlelength=1.5, title="removed", alignment="left")
    fig.supxlabel("nouns of the other number before the verb", fontsize=13)
    axes[0].set_ylabel("right form preferred")
    axes[0].yaxis.set_major_formatter(PercentFormatter(1.0))
    return fig


TASKS = {  # metric -> (sweep, name in the figure)
    "tag": ("word-probes", "tag"),
    "parent": ("word-probes", "tag of the parent"),
    "grandparent": ("word-probes", "of the grandparent"),
    "topic": ("word-probes", "topic"),
    "number": ("pair-probes", "subject’s number"),
    "subject of": ("pair-probes", "subject of the verb"),
    "1 back": ("word-probes", "previous word"),
    "4 back": ("word-probes", "word 4 before"),
}
READERS = {"causal": "trained", "random": "untrained"}  # encoder of the sweeps -> name in the figure
Tables = dict[str, dict[str, list[list[float]]]]  # encoder -> accuracy or selectivity -> task -> layer


def probed_layers() -> Tables:
    """Accuracy and selectivity by task and layer, trained and untrained: means over samples of sentences."""
    found: Tables = {}
    for encoder in READERS:
        accuracy, selectivity = [], []
        for task, (sweep, _) in TASKS.items():
            real = means(sweep, [f"{task} {layer}" for layer in range(5)], encoder=encoder)
            control = means(sweep, [f"{task} control {layer}" for layer in range(5)], encoder=encoder)
            accuracy.append(real)
            selectivity.append([round(a - b, 6) for a, b in zip(real, control, strict=True)])
        found[encoder] = {"accuracy": accuracy, "selectivity": selectivity}
    return found


def layers(tables: Tables) -> Figure:
    """What linear probes read from each layer of the causal Transformer and of its untrained twin."""
    fig, axes = plt.subplots(2, 2, figsize=(6.0, 6.6), layout="constrained", sharey=True)
    rows, columns = [text for _, text in TASKS.values()], [str(k) for k in range(5)]
    for row, (measure, top) in zip(axes, (("accuracy", 1.0), ("selectivity", 0.6)), strict=True):
        for ax, (encoder, name) in zip(row, READERS.items(), strict=True):
            cells(ax, tables[encoder][measure], rows, columns, top)
            ax.set_title(f"{measure}, {name}", fontsize=13)
    fig.supxlabel("layer (0: word vectors), numbers in %", fontsize=13)
    return fig


SENT = (50, 100, 200, 400, 800, 1600, 3200)  # labels
CODES = {  # (features, task) -> (name in the figure, color, marker)
    ("causal", "control"): ("control task,\ntrained", QUIET, "D"),
    ("random", "tag"): ("tags,\nuntrained", COLORS["scratch"], "^"),
    ("causal", "tag"): ("tags,\ntrained", COLORS["causal"], "o"),
    ("static", "tag"): ("tags, word\nvectors", COLORS["lstm"], "s"),
}


def code_lengths() -> dict[str, list[float]]:
    """Bits of the online code after each block, and at the end the accuracy of the probe: means over samples."""
    return {
        f"{features} {task}": means(
            "code-length", [*(f"{task} bits {n}" for n in SENT), f"{task} accuracy"], features=features
        )
        for features, task in CODES
    }


def description_length(codes: dict[str, list[float]]) -> Figure:
    """How the code grows with the labels sent, for tags from three kinds of states and for the control task."""
    fig, ax = plt.subplots(figsize=(6.0, 4.3), layout="constrained")
    place = 100.0
    for (features, task), (label, color, marker) in sorted(
        CODES.items(), key=lambda item: -codes[" ".join(item[0])][-2]
    ):
        *bits, accuracy = codes[f"{features} {task}"]
        kilobits = [b / 1000 for b in bits]
        ax.plot(SENT, kilobits, marker=marker, color=color, linestyle="--" if task == "control" else "-")
        place = min(kilobits[-1] + 0.15, place - 1.05)
        ax.text(3320, place, f"{label}: {accuracy:.0%}", va="center", color=color, fontsize=12)
    per_label = codes["causal tag"][0] / SENT[0] / 1000  # the first block is sent as it is
    ax.plot([0, 1900], [0, 1900 * per_label], color=QUIET, linewidth=1, linestyle=":")
    ax.text(1250, 1450 * per_label, "sent as\nthey are", ha="right", va="center", fontsize=12, color=QUIET)
    ax.set(xlim=(0, 4850), xticks=(0, 800, 1600, 2400, 3200), xlabel="labels sent")
    top = max(bits[-2] for bits in codes.values()) / 1000 * 1.08
    ax.set(ylim=(0, top), yticks=range(0, int(top) + 1, 2))
    ax.set_title("kilobits so far; at the end: accuracy of the probe", loc="left", fontsize=12)
    return fig


FIGURES = {
    "ways-to-look": Source(lambda: None, ways_to_look),
    "control-task": Source(lambda: None, control_task),
    "patching": Source(lambda: None, patching),
    "agreement": Source(agreement_runs, agreement),
    "patching-grid": Source(patched_shares, patching_grid),
    "description-length": Source(code_lengths, description_length),
    "probe-layers": Source(probed_layers, layers),
}
