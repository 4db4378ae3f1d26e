"""A left-to-right language model that holds a conversation (lab 4c): inputs, two losses, decoding, scores.

TransferTransfo (Wolf et al. 2019) on today's transformers. A persona, the last turns and a reply become one sequence;
tokens of the speakers say whose words follow, and the same tokens as types are added to every position. Models are
GPT-2 or OpenAI GPT of transformers, with two heads (`GPT2DoubleHeadsModel`) where the next turn is to be chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from utils import checkpoints
from utils.convai import Chat
from utils.downloads import fetch, read_json, read_text
from utils.errors import CourseError
from utils.settings import processes
from utils.training import pretrain, weighted

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module
    from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

SELF, PARTNER = "<speaker1>", "<speaker2>"  # the owner of the persona, who replies, and the other
SKIP = -100  # label of a token that is not to be learned
PUBLISHED: dict[str, tuple[str, dict[str, int]]] = {"openai-gpt": ("OpenAIGPT", {}), "gpt2": ("GPT2", {})}
# the classes of transformers by their first part, whose configs describe the published shapes; and what differs


# ---- tokens


def add_tokens(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel, seed: int = 0) -> list[str]:
    """Give tokenizer and model the tokens that they lack: both speakers, <s>, </s> and <pad>. Returns the new ones.

    A new vector starts at the mean of all old ones, where it stands as near as it can to all words, with a tenth of
    their spread added, drawn from `seed`, so that no two are equal. The caller's random numbers are left as they are.
    """
    marks = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}
    missing = {role: text for role, text in marks.items() if getattr(tokenizer, role) is None}
    before = len(tokenizer)
    tokenizer.add_special_tokens(missing)  # type: ignore[arg-type]
    tokenizer.add_tokens([t for t in (SELF, PARTNER) if t not in tokenizer.get_vocab()], special_tokens=True)
    new = list(range(before, len(tokenizer)))
    old = model.get_input_embeddings().weight.detach()[:before]
    mean, spread = old.mean(0), old.std(0)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with torch.random.fork_rng():
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn((len(new), len(mean)), generator=generator).to(mean.device)
    with torch.no_grad():
        model.get_input_embeddings().weight[new] = mean + 0.1 * spread * noise
    model.config.pad_token_id = tokenizer.pad_token_id
    return tokenizer.convert_ids_to_tokens(new)


def published(
    name: str = "openai-gpt", seed: int = 0, random_init: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The published "openai-gpt" (Radford et al. 2018) or "gpt2", with two heads and all tokens of a conversation.

    Returns the model, in evaluation mode and with the dropout of its publication, and its tokenizer, which lower-cases
    for "openai-gpt". `seed` draws the second head and the new tokens, with `random_init` all weights. Files come from
    `downloads.fetch`, the weights as safetensors; vocabulary and merges are read as text. Raises CourseError for
    another name, for files of another shape, and what `fetch` raises.
    """
    import transformers

    if name not in PUBLISHED:
        raise CourseError(
            f"{name!r} is not a published model of this lab: choose one of {', '.join(PUBLISHED)}."
        )
    kind, shape = PUBLISHED[name]
    tokenizer = getattr(transformers, f"{kind}Tokenizer")(**_vocabulary(name))
    config = getattr(transformers, f"{kind}Config")(num_labels=1, **shape)
    if len(tokenizer) != config.vocab_size:
        raise CourseError(
            f"The vocabulary of {name} has {len(tokenizer)} tokens, and its model {config.vocab_size}: get "
            f"{name}/vocab.json again."
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{kind}DoubleHeadsModel")(config)
    if not random_init:
        path = fetch(f"{name}/model.safetensors")
        checkpoints.fill(model.base_model, _body(path), str(path), "delete it and get it again")
    add_tokens(tokenizer, model, seed)
    return model.eval(), tokenizer


def _vocabulary(name: str) -> dict[str, Any]:
    """The two arguments of a tokenizer: ids by token, and pairs that are merged, the first one first."""
    paths = [fetch(f"{name}/{file}") for file in ("vocab.json", "merges.txt")]
    lines = read_text(paths[1]).split("\n")
    merges = [tuple(line.split(" ")) for line in lines if line and not line.startswith("#version")]
    vocabulary, made = read_json(paths[0]), {"".join(pair) for pair in merges}
    whole = (
        isinstance(vocabulary, dict)
        and all(type(number) is int for number in vocabulary.values())
        and sorted(vocabulary.values()) == list(range(len(vocabulary)))
        and len(set(merges)) == len(merges)
        and all(len(pair) == 2 and {*pair, "".join(pair)} <= vocabulary.keys() for pair in merges)
        # every token is a character, perhaps at a word's end, or merged of two, but for the one that is special
        and sum(len(token.removesuffix("</w>")) != 1 and token not in made for token in vocabulary) <= 1
    )
    if not whole:
        raise CourseError(
            f"{paths[0]} and {paths[1]} are not the vocabulary and the merges of one tokenizer: get both again."
        )
    return {"vocab": vocabulary, "merges": merges}


def _body(path: Path) -> dict[str, Tensor]:
    """The weights of a published GPT without its heads, and without the masks that old versions kept as weights."""
    state = checkpoints.read_safetensors(path, "get it again")
    return {
        key.removeprefix("transformer."): value
        for key, value in state.items()
        if not key.endswith((".attn.bias", ".attn.masked_bias")) and not key.startswith("lm_head.")
    }


@dataclass(frozen=True)
class Marks:
    """The ids of the tokens that stand between texts."""

    first: int
    last: int
    pad: int
    own: int
    partner: int

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Marks:
        """Raises CourseError for a tokenizer that lacks one of them."""
        known = tokenizer.get_vocab()
        names = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, SELF, PARTNER)
        roles = ("a first token", "a last token", "padding", SELF, PARTNER)
        missing = [role for role, name in zip(roles, names, strict=True) if name not in known]
        if missing:
            raise CourseError(
                f"The tokenizer has no token for {', '.join(missing)}: call add_tokens(tokenizer, model) first."
            )
        return cls(*(known[name] for name in names))


