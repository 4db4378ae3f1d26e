"""The benchmarks run, at a tiny size, and a recorded result is of the size that it states."""

import gzip
import json
import re

import numpy as np
import pytest

from benchmarks import __main__ as everything
from benchmarks import (
    book,
    faults,
    fuzz,
    kills,
    labs,
    pages,
    probes,
    repeatability,
    squad_training,
    tokenization,
    trainers,
    where,
)
from utils.settings import root


def test_it_runs_at_a_tiny_size(monkeypatch):
    monkeypatch.setattr(probes, "senteval", lambda split: probes.trained_probe(
        split, np.arange(len(split.x[0])), 64, 1e-5, 1, 3, lambda failures, since: False
    )[1])  # fmt: skip
    *_, result = probes.measure(300, [6])
    assert result["layers"] == [6] and 300 <= sum(result["words"]) < 340
    for method, found in result["methods"].items():
        assert found["seconds"] > 0 and len(found["accuracy_by_task"]) == 8, method
        assert found["accuracy"] == pytest.approx(
            np.mean(list(found["accuracy_by_layer"].values())), abs=0.01
        )
    course = result["methods"]["course"]
    assert (course["times_the_course"], course["course_ahead_by"]) == ([1, 1], 0)


def test_early_stopping():
    """It ends after the stated number of failures, and gives the accuracies of the best epoch."""
    import torch

    random = np.random.default_rng(0)
    x = [torch.from_numpy(random.normal(size=(n, 4)).astype(np.float32)) for n in (40, 20, 20)]
    split = probes.Split(x, [(side[:, 0] > 0).long() for side in x], np.arange(40) // 4)
    asked = []

    def after_three(failures, since):
        asked.append((failures, since))
        return since >= 3

    best, test = probes.trained_probe(split, np.arange(40), 8, 0.0, 1, 200, after_three)
    assert best > 0.5 and test > 0.5
    assert asked[-1][1] == 3 and all(since < 3 for _, since in asked[:-1])


def test_the_recorded_result():
    result = json.loads((root() / "benchmarks" / "probes.json").read_text("utf-8"))
    assert sum(result["words"]) >= 20_000 and result["layers"] == list(range(7))
    assert set(result["methods"]) == set(probes.METHODS)
    assert result["methods"]["course"]["seconds"] < 60


def test_span_training_runs_at_a_tiny_size():
    """Both methods start from the same weights and are timed on the same steps."""
    (result,) = squad_training.measure(1, ["128 x 8"], warm_up=0)
    assert result["mean_tokens"] == 128 and result["steps"] == 1
    assert result["first_losses"][0] == pytest.approx(result["first_losses"][1], abs=1e-3)
    for method in squad_training.METHODS:
        assert result[method]["seconds_per_step"] > 0
    assert result["ratio"] > 0


def test_batches_of_span_training():
    _, asked = squad_training.examples()
    for kind, tokens in squad_training.KINDS.items():
        made = squad_training.batches(asked, tokens, 12)
        lengths = [[len(window.input_ids) for window in batch] for batch in made]
        assert len(made) == 12 and {len(batch) for batch in lengths} == {squad_training.ROWS}, kind
        flat = {length for batch in lengths for length in batch}
        assert flat == {tokens} if tokens else min(flat) < 128 < 200 < max(flat)


def test_the_recorded_span_training():
    result = json.loads((root() / "benchmarks" / "squad_training.json").read_text("utf-8"))
    rows = {(row["threads"], row["batches"]): row for row in result["results"]}
    assert set(rows) == {(n, kind) for n in squad_training.THREADS for kind in squad_training.KINDS}
    for row in rows.values():
        assert row["steps"] >= 15 and row["ratio"] >= 1 and row["ratio_cpu"] >= 1
        if not row["batches"].startswith("mixed"):  # transformers' softmax includes padding
            assert row["first_losses"][0] == pytest.approx(row["first_losses"][1], abs=1e-4)


def test_the_weight_of_a_page(tmp_path):
    """The page and its figures are its own, the rest is shared; an address is counted once, whatever its version."""
    for name, size in {"a.html": 5, "_images/b c.webp": 7, "_static/d.css": 11}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * size)
    urls = {
        f"http://x/{name}"
        for name in ("a.html", "_images/b%20c.webp", "_static/d.css?v=1", "_static/d.css", "e")
    }
    found = pages.weight(tmp_path, urls)
    compressed = found.pop("compressed")
    assert found == {"own": 12, "shared": 11}
    assert compressed == 7 + sum(len(gzip.compress(b"x" * size, 6)) for size in (5, 11))


