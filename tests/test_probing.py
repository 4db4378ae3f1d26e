"""Frozen encoders read words as one sentence at a time would; linear probes agree with scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from transformers import GPT2Config, GPT2LMHeadModel, ModernBertConfig, ModernBertForMaskedLM

from utils import checkpoints, lstm, minilm, probing
from utils.errors import CourseError
from utils.probing import SKIP, layer, linear_probes, recurrent, sentence_ids, transformer, word_states
from utils.training import train_tokenizer

SENTENCES = [
    ["the", "old", "gardens", "of", "ravenbridge", "are", "lovely", "."],
    ["rain", "!"],
    ["unbelievable", "things", "happen"],
    ["the", "rain"],
]
WORDS = sorted({word for sentence in SENTENCES for word in sentence})


@pytest.fixture(scope="module")
def encoders():
    """Tiny ones of each kind, with random weights, and the real MiniLM."""
    tokenizer = train_tokenizer([" ".join(s) for s in SENTENCES] + ["rain in the garden"], 60)
    marks = {"vocab_size": len(tokenizer), "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    torch.manual_seed(0)
    causal = GPT2LMHeadModel(GPT2Config(**marks, n_layer=2, n_embd=32, n_head=2, n_positions=64))
    masked = ModernBertForMaskedLM(ModernBertConfig(
        **marks, num_hidden_layers=2, hidden_size=32, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, cls_token_id=2, sep_token_id=3,
    ))  # fmt: skip
    vocabulary = [lstm.START, "xxpad", *WORDS]
    shape = {"emb_sz": 16, "n_hid": 24, "n_layers": 2, "drop_mult": 0.5, "rows": 2}
    awd = lstm.learner([WORDS] * 40, vocabulary, shape).model
    return {
        "causal": transformer("causal", causal, tokenizer),
        "masked": transformer("masked", masked, tokenizer),
        "LSTM": recurrent("LSTM", awd, vocabulary),
        "MiniLM": transformer("MiniLM", *minilm.load()),
    }


every = pytest.mark.parametrize("kind", ["causal", "masked", "LSTM", "MiniLM"])


def naive(encoder, words):
    """One sentence alone: the mean state of each word's sub-words [layers + 1, words, width]."""
    before, after = encoder.marks
    cut = encoder.pieces(words)
    with torch.no_grad():
        states = encoder.hidden(torch.tensor([before + sum(cut, []) + after]))[:, 0]
    at, found = len(before), []
    for pieces in cut:
        found.append(states[:, at : at + len(pieces)].mean(1))
        at += len(pieces)
    return torch.stack(found, 1).numpy()


@every
def test_states_are_those_of_each_sentence_alone(encoders, kind):
    encoder = encoders[kind]
    found = word_states(encoder, SENTENCES, rows=3)
    assert found.dtype == np.float32
    assert found.shape == (encoder.layers + 1, sum(map(len, SENTENCES)), encoder.width)
    expected = np.concatenate([naive(encoder, words) for words in SENTENCES], 1)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert np.array_equal(found, word_states(encoder, SENTENCES, rows=3)), "the same again"


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=9), min_size=1, max_size=5),
    st.integers(0, 4),
)
def test_one_sentence_does_not_change_another(encoders, sentences, position):
    here = min(position, len(sentences))
    mixed = [*sentences[:here], SENTENCES[0], *sentences[here:]]
    at = sum(map(len, sentences[:here]))
    for kind in ("causal", "masked", "LSTM"):
        alone = word_states(encoders[kind], [SENTENCES[0]])
        found = word_states(encoders[kind], mixed)[:, at : at + len(SENTENCES[0])]
        np.testing.assert_allclose(found, alone, atol=2e-5)


def test_only_the_causal_ones_are_blind_to_the_right(encoders):
    for kind, encoder in encoders.items():
        short, long = (
            word_states(encoder, [["the", "rain"]]),
            word_states(encoder, [["the", "rain", "happen"]]),
        )
        same = np.allclose(short, long[:, :2], atol=1e-5)
        assert same == (kind in ("causal", "LSTM")), kind
        np.testing.assert_allclose(short[0], long[0, :2], atol=1e-5)


