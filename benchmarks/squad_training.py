"""Training a span classifier: `utils.span_tf.train` beside transformers' BERT in PyTorch (see README.md).

python -m benchmarks.squad_training            # about 6 minutes; writes benchmarks/squad_training.json
python -m benchmarks.squad_training --steps 5 --threads 1 --out small.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np
import torch  # before TensorFlow, as utils.bert_tf explains
from transformers import BertForQuestionAnswering

from benchmarks.machine import processor
from utils import bert_tf, minilm, settings, span_tf, squad
from utils.world import World, tasks

METHODS = ("course", "transformers")
THREADS = (1, 2)
ROWS, RATE, WARM_UP = 8, 1e-4, 3  # windows in a batch, highest rate, steps that are not timed
KINDS = {"128 x 8": 128, "256 x 8": 256, "mixed x 8": None}  # tokens of each window, None: 40 to 256


def examples() -> tuple[str, list[squad.Example]]:
    """What is read, and questions on long contexts: SQuAD of COURSE_DATA, else paragraphs of the course world."""
    if settings.data_dir():
        return "SQuAD 1.1, train", squad.load("train", repair=True)[:600]
    asked = squad.parse(tasks.qa(World(0), 150, "train", "span benchmark"))
    rest = [" ".join(e.context for e in Random(i).sample(asked, 5)) for i in range(len(asked))]
    longer = [
        squad.Example(e.id, e.question, f"{e.context} {more[: 100 * (i % 13)]}", e.answers, e.title)
        for i, (e, more) in enumerate(zip(asked, rest, strict=True))
    ]
    return "the course world", longer


def batches(asked: Sequence[squad.Example], tokens: int | None, steps: int) -> list[list[squad.Window]]:
    """`steps` batches of windows that all have `tokens` tokens, or of similar lengths, as training has them."""
    made = squad.windows(asked, minilm.tokenizer(), tokens or 256, 64, max_question=32)
    chosen = [window for window in made if len(window.input_ids) == (tokens or len(window.input_ids))]
    chosen = [chosen[i % len(chosen)] for i in range(max(steps * ROWS, len(chosen)))]
    found = span_tf.batches(chosen, ROWS, Random(0))
    return list(islice((batch for batch in found if len(batch) == ROWS), steps))


class Torch:
    """transformers' model with the Trainer's default optimizer (fused AdamW), settings as in `span_tf.train`."""

    def __init__(self) -> None:
        encoder, _ = minilm.load()
        torch.manual_seed(0)
        self.model = BertForQuestionAnswering(encoder.config)
        state = {
            name: value for name, value in encoder.state_dict().items() if not name.startswith("pooler.")
        }
        self.model.bert.load_state_dict(state)
        plain, decayed = [], []
        for name, weight in self.model.named_parameters():
            (plain if "LayerNorm" in name or name.endswith("bias") else decayed).append(weight)
        groups = [{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, eps=1e-7, fused=True)

    def inputs(self, chosen: Sequence[squad.Window]) -> dict[str, torch.Tensor]:
        names = ("input_ids", "attention_mask", "token_type_ids")
        made = squad.batch(chosen)
        found = {
            name: torch.from_numpy(made[key]).long() for name, key in zip(names, bert_tf.INPUTS, strict=True)
        }
        first, last = torch.from_numpy(squad.labels(chosen)).long().T
        return found | {"start_positions": first, "end_positions": last}

    def step(self, chosen: Sequence[squad.Window]) -> float:
        loss = self.model(**self.inputs(chosen)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return loss.item()


def models() -> tuple[span_tf.SpanModel, Torch]:
    """The same weights twice: MiniLM and one drawn head."""
    theirs = Torch()
    with TemporaryDirectory() as folder:
        encoder, _ = bert_tf.from_folder(bert_tf.write_minilm(Path(folder) / "minilm"))
    ours = span_tf.SpanModel(encoder)
    ours({name: np.ones((1, 4), dtype=np.int32) for name in bert_tf.INPUTS})
    head = theirs.model.qa_outputs
    ours.head.set_weights([head.weight.detach().numpy().T, head.bias.detach().numpy()])
    return ours, theirs


def first_losses(
    ours: span_tf.SpanModel, theirs: Torch, chosen: Sequence[squad.Window]
) -> tuple[float, float]:
    """The loss of both on one batch, without dropout."""
    course = span_tf.losses(ours(squad.batch(chosen)), squad.labels(chosen)).numpy().mean()
    theirs.model.eval()
    with torch.no_grad():
        other = theirs.model(**theirs.inputs(chosen)).loss.item()
    theirs.model.train()
    return float(course), other


def measure(
    steps: int, kinds: Sequence[str] = tuple(KINDS), warm_up: int = WARM_UP
) -> Iterator[dict[str, Any]]:
    """Time both on the same batches, step by step in turns; yields a result for each kind of batches.

    The steps of the course are those of `span_tf.train` itself: it takes its batches from a generator that first lets
    transformers train on the batch and then hands it over.
    """
    text, asked = examples()
    for kind in kinds:
        ours, theirs = models()
        chosen = batches(asked, KINDS[kind], warm_up + steps)
        losses = first_losses(ours, theirs, chosen[0])
        clocks: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}

        def in_turns(
            *_: Any, chosen: Any = chosen, theirs: Torch = theirs, clocks: Any = clocks
        ) -> Iterator[Any]:
            for batch in chosen:
                before = _clock()
                theirs.step(batch)
                between = _clock()
                yield batch
                clocks["transformers"].append(between - before)
                clocks["course"].append(_clock() - between)

        with patch.object(span_tf, "batches", in_turns):
            span_tf.train(ours, [window for batch in chosen for window in batch], 1, RATE, ROWS)
        timed = {method: np.array(found[warm_up:]) for method, found in clocks.items()}
        yield {
            "batches": kind,
            "text": text,
            "steps": steps,
            "mean_tokens": round(float(np.mean([len(w.input_ids) for batch in chosen for w in batch])), 1),
            "first_losses": [round(loss, 5) for loss in losses],
            **{method: _summary(found) for method, found in timed.items()},
            "ratio": _ratio(timed, 0),
            "ratio_cpu": _ratio(timed, 1),
        }


def _clock() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def _summary(found: np.ndarray) -> dict[str, Any]:
    """Of one method's steps, [steps, 2]: the wall and computing time."""
    wall, cpu = np.median(found, 0)
    return {
        "examples_per_second": round(ROWS / float(wall), 2),
        "seconds_per_step": round(float(wall), 4),
        "quartiles": [round(float(q), 4) for q in np.quantile(found[:, 0], (0.25, 0.75))],
        "cpu_seconds_per_step": round(float(cpu), 4),
    }


