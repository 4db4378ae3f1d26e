"""The benchmark of the probes runs, at a tiny size, and its recorded result is of the size that it states."""

import json

import numpy as np
import pytest

from benchmarks import probes
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
