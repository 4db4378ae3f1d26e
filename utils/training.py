"""Batches, losses and the training loop of the course's language models (lab 1, and every lab that goes on from there).

Texts are sequences of token ids `<s> ... </s>`. Batches have one of a few widths and nearly the same number of
tokens, so that little is padded and each shape is met again.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import cross_entropy
from transformers.utils import logging

from utils.checkpoints import fill, read_pth
from utils.errors import CourseError
from utils.longrun import need_plan, replacing
from utils.settings import progress

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor
    from torch.nn import Module
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

    from utils.world.tasks import MinimalPair

logging.set_verbosity_error()  # transformers warns of padding, which a causal model, padded on the right, never sees

SPECIALS = {
    "pad_token": "<pad>", "unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>",
}  # fmt: skip
WIDTHS = (12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128)
Loss = Callable[["Module", "Tensor", int], "Tensor"]


def train_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerFast:
    """A BPE tokenizer of at most `size` types (Sennrich et al. 2016), spaces written as part of the next sub-word."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token=SPECIALS["unk_token"]))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    specials = list(SPECIALS.values())
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=size, special_tokens=specials, show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIALS)


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text between the tokenizer's begin and end marks."""
    ids = tokenizer(list(texts), add_special_tokens=False)["input_ids"] if len(texts) else []
    first, last = marks(tokenizer)
    return [[first, *row, last] for row in ids]


def marks(tokenizer: PreTrainedTokenizerBase) -> tuple[int, int]:
    """The ids that begin and end a text: `<s>` and `</s>` here, BERT's [CLS] and [SEP]."""
    first = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.cls_token_id
    last = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else tokenizer.sep_token_id
    return first, last


def pad(rows: Sequence[Sequence[int]], width: int, padding: int) -> Tensor:
    """Rows of ids as one tensor [rows, width], filled up with `padding` on the right."""
    batch = torch.full((len(rows), width), padding)
    for i, row in enumerate(rows):
        batch[i, : len(row)] = torch.tensor(row)
    return batch


