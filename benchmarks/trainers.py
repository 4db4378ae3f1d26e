"""The course's training loops beside those of the libraries: same model, same batches, same rule (see README.md).

python -m benchmarks.trainers                # about 5 minutes; writes benchmarks/trainers.json
python -m benchmarks.trainers --steps 2 --rounds 1 --out small.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch  # before TensorFlow, as utils.bert_tf explains
from torch.nn.functional import cross_entropy

from benchmarks import squad_training
from benchmarks.machine import processor
from utils import bert_tf, checkpoints, settings, span_tf, squad, training
from utils.world import World

THREADS = 1
WARM_UP = 3  # steps of each training that are not timed
WIDTH, ROWS, RATE, DECAY, BETAS = 24, 125, 1e-3, 0.05, (0.9, 0.98)  # of the language model, as in Lab 1
WINDOWS, SPAN_ROWS, SPAN_RATE = "128 x 8", squad_training.ROWS, squad_training.RATE
SKIP = -100  # label of padding
Clock = list[tuple[float, float]]


def tick(clock: Clock) -> None:
    """Note wall and computing time: called once at the same place of every step."""
    clock.append((time.perf_counter(), time.process_time()))


# ---- a language model in PyTorch: utils.training.pretrain, transformers' Trainer, fastai's Learner


def texts(steps: int) -> tuple[Any, torch.Tensor]:
    """The course's causal model, and `steps` batches of its text: ids [steps, rows, width]."""
    model, tokenizer = checkpoints.load_causal()
    stream = training.batches((d.text for d in World(0).documents("benchmark")), tokenizer, ROWS * WIDTH)
    found: list[torch.Tensor] = []
    while len(found) < steps:
        batch = next(stream)
        if batch.shape == (ROWS, WIDTH):
            found.append(batch)
    return model, torch.stack(found)


def labels(batch: torch.Tensor) -> torch.Tensor:
    """What the libraries are to learn: the ids, SKIP for padding."""
    return torch.where(batch == 0, SKIP, batch)


def course_steps(model: Any, batches: torch.Tensor) -> Clock:
    clock: Clock = []
    model.base_model.register_forward_pre_hook(lambda *_: tick(clock))
    training.pretrain(model, batches, training.causal_loss, len(batches), RATE, 2, DECAY)
    tick(clock)
    return clock


def trainer_steps(model: Any, batches: torch.Tensor) -> Clock:
    from transformers import Trainer, TrainingArguments

    clock: Clock = []
    model.base_model.register_forward_pre_hook(lambda *_: tick(clock))
    rows = [{"input_ids": row, "labels": labels(row)} for row in batches.flatten(0, 1)]
    with TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder, per_device_train_batch_size=batches.shape[1], num_train_epochs=1, learning_rate=RATE,
            weight_decay=DECAY, adam_beta1=BETAS[0], adam_beta2=BETAS[1], warmup_steps=2, max_grad_norm=1.0,
            use_cpu=True, bf16=training.precision() == "bf16", train_sampling_strategy="sequential",
            dataloader_pin_memory=False, save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=True,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=rows).train()
    tick(clock)
    return clock


