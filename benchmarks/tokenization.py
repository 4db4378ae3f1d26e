"""Tokens per second of the tokenizers as the labs use them (see README.md).

python -m benchmarks.tokenization            # about a minute; writes benchmarks/tokenization.json
python -m benchmarks.tokenization --texts 100 --out small.json
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from functools import cache
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import processor
from utils import checkpoints, minilm, squad, training
from utils.world import World, tasks

ROUNDS = 5


def course(texts: Sequence[str]) -> int:
    return sum(map(len, training.encode(checkpoints.load_tokenizer(), texts)))


def word_pieces(texts: Sequence[str]) -> int:
    return sum(map(len, minilm.tokenizer()(list(texts), add_special_tokens=False)["input_ids"]))


def one_by_one(texts: Sequence[str]) -> int:
    tokenizer = minilm.tokenizer()
    return sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)


def fastai(texts: Sequence[str]) -> int:
    from fastai.text.all import SpacyTokenizer, Tokenizer

    return sum(map(len, map(Tokenizer(SpacyTokenizer()), texts)))


@cache
def asked(count: int) -> list[squad.Example]:
    """Questions on paragraphs of the course world."""
    return squad.parse(tasks.qa(World(0), count, "train", "tokenization"))


def windows(texts: Sequence[str]) -> int:
    """Questions on paragraphs, one for four texts."""
    found = squad.windows(asked(len(texts) // 4), minilm.tokenizer())
    return sum(len(window.input_ids) for window in found)


WAYS: dict[str, tuple[str, Callable[[Sequence[str]], int]]] = {
    "course": ("the course's byte pairs, all texts at once: `training.encode` (Labs 1 to 3, 5)", course),
    "word pieces": ("BERT's word pieces, all texts at once (Labs 2, 4d)", word_pieces),
    "one by one": ("BERT's word pieces, one text after the other", one_by_one),
    "windows": ("BERT's word pieces with offsets, cut into windows: `squad.windows` (Lab 4b)", windows),
    "fastai": ("fastai's rules and spaCy (Lab 4a)", fastai),
}


def measure(count: int) -> dict[str, Any]:
    """Each way on the first `count` documents of the course world; the median of five rounds in turns."""
    texts = [document.text for document in islice(World(0).documents("tokenization"), count)]
    clocks: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    tokens = {name: way(texts[:10]) for name, (_, way) in WAYS.items()}  # loads what is loaded once
    for _ in range(ROUNDS):
        for name, (_, way) in WAYS.items():
            wall, cpu = time.perf_counter(), time.process_time()
            tokens[name] = way(texts)
            clocks[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    found = {}
    for name, (what, _) in WAYS.items():
        wall, cpu = np.median(clocks[name], 0)
        found[name] = {
            "what": what,
            "tokens": tokens[name],
            "tokens_per_second": round(tokens[name] / wall),
            "tokens_per_core_second": round(tokens[name] / cpu),
        }
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the tokenizers.")
    parser.add_argument("--texts", type=int, default=2000, help="documents to read (2,000)")
    out = Path(__file__).with_name("tokenization.json")
    parser.add_argument("--out", type=Path, default=out, help="result file")
    options = parser.parse_args(arguments)
    result = {
        "processor": processor(),
        "texts": options.texts,
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("tokenizers", "transformers", "fastai", "spacy")},
        "ways": measure(options.texts),
    }
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for name, found in result["ways"].items():
        print(f"{name}: {found['tokens_per_core_second']} tokens per core second")


if __name__ == "__main__":
    main()