def test_subwords_are_averaged(encoders):
    encoder = encoders["MiniLM"]
    assert [len(pieces) for pieces in encoder.pieces(["ravenbridge", "rain"])] == [2, 1]
    model, tokenizer = minilm.load()
    with torch.no_grad():
        batch = tokenizer("the old ravenbridge", return_tensors="pt")
        hidden = torch.stack(model(**batch, output_hidden_states=True).hidden_states)[:, 0]
    found = word_states(encoder, [["the", "old", "ravenbridge"]])
    np.testing.assert_allclose(found[:, 2], hidden[:, 3:5].mean(1), atol=1e-5)


def test_layers_of_the_course_encoders():
    """As the lab uses them: the checkpoints' shapes."""
    causal, tokenizer = checkpoints.load_causal()
    words = ["the", "farmer", "is", "old", "."]
    states = word_states(transformer("causal", causal, tokenizer), [words])
    assert states.shape == (causal.config.n_layer + 1, 5, causal.config.n_embd)
    model, vocabulary = lstm.load()
    encoder = recurrent("LSTM", model, vocabulary)
    states = word_states(encoder, [words])
    assert states.shape == (encoder.layers + 1, 5, encoder.width)
    assert (states[0, :, model[0].encoder.embedding_dim :] == 0).all(), (
        "a narrow layer is filled up with zeros"
    )


@pytest.mark.parametrize(
    ("kind", "sentences", "message"),
    [
        ("causal", [], "^There is no sentence to read: give at least one"),
        ("causal", [["rain"], []], "^Sentence 1 has no words: leave empty sentences out.$"),
        (
            "causal",
            [["rain"], "the rain"],
            "^Sentence 1 is 'the rain', and a list of its words was expected: split",
        ),
        ("causal", ["the rain"], "^Sentence 0 is 'the rain'"),
        ("causal", [["rain", 3]], r"^Sentence 0 is .\['rain', 3\]., and a list of its words"),
        (
            "causal",
            [["the"] * 63],
            "^Sentence 0 has 65 tokens, and causal reads at most 64: cut it or leave it out.$",
        ),
        ("MiniLM", [["the"] * 511], "^Sentence 0 has 513 tokens, and MiniLM reads at most 512"),
        (
            "MiniLM",
            [["a", "\u200b"]],
            "^Sentence 0: the tokenizer of MiniLM leaves nothing of the word .* do not align",
        ),
        ("MiniLM", [["a", ""]], "^Sentence 0: the tokenizer of MiniLM leaves nothing of the word ''"),
        (
            "LSTM",
            [["the", "fog"]],
            "^The encoder LSTM does not know the word 'fog': it reads the world's words only.$",
        ),
    ],
)
def test_what_cannot_be_read(encoders, kind, sentences, message):
    with pytest.raises(CourseError, match=message):
        word_states(encoders[kind], sentences)


def test_the_longest_sentence_fits(encoders):
    assert word_states(encoders["causal"], [["the"] * 62]).shape[1] == 62
    assert word_states(encoders["MiniLM"], [["the"] * 510]).shape[1] == 510


def test_layer():
    states = np.arange(12).reshape(3, 2, 2)
    assert (layer(states, 2) == states[2]).all()
    for number in (3, -1):
        with pytest.raises(CourseError, match=rf"^There is no layer {number}: the layers are 0 .* to 2.$"):
            layer(states, number)


def test_sentence_ids():
    assert sentence_ids(SENTENCES).tolist() == [0] * 8 + [1] * 2 + [2] * 3 + [3] * 2


# Probes


TEST = 2000  # states after the first `count` ones, to test on


def problem(count=900, width=24, classes=5, seed=0, noise=1.5):
    """States of uneven scale and correlated units, labels that a linear probe finds in part; every 4th validates."""
    random = np.random.default_rng(seed)
    truth = random.normal(size=(width, classes))
    hidden = random.normal(size=(count + TEST, width))
    labels = (hidden @ truth + noise * random.normal(size=(count + TEST, classes))).argmax(1)
    states = (hidden * np.geomspace(1, 0.1, width)) @ random.normal(size=(width, width)) + 3
    return states.astype(np.float32), labels, np.arange(count) % 4 == 0


