"""A reader may run any cell twice: no cell of a lab starts from what its own last run left behind.

`benchmarks.repeatability` runs every cell of every lab twice. Here all cells are read, and those of one lab run.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import repeatability
from tools import build_labs
from utils.errors import CourseError

LABS = build_labs.sources([])
# of lists; `update` may be repeated
CHANGES = {"append", "extend", "insert", "pop", "popitem", "remove", "reverse"}
CHANGES |= {"step", "backward", "apply_gradients", "partial_fit", "fit_one_cycle", "fine_tune", "write"}
CHANGES |= {"add_", "sub_", "mul_", "div_"}  # of tensors
# of models; a function called `tuned` makes a copy
TRAINS = re.compile(r"^(?:\w+\.)?(?:\w+_)?(?:train|pretrain|tune|fit|prune|inject)(?:_\w+)?$")
DICE = re.compile(r"\b(?:default_rng|RandomState|Random|Generator)$|\.manual_seed$")
SEEDS = re.compile(r"\b(?:seed|seed_everything|manual_seed|set_seed|set_random_seed)$")
DRAWS = re.compile(
    r"^(?:random|np\.random)\.(?!default_rng|RandomState|Random|Generator)"
    r"|^torch\.(?:rand|randn|randint|randperm|normal|bernoulli|multinomial)$"
    r"|^torch\.nn\.init\.(?:normal|uniform|xavier|kaiming|trunc)|^tf\.random\."
)
METHODS = {"multinomial", "bernoulli_", "normal_", "uniform_", "random_"}  # of tensors


def name_of(node: ast.AST) -> str:
    """The variable at the root of an expression such as `x.a[0].b()`."""
    while isinstance(node, (ast.Attribute, ast.Subscript, ast.Call)):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def dotted(node: ast.AST) -> str:
    """`a.b.c` of a plain name, else nothing."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return before and f"{before}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, context)}


def done_now(node: ast.AST) -> Iterator[ast.AST]:
    """A statement and its parts in the order of the text, without the insides of functions and classes."""
    yield node
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.Lambda)):
        for part in ast.iter_child_nodes(node):
            yield from done_now(part)


