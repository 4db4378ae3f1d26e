"""A span classifier on BERT in TensorFlow (lab 4b): head, loss, training, and logits for `squad.predict`.

Two numbers per token, the logits of being the first and the last of the answer, from one linear layer on the encoder's
states, as in Devlin et al. (2019), section 4.2. Windows are those of `squad.windows`.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from tqdm.auto import tqdm

from utils import checkpoints, minilm, squad
from utils.bert_tf import INPUTS, MASKED, Bert, Config, check_vocabulary, load_safetensors, need_tf_keras
from utils.errors import CourseError
from utils.longrun import need_plan, replacing
from utils.settings import quiet

with quiet():
    import tensorflow as tf
    import tf_keras

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIGNATURE = {name: tf.TensorSpec([None, None], tf.int32) for name in INPUTS}
MAX_QUESTION = 64  # tokens that a Reader reads of a question


class SpanModel(tf_keras.Model):
    """An encoder and a linear layer, drawn from `seed`, that gives two logits per token.

    The encoder is a `bert_tf.Bert` or any layer for tf_keras of its form, such as a `hub.KerasLayer`. Takes a dict of
    `bert_tf.INPUTS`, int32 [batch, tokens], and gives float32 [batch, tokens, 2]; padding is pushed down by 10,000.
    Raises CourseError for an encoder of Keras 3.
    """

    def __init__(self, encoder: tf_keras.layers.Layer, seed: int = 0) -> None:
        super().__init__()
        need_tf_keras(encoder)
        self.encoder = encoder
        start = tf_keras.initializers.TruncatedNormal(stddev=0.02, seed=seed)
        self.head = tf_keras.layers.Dense(2, kernel_initializer=start, name="span")
        self.read = tf.function(self._read, input_signature=[SIGNATURE], autograph=False)  # traced once

    def call(self, inputs: dict[str, tf.Tensor], training: bool = False) -> tf.Tensor:
        states = self.encoder(inputs, training=training)["sequence_output"]
        padding = 1.0 - tf.cast(inputs["input_mask"], tf.float32)
        return self.head(states) + MASKED * padding[:, :, None]

    def _read(self, inputs: dict[str, tf.Tensor]) -> tf.Tensor:
        return self(inputs, training=False)


def strategy() -> tf.distribute.Strategy:
    """The machines that TF_CONFIG names together, else all GPUs where there are several, else TensorFlow's default.

    Make models in its `scope()`. Raises CourseError where TF_CONFIG is not of the form that TensorFlow documents, and
    where TensorFlow has computed something already: it connects to other machines only before.
    """
    try:
        spec = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec()
        machines = sum(spec.num_tasks(job) for job in spec.jobs)
    except (ValueError, TypeError, AttributeError):
        raise CourseError(
            f"TF_CONFIG={os.environ['TF_CONFIG']!r:.99} is not understood: give the addresses of all workers and the "
            'place of this one, as {"cluster": {"worker": ["one:1", "two:1"]}, "task": {"type": "worker", "index": 0}}.'
        ) from None
    if machines > 1:
        return _machines()
    several = len(tf.config.list_physical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


@cache
def _machines() -> tf.distribute.Strategy:
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except RuntimeError:
        raise CourseError(
            "TensorFlow has computed something already, and connects to the machines of TF_CONFIG only before: call "
            "span_tf.strategy() right after the imports."
        ) from None


def losses(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each window in nats, the mean of first and last token: float32 [batch].

    Takes logits [batch, tokens, 2] and positions int32 [batch, 2].
    """
    rows = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, tf.transpose(logits, [0, 2, 1]))
    return tf.reduce_mean(rows, -1)


