"""Does a lab give the same numbers again: from a fresh kernel, with each cell run twice, with other threads?

python -m benchmarks.repeatability                 # writes benchmarks/repeatability.json, repeatability.md
python -m benchmarks.repeatability 04d_tagging_minilm_pytorch

See README.md. Each run is kept in `_build/repeatability`, so that a stopped one goes on where it was.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import nbformat
from IPython import get_ipython
from nbformat import NotebookNode

from tools import build_labs
from utils import evidence
from utils.errors import CourseError
from utils.settings import root

RUNS = ("cells", "twice", "once", "threads")
RESULT = root() / "benchmarks" / "repeatability.json"
KEPT = root() / "_build" / "repeatability"
THREADS = 2  # of the runs that must be equal; torch has as many as the lab says
VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
# What a second run of a cell may change: lab -> a piece of the cell -> why.
EXCUSED = {
    "01_pretraining": {"tokens a second on this machine": "it shows how fast the machine is"},
    "05_open_problems": {"size_times = lab.sweep(": "it shows how fast the machine is"},
}


def watch(log: str, threads: int, live: bool) -> None:
    """In a kernel: write to `log` what each `Lab` sweeps, checks and records; give torch `threads`, if any.

    Without `live` the runs of a sweep are read from the recorded ones. A line holds how many cells have run since, the
    kind, what was measured, and its values.
    """
    begun: list[Any] = []
    get_ipython().events.register("pre_run_cell", begun.append)
    sweep, check, record = evidence.Lab.sweep, evidence.Lab.check, evidence.Lab.record
    interval = evidence.prediction_interval

    def note(kind: str, name: str, values: Any) -> None:
        with open(log, "a", encoding="utf-8") as file:
            file.write(json.dumps([len(begun), kind, name, values], default=float) + "\n")

    def watched_sweep(self, *args, **kwargs):
        found = sweep(self, *args, **kwargs)
        note("sweep", found.experiment, found.live.to_dict("records"))
        return found

    def watched_check(self, sweep, metric, by, slack=evidence.TOLERANCE):
        bands = []
        evidence.prediction_interval = lambda *args: bands.append(interval(*args)) or bands[-1]
        try:
            check(self, sweep, metric, by, slack)
        finally:
            evidence.prediction_interval = interval
        live = sweep.live.dropna(subset=metric)[metric]
        widths = [band.high - band.low + 2 * slack * max(1.0, abs(band.estimate)) for band in bands]
        note("check", f"{metric} of {sweep.experiment}", list(zip(live, widths, strict=True)))

    def watched_record(self, **row):
        found = record(self, **row)
        numbers = row["interval"]
        note("record", row["id"], [numbers.estimate, numbers.low, numbers.high, row["seeds"], found])
        return found

    evidence.Lab.sweep, evidence.Lab.check, evidence.Lab.record = watched_sweep, watched_check, watched_record
    if not live:
        evidence.Lab._run_all = lambda self, experiment, run, settings: self._recorded(experiment, settings)
    if threads:
        import torch

        give = torch.set_num_threads
        torch.set_num_threads = lambda n: give(threads)
        give(threads)


def code_cells(source: Path) -> list[NotebookNode]:
    """The cells of a lab that hold code."""
    return [
        cell for cell in build_labs.planned(source).cells if cell.cell_type == "code" and cell.source.strip()
    ]


def torch_threads(source: Path) -> int:
    """How many threads a lab gives torch."""
    found = re.search(
        r"^(?:settings\.threads|torch\.set_num_threads)\((\d)\)", source.read_text("utf-8"), re.M
    )
    if not found:
        raise CourseError(f"{source} does not say how many threads torch has: call settings.threads.")
    return int(found[1])


def shown(outputs: list[NotebookNode]) -> list[list[str]]:
    """What a cell shows, without the parts that number executions; a picture becomes its hash."""
    texts: list[list[str]] = []
    for output in outputs:
        if output.output_type == "stream":
            if texts and texts[-1][0] == output.name:
                texts[-1][1] += output.text
            else:
                texts.append([output.name, output.text])
        elif output.output_type == "error":
            texts.append(["error", f"{output.ename}: {output.evalue}"])
        else:
            for kind, data in sorted(output.data.items()):
                picture = kind.startswith("image/")
                texts.append([kind, hashlib.sha256(data.encode()).hexdigest() if picture else str(data)])
    return texts


def run(source: Path, times: int = 1, threads: int = 0, live: bool = True) -> dict[str, Any]:
    """Run a lab from a fresh kernel, each cell so many times in a row: for each execution what it showed and measured.

    `threads` (0: two, and for torch what the lab says) goes for torch, OpenMP, BLAS and TensorFlow. Raises CourseError
    when a cell fails in a run of once.
    """
    cells = code_cells(source)
    KEPT.mkdir(parents=True, exist_ok=True)
    log = KEPT / f"{source.stem}-{os.getpid()}.jsonl"
    begin = f"import sys\nsys.path.insert(0, {str(root())!r})\n"
    begin += f"from benchmarks.repeatability import watch\nwatch({str(log)!r}, {threads}, {live})"
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(begin)])
    for cell in cells:
        for _ in range(times):
            copy = nbformat.v4.new_code_cell(cell.source, metadata=cell.metadata)
            if times > 1:  # go on, so that one failing cell does not hide the others
                copy.metadata["tags"] = ["raises-exception"]
            notebook.cells.append(copy)
    os.environ.update(dict.fromkeys(VARIABLES, str(threads or THREADS)))
    log.write_text("", "utf-8")
    start = time.perf_counter()
    build_labs.execute(notebook, source.parent)
    minutes = (time.perf_counter() - start) / 60
    executions = [{"shown": shown(cell.outputs), "measured": []} for cell in notebook.cells[1:]]
    for line in log.read_text("utf-8").splitlines():
        count, *measured = json.loads(line)
        executions[count - 1]["measured"].append(measured)
    log.unlink()
    return {"minutes": minutes, "executions": [executions[i::times] for i in range(times)]}


def kept_run(source: Path, name: str) -> dict[str, Any]:
    """One of RUNS, from `_build/repeatability` if the lab's code has not changed since."""
    code = hashlib.sha256("\0".join(cell.source for cell in code_cells(source)).encode()).hexdigest()
    path = KEPT / f"{source.stem}-{name}.json"
    if path.is_file():
        kept = json.loads(path.read_text("utf-8"))
        if kept["code"] == code:
            return kept
    other = 3 - torch_threads(source) if name == "threads" else 0
    times = 2 if name in ("cells", "twice") else 1
    found = {"code": code, **run(source, times, other, live=name != "cells")}
    path.write_text(json.dumps(found), "utf-8")
    return found


