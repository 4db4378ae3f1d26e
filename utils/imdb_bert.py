"""BERT on IMDb by transformers' Trainer: the `full` profile of lab 3, on one GPU, on several, or on a CPU.

From the folder of the course,

    python -m utils.imdb_bert --output runs/imdb
    accelerate launch -m utils.imdb_bert --output runs/imdb      # all GPUs of this machine

trains and writes `result.json` into the output folder. The same command again, after the training was killed, goes on
from its last whole checkpoint and ends with the same weights; after the end it only prints the result. `--help` lists
the settings.
"""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from utils import adaptation, longrun
from utils import settings as course
from utils.checkpoints import fill, read_safetensors
from utils.downloads import fetch, write_text
from utils.errors import CourseError
from utils.imdb import plain, reviews
from utils.longrun import command, compare, setting

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import BertForSequenceClassification, PreTrainedTokenizerBase, Trainer, TrainerCallback

    from utils.imdb import Review

METHODS = ("full", "scratch", "head", "bias", "adapters")
MARK = "whole"  # what each process puts into a checkpoint when all of it is written


@dataclass(frozen=True)
class Settings:
    """All that decides the outcome of a training, beside data and hardware."""

    method: str = setting("full", f"one of {', '.join(METHODS)}; scratch has random weights")
    labels: int = setting(0, "training reviews, half of each kind; 0: all that are not held out")
    held_out: int = setting(2500, "training reviews for validation")
    epochs: float = setting(3.0, "times that each review is read")
    rate: float = setting(
        2e-5, "peak of the learning rate: warm-up over a tenth of the updates, then a linear fall"
    )
    rows: int = setting(32, "reviews in an update, over all devices together")
    length: int = setting(256, "word pieces of a review that are read")
    seed: int = setting(0, "draws held-out reviews and labels, new weights, order and dropout")
    every: int = setting(200, "updates from one checkpoint to the next")
    model: str = setting(
        "", "folder of another BERT, from save_pretrained; bert-base-uncased where there is none"
    )
    test: bool = setting(False, "also score the test reviews, once, at the end")
    discard: bool = setting(False, "keep only the result, neither the model nor checkpoints")


def train(output: Path, settings: Settings) -> dict[str, float]:
    """Adapt BERT to IMDb, or go on where an earlier call was killed; returns what `result.json` in `output` keeps.

    These are the accuracy on held-out training reviews ("validation"), on the test reviews ("test", if wanted), the
    numbers of training reviews and updates, and the share of the weights that were trained. Raises CourseError when
    `output` holds a training with other settings, on another number of processes, or with a damaged checkpoint, when a
    setting makes no sense, there is too little text, or a GPU runs out of memory, and what `imdb.reviews` raises.
    """
    import torch

    processes = course.processes()[1]
    devices = processes if processes > 1 else max(1, torch.cuda.device_count())
    _check(settings, devices)
    begun = asdict(settings) | {"processes": processes}
    result = output / "result.json"
    compare(output / "settings.json", begun)
    if result.exists():
        _discard(output, settings)
        return longrun.result(result)
    chosen, held = choose(reviews("train"), settings)
    mark = _mark()
    trainer, tokenizer = _trainer(output, settings, devices, chosen, mark)
    start = last_whole(output)
    if start:
        _need_parts(Path(start))
    if trainer.is_world_process_zero():
        for path in output.glob("checkpoint-*"):
            if not _whole(path):
                shutil.rmtree(path)
        write_text(output / "settings.json", json.dumps(begun, indent=2) + "\n")
        if start:
            print(f"{output}: going on from {Path(start).name}")
    try:
        try:
            trainer.train(resume_from_checkpoint=start)
        except (torch.OutOfMemoryError, pickle.UnpicklingError):
            raise
        except Exception as error:  # what its files make torch, safetensors and transformers raise
            if not start or mark.began:
                raise
            raise CourseError(_damaged(Path(start), " ".join(str(error).split()))) from None
        found = {"validation": _accuracy(trainer, tokenizer, held, settings)}
        if settings.test:
            found["test"] = _accuracy(trainer, tokenizer, reviews("test"), settings)
    except torch.OutOfMemoryError:
        raise CourseError(
            f"The GPU ran out of memory on {settings.rows // devices} reviews of {settings.length} word pieces: use "
            "fewer --rows or a smaller --length, in another --output."
        ) from None
    except pickle.UnpicklingError:
        raise CourseError(
            f"A file in {start} asks to call something or is damaged, and tensors were expected: nothing was executed, "
            "delete that folder and go on from the one before."
        ) from None
    sizes = [(p.numel(), p.requires_grad) for p in trainer.model.parameters()]
    found |= {
        "reviews": len(chosen),
        "updates": trainer.state.global_step,
        "share": sum(n for n, trained in sizes if trained) / sum(n for n, _ in sizes),
    }
    if trainer.is_world_process_zero():
        if not settings.discard:
            trainer.save_model(str(output / "model"))
        write_text(result, json.dumps(found, indent=2) + "\n")
        _discard(output, settings)
    return found


