"""A reader for questions of one's own: finds what it should in long texts, says what it takes amiss."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch  # noqa: F401  (before tensorflow: the other order can crash with torch's CUDA build)

from utils import minilm, span_tf, squad
from utils.bert_tf import Bert, Config, tf, tf_keras
from utils.errors import CourseError

TEXT = "Ada Byron met\u00a0Mr.  BABBAGE, who (naïvely) built \u201cengines\u201d. "
SMALL = Config(
    vocab_size=30522,
    hidden_size=8,
    num_hidden_layers=1,
    num_attention_heads=2,
    intermediate_size=8,
    max_position_embeddings=64,
)


class Marks(tf_keras.layers.Layer):
    """An encoder that says of each token whether it is `first` and whether it is `last`; `null` marks [CLS] as both."""

    def __init__(self, first, last, null=0.0):
        super().__init__()
        self.first, self.last, self.null = first, last, null

    def call(self, inputs, training=False):
        ids = inputs["input_word_ids"]
        both = self.null * tf.cast(tf.equal(ids, 101), tf.float32)
        marks = [tf.cast(tf.equal(ids, one), tf.float32) + both for one in (self.first, self.last)]
        return {"sequence_output": 9.0 * tf.stack(marks, -1)}


@dataclass
class Setup:
    tokenizer: object
    first: int
    last: int

    def reader(self, null=0.0, **options):
        model = span_tf.SpanModel(Marks(self.first, self.last, null))
        model({name: np.ones([1, 2], np.int32) for name in span_tf.INPUTS})
        model.head.set_weights([np.eye(2), np.zeros(2)])
        return span_tf.Reader(model, self.tokenizer, **options)


@pytest.fixture(scope="module")
def setup():
    pieces = minilm.tokenizer()
    return Setup(pieces, *pieces.convert_tokens_to_ids(["mr", "##ge"]))


def test_an_answer_is_cut_from_the_text_as_it_stands(setup):
    assert setup.tokenizer.tokenize("BABBAGE") == ["ba", "##bba", "##ge"]
    assert setup.reader().answer("Who was met?", TEXT) == "Mr.  BABBAGE"


@pytest.mark.parametrize("where", [0, 37, 119])
def test_a_long_text_is_read_to_its_end(setup, where):
    filling = ["Nobody came to tea at four o'clock. "] * 120
    text = "".join([*filling[:where], TEXT, *filling[where:]])
    found = setup.reader().predict("Who was met?", text)
    assert (found.best.text, found.best.start) == ("Mr.  BABBAGE", text.index("Mr."))
    assert text[found.best.start : found.best.end] == found.best.text
    assert found.best.score == pytest.approx(18.0)


def test_as_the_functions_of_the_lab(setup):
    """The same candidates as `span_tf.logits` and `squad.predict` give for windows of the same kind."""
    model = span_tf.SpanModel(Bert(Config(30522, 12, 2, 3, 20, 384)), seed=1)
    text = TEXT * 60
    reader = span_tf.Reader(model, setup.tokenizer, max_length=100, stride=32)
    asked = [squad.Example("1", "Who met whom?", text, (), "")]
    made = squad.windows(asked, setup.tokenizer, 100, 32)
    assert len(made) > 16  # more than one batch
    want = squad.predict(asked, made, *span_tf.logits(model, made))[0]
    found = reader.predict("Who met whom?", text)
    assert [span.text for span in found.spans] == [span.text for span in want.spans]
    np.testing.assert_allclose(
        [s.score for s in found.spans], [s.score for s in want.spans], rtol=1e-5, atol=1e-6
    )


def test_no_answer_needs_a_threshold(setup):
    for null, text in ((0.0, "Mr.  BABBAGE"), (3.0, "")):
        assert setup.reader(null, threshold=0.0).answer("Who was met?", TEXT) == text
    assert setup.reader(3.0).answer("Who was met?", TEXT) == "Mr.  BABBAGE"
    assert setup.reader(3.0, threshold=0.0).predict("Who was met?", TEXT).spans[0].text == ""


@pytest.mark.parametrize(
    ("question", "context", "message"),
    [
        ("", TEXT, "The question must be a text that is not empty, and is ''"),
        (" \n", TEXT, "The question must be a text"),
        (None, TEXT, "and is None"),
        ("Who?", "", "The context must be a text that is not empty"),
        ("Who?", "\u2003 ", "The context must be a text"),
        ("Who?", [TEXT], "The context must be a text"),
        ("\u200b", TEXT, "has 0 tokens, and 1 to 64 are read"),
        ("who " * 65, TEXT, "has 65 tokens, and 1 to 64 are read"),
        ("Who?", "\u200b\u200b", "Question 'Who\\?': the tokenizer makes no token of its context"),
    ],
)
def test_what_a_reader_refuses(setup, question, context, message):
    for ask in (setup.reader().answer, setup.reader().predict):
        with pytest.raises(CourseError, match=message):
            ask(question, context)


def test_a_reader_must_fit(setup):
    with pytest.raises(CourseError, match="384 tokens were asked for, and the model has 64 positions"):
        span_tf.Reader(span_tf.SpanModel(Bert(SMALL)), setup.tokenizer)
    other = span_tf.SpanModel(Bert(Config(100, 8, 1, 2, 8, 64)))
    with pytest.raises(CourseError, match="30522 word pieces and the model 100"):
        span_tf.Reader(other, setup.tokenizer, max_length=64)


def test_a_question_of_64_tokens_is_read_whole(setup):
    assert setup.reader().answer("who " * 64, TEXT) == "Mr.  BABBAGE"
