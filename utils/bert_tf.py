"""BERT in TensorFlow (lab 4b): the encoder as a tf_keras layer, and three doors for its weights.

The variables carry the names of Google's checkpoints (Devlin et al. 2019, github.com/google-research/bert), such as
`bert/encoder/layer_0/attention/self/query/kernel`: loading is assignment by name, and each loader reports what was
assigned, what stayed as it was drawn, and what was not used. tf_keras (Keras 2) and not Keras 3, because
`hub.KerasLayer` is one of its layers. Where torch is needed too, import this module or torch before tensorflow: the
other order can end the process with torch's CUDA build.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from utils import minilm
from utils.downloads import fetch_folder, fetch_model, read_json, read_text, write_text
from utils.errors import CourseError, shown
from utils.settings import quiet

with quiet():
    with suppress(ImportError):
        import_module("triton")  # of torch's CUDA build: imported behind tensorflow it can end the process
    import tensorflow as tf
    import tf_keras

    tf.config.list_physical_devices()  # what it says of GPUs that are not there, it says here

if TYPE_CHECKING:
    import tensorflow_hub as hub
    from transformers import PreTrainedTokenizerBase

INPUTS = ("input_word_ids", "input_mask", "input_type_ids")  # TF Hub's names; int32 [batch, tokens] each
CHECKPOINT, CONFIG, VOCABULARY = "bert_model.ckpt", "bert_config.json", "vocab.txt"  # of a Google folder
PARTS = ("/kernel", "/bias", "/gamma", "/beta")  # how names of layers' weights end, unlike an optimizer's
LARGEST = 10**9  # weights of a model that is built, three times those of bert-large
MASKED = -10_000.0  # added to attention scores of padding


@dataclass(frozen=True)
class Config:
    """The sizes of a BERT, under the names of bert_config.json."""

    vocab_size: int
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    initializer_range: float = 0.02

    @classmethod
    def read(cls, path: Path) -> Config:
        """The config of a bert_config.json, or of the config.json of transformers.

        Raises CourseError where the file is missing, is not JSON, gives no vocab_size, is not of such a BERT, or of one
        with more than LARGEST weights.
        """
        values = read_json(path)
        if not isinstance(values, dict) or "vocab_size" not in values:
            raise CourseError(f"{path} is not the config of a BERT: name its {CONFIG}.")
        found = cls(**{field.name: values[field.name] for field in fields(cls) if field.name in values})
        for name, value in vars(found).items():
            size = isinstance(getattr(SIZES, name), int)
            if type(value) is not int if size else type(value) not in (int, float):
                raise CourseError(
                    f"{path} is not the config of a BERT, {name} is {shown(value)}: name its {CONFIG}."
                )
            if not (0 < value <= LARGEST if size else 0 <= value < 1):
                raise CourseError(
                    f"{path} gives {name} as {shown(value)}, and {'a size' if size else 'a share below 1'} was "
                    f"expected: name a BERT's {CONFIG}."
                )
        act = values.get("hidden_act", "gelu")
        if act != "gelu" or found.hidden_size % found.num_attention_heads:
            raise CourseError(
                f"{path} has {found.hidden_size} units in {found.num_attention_heads} heads, and {shown(act)}: a BERT "
                "with heads of equal size and gelu was expected."
            )
        if found.weights > LARGEST:
            raise CourseError(
                f"{path} describes a BERT with {found.weights:,} weights, and at most {LARGEST:,} are built here: name "
                f"another {CONFIG}."
            )
        return found

    @property
    def weights(self) -> int:
        """How many numbers there are in its embeddings and the kernels of its layers."""
        vectors = self.vocab_size + self.max_position_embeddings + self.type_vocab_size
        layer = 4 * self.hidden_size + 2 * self.intermediate_size
        return self.hidden_size * (vectors + self.num_hidden_layers * layer)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of each variable, as in Google's checkpoints."""
        wide, inner = self.hidden_size, self.intermediate_size
        found: dict[str, tuple[int, ...]] = {
            "bert/embeddings/word_embeddings": (self.vocab_size, wide),
            "bert/embeddings/token_type_embeddings": (self.type_vocab_size, wide),
            "bert/embeddings/position_embeddings": (self.max_position_embeddings, wide),
        }

        def dense(name: str, n: int, m: int) -> None:
            found[f"{name}/kernel"], found[f"{name}/bias"] = (n, m), (m,)

        def norm(name: str) -> None:
            found[f"{name}/LayerNorm/gamma"] = found[f"{name}/LayerNorm/beta"] = (wide,)

        norm("bert/embeddings")
        for layer in (f"bert/encoder/layer_{i}" for i in range(self.num_hidden_layers)):
            for name in ("query", "key", "value"):
                dense(f"{layer}/attention/self/{name}", wide, wide)
            dense(f"{layer}/attention/output/dense", wide, wide)
            norm(f"{layer}/attention/output")
            dense(f"{layer}/intermediate/dense", wide, inner)
            dense(f"{layer}/output/dense", inner, wide)
            norm(f"{layer}/output")
        dense("bert/pooler/dense", wide, wide)
        return found