def _discard(output: Path, settings: Settings) -> None:
    """Remove checkpoints that nobody wants; not before the result is written, or a kill would cost the training."""
    for path in output.glob("checkpoint-*") if settings.discard else ():
        shutil.rmtree(path, ignore_errors=True)


def choose(pool: list[Review], settings: Settings) -> tuple[list[Review], list[Review]]:
    """Training reviews and held-out ones, drawn by the seed; with `labels`, half of each kind.

    Held-out reviews do not depend on `labels`. Raises CourseError when there are not enough.
    """
    import numpy as np

    order = np.random.default_rng(settings.seed).permutation(len(pool))
    held, rest = order[: settings.held_out], [pool[i] for i in order[settings.held_out :]]
    if settings.labels:
        each = settings.labels // 2
        kinds = [[r for r in rest if r.label == label] for label in (0, 1)]
        if min(map(len, kinds)) < each:
            raise CourseError(
                f"{settings.labels} labels were asked for, and beside {settings.held_out} held-out reviews there are "
                f"{len(kinds[0])} negative and {len(kinds[1])} positive ones: ask for fewer."
            )
        rest = [review for kind in kinds for review in kind[:each]]
    if len(held) < settings.held_out or not rest:
        raise CourseError(
            f"There are {len(pool)} training reviews, and {settings.held_out} were to be held out: hold out fewer."
        )
    return rest, [pool[i] for i in held]


def last_whole(output: Path) -> str | None:
    """The newest checkpoint that all processes finished writing, or None; one cut off by a kill is passed over."""
    found = [(int(p.name.rpartition("-")[2]), p) for p in output.glob("checkpoint-*") if _whole(p)]
    return str(max(found)[1]) if found else None


def _whole(checkpoint: Path) -> bool:
    return all((checkpoint / f"{MARK}-{rank}").exists() for rank in range(course.processes()[1]))


def _need_parts(checkpoint: Path) -> None:
    """Raise CourseError where a file is missing: the Trainer itself would go on in silence, with a new optimizer."""
    ranks = (
        ["rng_state.pth"]
        if course.processes()[1] == 1
        else [f"rng_state_{r}.pth" for r in range(course.processes()[1])]
    )
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "trainer_state.json", *ranks):
        if not (checkpoint / name).exists():
            raise CourseError(_damaged(checkpoint, f"it lacks {name}"))


def _damaged(checkpoint: Path, how: str) -> str:
    return f"{checkpoint} is damaged ({how}): delete it to go on from the checkpoint before it."


def _check(settings: Settings, devices: int) -> None:
    if settings.method not in METHODS:
        raise CourseError(f"{settings.method!r} is not a method: choose one of {', '.join(METHODS)}.")
    if settings.labels % 2 or settings.labels < 0:
        raise CourseError(f"{settings.labels} labels cannot be half positive and half negative.")
    if settings.rows < 1 or settings.rows % devices:
        raise CourseError(
            f"{settings.rows} rows cannot be shared by {devices} devices: use a multiple of {devices}."
        )
    if settings.held_out < 1 or settings.epochs <= 0 or settings.every < 1 or not 3 <= settings.length <= 512:
        raise CourseError(
            "At least one review must be held out, epochs and every must be positive, and length 3 to 512 word pieces."
        )


