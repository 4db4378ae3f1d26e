"""The same training by one process and by two, loss for loss, with accelerate, fastai and TensorFlow (see README.md).

python -m benchmarks.processes                 # about 10 minutes; writes benchmarks/processes.json and processes.md
python -m benchmarks.processes --small --out small.json
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import numpy as np

from utils import settings
from utils.world import World, tasks

LIMIT = 1800  # seconds for the trainings of one library, the start of its processes included
NEVER = 1e-12  # a weight dropout that drops nothing: fastai can't train an AWD-LSTM with 0


@dataclass
class Found:
    """What one process has at the end of a training; losses are means over all processes."""

    losses: list[float]
    weights: dict[str, np.ndarray]
    before: dict[str, np.ndarray]
    seconds: float
    measures: dict[str, float] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        arrays = {f"weights/{key}": value for key, value in self.weights.items()}
        arrays |= {f"before/{key}": value for key, value in self.before.items()}
        np.savez(path, losses=self.losses, seconds=self.seconds, measures=json.dumps(self.measures), **arrays)

    @classmethod
    def read(cls, path: Path) -> Found:
        with np.load(path, allow_pickle=False) as file:
            parts = {
                part: {key.removeprefix(f"{part}/"): file[key] for key in file if key.startswith(f"{part}/")}
                for part in ("weights", "before")
            }
            return cls(
                file["losses"].tolist(),
                **parts,
                seconds=float(file["seconds"]),
                measures=json.loads(str(file["measures"])),
            )


def numbers(model: Any) -> dict[str, np.ndarray]:
    """The trained weights of a PyTorch model by name, without those that no loss depends on.

    The bias of attention's keys adds the same to all scores of a query, and that of a choice's head the same to all
    candidates: their gradients are zero but for rounding, which Adam makes large.
    """
    found = {}
    for name, weight in model.named_parameters():
        value = weight.detach().numpy().copy()
        if name.endswith("c_attn.bias"):
            value = np.delete(value, slice(len(value) // 3, 2 * len(value) // 3))
        if not name.endswith(("key.bias", "summary.bias")):
            found[name] = value
    return found


# ---- accelerate: the course's loop, and transformers' Trainer


def gpt(size: dict, folder: Path, pooled: bool = True, stop: bool = False) -> Found:
    """The course's small GPT on persona chats by the command of lab 4c; not `pooled`: each process's own means.

    With `stop` it is interrupted in the middle, and called again.
    """
    import torch

    from utils import convai, convai_gpt, dialogue, training

    kept, found, stops = dialogue.pretrain, [], []

    def interrupt(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    def watched(model: Any, *arguments: Any) -> list[float]:
        before, start = numbers(model), time.perf_counter()
        if stop and not stops:
            stops.append(1)
            kept(model, *arguments, every=2, watch=interrupt)
        losses = kept(model, *arguments)
        found.append(Found(losses, numbers(model), before, time.perf_counter() - start))
        return losses

    chats = convai.parse(tasks.dialogue(World(0), size["chats"] + 1, candidates=4))
    data = folder / f"chats-{settings.processes()[0]}"
    convai.write({"train": chats[:-1], "valid": chats[-1:]}, data / "personachat_self_original.small.json")
    chosen = convai_gpt.Settings(
        model="course", rows=size["rows"], chats=size["chats"], turns=1, candidates=2, rate=1e-3, epochs=2,
        permutations=1, replies=1, discard=True,
    )  # fmt: skip
    own = patch.multiple(
        dialogue, pretrain=watched, **({} if pooled else {"weighted": lambda mean, count: mean})
    )
    with (
        own,
        patch.object(training, "precision", lambda: "no"),
        patch.dict(os.environ, COURSE_DATA=str(data)),
    ):
        output = folder / f"gpt-{pooled}-{stop}"
        if stop:
            with suppress(KeyboardInterrupt):
                convai_gpt.train(output, chosen)
        measures = convai_gpt.train(output, chosen)
    if torch.distributed.is_initialized():
        torch.distributed.barrier()  # the first process has scored the model
    found[0].measures = measures
    return found[0]


def bert(size: dict, folder: Path) -> Found:
    """A small BERT on reviews of the course world by the command of lab 3, which trains with transformers' Trainer."""
    import transformers

    from utils import imdb_bert

    process, _ = settings.processes()
    data, source = folder / f"reviews-{process}", folder / f"bert-{process}"
    write_reviews(data, size["reviews"])
    write_bert(source, size["width"])
    kept, begun = imdb_bert._trainer, []

    def watched(*arguments: Any) -> Any:
        trainer, tokenizer = kept(*arguments)
        trainer.args.logging_steps = 1
        begun[:] = [trainer, numbers(trainer.model), time.perf_counter()]
        return trainer, tokenizer

    chosen = imdb_bert.Settings(
        held_out=size["held_out"], rows=size["rows"], length=48, epochs=2.0, rate=1e-3, every=1000, model=str(source),
        discard=True,
    )  # fmt: skip
    with patch.object(imdb_bert, "_trainer", watched), patch.dict(os.environ, COURSE_DATA=str(data)):
        measures = imdb_bert.train(folder / "imdb", chosen)
    trainer, before, start = begun
    logged = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    assert len(logged) == trainer.state.global_step, transformers.__version__
    return Found(logged, numbers(trainer.model), before, time.perf_counter() - start, measures)