@pytest.mark.parametrize(("count", "width", "noise"), [(200, 64, 1.0), (900, 24, 3.0), (1200, 32, 0.3)])
def test_as_accurate_as_tuned_scikit_learn(count, width, noise):
    """Mean over three problems, where validation chooses scikit-learn's strength of decay, too."""
    gains = []
    for seed in range(3):
        states, labels, validation = problem(count, width, seed=seed, noise=noise)
        x, y, test_x, test_y = states[:count], labels[:count], states[count:], labels[count:]
        found = linear_probes(x, {"task": y}, validation)["task"].accuracy(test_x, test_y)
        tuned = []
        for strength in (1e-3, 1e-1, 10, 1000):
            model = LogisticRegression(C=strength, max_iter=1000).fit(x[~validation], y[~validation])
            tuned.append((model.score(x[validation], y[validation]), model.score(test_x, test_y)))
        gains.append(found - max(tuned)[1])
    assert np.mean(gains) > -0.01


def test_the_optimum_is_that_of_scikit_learn(monkeypatch):
    """With one strength of decay and many steps the solver stands where scikit-learn does."""
    states, labels, validation = problem(600, 12)
    states, labels = states[:600], labels[:600]
    x, y = states[~validation], labels[~validation]
    unit = np.linalg.eigvalsh(np.cov(x.T, bias=True)).mean()
    monkeypatch.setattr(probing, "DECAYS", np.array([0.01]))
    monkeypatch.setattr(probing, "STEPS", 3000)
    probe = linear_probes(states, {"task": labels}, validation)["task"]
    model = LogisticRegression(C=1 / (0.01 * unit * len(x)), max_iter=10_000, tol=1e-8).fit(x, y)
    scores = probe.scores(states)
    expected = model.decision_function(states)
    np.testing.assert_allclose(scores - scores.mean(1, keepdims=True), expected, atol=0.02)