def batches(
    texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, tokens: int = 3000, chunk: int = 500
) -> Iterator[Tensor]:
    """Batches [rows, width] of about `tokens` tokens from a stream of texts.

    Each text goes into the narrowest of `WIDTHS` that holds it; longer texts are cut into pieces of the last one. A
    finite stream loses the rows that do not fill a batch at its end.
    """
    waiting: dict[int, list[list[int]]] = {width: [] for width in WIDTHS}
    stream = iter(texts)
    while True:
        some = list(islice(stream, chunk))
        if not some:
            return
        for row in encode(tokenizer, some):
            for piece in (row[i : i + WIDTHS[-1]] for i in range(0, len(row), WIDTHS[-1])):
                width = next(w for w in WIDTHS if w >= len(piece))
                waiting[width].append(piece)
                if len(waiting[width]) == max(1, tokens // width):
                    yield pad(waiting[width], width, tokenizer.pad_token_id)
                    waiting[width] = []


def gpt(width: int, layers: int, vocabulary: int, heads: int | None = None) -> GPT2LMHeadModel:
    """A GPT-2 with random weights for texts of at most 160 tokens; heads of width 32 unless told.

    No dropout, since fresh text does not run out; the standard deviation of the weights suits widths below 256.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    return GPT2LMHeadModel(GPT2Config(
        vocab_size=vocabulary, n_layer=layers, n_embd=width, n_head=heads or width // 32, n_positions=160,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.06, pad_token_id=0, bos_token_id=2,
        eos_token_id=3, activation_function="gelu_pytorch_tanh", attn_implementation="eager",
    ))  # fmt: skip


def weighted(mean: Tensor, count: int) -> Tensor:
    """The `mean` of `count` values of this process, weighted: averaged over processes, the mean of all their values.

    The plain average of means is another number where processes hold different counts of tokens: it gives the tokens of
    a short batch more weight. All processes must call this together; alone, a process gets `mean` back.
    """
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return mean
    total = torch.tensor(float(count), device=mean.device)
    torch.distributed.all_reduce(total)
    return mean * (count * torch.distributed.get_world_size() / total)


def causal_loss(model: Module, batch: Tensor, step: int) -> Tensor:
    """Mean nats of each token given those on its left; padding is left out.

    Padding stands on the right, where a causal model never looks, so no attention mask is needed.
    """
    states = model.base_model(input_ids=batch[:, :-1]).last_hidden_state
    targets = batch[:, 1:]
    real = targets != model.config.pad_token_id
    mean = cross_entropy(model.get_output_embeddings()(states[real]).float(), targets[real])
    return weighted(mean, int(real.sum()))


def mask_tokens(
    batch: Tensor, rate: float, mask_id: int, specials: int, vocabulary: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """BERT's corruption: a share `rate` of the ordinary tokens is chosen; of these 80 % become the mask, 10 % a random
    token, 10 % stay (Devlin et al. 2019). Ids below `specials` are never chosen.

    Returns the corrupted batch and the boolean tensor of chosen places, both [rows, width].
    """
    chosen = (torch.rand(batch.shape, generator=generator) < rate) & (batch >= specials)
    kind = torch.rand(batch.shape, generator=generator)
    corrupted = torch.where(chosen & (kind < 0.8), mask_id, batch)
    random = torch.randint(specials, vocabulary, batch.shape, generator=generator)
    return torch.where(chosen & (kind >= 0.9), random, corrupted), chosen


def masked_loss(rate: float, mask_id: int, specials: int = 5, seed: int = 0) -> Loss:
    """The loss of a masked language model: mean nats of the chosen tokens. Step `n` always masks the same places."""

    def loss(model: Module, batch: Tensor, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
        corrupted, chosen = mask_tokens(
            batch.cpu(), rate, mask_id, specials, model.config.vocab_size, generator
        )
        chosen = chosen.to(batch.device)
        attention = (batch != model.config.pad_token_id).long()
        states = model.base_model(corrupted.to(batch.device), attention_mask=attention).last_hidden_state
        mean = cross_entropy(prediction_head(model, states[chosen]).float(), batch[chosen])
        return weighted(mean, int(chosen.sum()))

    return loss


def prediction_head(model: Module, states: Tensor) -> Tensor:
    """Logits [n, vocabulary] of a masked model for states [n, width], computed for the wanted places only."""
    if hasattr(model, "lm_head"):
        return model.lm_head(states)
    return model.cls(states) if hasattr(model, "cls") else model.decoder(model.head(states))


def rate_at(step: int, steps: int, peak: float, warmup: int) -> float:
    """The learning rate of a step: a linear rise over `warmup` steps, then a linear fall to zero."""
    return peak * min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))


def precision() -> str:
    """ "bf16" where the hardware multiplies bfloat16 natively, else "no" (float32)."""
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported() else "no"
    return "bf16" if torch.cpu._is_avx512_bf16_supported() else "no"


def pretrain(
    model: Module,
    stream: Iterable[Tensor],
    loss: Loss,
    steps: int,
    peak: float = 2e-3,
    warmup: int = 150,
    decay: float = 0.05,
    resume: Path | None = None,
    every: int = 200,
    watch: Callable[[int, float], None] | None = None,
    until: int | None = None,
) -> list[float]:
    """Train `model` in place for `steps` batches: AdamW, linear warm-up and decay. Returns each step's loss in nats.

    With `until` it stops after that many of them, at the rate that `steps` gives it.

    Runs on whatever `accelerate` finds: one CPU, one GPU, or several under `accelerate launch`, where every process
    takes its share of the batches; gradients and losses are averaged, and all must start from the same weights.

    With `resume` the state is kept in that file every `every` steps and at the end, torch's random numbers with it: a
    later call goes on from there, on the same stream from its beginning, and ends with the same weights. Where the
    training is complete it only reads them; remove the file when what was made of them is safe. `watch(step, loss)`
    is called after each step.

    Raises CourseError when the stream ends early, the loss is not finite, or the GPU runs out of memory, and for a file
    that is damaged or of another training.
    """
    from accelerate import Accelerator

    accelerator = Accelerator(mixed_precision=precision(), cpu=not torch.cuda.is_available())
    model.to(accelerator.device).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)
    plan = {
        "steps": steps,
        "peak": peak,
        "warmup": warmup,
        "decay": decay,
        "processes": accelerator.num_processes,
    }
    kept = _restore(resume, plan, model, optimizer) if resume and resume.exists() else {}
    losses, supply, checksum = kept.get("losses", []), iter(stream), 0
    last = min(steps, until or steps)
    for step in progress(range(last), "training", last):
        share = [next(supply, None) for _ in range(accelerator.num_processes)]
        batch = share[accelerator.process_index]
        if any(each is None for each in share):
            raise CourseError(
                f"The text was used up after {step} of {steps} steps: give more text or fewer steps."
            )
        checksum = _checksum(share, checksum) if resume else 0
        if step < len(losses):
            if step + 1 == len(losses):
                if checksum != kept["checksum"]:
                    raise CourseError(
                        f"{resume} was written by a training on other batches: give the same ones to go on, or delete "
                        "it to start again."
                    )
                _set_random(kept["random"][accelerator.process_index])
            continue
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, steps, peak, warmup)
        try:
            with accelerator.autocast():
                value = loss(model, batch.to(accelerator.device), step)
            value.backward()
        except torch.OutOfMemoryError:
            raise CourseError(
                f"The GPU ran out of memory on a batch of {tuple(batch.shape)} tokens: use batches of fewer tokens."
            ) from None
        if accelerator.num_processes > 1:
            value = accelerator.reduce(value.detach(), reduction="mean")
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad = accelerator.reduce(parameter.grad, reduction="mean")
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
        if not math.isfinite(losses[-1]):
            raise CourseError(
                f"The loss is {losses[-1]} at step {step}: use a lower learning rate than {peak}."
            )
        if watch:
            watch(step, losses[-1])
        if resume and ((step + 1) % every == 0 or step + 1 == last):
            state = {"plan": plan, "losses": losses, "checksum": checksum, "model": model.state_dict()}
            _keep(resume, state, optimizer if step + 1 < steps else None, accelerator)
    model.eval()
    return losses


def _checksum(share: Sequence[Tensor | dict[str, Tensor]], checksum: int) -> int:
    """The checksum of all batches so far, goes on from that of those before."""
    for batch in share:
        for tensor in batch.values() if isinstance(batch, dict) else [batch]:
            checksum = zlib.crc32(tensor.cpu().numpy().tobytes(), checksum)
    return checksum


def _keep(
    path: Path, state: dict[str, Any], optimizer: torch.optim.Optimizer | None, accelerator: Accelerator
) -> None:
    """Write the state of a training; a complete one needs its optimizer no more."""
    from accelerate.utils import gather_object

    cuda = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    state["random"] = gather_object([[torch.get_rng_state(), *cuda]])  # of each process
    if optimizer:
        state["optimizer"] = optimizer.state_dict()
    if accelerator.is_main_process:
        with replacing(path) as part:
            torch.save(state, part)


def _restore(
    path: Path, plan: dict[str, Any], model: Module, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put back the weights and the optimizer's state that `_keep` wrote; all that it wrote."""
    remedy = "delete it to start again"
    state = read_pth(path, remedy)
    need_plan(path, state.get("plan"), plan)
    try:
        if len(state["random"]) != plan["processes"] or not isinstance(state["checksum"], int):
            raise ValueError
        fill(model, state["model"], str(path), remedy)
        if len(state["losses"]) < plan["steps"]:
            optimizer.load_state_dict(state["optimizer"])
    except (KeyError, TypeError, ValueError, AttributeError):
        raise CourseError(f"{path} lacks a part of an interrupted training: {remedy}.") from None
    return state


def _set_random(states: Sequence[Tensor]) -> None:
    """Let torch draw on, on the CPU and on this process's GPU, where it stood."""
    torch.set_rng_state(states[0])
    if len(states) > 1 and torch.cuda.is_available():
        torch.cuda.set_rng_state(states[1])


@torch.no_grad()
def token_bits(
    model: Module, tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], rows: int = 64
) -> list[list[float]]:
    """-log2 p of every token of each text given those before it, the end mark included; texts go in by length."""
    ids = encode(tokenizer, texts)
    longest = max(map(len, ids), default=0)
    if longest > model.config.max_position_embeddings + 1:
        raise CourseError(
            f"A text of {longest} tokens does not fit a model of {model.config.max_position_embeddings} positions: "
            "cut it into shorter texts."
        )
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    found: list[list[float]] = [[] for _ in ids]
    for start in range(0, len(order), rows):
        some = order[start : start + rows]
        batch = pad([ids[i] for i in some], max(len(ids[i]) for i in some), tokenizer.pad_token_id)
        batch = batch.to(model.device)
        logits = model(input_ids=batch[:, :-1]).logits.float()
        bits = cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none") / math.log(2)
        for i, row in zip(some, bits.tolist(), strict=True):
            found[i] = row[: len(ids[i]) - 1]
    return found