def test_the_recorded_pages():
    result = json.loads((root() / "benchmarks" / "pages.json").read_text("utf-8"))
    assert {row["view"] for row in result["pages"]} == set(pages.VIEWS)
    for row in result["pages"]:
        assert max(row["page_and_figures_bytes"], row["compressed_bytes"]) <= 1_500_000, row["page"]
        assert row["layout_shift"] <= 0.1 and row["first_text_seconds"] <= 1, row["page"]
    assert pages.table(result["pages"]) == (root() / "benchmarks" / "pages.md").read_text("utf-8")


def test_the_table_of_pages():
    """The larger of both views stands in it, and the heaviest page first."""
    row = {"page_and_figures_bytes": 10_000, "shared_bytes": 1, "first_view_bytes": 0, "compressed_bytes": 0}
    row |= {"first_text_seconds": 0.25, "layout_shift": 0.0}
    light = [{"page": "a", "view": view, **row} for view in pages.VIEWS]
    heavy = [{"page": "b", "view": view, **row, "page_and_figures_bytes": 1_400_000} for view in pages.VIEWS]
    heavy[1]["layout_shift"] = 0.031
    assert pages.table(light + heavy).splitlines()[2:] == [
        "| b | 1.40 | 0.00 | 0.00 | 0.25 | 0.031 |",
        "| a | 0.01 | 0.00 | 0.00 | 0.25 | 0.000 |",
    ]


@pytest.mark.parametrize("measured", [faults, fuzz, kills, repeatability])
def test_tables_follow_from_what_is_recorded(measured):
    path = root() / "benchmarks" / measured.__name__.rpartition(".")[2]
    result = json.loads(path.with_suffix(".json").read_text("utf-8"))
    assert measured.table(result) == path.with_suffix(".md").read_text("utf-8")


LAB = """\
# %% [markdown]
# # Lab 9: Something small
#
# | what | two CPU cores | one GPU |
# |---|---|---|
# | download | nothing | nothing (`mini`); 4.5 MB (`full`, WikiText-2) |

# %%
import time

# %% [markdown]
# ## The work
#
# Nearly all of it.

# %%
data = bytearray(200_000_000)
end = time.process_time() + 1
while time.process_time() < end:
    sum(range(1000))

# %% [markdown]
# ## The rest

# %%
del data
"""


@pytest.fixture
def small_lab(tmp_path, monkeypatch):
    source = tmp_path / "labs" / "99_small.py"
    source.parent.mkdir()
    source.write_text(LAB, "utf-8")
    monkeypatch.setattr(labs, "root", lambda: tmp_path)
    return source


def test_a_lab_is_measured_section_by_section(small_lab):
    found = labs.measure(small_lab)
    assert list(found["sections"]) == [labs.START, "The work", "The rest"]
    assert 0.9 < found["sections"]["The work"] <= found["core_seconds"] < 5
    assert found["sections"]["The rest"] < 0.5
    assert 200_000_000 < found["peak_bytes"] < 600_000_000  # the kernel itself takes 80 million
    assert found["slowest_cells"][0][0] == "data = bytearray(200_000_000)"
    assert found["parts"]["other"] > 0.5 and sum(found["parts"].values()) == pytest.approx(1, abs=0.01)
    assert not small_lab.with_suffix(".ipynb").exists()
    line = labs.table({"99_small": found}).splitlines()[2]
    cost = r"\| \[Lab\u00a09\]\(\.\./labs/99_small\.ipynb\) \| \d\.\d \| 0\.\d \| 0\.\d \|"
    assert re.match(cost, line), line
    assert line.endswith("\u00a0% | 4.5 MB (WikiText-2) |") and "The work" in line


