"""All benchmarks but the pages in a browser, one after the other, and the table of speeds (see README.md).

python -m benchmarks                         # about an hour; writes benchmarks/*.json, labs.md and speed.md
python -m benchmarks trainers book           # only these anew
python -m benchmarks --table                 # only the table, from what is recorded
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NAMES = ("labs", "trainers", "probes", "squad_training", "tokenization", "book")
WAYS = {  # how the table calls the ways of trainers.json and probes.json
    ("language model", "course"): "`utils.training.pretrain`",
    ("language model", "Trainer"): "`Trainer` of transformers",
    ("language model", "fastai"): "`Learner.fit` of fastai",
    ("span classifier", "course"): "`utils.span_tf.train`",
    ("span classifier", "Keras fit"): "`fit` of Keras",
    ("probes", "course"): "`utils.probing.linear_probes`",
    ("probes", "SentEval"): "one trained by gradients for each, as SentEval does",
    ("probes", "contextual-repr-analysis"): "the same, as contextual-repr-analysis does",
}


def table(found: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line for each way of training, probing, tokenizing and building, from the results by name."""
    rows = []
    for part in ("language model", "span classifier"):
        result = found["trainers"][part]
        what = f"training a {part}, {result['parameters'] / 1e6:.1f} million weights"
        for way, one in result["ways"].items():
            speed = f"{one['tokens_per_core_second']:,} tokens per core second"
            rows.append((what, WAYS[part, way], speed, f"{one['times_the_course'][1]:.2f}"))
    for way, one in found["probes"]["methods"].items():
        speed = f"{one['core_seconds']:.0f} core seconds"
        what = f"probing {len(found['probes']['layers'])} layers for eight properties"
        rows.append((what, WAYS["probes", way], speed, f"{one['times_the_course'][1]:.1f}"))
    for one in found["tokenization"]["ways"].values():
        rows.append(("tokens", one["what"], f"{one['tokens_per_core_second']:,} tokens per core second", ""))
    book = found["book"]
    speed = f"{book['core_seconds']:.0f} core seconds, {book['peak_bytes'] / 2**30:.1f} GiB"
    rows.append(("this book", f"`make book`, {book['pages']} pages", speed, ""))
    lines = ["| what | how | speed | times the course's |", "|---|---|---:|---:|"]
    before = ""
    for what, *rest in rows:
        lines.append(f"| {what if what != before else ''} | {' | '.join(rest)} |")
        before = what
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Measure the speed of the course.")
    parser.add_argument(
        "names", nargs="*", choices=[*NAMES, []], metavar="name", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument("--table", action="store_true", help="measure nothing, write the table anew")
    options = parser.parse_args(arguments)
    for name in () if options.table else options.names or NAMES:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
    found = {
        name: json.loads((HERE / f"{name}.json").read_text("utf-8"))
        for name in ("trainers", "probes", "tokenization", "book")
    }
    (HERE / "speed.md").write_text(table(found), "utf-8")


if __name__ == "__main__":
    main()
