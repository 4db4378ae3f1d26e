"""The figures of the chapter on adaptation."""

from __future__ import annotations

import math
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tools.figures import Source, experiment, page, runs_file
from utils.errors import CourseError
from utils.intervals import Interval, mean_ci, paired_ci
from utils.plots import COLORS, band

LAB = "03_adaptation"
FROZEN, TRAINED = "#8C8C8C", COLORS["distant"]
QUIET = "#444444"

# Where the trained parts sit

Point = tuple[float, float]
LEVELS = {"MLP": 1.4, "attention": 2.32}  # sub-layer -> its middle, from the top of a panel
HEAD, WORDS = 0.52, 2.9


def line(ax: Axes, *points: Point, color: str = QUIET, dashed: bool = False, arrow: bool = True) -> None:
    """A line through points, with an arrow at its end."""
    ax.plot(*zip(*points, strict=True), color=color, linewidth=1.4, linestyle="--" if dashed else "-")
    if arrow:
        (x0, y0), (x1, y1) = points[-2:]
        length = max(abs(x1 - x0), abs(y1 - y0))
        start = (x1 - 0.02 * (x1 - x0) / length, y1 - 0.02 * (y1 - y0) / length)
        style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.4, "shrinkA": 0, "shrinkB": 0}
        ax.annotate("", xy=(x1, y1), xytext=start, arrowprops=style)


def part(ax: Axes, x: float, y: float, width: float, text: str, trained: bool) -> None:
    """A part of a network with its middle at (x, y); trained ones are dashed and colored."""
    edge = {"edgecolor": TRAINED if trained else "#BBBBBB", "linewidth": 2.0 if trained else 0.8}
    face = TRAINED + "50" if trained else "#EFEFEF"
    corner = (x - width / 2, y - 0.14)
    ax.add_patch(
        plt.Rectangle(corner, width, 0.28, facecolor=face, linestyle="--" if trained else "-", **edge)
    )
    ax.text(x, y, text, ha="center", va="center", fontsize=12)


def bottleneck(ax: Axes, x: float, y: float, width: float, height: float) -> None:
    """An adapter: a shape that is narrow in its middle, which is at (x, y)."""
    w, h, waist = width / 2, height / 2, width / 6
    corners = [
        (x - w, y - h),
        (x + w, y - h),
        (x + waist, y),
        (x + w, y + h),
        (x - w, y + h),
        (x - waist, y),
    ]
    ax.add_patch(
        plt.Polygon(corners, facecolor="#F5D48A", edgecolor=TRAINED, linewidth=1.8, linestyle="--", zorder=3)
    )