@pytest.mark.parametrize(
    ("innermost_first", "learning", "kind"),
    [
        (["/site-packages/torch/nn/modules/module.py:_call_impl", "/x.py:f"], True, "training"),
        (["/site-packages/torch/nn/modules/module.py:_call_impl", "/x.py:f"], False, "reading"),
        (["C:\\lib\\torch\\optim\\adam.py:step"], False, "training"),
        (["/lib/copy.py:copy", "<frozen importlib._bootstrap>:_load", "/torch/nn/x.py:<module>"], True, "imports"),
        (["/lib/x.py:f", "/site-packages/matplotlib/figure.py:draw"], True, "figures"),
        (["/course/utils/world/dice.py:pick", "/tmp/ipykernel_1/2.py:<module>"], True, "text"),
        (["/sklearn/svm.py:fit", "/course/utils/probing.py:fit"], True, "statistics"),
        (["/tmp/ipykernel_1/2.py:<module>"], True, "other"),
    ],
)  # fmt: skip
def test_kinds_of_work(innermost_first, learning, kind):
    assert where.kind(innermost_first, learning) == kind


def test_trainers_run_at_a_tiny_size():
    """All ways start from the same weights, compute the same loss, and are timed on as many steps."""
    causal, batches = trainers.texts(trainers.WARM_UP + 1)
    losses = trainers.first_losses(causal, batches[0])
    assert set(losses) == {"course", "Trainer", "fastai"}
    assert max(losses.values()) - min(losses.values()) < 1e-4
    for steps in (trainers.course_steps, trainers.trainer_steps, trainers.fastai_steps):
        clock = steps(trainers.deepcopy(causal).train(), batches[:, :8])
        assert len(clock) == len(batches) + 1, steps.__name__
        assert (trainers.seconds(clock) > 0).all(), steps.__name__


def test_span_trainers_run_at_a_tiny_size():
    _, asked = squad_training.examples()
    windows = squad_training.batches(asked, 128, trainers.WARM_UP + 1)
    windows = [batch[:2] for batch in windows]
    for steps in (trainers.span_steps, trainers.fit_steps):
        assert (trainers.seconds(steps(trainers.span_model(), windows)) > 0).all(), steps.__name__


def test_tokenizers_run_at_a_tiny_size():
    found = tokenization.measure(20)
    assert set(found) == set(tokenization.WAYS)
    assert found["word pieces"]["tokens"] == found["one by one"]["tokens"] > 0
    assert all(one["tokens_per_core_second"] > 0 for one in found.values())


def test_a_build_is_measured(monkeypatch, tmp_path):
    """A page of one word, by the command that builds the book."""
    (tmp_path / "_config.yml").write_text("title: one\n")
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: index\n")
    (tmp_path / "index.md").write_text("# One\n")
    found = book.measure(tmp_path)
    assert found["pages"] == 3 and found["core_seconds"] > 0.5 and found["peak_bytes"] > 30_000_000


def recorded(name):
    return json.loads((root() / "benchmarks" / f"{name}.json").read_text("utf-8"))


def test_the_recorded_labs():
    """Every lab is recorded, within the bounds that the course promises, and the table follows."""
    found = recorded("labs")
    assert set(found) == {path.stem for path in (root() / "labs").glob("*.py")}
    for name, lab in found.items():
        assert lab["peak_bytes"] < 4 * labs.GIB, name
    assert sum(lab["seconds"] for lab in found.values()) / 2 <= 25 * 60  # two ran at a time
    assert labs.table(found) == (root() / "benchmarks" / "labs.md").read_text("utf-8")


def test_the_headers_of_the_labs_say_what_was_measured():
    for name, lab in recorded("labs").items():
        text = (root() / "labs" / f"{name}.py").read_text("utf-8")
        minutes = int(re.search(r"^# \| time \| about (\d+) minute", text, re.M)[1])
        memory = float(re.search(r"^# \| memory \| ([\d.]+) GiB", text, re.M)[1])
        assert lab["peak_bytes"] / labs.GIB <= memory, name
        assert minutes == max(1, round(lab["core_seconds"] / 60)), name


def test_the_table_of_speeds_follows_from_what_is_recorded():
    found = {name: recorded(name) for name in ("trainers", "probes", "tokenization", "book")}
    made = everything.table(found)
    assert made == (root() / "benchmarks" / "speed.md").read_text("utf-8")
    assert len(made.splitlines()) == 2 + 3 + 2 + 3 + 5 + 1
    assert made.count("| 1.00 |") == 2 and f"| `make book`, {found['book']['pages']} pages |" in made


def test_the_recorded_trainers():
    found = recorded("trainers")
    assert found["steps"] >= 4
    for part in ("language model", "span classifier"):
        assert found[part]["ways"]["course"]["times_the_course"] == [1, 1]
    losses = found["language model"]["first_losses"].values()
    assert max(losses) - min(losses) < 1e-4
