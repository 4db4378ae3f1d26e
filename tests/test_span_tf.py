"""A span model learns to find a span, its training is repeatable and does what run_squad.py does."""

import subprocess
import sys
from random import Random

import numpy as np
import pytest
import torch  # noqa: F401  (before tensorflow: the other order can crash with torch's CUDA build)
from safetensors.numpy import save

from tests.small_bert import SMALL
from utils import bert_tf, settings, span_tf, squad
from utils.bert_tf import Bert, Config, tf, tf_keras
from utils.errors import CourseError
from utils.span_tf import SpanModel


def windows(count, seed=0, longest=24):
    """Random tokens from 10 to 39, in which 7 opens the answer and 8 closes it."""
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        tokens = int(draw.integers(10, longest))
        start, end = sorted(draw.choice(np.arange(3, tokens - 1), 2, replace=False).tolist())
        ids = draw.integers(10, 40, tokens).astype(np.int32)
        ids[[start, end]] = 7, 8
        inner = tokens - 4
        places = np.stack([np.arange(inner), np.arange(inner) + 1], 1).astype(np.int32)
        found.append(squad.Window(number, ids, 3, places, np.ones(inner, bool), start, end))
    return found


def model(seed=0, **changes):
    return SpanModel(Bert(Config(**vars(SMALL) | changes), seed), seed)


def values(trained):
    return {name: value.numpy() for name, value in trained.encoder.named.items()}


# ---- model and loss


def test_two_logits_per_token_and_none_for_padding():
    made = windows(3)
    reader, inputs = model(), squad.batch(made, length=30)
    given = reader(inputs).numpy()
    assert given.shape == (3, 30, 2)
    assert [weight.shape.as_list() for weight in reader.head.weights] == [[12, 2], [2]]
    states = reader.encoder(inputs)["sequence_output"].numpy()
    by_hand = states @ reader.head.kernel.numpy() + reader.head.bias.numpy()
    real = inputs["input_mask"].astype(bool)
    assert np.allclose(given[real], by_hand[real], atol=1e-5)
    assert given[~real].max() < -9_000 and given[real].min() > -10
    alone = reader(squad.batch(made[:1])).numpy()
    assert np.allclose(given[0, : alone.shape[1]], alone[0], atol=1e-5)


def test_the_head_is_seeded():
    inputs = squad.batch(windows(2))
    one, same, other = (SpanModel(Bert(SMALL), seed) for seed in (1, 1, 2))
    logits = [reader(inputs).numpy() for reader in (one, same, other)]
    assert np.array_equal(logits[0], logits[1]) and not np.allclose(logits[0], logits[2])


def test_the_loss_by_hand():
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(4, 9, 2)).astype(np.float32)
    labels = draw.integers(0, 9, (4, 2)).astype(np.int32)
    found = span_tf.losses(tf.constant(logits), tf.constant(labels)).numpy()
    for row, (first, last) in enumerate(labels):
        odds = logits[row] - np.log(np.exp(logits[row]).sum(0))
        assert found[row] == pytest.approx(-(odds[first, 0] + odds[last, 1]) / 2, abs=1e-5)


def test_encoders_of_keras_3_are_refused():
    with pytest.raises(CourseError, match="Dense is an object of Keras 3"):
        SpanModel(tf.keras.layers.Dense(2))


# ---- batches


