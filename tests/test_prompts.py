"""Prompts, label words, calibration, and tasks written as instructions."""

from itertools import islice

import numpy as np
import pytest
import torch

from utils import checkpoints, prompts, training
from utils.errors import CourseError
from utils.prompts import Example, Template
from utils.world import World
from utils.world.tasks import Labeled

WORLD = World(0)
MOOD = Template("{text} in short , it was", ("bad", "good"))
ITEMS = [Labeled(("a", "fine", "lamp", "."), 1), Labeled(("we", "hated", "it", "."), 0)]


@pytest.fixture(scope="module")
def course():
    return checkpoints.load_causal()


def test_a_prompt_holds_its_demonstrations_in_their_order():
    assert prompts.write(MOOD, "a new one .") == "a new one . in short , it was"
    assert prompts.write(MOOD, "x .", ITEMS) == (
        "a fine lamp . in short , it was good . we hated it . in short , it was bad . x . in short , it was"
    )
    assert prompts.write(MOOD, "", ITEMS[1:]) == "we hated it . in short , it was bad . in short , it was"


@pytest.mark.parametrize("pattern, words", [("no text", ("a", "b")), ("{text} {text}", ("a", "b"))])
def test_patterns_without_one_text_are_refused(pattern, words):
    with pytest.raises(CourseError, match="where the text goes: write {text} into it once"):
        Template(pattern, words)


def test_label_words_must_tell_classes_apart():
    for words in (("good", "good"), ("good",)):
        with pytest.raises(CourseError, match="give each class its own word"):
            Template("{text}", words)
    with pytest.raises(CourseError, match="has the label 2, and the template has words for 0 to 1"):
        MOOD.show(Labeled(("x",), 2))


def test_relabeled():
    items = ITEMS * 50
    assert prompts.relabeled(items, "gold", 2) == items
    assert [i.label for i in prompts.relabeled(items, "flipped", 2)] == [0, 1] * 50
    drawn = [i.label for i in prompts.relabeled(items, "random", 2, seed=1)]
    assert drawn == [i.label for i in prompts.relabeled(items, "random", 2, seed=1)]
    assert 25 < sum(drawn) < 75 and drawn != [i.label for i in items]
    with pytest.raises(
        CourseError, match="'wrong' is not a kind of label: choose one of gold, random, flipped"
    ):
        prompts.relabeled(items, "wrong", 2)


def test_scores_of_words_are_those_of_the_whole_text(course, monkeypatch):
    """Label words of one and of several sub-words, against `token_bits` of prompt and word."""
    texts, words = ["this soup was", "i bought a lamp in langham . it was very"], ["good", "positive", "no"]
    monkeypatch.setattr(prompts, "ROWS", 3)
    found = prompts.word_scores(*course, texts, words)
    for i, text in enumerate(texts):
        before = sum(training.token_bits(*course, [text])[0][:-1])
        for j, word in enumerate(words):
            whole = sum(training.token_bits(*course, [f"{text} {word}"])[0][:-1])
            assert found[i, j] == pytest.approx(-(whole - before) * np.log(2), abs=1e-3)


def test_scores_ask_for_prompts_that_fit(course):
    with pytest.raises(CourseError, match="does not fit a model of 160 positions: use fewer demonstrations"):
        prompts.word_scores(*course, ["good " * 200], ["good"])
    for given in ("text", []):
        with pytest.raises(CourseError, match="needs a list of prompts"):
            prompts.word_scores(*course, given, ["good"])


def test_calibration_by_hand():
    """p = (0.6, 0.4); without content (0.8, 0.2): 0.6 / 0.8 = 0.75 against 0.4 / 0.2 = 2."""
    scores = np.log([[0.3, 0.2]])  # other words share the rest
    free = np.log([[0.4, 0.1], [0.08, 0.02]])
    assert np.exp(prompts._calibrated(scores, free)) == pytest.approx(np.array([[0.75, 2]]) / 2.75)


def test_a_text_without_content_is_undecided_after_calibration(course, monkeypatch):
    monkeypatch.setattr(prompts, "FILLERS", ("it .",))
    found = prompts.classify(*course, MOOD, ["it .", "the food was great ."], ITEMS, True)
    assert np.exp(found[0]) == pytest.approx([0.5, 0.5])
    assert np.exp(found).sum(1) == pytest.approx([1, 1])


@pytest.mark.parametrize("task", list(prompts.WORDINGS))
def test_examples(task):
    train = prompts.examples(WORLD, task, 60, "train")
    test = prompts.examples(WORLD, task, 60, "test")
    assert len(train) == len(test) == 60 and train == prompts.examples(WORLD, task, 60, "train")
    assert all(e.answer in e.options and e.task == task for e in train + test)
    assert len({e.answer for e in train}) > 1
    assert not {e.prompt for e in train} & {e.prompt for e in test}
    last = prompts.WORDINGS[task][-1].removeprefix("{text}")
    assert all(e.prompt.endswith(last) for e in test) and not any(e.prompt.endswith(last) for e in train)
    texts = [{e.prompt.rsplit(" .", 1)[0] for e in some} for some in (train, test)]
    assert not texts[0] & texts[1]


def test_one_or_many():
    for e in prompts.examples(WORLD, "number", 40, "train"):
        first, second = e.prompt.split()[:2]
        if first in ("a", "an"):
            assert e.answer == "one", e
        assert second
    with pytest.raises(CourseError, match="There is no task 'poetry' with the split 'train'"):
        prompts.examples(WORLD, "poetry", 1, "train")


def test_tuning_teaches_the_answers_alone(course):
    _, tokenizer = course
    given = [
        Example("t", "is it red ?", "yes", ("yes", "no")),
        Example("t", "is it a blue one ?", "no", ("yes", "no")),
    ]
    ids, asked = next(prompts.answer_batches(tokenizer, given, rows=2))
    for row, mark in zip(ids, asked, strict=True):
        assert tokenizer.decode(row[mark.bool()]) in ("yes</s>", "no</s>")
    torch.manual_seed(0)
    model = training.gpt(32, 1, len(tokenizer), heads=2)
    stream = islice(prompts.answer_batches(tokenizer, given, rows=4), 30)
    losses = training.pretrain(model, stream, prompts.answer_loss, 30, peak=1e-2, warmup=3)
    assert losses[-1] < 0.3 * losses[0]
    assert prompts.accuracy(model, tokenizer, given) == 1
    with pytest.raises(CourseError, match="There is nothing to tune on"):
        next(prompts.answer_batches(tokenizer, []))