def _ratio(timed: dict[str, np.ndarray], clock: int) -> float:
    """Median over steps of transformers' time over the course's on the same batch: above 1 the course is faster."""
    return round(float(np.median(timed["transformers"][:, clock] / timed["course"][:, clock])), 3)


def use(threads: int) -> None:
    """Give both libraries so many threads; to be called before TensorFlow computes anything."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    settings.threads(threads)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the training of a span classifier on MiniLM.")
    parser.add_argument("--steps", type=int, default=40, help="timed steps for each kind of batches (40)")
    parser.add_argument("--threads", type=int, help="only with so many threads (1, then 2)")
    out = Path(__file__).with_name("squad_training.json")
    parser.add_argument("--out", type=Path, default=out, help="result file")
    options = parser.parse_args(arguments)
    if options.threads is None:  # a process for each: TensorFlow takes its number of threads once
        found = []
        for threads in THREADS:
            with TemporaryDirectory() as folder:
                part = Path(folder) / "part.json"
                command = [sys.executable, "-m", "benchmarks.squad_training", "--steps", str(options.steps)]
                subprocess.run([*command, "--threads", str(threads), "--out", str(part)], check=True)
                found.append(json.loads(part.read_text("utf-8")))
        result = found[0] | {"results": [row for one in found for row in one["results"]]}
    else:
        import tensorflow as tf
        import transformers

        use(options.threads)
        result = {
            "processor": processor(),
            "cores": os.cpu_count(),
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
            "results": [],
        }
        for row in measure(options.steps):
            result["results"].append({"threads": options.threads, **row})
            speeds = (f"{method} {row[method]['examples_per_second']:.1f}" for method in METHODS)
            print(
                f"{options.threads} threads, {row['batches']}: examples per second {', '.join(speeds)}, "
                f"ratio {row['ratio']:.2f}",
                flush=True,
            )
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