def bound(node: ast.AST) -> dict[str, str]:
    """The variables that a node gives a value, and of what kind it is."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return {name: "code"}
        case ast.Import(names=found) | ast.ImportFrom(names=found):
            return {(alias.asname or alias.name).partition(".")[0]: "import" for alias in found}
        case ast.Assign(targets=targets, value=value):
            dice = isinstance(value, ast.Call) and DICE.search(dotted(value.func) or ast.unparse(value.func))
            return {n: "dice" if dice else "value" for target in targets for n in names(target, ast.Store)}
        case ast.For(target=target) | ast.comprehension(target=target):
            return dict.fromkeys(names(target, ast.Store), "value")
        case ast.With(items=items):
            return {n: "value" for item in items for n in names(item, ast.Store)}
    return {}


def changed(node: ast.AST) -> set[str]:
    """The variables whose next value a node makes from the one that they have."""
    match node:
        case ast.AugAssign(target=target, op=op, value=value):
            repeats = isinstance(op, ast.BitOr) and name_of(target) not in names(value, ast.Load)
            return set() if repeats else {name_of(target)}
        case ast.Assign(targets=targets, value=value):
            given = [part for target in targets for part in getattr(target, "elts", [target])]
            kinds = tuple({type(part) for part in given})
            read = {ast.unparse(part) for part in ast.walk(value) if isinstance(part, kinds)}
            return {name_of(part) for part in given if ast.unparse(part) in read}
        case ast.Delete(targets=targets):
            return set(map(name_of, targets))
        case ast.Call(func=ast.Name(id="next"), args=[ast.Name(id=name), *_]):
            return {name}
        case ast.Call(func=ast.Attribute(attr=method) as func) if method in CHANGES:
            return {name_of(func)}
        case ast.Call(func=func, args=[ast.Name(id=name), *_]) if TRAINS.search(dotted(func)):
            return {name}
    return set()


def draws_unseeded(node: ast.AST, imported: bool) -> bool:
    """True if a node draws from the generator that the whole process shares; `imported`: it begins with a module."""
    match node:
        case ast.Call(func=ast.Attribute(attr=method) as func, keywords=keywords):
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in keywords}
            if options.get("do_sample") == "True":  # as transformers' `generate` knows it
                return True
            draws = method in METHODS or bool(imported and DRAWS.search(dotted(func)))
            return draws and "generator" not in options
    return False


def not_repeatable(cells: list[str]) -> list[str]:
    """What cells do to variables of earlier cells that a second run would do again, and what they draw unseeded."""
    earlier: dict[str, str] = {}  # variable of an earlier cell -> kind of its value
    wrong = []
    for number, source in enumerate(cells, 1):
        tree, here, seeded = ast.parse(source), {}, False
        made = {n for n, kind in earlier.items() if kind in ("value", "dice")}
        made_again = {n for line in tree.body for n in set(bound(line)) - names(line, ast.Load)}
        for statement in tree.body:
            # a comprehension names its variable behind the place where it is used
            for part in ast.walk(statement):
                here |= bound(part) if isinstance(part, (ast.For, ast.comprehension)) else {}
            for node in done_now(statement):
                kept = made_again if isinstance(node, ast.Call) else set()
                for name in sorted(changed(node) & made - here.keys() - kept):
                    wrong.append(
                        f"cell {number} changes {name}, of an earlier cell: {ast.unparse(node)[:80]}"
                    )
                name = name_of(node)
                if isinstance(node, ast.Name) and name not in here and earlier.get(name) == "dice":
                    wrong.append(f"cell {number} draws from {name}, of an earlier cell")
                seeded = seeded or isinstance(node, ast.Call) and bool(SEEDS.search(dotted(node.func)))
                imported = here.get(name, earlier.get(name)) == "import"
                if not seeded and draws_unseeded(node, imported):
                    wrong.append(f"cell {number} draws without a seed of its own: {ast.unparse(node)[:80]}")
                here |= bound(node)
        earlier |= here
    return wrong


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
def test_no_cell_changes_what_an_earlier_one_made(lab: Path) -> None:
    wrong = not_repeatable([cell.source for cell in repeatability.code_cells(lab)])
    assert not wrong, "\n".join([f"{lab.name}: make it anew in the same cell, or seed it there", *wrong])


START = """\
import random
import numpy as np
import torch
from utils.training import pretrain
dice = np.random.default_rng(0)
x, model, found = [1], torch.nn.Linear(1, 1), {"a": 1}
"""


@pytest.mark.parametrize(
    "cell",
    [
        "x.append(2)",
        "x += [2]",
        "x = x + [2]",
        "x[0] = x[0] + 1",
        "found['a'] += 1",
        "for y in (1, 2):\n    x.append(y)",
        "[x.pop() for y in (1, 2)]",
        "del x",
        "print(next(x))",
        "dice.normal()",
        "random.shuffle(x)",
        "np.random.rand(3)",
        "torch.randn(3)",
        "torch.nn.init.normal_(model.weight)",
        "model.weight.data.normal_()",
        "model.weight.softmax(-1).multinomial(2)",
        "model.generate(x, do_sample=True)",
        "pretrain(model, x)",
        "model.weight.data.mul_(2)",
        "x = found\nmodel.backward()",
    ],
)
def test_what_can_not_be_repeated_is_found(cell: str) -> None:
    assert len(not_repeatable([START, cell])) == 1
    assert not_repeatable([f"{START}\ntorch.manual_seed(0)\nrandom.seed(0)\nnp.random.seed(0)\n{cell}"]) == []


@pytest.mark.parametrize(
    "cell",
    [
        "found |= {'b': 2}",
        "found['b'] = 2",
        "found['b'] = found['a']",
        "x = [1]\nx.append(2)",
        "for x in ([], []):\n    x.append(2)",
        "dice = np.random.default_rng(0)\ndice.normal()",
        "torch.manual_seed(0)\ntorch.randn(3)",
        "torch.randn(3, generator=torch.Generator().manual_seed(0))",
        "pretrain.fine_tune(1)",
        "def grow():\n    x.append(2)",
        "pretrain(model, x)\nmodel = torch.nn.Linear(1, 1)",
    ],
)
def test_what_can_be_repeated_is_not(cell: str) -> None:
    assert not_repeatable([START, cell]) == []


def test_every_cell_of_a_lab_twice() -> None:
    """Its live runs are read from the recorded ones, so that it takes seconds; the benchmark repeats those, too."""
    (lab,) = build_labs.sources(["04d_tagging_minilm_pytorch"])
    row = repeatability.compare(lab, {"cells": repeatability.run(lab, times=2, live=False)})
    assert row["differ_the_second_time"] == {} and row["cells"] > 60 and row["outputs"] > 30
    assert row["live_values"] > 50


LAB = """\
# %%
import random
dice, seen = random.Random(0), []