def title(cell: NotebookNode) -> str:
    """The first line of a cell that is no import."""
    lines = [
        line for line in cell.source.splitlines() if line.strip() and not line.startswith(("@", "import "))
    ]
    return (lines or cell.source.splitlines())[0][:80]


def differs(cell: NotebookNode, first: dict[str, Any], second: dict[str, Any]) -> bool:
    """True if a cell's second execution shows something else than its first, measures another value, or fails.

    It may measure less, when a function remembers what it has returned.
    """
    may_fail = "raises-exception" in cell.metadata.get("tags", [])
    failed = any(kind == "error" for kind, _ in second["shown"]) and not may_fail
    return (
        failed
        or first["shown"] != second["shown"]
        or any(m not in first["measured"] for m in second["measured"])
    )


def checked(executions: list[dict]) -> list[tuple[str, float, float]]:
    """All values that were held against a prediction interval: name, value and width of the interval."""
    return [
        (name, value, width)
        for execution in executions
        for kind, name, values in execution["measured"]
        if kind == "check"
        for value, width in values
    ]


def compare(source: Path, runs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The row of a lab in `repeatability.json`, as README.md describes it, from the RUNS that there are.

    Raises CourseError when a cell differs that is not excused, or fails where it should not.
    """
    cells = code_cells(source)
    names = [f"cell {i} ({title(cell)})" for i, cell in enumerate(cells, 1)]
    excuses = EXCUSED.get(source.stem, {})
    excused = [next((why for piece, why in excuses.items() if piece in cell.source), "") for cell in cells]
    first, second = runs["twice" if "twice" in runs else "cells"]["executions"]

    def unlike(wrong: list[bool]) -> dict[str, str]:
        found = {name: why for name, why, bad in zip(names, excused, wrong, strict=True) if bad}
        if bad := [name for name, why in found.items() if not why]:
            raise CourseError(f"{source.name} does not repeat itself in {len(bad)} cells: {', '.join(bad)}.")
        return found

    row: dict[str, Any] = {
        "lab": source.stem,
        "minutes": {name: round(run["minutes"], 1) for name, run in runs.items()},
        "cells": len(cells),
        "outputs": sum(len(execution["shown"]) for execution in first),
        "live_values": sum(len(values) for e in first for _, _, values in e["measured"]),
        "differ_the_second_time": unlike(
            [differs(*three) for three in zip(cells, first, second, strict=True)]
        ),
    }
    if "once" in runs:
        (alone,) = runs["once"]["executions"]
        row["differ_in_a_fresh_kernel"] = unlike([a != b for a, b in zip(first, alone, strict=True)])
    if "threads" in runs:
        (other,) = runs["threads"]["executions"]
        pairs = zip(checked(first), checked(other), strict=True)
        moved = sorted((abs(a - b) / width, name) for (name, a, width), (_, b, _) in pairs)
        row["other_threads"] = {
            "torch_threads": [torch_threads(source), 3 - torch_threads(source)],
            "cells_that_show_the_same": sum(
                a["shown"] == b["shown"] for a, b in zip(first, other, strict=True)
            ),
            "checked_values": len(moved),
            "largest_difference": round(moved[-1][0], 4),  # in widths of the prediction interval
            "of": moved[-1][1],
        }
    return row


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a line for each lab, with those that are not recorded."""
    lines = [
        "| lab | cells | outputs | live values | runs | differ the second time | in a fresh kernel "
        "| furthest with other threads |",
        "|---|---:|---:|---:|---|---:|---:|---:|",
    ]
    recorded = {row["lab"]: row for row in rows}
    for lab in sorted(path.stem for path in (root() / "labs").glob("*.py")):
        if lab not in recorded:
            lines.append(f"| {lab} | | | | none | | | |")
            continue
        row = recorded[lab]
        counts = (f"{row[key]:,}" for key in ("cells", "outputs", "live_values"))
        fresh, other = row.get("differ_in_a_fresh_kernel"), row.get("other_threads")
        lines.append(
            f"| {lab} | {' | '.join(counts)} | {', '.join(row['minutes'])} | {len(row['differ_the_second_time'])} | "
            f"{'' if fresh is None else len(fresh)} | {other['largest_difference'] if other else ''} |"
        )
    return "\n".join(lines) + "\n"


def save(row: dict[str, Any]) -> None:
    """Put the row of a lab in the place of its old one, and write the table."""
    rows = json.loads(RESULT.read_text("utf-8")) if RESULT.exists() else []
    rows = sorted([old for old in rows if old["lab"] != row["lab"]] + [row], key=lambda row: row["lab"])
    RESULT.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")
    RESULT.with_suffix(".md").write_text(table(rows), "utf-8")


def main() -> None:
    """Command line: [LAB ...]."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("labs", nargs="*")
    given = parser.parse_args()
    try:
        done: dict[Path, dict[str, Any]] = {source: {} for source in build_labs.sources(given.labs)}
        for name in RUNS:
            for source, runs in done.items():
                runs[name] = kept_run(source, name)
                print(f"{source.stem}, {name}: {runs[name]['minutes']:.1f} minutes", flush=True)
                save(compare(source, runs))
    except CourseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
