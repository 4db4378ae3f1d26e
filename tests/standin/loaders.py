"""Every loader of the full profile that downloads, called as the labs call it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from tests.standin.files import HANDLE, small_bert
from utils import bias, convai, downloads, imdb, items, sentences, squad, text, treebank
from utils.downloads import SOURCES


@dataclass(frozen=True)
class Loader:
    """A loader, and the names in SOURCES (or the address of TF Hub) of what it downloads.

    `heavy` ones need torch or TensorFlow, which cost seconds and may hang in a forked process: trials of them end with
    the files.
    """

    name: str
    sources: tuple[str, ...]
    read: Callable[[], Any]
    heavy: bool = False

    def load(self) -> str:
        """The fingerprint of all that is read or, of a heavy loader, of the files that are."""
        return fingerprint([_fetched(name) for name in self.sources] if self.heavy else self.read())


def fingerprint(value: Any) -> str:
    """A hash of values: folders and files by their content, models by their weights, the rest as printed."""
    digest = hashlib.sha256()
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, Path):
            for path in sorted(part.rglob("*")) if part.is_dir() else [part]:
                if path.is_file():
                    digest.update(f"{path.relative_to(part)}\0{downloads.sha256(path)}\0".encode())
        elif isinstance(part, Mapping):
            for name, tensor in sorted(part.items()):
                digest.update(name.encode() + tensor.numpy().tobytes())
        else:
            digest.update(repr(part).encode())
    return digest.hexdigest()


def _fetched(name: str) -> Path:
    if name == HANDLE:
        return downloads.fetch_model(address(name))
    return (downloads.fetch_folder if SOURCES[name].file.endswith(ARCHIVES) else downloads.fetch)(name)


ARCHIVES = (".zip", ".tgz", ".tar.gz")
_handles: dict[str, str] = {}


def address(handle: str) -> str:
    """Where a model of TF Hub stands; `_handles` is patched by whoever runs the stand-in."""
    return _handles.get(handle, handle)


def _ulmfit(direction: str) -> list[Any]:
    import torch

    from tests import small_awd_lstm
    from utils import ulmfit

    small = ulmfit.awd_lstm_lm_config | small_awd_lstm.SMALL
    with TemporaryDirectory() as name, mock.patch.object(ulmfit, "awd_lstm_lm_config", small):
        (pth, pkl) = ulmfit.pretrained(direction, Path(name), "full")
        state = torch.load(Path(name) / f"{pth}.pth", weights_only=True)
        return [state, ulmfit.words(Path(name) / f"{pkl}.pkl")]


def _gpt(name: str) -> list[Any]:
    from tests import small_gpt
    from utils import dialogue

    kind, _ = dialogue.PUBLISHED[name]
    with mock.patch.dict(dialogue.PUBLISHED, {name: (kind, small_gpt.SMALL)}):
        model, tokenizer = dialogue.published(name)
    return [model.state_dict(), sorted(tokenizer.get_vocab().items())]


def _bert() -> dict[str, Any]:
    from utils import bert_tf

    return bert_tf.from_folder(bert_tf.published(), exact_gelu=False)[0].named


def _bert_weights() -> dict[str, Any]:
    from transformers import BertConfig, BertModel

    from utils import imdb_bert

    model = BertModel(BertConfig(**asdict(small_bert())))
    imdb_bert._fill(model, downloads.fetch("bert-base-uncased-weights"))
    return model.state_dict()


def _hub() -> dict[str, Any]:
    from utils import bert_tf

    layer, _ = bert_tf.load_saved_model(address(HANDLE))
    return {variable.name: variable for variable in layer.trainable_weights}


def _winobias(kind: str, part: str) -> tuple[str, ...]:
    return tuple(f"winobias/{side}_stereotyped_{kind}.txt.{part}" for side in ("pro", "anti"))


def _pairs(kind: str, part: str) -> list[Any]:
    return bias.winobias(*map(downloads.fetch, _winobias(kind, part)))


def _wnut() -> list[Any]:
    from utils import tagging

    return [tagging.wnut(split) for split in tagging.WNUT]


def _named(begin: str) -> tuple[str, ...]:
    return tuple(name for name in SOURCES if name.startswith(begin))


def _each(function: Callable[..., Any], values: tuple[Any, ...]) -> Callable[[], list[Any]]:
    return lambda: [function(value) for value in values]


LOADERS = (
    Loader("imdb.reviews", ("imdb",), _each(imdb.reviews, imdb.SPLITS)),
    Loader("squad.load 1.1", ("squad-train", "squad-dev"), _each(squad.load, squad.SPLITS)),
    Loader(
        "squad.load 2.0",
        ("squad-v2-train", "squad-v2-dev"),
        lambda: [squad.load(split, "2.0") for split in squad.SPLITS],
    ),
    Loader("convai.load", ("convai2",), _each(convai.load, convai.SPLITS)),
    *(
        Loader(
            f"text.wikitext {which}",
            (which,),
            lambda which=which: [text.wikitext(s, which) for s in text.SPLITS],
        )
        for which in text.WIKITEXTS
    ),
    Loader("ulmfit.pretrained forward", ("wt103-fwd",), lambda: _ulmfit("forward"), heavy=True),
    Loader("ulmfit.pretrained backward", ("wt103-bwd",), lambda: _ulmfit("backward"), heavy=True),
    Loader("bert_tf.published", ("bert-base-uncased",), _bert, heavy=True),
    Loader("bert_tf.load_saved_model", (HANDLE,), _hub, heavy=True),
    Loader("imdb_bert", ("bert-base-uncased-weights",), _bert_weights, heavy=True),
    Loader("dialogue.published openai-gpt", _named("openai-gpt/"), lambda: _gpt("openai-gpt"), heavy=True),
    Loader("dialogue.published gpt2", _named("gpt2/"), lambda: _gpt("gpt2"), heavy=True),
    Loader("items.gulordava", (items.GULORDAVA,), items.gulordava),
    Loader("items.linzen", (f"{items.LINZEN}.text", f"{items.LINZEN}.gold"), items.linzen),
    Loader("items.blimp", (items.BLIMP,), _each(items.blimp, ("rule_a", "rule_b"))),
    Loader("items.entities", (items.ENTITIES,), items.entities),
    Loader("tagging.wnut", _named("wnut17/"), _wnut, heavy=True),
    Loader("treebank.ewt", _named("ud-english-ewt"), _each(treebank.ewt, treebank.SPLITS)),
    Loader(
        "sentences.sst2",
        _named("sentence_classification/stsa"),
        _each(sentences.sst2, ("train", "dev", "test")),
    ),
    Loader(
        "sentences.trec", _named("sentence_classification/TREC"), _each(sentences.trec, ("train", "test"))
    ),
    *(
        Loader(
            f"bias.read_test {number}",
            (f"weat_seat/weat{number}.jsonl", f"weat_seat/sent-weat{number}.jsonl"),
            lambda n=number: [
                bias.read_test(downloads.fetch(f"weat_seat/{kind}weat{n}.jsonl")) for kind in ("", "sent-")
            ],
        )
        for number in (1, 2, 3, "3b", 4, 5, "5b", 6, "6b", 7, "7b", 8, "8b", 9, 10)
    ),
    *(
        Loader(f"bias.winobias {kind} {part}", _winobias(kind, part), lambda k=kind, p=part: _pairs(k, p))
        for kind in ("type1", "type2")
        for part in ("dev", "test")
    ),
)