def block(ax: Axes, x: float, y: float, kind: str) -> None:
    """One layer of a Transformer between its words and a classifier's head, with the parts that a method trains."""
    stream, middle, width = x + 0.16, x + 0.72, 0.78
    everything = kind == "full"
    line(ax, (stream, y + WORDS - 0.14), (stream, y + HEAD + 0.15))
    part(ax, middle - 0.16, y + HEAD, 1.08, "head", trained=True)
    left = 0.3 if kind == "prompt" else 0.0
    part(ax, middle - 0.16 + left / 2, y + WORDS, 1.08 - left, "words", everything)
    for name, level in LEVELS.items():
        sub = y + level
        out = sub - (0.5 if kind == "serial" else 0.3)
        line(ax, (stream, sub + 0.3), (middle, sub + 0.3), (middle, sub + 0.15))
        line(ax, (middle, sub - 0.15), (middle, out), (stream + 0.07, out))
        ax.plot(stream, out, "o", color="white", markeredgecolor=QUIET, markersize=11)
        ax.plot(stream, out, "+", color=QUIET, markersize=8)
        part(ax, middle, sub, width, name, everything)
        beside = x + 1.28
        if kind == "serial":
            bottleneck(ax, middle, sub - 0.32, 0.44, 0.22)
        elif kind == "parallel":
            line(
                ax,
                (middle, sub + 0.3),
                (beside, sub + 0.3),
                (beside, sub - 0.3),
                (middle, sub - 0.3),
                arrow=False,
            )
            bottleneck(ax, beside, sub, 0.24, 0.3)
        elif kind == "lora" and name == "attention":
            end = (middle + width / 2 + 0.01, sub - 0.06)
            line(ax, (middle, sub + 0.3), (beside, sub + 0.3), (beside, sub - 0.06), end)
            bottleneck(ax, beside, sub + 0.14, 0.24, 0.22)
        elif kind == "bias":
            strip = (middle + width / 2, sub - 0.14)
            ax.add_patch(plt.Rectangle(strip, 0.1, 0.28, facecolor=TRAINED, edgecolor=TRAINED))
    if kind == "mix":
        levels = [y + WORDS - 0.2, y + LEVELS["MLP"] + 0.46, y + LEVELS["MLP"] - 0.46]
        for level in levels:
            line(ax, (stream, level), (x + 1.3, level), color=TRAINED, dashed=True, arrow=False)
        corner, top = (x + 1.3, y + HEAD), (x + 1.12, y + HEAD)
        line(ax, (x + 1.3, levels[0]), corner, top, color=TRAINED, dashed=True)
    if kind == "prompt":
        for place in (x + 0.02, x + 0.16):
            corner = (place, y + WORDS - 0.14)
            edge = {"edgecolor": TRAINED, "linewidth": 1.6, "linestyle": "--"}
            ax.add_patch(plt.Rectangle(corner, 0.12, 0.28, facecolor="#F5D48A", **edge))


PLACES = [
    ("head", "head only"),
    ("mix", "mix of layers"),
    ("bias", "biases"),
    ("full", "everything"),
    ("serial", "adapters"),
    ("parallel", "parallel ones"),
    ("lora", "LoRA"),
    ("prompt", "prompt"),
]


