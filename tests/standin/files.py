"""Small files of the true formats, for every address of `SOURCES` and one model of TF Hub."""

from __future__ import annotations

import json
import pickle
import tarfile
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

from tests.archives import make_tar, make_zip
from utils.world import World, tasks

HANDLE = "https://www.kaggle.com/models/tensorflow/bert/tensorFlow2/en-uncased-l-12-h-768-a-12/4"
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{i}" for i in range(55))]
MEMBERS = ("bert_config.json", "bert_model.ckpt.data-00000-of-00001", "bert_model.ckpt.index", "vocab.txt")


@cache
def content(name: str) -> bytes:
    """The small file of a source, or the model of HANDLE."""
    group, _, file = name.rpartition("/")
    if name.startswith("squad"):
        return _squad(name)
    if name.startswith("wikitext"):
        ending = "raw" if name.endswith("raw") else "tokens"
        return _zip({f"{name}/wiki.{s}.{ending}": _wiki(s) for s in ("train", "valid", "test")})
    if name.startswith("wt103"):
        return _awd_lstm(name)
    if group in ("openai-gpt", "gpt2"):
        from tests import small_gpt

        return small_gpt.files(group)[file]
    if name.startswith("ud-english-ewt"):
        return _treebank(name.rpartition("-")[2])
    if group == "weat_seat":
        return _word_test(file)
    if group == "winobias":
        return _pronouns("anti" if file.startswith("anti") else "pro", file)
    return {
        "imdb": _imdb,
        "convai2": _convai,
        "colorlessgreen/agreement/English/generated.tab": _gulordava,
        "bert-base-uncased": _bert,
        "bert-base-uncased-weights": _bert_weights,
        "blimp": _blimp,
        HANDLE: _hub_model,
    }.get(name, lambda: _lines(name))()


def small_bert() -> Any:
    """The sizes of every BERT here."""
    from tests.small_bert import SMALL

    return replace(SMALL, vocab_size=len(PIECES))


def _world() -> World:
    return World(0)


def _text(count: int, seed: str) -> list[str]:
    """Sentences of reviews, no two files alike."""
    return [" ".join(row.words) for row in tasks.sentiment(_world(), count, "train", seed)]


def _zip(members: dict[str, bytes | str]) -> bytes:
    with TemporaryDirectory() as folder:
        return make_zip(Path(folder) / "a.zip", members).read_bytes()


def _tar(members: dict[str, bytes]) -> bytes:
    with TemporaryDirectory() as folder:
        return make_tar(Path(folder) / "a.tgz", members).read_bytes()


def _imdb() -> bytes:
    members = {"aclImdb/README": b"Large Movie Review Dataset v1.0\n"}
    for split, kind, stars in (
        ("train", "pos", 9), ("train", "neg", 2), ("train", "unsup", 0), ("test", "pos", 8), ("test", "neg", 1),
    ):  # fmt: skip
        for number, text in enumerate(_text(2, f"imdb {split} {kind}")):
            long = 100 if number else 1  # a file larger than the archive fills the disk while it is unpacked
            members[f"aclImdb/{split}/{kind}/{number}_{stars}.txt"] = f"{text} <br /><br />".encode() * long
    return _tar(members)


def _squad(name: str) -> bytes:
    impossible = 1 if "v2" in name else 0
    split = "train" if name.endswith("train") else "test"
    document = tasks.qa(_world(), 6, split, name, impossible)
    return json.dumps(document).encode()


def _convai() -> bytes:
    return json.dumps({split: tasks.dialogue(_world(), 4, split) for split in ("train", "valid")}).encode()


def _wiki(split: str) -> str:
    return "".join(
        f" \n = {title} = \n \n{f' {text}' * 50} \n"
        for title, text in zip("AB", _text(2, split), strict=True)
    )


def _awd_lstm(name: str) -> bytes:
    import torch

    from tests import small_awd_lstm

    torch.manual_seed(0)
    words = small_awd_lstm.VOCABULARY if name == "wt103-fwd" else small_awd_lstm.VOCABULARY[:-1]
    state = small_awd_lstm.state_of_fastai(words, small_awd_lstm.SMALL, old=True)
    short = f"{name}/lstm_{name.rpartition('-')[2]}.pth"
    return _tar({short: small_awd_lstm.saved(state), f"{name}/itos_wt103.pkl": pickle.dumps(words, 2)})