def test_tasks_do_not_change_each_other():
    states, labels, validation = problem()
    states, labels = states[:900], labels[:900]
    some = np.where(np.arange(900) % 3, labels, SKIP)
    together = linear_probes(states, {"a": labels, "b": labels // 2, "c": some}, validation)
    assert list(together) == ["a", "b", "c"]
    again = linear_probes(states, {"a": labels, "b": labels // 2, "c": some}, validation)
    for name, labels_ in (("a", labels), ("b", labels // 2), ("c", some)):
        alone = linear_probes(states, {name: labels_}, validation)[name]
        np.testing.assert_allclose(alone.weight, together[name].weight, atol=1e-4)
        assert np.array_equal(again[name].weight, together[name].weight)
        assert np.array_equal(again[name].bias, together[name].bias)
    assert linear_probes(states, {}, validation) == {}


def test_words_that_a_task_skips_do_not_count():
    states, labels, validation = problem()
    states, labels = states[:900], labels[:900]
    asked = np.arange(900) % 3 > 0
    skipped = linear_probes(states, {"t": np.where(asked, labels, SKIP)}, validation)["t"]
    left_out = linear_probes(states[asked], {"t": labels[asked]}, validation[asked])["t"]
    np.testing.assert_allclose(skipped.weight, left_out.weight, atol=1e-5)
    assert skipped.accuracy(states, np.where(asked, labels, SKIP)) == left_out.accuracy(
        states[asked], labels[asked]
    )


def test_degenerate_tasks():
    states, labels, validation = problem(300)
    states, labels = states[:300], labels[:300]

    def accuracy(states, labels):
        probe = linear_probes(states, {"t": labels}, validation)["t"]
        assert np.isfinite(probe.weight).all() and np.isfinite(probe.bias).all()
        return probe.accuracy(states, labels)

    most = np.bincount(labels[~validation]).argmax()
    assert accuracy(states, np.zeros(300, int)) == 1, "one class"
    assert accuracy(states, np.full(300, 3)) == 1, "one class, and numbers that no label has"
    assert abs(accuracy(states, labels * 4) - accuracy(states, labels)) < 0.01, "gaps"
    for constant in (np.zeros_like(states), np.full_like(states, 7)):
        assert accuracy(constant, labels) == np.mean(labels == most), (
            "constant states: the most frequent class"
        )
    for scale in (1e-6, 1e6):
        assert abs(accuracy(states * np.float32(scale), labels) - accuracy(states, labels)) < 0.01
    half = np.concatenate([states, np.zeros_like(states)], 1)
    assert abs(accuracy(half, labels) - accuracy(states, labels)) < 0.02, "units that are always 0"
    assert accuracy(states.astype(np.float64), labels.astype(np.int8)) == accuracy(states, labels)


def test_a_class_that_is_not_fitted():
    """It counts as wrong, and it does not make the other classes' probe worse."""
    states, labels, validation = problem(600)
    states, labels = states[:600], labels[:600]
    rare = np.where(validation & (np.arange(600) % 8 == 0), 5, labels)
    probe = linear_probes(states, {"t": rare}, validation)["t"]
    assert probe.scores(states).shape == (600, 6)
    assert (probe.scores(states).argmax(1) != 5).all()
    known = rare != 5
    assert probe.accuracy(states[known], rare[known]) > 0.5
    assert probe.accuracy(states[~known], rare[~known]) == 0
    assert probe.accuracy(states[:3], np.array([9, 9, 9])) == 0, "nor one that neither side had"


X, Y, V = np.zeros((8, 2), np.float32), np.arange(8) % 2, np.arange(8) > 5


@pytest.mark.parametrize(
    ("states", "tasks", "validation", "message"),
    [
        (X, {"pos": Y[:7]}, V, "^'pos' has 7 labels and there are 8 states: give one label per word"),
        (
            X,
            {"pos": Y},
            V[:7],
            r"^'validation' holds bool \[7\], and one True or False for each of the 8 states",
        ),
        (X, {"pos": Y}, np.array([6, 7]), r"^'validation' holds int64 \[2\], and one True or False"),
        (
            X,
            {"pos": Y.astype(float)},
            V,
            "^'pos' holds labels that are no whole numbers from 0 on .*: number the",
        ),
        (X, {"pos": ["a"] * 8}, V, "^'pos' holds labels that are no whole numbers"),
        (X, {"pos": Y - 2}, V, "^'pos' holds labels that are no whole numbers from 0 on"),
        (
            X,
            {"pos": np.where(V, SKIP, Y)},
            V,
            "^The task 'pos' has no labeled word to fit on or none to validate on",
        ),
        (X, {"pos": np.where(V, Y, SKIP)}, V, "^The task 'pos' has no labeled word to fit on"),
        (X, {"pos": Y}, np.zeros(8, bool), "^The task 'pos' has no labeled word to fit on or none"),
        (
            X[None],
            {"pos": Y},
            V,
            r"^Probes .* one layer, \[words, width\], and were given \[1, 8, 2\]: choose a layer",
        ),
        (
            np.where(np.arange(8)[:, None] == 3, np.nan, X),
            {"pos": Y},
            V,
            "^The state of word 3 is not finite",
        ),
        (
            np.where(np.arange(8)[:, None] == 4, np.inf, X),
            {"pos": Y},
            V,
            "^The state of word 4 is not finite",
        ),
    ],
)
def test_what_cannot_be_fitted(states, tasks, validation, message):
    with pytest.raises(CourseError, match=message):
        linear_probes(states, tasks, validation)


def test_what_cannot_be_scored():
    probe = linear_probes(X, {"pos": Y}, V)["pos"]
    with pytest.raises(
        CourseError, match=r"^The probe reads states \[words, 2\] and was given \[8, 3\]: give it"
    ):
        probe.scores(np.zeros((8, 3)))
    with pytest.raises(CourseError, match=r"was given \[2\]"):
        probe.scores(X[0])
    with pytest.raises(CourseError, match="^labels has 7 labels and there are 8 states"):
        probe.accuracy(X, Y[:7])
    with pytest.raises(CourseError, match="^No word has a label"):
        probe.accuracy(X, np.full(8, SKIP))