def trained_parts(_: Any) -> Figure:
    """The same layer eight times, with what each way of adapting trains."""
    fig, ax = page(6.45)
    for place, (kind, title) in enumerate(PLACES):
        x, y = 0.06 + 1.49 * (place % 4), 3.26 * (place // 4)
        ax.text(x + 0.02, y + 0.2, title, va="center", fontsize=13, fontweight="bold")
        block(ax, x, y, kind)
    return fig


# Schedules: when, and how fast

PARTS = ("head", "4", "3", "2", "1", "words")  # of the course's Transformer, from top to bottom


def thawed(name: str, share: float) -> set[int]:
    """The parts that learn at a share of the training time, by their place in PARTS."""
    everything = set(range(len(PARTS)))
    step = min(int(share * len(PARTS)), len(PARTS) - 1)
    if name == "gradual unfreezing":
        return set(range(step + 1))
    if name == "chain-thaw":  # the head, each part from the bottom, everything
        turn = min(int(share * (len(PARTS) + 1)), len(PARTS))
        return {0} if turn == 0 else everything if turn == len(PARTS) else {len(PARTS) - turn}
    if name == "sequential":  # the head, all but the embeddings, everything
        return {0} if share < 0.25 else everything - {len(PARTS) - 1} if share < 0.6 else everything
    return {0} if share < 0.35 else everything  # the head first, then everything


def rates(name: str, steps: int = 400) -> list[float]:
    """The factor of the peak rate at each step."""
    from utils.adaptation import slanted_triangular

    if name == "slanted triangular":
        return [slanted_triangular(i, steps) for i in range(steps)]
    if name == "warm-up, root":
        rise = steps // 10
        return [min((i + 1) / rise, math.sqrt(rise / (i + 1))) for i in range(steps)]
    return [(1 + math.cos(math.pi * i / steps)) / 2 for i in range(steps)]


def empty(ax: Axes) -> None:
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[["top", "right"]].set_visible(False)


def schedules(_: Any) -> Figure:
    """Which layers learn when, for four orders; and the rate over time, for three shapes, and by layer."""
    fig, axes = plt.subplots(2, 4, figsize=(6.0, 4.9), layout="constrained", height_ratios=(1.35, 1))
    titles = ("gradual\nunfreezing", "chain-\nthaw", "sequential\nunfreezing", "head first,\nthen all")
    for ax, title in zip(axes[0], titles, strict=True):
        name = title.replace("-\n", "-").replace("sequential\nunfreezing", "sequential").replace("\n", " ")
        moments = [(moment + 0.5) / 420 for moment in range(420)]
        for place in range(len(PARTS)):
            ax.broken_barh([(0, 1)], (place - 0.42, 0.84), color="#E9E9E9", linewidth=0)
            learns = [place in thawed(name, moment) for moment in moments]
            starts = [i for i, on in enumerate(learns) if on and not (i and learns[i - 1])]
            ends = [i for i, on in enumerate(learns, 1) if on and not (i < 420 and learns[i])]
            spans = [(start / 420, (end - start) / 420) for start, end in zip(starts, ends, strict=True)]
            ax.broken_barh(spans, (place - 0.42, 0.84), color=TRAINED, linewidth=0)
        ax.set(xlim=(0, 1.02), ylim=(len(PARTS) - 0.45, -0.55))
        ax.set_title(title, fontsize=12)
        empty(ax)
    shapes = ("slanted\ntriangular", "warm-up,\nroot", "cosine")
    for ax, title in zip(axes[1, 1:], shapes, strict=True):
        values = rates(title.replace("\n", " "))
        ax.plot([i / len(values) for i in range(len(values))], values, color=COLORS["causal"], linewidth=2.4)
        ax.set(xlim=(0, 1.02), ylim=(0, 1.08), ylabel="rate")
        ax.set_title(title, fontsize=12)
        empty(ax)
    bars = axes[1, 0]
    bars.barh(range(len(PARTS)), [2.6**-place for place in range(len(PARTS))], color=COLORS["causal"])
    bars.set(ylim=(len(PARTS) - 0.4, -0.6), xlim=(0, 1.08))
    bars.set_title("rate by\nlayer", fontsize=12)
    empty(bars)
    for ax in axes[:, 0]:
        ax.set_yticks(range(len(PARTS)), PARTS, fontsize=12)
        ax.tick_params(length=0)
    for ax in axes.flat:
        ax.set_xlabel("rate" if ax is bars else "time", fontsize=12)
    return fig


# Figures of recorded runs


def runs_of(name: str, metric: str, *keys: str, **fixed: Any) -> dict[tuple, dict[int, float]]:
    """A metric of the recorded runs of a sweep with the settings `fixed`: by the values of `keys`, then by seed."""
    found: dict[tuple, dict[int, float]] = {}
    for setting, metrics in experiment(LAB, name):
        if fixed.items() <= setting.items() and metric in metrics:
            place = tuple(setting[key] for key in keys)
            found.setdefault(place, {})[setting["seed"]] = metrics[metric]
    if not found:
        raise CourseError(f"{runs_file(LAB)}: no run of {name!r} has the metric {metric!r} with {fixed}.")
    return found


def paired(a: dict[int, float], b: dict[int, float], what: str) -> Interval:
    """The interval of a minus b over the seeds of both; CourseError where the seeds differ."""
    if a.keys() != b.keys():
        raise CourseError(f"{runs_file(LAB)}: runs of {what} differ in their seeds and can't be paired.")
    return paired_ci([a[seed] for seed in sorted(a)], [b[seed] for seed in sorted(a)])


def inner_ticks(axis: Axis, low: float, high: float, step: float) -> None:
    """The multiples of `step` from low to high as the ticks of an axis; none lies outside, where it would be cut."""
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    axis.set_view_interval(low, high, ignore=True)
    axis.set_ticks([round(step * i, 6) for i in range(first, last + 1)])


# The decision map

TASKS = {  # name in the sweep `similarity` -> name in the figure; sentiment stands in the sweep `curves`
    "topic": "topic",
    "sentiment": "opinion",
    "same topic": "same\ntopic",
    "same opinion": "same\nopinion",
    "roles": "roles",
}
GUESSING = dict.fromkeys(TASKS, 1 / 2) | {"topic": 1 / 12}
COUNTS = (16, 64, 256)  # labels
WAYS = {  # name in the sweeps, from the least memory to the most -> (name in the figure, color)
    "head": ("head", "#EDEDED"),
    "mix": ("mix", "#A9D6F2"),
    "LoRA": ("LoRA", "#2F7FB8"),
    "full": ("all", "#12294D"),
}
BUDGETS = {"10%": 0.1, "50%": 0.5, "100%": 1.0}  # shares of what full fine-tuning takes


def megabytes() -> dict[str, float]:
    """What each way of adapting keeps in memory beside the weights of the network, in 10^6 bytes: means over runs.

    The gradients of what is trained (4 bytes a number), the optimizer's state, and what a forward pass keeps for the
    way back.
    """
    totals: dict[str, list[float]] = {}
    for setting, found in experiment(LAB, "costs"):
        memory = 4 * found["trained"] + found["optimizer"] + found["kept"]
        totals.setdefault(setting["method"], []).append(memory)
    missing = WAYS.keys() - totals.keys()
    if missing:
        raise CourseError(f"{runs_file(LAB)}: the sweep 'costs' has no runs of {sorted(missing)[0]!r}.")
    return {way: round(sum(totals[way]) / len(totals[way]) / 1e6, 3) for way in WAYS}


def cheapest(scores: dict[str, dict[int, float]], what: str) -> str:
    """The first of `scores` (from cheap to dear) that is not measurably worse than the best.

    Measurably worse: the paired interval of the best minus it, over seeds, lies above zero.
    """
    best = max(scores, key=lambda way: sum(scores[way].values()) / len(scores[way]))
    for way, found in scores.items():
        if way == best or paired(scores[best], found, what).low <= 0:
            return way
    raise AssertionError("the best is not worse than itself")


def decisions() -> dict[str, Any]:
    """For each budget, task and number of labels what to train and its accuracy; distances; what each way takes.

    Nothing is named where the choice is not measurably better than guessing, and None where not all ways were run.
    """
    memory = megabytes()
    runs = runs_of("similarity", "accuracy", "task", "labels", "method")
    runs |= {
        ("sentiment", *place): found
        for place, found in runs_of("curves", "known", "labels", "method").items()
    }
    seeds = max((found.keys() for found in runs.values()), key=len)
    distances = {
        task: list(found.values()) for (task,), found in runs_of("task distance", "distance", "task").items()
    }
    choices: dict[str, dict[str, list[list]]] = {}
    for budget, share in BUDGETS.items():
        fits = [way for way in sorted(WAYS, key=memory.__getitem__) if memory[way] <= share * memory["full"]]
        choices[budget] = {}
        for task in TASKS:
            row = choices[budget][task] = []
            for labels in COUNTS:
                scores = {way: runs.get((task, labels, way), {}) for way in fits}
                if any(found.keys() < seeds for found in scores.values()):  # not all ways were run in full
                    row.append(None)
                    continue
                way = cheapest(scores, f"{task} with {labels} labels")
                reached = mean_ci(list(scores[way].values()))
                row.append([way if reached.low > GUESSING[task] else "", round(reached.estimate, 4)])
            if not any(row):
                raise CourseError(f"{runs_file(LAB)}: no number of labels has runs of {fits} for {task!r}.")
    distance = {task: round(sum(distances[task]) / len(distances[task]), 4) for task in TASKS}
    return {"choices": choices, "memory": memory, "distance": distance}


def swatch(ax: Axes, x: float, y: float, width: float, height: float, way: str, text: str) -> None:
    """A cell of the map with its upper left corner at (x, y); white without a way."""
    color = WAYS[way][1] if way else "#FFFFFF"
    ax.add_patch(plt.Rectangle((x, y), width, height, facecolor=color, edgecolor="#777777", linewidth=0.8))
    dark = sum(int(color[i : i + 2], 16) for i in (1, 3, 5)) < 400
    ax.text(
        x + width / 2,
        y + height / 2,
        text,
        ha="center",
        va="center",
        fontsize=12,
        linespacing=1.25,
        color="white" if dark else "black",
    )


def decision_map(found: dict[str, Any]) -> Figure:
    """What to train, by memory, task and number of labels; below, what each way takes."""
    left, width, height, top = 1.36, 0.49, 0.56, 0.98
    bottom = top + height * len(TASKS)
    order = sorted(TASKS, key=found["distance"].__getitem__)
    fig, ax = page(bottom + 1.0)
    for column, (budget, rows) in enumerate(found["choices"].items()):
        x = left + (3 * width + 0.07) * column
        ax.text(x + 1.5 * width, 0.18, budget, ha="center", va="center", fontsize=13, fontweight="bold")
        ax.text(x + 1.5 * width, 0.5, "labels", ha="center", va="center", fontsize=12, color=QUIET)
        for place, labels in enumerate(COUNTS):
            ax.text(x + (place + 0.5) * width, 0.8, str(labels), ha="center", va="center", fontsize=12)
        for row, task in enumerate(order):
            for place, choice in enumerate(rows[task]):
                corner = x + place * width, top + row * height
                way, accuracy = choice or ("", None)
                text = "–" if accuracy is None else f"{WAYS[way][0] if way else 'none'}\n{100 * accuracy:.0f}"
                swatch(ax, *corner, width, height, way, text)
    ax.text(0.06, 0.18, "memory", va="center", fontsize=13, fontweight="bold")
    ax.text(left - 0.08, 0.8, "task: distance", ha="right", va="center", fontsize=12, color=QUIET)
    for row, task in enumerate(order):
        y = top + (row + 0.5) * height
        ax.text(0.06, y, TASKS[task], va="center", fontsize=12, linespacing=1.1)
        ax.text(left - 0.08, y, f"{found['distance'][task]:.2f}", ha="right", va="center", fontsize=12)
    note = "what is trained, and its memory beside the network’s own:"
    ax.text(0.06, bottom + 0.3, note, va="center", fontsize=12)
    for place, (way, (name, _)) in enumerate(WAYS.items()):
        x, size = 0.1 + 1.48 * place, found["memory"][way]
        swatch(ax, x, bottom + 0.5, width, 0.34, way, name)
        ax.text(
            x + width + 0.08,
            bottom + 0.67,
            f"{size:.{2 if size < 1 else 1 if size < 10 else 0}f} MB",
            va="center",
            fontsize=12,
        )
    return fig


# Accuracy over labels

LABELS = (16, 64, 256, 1024)
LINES = {  # method -> (name, color, marker, line)
    "full": ("everything", COLORS["pretrained"], "o", "-"),
    "LoRA": ("LoRA", COLORS["distant"], "D", "-"),
    "mix": ("frozen, mix", COLORS["frozen"], "^", "--"),
    "head": ("frozen, top", COLORS["supervised"], "v", "--"),
    "scratch": ("from scratch", COLORS["scratch"], "s", ":"),
}
Curve = list[tuple[float, float, float]]


def curves() -> dict[str, dict[str, Curve]]:
    """Accuracy on both tests by method and number of labels, with its interval over seeds."""
    found: dict[str, dict[str, Curve]] = {}
    for test in ("known", "new"):
        runs = runs_of("curves", test, "method", "labels")
        found[test] = {}
        for method in LINES:
            missing = [labels for labels in LABELS if (method, labels) not in runs]
            if missing:
                raise CourseError(
                    f"{runs_file(LAB)}: the sweep 'curves' lacks {method!r} with {missing[0]} labels."
                )
            intervals = [mean_ci(list(runs[method, labels].values())) for labels in LABELS]
            found[test][method] = [tuple(round(x, 6) for x in (i.estimate, i.low, i.high)) for i in intervals]
    return found


def accuracy_curves(found: dict[str, dict[str, Curve]]) -> Figure:
    """Accuracy over labels of five ways of adapting: on words that the labels show, and on new ones."""
    fig, axes = plt.subplots(1, 2, figsize=(6.0, 4.6), layout="constrained", sharey=True)
    for ax, (test, title) in zip(axes, (("known", "known words"), ("new", "new words")), strict=True):
        for method, (name, color, marker, style) in LINES.items():
            points = [Interval(*point, method="", n=0) for point in found[test][method]]
            band(ax, LABELS, points, name, color)
            ax.lines[-1].set(marker=marker, markersize=7, linestyle=style)
        ax.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
        ax.set_xscale("log", base=4)
        ax.set_xticks(LABELS, [str(labels) for labels in LABELS])
        ax.set_xlim(11, 1500)
        ax.minorticks_off()
        ax.set_title(title, fontsize=13)
        lows = [low for curve in found[test].values() for _, low, _ in curve]
        inner_ticks(ax.yaxis, min(0.46, *lows), 1.01, 0.1)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0].set_ylabel("accuracy")
    fig.supxlabel("labeled reviews", fontsize=13)
    handles, labels = axes[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, fontsize=12, handlelength=2.4)
    return fig


