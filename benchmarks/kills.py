"""Every resumable loop of the course, killed at random and started again until it is done (see README.md).

python -m benchmarks.kills            # writes benchmarks/kills.json, kills.md
python -m benchmarks.kills --loops pretrain sweep        # only these; the others stay in the file as they are
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from utils.downloads import write_text
from utils.settings import root, seed_everything

KILLS = 20
SHARE_WRITING = 0.3  # of the kills: while a file is written
LONGEST = 300  # seconds of an attempt
PAUSE = 0.01  # seconds after each step
# Imported once by the process that all attempts are forked from, which does nothing else.
MODULES = (
    "torch", "accelerate", "fastai.text.all", "pandas", "scipy.stats", "sklearn.linear_model", "transformers.trainer",
    "transformers.models.bert.modeling_bert", "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.modernbert.modeling_modernbert", "tools.assignments.grade", "tools.make_checkpoints",
    "utils.classification", "utils.convai_gpt", "utils.evidence", "utils.imdb_bert", "utils.lstm", "utils.resume",
    "utils.span_tf", "utils.world",
)  # fmt: skip

Tick = Callable[[int], None]  # called after each step with the number of steps done
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Loop:
    """A loop at a small size: `run(folder, tick, loop)` goes on with what is in the folder and gives what came out."""

    run: Callable[[Path, Tick, Loop], Arrays]
    steps: int
    every: int  # steps from one kept state to the next


# ---- the loops


def pretrain(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`training.pretrain` with dropout."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    from utils import training

    torch.manual_seed(0)
    config = GPT2Config(vocab_size=90, n_layer=2, n_embd=32, n_head=2, n_positions=32, pad_token_id=0)
    model = GPT2LMHeadModel(config)
    stream = torch.randint(5, 90, (loop.steps, 8, 24), generator=torch.Generator().manual_seed(1))
    losses = training.pretrain(
        model, stream, training.causal_loss, len(stream), warmup=20, resume=folder / "state",
        every=loop.every, watch=lambda step, _: tick(step + 1),
    )  # fmt: skip
    return _weights(model) | {"losses": np.array(losses)}


def convai_gpt(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`utils.convai_gpt`, to its result: a GPT with dropout on chats of the course world."""
    import torch
    from safetensors.numpy import load_file
    from transformers import GPT2Config, GPT2DoubleHeadsModel

    from utils import checkpoints, convai, convai_gpt, dialogue, training
    from utils.world import World, tasks

    chats = convai.parse(tasks.dialogue(World(0), 20, candidates=2))
    some = {"train": chats[:17], "valid": chats[19:]}

    def model(settings: Any) -> tuple[Any, Any]:
        tokenizer = checkpoints.load_tokenizer()
        torch.manual_seed(settings.seed)
        config = GPT2Config(
            vocab_size=len(tokenizer), n_layer=1, n_embd=16, n_head=2, n_positions=160, num_labels=1
        )
        network = GPT2DoubleHeadsModel(config)
        dialogue.add_tokens(tokenizer, network, settings.seed)
        return network, tokenizer

    def measure(*given: Any) -> dict[str, float]:
        tick(loop.steps)  # the last one: a kill may come while it measures
        return measured(*given)

    measured, convai_gpt.measure = convai_gpt.measure, measure
    convai_gpt._model, convai_gpt.convai.load = model, some.get
    dialogue.pretrain = partial(training.pretrain, every=loop.every, watch=lambda step, _: tick(step + 1))
    plan = {
        "rows": 2,
        "candidates": 2,
        "turns": 1,
        "replies": 4,
        "rate": 1e-3,
        "permutations": 1,
        "epochs": loop.steps // 36,  # of 36 updates
    }
    found = convai_gpt.train(folder, convai_gpt.Settings(**plan))
    assert found["updates"] + 1 == loop.steps, found
    return load_file(folder / "model" / "model.safetensors") | {k: np.array(v) for k, v in found.items()}


