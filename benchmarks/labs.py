"""What each lab takes in `mini`: minutes, memory, and where the time goes (see README.md).

python -m benchmarks.labs                    # about 30 minutes; writes benchmarks/labs.json and labs.md
python -m benchmarks.labs 01_pretraining     # only this one anew
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import where
from benchmarks.machine import Meter
from tools import build_labs
from utils.settings import root

HERE = Path(__file__).parent
GIB = 2**30
START = "Setup and imports"  # the cells before a lab's first section
# What a kernel runs first, in the lab's own namespace, where it must leave nothing but a module.
LOOK = """\
import importlib.util as where_util, sys as where_sys
where_spec = where_util.spec_from_file_location("where_the_time_goes", {path!r})
where_sys.modules[where_spec.name] = where_util.module_from_spec(where_spec)
where_spec.loader.exec_module(where_sys.modules[where_spec.name])
"""


def measure(source: Path) -> dict[str, Any]:
    """Run a lab in a kernel of its own, as `make labs` does; nothing is written.

    Seconds by the wall and of computing, peak bytes, computing seconds of each section, of the slowest cells (by their
    first line), and by kind of work (`where.KINDS`). Raises what `build_labs.execute` raises.
    """
    notebook = build_labs.planned(source)
    sections: Counter[str] = Counter()
    cells: list[tuple[float, str]] = []
    section = START
    titles = []
    for cell in notebook.cells:
        found = re.search(r"^## (.+)", cell.source, re.M) if cell.cell_type == "markdown" else None
        section = found[1] if found else section
        titles.append(section)
    before: dict[int, float] = {}
    with TemporaryDirectory() as folder, Meter() as meter:
        startup = Path(folder) / "profile_default" / "startup" / "look.py"
        startup.parent.mkdir(parents=True)
        startup.write_text(LOOK.format(path=where.__file__), "utf-8")
        parts = Path(folder) / "parts.json"

        def starts(cell: Any, cell_index: int) -> None:
            before[cell_index] = meter.core_seconds()

        def ends(cell: Any, cell_index: int, **_: Any) -> None:
            if cell_index in before:
                spent = meter.core_seconds() - before[cell_index]
                sections[titles[cell_index]] += spent
                cells.append((spent, cell.source.splitlines()[0]))

        kept = dict(os.environ)
        os.environ |= {"IPYTHONDIR": folder, "PARTS_FILE": str(parts)}
        clock = time.perf_counter()
        try:
            build_labs.execute(notebook, source.parent, on_cell_execute=starts, on_cell_executed=ends)
        finally:
            os.environ.clear()
            os.environ.update(kept)
        seconds = time.perf_counter() - clock
        kinds = Counter(json.loads(parts.read_text("utf-8")))
    total = sum(kinds.values())
    return {
        "seconds": round(seconds, 1),
        "core_seconds": round(sum(sections.values()), 1),
        "peak_bytes": meter.peak,
        "parts": {name: round(kinds[name] / total, 3) for name in sorted(kinds)},
        "sections": {title: round(spent, 1) for title, spent in sections.items()},
        "slowest_cells": [[first, round(spent, 1)] for spent, first in sorted(cells, reverse=True)[:5]],
    }


def about(source: Path) -> tuple[str, str]:
    """A lab's number, and what it downloads in `full`, as its first cell says."""
    text = source.read_text("utf-8")
    number = re.search(r"^# # Lab (\w+):", text, re.M)[1]
    download = re.search(r"^# \| download \|.*\(`mini`\); (.+) \|$", text, re.M)[1]
    return number, re.sub(r"\(`full`[:,] ", "(", download).replace(" (`full`)", "")


def table(labs: dict[str, dict[str, Any]]) -> str:
    """Markdown: a line for each lab and one for all; links as from a folder beside `labs/`."""
    lines = [
        "| lab | minutes | core minutes | peak GiB | where the core minutes go | longest section | `full` downloads |",
        "|---|---:|---:|---:|---|---|---|",
    ]
    for name, found in sorted(labs.items()):
        number, download = about(root() / "labs" / f"{name}.py")
        parts = sorted(found["parts"].items(), key=lambda item: -item[1])
        parts = ", ".join(f"{kind} {100 * share:.0f}\u00a0%" for kind, share in parts if share >= 0.05)
        longest, spent = max(found["sections"].items(), key=lambda item: item[1])
        cost = f"{found['seconds'] / 60:.1f} | {found['core_seconds'] / 60:.1f} | {found['peak_bytes'] / GIB:.1f}"
        lines.append(
            f"| [Lab\u00a0{number}](../labs/{name}.ipynb) | {cost} | {parts} | "
            f"{longest}, {100 * spent / found['core_seconds']:.0f}\u00a0% | {download} |"
        )
    clock, total = (sum(found[key] for found in labs.values()) / 60 for key in ("seconds", "core_seconds"))
    peak = max(found["peak_bytes"] for found in labs.values()) / GIB
    lines.append(f"| all | {clock:.1f} | {total:.1f} | {peak:.1f} | | | |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the labs, one after the other.")
    parser.add_argument("labs", nargs="*", help="only these, the others stay as recorded")
    parser.add_argument(
        "--out", type=Path, default=HERE / "labs.json", help="result file; the table is beside it"
    )
    options = parser.parse_args(arguments)
    labs = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
    for source in build_labs.sources(options.labs):
        labs[source.stem] = found = measure(source)
        options.out.write_text(
            json.dumps(dict(sorted(labs.items())), indent=1, ensure_ascii=False) + "\n", "utf-8"
        )
        options.out.with_suffix(".md").write_text(table(labs), "utf-8")
        print(
            f"{source.stem}: {found['seconds']:.0f} s, {found['core_seconds']:.0f} core seconds, "
            f"{found['peak_bytes'] / GIB:.2f} GiB, {found['parts']}",
            flush=True,
        )


if __name__ == "__main__":
    main()