def text_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without marks.

    GPT-2 writes the space before a word into its token, and a word without one is another token, rare in its training.
    Texts stand behind other texts here, so for such a tokenizer each begins with a space.
    """
    space = " " if tokenizer.tokenize(" a")[0].startswith("Ġ") else ""
    return tokenizer([space + text for text in texts], add_special_tokens=False)["input_ids"]


# ---- inputs


@dataclass(frozen=True, slots=True)
class Inputs:
    """One sequence: ids, the speaker of each token as its type, labels, and its parts as (speaker, begin, end)."""

    ids: list[int]
    types: list[int]
    labels: list[int]  # the reply and its end, SKIP elsewhere
    parts: list[tuple[int, int, int]]


def inputs(
    persona: Sequence[Sequence[int]],
    history: Sequence[Sequence[int]],
    reply: Sequence[int],
    marks: Marks,
    turns: int = 5,
    end: bool = True,
    limit: int | None = None,
) -> Inputs:
    """The sequence for a reply, from the token ids of all texts; `end` closes it, without it a reply may go on.

    <s> persona, then the last `turns` turns and the reply, each behind the token of its speaker. The turn before the
    reply is the partner's, the one before that is not, and so on: speakers are counted back from the reply, so a token
    and its type agree however many turns there are. Raises CourseError for an empty persona or history, for `turns`
    that are not odd (such a history would begin with the replier), and for more tokens than `limit`.
    """
    if not persona or not any(persona):
        raise CourseError("The persona is empty: give at least one sentence about the speaker.")
    if not history or not history[-1]:
        raise CourseError("The history is empty: the partner has to say something before the reply.")
    if turns < 1 or turns % 2 == 0:
        raise CourseError(
            f"{turns} turns of history do not begin and end with the partner: give an odd number."
        )
    ids, types, parts = [marks.first], [marks.own], []
    ids += [token for text in persona for token in text]
    types += [marks.own] * (len(ids) - 1)
    parts.append((marks.own, 0, len(ids)))
    said = [*history[-turns:], reply]
    for place, text in enumerate(said):
        speaker = marks.partner if (len(said) - place) % 2 == 0 else marks.own
        begin = len(ids)
        ids += [speaker, *text]
        types += [speaker] * (len(ids) - begin)
        parts.append((speaker, begin, len(ids)))
    labels = [SKIP] * (len(ids) - len(reply)) + list(reply)
    if end:
        ids.append(marks.last)
        types.append(marks.own)
        labels.append(marks.last)
        parts[-1] = (*parts[-1][:2], len(ids))
    if limit is not None and len(ids) > limit:
        longest = max(map(len, history[-turns:]))
        raise CourseError(
            f"The input has {len(ids)} tokens and the model has room for {limit}; {len(parts) - 2} turns are in it, "
            f"the longest of {longest} tokens: use fewer turns, or shorten the text."
        )
    return Inputs(ids, types, labels, parts)


class Chats(torch.utils.data.Dataset):
    """The turns of chats; an item is one turn, its candidates' `Inputs` built when it is asked for, the gold one last.

    Each text is encoded once, however many histories and candidate lists it is in. `candidates` keeps so many of the
    last ones (all, if None), `turns` and `limit` are those of `inputs`, and with `shuffle`, a seed, the persona's
    sentences come in another order in each `epoch`, an attribute to be set. Raises CourseError where there is no chat
    and for a tokenizer without the marks; an item raises what `inputs` raises.
    """

    def __init__(
        self,
        chats: Sequence[Chat],
        tokenizer: PreTrainedTokenizerBase,
        candidates: int | None = None,
        turns: int = 5,
        limit: int | None = None,
        shuffle: int | None = None,
    ) -> None:
        if not chats:
            raise CourseError("There is no chat: check the split and its file.")
        if candidates is not None and candidates < 1:
            raise CourseError(f"{candidates} candidates leave no reply: ask for one or more.")
        self.marks, self.candidates, self.turns, self.limit = Marks.of(tokenizer), candidates, turns, limit
        self.chats, self.shuffle, self.epoch = chats, shuffle, 0
        self._where = [(i, k) for i, chat in enumerate(chats) for k in range(len(chat.turns))]
        texts = dict.fromkeys(text for chat in chats for text in self._texts(chat))
        self._ids: dict[str, np.ndarray] = {}
        names = list(texts)
        for at in range(0, len(names), 1000):
            some = names[at : at + 1000]
            rows = text_ids(tokenizer, some)
            self._ids.update(
                (text, np.array(row, dtype=np.int32)) for text, row in zip(some, rows, strict=True)
            )

    def _texts(self, chat: Chat) -> Iterator[str]:
        yield from chat.persona
        for turn in chat.turns:
            yield from turn.history[-self.turns :]
            yield from turn.candidates[-(self.candidates or 0) :]

    def __len__(self) -> int:
        return len(self._where)

    def __getitem__(self, index: int) -> list[Inputs]:
        number, turn_number = self._where[index]
        chat = self.chats[number]
        turn = chat.turns[turn_number]
        persona = list(chat.persona)
        if self.shuffle is not None:
            np.random.default_rng([self.shuffle, self.epoch, index]).shuffle(persona)
        sides = (persona, turn.history[-self.turns :], turn.candidates[-(self.candidates or 0) :])
        told, said, options = ([self._ids[text].tolist() for text in texts] for texts in sides)
        found = [inputs(told, said, option, self.marks, self.turns, limit=self.limit) for option in options]
        for other in found[:-1]:
            other.labels[:] = [SKIP] * len(other.ids)
        return found


class Batch(dict):
    """Tensors by name: "ids", "types", "labels" [turns, candidates, tokens], and "last" [turns, candidates].

    A batch that does not count stands in for one of several processes that got no turn of its own.
    """

    counts = True

    def to(self, device: Any) -> Batch:
        """The same on another device."""
        moved = Batch({name: tensor.to(device) for name, tensor in self.items()})
        moved.counts = self.counts
        return moved

    @property
    def shape(self) -> torch.Size:
        """Turns, candidates, tokens."""
        return self["ids"].shape


def collate(items: Sequence[Sequence[Inputs]], pad: int) -> Batch:
    """A batch: ids, types and labels [turns, candidates, tokens], padded to its longest, and the last token of each.

    Raises CourseError where turns have different numbers of candidates.
    """
    counts = {len(item) for item in items}
    if len(counts) != 1:
        raise CourseError(
            f"A batch needs equally many candidates for each turn, and these have {sorted(counts)}: set candidates."
        )
    shape = (len(items), counts.pop(), max(len(one.ids) for item in items for one in item))
    found = {
        "ids": torch.full(shape, pad),
        "types": torch.full(shape, pad),
        "labels": torch.full(shape, SKIP),
    }
    last = torch.zeros(shape[:2], dtype=torch.long)
    for i, item in enumerate(items):
        for k, one in enumerate(item):
            for name, rows in found.items():
                rows[i, k, : len(one.ids)] = torch.tensor(getattr(one, name))
            last[i, k] = len(one.ids) - 1
    return Batch(found | {"last": last})


def batches(data: Chats, size: int, seed: int | Sequence[int] | None = None) -> Iterator[Batch]:
    """All turns once in batches of `size`, in order, or by `seed` in random order; built one batch at a time."""
    return shares(data, size, 1, seed)


def shares(
    data: Chats, size: int, processes: int, seed: int | Sequence[int] | None = None
) -> Iterator[Batch]:
    """The `batches` of `size` turns, each cut into one batch for every process: turns 0, k, 2k, ... are the first's."""
    order = np.arange(len(data)) if seed is None else np.random.default_rng(seed).permutation(len(data))
    for at in range(0, len(order), size):
        turns = order[at : at + size]
        for process in range(processes):
            own = turns[process::processes]
            batch = collate([data[int(i)] for i in (own if len(own) else turns[:1])], data.marks.pad)
            batch.counts = len(own) > 0
            yield batch