def write_reviews(data: Path, count: int) -> None:
    """`count` reviews of the course world in IMDb's folders."""
    for split in ("train", "test"):
        for number, review in enumerate(tasks.sentiment(World(0), count, split=split)):
            stars, kind = (("1", "neg"), ("10", "pos"))[review.label]
            path = data / "imdb" / "aclImdb" / split / kind / f"{number}_{stars}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(" ".join(review.words), "utf-8")


def write_bert(folder: Path, width: int) -> None:
    """A BERT with random weights, without dropout, that reads the words of reviews."""
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizer

    folder.mkdir(parents=True)
    words = sorted(
        {word for review in tasks.sentiment(World(0), 200, split="train") for word in review.words}
    )
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    BertTokenizer(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=width, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=4 * width, max_position_embeddings=64, initializer_range=0.1, hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    config.to_json_file(folder / "config.json")
    save_file(  # save_pretrained writes in the first process only
        BertForSequenceClassification(config).state_dict(), folder / "model.safetensors", {"format": "pt"}
    )


# ---- fastai


def language_model(size: dict, folder: Path, stop: bool = False) -> Found:
    """An AWD-LSTM language model by fastai's 1cycle, without dropout; with `stop` interrupted in the second epoch."""
    from fastai.text.all import AWD_LSTM, awd_lstm_lm_config, language_model_learner, set_seed

    config = awd_lstm_lm_config | _calm(size)

    def made() -> Any:
        set_seed(0)
        loaders = fastai_loaders(size, is_lm=True)
        return language_model_learner(loaders, AWD_LSTM, config=config, pretrained=False, path=folder)

    if not stop:
        return fit(made())
    with suppress(KeyboardInterrupt):
        fit(made(), folder / "state", stop=True)
    return fit(made(), folder / "state")


def _calm(size: dict) -> dict[str, Any]:
    sizes = {"emb_sz": size["width"], "n_hid": 2 * size["width"], "n_layers": 3}
    return sizes | dict.fromkeys(("output_p", "hidden_p", "input_p", "embed_p"), 0.0) | {"weight_p": NEVER}


def fastai_loaders(size: dict, is_lm: bool) -> Any:
    """fastai's loaders of reviews of the course world; the last 16 are for validation."""
    import pandas as pd
    from fastai.text.all import BaseTokenizer, CategoryBlock, ColReader, DataBlock, IndexSplitter, TextBlock

    some = tasks.sentiment(World(0), size["reviews"] + 16, split="train")
    frame = pd.DataFrame(
        {"text": [" ".join(one.words) for one in some], "label": [one.label for one in some]}
    )
    text = TextBlock.from_df("text", is_lm=is_lm, seq_len=12, min_freq=1, n_workers=0, tok=BaseTokenizer())
    blocks, labels = (text, {}) if is_lm else ((text, CategoryBlock), {"get_y": ColReader("label")})
    held = IndexSplitter(range(size["reviews"], len(frame)))
    block = DataBlock(blocks=blocks, get_x=ColReader("text"), splitter=held, **labels)
    sizes = {"bs": size["rows"], "num_workers": 0, "device": "cpu"} | ({"seq_len": 12} if is_lm else {})
    return block.dataloaders(frame, **sizes)


def fit(learner: Any, file: Path | None = None, stop: bool = False) -> Found:
    """Two epochs of 1cycle by all processes, kept in `file` if one is named; `stop`: interrupted in the second."""
    import torch
    from fastai.text.all import Callback, GradientClip

    from utils import ulmfit

    losses: list[float] = []

    class Watch(Callback):
        def after_loss(self) -> None:
            if self.training:
                loss = self.learn.loss.detach().as_subclass(torch.Tensor).clone()
                if torch.distributed.is_initialized():
                    torch.distributed.all_reduce(loss)
                    loss /= torch.distributed.get_world_size()
                losses.append(float(loss))
                if stop and self.epoch == 1:
                    raise KeyboardInterrupt

    before, start = numbers(learner.model), time.perf_counter()
    with learner.no_bar(), learner.no_logging(), ulmfit.distributed(learner):
        resume = [ulmfit.Resume(file)] if file else []
        learner.fit_one_cycle(2, 1e-2, cbs=[Watch(), GradientClip(0.25), *resume])
    seconds = time.perf_counter() - start
    epochs = [float(values[1]) for values in learner.recorder.values]
    measures = {f"validation {number}": loss for number, loss in enumerate(epochs)}
    return Found(losses, numbers(learner.model), before, seconds, measures)


# ---- TensorFlow


def span(size: dict, folder: Path) -> Found:
    """A small BERT in TensorFlow that finds answers in paragraphs of the course world, by the loop of lab 4b."""
    from utils import minilm, span_tf, squad
    from utils.bert_tf import Bert, Config

    with span_tf.strategy().scope():
        sizes = {
            "hidden_size": size["width"],
            "intermediate_size": 4 * size["width"],
            "num_attention_heads": 2,
        }
        calm = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = span_tf.SpanModel(Bert(Config(30522, num_hidden_layers=size["layers"], **sizes, **calm)))
    asked = squad.parse(tasks.qa(World(0), size["questions"], "train", "processes"))
    windows = squad.windows(asked, minilm.tokenizer(), 128, 64, max_question=32)[: size["windows"]]
    with model.distribute_strategy.scope():
        model(squad.batch(windows[:1]))  # builds the head

    def values() -> dict[str, np.ndarray]:
        named = model.encoder.named | {"span/kernel": model.head.kernel, "span/bias": model.head.bias}
        return {name: weight.numpy() for name, weight in named.items() if not name.endswith("key/bias")}

    before, start = values(), time.perf_counter()
    losses = span_tf.train(model, windows, 2, 1e-3, batch=size["rows"])
    return Found(losses, values(), before, time.perf_counter() - start)


# ---- what goes wrong without care


def traps(size: dict, folder: Path) -> Found:
    """What accelerate does with a schedule that is handed to it, and with a batch that does not divide."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    layer = torch.nn.Linear(1, 1)
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    model, prepared, stepped = accelerator.prepare(layer, optimizer, schedule)
    for _ in range(10):
        accelerator.backward(model(torch.ones(1, 1)).sum())
        prepared.step()
        stepped.step()
        prepared.zero_grad()
    loader = accelerator.prepare(torch.utils.data.DataLoader(torch.arange(7), batch_size=2))
    plain = [number for batch in loader for number in accelerator.gather(batch).tolist()]
    counted = [number for batch in loader for number in accelerator.gather_for_metrics(batch).tolist()]
    measures = {
        "updates": 10,
        "steps": schedule.last_epoch,
        "texts": 7,
        "gathered": len(plain),
        "counted": len(counted),
    }
    assert sorted(counted) == list(range(7))
    return Found([], {}, {}, 0.0, measures)


# ---- one process and two

TORCH: dict[str, Callable[[dict, Path], Found]] = {
    "GPT, accelerate": gpt,
    "BERT, Trainer": bert,
    "language model, fastai": language_model,
}
RESUMED: dict[str, Callable[[dict, Path], Found]] = {  # by two processes only, as the following ones
    "GPT, accelerate": partial(gpt, stop=True),
    "language model, fastai": partial(language_model, stop=True),
}
CARELESS: dict[str, Callable[[dict, Path], Found]] = {
    "GPT, accelerate": partial(gpt, pooled=False),
}
TENSORFLOW = {"BERT, TensorFlow": span}
TRAININGS = (
    TORCH | TENSORFLOW | {"traps": traps}
    | {f"{name}, resumed": train for name, train in RESUMED.items()}
    | {f"{name}, careless": train for name, train in CARELESS.items()}
)  # fmt: skip
SMALL = {
    "GPT": {"chats": 3, "rows": 4},
    "BERT, Trainer": {"reviews": 49, "held_out": 13, "rows": 6, "width": 16},
    "language model": {"reviews": 30, "rows": 4, "width": 8},
    "BERT, TensorFlow": {"questions": 5, "windows": 17, "rows": 8, "width": 8, "layers": 1},
    "traps": {},
}
LARGE = {
    "GPT": {"chats": 12, "rows": 16},
    "BERT, Trainer": {"reviews": 210, "held_out": 50, "rows": 16, "width": 128},
    "language model": {"reviews": 300, "rows": 16, "width": 64},
    "BERT, TensorFlow": {"questions": 30, "windows": 101, "rows": 16, "width": 64, "layers": 2},
    "traps": {},
}


def size_of(name: str, small: bool) -> dict:
    """The sizes of a training."""
    sizes = SMALL if small else LARGE
    return next(size for begin, size in sizes.items() if name.startswith(begin))


def child(names: Sequence[str], folder: Path, small: bool) -> None:
    """Train in this process, one of `settings.processes()` or of TF_CONFIG, and write what it found."""
    if not set(names) & set(TENSORFLOW):
        settings.threads(1)
    else:
        from utils.bert_tf import tf

        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    number = settings.processes()[0]
    if "TF_CONFIG" in os.environ:
        number = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    for name in names:
        found = TRAININGS[name](size_of(name, small), folder)
        found.write(folder / f"{name}-{number}.npz")


def free_ports(count: int) -> list[int]:
    """Ports of this machine on which nobody listens."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("localhost", 0))
        return [one.getsockname()[1] for one in sockets]


def run(names: Sequence[str], processes: int, folder: Path, small: bool) -> list[dict[str, Found]]:
    """What each of one or two processes found in some trainings of one library."""
    folder.mkdir(parents=True)
    words = ["-m", "benchmarks.processes", "--child", *names, "--out", str(folder), *["--small"] * small]
    environment = os.environ | {
        "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(settings.root()), "TQDM_DISABLE": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }  # fmt: skip
    if names[0] in TENSORFLOW and processes > 1:
        workers = [f"localhost:{port}" for port in free_ports(processes)]
        configs = [
            json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
            for index in range(processes)
        ]
        commands = [([sys.executable, *words], environment | {"TF_CONFIG": config}) for config in configs]
    elif processes > 1:
        (port,) = free_ports(1)
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", str(processes)]
        commands = [([sys.executable, *launch, "--main_process_port", str(port), *words], environment)]
    else:
        commands = [([sys.executable, *words], environment)]
    wait_for(commands, folder)
    return [{name: Found.read(folder / f"{name}-{i}.npz") for name in names} for i in range(processes)]


def wait_for(commands: Sequence[tuple[list[str], dict[str, str]]], folder: Path) -> None:
    """Run commands together until all have ended; RuntimeError, with the end of the log, where one fails or hangs."""
    running = []
    for number, (words, environment) in enumerate(commands):
        log = (folder / f"log-{number}.txt").open("w")
        running.append((subprocess.Popen(
            words, cwd=settings.root(), env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        ), log))  # fmt: skip
    end = time.monotonic() + LIMIT
    try:
        while any(process.poll() is None for process, _ in running):
            failed = any(process.poll() for process, _ in running)
            if failed or time.monotonic() > end:
                break
            time.sleep(0.1)
        codes = [process.poll() for process, _ in running]
        if any(code != 0 for code in codes):
            logs = "\n".join(path.read_text("utf-8")[-3000:] for path in sorted(folder.glob("log-*.txt")))
            raise RuntimeError(f"the processes ended with {codes} (None: still running):\n{logs}")
    finally:
        for process, log in running:
            if process.poll() is None:
                os.killpg(process.pid, 9)  # TensorFlow's workers outlive gentler signals
                process.wait()
            log.close()


def difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    """The largest absolute difference between two sets of weights."""
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def compared(one: Found, two: Sequence[Found]) -> dict[str, Any]:
    """How far two processes end from one, and from each other; one that was resumed has its last losses only."""
    losses = one.losses[-len(two[0].losses) :]
    apart = np.abs(np.array(losses) - np.array(two[0].losses))
    return {
        "updates": len(two[0].losses),
        "weights": sum(value.size for value in one.weights.values()),
        "last_loss": round(one.losses[-1], 6),
        "loss_difference": float(f"{apart.max():.2g}"),
        "weight_difference": float(f"{difference(one.weights, two[0].weights):.2g}"),
        "weight_change": float(f"{difference(one.weights, one.before):.2g}"),
        "between_processes": difference(two[0].weights, two[1].weights),
        "seconds": [round(one.seconds, 1), round(two[0].seconds, 1)],
        "measures": [one.measures, two[0].measures],
    }


def measure(small: bool) -> dict[str, Any]:
    """All trainings by one process and by two, one after the other."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        alone = run(list(TORCH), 1, folder / "torch-1", small)[0]
        alone |= run(list(TENSORFLOW), 1, folder / "tensorflow-1", small)[0]
        both = run([name for name in TRAININGS if name not in TENSORFLOW], 2, folder / "torch-2", small)
        for found, more in zip(both, run(list(TENSORFLOW), 2, folder / "tensorflow-2", small), strict=True):
            found |= more
    return summary(alone, both)


def summary(alone: dict[str, Found], both: Sequence[dict[str, Found]]) -> dict[str, Any]:
    """The comparisons of what one process and each of two found."""

    def of(names: Iterable[str], kind: str = "") -> dict[str, Any]:
        return {name: compared(alone[name], [found[name + kind] for found in both]) for name in names}

    return {
        "trainings": of(TORCH | TENSORFLOW),
        "resumed": of(RESUMED, ", resumed"),
        "careless": of(CARELESS, ", careless"),
        "accelerate": both[0]["traps"].measures,
    }


def table(result: dict[str, Any]) -> str:
    """The result as two tables in Markdown, which the book shows."""
    lines = [
        "<!-- the same -->",
        "",
        "| training | updates | losses apart, nats | weights apart | weights moved | the two apart |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for kind, said in (("trainings", ""), ("resumed", ", interrupted and resumed")):
        for name, row in result[kind].items():
            sizes = (
                row[key]
                for key in ("loss_difference", "weight_difference", "weight_change", "between_processes")
            )
            lines.append(f"| {name}{said} | {row['updates']} | {' | '.join(map(scientific, sizes))} |")
    lines += ["", "<!-- careless -->", "", "| without care | with care | without |", "|---|---:|---:|"]
    for name in result["careless"]:
        pair = (result[kind][name]["loss_difference"] for kind in ("trainings", "careless"))
        lines.append(f"| {name}, means of means: losses apart, nats | {' | '.join(map(scientific, pair))} |")
    asked = result["accelerate"]
    lines += [
        f"| {asked['updates']} updates: steps of a schedule in `prepare` | {asked['updates']} | {asked['steps']} |",
        f"| {asked['texts']} texts scored: counted by `gather_for_metrics`, by `gather` | {asked['counted']} | "
        f"{asked['gathered']} |",
    ]
    return "\n".join(lines) + "\n"


def scientific(value: float) -> str:
    """A number with two digits and a power of ten, such as 1.2 × 10⁻⁷."""
    if value == 0 or 0.01 <= value < 1000:
        return f"{value:.2g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} × 10" + str(int(power)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare trainings by one process and by two.")
    parser.add_argument("--small", action="store_true", help="a few updates of tiny models")
    out = Path(__file__).with_name("processes.json")
    parser.add_argument("--out", type=Path, default=out, help="result file")
    parser.add_argument("--child", nargs="+", metavar="TRAINING", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        child(options.child, options.out, options.small)
        return
    result = {
        "cores": os.cpu_count(),
        "versions": {
            "python": platform.python_version(),
            **{
                name: version(name)
                for name in ("torch", "accelerate", "transformers", "fastai", "tensorflow")
            },
        },
        **measure(options.small),
    }
    tables = table(result)
    print(tables, end="")
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    options.out.with_suffix(".md").write_text(tables, "utf-8")


if __name__ == "__main__":
    main()
