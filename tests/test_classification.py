"""Classifiers: pooling by hand, features and fine-tuning on a tiny model."""

from functools import partial

import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, ModernBertConfig, ModernBertForMaskedLM

from utils.adaptation import adamw, train_only
from utils.classification import (
    Classifier,
    counted_accuracy,
    features,
    fine_tune,
    pool,
    predict,
    predict_logits,
    probe_accuracy,
    tuned_accuracy,
)
from utils.errors import CourseError
from utils.training import encode, train_tokenizer
from utils.world.tasks import Labeled

NEUTRAL = "the a of in on soup bread tea cup shop town road clock garden river".split()
GOOD, BAD = "fine lovely great".split(), "poor awful sad".split()


def reviews(count, seed):
    """Texts of several lengths; one word tells their label."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(count):
        words = random.choice(NEUTRAL, 3 + i % 6).tolist()
        words.insert(random.integers(len(words) + 1), str(random.choice((BAD, GOOD)[i % 2])))
        texts.append(" ".join(words))
        labels.append(i % 2)
    return texts, labels


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(reviews(200, 0)[0], 120)


def model(kind, vocabulary):
    torch.manual_seed(0)
    marks = {"vocab_size": vocabulary, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "causal":
        return GPT2LMHeadModel(GPT2Config(
            **marks, n_layer=1, n_embd=32, n_head=2, n_positions=64, initializer_range=0.1,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
        )).eval()  # fmt: skip
    return ModernBertForMaskedLM(ModernBertConfig(
        **marks, num_hidden_layers=1, hidden_size=32, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, cls_token_id=2, sep_token_id=3, initializer_range=0.1,
    )).eval()  # fmt: skip


def classifier(kind, tokenizer, seed=0):
    language_model = model(kind, len(tokenizer))
    torch.manual_seed(seed)
    return Classifier(language_model, tokenizer, 2)


both = pytest.mark.parametrize("kind", ["causal", "masked"])


def test_pool_by_hand():
    states = torch.tensor([
        [[1.0, 2.0], [3.0, 4.0], [8.0, 0.0]],
        [[5.0, 1.0], [7.0, 3.0], [999.0, 999.0]],
        [[2.0, 6.0], [999.0, 999.0], [999.0, 999.0]],
    ])  # fmt: skip
    real = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0]])
    expected = [[4.0, 2.0, 8.0, 0.0], [6.0, 2.0, 7.0, 3.0], [2.0, 6.0, 2.0, 6.0]]
    assert pool(states, real).tolist() == expected


@both
def test_features_do_not_depend_on_the_batch(tokenizer, kind):
    texts, language_model = reviews(70, 1)[0], model(kind, len(tokenizer))
    together = features(language_model, tokenizer, texts)
    assert together.shape == (70, 64) and together.dtype == np.float32
    for i in (0, 1, 5, 64, 69):
        ids = torch.tensor(encode(tokenizer, [texts[i]]))
        with torch.no_grad():
            states = language_model.base_model(ids).last_hidden_state[0]
        expected = torch.cat([states.mean(0), states[-1]]).numpy()
        np.testing.assert_allclose(together[i], expected, atol=1e-5)
    np.testing.assert_allclose(features(language_model, tokenizer, texts[::-1]), together[::-1], atol=1e-5)


@both
def test_fine_tuning_learns(tokenizer, kind):
    learner, (texts, labels) = classifier(kind, tokenizer), reviews(128, 2)
    before = {name: value.clone() for name, value in learner.named_parameters()}
    updates = []
    fine_tune(learner, texts, labels, 60, 5e-3, 0, watch=updates.append)
    assert updates == list(range(60))
    still = [name for name, value in learner.named_parameters() if torch.equal(value, before[name])]
    assert still == [], "all weights move"
    assert not learner.training
    test_texts, test_labels = reviews(100, 3)
    found = predict(learner, test_texts)
    assert found.shape == (100,)
    assert (found == test_labels).mean() > 0.95


def test_the_same_seed_gives_the_same_classifier(tokenizer):
    texts, labels = reviews(40, 4)

    def trained(seed):
        learner = classifier("causal", tokenizer)
        fine_tune(learner, texts, labels, 10, 5e-3, seed)
        return learner

    one, same, other = trained(1), trained(1), trained(2)
    assert torch.equal(one.head.weight, same.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
    assert predict(one, texts).tolist() == predict(same, texts).tolist()


def test_fewer_texts_than_rows(tokenizer):
    learner = classifier("causal", tokenizer)
    fine_tune(learner, *reviews(3, 5), 5, 1e-3, 0, rows=8)
    assert set(predict(learner, reviews(3, 5)[0])) <= {0, 1}


def test_mistakes_get_one_sentence(tokenizer):
    learner, (texts, labels) = classifier("causal", tokenizer), reviews(4, 6)
    message = "^There are 4 texts and 3 labels: give one label for each text[.]$"
    with pytest.raises(CourseError, match=message):
        fine_tune(learner, texts, labels[:3], 1, 1e-3, 0)
    with pytest.raises(
        CourseError, match="^There is no text to learn from: give at least one with its label[.]$"
    ):
        fine_tune(learner, [], [], 1, 1e-3, 0)
    with pytest.raises(CourseError, match="^Label 2 of text 1 is none of the 2 classes: use 0 to 1[.]$"):
        fine_tune(learner, texts, [0, 2, 1, 1], 1, 1e-3, 0)
    with pytest.raises(CourseError, match="^Label -1 of text 3 is none of the 2 classes: use 0 to 1[.]$"):
        fine_tune(learner, texts, [0, 0, 1, -1], 1, 1e-3, 0)
    with pytest.raises(
        CourseError, match="^All 4 labels are 1: a classifier needs texts of two classes at least[.]$"
    ):
        fine_tune(learner, texts, [1] * 4, 1, 1e-3, 0)
    with pytest.raises(CourseError, match="^Soft labels have 3 columns and the classifier 2 classes[.]$"):
        fine_tune(learner, texts, np.full((4, 3), 1 / 3), 1, 1e-3, 0)


def test_frozen_weights_stay_and_thawed_ones_move(tokenizer):
    """Only the head for five updates, then also the last layer: gradual unfreezing."""
    learner, data = classifier("causal", tokenizer), reviews(32, 9)
    before = {name: value.detach().clone() for name, value in learner.named_parameters()}
    moved = []

    def thaw(update):
        if update == 5:
            moved.append({n for n, p in learner.named_parameters() if not torch.equal(p, before[n])})
        train_only(learner, "head.*", *(["encoder.h.0.*"] if update >= 5 else []))

    fine_tune(learner, *data, 10, 5e-3, 0, before=thaw)
    moved.append({n for n, p in learner.named_parameters() if not torch.equal(p, before[n])})
    assert moved[0] == {"head.weight", "head.bias"}
    assert moved[1] == {n for n in before if n.startswith(("head.", "encoder.h.0."))}


def test_rates_by_group_and_over_time(tokenizer):
    """A group of scale 0 stays, as everything does under a schedule of zeros."""
    data = reviews(32, 10)

    def moved(**options):
        learner = classifier("causal", tokenizer)
        before = {name: value.detach().clone() for name, value in learner.named_parameters()}
        fine_tune(learner, *data, 3, 5e-3, 0, **options)
        return {n for n, p in learner.named_parameters() if not torch.equal(p, before[n])}

    assert moved(scales={"head.*": 1.0, "*": 0.0}) == {"head.weight", "head.bias"}
    assert moved(schedule=lambda update, updates: 0.0) == set()
    with pytest.raises(CourseError, match="^No parameter has a name like 'body"):
        moved(scales={"body.*": 1.0})


def test_an_extra_loss_sees_each_batch_and_counts(tokenizer):
    learner, (texts, labels) = classifier("causal", tokenizer), reviews(32, 11)
    start = [p.detach().clone() for p in learner.encoder.parameters()]
    shapes = []

    def extra(batch):
        shapes.append(batch.shape[0])
        return 1e4 * sum(
            (p - q).square().sum() for p, q in zip(learner.encoder.parameters(), start, strict=True)
        )

    def drift(learner):
        return sum(
            (p - q).square().sum().item() for p, q in zip(learner.encoder.parameters(), start, strict=True)
        )

    fine_tune(learner, texts, labels, 20, 1e-3, 0, rows=4, extra=extra)
    free = classifier("causal", tokenizer)
    fine_tune(free, texts, labels, 20, 1e-3, 0, rows=4)
    assert shapes == [4] * 20
    assert drift(learner) < 0.5 * drift(free)


def test_another_loss_and_another_optimizer_take_their_places(tokenizer):
    texts, labels = reviews(40, 0)
    plain, other, seen = classifier("causal", tokenizer), classifier("causal", tokenizer), []

    def loss(logits, some):
        seen.append((len(logits), sorted(some)))
        return torch.nn.functional.cross_entropy(logits, torch.tensor(labels)[some])

    fine_tune(plain, texts, labels, 5, 1e-3, 0, rows=8)
    fine_tune(other, texts, labels, 5, 1e-3, 0, rows=8, loss=loss)
    assert torch.equal(plain.head.weight, other.head.weight)
    assert [count for count, _ in seen] == [8] * 5
    assert sorted(i for _, some in seen for i in some) == list(range(40)), "each text once in the first round"
    raw = classifier("causal", tokenizer)
    fine_tune(raw, texts, labels, 5, 1e-3, 0, rows=8, optimizer=partial(adamw, correct_bias=False))
    start = classifier("causal", tokenizer).head.weight
    assert (raw.head.weight - start).norm() > 2 * (plain.head.weight - start).norm(), "longer first steps"


def test_soft_labels_are_learned(tokenizer):
    """Texts without a cue, one in four positive: the classifier comes to say so."""
    learner, texts = classifier("causal", tokenizer), [" ".join(NEUTRAL[i : i + 4]) for i in range(8)]
    fine_tune(learner, texts, np.tile([0.75, 0.25], (8, 1)), 60, 3e-3, 0)
    logits = torch.tensor(predict_logits(learner, texts))
    torch.testing.assert_close(logits.softmax(-1)[:, 1], torch.full((8,), 0.25), atol=0.05, rtol=0)


def test_accuracies(tokenizer):
    """Each on two test sets: one as it should be, one with every label turned round."""

    def labeled(count, seed):
        return [
            Labeled(tuple(text.split()), label) for text, label in zip(*reviews(count, seed), strict=True)
        ]

    train, right = labeled(128, 7), labeled(60, 8)
    wrong = [Labeled(item.words, 1 - item.label) for item in right]
    language_model = model("masked", len(tokenizer))
    found = {
        "probe": probe_accuracy(language_model, tokenizer, train, [right, wrong]),
        "tuned": tuned_accuracy(language_model, tokenizer, train, [right, wrong], 60, 5e-3, 0),
        "counted": counted_accuracy(train, [right, wrong]),
    }
    for name, (good, bad) in found.items():
        assert good + bad == pytest.approx(1), name
        assert good > {"probe": 0.6, "tuned": 0.95, "counted": 0.95}[name], name
    with pytest.raises(CourseError, match="^There is no text"):
        tuned_accuracy(language_model, tokenizer, [], [right], 1, 1e-3, 0)
