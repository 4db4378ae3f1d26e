"""All layer-wise linear probes of MiniLM: `utils.probing.linear_probes` beside the usual way (see README.md).

python -m benchmarks.probes            # about 20 minutes on two cores; writes benchmarks/probes.json
python -m benchmarks.probes --words 2000 --out small.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import Linear
from torch.nn.functional import cross_entropy

from utils import minilm, probing, settings, treebank
from utils.world import World, tasks

THREADS = 2
METHODS = ("course", "SentEval", "contextual-repr-analysis")


@dataclass(frozen=True)
class Split:
    """The words of one task that are fitted, held out for validation and tested."""

    x: list[torch.Tensor]  # states of the three sides
    y: list[torch.Tensor]  # labels of the three sides
    sentence: np.ndarray  # of each fitted word


def sentences(words: int) -> tuple[str, list[Any]]:
    """What is read, and sentences of at least `words` words: UD English EWT of COURSE_DATA, else the course world's."""
    if settings.data_dir():
        name, pool = "UD English EWT 2.16, train", treebank.ewt("train")
        chosen = [pool[i] for i in np.random.default_rng(0).permutation(len(pool))]
    else:
        name, chosen = "the course world", tasks.tagging(World(0), words // 4, "probe benchmark")
    chosen = [sentence for sentence in chosen if 4 <= len(sentence.words) <= 60]
    enough = int(np.searchsorted(np.cumsum([len(s.words) for s in chosen]), words)) + 1
    return name, chosen[:enough]


def labels(chosen: Sequence[Any]) -> dict[str, np.ndarray]:
    """Eight tasks: what each word is, and where it stands in its sentence and its tree."""
    found: dict[str, list[str | None]] = {
        name: []
        for name in ("tag", "parent", "grandparent", "depth", "distance", "position", "previous", "number")
    }
    for sentence in chosen:
        tags, heads = [*sentence.pos, "ROOT"], [*sentence.heads, -1]  # the last entry stands at index -1
        for i in range(len(sentence.words)):
            up, depth = i, -1
            while up >= 0:
                up, depth = heads[up], depth + 1
            found["tag"].append(tags[i])
            found["parent"].append(tags[heads[i]])
            found["grandparent"].append(tags[heads[heads[i]]])
            found["depth"].append(f"{min(depth, 6)}")
            found["distance"].append("root" if heads[i] < 0 else f"{np.clip(heads[i] - i, -4, 4):+d}")
            found["position"].append(f"{min(i // 3, 6)}")
            found["previous"].append(tags[i - 1] if i else "START")
            found["number"].append(_number(sentence, i))
    numbered = {}
    for task, names in found.items():
        index = {name: i for i, name in enumerate(sorted({name for name in names if name}))}
        numbered[task] = np.array([index[name] if name else probing.SKIP for name in names])
    return numbered


def _number(sentence: Any, i: int) -> str | None:
    if isinstance(sentence, treebank.Sentence):
        return sentence.features[i].get("Number")
    return sentence.numbers[i] or None


def trained_probe(
    split: Split,
    unit: np.ndarray,
    rows: int,
    decay: float,
    every: int,
    longest: int,
    give_up: Callable[[int, int], bool],
) -> tuple[float, float]:
    """One `nn.Linear` trained by Adam with early stopping: best validation accuracy, and the test accuracy there.

    A batch holds the words of `rows` units (`unit`: of each word). Validation comes after each `every` epochs, at most
    `longest` in all; `give_up(failures, failures since the best)` ends it.
    """
    torch.manual_seed(1111)
    random = np.random.default_rng(1111)
    x, y = split.x[0], split.y[0]
    probe = Linear(x.shape[1], 1 + max(int(side.max()) for side in split.y))
    optimizer = torch.optim.Adam(probe.parameters(), weight_decay=decay)
    best, kept, failures, since = -1.0, 0.0, 0, 0
    for epoch in range(1, longest + 1):
        place = random.permutation(int(unit.max()) + 1)[unit]
        order = np.argsort(place, kind="stable")
        cuts = np.flatnonzero(np.diff(place[order] // rows)) + 1
        for batch in np.split(order, cuts):
            batch = torch.from_numpy(batch)
            loss = cross_entropy(probe(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch % every == 0:
            with torch.no_grad():
                valid, test = (
                    float((probe(split.x[k]).argmax(1) == split.y[k]).float().mean()) for k in (1, 2)
                )
            if valid > best:
                best, kept, since = valid, test, 0
            else:
                failures, since = failures + 1, since + 1
                if give_up(failures, since):
                    break
    return best, kept


def senteval(split: Split) -> float:
    """SentEval's classifier: batches of 64 words, four weight decays, validation after every 4 epochs."""
    unit = np.arange(len(split.x[0]))
    found = [
        trained_probe(split, unit, 64, 10.0**power, 4, 200, lambda failures, since: failures > 5)
        for power in range(-5, -1)
    ]
    return max(found, key=lambda pair: pair[0])[1]


def contextual(split: Split) -> float:
    """The probe of contextual-repr-analysis: batches of 80 sentences, 50 epochs at most, patience 3."""
    unit = np.unique(split.sentence, return_inverse=True)[1]
    return trained_probe(split, unit, 80, 0.0, 1, 50, lambda failures, since: since >= 3)[1]


def course(state: np.ndarray, targets: dict[str, np.ndarray], sides: np.ndarray) -> dict[str, float]:
    """Test accuracy of the course's probes, all tasks on one layer together."""
    fitted = {task: found[sides < 2] for task, found in targets.items()}
    probes = probing.linear_probes(state[sides < 2], fitted, sides[sides < 2] == 1)
    return {
        task: probes[task].accuracy(state[sides == 2], found[sides == 2]) for task, found in targets.items()
    }


def measure(words: int, layers: Sequence[int] | None = None) -> Iterator[dict[str, Any]]:
    """Time and accuracy of each method, one layer after the other in turns; yields the result so far after each.

    The course's probes use `THREADS` threads. The usual way runs on one, on which its small batches are fastest.
    """
    settings.threads(THREADS)
    text, chosen = sentences(words)
    encoder = probing.transformer("MiniLM", *minilm.load())
    start = time.perf_counter()
    states = probing.word_states(encoder, [sentence.words for sentence in chosen])
    extraction = time.perf_counter() - start
    targets = labels(chosen)
    sentence = probing.sentence_ids([s.words for s in chosen])
    sides = (
        np.random.default_rng(1).permutation(np.arange(len(chosen)) % 5)[sentence].clip(2) - 2
    )  # 3 : 1 : 1
    probing.linear_probes(states[0, :200], {"tag": targets["tag"][:200]}, np.arange(200) % 4 == 0)  # warm up
    clocks = {method: np.zeros(2) for method in METHODS}
    accuracy: dict[str, dict[str, list[float]]] = {m: {task: [] for task in targets} for m in METHODS}
    done = []
    for number in range(len(states)) if layers is None else layers:
        state = probing.layer(states, number)
        for method in METHODS:
            settings.threads(THREADS if method == "course" else 1)
            before = _clock()
            if method == "course":
                reached = course(state, targets, sides)
            else:
                train = senteval if method == "SentEval" else contextual
                reached = {
                    task: train(_split(state, found, sides, sentence)) for task, found in targets.items()
                }
            clocks[method] += _clock() - before
            for task, value in reached.items():
                accuracy[method][task].append(value)
        done.append(number)
        yield {
            "text": text,
            "words": [int((sides == k).sum()) for k in range(3)],
            "layers": done,
            "threads": {"course": THREADS, "usual": 1},
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "extraction_seconds": round(extraction, 2),
            "methods": {
                m: _summary(clocks[m], accuracy[m], clocks["course"], accuracy["course"]) for m in METHODS
            },
        }


def _split(state: np.ndarray, found: np.ndarray, sides: np.ndarray, sentence: np.ndarray) -> Split:
    chosen = [(sides == k) & (found != probing.SKIP) for k in range(3)]
    x, y = ([torch.from_numpy(array[side]) for side in chosen] for array in (state, found))
    return Split(x, y, sentence[chosen[0]])


def _clock() -> np.ndarray:
    return np.array([time.perf_counter(), time.process_time()])


def _summary(
    clock: np.ndarray, accuracy: dict[str, list[float]], base: np.ndarray, course: dict[str, list[float]]
) -> dict[str, Any]:
    """What one method took and reached, beside the course's; accuracies in percent, means over layers."""
    mean = {task: 100 * float(np.mean(found)) for task, found in accuracy.items()}
    ahead = {task: 100 * float(np.mean(course[task])) - value for task, value in mean.items()}
    worst = min(ahead, key=lambda task: ahead[task])
    return {
        "seconds": round(float(clock[0]), 2),
        "core_seconds": round(float(clock[1]), 2),
        "times_the_course": [round(float(value), 1) for value in clock / base],
        "accuracy": round(float(np.mean(list(mean.values()))), 2),
        "course_ahead_by": round(float(np.mean(list(ahead.values()))), 2),
        "course_worst_task": [worst, round(ahead[worst], 2)],
        "accuracy_by_task": {task: round(value, 2) for task, value in mean.items()},
        "accuracy_by_layer": {task: [round(100 * a, 2) for a in found] for task, found in accuracy.items()},
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time all layer-wise linear probes of MiniLM.")
    parser.add_argument("--words", type=int, default=20_000, help="words to read (20,000)")
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).with_name("probes.json"), help="result file"
    )
    options = parser.parse_args(arguments)
    for result in measure(options.words):
        options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        seconds = (f"{method} {found['seconds']:.1f} s" for method, found in result["methods"].items())
        print(f"layer {result['layers'][-1]}, in all: {', '.join(seconds)}", flush=True)
    for method, found in result["methods"].items():
        print(
            f"{method:25} {found['seconds']:8.1f} s  {found['times_the_course'][0]:6.1f} times  "
            f"accuracy {found['accuracy']:.2f} %"
        )


if __name__ == "__main__":
    main()