SIZES = Config(vocab_size=30_522)  # bert-base-uncased


class Bert(tf_keras.layers.Layer):
    """The encoder of Devlin et al. (2019), with weights drawn from `seed`.

    Takes a dict of INPUTS and gives a dict: "sequence_output" float32 [batch, tokens, hidden], "pooled_output" [batch,
    hidden], and "encoder_outputs", a list with the output of each layer. `exact_gelu` is what transformers computes
    (MiniLM was trained with it), the approximation by tanh what Google's code computes. Raises CourseError for inputs
    of Keras 3, and for more tokens than there are positions.
    """

    def __init__(self, config: Config, seed: int = 0, exact_gelu: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.sizes, self.seed, self.exact_gelu = config, seed, exact_gelu
        for number, (name, shape) in enumerate(config.shapes().items()):
            if name.endswith(("gamma", "beta", "bias")):
                start = tf_keras.initializers.Constant(float(name.endswith("gamma")))
            else:
                start = tf_keras.initializers.TruncatedNormal(
                    stddev=config.initializer_range, seed=1000 * seed + number
                )
            self.add_weight(name=name, shape=shape, initializer=start)

    @property
    def named(self) -> dict[str, tf.Variable]:
        """The variables by their names."""
        return {variable.name.removesuffix(":0"): variable for variable in self.weights}

    def __call__(self, inputs: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        need_tf_keras(inputs, *(inputs.values() if isinstance(inputs, Mapping) else ()))
        missing = [name for name in INPUTS if not isinstance(inputs, Mapping) or name not in inputs]
        if missing:
            raise CourseError(f"A Bert takes a dict of {', '.join(INPUTS)}, and {missing[0]} was not in it.")
        return super().__call__(inputs, *args, **options)

    def call(self, inputs: Mapping[str, tf.Tensor], training: bool = False) -> dict[str, Any]:
        states, _ = self._encode(inputs, training)
        first = self._dense(states[-1][:, 0], "bert/pooler/dense")
        return {
            "sequence_output": states[-1],
            "pooled_output": tf.tanh(first),
            "encoder_outputs": states[1:],
        }

    def attentions(self, inputs: Mapping[str, tf.Tensor]) -> list[tf.Tensor]:
        """Attention weights of each layer, float32 [batch, heads, tokens, tokens]: rows sum to 1."""
        return self._encode(inputs, False)[1]

    def get_config(self) -> dict[str, Any]:
        own = {"config": asdict(self.sizes), "seed": self.seed, "exact_gelu": self.exact_gelu}
        return super().get_config() | own

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Bert:
        return cls(**config | {"config": Config(**config["config"])})

    def _encode(
        self, inputs: Mapping[str, tf.Tensor], training: bool
    ) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        """The embeddings and the output of each layer, and the attention in each layer."""
        ids, mask, types = (tf.convert_to_tensor(inputs[name]) for name in INPUTS)
        tokens = ids.shape[1] or tf.shape(ids)[1]
        if ids.shape[1] and tokens > self.sizes.max_position_embeddings:
            raise CourseError(
                f"{tokens} tokens were given, and this BERT has {self.sizes.max_position_embeddings} positions: cut "
                "the text into windows."
            )
        weights = self.named
        x = tf.gather(weights["bert/embeddings/word_embeddings"], ids)
        x += tf.gather(weights["bert/embeddings/token_type_embeddings"], types)
        x += weights["bert/embeddings/position_embeddings"][:tokens]
        x = self._dropout(self._norm(x, "bert/embeddings"), training)
        bias = MASKED * (1.0 - tf.cast(mask, tf.float32))[:, None, None, :]
        states, attentions = [x], []
        for layer in (f"bert/encoder/layer_{i}" for i in range(self.sizes.num_hidden_layers)):
            mixed, attention = self._attend(x, bias, f"{layer}/attention/self", training)
            mixed = self._dropout(self._dense(mixed, f"{layer}/attention/output/dense"), training)
            x = self._norm(x + mixed, f"{layer}/attention/output")
            inner = tf.nn.gelu(self._dense(x, f"{layer}/intermediate/dense"), approximate=not self.exact_gelu)
            inner = self._dropout(self._dense(inner, f"{layer}/output/dense"), training)
            x = self._norm(x + inner, f"{layer}/output")
            states.append(x)
            attentions.append(attention)
        return states, attentions

    def _attend(
        self, x: tf.Tensor, bias: tf.Tensor, name: str, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        heads, width = self.sizes.num_attention_heads, self.sizes.hidden_size
        shape = tf.shape(x)

        def split(kind: str) -> tf.Tensor:
            rows = tf.reshape(self._dense(x, f"{name}/{kind}"), [shape[0], shape[1], heads, width // heads])
            return tf.transpose(rows, [0, 2, 1, 3])

        scores = tf.matmul(split("query"), split("key"), transpose_b=True) * (width // heads) ** -0.5
        attention = tf.nn.softmax(scores + bias)
        kept = tf.nn.dropout(attention, self.sizes.attention_probs_dropout_prob) if training else attention
        mixed = tf.transpose(tf.matmul(kept, split("value")), [0, 2, 1, 3])
        return tf.reshape(mixed, [shape[0], shape[1], width]), attention

    def _dense(self, x: tf.Tensor, name: str) -> tf.Tensor:
        kernel, bias = self.named[f"{name}/kernel"], self.named[f"{name}/bias"]
        rows = tf.nn.bias_add(tf.matmul(tf.reshape(x, [-1, kernel.shape[0]]), kernel), bias)
        return tf.reshape(rows, tf.concat([tf.shape(x)[:-1], [kernel.shape[1]]], 0))

    def _norm(self, x: tf.Tensor, name: str) -> tf.Tensor:
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        gamma, beta = (self.named[f"{name}/LayerNorm/{part}"] for part in ("gamma", "beta"))
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)

    def _dropout(self, x: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.nn.dropout(x, self.sizes.hidden_dropout_prob) if training else x


# ---- what a loader did


@dataclass(frozen=True)
class Report:
    """What a loader did with each variable of the model and each tensor of the source."""

    source: str
    assigned: tuple[str, ...]  # variables that took a tensor
    fresh: tuple[str, ...]  # variables left as they were drawn
    unused: tuple[str, ...]  # tensors of the source that went nowhere, under its own names

    def __str__(self) -> str:
        parts = [f"{self.source}: {len(self.assigned)} variables assigned"]
        for what, names in (("left fresh", self.fresh), ("tensors unused", self.unused)):
            shown = ": " + ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else ""
            parts.append(f"{len(names)} {what}{shown}")
        return "; ".join(parts)

    __repr__ = __str__


def load_checkpoint(variables: Mapping[str, tf.Variable], prefix: Path, strict: bool = True) -> Report:
    """Assign the tensors of a checkpoint with Google's names to the variables of the same names.

    `prefix` is the path without `.index`; `variables` are those of a Bert (`named`), with those of a head if it is to
    be loaded. Raises CourseError, before anything is assigned, where there is no checkpoint of such a kind, for a
    tensor of another shape, and, if `strict`, for a variable that the checkpoint has not and for a layer that the
    variables have not.
    """
    if prefix.name.endswith(".index") or ".data-" in prefix.name:
        short = prefix.name.removesuffix(".index").partition(".data-")[0]
        raise CourseError(
            f"{prefix} is one file of a checkpoint: name what all its files begin with, {short}."
        )
    if not prefix.with_name(prefix.name + ".index").is_file():
        raise CourseError(
            f"There is no checkpoint {prefix}, for which {prefix.name}.index was expected: check the path."
        )
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        if any(name.endswith("/.ATTRIBUTES/VARIABLE_VALUE") for name in shapes):
            raise CourseError(
                f"{prefix} holds the objects of a tf.train.Checkpoint, and tensors under Google's names were expected: "
                "restore it with tf.train.Checkpoint, or write it with write_checkpoint."
            )
        sources = {name: (name, shape) for name, shape in shapes.items()}
        return _assign(variables, sources, reader.get_tensor, str(prefix), strict)
    except (tf.errors.OpError, RuntimeError, IndexError, UnicodeDecodeError) as error:
        raise CourseError(
            f"{prefix} cannot be read as a checkpoint ({_line(error)}): get its files again."
        ) from None


def load_safetensors(variables: Mapping[str, tf.Variable], path: Path, strict: bool = True) -> Report:
    """Assign the weights of a BERT in PyTorch, renamed, the kernels of linear layers transposed.

    Raises CourseError as `load_checkpoint` does.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            sources: dict[str, tuple[str, tuple[int, ...]]] = {}
            for name in sorted(file.keys()):
                shape = tuple(file.get_slice(name).get_shape())
                sources[name] = google_name(name), shape[::-1] if _transposed(name) else shape

            def read(name: str) -> np.ndarray:
                tensor = file.get_tensor(name)
                return tensor.T if _transposed(name) else tensor

            return _assign(variables, sources, read, str(path), strict)
    except (OSError, SafetensorError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise CourseError(
            f"{path} cannot be read as weights ({_line(error)}): save the model again."
        ) from None


def google_name(name: str) -> str:
    """The name in Google's checkpoints of a tensor of transformers, such as `encoder.layer.0.output.dense.bias`.

    Older files call the weights of norms gamma and beta, and begin with `bert.`; in names of heads only dots change.
    """
    found = name.removeprefix("bert.").replace("encoder.layer.", "encoder.layer_").replace(".", "/")
    found = found.replace("LayerNorm/weight", "LayerNorm/gamma").replace("LayerNorm/bias", "LayerNorm/beta")
    if found.endswith("_embeddings/weight"):
        found = found.removesuffix("/weight")
    if found.endswith("/weight"):
        found = found.removesuffix("weight") + "kernel"
    return found if found.startswith(("cls/", "classifier/", "qa_outputs/")) else f"bert/{found}"


def load_saved_model(
    handle: str | Path, config: Config | None = None, trainable: bool = True
) -> tuple[hub.KerasLayer, Report]:
    """A BERT that was saved as a SavedModel, from a folder or an address of TF Hub, as a layer for tf_keras.

    It takes and gives what a Bert does; dropout is on with `training=True`. An address is downloaded by
    `downloads.fetch_model`. Raises CourseError where there is none, where it takes or gives something else, where its
    hidden size is not that of `config`, where nothing in it can be trained though `trainable` is asked for, and what
    `fetch_model` raises.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tensorflow_hub imports pkg_resources, which is deprecated
        import tensorflow_hub as hub

    folder = fetch_model(str(handle)) if "://" in str(handle) else Path(handle)
    if not (folder / "saved_model.pb").is_file():
        raise CourseError(
            f"{handle} is no SavedModel, a folder with saved_model.pb was expected: check the path."
        )
    try:
        with _calm():  # it logs that nothing can be trained and goes on; here that ends in CourseError
            layer = hub.KerasLayer(str(folder), trainable=trainable)
            given = layer({name: tf.ones([1, 4], tf.int32) for name in INPUTS})
        width = given["sequence_output"].shape
        right = width[:2] == [1, 4] and given["pooled_output"].shape == [1, width[2]]
    except (ValueError, TypeError, KeyError, IndexError, tf.errors.InvalidArgumentError):
        right = False
    except OSError as error:
        raise CourseError(
            f"{handle} cannot be loaded ({_line(error)}): save it again, or delete {folder} and get it again."
        ) from None
    if not right:
        raise CourseError(
            f"{handle} is not a BERT of TF Hub's form, which takes a dict of {', '.join(INPUTS)} and gives a dict with "
            "sequence_output and pooled_output: use another SavedModel."
        )
    if config and width[2] != config.hidden_size:
        raise CourseError(
            f"{handle} gives {width[2]} numbers per token, and {config.hidden_size} were expected: use another "
            "SavedModel."
        )
    if trainable and not layer.trainable_weights:
        raise CourseError(
            f"{handle} has no variable that can be trained, only a head on it would learn: save a tf_keras model, with "
            "save_model."
        )
    trained = tuple(v.name.removesuffix(":0") for v in layer.trainable_weights)
    rest = tuple(v.name.removesuffix(":0") for v in layer.non_trainable_weights)
    return layer, Report(Path(handle).name, trained, (), rest if trainable else ())


# ---- writers


def write_checkpoint(tensors: Mapping[str, Any], prefix: Path) -> None:
    """Write variables or arrays as a checkpoint of the old kind, by name, as Google's: `prefix`.index and .data."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    names = sorted(tensors)
    tf.raw_ops.SaveV2(
        prefix=str(prefix),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.convert_to_tensor(tensors[name]) for name in names],
    )


def write_minilm(folder: Path) -> Path:
    """Write MiniLM as Google publishes a BERT, with config and vocabulary; returns `folder`.

    Raises CourseError as `minilm.load` does.
    """
    source = minilm.folder()
    config = Config.read(source / "config.json")
    variables = Bert(config).named
    load_safetensors(variables, source / "model.safetensors")
    write_checkpoint(variables, folder / CHECKPOINT)
    write_text(folder / CONFIG, json.dumps(asdict(config) | {"hidden_act": "gelu"}, indent=2) + "\n")
    write_text(folder / VOCABULARY, read_text(source / VOCABULARY))
    return folder


def published() -> Path:
    """The folder of Google's bert-base-uncased (12 layers, 768 units): config, vocabulary and checkpoint.

    Google's code trained it with the approximation of gelu: `from_folder(published(), exact_gelu=False)`. Raises
    CourseError for an archive without a BERT, and what `fetch_folder` raises.
    """
    whole = fetch_folder("bert-base-uncased")
    found = [path.parent for path in whole.rglob(CONFIG)]
    if len(found) != 1:
        raise CourseError(f"{whole} holds {len(found)} BERTs with a {CONFIG}, and one was expected.")
    return found[0]


def from_folder(folder: Path, seed: int = 0, exact_gelu: bool = True) -> tuple[Bert, Report]:
    """The Bert of a folder as Google publishes it, and what was loaded. Raises as its parts do."""
    bert = Bert(Config.read(folder / CONFIG), seed, exact_gelu)
    return bert, load_checkpoint(bert.named, folder / CHECKPOINT)


def save_model(bert: Bert, folder: Path) -> None:
    """Write an encoder as a SavedModel that `load_saved_model` and `hub.load` take back, dropout included.

    Raises CourseError for a layer of Keras 3.
    """
    need_tf_keras(bert)
    inputs = {name: tf_keras.Input([None], dtype=tf.int32, name=name) for name in INPUTS}
    with _calm():  # no warning of a model that was not compiled
        tf_keras.Model(inputs, bert(inputs)).save(str(folder), save_format="tf")


# ---- checks


def need_tf_keras(*things: Any) -> None:
    """Raise CourseError for an object of Keras 3, which is what `tf.keras` is today."""
    for thing in things:
        if any(cls.__module__.partition(".")[0] == "keras" for cls in type(thing).__mro__):
            raise CourseError(
                f"{type(thing).__name__} is an object of Keras 3, and TF Hub's layers are of Keras 2: make it with "
                "tf_keras instead of keras or tf.keras."
            )


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: Config) -> None:
    """Raise CourseError where a tokenizer has not as many word pieces as a model has vectors for them."""
    if len(tokenizer) != config.vocab_size:
        raise CourseError(
            f"The tokenizer has {len(tokenizer)} word pieces and the model {config.vocab_size} word vectors: take the "
            f"{VOCABULARY} that was published with the model."
        )


def _assign(
    variables: Mapping[str, tf.Variable],
    sources: Mapping[str, tuple[str, tuple[int, ...]]],
    read: Callable[[str], np.ndarray],
    where: str,
    strict: bool,
) -> Report:
    """Assign by name; `sources` gives for each tensor its name among the variables and its shape there."""
    own = {target: (name, shape) for name, (target, shape) in sources.items() if target in variables}
    for target, (name, shape) in own.items():
        want = tuple(variables[target].shape)
        if shape != want:
            raise CourseError(
                f"{where} is of a model of other sizes, {name} is {_shape(shape)} there and {_shape(want)} here: build "
                "the model from the config that was published with it."
            )
    fresh = tuple(sorted(variables.keys() - own))
    if strict and fresh:
        raise CourseError(
            f"{where} has nothing for {_few(fresh)}, which would stay random: compare the names, or load with "
            "strict=False where this is meant."
        )
    unused = tuple(sorted(name for name, (target, _) in sources.items() if target not in own))
    layers = [
        name
        for name in unused
        if sources[name][0].startswith("bert/encoder/") and sources[name][0].endswith(PARTS)
    ]
    if strict and layers and any(target.startswith("bert/encoder/") for target in own):
        raise CourseError(
            f"{where} is of a model of other sizes, there is no place for {_few(layers)}: build the model from the "
            "config that was published with it, or load with strict=False where this is meant."
        )
    values = {}
    for target, (name, _) in own.items():
        value = read(name)
        if not np.issubdtype(value.dtype, np.floating) or not np.isfinite(value).all():
            raise CourseError(
                f"{where} is damaged, {name} holds values that are no finite weights: get its files again."
            )
        values[target] = value.astype(np.float32)
    for target, value in values.items():
        variables[target].assign(value)
    return Report(Path(where).name, tuple(sorted(own)), fresh, unused)


@contextmanager
def _calm() -> Iterator[None]:
    """Without TensorFlow's log messages, errors among them, which are no exceptions."""
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.FATAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _transposed(name: str) -> bool:
    """True for the weight of a linear layer in PyTorch, [out, in]."""
    return name.endswith(".weight") and "LayerNorm" not in name and not name.endswith("_embeddings.weight")


def _few(names: Iterable[str]) -> str:
    first, *rest = names
    return f"{first} and {len(rest)} more" if rest else first


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