# ULMFiT's factorial

RECIPES = {  # name in the sweep -> whether it has unfreezing, discriminative rates, slanted triangular rates
    "plain": (0, 0, 0),
    "G": (1, 0, 0),
    "D": (0, 1, 0),
    "S": (0, 0, 1),
    "GD": (1, 1, 0),
    "GS": (1, 0, 1),
    "DS": (0, 1, 1),
    "GDS": (1, 1, 1),
}
SWITCHES = ("gradual\nunfreezing", "rates by\nlayer", "slanted\ntriangular")


def recipes() -> dict[str, tuple[float, float, float]]:
    """Accuracy of each recipe with its interval over seeds."""
    runs = runs_of("recipes", "known", "recipe")
    missing = [recipe for recipe in RECIPES if (recipe,) not in runs]
    if missing:
        raise CourseError(f"{runs_file(LAB)}: the sweep 'recipes' lacks {missing[0]!r}.")
    intervals = {recipe: mean_ci(list(runs[recipe,].values())) for recipe in RECIPES}
    return {name: tuple(round(x, 6) for x in (i.estimate, i.low, i.high)) for name, i in intervals.items()}


def factorial(found: dict[str, tuple[float, float, float]]) -> Figure:
    """Accuracy of the eight combinations of three switches, with intervals."""
    fig, (marks, ax) = plt.subplots(1, 2, figsize=(6.0, 4.3), layout="constrained", width_ratios=(1.15, 1))
    for row, (recipe, switches) in enumerate(RECIPES.items()):
        for column, on in enumerate(switches):
            face = COLORS["causal"] if on else "white"
            marks.plot(
                column,
                row,
                "o",
                color=face,
                markeredgecolor=COLORS["causal"] if on else "#BBBBBB",
                markersize=11,
            )
        estimate, low, high = (100 * x for x in found[recipe])
        color = COLORS["causal"] if any(switches) else COLORS["scratch"]
        ax.plot([low, high], [row, row], color=color, linewidth=2)
        ax.plot(estimate, row, "o" if any(switches) else "s", color=color, markersize=8)
    marks.set_xticks(range(3), SWITCHES, fontsize=12)
    marks.xaxis.tick_top()
    marks.set(yticks=[], xlim=(-0.6, 2.6), ylim=(7.5, -0.5))
    marks.tick_params(length=0)
    marks.grid(False)
    marks.spines[:].set_visible(False)
    ax.axvline(100 * found["plain"][0], color=COLORS["scratch"], linewidth=1, linestyle=":")
    ax.set(yticks=[], ylim=(7.5, -0.5), xlabel="accuracy (%)")
    lows, highs = [100 * low for _, low, _ in found.values()], [100 * high for _, _, high in found.values()]
    inner_ticks(ax.xaxis, min(lows) - 1, max(highs) + 1, 5)
    ax.spines["left"].set_visible(False)
    return fig


