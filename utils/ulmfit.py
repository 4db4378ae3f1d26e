"""What document classification with fastai (Howard & Ruder 2018; lab 4a) needs beside fastai.

Pretrained files in fastai's own form, tables of reviews, encoders that know their words, and classifiers that are kept
without pickle: a pickle can run any code on the machine that reads it.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pickle
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from fastai.text.all import (
    AWD_LSTM,
    Numericalize,
    SpacyTokenizer,
    Tokenizer,
    awd_lstm_lm_config,
    clean_raw_keys,
    defaults,
    get_language_model,
    get_text_classifier,
)
from fastai.text.models.core import PoolingLinearClassifier

from utils import checkpoints, settings
from utils.distributed import distributed
from utils.downloads import fetch_folder, part_beside, read_json, read_text, write_text
from utils.errors import CourseError, shown
from utils.imdb import plain
from utils.resume import Resume

__all__ = ["Classifier", "Resume", "distributed", "frame", "load", "load_encoder", "pretrained", "save",
           "save_encoder", "shape", "table", "words"]  # fmt: skip

if TYPE_CHECKING:
    from fastai.learner import Learner
    from torch import Tensor
    from torch.nn import Module

    from utils.settings import Profile

MINI = {"forward": "ulmfit_forward", "backward": "ulmfit_backward"}  # checkpoints of the course
FULL = {"forward": "wt103-fwd", "backward": "wt103-bwd"}  # archives of fastai
SIZES = ("emb_sz", "n_hid", "n_layers")
TAGS = frozenset(
    "a b body center div em font h1 h2 h3 head hr html i img li ol p pre script span strong style table td tr u "
    "ul".split()
)


# ---- the pretrained language model


def pretrained(direction: str, folder: Path, profile: Profile | None = None) -> list[str]:
    """Write fastai's pair of pretrained files, NAME.pth and NAME.pkl, into `folder`, and return [NAME, NAME].

    That is what `language_model_learner` wants as `pretrained_fnames`, where `path` and `model_dir` lead to `folder`.
    `direction` is "forward" or "backward". For the profile `mini` these are the course's own AWD-LSTMs, for `full`
    those that fastai trained on WikiText-103, downloaded once; without one, the profile that is on decides. Nothing
    downloaded is ever unpickled freely: weights are read as tensors, the vocabulary as words, and what fastai then
    loads is what stands here. Raises CourseError for another direction, an archive that lacks one of the two files or
    holds anything else in them, and what `fetch_folder` raises.
    """
    profile = profile or settings.profile()
    name = _name(direction, profile)
    if profile == "mini":
        vocabulary = checkpoints.config(name)["vocabulary"]
        model = _language_model(direction, len(vocabulary), profile)
        checkpoints.load_into(model, name)
        state = model.state_dict()
    else:
        unpacked = fetch_folder(name)
        vocabulary = words(_only(unpacked, "pkl"))
        path = _only(unpacked, "pth")
        found = checkpoints.read_pth(path, "get the archive again, from fastai")
        found = clean_raw_keys(found["model"] if isinstance(found.get("model"), dict) else found)
        own = _language_model(direction, len(vocabulary), profile).state_dict()
        if [getattr(value, "shape", None) for value in found.values()] != [v.shape for v in own.values()]:
            raise CourseError(
                f"{path} is not the AWD-LSTM of {', '.join(f'{k}={v}' for k, v in shape(direction, profile).items())} "
                f"that {len(vocabulary)} words ask for: get the archive again, from fastai."
            )
        state = {key: value.float() for key, value in found.items()}
    folder.mkdir(parents=True, exist_ok=True)
    with part_beside(folder / name) as part:
        torch.save(state, part)
        os.replace(part, folder / f"{name}.pth")
    with part_beside(folder / name) as part:
        part.write_bytes(pickle.dumps(list(vocabulary)))
        os.replace(part, folder / f"{name}.pkl")
    return [name, name]


def shape(direction: str, profile: Profile | None = None) -> dict[str, int]:
    """The sizes emb_sz, n_hid and n_layers of what `pretrained` writes, for fastai's `config`."""
    profile = profile or settings.profile()
    name = _name(direction, profile)
    values = checkpoints.config(name) if profile == "mini" else awd_lstm_lm_config
    return {key: values[key] for key in SIZES}


