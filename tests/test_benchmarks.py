"""The benchmarks run, at a tiny size, and a recorded result is of the size that it states."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import pages, probes, squad_training
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
