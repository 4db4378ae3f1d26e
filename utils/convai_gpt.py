"""A GPT on ConvAI2 by the recipe of TransferTransfo: the `full` profile of lab 4c, on one GPU, on several, or on a CPU.

From the folder of the course,

    python -m utils.convai_gpt --output runs/convai2
    accelerate launch -m utils.convai_gpt --output runs/convai2      # all GPUs of this machine share each update

tunes OpenAI's GPT on all chats and writes `result.json` into the output folder: perplexity, Hits@1 and word F1 on the
validation chats. The same command again, after the training was killed, goes on from the last state that was kept;
after the end it only prints the result. `--help` lists the settings.

The settings are those of the code that Wolf et al. published: 4 candidates, the language loss counted twice, personas
in two orders, a rate of 6.25e-5, one epoch, 64 turns in an update. The course's loop adds a warm-up.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from utils import checkpoints, convai, dialogue, longrun
from utils import settings as course
from utils.downloads import write_text
from utils.errors import CourseError
from utils.longrun import command, compare, setting

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MODELS = (*dialogue.PUBLISHED, "course")


@dataclass(frozen=True)
class Settings:
    """All that decides the outcome of a training, beside data and hardware."""

    model: str = setting("openai-gpt", f"one of {', '.join(MODELS)}; course is the course's own small one")
    random: bool = setting(False, "start from random weights")
    candidates: int = setting(4, "candidates for each training reply, the true one among them")
    language: float = setting(2.0, "weight of the language loss")
    choice: float = setting(1.0, "weight of the choice among the candidates")
    permutations: int = setting(2, "orders of the persona in which each chat is read in an epoch")
    epochs: int = setting(1, "times that each chat is read in all these orders")
    rate: float = setting(6.25e-5, "peak of the learning rate")
    rows: int = setting(64, "turns in an update, over all devices together")
    turns: int = setting(5, "last turns of the history that are read, an odd number")
    seed: int = setting(0, "draws new weights, orders and dropout")
    chats: int = setting(0, "training chats, the first ones of the file; 0: all")
    test_chats: int = setting(0, "validation chats, the first ones of the file; 0: all")
    replies: int = setting(1000, "validation turns that are replied to for F1, spread evenly; 0: all")
    discard: bool = setting(False, "keep only the result, not the model")


def train(output: Path, settings: Settings) -> dict[str, float]:
    """Tune a model, or go on where an earlier call was killed; returns what `result.json` in `output` keeps.

    These are "perplexity" of a token, "hits" (Hits@1 among all candidates) and "f1" of greedy replies, both in percent,
    and the numbers of training turns and updates. One of several processes measures; the state of the training is kept
    until it has. Raises CourseError when `output` holds a training with other settings or on another number of
    processes, when a setting makes no sense, and what `convai.load`, `dialogue.published` and `dialogue.train` raise.
    """
    process, processes = course.processes()
    first = process == 0
    _check(settings, processes)
    begun = asdict(settings) | {"processes": processes}
    compare(output / "settings.json", begun)
    result, state = output / "result.json", output / "state.pt"
    if result.exists():
        state.unlink(missing_ok=True)
        return longrun.result(result)
    model, tokenizer = _model(settings)
    room = model.config.n_positions
    some = convai.load("train")[: settings.chats or None]
    data = dialogue.Chats(some, tokenizer, settings.candidates, settings.turns, room, settings.seed)
    updates = -(-len(data) * settings.permutations * settings.epochs // settings.rows)
    course.device("days")  # warns where there is no GPU
    if first:
        write_text(output / "settings.json", json.dumps(begun, indent=2) + "\n")
    torch.manual_seed(settings.seed + 1_000_003 * process)  # others drop other units than the first
    dialogue.train(
        model, data, updates, settings.rate, settings.rows, settings.language, settings.choice, settings.seed, state
    )  # fmt: skip
    found = {"turns": len(data), "updates": updates}
    if not first:
        return found
    found |= measure(model, tokenizer, convai.load("valid")[: settings.test_chats or None], settings)
    if not settings.discard:
        model.save_pretrained(output / "model")
        tokenizer.save_pretrained(output / "model")
    write_text(result, json.dumps(found, indent=2) + "\n")
    state.unlink()
    return found


def measure(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[convai.Chat],
    settings: Settings,
) -> dict[str, float]:
    """Perplexity, and Hits@1 and F1 in percent, on chats; see `train`."""
    data = dialogue.Chats(chats, tokenizer, None, settings.turns, model.config.n_positions)
    found = dialogue.evaluate(model, data)
    pairs = [(chat, turn) for chat in chats for turn in chat.turns]
    if settings.replies and settings.replies < len(pairs):
        pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, settings.replies).astype(int)]
    f1 = []
    for chat, turn in course.progress(pairs, "replies", len(pairs)):
        talk = dialogue.Conversation(model, tokenizer, chat.persona, settings.turns)
        talk.history = list(turn.history[:-1])
        f1.append(convai.word_f1(talk.say(turn.history[-1]), turn.reply))
    return {
        "perplexity": dialogue.perplexity(found["nats"], found["tokens"]),
        "hits": 100 * float(found["hit"].mean()),
        "f1": 100 * float(np.mean(f1)),
    }


def _check(settings: Settings, processes: int) -> None:
    if settings.model not in MODELS:
        raise CourseError(f"{settings.model!r} is not a model: choose one of {', '.join(MODELS)}.")
    if settings.rows < 1 or settings.rows % processes:
        raise CourseError(
            f"{settings.rows} rows cannot be shared by {processes} processes: use a multiple of {processes}."
        )
    if settings.epochs < 1 or settings.permutations < 1 or settings.candidates < 1 + (settings.choice > 0):
        raise CourseError(
            "epochs and permutations must be positive, and a choice needs two candidates: give more of them."
        )


def _model(settings: Settings) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    if settings.model != "course":
        return dialogue.published(settings.model, settings.seed, settings.random)
    from transformers import GPT2Config, GPT2DoubleHeadsModel

    causal, tokenizer = checkpoints.load_causal()
    torch.manual_seed(settings.seed)
    config = GPT2Config(**{**causal.config.to_dict(), "num_labels": 1, "summary_first_dropout": 0.0})
    model = GPT2DoubleHeadsModel(config)
    if not settings.random:
        model.transformer.load_state_dict(causal.transformer.state_dict())
    dialogue.add_tokens(tokenizer, model, settings.seed)
    return model, tokenizer


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says, and print the result."""
    command("utils.convai_gpt", "A GPT on ConvAI2.", Settings, train, arguments)


if __name__ == "__main__":
    main()
