"""Every loader of the full profile under every fault of a server, a disk, an archive and a process.

Writes benchmarks/faults.json and faults.md after each loader and skips those that it holds; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.standin.files import content
from tests.standin.loaders import LOADERS, Loader
from tests.standin.server import Fault
from tests.standin.trials import Lab, Outcome, evil_archives, faults, limits
from utils.downloads import read_json, write_text
from utils.settings import progress, root

KILLS = 12  # of each loader, half of them at a random line, half at a random time
COUNTS = ("tried", "refused", "right_after", "wrong", "other_problems")


def trials(lab: Lab, loader: Loader, random: Random, kills: int) -> Iterator[tuple[str, Outcome]]:
    """Kind and outcome of each trial of a loader."""
    for name in loader.sources:
        body, file = content(name), lab.file(name)
        for kind, some in faults(body, random).items():
            for fault in some:
                yield kind, lab.fault(loader, name, fault)
        for kind, bodies in evil_archives(file, body).items() if lab.is_archive(name) else ():
            for evil in bodies:
                yield kind, lab.evil(loader, name, evil)
        for limit in limits(file, body):
            yield "disk full", lab.full_disk(loader, name, limit)
    for fault in (Fault("slow", seconds=0.1), *(Fault(way, times=1) for way in ("cut in chunks", "silent"))):
        for outcome in lab.two(loader, fault):
            yield "two at once", outcome
    for number in range(kills):
        outcome, died = lab.killed(loader, random, by_line=number % 2 == 0)
        yield "killed" if died else "killed too late", outcome


def measure(loader: Loader, kills: int = KILLS) -> dict[str, Any]:
    """The counts of a loader by kind of fault, and what was not as it should be."""
    counts: dict[str, dict[str, int]] = {}
    problems = []
    with Lab([loader]) as lab:
        for kind, outcome in trials(lab, loader, Random(loader.name), kills):
            others = bool(outcome.problems) and not outcome.wrong
            found = (1, outcome.clean_error, outcome.right_after, outcome.wrong, others)
            row = counts.setdefault(kind, dict.fromkeys(COUNTS, 0))
            for count, more in zip(COUNTS, found, strict=True):
                row[count] += more
            problems += [f"{kind}: {problem}" for problem in outcome.problems]
    return {"counts": counts, "problems": problems}


def total(result: dict[str, Any]) -> dict[str, dict[str, int]]:
    """The counts of all loaders together."""
    found: dict[str, dict[str, int]] = {}
    for loader in result.values():
        for kind, row in loader["counts"].items():
            sums = found.setdefault(kind, dict.fromkeys(COUNTS, 0))
            for count, more in row.items():
                sums[count] += more
    return found


def table(result: dict[str, Any]) -> str:
    """Markdown: a line for each kind of fault, and how many loaders and files met it."""
    lines = ["| fault | tried | refused | right after | wrong |", "|---|---:|---:|---:|---:|"]
    for kind, row in result["total"].items():
        counts = (f"{row[count]:,}" for count in ("tried", "refused", "right_after", "wrong"))
        lines.append(f"| {kind} | {' | '.join(counts)} |")
    files = {
        name: loader.sources for loader in LOADERS for name in [loader.name] if name in result["loaders"]
    }
    met = f"{len(files)} of {len(LOADERS)} loaders, with {sum(map(len, files.values()))} files."
    return "\n".join([*lines, "", met]) + "\n"


def main() -> None:
    """Run the loaders that the file lacks, those that need torch or TensorFlow last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loaders", nargs="*", default=[""], help="begins of names")
    parser.add_argument("--out", type=Path, default=root() / "benchmarks" / "faults.json")
    arguments = parser.parse_args()
    chosen = [loader for loader in LOADERS if loader.name.startswith(tuple(arguments.loaders))]
    for loader in progress(sorted(chosen, key=lambda loader: loader.heavy), "loaders"):
        done = read_json(arguments.out)["loaders"] if arguments.out.exists() else {}
        if loader.name not in done:
            done[loader.name] = measure(loader)
            found = {"python": platform.python_version(), "total": total(done), "loaders": done}
            write_text(arguments.out, json.dumps(found, indent=1) + "\n")
            write_text(arguments.out.with_suffix(".md"), table(found))
    for kind, row in sorted(total(read_json(arguments.out)["loaders"]).items()):
        print(f"{kind:16}", *(f"{row[count]:5} {count}" for count in COUNTS))


if __name__ == "__main__":
    main()