# What is learned and what is forgotten

HOLDS = {  # -> (name, color, marker)
    "lower rate": ("lower rate", COLORS["pretrained"], "o"),
    "L2 to start": ("L2 to start", COLORS["distant"], "D"),
    "EWC": ("EWC", COLORS["scratch"], "s"),
    "distillation": ("old predictions", COLORS["frozen"], "^"),
    "replay": ("replay", COLORS["supervised"], "v"),
    "LoRA": ("LoRA", COLORS["unigram"], "P"),
    "adapters": ("adapters", COLORS["baseline"], "X"),
}
SCORES = ("bits", "known")  # on scenes, the old text, and on reviews


def mean(name: str, metric: str, **fixed: Any) -> float:
    """The mean of a metric over the recorded runs of a sweep with the settings `fixed`."""
    (runs,) = runs_of(name, metric, **fixed).values()
    return round(sum(runs.values()) / len(runs), 6)


def forgetting() -> dict[str, list[list[float]]]:
    """Bits per token and accuracy of plain tuning and of each way to hold on, by strength: means over seeds."""
    runs = runs_of("holding on", "bits", "family", "strength")
    found = {"plain": [[mean("plain tuning", f"{score} 1") for score in SCORES]]}
    for family in HOLDS:
        strengths = sorted(strength for name, strength in runs if name == family)
        found[family] = [
            [mean("holding on", score, family=family, strength=strength) for score in SCORES]
            for strength in strengths
        ]
    searched = {
        "lower rate": "full",
        "LoRA": "LoRA",
        "adapters": "adapters",
    }  # with their own rates they stand in another sweep
    for family, method in searched.items():
        found[family].append([mean("curves", score, method=method, labels=64) for score in SCORES])
    found["lower rate"].append([mean("lowest rate", score) for score in SCORES])
    missing = [family for family in HOLDS if not found[family]]
    if missing:
        raise CourseError(f"{runs_file(LAB)}: the sweep 'holding on' lacks {missing[0]!r}.")
    found["before"] = [[mean("pretrained bits", "bits")]]
    return found