class Logits(torch.nn.Module):
    """A language model as fastai wants it: ids in, logits of the next tokens out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.model(input_ids=ids).logits


def fastai_steps(model: Any, batches: torch.Tensor) -> Clock:
    from fastai.text.all import (
        CrossEntropyLossFlat,
        DataLoader,
        DataLoaders,
        GradientClip,
        Learner,
        OptimWrapper,
    )

    clock: Clock = []
    model.base_model.register_forward_pre_hook(lambda m, _: tick(clock) if m.training else None)
    rows = [(row[:-1], labels(row)[1:]) for row in batches.flatten(0, 1)]
    loaders = DataLoaders(DataLoader(rows, bs=batches.shape[1]), DataLoader(rows[:1], bs=1), device="cpu")
    learner = Learner(
        loaders,
        Logits(model),
        CrossEntropyLossFlat(ignore_index=SKIP),
        lambda groups, lr: OptimWrapper(groups, torch.optim.AdamW, lr=lr, betas=BETAS, weight_decay=DECAY, fused=True),
        cbs=GradientClip(1.0),
    )  # fmt: skip
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, RATE)
    tick(clock)
    return clock


def first_losses(model: Any, batch: torch.Tensor) -> dict[str, float]:
    """The loss of each way on one batch, in nats."""
    with torch.no_grad():
        logits = Logits(model)(batch[:, :-1])
        found = {
            "course": training.causal_loss(model, batch, 0),
            "Trainer": model(input_ids=batch, labels=labels(batch)).loss,
            "fastai": cross_entropy(logits.flatten(0, 1), labels(batch)[:, 1:].flatten(), ignore_index=SKIP),
        }
    return {name: round(loss.item(), 5) for name, loss in found.items()}


# ---- a span classifier in TensorFlow: utils.span_tf.train, Keras' fit


def span_model() -> span_tf.SpanModel:
    """MiniLM with a drawn head, without dropout, as in Lab 4b."""
    config = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    with TemporaryDirectory() as folder:
        bert_tf.write_minilm(Path(folder))
        file = Path(folder) / bert_tf.CONFIG
        file.write_text(json.dumps(json.loads(file.read_text("utf-8")) | config), "utf-8")
        encoder, _ = bert_tf.from_folder(Path(folder))
    model = span_tf.SpanModel(encoder)
    model({name: np.ones((1, 4), dtype=np.int32) for name in bert_tf.INPUTS})  # builds the head
    return model


def span_steps(model: span_tf.SpanModel, batches: Sequence[list[squad.Window]]) -> Clock:
    clock: Clock = []

    def watched(*_: Any) -> Any:
        for batch in batches:
            tick(clock)
            yield batch

    with patch.object(span_tf, "batches", watched):
        span_tf.train(model, [window for batch in batches for window in batch], 1, SPAN_RATE, SPAN_ROWS)
    tick(clock)
    return clock


def fit_steps(model: span_tf.SpanModel, batches: Sequence[list[squad.Window]]) -> Clock:
    import tf_keras

    clock: Clock = []
    rate = tf_keras.optimizers.schedules.PolynomialDecay(SPAN_RATE, len(batches))
    optimizer = tf_keras.optimizers.AdamW(rate, weight_decay=0.01, global_clipnorm=1.0)
    optimizer.exclude_from_weight_decay(var_names=["LayerNorm", "bias"])
    model.compile(optimizer, loss=lambda y, logits: span_tf.losses(logits, y))
    model.encoder.named["bert/pooler/dense/kernel"]._trainable = False
    model.fit(
        ((squad.batch(batch), squad.labels(batch)) for batch in batches),
        steps_per_epoch=len(batches),
        verbose=0,
        callbacks=[tf_keras.callbacks.LambdaCallback(on_batch_begin=lambda batch, logs: tick(clock))],
    )
    tick(clock)
    return clock


# ---- side by side


def seconds(clock: Clock) -> np.ndarray:
    """Median wall and computing seconds of a step after the warm-up: [2]."""
    return np.median(np.diff(clock, axis=0)[WARM_UP:], 0)


def compare(
    ways: dict[str, Callable[[Any, Any], Clock]],
    fresh: Callable[[], Any],
    batches: Any,
    rounds: int,
    tokens: int,
) -> dict[str, Any]:
    """Train a fresh model each way, in turns, `rounds` times; the first of `ways` is the course's."""
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, train in ways.items():
            settings.seed_everything(0)
            found[name].append(seconds(train(fresh(), batches)))
    course = np.array(found["course"])
    result = {}
    for name, rows in found.items():
        wall, cpu = np.median(rows, 0)
        times = np.median(np.array(rows) / course, 0)
        result[name] = {
            "tokens_per_second": round(tokens / float(wall)),
            "tokens_per_core_second": round(tokens / float(cpu)),
            "times_the_course": [round(float(t), 3) for t in times],  # wall and computing time of a step
        }
    return result


def measure(steps: int, rounds: int) -> dict[str, Any]:
    """Both comparisons with `steps` timed steps in each round."""
    count = WARM_UP + steps
    causal, batches = texts(count)
    ways = {"course": course_steps, "Trainer": trainer_steps, "fastai": fastai_steps}
    language = {
        "what": "causal language model of the course",
        "parameters": sum(p.numel() for p in causal.parameters()),
        "batch": [ROWS, WIDTH],
        "first_losses": first_losses(causal, batches[0]),
        "ways": compare(ways, lambda: deepcopy(causal).train(), batches, rounds, ROWS * WIDTH),
    }
    _, asked = squad_training.examples()
    windows = squad_training.batches(asked, squad_training.KINDS[WINDOWS], count)
    spans = {
        "what": "span classifier on MiniLM",
        "parameters": int(sum(np.prod(w.shape) for w in span_model().trainable_weights)),
        "batch": [SPAN_ROWS, len(windows[0][0].input_ids)],
        "ways": compare(
            {"course": span_steps, "Keras fit": fit_steps}, span_model, windows, rounds,
            sum(len(window.input_ids) for window in windows[0]),
        ),
    }  # fmt: skip
    return {"language model": language, "span classifier": spans}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the course's training loops beside the libraries'.")
    parser.add_argument("--steps", type=int, default=20, help="timed steps of each training (20)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way takes its turn (3)")
    out = Path(__file__).with_name("trainers.json")
    parser.add_argument("--out", type=Path, default=out, help="result file")
    options = parser.parse_args(arguments)
    squad_training.use(THREADS)
    result = {
        "processor": processor(),
        "threads": THREADS,
        "steps": options.steps,
        "rounds": options.rounds,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("torch", "transformers", "fastai", "tensorflow", "tf_keras")},
        **measure(options.steps, options.rounds),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for part in ("language model", "span classifier"):
        for name, found in result[part]["ways"].items():
            print(f"{part}, {name}: {found['tokens_per_core_second']} tokens per core second, "
                  f"{found['times_the_course']} times the course's time")  # fmt: skip


if __name__ == "__main__":
    main()