def imdb_bert(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`utils.imdb_bert`, to its result: the Trainer and a BERT with dropout on reviews of the course world."""
    import torch
    from safetensors.numpy import load_file
    from transformers import BertConfig, BertForSequenceClassification, TrainerCallback

    from utils import imdb_bert
    from utils.imdb import Review
    from utils.world import World, tasks

    items = tasks.sentiment(World(0), 100, "train")
    reviews = [Review(" ".join(item.words), item.label, str(i)) for i, item in enumerate(items)]
    start = folder.with_name("small-bert")
    if not (start / "model.safetensors").exists():
        torch.manual_seed(0)
        config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)
        BertForSequenceClassification(config).save_pretrained(start)

    class Ticking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            tick(state.global_step)

    made = imdb_bert._trainer

    def trainer(*given: Any) -> tuple[Any, Any]:
        found = made(*given)
        found[0].add_callback(Ticking())
        return found

    imdb_bert.reviews, imdb_bert._trainer = (lambda split: reviews), trainer
    plan = {
        "held_out": 20,
        "rows": 4,
        "length": 24,
        "every": loop.every,
        "epochs": loop.steps / 20,
        "rate": 1e-3,
    }
    found = imdb_bert.train(folder, imdb_bert.Settings(model=str(start), **plan))
    assert found["updates"] == loop.steps, found
    return load_file(folder / "model" / "model.safetensors") | {k: np.array(v) for k, v in found.items()}


def fastai(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`utils.resume.Resume` in fastai's one-cycle training of an AWD-LSTM, with all its dropout."""
    from fastai.text.all import Callback, set_seed

    from utils import lstm
    from utils.resume import Resume
    from utils.world import World

    class Ticking(Callback):
        run_valid = False

        def after_batch(self) -> None:
            tick(self.train_iter)

    texts = [document.words for document in World(0).corpus(loop.every * 8 * 24, "kills")]
    vocabulary = ["xxunk", "xxpad", "xxbos", *sorted({word for text in texts for word in text})]
    set_seed(0)
    shape = {"emb_sz": 12, "n_hid": 16, "n_layers": 2, "drop_mult": 0.5, "rows": 8}
    learner = lstm.learner(texts, vocabulary, shape, width=24)
    epochs = loop.steps // loop.every
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(epochs, 1e-2, cbs=[Resume(folder / "state"), Ticking()])
    return _weights(learner.model) | {"losses": np.array([float(loss) for loss in learner.recorder.losses])}


def span_tf(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`span_tf.train` without dropout: TensorFlow does not show where its random numbers stand."""
    from utils import span_tf, squad
    from utils.bert_tf import Bert, Config

    draw = np.random.default_rng(0)
    windows = []
    for number in range(80):
        ids = draw.integers(10, 40, int(draw.integers(10, 24))).astype(np.int32)
        first, last = sorted(draw.choice(np.arange(3, len(ids) - 1), 2, replace=False).tolist())
        inner = len(ids) - 4
        places = np.stack([np.arange(inner), np.arange(inner) + 1], 1).astype(np.int32)
        windows.append(squad.Window(number, ids, 3, places, np.ones(inner, bool), first, last))
    model = span_tf.SpanModel(Bert(Config(50, 12, 1, 3, 20, 40, 2, 0.0, 0.0)))
    made, labels, begun = span_tf.batches, squad.labels, iter(range(1, loop.steps + 1))

    def batches(*given: Any) -> Iterator[Any]:
        nonlocal position
        for chosen in made(*given):
            position = next(begun)
            yield chosen

    def ticking(chosen: Any) -> np.ndarray:  # not called for what was done before the kill
        tick(position)
        return labels(chosen)

    position, span_tf.batches, squad.labels = 0, batches, ticking
    losses = span_tf.train(
        model, windows, loop.steps // 10, 1e-3, batch=8, resume=folder / "state", every=loop.every
    )
    return {f"weight {i}": value for i, value in enumerate(model.get_weights())} | {
        "losses": np.array(losses)
    }


def sweep(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`Lab.sweep` while recording: each run fine-tunes a small classifier and has two metrics."""
    import torch

    from utils import checkpoints, classification, training
    from utils.evidence import Lab
    from utils.world import World, tasks

    os.environ["COURSE_RECORD"] = "1"
    items = tasks.sentiment(World(0), 64, "train")
    tokenizer, done = checkpoints.load_tokenizer(), 0
    plan = [{"rate": rate, "seed": seed} for rate in (1e-3, 1e-2) for seed in range(loop.steps // 2)]
    csv = folder / "runs" / "lab.csv"

    def run(rate: float, seed: int) -> dict[str, float]:
        nonlocal done
        done = done or (len(csv.read_text().splitlines()) - 1) // 2 if csv.exists() else 0
        torch.manual_seed(seed)
        model = training.gpt(32, 1, len(tokenizer))
        first, second = classification.tuned_accuracy(
            model, tokenizer, items[:32], [items[:32], items[32:]], 3, rate, seed
        )
        done += 1
        tick(done)
        return {"fit": first, "accuracy": second}

    recorded = Lab("lab", folder).sweep("kills", run, plan).recorded
    return {"table": recorded.to_numpy(float), "lines": np.frombuffer(csv.read_bytes(), np.uint8)}


def make_checkpoints(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`tools.make_checkpoints`: the masked model in its two parts and the AWD-LSTM, small, in a folder of their own."""
    import shutil
    from types import SimpleNamespace

    from safetensors.numpy import load_file

    from tools import make_checkpoints as made
    from utils import checkpoints, training

    shutil.copy(checkpoints.FOLDER / "tokenizer.json", folder)
    names = ("load_tokenizer", "load_causal", "load_masked", "load_into", "recipe", "save")
    made.checkpoints = SimpleNamespace(**{n: partial(getattr(checkpoints, n), folder=folder) for n in names})
    made.FOLDER, made.UNFINISHED, made.FINISHED = folder, folder / "unfinished", folder / "finished"
    made.STEPS = {"masked": loop.steps // 2 - 1, made.SENTENCES: loop.steps // 2 - 1}  # and a look at each
    made.SHAPE, made.TOKENS, made.FIRST_SENTENCES = {"layers": 1, "width": 32, "heads": 2}, 400, 20
    made.RECURRENT = {"awd_lstm": made.RECURRENT["awd_lstm"] | {"words": 6000}}
    made.LSTM = made.LSTM | {"emb_sz": 12, "n_hid": 16, "n_layers": 2, "rows": 8}
    made.held_out = lambda world: world.corpus(500, made.HELD_OUT)
    made.measure_masked = lambda *given: tick(before + loop.steps // 2) or {}
    unseen = {
        "bits": lambda *given: [0.0],
        "preferred": lambda *given: 0.0,
    }  # so little text lacks their words
    made.lstm = SimpleNamespace(**vars(made.lstm) | unseen)
    before = 0

    def part(*given: Any, **options: Any) -> list[float]:
        nonlocal before
        before = loop.steps // 2 if options["resume"] == made.state_of(made.SENTENCES) else 0
        options["watch"] = lambda step, _: tick(before + step + 1)
        return training.pretrain(*given, every=loop.every, **options)

    made.training = SimpleNamespace(**vars(training) | {"pretrain": part})
    made.main(["masked", made.SENTENCES, "awd_lstm"])
    found = {}
    for name in ("masked", "awd_lstm"):
        weights = load_file(folder / name / "model.safetensors")
        found |= {f"{name} {key}": value for key, value in weights.items()}
    made.finish()
    parts = checkpoints.recipe("masked", folder)["parts"]
    return found | {"tokens": np.array([part["tokens"] for part in parts])}


def grade(folder: Path, tick: Tick, loop: Loop) -> Arrays:
    """`make grade`: 40 notebooks, graded by a stand-in for the judge that takes a moment and looks at nothing."""
    from tools.assignments import grade, judge

    room = folder / "submissions"
    if not room.exists():
        hand_in_class(folder, loop.steps)

    def judged(submission: Any, source: Any, *_: Any) -> judge.Graded:
        tick(len(list(folder.glob("grades/*/graded/*.json"))) + 1)
        points = [
            judge.Answered(q.name, q.points, int(submission.student[1:]) % 3)
            for q in source.questions.values()
        ]
        return judge.Graded(submission.student, questions=points)

    judge.grade = judged
    target = grade.grade_class(room, folder / "class.yml", "02_analysis", 1)
    table = (target / "results.csv").read_bytes()
    assert table.count(b"\n") == loop.steps + 1, table
    return {"results.csv": np.frombuffer(table, np.uint8)}


def hand_in_class(folder: Path, count: int) -> None:
    """Write class.yml and, in `submissions`, a notebook of each of `count` students, into a folder."""
    from tests.handed_in import SECRET, answers, hand_in
    from tools.assignments.source import Source

    students, source, half = [f"s{i:02}" for i in range(count)], Source("02_analysis"), folder / "half"
    half.mkdir(exist_ok=True)
    for student in students:
        hand_in(half, student, answers(source, student))
    (folder / "class.yml").write_text(json.dumps({"name": "kills", "secret": SECRET, "students": students}))
    half.rename(folder / "submissions")


LOOPS = {
    "pretrain": Loop(pretrain, 100, 5),
    "convai_gpt": Loop(convai_gpt, 73, 5),
    "imdb_bert": Loop(imdb_bert, 100, 5),
    "fastai": Loop(fastai, 96, 8),
    "span_tf": Loop(span_tf, 100, 5),
    "sweep": Loop(sweep, 40, 1),
    "grade": Loop(grade, 40, 1),
    "make_checkpoints": Loop(make_checkpoints, 100, 5),
}


def _weights(model: Any) -> Arrays:
    return {name: value.numpy() for name, value in model.state_dict().items()}


# ---- killing


def fork() -> Any:
    """The context of processes that are forked from one which has imported what the loops need."""
    os.environ.update({"OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TQDM_DISABLE": "1"})
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(MODULES))
    return context


def child(loop: Loop, folder: Path, end: int | None, cut: float | None) -> None:
    """One attempt, in a process group of its own, that is to be killed after `end` steps.

    That comes from outside, and the process waits for it at the step after. Or, with `cut`, it comes from the process
    itself while it next writes a file, of which it leaves that share of the bytes.
    """
    import torch

    os.setpgrp()
    torch.set_num_threads(1)
    seed_everything(os.getpid())  # nothing may depend on what the session before has drawn
    log, reached = os.open(_log(folder), os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o644), 0

    def tick(position: int) -> None:
        nonlocal reached
        reached = position
        os.write(log, b"%d\n" % position)
        time.sleep(LONGEST if end is not None and cut is None and position > end else PAUSE)

    def dying(write: Callable[..., None], part: int) -> Callable[..., None]:
        """`os.replace` before it replaces, or `torch.save` after it has saved; the file is their argument `part`."""

        def last(*given: Any, **options: Any) -> None:
            if write is save:
                write(*given, **options)
            if end is not None and cut is not None and reached >= end:
                os.truncate(given[part], int(cut * os.path.getsize(given[part])))
                os.killpg(os.getpgrp(), signal.SIGKILL)
            if write is not save:
                write(*given, **options)

        return last

    save = torch.save
    torch.save, os.replace = dying(save, 1), dying(os.replace, 0)
    found = loop.run(folder, tick, loop)
    np.savez(_result(folder), **found)


def attempt(context: Any, loop: Loop, folder: Path, end: int | None, writing: bool, random: Random) -> bool:
    """Run the loop until it ends (True), or until it is killed at about `end` steps (False). Raises RuntimeError where
    it ends by itself in any other way."""
    folder.mkdir(exist_ok=True)
    process = context.Process(target=child, args=(loop, folder, end, random.random() if writing else None))
    process.start()
    if end is not None and not writing:
        while process.is_alive() and (not _log(folder).exists() or reached(folder) < end):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 2 * PAUSE))
        with suppress(ProcessLookupError):  # it has no group yet, or has ended
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
    process.join(LONGEST)
    if process.exitcode not in (0, -signal.SIGKILL):
        process.kill()
        raise RuntimeError(
            f"{loop.run.__name__} ended with exit code {process.exitcode}, see what it printed above"
        )
    return process.exitcode == 0


def killed(context: Any, name: str, folder: Path, kills: int, steps: int) -> dict[str, Any]:
    """Kill a loop at random until it has been killed `kills` times, let it end, and compare with an undisturbed run."""
    random, loop = Random(name), replace(LOOPS[name], steps=steps)
    calm, victim = folder / f"{name}-calm", folder / f"{name}-killed"
    if not attempt(context, loop, calm, None, False, random):
        raise RuntimeError(f"{name} was killed by somebody else")
    ends = [*sorted(random.randint(1, steps - 1) for _ in range(kills - 1)), steps]
    ways = [i < round(SHARE_WRITING * kills) - 1 for i in range(kills - 1)]
    random.shuffle(ways)
    ways.append(True)  # the last one while it writes what it has come to
    at, left, strays = [], [], 0
    for end, writing in zip(ends, ways, strict=True):
        if attempt(context, loop, victim, end, writing, random):
            break
        at.append({"share": round(reached(victim) / loop.steps, 3), "writing": writing})
        strays = max(strays, len(left := parts(victim)))
    else:
        for part in left:  # as if the last attempt began an hour later
            os.utime(part, (time.time() - 3600,) * 2)
        if not attempt(context, loop, victim, None, False, random):
            raise RuntimeError(f"{name} was killed by somebody else")
    one, other = (dict(np.load(_result(each), allow_pickle=False)) for each in (calm, victim))
    same = one.keys() == other.keys()
    done = [len(_log(each).read_text().split()) for each in (calm, victim)]
    return {
        "steps": loop.steps, "every": loop.every, "kills": len(at),
        "killed_while_writing": sum(each["writing"] for each in at), "at": at,
        "steps_repeated": done[1] - done[0],
        "arrays": len(one),
        "largest_difference": max((_difference(one[key], other[key]) for key in one), default=0.0) if same else None,
        "most_parts_left_by_a_kill": strays,
        "files_left_at_the_end": sorted(files(victim) ^ files(calm)),
    }  # fmt: skip


def files(folder: Path) -> set[str]:
    """All files below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def parts(folder: Path) -> list[Path]:
    """The parts of files below a folder, which kills have left there."""
    return [path for path in folder.rglob(".*") if path.is_file()]


def reached(folder: Path) -> int:
    """The number of steps done, as the last attempt said."""
    lines = _log(folder).read_text().split()
    return int(lines[-1]) if lines else 0


def _log(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.log")


def _result(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.npz")


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    """The largest absolute difference; infinite where the shapes differ."""
    if one.shape != other.shape:
        return float("inf")
    return float(np.abs(one.astype(float) - other.astype(float)).max()) if one.size else 0.0


def table(result: dict[str, Any]) -> str:
    """Markdown: a line for each loop."""
    lines = [
        "| loop | steps | kept every | kills | while writing | steps repeated | arrays compared | largest difference |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    keys = (
        "steps",
        "every",
        "kills",
        "killed_while_writing",
        "steps_repeated",
        "arrays",
        "largest_difference",
    )
    for name, found in result.items():
        lines.append(f"| {name} | {' | '.join(f'{found[key]:g}' for key in keys)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=KILLS)
    parser.add_argument("--loops", nargs="*", choices=LOOPS, default=list(LOOPS))
    parser.add_argument("--out", type=Path, default=root() / "benchmarks" / "kills.json")
    given = parser.parse_args()
    context = fork()
    for name in given.loops:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            found = killed(context, name, Path(folder), given.kills, LOOPS[name].steps)
        print(f"{name}: {time.perf_counter() - start:.0f} s, {found | {'at': len(found['at'])}}", flush=True)
        before = json.loads(given.out.read_text("utf-8")) if given.out.exists() else {}
        result = dict(sorted((before | {name: found}).items()))
        write_text(given.out, json.dumps(result, indent=1) + "\n")
        write_text(given.out.with_suffix(".md"), table(result))


if __name__ == "__main__":
    main()