def pareto(found: dict[str, list[list[float]]]) -> Figure:
    """Accuracy over bits forgotten: what each way to hold on keeps and what it costs."""
    fig, ax = plt.subplots(figsize=(6.0, 4.8), layout="constrained")
    ((before,),) = found["before"]

    def drawn(points: list[list[float]], **look: Any) -> None:
        bits, known = zip(*sorted(points), strict=True)
        ax.plot([max(b - before, 1e-3) for b in bits], [100 * x for x in known], linewidth=1.4, **look)

    for family, (name, color, marker) in HOLDS.items():
        drawn(found[family], marker=marker, color=color, label=name, markersize=9)
    drawn(
        found["plain"], marker="*", color=COLORS["exact"], label="plain tuning", markersize=15, linestyle=""
    )
    ax.set(xlabel="bits per token forgotten, on scenes", ylabel="accuracy on reviews (%)")
    ax.set_xscale("log")
    ax.set_xlim(8e-4, 12)
    ax.set_xticks([0.001, 0.01, 0.1, 1, 10], ["0.001", "0.01", "0.1", "1", "10"])
    ax.minorticks_off()
    inner_ticks(ax.yaxis, *ax.get_ylim(), 2 if ax.get_ylim()[1] - ax.get_ylim()[0] < 12 else 5)
    fig.legend(loc="outside upper center", ncols=3, handlelength=1.6)
    return fig


FIGURES: dict[str, Source] = {
    "trained-parts": Source(lambda: None, trained_parts),
    "schedules": Source(lambda: None, schedules),
    "decision-map": Source(decisions, decision_map),
    "adaptation-curves": Source(curves, accuracy_curves),
    "factorial": Source(recipes, factorial),
    "forgetting": Source(forgetting, pareto),
}