def preferred(model: Module, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[MinimalPair]) -> float:
    """Share of minimal pairs whose good text is the more probable one to a causal model."""
    texts = [" ".join(words) for pair in pairs for words in (pair.good, pair.bad)]
    total = [sum(row) for row in token_bits(model, tokenizer, texts)]
    return sum(good < bad for good, bad in zip(total[::2], total[1::2], strict=True)) / len(pairs)


@torch.no_grad()
def fill_in(model: Module, tokenizer: PreTrainedTokenizerFast, words: Sequence[str], position: int) -> Tensor:
    """Log-probabilities [vocabulary] that a masked model gives to the word at `position`, which is masked.

    The words on its left and right are tokenized apart: written into a text, `<mask>` would take a space with it.
    """
    left, right = (
        tokenizer(" ".join(part), add_special_tokens=False)["input_ids"] if part else []
        for part in (words[:position], words[position + 1 :])
    )
    row = [tokenizer.bos_token_id, *left, tokenizer.mask_token_id, *right, tokenizer.eos_token_id]
    return model(input_ids=torch.tensor([row], device=model.device)).logits[0, len(left) + 1].log_softmax(-1)


def masked_choice(
    model: Module,
    tokenizer: PreTrainedTokenizerFast,
    words: Sequence[str],
    position: int,
    choices: Sequence[str],
) -> list[float]:
    """Log-probability that a masked model gives each of `choices` (single tokens) at the masked word `position`."""
    logp = fill_in(model, tokenizer, words, position)
    found = []
    for choice in choices:
        ids = tokenizer(choice, add_special_tokens=False)["input_ids"]
        if len(ids) != 1:
            raise CourseError(
                f"{choice!r} is {len(ids)} tokens, and a mask stands for one: choose another word."
            )
        found.append(logp[ids[0]].item())
    return found