def batches(windows: Sequence[squad.Window], size: int, random: Random) -> Iterator[list[squad.Window]]:
    """All windows once, in batches of up to `size` windows of similar length, in random order."""
    order = random.sample(range(len(windows)), len(windows))
    order.sort(key=lambda i: len(windows[i].input_ids) // 16)
    found = [order[i : i + size] for i in range(0, len(order), size)]
    random.shuffle(found)
    for chosen in found:
        yield [windows[i] for i in chosen]


def train(
    model: SpanModel,
    windows: Sequence[squad.Window],
    epochs: int,
    rate: float,
    batch: int = 16,
    warmup: float = 0.1,
    seed: int = 0,
    resume: Path | None = None,
    every: int = 200,
) -> list[float]:
    """Tune all weights on the windows; returns the loss of each step in nats.

    AdamW with weight decay 0.01 (norms and biases apart), gradients clipped to norm 1, a rate that rises over the first
    `warmup` of all steps and falls to 0, as in BERT's `run_squad.py`. Dropout and order follow `seed`. A model that was
    made in the scope of `strategy()` trains on all its devices and machines, which share each batch: all machines make
    the same call.

    With `resume` the state is kept in that file every `every` steps and at the end: a later call goes on from there and
    ends with the same weights, unless units are dropped, since TensorFlow doesn't show where its random numbers stand.
    Where the training is complete it only reads the weights; remove the file when what was made of them is safe.

    Raises CourseError where there is nothing to train on, for a loss that is not finite, and for a file that is damaged
    or of another training.
    """
    steps = epochs * -(-len(windows) // batch)
    if steps < 1:
        raise CourseError(
            f"{len(windows)} windows and {epochs} epochs make no training: give at least one of each."
        )
    devices = model.distribute_strategy
    machine = devices.cluster_resolver.task_id if devices.cluster_resolver else 0
    tf.random.set_seed(seed + 1_000_003 * machine)  # others drop other units than the first
    random = Random(f"batches {seed}")
    with devices.scope():
        optimizer = tf_keras.optimizers.AdamW(0.0, weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["LayerNorm", "bias"])

    def update(tape: tf.GradientTape, loss: tf.Tensor) -> None:
        weights = model.trainable_weights
        pairs = zip(tape.gradient(loss, weights), weights, strict=True)
        optimizer.apply_gradients([(g, w) for g, w in pairs if g is not None])  # the pooler has none

    @tf.function(input_signature=[SIGNATURE, tf.TensorSpec([None, 2], tf.int32)], autograph=False)
    def step(inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(losses(model(inputs, training=True), labels))
        update(tape, loss)
        return loss

    def share(inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        """What one device adds to the mean loss: every k-th window, none where the batch has too few."""
        number = tf.distribute.get_replica_context().replica_id_in_sync_group
        count = tf.shape(labels)[0]
        own = tf.range(number, count, devices.num_replicas_in_sync)
        with tf.GradientTape() as tape:
            given = model({name: tf.gather(rows, own) for name, rows in inputs.items()}, training=True)
            loss = tf.reduce_sum(losses(given, tf.gather(labels, own))) / tf.cast(count, tf.float32)
        update(tape, loss)  # adds the gradients of all devices
        return loss

    @tf.function(input_signature=step.input_signature, autograph=False)
    def step_together(inputs: dict[str, tf.Tensor], labels: tf.Tensor) -> tf.Tensor:
        return devices.reduce("SUM", devices.run(share, (inputs, labels)), axis=None)

    together = devices.num_replicas_in_sync > 1
    if together or resume:
        with devices.scope():
            model(squad.batch(windows[:1]))  # builds the head on all devices
            optimizer.build(model.trainable_weights)
    if together:
        step = step_together
    found: list[float] = []
    plan = {"epochs": epochs, "rate": rate, "batch": batch, "warmup": warmup, "seed": seed}
    if resume:
        plan["windows"] = _checksum(windows)
        found = _restore(resume, plan, steps, model, optimizer)
    tf.random.set_seed(seed + len(found))
    done = len(found)
    with tqdm(total=steps, desc="training", leave=False) as bar:
        for _ in range(epochs):
            for chosen in batches(windows, batch, random):
                bar.update()
                if done:
                    done -= 1
                    continue
                at = (len(found) + 1) / steps
                optimizer.learning_rate.assign(rate * min(at / warmup, (1 - at) / (1 - warmup)))
                found.append(float(step(squad.batch(chosen), squad.labels(chosen))))
                if not np.isfinite(found[-1]):
                    raise CourseError(f"The loss is {found[-1]} after {len(found)} steps: take a lower rate.")
                if resume and (len(found) % every == 0 or len(found) == steps):
                    _keep(resume, plan, found, _state(model, None if len(found) == steps else optimizer))
    return found


def _checksum(windows: Sequence[squad.Window]) -> int:
    """The checksum of all that training sees of the windows."""
    checksum = 0
    for window in windows:
        checksum = zlib.crc32(window.input_ids.tobytes(), checksum)
        checksum = zlib.crc32(np.array([window.first, window.start, window.end]).tobytes(), checksum)
    return checksum


def _state(model: SpanModel, optimizer: tf_keras.optimizers.Optimizer | None) -> dict[str, tf.Variable]:
    """What a training changes, by place; a complete one needs its optimizer no more."""
    parts = {"model": model.weights, "optimizer": optimizer.variables if optimizer else []}
    return {f"{part}/{i}": variable for part, those in parts.items() for i, variable in enumerate(those)}


def _keep(path: Path, plan: dict[str, Any], found: list[float], state: dict[str, tf.Variable]) -> None:
    values = zip(state, tf_keras.backend.batch_get_value(list(state.values())), strict=True)
    tensors = {name: np.asarray(value) for name, value in values} | {"losses": np.array(found)}
    with replacing(path) as part:
        save_file(tensors, part, {"plan": json.dumps(plan)})


def _restore(
    path: Path, plan: dict[str, Any], steps: int, model: SpanModel, optimizer: tf_keras.optimizers.Optimizer
) -> list[float]:
    """Put back what `_keep` wrote; the losses so far."""
    if not path.exists():
        return []
    try:
        with safe_open(path, framework="np") as file:
            before = json.loads((file.metadata() or {}).get("plan", "null"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (OSError, ValueError, SafetensorError) as error:
        raise CourseError(f"{path} cannot be read ({error}): delete it to start again.") from None
    need_plan(path, before, plan)
    found = tensors.pop("losses", np.empty(0)).tolist()
    state = _state(model, None if len(found) == steps else optimizer)
    shapes = {name: tuple(variable.shape) for name, variable in state.items()}
    if shapes != {name: value.shape for name, value in tensors.items()}:
        raise CourseError(f"{path} was written by the training of another model: delete it to start again.")
    tf_keras.backend.batch_set_value([(variable, tensors[name]) for name, variable in state.items()])
    return found


def logits(
    model: SpanModel, windows: Sequence[squad.Window], batch: int = 32
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Logits of first and of last tokens, a float32 [tokens] for each window, for `squad.predict`."""
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].input_ids))
    starts: list[Any] = [None] * len(windows)
    ends: list[Any] = [None] * len(windows)
    for at in range(0, len(order), batch):
        numbers = order[at : at + batch]
        given = model.read(squad.batch([windows[i] for i in numbers])).numpy()
        for row, i in enumerate(numbers):
            starts[i], ends[i] = (given[row, : len(windows[i].input_ids), k] for k in (0, 1))
    return starts, ends


# ---- a tuned model in a few megabytes


def difference(model: SpanModel, start: Mapping[str, np.ndarray], rank: int) -> dict[str, np.ndarray]:
    """What tuning changed in a Bert, cut to matrices of a rank, and the head: float32 arrays by variable name.

    `start` has the values before tuning under the names of `Bert.named`. The change of a matrix is given as the two
    factors NAME/left [rows, rank] and NAME/right [rank, columns] of its truncated singular value decomposition, the
    closest matrix of that rank; that of a vector as a whole; that of the word embeddings is left out.
    """
    found = {
        f"span/{part}": weight.numpy()
        for part, weight in zip(("kernel", "bias"), model.head.weights, strict=True)
    }
    for name, before in start.items():
        change = model.encoder.named[name].numpy() - before
        if change.ndim == 1:
            found[name] = change
        elif name != "bert/embeddings/word_embeddings":
            left, sizes, right = np.linalg.svd(change, full_matrices=False)
            root = np.sqrt(sizes[:rank])
            found |= {f"{name}/left": left[:, :rank] * root, f"{name}/right": root[:, None] * right[:rank]}
    return found


def add_difference(model: SpanModel, given: Mapping[str, np.ndarray]) -> None:
    """Add what `difference` gave to a model that stands where tuning started, and take its head.

    Raises CourseError where the two are of different sizes.
    """
    model({name: np.ones([1, 4], np.int32) for name in INPUTS})  # builds the head
    targets = model.encoder.named | {"span/kernel": model.head.kernel, "span/bias": model.head.bias}
    changes = {name: value for name, value in given.items() if not name.endswith(("/left", "/right"))}
    for name in (name.removesuffix("/left") for name in given if name.endswith("/left")):
        changes[name] = given[f"{name}/left"] @ given[f"{name}/right"]
    for name, change in changes.items():
        if name not in targets or tuple(targets[name].shape) != change.shape:
            raise CourseError(
                f"The tuned difference of {name} is {list(change.shape)} and does not fit this model: add it to "
                "the model from which tuning started."
            )
    for name, change in changes.items():
        (targets[name].assign if name.startswith("span/") else targets[name].assign_add)(change)


def load_tuned() -> SpanModel:
    """MiniLM tuned on questions of SQuAD 1.1, as the course ships it: a difference of low rank, checkpoints/squad.

    Its tokenizer is `minilm.tokenizer()`. Raises CourseError as `minilm.load` and `checkpoints.load_state` do.
    """
    source = minilm.folder()
    bert = Bert(Config.read(source / "config.json"))
    load_safetensors(bert.named, source / "model.safetensors")
    model = SpanModel(bert)
    add_difference(model, {name: value.numpy() for name, value in checkpoints.load_state("squad").items()})
    return model


# ---- answers to questions of your own


class Reader:
    """Answers questions about texts of any length, with a SpanModel, its tokenizer and the windows of `squad.windows`.

    With `threshold` the answer is "" where `null_odds` are above it: for a model that was trained with questions that
    have no answer. Without one a reader answers every question, also one that the text does not answer. Raises
    CourseError for a tokenizer with another number of word pieces than the model, and for windows that are longer than
    the model allows.
    """

    def __init__(
        self,
        model: SpanModel,
        tokenizer: PreTrainedTokenizerFast,
        threshold: float | None = None,
        max_length: int = 384,
        stride: int = 128,
    ) -> None:
        sizes = getattr(model.encoder, "sizes", None)  # a hub.KerasLayer has none
        if sizes:
            check_vocabulary(tokenizer, sizes)
            if max_length > sizes.max_position_embeddings:
                raise CourseError(
                    f"Windows of {max_length} tokens were asked for, and the model has {sizes.max_position_embeddings} "
                    "positions: give a smaller max_length."
                )
        self.model, self.tokenizer, self.threshold = model, tokenizer, threshold
        self.max_length, self.stride = max_length, stride

    def answer(self, question: str, context: str) -> str:
        """The words of the context that answer the question best, as they stand there. Raises as `predict` does."""
        found = self.predict(question, context)
        return found.best.text if self.threshold is None else found.text(self.threshold)

    def predict(self, question: str, context: str, n_best: int = 20) -> squad.Prediction:
        """The best answers with their characters, scores and probabilities, as `squad.predict` gives them; "no answer"
        is one of them where there is a threshold.

        Raises CourseError for a question or a context that is not a text or is empty or of which the tokenizer makes
        nothing, and for a question of more than 64 tokens, of which a part would not be read.
        """
        for name, text in (("question", question), ("context", context)):
            if not isinstance(text, str) or not text.strip():
                raise CourseError(f"The {name} must be a text that is not empty, and is {text!r:.40}.")
        tokens = len(self.tokenizer(question, add_special_tokens=False, verbose=False)["input_ids"])
        if not 0 < tokens <= MAX_QUESTION:
            raise CourseError(
                f"The question {question!r:.40} has {tokens} tokens, and 1 to {MAX_QUESTION} are read: ask another one."
            )
        asked = [squad.Example(repr(question), question, context, (), "")]
        made = squad.windows(asked, self.tokenizer, self.max_length, self.stride, MAX_QUESTION)
        null = self.threshold is not None
        return squad.predict(asked, made, *logits(self.model, made), n_best, null=null)[0]