# ---- losses


def heads(model: Module, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
    """Nats of each gold token, float32 [n], its turn, int64 [n], and a score per candidate [turns, candidates].

    The output layer, which is as wide as the vocabulary, is computed where there are labels and nowhere else; padding
    stands on the right, where a causal model does not look. The scores are None for a model without a second head.
    """
    turns, candidates, tokens = batch["ids"].shape
    states = _states(model, batch)
    targets = batch["labels"].reshape(-1, tokens)[:, 1:]
    real = targets != SKIP
    logits = model.get_output_embeddings()(states[:, :-1][real]).float()
    nats = cross_entropy(logits, targets[real], reduction="none")
    owners = real.nonzero()[:, 0] // candidates
    chooser = getattr(model, "multiple_choice_head", None)
    if chooser is None:
        return nats, owners, None
    scores = chooser(states.view(turns, candidates, tokens, -1), batch["last"])
    return nats, owners, scores.view(turns, candidates).float()


def _states(model: Module, batch: Batch) -> Tensor:
    """States [turns * candidates, tokens, width] of the last layer.

    Where no gradient is wanted, a GPT-2 reads what the candidates of a turn share once, and keeps its keys and values.
    """
    turns, candidates, tokens = batch.shape
    if torch.is_grad_enabled() or candidates == 1 or model.config.model_type != "gpt2":
        flat = {name: batch[name].reshape(-1, tokens) for name in ("ids", "types")}
        return model.base_model(input_ids=flat["ids"], token_type_ids=flat["types"])[0]
    from transformers import DynamicCache

    found = []
    for ids, types, last in zip(batch["ids"], batch["types"], batch["last"], strict=True):
        same = ((ids == ids[:1]) & (types == types[:1])).all(0)
        shared, end = int(same.cumprod(0).sum()), int(last.max()) + 1
        shared = max(1, min(shared, end - 1))
        kept = DynamicCache(config=model.config)
        first = model.base_model(
            input_ids=ids[:1, :shared],
            token_type_ids=types[:1, :shared],
            past_key_values=kept,
            use_cache=True,
        )[0]
        kept.batch_repeat_interleave(candidates)
        rest = model.base_model(
            input_ids=ids[:, shared:end],
            token_type_ids=types[:, shared:end],
            past_key_values=kept,
            use_cache=True,
        )[0]
        behind = rest.new_zeros(candidates, tokens - end, rest.shape[2])
        found.append(torch.cat([first.expand(candidates, -1, -1), rest, behind], 1))
    return torch.cat(found)


def losses(model: Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Mean nats of a gold token, and of the choice of the gold candidate, the last one: two scalars to be added by you.

    transformers computes the same two and adds nothing. Both are `training.weighted`. Raises CourseError for a model
    without the second head, and for a batch with one candidate, where there is nothing to choose.
    """
    nats, _, scores = heads(model, batch)
    if scores is None:
        raise CourseError(
            f"{type(model).__name__} has no head for the choice: use a model with double heads."
        )
    if scores.shape[1] < 2:
        raise CourseError("A choice among one candidate teaches nothing: build the batches with two or more.")
    chosen = cross_entropy(scores, torch.full_like(scores[:, 0], scores.shape[1] - 1, dtype=torch.long))
    return weighted(nats.mean(), len(nats) * batch.counts), weighted(chosen, len(scores) * batch.counts)


def train(
    model: Module,
    data: Chats,
    updates: int,
    rate: float,
    size: int = 4,
    language: float = 1.0,
    choice: float = 1.0,
    seed: int = 0,
    resume: Path | None = None,
) -> list[float]:
    """Tune all weights by `updates` batches of `size` turns; returns the weighted sum of both losses at each.

    `training.pretrain` with a warm-up of a tenth: under `accelerate launch` several processes share the turns of each
    batch, and do what one would do; with `resume` it goes on where it was interrupted. With choice=0 the second
    head is left alone, and one candidate is enough. Raises CourseError for weights that leave nothing to learn, and
    what `losses` and `pretrain` raise.
    """
    if language < 0 or choice < 0 or not language + choice:
        raise CourseError(f"The weights {language} and {choice} leave nothing to learn: give one above 0.")

    def stream() -> Iterator[Batch]:
        for epoch in count():
            data.epoch = epoch
            yield from shares(data, size, processes()[1], [seed, epoch])

    def loss(model: Module, batch: Tensor, step: int) -> Tensor:
        if not choice:
            nats = heads(model, batch)[0]
            return language * weighted(nats.mean(), len(nats) * batch.counts)
        of_language, of_choice = losses(model, batch)
        return language * of_language + choice * of_choice

    return pretrain(model, stream(), loss, updates, rate, max(1, updates // 10), 0.01, resume)  # type: ignore[arg-type]


# ---- scores


@torch.no_grad()
def evaluate(model: Module, data: Chats, size: int = 4) -> dict[str, np.ndarray]:
    """For each turn: "nats" of its gold reply, its "tokens", and, with two heads, "hit" and "choice".

    A hit is 1 where the gold candidate is chosen, and choice the nats of that choice among all candidates.
    Perplexity is exp(nats.sum() / tokens.sum()), weighted by gold tokens; a mean over turns or batches is not one. A
    gold candidate with an equal before it counts as missed.
    """
    training = model.training
    model.eval()
    found: dict[str, list[np.ndarray]] = {"nats": [], "tokens": [], "hit": [], "choice": []}
    for batch in batches(data, size):
        nats, owners, scores = heads(model, batch.to(_device(model)))
        turns = len(batch["ids"])
        owner = owners.cpu().numpy()
        found["nats"].append(np.bincount(owner, nats.double().cpu().numpy(), turns))
        found["tokens"].append(np.bincount(owner, minlength=turns))
        if scores is not None and scores.shape[1] > 1:
            best = scores[:, :-1].max(1).values
            found["hit"].append((scores[:, -1] > best).long().cpu().numpy())
            found["choice"].append((scores.logsumexp(1) - scores[:, -1]).cpu().numpy())
    model.train(training)
    return {name: np.concatenate(parts) for name, parts in found.items() if parts}


def perplexity(nats: np.ndarray, tokens: np.ndarray) -> float:
    """exp of the nats of all gold tokens over their number."""
    return float(np.exp(nats.sum() / tokens.sum()))


# ---- decoding


def filtered(logits: Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> Tensor:
    """Logits [rows, vocabulary] over a temperature, minus infinity outside the `top_k` best and the nucleus `top_p`.

    The nucleus is the smallest set of best tokens whose probability reaches `top_p` (Holtzman et al. 2020), computed
    after the other two. Raises CourseError for a temperature that is not positive, and other values that leave nothing.
    """
    if temperature <= 0 or top_k < 0 or not 0 < top_p <= 1:
        raise CourseError(
            f"temperature={temperature}, top_k={top_k} and top_p={top_p} leave no token: give a positive temperature, "
            "top_k from 0 (all) and top_p above 0, up to 1 (all)."
        )
    logits = logits / temperature
    if top_k:
        kept = torch.topk(logits, min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < kept, -torch.inf)
    if top_p < 1:
        ordered, order = logits.sort(descending=True)
        probability = ordered.softmax(-1)
        outside = probability.cumsum(-1) - probability >= top_p  # what stands before it is enough
        logits = logits.masked_fill(outside.scatter(1, order, outside), -torch.inf)
    return logits


def blocked(logits: Tensor, ids: Tensor, n: int) -> Tensor:
    """Logits [rows, vocabulary] with minus infinity for tokens that would repeat an n-gram of `ids` [rows, tokens]."""
    if n < 1 or ids.shape[1] < n:
        return logits
    logits = logits.clone()
    for row, seen in enumerate(ids.unfold(1, n, 1)):
        same = (seen[:, :-1] == ids[row, ids.shape[1] - n + 1 :]).all(1)
        logits[row, seen[same, -1]] = -torch.inf
    return logits


@torch.no_grad()
def generate(
    model: Module,
    start: Inputs,
    marks: Marks,
    longest: int = 20,
    shortest: int = 1,
    block: int = 0,
    beams: int = 1,
    pick: Callable[[Tensor], Tensor] | None = None,
) -> list[int]:
    """A reply of at most `longest` tokens to `start`, which was built with an empty reply and end=False.

    `pick` takes the best token, if not told otherwise, of logits [1, vocabulary]: `sampler` gives others. `block`
    forbids to repeat an n-gram of the reply, and the end comes after `shortest` tokens. With `beams` the reply with the
    best mean log-probability of a token, its end included, is searched among so many (no `pick`). Raises CourseError
    where the model has no room for the reply.
    """
    limit = getattr(model.config, "n_positions", None)
    if limit and len(start.ids) + longest > limit:
        raise CourseError(
            f"{len(start.ids)} tokens and a reply of up to {longest} do not fit into {limit} positions: use fewer "
            "turns of history, or a shorter reply."
        )
    training = model.training
    model.eval()
    try:
        if beams > 1:
            return _beam(model, start, marks, longest, shortest, block, beams)
        reply = torch.zeros((1, 0), dtype=torch.long, device=_device(model))
        read = _Reader(model, start, marks)
        pick = pick or (lambda logits: logits.argmax(-1))
        for _ in range(longest):
            token = pick(_allowed(read(reply), reply, marks, shortest, block))
            if int(token) == marks.last:
                break
            reply = torch.cat([reply, token.view(1, 1)], 1)
        return reply[0].tolist()
    finally:
        model.train(training)


def sampler(
    temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, generator: torch.Generator | None = None
) -> Callable[[Tensor], Tensor]:
    """Draws a token from `filtered` logits; with no `generator` from torch's own random numbers."""
    filtered(torch.zeros(1, 2), temperature, top_k, top_p)  # a wrong setting is told now

    def pick(logits: Tensor) -> Tensor:
        probability = filtered(logits, temperature, top_k, top_p).softmax(-1)
        return torch.multinomial(probability, 1, generator=generator)[:, 0]

    return pick


class Conversation:
    """A model with a persona that can be talked to; `options` are those of `generate`.

    Every reply is read from the last `turns` turns, which begin and end with the partner, as in training: with turns
    left out singly, from the third reply on each speaker would be taken for the other. Raises CourseError for an empty
    persona, and what `Marks.of` raises.
    """

    def __init__(
        self,
        model: Module,
        tokenizer: PreTrainedTokenizerBase,
        persona: Sequence[str],
        turns: int = 5,
        **options: Any,
    ) -> None:
        self.model, self.tokenizer, self.marks = model, tokenizer, Marks.of(tokenizer)
        self.turns, self.options = turns, options
        if isinstance(persona, str) or not any(text.strip() for text in persona):
            raise CourseError("The persona is empty: give a list of at least one sentence about the speaker.")
        self.persona = list(persona)
        self.history: list[str] = []

    def inputs(self) -> Inputs:
        """What the model reads before it replies to the last turn."""
        told, said = (text_ids(self.tokenizer, texts) for texts in (self.persona, self.history))
        return inputs(told, said, [], self.marks, self.turns, end=False)

    def say(self, text: str) -> str:
        """The reply to what the partner says; both are kept. Raises CourseError for an empty text, and as generate."""
        if not text.strip():
            raise CourseError("The turn is empty: say something.")
        self.history.append(text)
        try:
            ids = generate(self.model, self.inputs(), self.marks, **self.options)
        except CourseError:
            self.history.pop()
            raise
        self.history.append(self.tokenizer.decode(ids, skip_special_tokens=True).strip())
        return self.history[-1]


class _Reader:
    """Logits [rows, vocabulary] for the token behind each of equally long replies [rows, tokens], one longer each time.

    GPT-2 keeps the keys and values of all that it has read and reads one token more; other models read all again.
    """

    def __init__(self, model: Module, start: Inputs, marks: Marks) -> None:
        self.model, self.start, self.own = model, start, marks.own
        self.kept: DynamicCache | None = None
        if model.config.model_type == "gpt2":
            from transformers import DynamicCache

            self.kept = DynamicCache(config=model.config)

    def __call__(self, reply: Tensor, rows: Tensor | None = None) -> Tensor:
        """`rows` are those of the replies before from which these go on, if they are not the same."""
        before, kind = (
            torch.tensor([some] * len(reply), device=reply.device)
            for some in (self.start.ids, self.start.types)
        )
        ids, types = torch.cat([before, reply], 1), torch.cat([kind, torch.full_like(reply, self.own)], 1)
        options: dict[str, Any] = {}
        if self.kept is not None:
            if rows is not None:
                self.kept.reorder_cache(rows)
            known = self.kept.get_seq_length()
            ids, types = ids[:, known:], types[:, known:]
            options = {"past_key_values": self.kept, "use_cache": True}
        states = self.model.base_model(input_ids=ids, token_type_ids=types, **options)[0][:, -1]
        return self.model.get_output_embeddings()(states).float()


def _allowed(logits: Tensor, reply: Tensor, marks: Marks, shortest: int, block: int) -> Tensor:
    if reply.shape[1] < shortest:
        logits[:, marks.last] = -torch.inf
    return blocked(logits, reply, block)


def _beam(
    model: Module, start: Inputs, marks: Marks, longest: int, shortest: int, block: int, beams: int
) -> list[int]:
    reply = torch.zeros((1, 0), dtype=torch.long, device=_device(model))
    scores = torch.zeros(1, device=reply.device)
    done: list[tuple[float, list[int]]] = []
    read = _Reader(model, start, marks)
    parents: Tensor | None = None
    for length in range(1, longest + 1):
        step = _allowed(read(reply, parents), reply, marks, shortest, block).log_softmax(-1)
        best, flat = (scores[:, None] + step).flatten().topk(2 * beams)
        rows, tokens = flat // step.shape[1], flat % step.shape[1]
        for rank in range(beams):
            if tokens[rank] == marks.last:
                done.append((float(best[rank]) / length, reply[rows[rank]].tolist()))
        going = (tokens != marks.last).nonzero()[:beams, 0]
        parents = rows[going]
        reply = torch.cat([reply[parents], tokens[going, None]], 1)
        scores = best[going]
        done = sorted(done, key=lambda pair: -pair[0])[:beams]
        if len(done) == beams and float(scores[0]) / length <= done[-1][0]:
            return done[0][1]
    done += [(float(score) / longest, row.tolist()) for score, row in zip(scores, reply, strict=True)]
    return max(done, key=lambda pair: pair[0])[1]


def _device(model: Module) -> Any:
    return next(model.parameters()).device
