"""The figures of the chapter on open problems."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tools.figures import Source, experiment, page, runs_file
from utils.errors import CourseError
from utils.intervals import Interval, mean_ci
from utils.plots import COLORS, band

LAB = "05_open_problems"
QUIET = "#444444"

Curve = list[list[float]]  # [estimate, low, high] of each point


# Recorded runs


def runs_of(name: str, metric: str, **fixed: Any) -> dict[int, float]:
    """A metric of the recorded runs of a sweep with the settings `fixed`, by seed."""
    found = {
        setting["seed"]: metrics[metric]
        for setting, metrics in experiment(LAB, name)
        if fixed.items() <= setting.items() and metric in metrics
    }
    if not found:
        raise CourseError(f"{runs_file(LAB)}: no run of {name!r} has the metric {metric!r} with {fixed}.")
    return dict(sorted(found.items()))


def summed(runs: dict[int, float]) -> list[float]:
    """The mean of some runs with its interval, as [estimate, low, high]."""
    interval = mean_ci(list(runs.values()))
    return [round(x, 6) for x in (interval.estimate, interval.low, interval.high)]


def drawn(ax: Axes, x: Any, curve: Curve, label: str, color: str, marker: str = "o", line: str = "-") -> None:
    """A curve with its band."""
    band(ax, x, [Interval(*point, method="", n=0) for point in curve], label, color)
    ax.lines[-1].set(marker=marker, markersize=7, linestyle=line)


def percent(ax: Axes, low: float = -0.04) -> None:
    """Accuracies from 0 to 100% upwards."""
    ax.set_ylim(low, 1.06)
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1] if low < 0.3 else [0.5, 0.75, 1])
    ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


# Four pieces of good news, and one more run for each

SHARES = (0.5, 0.8, 0.95, 0.98, 1)  # of right cues
WORDINGS = {  # name in the sweep -> what stands below the bar
    "in short: bad, good": "“in short ,\nit was”",
    "good or bad?: bad, good": "“good\nor bad ?”",
}
ANSWERS = {"memory_known": "no page", "page_moved": "new job\non a page"}


def more_runs() -> dict[str, Any]:
    """What four colleagues measured, and what one more run shows."""
    reruns = runs_of("reruns", "known", updates=12, rate=1e-3, correction="yes")
    found: dict[str, Any] = {"seeds": list(reruns.values())}
    found["wordings"] = [
        summed(runs_of("prompt-zero", "raw", prompt=prompt, split="test")) for prompt in WORDINGS
    ]
    for test in ("usual", "against"):
        found[test] = [summed(runs_of("surface", test, start="pretrained", share=share)) for share in SHARES]
    found["facts"] = [summed(runs_of("facts page", name)) for name in ANSWERS]
    return found


def bars(ax: Axes, points: Curve, names: Iterable[str]) -> None:
    """The first bar is the good news, the others what one more run shows; lines are intervals."""
    for place, (estimate, low, high) in enumerate(points):
        color = COLORS["scratch"] if place else COLORS["pretrained"]
        ax.bar(place, estimate, 0.6, color=color, hatch="//" if place else "", edgecolor="white", linewidth=0)
        ax.plot([place] * 2, [low, high], color="black", linewidth=2)
    ax.set_xticks(range(len(points)), names, fontsize=12)
    ax.set_xlim(-0.6, len(points) - 0.4)
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="x", visible=False)


def one_more_run(found: dict[str, Any]) -> Figure:
    """Another seed, another wording, another cue, another page."""
    fig, ((seeds, wordings), (cues, facts)) = plt.subplots(2, 2, figsize=(6.0, 5.9), layout="constrained")
    values = sorted(found["seeds"], reverse=True)
    fails = [value <= 0.6 for value in values]
    for failed, color, marker in ((False, COLORS["pretrained"], "o"), (True, COLORS["scratch"], "X")):
        some = [(i + 1, value) for i, value in enumerate(values) if fails[i] == failed]
        if some:
            seeds.plot(*zip(*some, strict=True), marker, color=color, markersize=6)
    seeds.set(xticks=(1, len(values)), xlabel="runs, from best to worst", ylabel="accuracy")
    bars(wordings, found["wordings"], WORDINGS.values())
    for test, name, color, marker, line in (
        ("usual", "usual test", COLORS["pretrained"], "o", "-"),
        ("against", "cue turned", COLORS["scratch"], "s", "--"),
    ):
        drawn(cues, range(len(SHARES)), found[test], name, color, marker, line)
    cues.set_xticks(range(len(SHARES)), [f"{100 * share:.0f}" for share in SHARES])
    cues.set(xlabel="% of cues right in training", ylabel="accuracy")
    cues.legend(loc="lower left")
    bars(facts, found["facts"], ANSWERS.values())
    for ax in (seeds, wordings):
        ax.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
    for ax, title in zip((seeds, wordings, cues, facts), ("seed", "wording", "cue", "page"), strict=True):
        ax.set_title(f"another {title}", fontsize=13)
        percent(ax)
    return fig


# What can be taken away

ORDERS = {  # order of silencing in the sweep -> (name, color, marker, line)
    "least first": ("least important first", COLORS["pretrained"], "o", "-"),
    "random": ("in random order", COLORS["baseline"], "^", "--"),
    "most first": ("most important first", COLORS["scratch"], "s", ":"),
}
HEADS = range(0, 17, 2)
KINDS = {  # kind in the sweep -> (name, color, marker, line)
    "cut": ("cut, not tuned again", COLORS["pretrained"], "o", "-"),
    "ticket": ("ticket, tuned again", COLORS["frozen"], "D", "-"),
    "random places": ("random places, tuned", COLORS["baseline"], "^", "--"),
    "new weights": ("new weights, tuned", COLORS["scratch"], "s", ":"),
}
GONE = {  # shares of the layers' weights taken out, of each kind
    "cut": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9),
    "ticket": (0.5, 0.8, 0.9),
    "random places": (0.5, 0.8, 0.9),
    "new weights": (0.5, 0.8),
}


def parts_left() -> dict[str, dict[str, Curve]]:
    """Accuracy with heads silenced, by order, and with weights taken out, by kind."""
    heads = {
        order: [summed(runs_of("size heads", f"known_{k}", order=order)) for k in HEADS] for order in ORDERS
    }
    weights = {
        kind: [summed(runs_of("size weights", "known", kind=kind, sparsity=gone)) for gone in GONE[kind]]
        for kind in KINDS
    }
    return {"heads": heads, "weights": weights}


def taken_away(found: dict[str, dict[str, Curve]]) -> Figure:
    """Accuracy over heads silenced and over weights taken out."""
    fig, axes = plt.subplots(1, 2, figsize=(6.0, 5.0), layout="constrained", sharey=True)
    for order, look in ORDERS.items():
        drawn(axes[0], HEADS, found["heads"][order], *look)
    for kind, look in KINDS.items():
        drawn(axes[1], [100 * gone for gone in GONE[kind]], found["weights"][kind], *look)
    axes[0].set(xlabel="of 16 heads silenced", xticks=(0, 4, 8, 12, 16), ylabel="accuracy")
    axes[1].set(xlabel="% of weights taken out", xticks=(0, 30, 50, 70, 90))
    for ax in axes:
        percent(ax, 0.44)
        ax.axhline(0.5, color=QUIET, linewidth=1, linestyle=":")
        # two legends, one below each panel, would be cut by a shared one
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=12, handlelength=1.8)
    return fig


# Which tasks help which

TASKS = ("topic", "number", "same topic", "kind", "opinion", "same opinion")


def gains() -> dict[str, list[list[float]]]:
    """For each source the gain of every target as [estimate, low, high], paired over seeds."""
    alone = {task: runs_of("similar gentle", task, source="none") for task in TASKS}
    found: dict[str, list[list[float]]] = {}
    for source in TASKS:
        found[source] = []
        for task in TASKS:
            after = runs_of("similar gentle", task, source=source)
            if after.keys() != alone[task].keys():
                raise CourseError(f"{runs_file(LAB)}: runs of {source!r} and of no source differ in seeds.")
            found[source].append(summed({seed: after[seed] - alone[task][seed] for seed in after}))
    return found


def transfer(found: dict[str, list[list[float]]]) -> Figure:
    """Gain of each target by each source; frames where the interval leaves out zero."""
    fig, ax = plt.subplots(figsize=(6.0, 4.9), layout="constrained")
    most = max(abs(cell[0]) for cells in found.values() for cell in cells)
    image = [[cell[0] for cell in cells] for cells in found.values()]
    ax.imshow(image, cmap="PuOr", vmin=-most, vmax=most, aspect="auto")
    for row, cells in enumerate(found.values()):
        for column, (estimate, low, high) in enumerate(cells):
            ink = "white" if abs(estimate) > 0.7 * most else "black"
            text = f"{round(100 * estimate):+d}".replace("-", "−") if abs(estimate) >= 0.005 else "0"
            ax.text(column, row, text, ha="center", va="center", color=ink, fontsize=13)
            if low > 0 or high < 0:
                corner = (column - 0.44, row - 0.42)
                ax.add_patch(plt.Rectangle(corner, 0.88, 0.84, fill=False, linewidth=1.5))
    names = [task.replace(" ", "\n") for task in TASKS]
    ax.set_xticks(range(len(TASKS)), names, fontsize=12)
    ax.xaxis.tick_top()
    ax.xaxis.set_label_position("top")
    ax.set_yticks(range(len(found)), names, fontsize=12)
    ax.set(xlabel="target", ylabel="source")
    ax.tick_params(length=0)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return fig


# A planted association

STRENGTHS = (0.0, 0.2, 0.4, 0.6, 0.9)
CURES = {  # cure in the sweep -> name
    "none": "as it is",
    "usual stories": "usual stories",
    "reviews": "tuned on reviews",
    "balanced stories": "balanced stories",
    "INLP 30": "INLP, 30 rounds",
    "projection": "projection",
}
SIDES = {
    "slope": ("association left", COLORS["scratch"], "s"),
    "named": ("pronouns of names", COLORS["pretrained"], "o"),
}


def association() -> dict[str, Any]:
    """What was planted and what two measures show; what each cure leaves and what it costs."""
    found: dict[str, Any] = {
        metric: [summed(runs_of("bias planted", metric, strength=strength)) for strength in STRENGTHS]
        for metric in ("dose", "found", "pairs")
    }
    found["cures"] = {
        cure: [summed(runs_of("bias cures", metric, cure=cure)) for metric in SIDES] for cure in CURES
    }
    return found


def planted(found: dict[str, Any]) -> Figure:
    """Above, two measures of one association over its strength; below, what each cure leaves and what it spares."""
    fig, (doses, cures) = plt.subplots(2, 1, figsize=(6.0, 6.6), layout="constrained")
    told = [point[0] for point in found["dose"]]
    doses.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=":")
    drawn(doses, told, found["found"], "difference in the model’s pronouns", COLORS["pretrained"])
    shares = [[share, max(low, 0), min(high, 1)] for share, low, high in found["pairs"]]
    drawn(doses, told, shares, "share of pairs preferred", COLORS["distant"], "s", "--")
    doses.set(xlabel="difference in the text", ylabel="in the model", xlim=(-0.04, 1.04), ylim=(-0.12, 1.08))
    doses.set(xticks=(0, 0.25, 0.5, 0.75, 1), yticks=(0, 0.5, 1))
    doses.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), handlelength=2.4)
    for side, (name, color, marker) in enumerate(SIDES.values()):
        for row, cure in enumerate(CURES):
            estimate, low, high = found["cures"][cure][side]
            y = row + 0.12 - 0.24 * side
            cures.plot([low, high], [y, y], color=color, linewidth=2)
            label = name if row == 0 else None
            cures.plot(estimate, y, marker, color=color, markersize=9, linestyle="", label=label)
    cures.set_yticks(range(len(CURES)), CURES.values(), fontsize=12)
    cures.set(xlim=(-0.12, 1.12), ylim=(len(CURES) - 0.5, -0.5), xticks=(0, 0.25, 0.5, 0.75, 1))
    cures.legend(loc="upper center", bbox_to_anchor=(0.36, -0.14), ncols=2, columnspacing=1)
    return fig


# The list of 2019, and where each item stands


class Item(NamedTuple):
    """An open problem of 2019, what became of it, and our reading of where it stands (a key of STATES)."""

    problem: str
    today: str
    state: str


STATES = {  # -> (marker, color)
    "answered in part": ("o", COLORS["frozen"]),
    "has moved": ("D", COLORS["distant"]),
    "as open as then": ("s", COLORS["masked"]),
}
ITEMS = (
    Item("common sense", "scores reached, tests in doubt", "has moved"),
    Item("surface learning", "cures, if you can name the surface", "as open as then"),
    Item("unlucky runs", "causes found, seeds reported", "answered in part"),
    Item("size", "smaller by routine; why it works?", "answered in part"),
    Item("left to right", "kept, with more text and size", "has moved"),
    Item("facts, grounding", "look-up, and images with captions", "answered in part"),
    Item("what is a task?", "a text: prompts and instructions", "has moved"),
    Item("related tasks", "many measured, no simple rule", "as open as then"),
    Item("a stream of tasks", "still forgets; replay, adapters", "as open as then"),
    Item("bias", "many measures, and doubts of them", "as open as then"),
)


def the_list(_: Any) -> Figure:
    """The open problems of 2019 one by one, with what became of each and where it stands."""
    step, top = 0.36, 0.62
    bottom = top + step * len(ITEMS)
    fig, ax = page(bottom + 0.38)
    ax.text(0.42, 0.25, "in 2019", va="center", fontsize=13, fontweight="bold")
    ax.text(2.32, 0.25, "today", va="center", fontsize=13, fontweight="bold")
    for row, item in enumerate(ITEMS):
        y = top + step * row
        ax.plot([0.1, 5.9], [y - step / 2] * 2, color="#DDDDDD", linewidth=0.8)
        marker, color = STATES[item.state]
        ax.plot(0.2, y, marker, color=color, markersize=9)
        ax.text(0.42, y, item.problem, va="center", fontsize=13)
        ax.text(2.32, y, item.today, va="center", fontsize=13)
    ax.plot([0.1, 5.9], [bottom - step / 2] * 2, color="#DDDDDD", linewidth=0.8)
    for x, (name, (marker, color)) in zip((0.2, 2.24, 4.1), STATES.items(), strict=True):
        ax.plot(x, bottom + 0.12, marker, color=color, markersize=9)
        ax.text(x + 0.16, bottom + 0.12, name, va="center", fontsize=13)
    return fig


FIGURES: dict[str, Source] = {
    "one-more-run": Source(more_runs, one_more_run),
    "taken-away": Source(parts_left, taken_away),
    "transfer": Source(gains, transfer),
    "planted": Source(association, planted),
    "the-list": Source(lambda: None, the_list),
}
