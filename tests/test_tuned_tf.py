"""What tuning changed can be cut to a rank, kept, and added again; the reader that the course ships answers."""

import numpy as np
import pytest
import torch  # noqa: F401  (before tensorflow: the other order can crash with torch's CUDA build)

from tests.small_bert import SMALL
from utils import checkpoints, minilm, span_tf
from utils.bert_tf import INPUTS, Bert
from utils.errors import CourseError
from utils.span_tf import SpanModel

ROWS = dict.fromkeys(INPUTS, np.ones([2, 6], np.int32))
WORDS = "bert/embeddings/word_embeddings"


def built(seed):
    model = SpanModel(Bert(SMALL, seed), seed)
    model(ROWS)
    return model


def values(model):
    return {name: variable.numpy() for name, variable in model.encoder.named.items()}


def test_the_whole_rank_gives_the_tuned_model_back():
    start, tuned = built(0), built(1)
    tuned.encoder.named[WORDS].assign(start.encoder.named[WORDS])
    change = span_tf.difference(tuned, values(start), rank=20)
    assert not any(name.startswith(WORDS) for name in change)
    again = SpanModel(start.encoder)
    span_tf.add_difference(again, change)
    np.testing.assert_allclose(again(ROWS), tuned(ROWS), atol=1e-5)


def test_a_rank_keeps_the_closest_matrix_of_that_rank():
    start, tuned = values(built(0)), built(1)
    change = span_tf.difference(tuned, start, rank=3)
    for name, before in start.items():
        if before.ndim == 2 and name != WORDS:
            left, right = change[f"{name}/left"], change[f"{name}/right"]
            assert left.shape[1] == min(3, *before.shape) == right.shape[0]
            whole = tuned.encoder.named[name].numpy() - before
            rest = np.linalg.svd(whole, compute_uv=False)[3:]
            np.testing.assert_allclose(
                np.linalg.norm(whole - left @ right), np.linalg.norm(rest), rtol=1e-3, atol=1e-5
            )


def test_a_difference_of_other_sizes_is_refused_before_anything_is_added():
    model = built(0)
    change = span_tf.difference(built(1), values(model), rank=2)
    change["span/kernel"] = np.zeros([13, 2], np.float32)
    before = values(model)
    with pytest.raises(CourseError, match="span/kernel is \\[13, 2\\] and does not fit"):
        span_tf.add_difference(model, change)
    assert all(np.array_equal(before[name], value) for name, value in values(model).items())


def test_the_shipped_reader_answers():
    recipe = checkpoints.recipe("squad")
    assert recipe["bytes"] < 4_000_000 and recipe["test"]["total"] == 1033
    reader = span_tf.Reader(span_tf.load_tuned(), minilm.tokenizer())
    page = (
        "The museum was founded in 1871 by the chemist Ada Holm, who gave it her collection of minerals. "
        "Since 1990 it has stood beside the river, where admission is free on Sundays."
    )
    assert reader.answer("When was the museum founded?", page) == "1871"
    assert "Ada Holm" in reader.answer("Who founded the museum?", page)