def words(path: Path) -> list[str]:
    """The words of a pickled vocabulary, read without executing anything of it.

    Raises CourseError where the file holds anything but a list of words, and names what it would have called.
    """
    try:
        found = _Words(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}): check the path.") from None
    except _Call as call:
        raise CourseError(
            f"{path} asks to call {str(call)[:60]}, and a vocabulary is a list of words: nothing was executed, do not "
            "use the file."
        ) from None
    except Exception as error:  # a damaged pickle can raise almost anything
        raise CourseError(
            f"{path} is no pickled list of words ({type(error).__name__}): get it again."
        ) from None
    if not isinstance(found, list) or not found or not all(isinstance(word, str) and word for word in found):
        raise CourseError(f"{path} holds no list of words, which a vocabulary is: get it again.")
    return found


class _Call(Exception):
    """A pickle asked for a function or a class."""


class _Words(
    pickle._Unpickler
):  # the one in Python: the one in C makes room for any number that a memo is given
    def find_class(self, module: str, name: str) -> Any:
        raise _Call(f"{module}.{name}")


# ---- tables of reviews


def frame(reviews: Iterable[Any]) -> pd.DataFrame:
    """A table with the columns "text" and, where labels are known, "label", for fastai's data blocks.

    `reviews` are those of `imdb.reviews`, labeled reviews of the course world, sequences of words, or plain texts.
    Line breaks of HTML become spaces; other tags stay, as IMDb published them. Raises CourseError for an empty review,
    one without a label among labeled ones, and where there is no review at all.
    """
    texts, labels = [], []
    for number, review in enumerate(reviews, 1):
        text = getattr(review, "text", None) or getattr(review, "words", review)
        text = plain(text if isinstance(text, str) else " ".join(text))
        if not text:
            raise CourseError(
                f"Review {getattr(review, 'file', number)} is empty: leave it out, or repair it."
            )
        texts.append(text)
        labels.append(getattr(review, "label", None))
    return _frame(texts, labels, "The list of reviews")


def table(path: Path | str, text: str = "text", label: str | None = "label") -> pd.DataFrame:
    """A reader's own CSV file as such a table; `text` and `label` name its columns (`label=None`: it has no labels).

    Line breaks of HTML become spaces. Raises CourseError for a file that is missing, empty, not UTF-8 or no CSV, that
    lacks a column or has too many fields, and for the first row with an empty review, an empty label or other HTML.
    """
    whole = read_text(Path(path))
    csv.field_size_limit(max(csv.field_size_limit(), len(whole)))
    try:  # pandas finds the kind of the labels, and would repair rows without a word
        names, *records = [record for record in csv.reader(io.StringIO(whole), strict=True) if record]
        rows = pd.read_csv(io.StringIO(whole), dtype={text: str}, na_filter=False, index_col=False)
    except (ValueError, csv.Error) as error:
        raise CourseError(
            f"{path} cannot be read as CSV ({' '.join(str(error).split())}): save it as CSV again."
        ) from None
    for number, record in enumerate(records, 1):
        if len(record) != len(names):
            how = "more" if len(record) > len(names) else "fewer"
            raise CourseError(
                f"{path} has rows with {how} fields than its first line, row {number} is the first: put texts with "
                "commas between quotes."
            )
    if len(set(names)) < len(names) or len(rows) != len(records):
        raise CourseError(f"{path} has two columns of one name, or an open quote: save it as CSV again.")
    for column in (text, label):
        if column is not None and column not in names:
            raise CourseError(
                f"{path} has no column {column!r} but {', '.join(map(shown, names[:5]))}: say which ones to read, as "
                'in table(path, text="review", label="sentiment").'
            )
    texts = [_checked(value, f"Row {number} of {path}") for number, value in enumerate(rows[text], 1)]
    labels = [None] * len(texts) if label is None else [None if v == "" else v for v in rows[label].tolist()]
    return _frame(texts, labels, str(path))


def _frame(texts: list[str], labels: list[Any], source: str) -> pd.DataFrame:
    if not texts:
        raise CourseError(f"{source} has no review: at least one was expected.")
    if all(label is None for label in labels):
        return pd.DataFrame({"text": texts})
    if any(isinstance(label, float) and not math.isfinite(label) for label in labels):
        raise CourseError(f"{source} has a label that is no number, among numbers: repair it.")
    if None in labels:
        raise CourseError(
            f"{source} has no label for review {labels.index(None) + 1}, and others have one: add it, or leave the "
            "review out."
        )
    return pd.DataFrame({"text": texts, "label": labels})