def test_a_batch_has_windows_of_one_length_and_an_epoch_all_of_them():
    made = windows(101, longest=40)
    found = list(span_tf.batches(made, 8, Random(0)))
    assert sorted(window.example for batch in found for window in batch) == list(range(101))
    assert sorted(map(len, found)) == [5] + [8] * 12
    lengths = sorted({len(window.input_ids) // 16 for window in made})
    assert lengths == [0, 1, 2], "the test has windows of three kinds"
    mixed = sum(len({len(window.input_ids) // 16 for window in batch}) > 1 for batch in found)
    assert mixed <= 2, "only where one kind ends and the next begins"
    order = [[window.example for window in batch] for batch in found]
    again, other = (
        [[w.example for w in batch] for batch in span_tf.batches(made, 8, Random(s))] for s in (0, 1)
    )
    assert order == again != other
    means = [np.mean([len(w.input_ids) for w in batch]) for batch in found]
    assert means != sorted(means), "not from short to long"


# ---- training


def test_it_learns_to_find_a_span():
    """Marks that it has to find in windows that it has not seen."""
    reader = model(hidden_size=24, num_hidden_layers=1, hidden_dropout_prob=0.0)
    found = span_tf.train(reader, windows(256), epochs=12, rate=1e-2, batch=16)
    assert len(found) == 12 * 16
    assert found[0] == pytest.approx(np.log(17), abs=0.5), "a guess among the tokens"
    assert np.mean(found[-16:]) < 0.2
    new = windows(50, seed=1)
    starts, ends = span_tf.logits(reader, new)
    right = [(s.argmax(), e.argmax()) == (w.start, w.end) for w, s, e in zip(new, starts, ends, strict=True)]
    assert np.mean(right) > 0.9


def test_training_follows_its_seed():
    made, runs = windows(20), []
    for seed in (0, 0, 1):
        reader = model()
        runs.append((span_tf.train(reader, made, 2, 1e-3, batch=8, seed=seed), values(reader)))
    assert runs[0][0] == runs[1][0] != runs[2][0]
    for name, value in runs[0][1].items():
        assert np.array_equal(value, runs[1][1][name]), name


def test_all_weights_learn_but_the_pooler():
    reader = model()
    before = values(reader)
    span_tf.train(reader, windows(16), 1, 1e-3, batch=8)
    for name, value in values(reader).items():
        assert np.array_equal(value, before[name]) == name.startswith("bert/pooler/"), name


class Idle(tf_keras.layers.Layer):
    """An encoder with variables that change nothing, each with a gradient of zeros."""

    NAMES = ("kernel", "bias", "LayerNorm/gamma")

    def __init__(self):
        super().__init__()
        self.idle = [self.add_weight(name, [3], initializer="ones") for name in self.NAMES]

    def call(self, inputs, training=False):
        states = tf.one_hot(inputs["input_word_ids"], 50)
        return {"sequence_output": states + 0.0 * tf.add_n([tf.reduce_sum(v) for v in self.idle])}


@pytest.mark.parametrize("warmup", [0.1, 0.5])
def test_decay_and_schedule_are_those_of_run_squad(warmup):
    """Weight decay, which norms and biases are spared, follows the rate: it shows the schedule of the rate."""
    reader, steps, rate = SpanModel(Idle()), 20, 0.5
    span_tf.train(reader, windows(40), 4, rate, batch=8, warmup=warmup)
    kernel, bias, gamma = (variable.numpy() for variable in reader.encoder.idle)
    assert np.array_equal(bias, np.ones(3)) and np.array_equal(gamma, np.ones(3))
    peak = warmup * steps
    rates = [rate * min(at / peak, (steps - at) / (steps - peak)) for at in range(1, steps + 1)]
    assert max(rates) == rate and rates[-1] == 0
    assert kernel == pytest.approx(np.full(3, np.prod([1 - 0.01 * r for r in rates])), abs=1e-6)


def test_gradients_are_clipped(monkeypatch):
    seen = {}
    kind = tf_keras.optimizers.AdamW
    monkeypatch.setattr(tf_keras.optimizers, "AdamW", lambda *a, **o: seen.update(o) or kind(*a, **o))
    span_tf.train(model(), windows(4), 1, 1e-3)
    assert seen["global_clipnorm"] == 1.0 and seen["weight_decay"] == 0.01


def test_through_a_layer_of_tf_hub(tmp_path):
    """One step without dropout through hub.KerasLayer is one step of our own layer."""
    calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    own = model(**calm)
    bert_tf.save_model(own.encoder, tmp_path / "saved")
    layer, _ = bert_tf.load_saved_model(tmp_path / "saved")
    through = SpanModel(layer, 0)
    made = windows(8)
    losses = [span_tf.train(reader, made, 3, 1e-3, batch=8) for reader in (own, through)]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)
    tuned = {variable.name.removesuffix(":0"): variable.numpy() for variable in layer.weights}
    for name, value in values(own).items():
        if not name.endswith("key/bias"):  # its gradient is 0 but for rounding, which Adam enlarges
            assert np.allclose(value, tuned[name], atol=1e-4), name


@pytest.mark.parametrize(("count", "epochs"), [(0, 2), (3, 0)])
def test_nothing_to_train_on(count, epochs):
    with pytest.raises(CourseError, match=f"{count} windows and {epochs} epochs make no training"):
        span_tf.train(model(), windows(count), epochs, 1e-3)


def test_a_loss_that_is_not_finite():
    with pytest.raises(CourseError, match="The loss is nan after 2 steps: take a lower rate"):
        span_tf.train(model(), windows(16), 2, float("inf"), batch=8)


def test_a_complete_training_is_only_read(tmp_path):
    made, calm = windows(16), {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    plain, kept, again = (model(**calm) for _ in range(3))
    want = span_tf.train(plain, made, 2, 1e-3, batch=8)
    assert span_tf.train(kept, made, 2, 1e-3, batch=8, resume=tmp_path / "state") == want
    assert span_tf.train(again, made, 2, 1e-3, batch=8, resume=tmp_path / "state") == want
    for one in (kept, again):
        assert all(map(np.array_equal, one.get_weights(), plain.get_weights()))


def test_states_of_other_trainings(tmp_path):
    """Refused in one sentence each, before any weight is changed."""
    path, made = tmp_path / "state", windows(16)
    span_tf.train(model(), made, 1, 1e-3, batch=8, resume=path)
    state = path.read_bytes()
    cases = [
        (
            {"rate": 1e-2},
            state,
            "by a training with rate=0.001, and this one has rate=0.01: repeat that call",
        ),
        ({"seed": 1}, state, "by a training with seed=0, and this one has seed=1"),
        ({"windows": windows(16, seed=1)}, state, "by a training with windows="),
        (
            {"model": model(num_hidden_layers=1)},
            state,
            "by the training of another model: delete it to start",
        ),
        ({}, state[:-40], "cannot be read .*: delete it to start again"),
        ({}, b"no state", "cannot be read .*: delete it to start again"),
        ({}, save({"a": np.ones(2)}), "does not hold an interrupted training: delete it to start again"),
    ]
    for changes, content, message in cases:
        path.write_bytes(content)
        given = {"model": model(), "windows": made, "epochs": 1, "rate": 1e-3, "batch": 8} | changes
        before = given["model"].encoder.get_weights()
        with pytest.raises(CourseError, match=message) as refused:
            span_tf.train(**given, resume=path)
        assert "\n" not in str(refused.value) and str(path) in str(refused.value)
        assert all(map(np.array_equal, before, given["model"].encoder.get_weights()))


# ---- several devices


def test_several_gpus_and_fewer(monkeypatch):
    """On a machine without a GPU the mirrored strategy takes its CPU."""
    assert span_tf.strategy() is tf.distribute.get_strategy()
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["a"] * 2 * (kind == "GPU"))
    assert isinstance(span_tf.strategy(), tf.distribute.MirroredStrategy)


TWO_DEVICES = """
import sys

sys.path.insert(0, "tests")
import numpy as np
import torch
from utils.bert_tf import tf

cpu = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu[0], [tf.config.LogicalDeviceConfiguration()] * 2)
from test_span_tf import model, span_tf, values, windows

calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
made = windows(17)  # the last batch has one window, and one device nothing to do
one = model(**calm)
alone = span_tf.train(one, made, 2, 1e-3, batch=8)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    two = model(**calm)
    noisy = model()
assert two.distribute_strategy.num_replicas_in_sync == 2
shared = span_tf.train(two, made, 2, 1e-3, batch=8)
print("loss", np.abs(np.subtract(alone, shared)).max())
moved = {n: np.abs(v - values(two)[n]).max() for n, v in values(one).items()}
print("weights", max(move for n, move in moved.items() if not n.endswith("key/bias")))
kernel = two.head.kernel.values
print("replicas", np.abs(kernel[0].numpy() - kernel[1].numpy()).max())
pairs = zip(span_tf.logits(one, made)[0], span_tf.logits(two, made)[0], strict=True)
print("logits", max(np.abs(a - b).max() for a, b in pairs))
print("dropout", float(not np.isfinite(span_tf.train(noisy, made, 1, 1e-3, batch=8)).all()))
"""


def test_two_devices_train_as_one():
    """MirroredStrategy without dropout, in a process of its own: a CPU is split before it is first used."""
    result = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES], cwd=settings.root(), capture_output=True, text=True, timeout=900
    )
    found = dict(line.split() for line in result.stdout.splitlines())
    assert list(found) == ["loss", "weights", "replicas", "logits", "dropout"], result.stderr[-2000:]
    limits = {"loss": 1e-5, "weights": 1e-4, "replicas": 0, "logits": 1e-4, "dropout": 0}
    for name, limit in limits.items():
        assert float(found[name]) <= limit, (name, found[name])


# ---- logits


def test_logits_come_in_order_and_without_padding():
    made, reader = windows(11), model()
    starts, ends = span_tf.logits(reader, made, batch=4)
    for window, start, end in zip(made, starts, ends, strict=True):
        alone = reader(squad.batch([window])).numpy()[0]
        assert start.shape == end.shape == (len(window.input_ids),) and start.dtype == np.float32
        assert np.allclose(start, alone[:, 0], atol=1e-5) and np.allclose(end, alone[:, 1], atol=1e-5)
    assert span_tf.logits(reader, []) == ([], [])


def test_logits_are_those_that_predict_takes():
    made = windows(5)
    examples = [squad.Example(str(i), "?", "x" * 30, (squad.Answer("x", 0),), "") for i in range(5)]
    for window, found in zip(
        made, squad.predict(examples, made, *span_tf.logits(model(), made)), strict=True
    ):
        assert 0 <= found.best.start < found.best.end <= len(window.offsets)