def _trainer(
    output: Path, settings: Settings, devices: int, chosen: list[Review], mark: TrainerCallback
) -> tuple[Trainer, PreTrainedTokenizerBase]:
    import torch
    from transformers import DataCollatorWithPadding, Trainer, TrainingArguments, set_seed

    process, processes = course.processes()
    gpu = course.device("about a second for each review in each epoch").type == "cuda"
    half = "bf16" if gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    arguments = TrainingArguments(
        output_dir=str(output),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.rows // devices,
        per_device_eval_batch_size=64,
        learning_rate=settings.rate,
        warmup_steps=0.1,
        weight_decay=0.01,
        save_steps=settings.every,
        save_total_limit=2,  # the newest one may be cut off
        seed=settings.seed,
        data_seed=settings.seed,
        use_cpu=not gpu,
        ddp_backend="gloo" if processes > 1 and not gpu else None,
        logging_steps=50,
        disable_tqdm=course.bar_style()["disable"],
        report_to="none",
        **({half: True} if gpu else {}),
    )
    set_seed(settings.seed)
    model, tokenizer = _model(settings)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=_encoded(tokenizer, chosen, settings.length),
        data_collator=DataCollatorWithPadding(tokenizer),
        callbacks=[mark],
    )
    if process:
        torch.manual_seed(settings.seed + 1_000_003 * process)  # drops other units than the first
    return trainer, tokenizer


def _model(settings: Settings) -> tuple[BertForSequenceClassification, PreTrainedTokenizerBase]:
    """BERT with a fresh classifier as the method wants it, and its tokenizer."""
    from transformers import AutoConfig, AutoTokenizer, BertConfig, BertForSequenceClassification

    from utils import minilm

    if settings.model:
        folder = Path(settings.model)
        if not (folder / "config.json").is_file():
            raise CourseError(f"{folder} has no config.json: name a folder written by save_pretrained.")
        config, tokenizer = AutoConfig.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
        if config.model_type != "bert":
            raise CourseError(
                f"{folder} holds a model of type {config.model_type!r}, and a BERT was expected."
            )
        weights = folder / "model.safetensors"
    else:
        config, weights = BertConfig(), None  # its defaults are bert-base-uncased
        tokenizer = minilm.load()[1]  # the same word pieces
    config.num_labels = 2
    model = BertForSequenceClassification(config)
    model.accepts_loss_kwargs = False  # else Trainer multiplies its loss, a mean, by the number of processes
    if settings.method != "scratch":
        _fill(model.bert, weights or fetch("bert-base-uncased-weights"))
    if settings.method == "adapters":
        adaptation.add_adapters(model.bert, 64)
    patterns = {
        "head": ["classifier.*"],
        "bias": ["classifier.*", "*bias"],
        "adapters": ["classifier.*", "*adapter*"],
    }
    if settings.method in patterns:
        adaptation.train_only(model, *patterns[settings.method])
    return model, tokenizer


def _fill(model: Module, weights: Path) -> None:
    """Load the weights of a BERT with any head, whose norms may have the names that TensorFlow gave them."""
    state = read_safetensors(weights, "save the model again")
    names = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
    encoder = {}
    for name, tensor in state.items():
        for old, new in names.items():
            name = name.replace(old, new)
        if not name.startswith(("cls.", "classifier.")) and not name.endswith("position_ids"):
            encoder[name.removeprefix("bert.")] = tensor
    fill(model, encoder, str(weights), "give the weights of the model that its config.json describes")


def _encoded(tokenizer: PreTrainedTokenizerBase, some: list[Review], length: int) -> list[dict]:
    ids = tokenizer([plain(review.text) for review in some], truncation=True, max_length=length)["input_ids"]
    return [{"input_ids": row, "labels": review.label} for row, review in zip(ids, some, strict=True)]


def _accuracy(
    trainer: Trainer, tokenizer: PreTrainedTokenizerBase, some: list[Review], settings: Settings
) -> float:
    rows = sorted(_encoded(tokenizer, some, settings.length), key=lambda row: len(row["input_ids"]))
    found = trainer.predict(rows)
    return float((found.predictions.argmax(-1) == found.label_ids).mean())


def _mark() -> TrainerCallback:
    """A callback by which each process marks the checkpoint that it has just finished, and knows whether it began."""
    from transformers import TrainerCallback

    class Mark(TrainerCallback):
        began = False  # whether all of a checkpoint was read

        def on_step_begin(self, *_, **__):
            self.began = True

        on_train_end = on_step_begin

        def on_save(self, args, state, control, **_):
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            (folder / f"{MARK}-{args.process_index}").touch()

    return Mark()


def main(arguments: list[str] | None = None) -> None:
    """Train as the command line says, and print the result."""
    command("utils.imdb_bert", "BERT on IMDb.", Settings, train, arguments)


if __name__ == "__main__":
    main()