def _treebank(split: str) -> bytes:
    from utils import treebank

    path = Path(treebank.__file__).with_name("english.conllu")
    sentences = path.read_text("utf-8").partition("\n# sent_id")[2].split("\n\n")
    start = 8 * ("train", "dev", "test").index(split)
    return (
        "\n\n".join(f"# sent_id{s.removeprefix('# sent_id')}" for s in sentences[start : start + 8]) + "\n\n"
    ).encode()


def _word_test(file: str) -> bytes:
    random, sentence = Random(file), file.startswith("sent-")
    sets = {
        key: {
            "category": f"{key} {file}",
            "examples": [f"This is {w}." if sentence else w for w in random.sample(PIECES[5:], 4)],
        }
        for key in ("targ1", "targ2", "attr1", "attr2")
    }
    return json.dumps(sets).encode()


def _pronouns(side: str, file: str) -> bytes:
    kind = file.partition("_")[2]
    pronoun = "her" if side == "anti" else "him"
    people = ("developer", "manager", "guard", "nurse")
    lines = [
        f"{i} [The {who}] met the {kind} visitor who knew [{pronoun}] ." for i, who in enumerate(people, 1)
    ]
    return ("\n".join(lines) + "\n").encode()


def _gulordava() -> bytes:
    rows = ["pattern\tconstr_id\tform\tclass\ttype\tn_attr\tlen_prefix\tsent"]
    for number in range(4):
        for form, kind in (("walks", "correct"), ("walk", "wrong")):
            rows.append(
                f"NV\t{number}\t{form}\t{kind}\tgenerated\t1\t2\tThe dog runs {PIECES[5 + number]} . <eos>"
            )
    return ("\n".join(rows) + "\n").encode()


def _blimp() -> bytes:
    pairs = {f"data/rule_{p}.jsonl": [(a, a + " ?") for a in _text(3, f"blimp {p}")] for p in "ab"}
    rows = {
        f: [json.dumps({"sentence_good": a, "sentence_bad": b}) for a, b in ps] for f, ps in pairs.items()
    }
    return _zip({file: "\n".join(lines) + "\n" for file, lines in rows.items()})


def _lines(name: str) -> bytes:
    """Files of one example a line, or of one word a line."""
    if name.endswith("subj_agr_filtered.text"):
        return b"the keys are here <eos>\nit has come <eos>\n"
    if name.endswith("subj_agr_filtered.gold"):
        return b"2\tare\tis\t0\n1\thas\thave\t2\n"
    words = [text.split() for text in _text(5, name)]
    if name.startswith("wnut17"):
        tagged = ["\n".join(f"{w}\t{'B-person' if i == 1 else 'O'}" for i, w in enumerate(s)) for s in words]
        return ("\n\n".join(tagged) + "\n\n").encode()
    return "".join(f"{number % 2} {' '.join(sentence)}\n" for number, sentence in enumerate(words)).encode()


def _bert() -> bytes:
    from utils import bert_tf

    with TemporaryDirectory() as folder:
        bert_tf.write_checkpoint(bert_tf.Bert(small_bert(), 1).named, Path(folder) / bert_tf.CHECKPOINT)
        members = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    members["bert_config.json"] = json.dumps(asdict(small_bert()) | {"hidden_act": "gelu"}).encode()
    members["vocab.txt"] = ("\n".join(PIECES) + "\n").encode()
    return _zip({f"uncased_L-12_H-768_A-12/{file}": members[file] for file in MEMBERS})


def _bert_weights() -> bytes:
    import torch
    from safetensors.torch import save
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    state = BertModel(BertConfig(**asdict(small_bert()))).state_dict()
    return save(
        {f"bert.{key}": value for key, value in state.items()} | {"cls.predictions.bias": torch.zeros(3)}
    )


def _hub_model() -> bytes:
    """A SavedModel as TF Hub packs it."""
    from utils import bert_tf

    with TemporaryDirectory() as name:
        folder = Path(name) / "saved"
        bert_tf.save_model(bert_tf.Bert(small_bert(), 2), folder)
        with tarfile.open(Path(name) / "a.tgz", "w:gz") as archive:
            archive.add(folder, ".")  # with its folders, which tensorflow_hub does not make by itself
        return (Path(name) / "a.tgz").read_bytes()