def _checked(text: str, where: str) -> str:
    """A reader's own text with line breaks as spaces, or CourseError where it is empty or holds other HTML."""
    text = plain(text)
    if not text:
        raise CourseError(f"{where} is empty, and a text was expected: write at least one word.")
    for tag in re.finditer(r"</?([a-zA-Z][a-zA-Z0-9]*)[^<>]*>", text):
        if tag[1].lower() in TAGS:
            raise CourseError(
                f"{where} holds the HTML tag {tag[0][:40]}, which would be read as words: take the tags out, and leave "
                "<br /> if you like."
            )
    return text


# ---- the encoder


def save_encoder(learner: Learner, name: str) -> None:
    """fastai's `learner.save_encoder(name)`, and beside it NAME.json: the vocabulary, the sizes, the direction.

    NAME.pth comes last and at once, so that it is whole, and has its NAME.json, wherever another process sees it.
    """
    part = f".{name}-{os.getpid()}"
    learner.save_encoder(part)
    write_text(_beside(learner, name, "json"), json.dumps(_about(learner), ensure_ascii=False) + "\n")
    os.replace(_beside(learner, part, "pth"), _beside(learner, name, "pth"))


def load_encoder(learner: Learner, name: str) -> None:
    """fastai's `learner.load_encoder(name)` of what `save_encoder` wrote; freezes all but the head, as fastai does.

    fastai itself notices neither a vocabulary of the same size in another order, whose words then have each other's
    vectors, nor texts read the other way. Raises CourseError for both, for other sizes, for files that are missing or
    hold more than tensors, and for an encoder without weight dropout, which fastai 2.8 can't train.
    """
    path = _beside(learner, name, "json")
    saved, own = _json(path), _about(learner)
    for key, what in {"direction": "reading direction", **{key: key for key in SIZES}}.items():
        if saved.get(key) != own[key]:
            raise CourseError(
                f"Encoder {name} has the {what} {saved.get(key)} and this classifier {own[key]}: build both with the "
                "same."
            )
    theirs, ours = saved.get("vocabulary") or [], own["vocabulary"]
    if theirs != ours:
        at = next((i for i, pair in enumerate(zip(theirs, ours)) if pair[0] != pair[1]), None)  # noqa: B905
        how = (
            f"{len(theirs)} words and this classifier {len(ours)}"
            if at is None
            else f"{theirs[at]!r} as word {at} and this classifier {ours[at]!r}"
        )
        raise CourseError(
            f"Encoder {name} has {how}: give the classifier's data the vocabulary of the language model's data."
        )
    encoder = _encoder(learner)
    if any(rnn.weight_p == 0 for rnn in encoder.rnns):
        raise CourseError(
            "The classifier has no weight dropout (drop_mult=0), and fastai can't train an AWD-LSTM so: use a small "
            "drop_mult such as 0.01."
        )
    weights = _beside(learner, name, "pth")
    checkpoints.fill(
        encoder,
        clean_raw_keys(checkpoints.read_pth(weights, "save the encoder again")),
        str(weights),
        "save the encoder again",
    )
    learner.load_encoder(name)


# ---- a classifier to keep


class Classifier:
    """A trained classifier: `classifier(text)` gives {class: probability}, `classifier.model` is the torch module."""

    def __init__(self, model: Module, values: dict[str, Any]):
        self.model, self.classes = model.eval(), values["classes"]
        self.backward = values["direction"] == "backward"
        self._tokenize, self._number = Tokenizer(SpacyTokenizer()), Numericalize(values["vocabulary"])

    def ids(self, text: str) -> Tensor:
        """The numbers of a text's tokens, shape (tokens,), cut as fastai does by default; CourseError for no text."""
        ids = self._number(self._tokenize(_checked(text, "The text"))).as_subclass(torch.Tensor)
        return ids.flip(0) if self.backward else ids

    @torch.no_grad()
    def __call__(self, text: str) -> dict[Any, float]:
        shares = self.model(self.ids(text)[None])[0][0].softmax(-1)
        return dict(zip(self.classes, shares.tolist(), strict=True))