# %%
dice = random.Random(0)
print(f"{dice.random():.3f}")

# %%
print(f"{dice.random():.3f}")

# %%
seen.append(1)

# %%
print(len(seen))

# %% tags=["raises-exception"]
raise ValueError("on purpose")

# %%
del seen
"""


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lab = tmp_path_factory.mktemp("labs") / "small.py"
    lab.write_text(LAB, "utf-8")
    return lab


def test_a_cell_that_does_not_repeat_itself_is_found(small_lab: Path) -> None:
    twice = repeatability.run(small_lab, times=2)
    first, second = ([e["shown"] for e in executions] for executions in twice["executions"])
    assert first[1] == second[1] == [["stdout", "0.844\n"]]
    assert first[2] == [["stdout", "0.758\n"]] and second[2] == [["stdout", "0.421\n"]]
    assert first[4] == second[4] == [["stdout", "2\n"]]  # wrong, which a run of once brings to light
    assert first[5] == second[5] == [["error", "ValueError: on purpose"]]
    with pytest.raises(CourseError, match=r"repeat itself in 2 cells: cell 3 \(print.*cell 7 \(del seen"):
        repeatability.compare(small_lab, {"twice": twice})


def executions(*values: float) -> dict:
    """A run of a lab in which cell 5 measured each value in an interval of width 2."""
    measured = [["check", "accuracy of tuning", [[value, 2.0] for value in values]]]
    empty = [{"shown": [], "measured": []} for _ in range(7)]
    return [*empty[:4], {"shown": [["stdout", "tuned\n"]], "measured": measured}, *empty[5:]]


def test_what_is_compared(small_lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {"twice": [executions(1, 2)] * 2, "once": [executions(1, 2)], "threads": [executions(1, 2.5)]}
    runs = {name: {"minutes": 1.0, "executions": found} for name, found in runs.items()}
    monkeypatch.setattr(repeatability, "torch_threads", lambda source: 2)
    row = repeatability.compare(small_lab, runs)
    assert (row["cells"], row["outputs"], row["live_values"]) == (7, 1, 2)
    assert row["differ_the_second_time"] == row["differ_in_a_fresh_kernel"] == {}
    assert row["other_threads"] == {
        "torch_threads": [2, 1],
        "cells_that_show_the_same": 7,
        "checked_values": 2,
        "largest_difference": 0.25,
        "of": "accuracy of tuning",
    }
    changed = runs | {"once": {"minutes": 1.0, "executions": [executions(1, 2.0000001)]}}
    with pytest.raises(CourseError, match=r"in 1 cells: cell 5 \(print\(len"):
        repeatability.compare(small_lab, changed)
    monkeypatch.setattr(repeatability, "EXCUSED", {"small": {"print(len(seen))": "counts"}})
    assert repeatability.compare(small_lab, changed)["differ_in_a_fresh_kernel"] == {
        "cell 5 (print(len(seen)))": "counts"
    }


def test_the_recorded_result() -> None:
    """No cell differs without a reason."""
    rows = json.loads(repeatability.RESULT.read_text("utf-8"))
    for row in rows:
        assert all(
            [*row["differ_the_second_time"].values(), *row.get("differ_in_a_fresh_kernel", {}).values()]
        )
        assert row.get("other_threads", {"largest_difference": 0})["largest_difference"] < 1, row["lab"]
