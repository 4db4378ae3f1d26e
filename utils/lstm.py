"""The course's AWD-LSTM in fastai's own shape (labs 1 and 4a)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from utils import checkpoints
from utils.training import pad

if TYPE_CHECKING:
    from fastai.learner import Learner
    from torch.nn import Module

    from utils.world.tasks import MinimalPair

START, PADDING = "xxbos", 1  # fastai's mark at the start of a text, and the id of its padding


def load(name: str = "awd_lstm") -> tuple[Module, list[str]]:
    """An AWD-LSTM language model of the course, in evaluation mode, and its vocabulary of words.

    "awd_lstm" is Lab 1's; "ulmfit_forward" and "ulmfit_backward" are the pair of Lab 4a, the second of which reads
    texts from their last word to their first.
    """
    shape = checkpoints.config(name)
    words = [word for word in shape["vocabulary"] if word != START]
    model = learner(
        [words] * 40, shape["vocabulary"], shape
    ).model.eval()  # fastai builds no model without texts
    checkpoints.load_into(model, name)
    return model, shape["vocabulary"]


def learner(
    texts: Sequence[Sequence[str]], vocabulary: Sequence[str], shape: dict[str, Any], width: int = 48
) -> Learner:
    """A fastai learner with an untrained AWD-LSTM language model on texts of known words.

    `shape` gives emb_sz, n_hid, n_layers, drop_mult and rows (of a batch); `width` is the length of the stretches that
    training sees at once. Also used to load the checkpoint: `checkpoints.load_into(learner.model, "awd_lstm")`.
    """
    from fastai.text.all import AWD_LSTM, DataLoaders, LMDataLoader, LMTensorText, awd_lstm_lm_config
    from fastai.text.all import language_model_learner as make

    index = {word: i for i, word in enumerate(vocabulary)}
    rows = [LMTensorText([index[START], *(index[word] for word in text)]) for text in texts]
    train = LMDataLoader(rows, bs=shape["rows"], seq_len=width, shuffle=True)
    some = LMDataLoader(rows[:500], bs=4, seq_len=width)  # fastai wants something to validate on
    loaders = DataLoaders(train, some, device="cpu")
    loaders.vocab = vocabulary
    config = awd_lstm_lm_config | {key: shape[key] for key in ("emb_sz", "n_hid", "n_layers")}
    return make(loaders, AWD_LSTM, config=config, pretrained=False, drop_mult=shape["drop_mult"])


@torch.no_grad()
def bits(
    model: Module, vocabulary: Sequence[str], texts: Sequence[Sequence[str]], rows: int = 64
) -> list[float]:
    """-log2 p of each text, whose end is read as the start mark of a next one."""
    index = {word: i for i, word in enumerate(vocabulary)}
    ids = [[index[START], *(index[word] for word in text), index[START]] for text in texts]
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found = [0.0] * len(ids)
    for at in range(0, len(order), rows):
        some = order[at : at + rows]
        batch = pad([ids[i] for i in some], max(len(ids[i]) for i in some), PADDING)
        model.reset()
        logp = model(batch[:, :-1])[0].log_softmax(-1).gather(-1, batch[:, 1:, None])[..., 0]
        totals = (logp * (batch[:, 1:] != PADDING)).sum(1).tolist()
        for i, total in zip(some, totals, strict=True):
            found[i] = -total / math.log(2)
    return found


def preferred(model: Module, vocabulary: Sequence[str], pairs: Sequence[MinimalPair], step: int = 1) -> float:
    """Share of minimal pairs whose good text is the more probable one; `step` is -1 for a model that reads backward."""
    texts = [words[::step] for pair in pairs for words in (pair.good, pair.bad)]
    found = bits(model, vocabulary, texts)
    return sum(good < bad for good, bad in zip(found[::2], found[1::2], strict=True)) / len(pairs)


@torch.no_grad()
def sample(model: Module, vocabulary: Sequence[str], seed: int, longest: int = 40) -> str:
    """One text, drawn word by word until the next start mark."""
    generator = torch.Generator().manual_seed(seed)
    start = list(vocabulary).index(START)
    model.reset()
    drawn = [start]
    while len(drawn) <= longest and start not in drawn[1:]:
        shares = model(torch.tensor([drawn[-1:]]))[0][0, -1].softmax(-1)
        drawn.append(int(torch.multinomial(shares, 1, generator=generator)))
    return " ".join(vocabulary[i] for i in drawn if i != start)
