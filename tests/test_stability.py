"""Crossed seeds, failures, variance components and restarts, against values known on paper."""

import itertools

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from utils.errors import CourseError
from utils.stability import best_of, failure_rate, majority, tuned, variance_components
from utils.training import train_tokenizer
from utils.world.tasks import Labeled

ITEMS = [Labeled((("bad", "good")[i % 2], "tea" if i % 3 else "soup"), i % 2) for i in range(12)]


@pytest.fixture(scope="module")
def start():
    tokenizer = train_tokenizer([" ".join(item.words) for item in ITEMS], 40)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(tokenizer), n_layer=1, n_embd=16, n_head=2, n_positions=8, pad_token_id=0,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).eval(), tokenizer


def test_the_two_seeds_are_apart(start):
    random = torch.get_rng_state()
    before = start[0].transformer.wte.weight.clone()

    def head(weights, order, updates=1):
        return tuned(*start, ITEMS, updates, 1e-4, weights, order, rows=4).head.weight.detach()

    first = head(0, 0)
    assert torch.equal(first, head(0, 0))
    assert not torch.allclose(first, head(1, 0), atol=0.01), "another beginning"
    assert not torch.equal(first, head(0, 1)) and torch.allclose(first, head(0, 1), atol=0.01), (
        "another order"
    )
    assert torch.equal(torch.get_rng_state(), random) and torch.equal(start[0].transformer.wte.weight, before)


def test_options_go_to_the_loop(start):
    seen = []
    tuned(*start, ITEMS, 3, 1e-3, 0, 0, watch=seen.append)
    assert seen == [0, 1, 2]


def test_failures_are_counted_with_their_interval():
    assert majority([*ITEMS, ITEMS[0]]) == 7 / 13
    found = failure_rate([0.5, 0.9, 0.4, 0.8, 0.51], 0.5)
    assert found.estimate == 0.4 and found.method == "Wilson" and found.n == 5
    assert 0.11 < found.low < 0.13 and 0.76 < found.high < 0.78


def test_variance_components():
    rows, columns = np.array([0.0, 1.0, 2.0]), np.array([0.0, 2.0, 4.0, 6.0])
    assert variance_components(rows[:, None] + columns) == pytest.approx((1, 20 / 3, 0))
    random = np.random.default_rng(0)
    drawn = [
        variance_components(
            2 * random.normal(size=(5, 1)) + random.normal(size=(1, 4)) + 3 * random.normal(size=(5, 4))
        )
        for _ in range(4000)
    ]
    assert np.mean(drawn, 0) == pytest.approx([4, 1, 9], abs=0.25), "unbiased"


def test_the_best_of_some_restarts():
    validation, test = [0.6, 0.9, 0.6, 0.7], [0.5, 0.8, 0.6, 0.4]
    assert best_of(validation, test, 1) == pytest.approx(np.mean(test))
    best = []
    for drawn in itertools.product(range(4), repeat=3):
        top = max(validation[i] for i in drawn)
        best.append(np.mean([test[i] for i in range(4) if validation[i] == top and i in drawn]))
    assert best_of(validation, test, 3) == pytest.approx(np.mean(best))
    assert best_of(validation, test, 200) == pytest.approx(0.8)


def test_mistakes_get_one_sentence():
    for call, message in (
        (lambda: majority([]), "There is no item whose label"),
        (lambda: failure_rate([], 0.5), "A failure rate needs the finite scores of at least one run"),
        (lambda: failure_rate([0.5, float("nan")], 0.5), "A failure rate needs the finite scores"),
        (lambda: variance_components(np.zeros((1, 4))), r"Crossed seeds need .* of \[1, 4\]\."),
        (lambda: best_of([0.1], [0.1, 0.2], 2), "The best of 2 restarts needs .* 1 and 2\\."),
        (lambda: best_of([0.1], [0.1], 0), "The best of 0 restarts"),
    ):
        with pytest.raises(CourseError, match="^" + message) as caught:
            call()
        assert "\n" not in str(caught.value)