def save(learner: Learner, folder: Path) -> None:
    """Write a text classifier of fastai as model.safetensors and classifier.json: no pickle, so `load` runs no code.

    Raises CourseError for a model with another head than fastai's own, and for texts that were not cut into tokens as
    fastai does by default.
    """
    from safetensors.torch import save_file

    encoder, head = learner.model
    if type(head) is not PoolingLinearClassifier:
        raise CourseError(
            f"The head of this model is a {type(head).__name__}: only classifiers of text_classifier_learner are kept."
        )
    tokenizers = [step for step in _steps(learner) if isinstance(step, Tokenizer)]
    if [(type(t.tok), list(t.rules)) for t in tokenizers] != [(SpacyTokenizer, defaults.text_proc_rules)]:
        raise CourseError(
            "The texts of this classifier were not cut into tokens by fastai's default tokenizer, and the kept one "
            "would read others: build its data without tok and rules."
        )
    widths = [part.out_features for part in head.modules() if isinstance(part, torch.nn.Linear)]
    values = {
        **_about(learner),
        "classes": [getattr(c, "item", lambda c=c: c)() for c in learner.dls.vocab[1]],
        "seq_len": encoder.bptt,
        "max_len": encoder.max_len,
        "lin_ftrs": widths[:-1],
    }
    state = {key: value.cpu().contiguous() for key, value in learner.model.state_dict().items()}
    del state["0.module.encoder_dp.emb.weight"]  # the same as 0.module.encoder.weight
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors")
    write_text(folder / "classifier.json", json.dumps(values, ensure_ascii=False) + "\n")


def load(folder: Path) -> Classifier:
    """The classifier that `save` wrote; CourseError where a file is missing, damaged, or does not fit the other."""
    path, weights = folder / "classifier.json", folder / "model.safetensors"
    values = _json(path)
    try:
        with torch.random.fork_rng():  # leaves the caller's random numbers as they are
            model = get_text_classifier(
                AWD_LSTM,
                len(values["vocabulary"]),
                len(values["classes"]),
                config={key: values[key] for key in SIZES},
                **{key: values[key] for key in ("seq_len", "max_len", "lin_ftrs")},
            )
        classifier = Classifier(model, values)
    except (KeyError, TypeError, RuntimeError) as error:
        raise CourseError(
            f"{path} describes no classifier ({' '.join(str(error).split())}): save it again."
        ) from None
    state = checkpoints.read_safetensors(weights, "save the classifier again")
    checkpoints.fill(model, state, str(weights), "save the classifier again")
    return classifier


# ---- shared


def _name(direction: str, profile: Profile) -> str:
    names = MINI if profile == "mini" else FULL
    if direction not in names:
        raise CourseError(f"{direction!r} is no reading direction: choose one of {', '.join(names)}.")
    return names[direction]


def _language_model(direction: str, size: int, profile: Profile) -> Module:
    with torch.random.fork_rng():
        return get_language_model(AWD_LSTM, size, config=awd_lstm_lm_config | shape(direction, profile))


def _only(folder: Path, ending: str) -> Path:
    found = [path for path in sorted(folder.rglob(f"*.{ending}")) if not path.name.startswith(".")]
    if len(found) != 1:
        raise CourseError(
            f"{folder} holds {len(found)} .{ending} files, and one was expected: get the archive again."
        )
    return found[0]


def _json(path: Path) -> dict[str, Any]:
    values = read_json(path, "save it again")
    if not isinstance(values, dict):
        raise CourseError(f"{path} is not a JSON object: save it again.")
    return values


def _encoder(learner: Learner) -> Any:
    return getattr(learner.model[0], "module", learner.model[0])


def _steps(learner: Learner) -> list[Any]:
    """The steps from a text to its numbers in the learner's data."""
    lists = getattr(learner.dls.train_ds, "tls", None)
    return list(lists[0].tfms.fs) if lists else []


def _about(learner: Learner) -> dict[str, Any]:
    encoder, vocabulary = _encoder(learner), learner.dls.vocab
    backward = any(getattr(step, "name", "") == "reverse_text" for step in _steps(learner))
    return {
        "vocabulary": list(vocabulary if isinstance(vocabulary[0], str) else vocabulary[0]),
        "emb_sz": encoder.emb_sz,
        "n_hid": encoder.n_hid,
        "n_layers": encoder.n_layers,
        "direction": "backward" if backward else "forward",
    }


def _beside(learner: Learner, name: str, ending: str) -> Path:
    return learner.path / learner.model_dir / f"{name}.{ending}"
