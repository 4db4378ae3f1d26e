"""Rehearse a lab as it is met in Colab: its notebook alone in an empty folder, with other versions of the libraries.

    python -m tools.rehearse labs/01_pretraining.ipynb --versions colab

`make rehearsal` makes an environment of its own for the Python that runs it, copies the one notebook into an empty
folder and runs it there from its setup cell, which clones the course (the last commit here) and installs what Colab
lacks. The labs' checks must hold; how many of the printed outputs are not the notebook's is told. `--record` keeps the
result in benchmarks/versions.json, and the table of all results in benchmarks/versions.md.

Until the environment is made only the standard library is imported.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools import install
from tools.environment import NOTEBOOK_ENVIRONMENT, PERSONAL
from utils.downloads import write_text
from utils.errors import CourseError

if TYPE_CHECKING:
    from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = {"locked": install.COURSE, "colab": "requirements/colab.txt", "newest": "requirements/colab.in"}
RESULTS = ROOT / "benchmarks" / "versions.json"
BRANCH = "rehearsal"


def colab_python() -> str:
    """The Python of the Colab whose packages requirements/colab.txt lists, such as `3.13`."""
    return re.search(r"Colab's Python (\d\.\d+)", (ROOT / VERSIONS["colab"]).read_text("utf-8")).group(1)


def packages() -> dict[str, str]:
    """Name and version of all packages of this environment."""
    return {found.name.lower().replace("_", "-"): found.version for found in distributions()}


def printed(cell: NotebookNode) -> str:
    """What a cell printed and showed as text, and the error it raised; no figure, nothing from standard error."""
    stdout, others = "", []  # standard output can come in pieces
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if output.get("name") == "stdout":
            stdout += output.text
        elif output.output_type == "error":
            others.append(f"{output.ename}: {output.evalue}")
        elif not any(kind.startswith("image/") for kind in data):
            others.append(data.get("text/plain", ""))
    stdout = re.sub(r"[^\n]*\r", "", stdout.replace("\x1b[A", ""))  # a progress bar overwrites its own line,
    stdout = re.sub(r"(?m)^.*\[\d+:\d\d.*(it/s|s/it)\]\s*$", "", stdout)  # unless another one is below it
    return "\n".join([stdout.strip(), *others]).strip()


def compared(notebook: NotebookNode, original: NotebookNode) -> dict[str, int]:
    """The number of cells that print or show text in the original, and of cells that print something else now."""
    pairs = [(printed(new), printed(old)) for new, old in zip(notebook.cells, original.cells, strict=True)]
    return {"outputs": sum(bool(old) for _, old in pairs), "differ": sum(new != old for new, old in pairs)}


def origin(folder: Path) -> tuple[str, str]:
    """Put a copy of this repository at its last commit into `folder`; gives its address and that commit."""
    git = ["git", "-C", str(ROOT)]
    commit = subprocess.run(
        [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", str(ROOT), str(folder)], check=True, capture_output=True
    )
    subprocess.run(["git", "-C", str(folder), "branch", "--force", BRANCH, commit], check=True)
    return folder.as_uri(), commit


def as_in_colab(repository: str) -> dict[str, str]:
    """The caller's environment without the course's settings, except for where the setup cell finds the course."""
    ours = {*PERSONAL, *NOTEBOOK_ENVIRONMENT, "PYTHONPATH"} - {"OMP_WAIT_POLICY"}  # which changes no result
    kept = {key: value for key, value in os.environ.items() if key not in ours}
    return kept | {"COURSE_REPO": repository, "COURSE_REF": BRANCH}


def rehearse(path: Path) -> tuple[dict[str, Any], NotebookNode]:
    """Run a notebook with the Python and the packages of this process, alone in an empty folder.

    Returns what is recorded of it and the notebook as it was run. `failed` is empty where every cell ran (those that
    fail on purpose, too), else the failing cell and its error; `core_minutes` is computing time summed over cores;
    `changed` names the packages of which the setup cell installed another version, and `installed` those that it added.
    """
    import nbformat
    from nbclient import NotebookClient
    from nbclient.exceptions import CellControlSignal, DeadKernelError

    original, notebook = (nbformat.read(path, as_version=4) for _ in range(2))
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    reached = [0]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "notebook"
        folder.mkdir()
        (folder / path.name).write_bytes(path.read_bytes())
        repository, commit = origin(Path(place) / "origin.git")
        client = NotebookClient(
            notebook,
            timeout=None,  # whoever starts it decides how long it may take
            kernel_name="python3",
            startup_timeout=600,  # seconds; a first import of everything can be slow
            resources={"metadata": {"path": str(folder)}},
            on_cell_start=lambda cell, cell_index: reached.append(cell_index),
        )
        before, start, used, failed = packages(), time.perf_counter(), os.times(), ""
        try:
            client.execute(env=as_in_colab(repository))
        except (CellControlSignal, DeadKernelError) as error:
            failed = failure(notebook, reached[-1], error)
        minutes, ended = (time.perf_counter() - start) / 60, os.times()
    after = packages()
    row = {
        "lab": path.stem,
        "python": platform.python_version(),
        "failed": failed,
        "minutes": round(minutes, 1),
        "core_minutes": round((sum(ended[2:4]) - sum(used[2:4])) / 60, 2),  # of child processes
        **compared(notebook, original),
        "packages": {name: after.get(name, "") for name in needed()},
        "changed": sorted(name for name in before if after.get(name) != before[name]),
        "installed": sorted(after.keys() - before.keys()),
        "commit": commit,
    }
    return row, notebook


def failure(notebook: NotebookNode, number: int, error: Exception) -> str:
    """The cell at which a run ended, by its number and its first line, and the error."""
    line = next((line for line in notebook.cells[number].source.splitlines() if line.strip()), "")
    said = f"{error.ename}: {error.evalue}" if hasattr(error, "ename") else f"{type(error).__name__}: {error}"
    return f"cell {number} ({line.strip()[:60]}): {' '.join(said.split())[:500]}"


def needed() -> list[str]:
    """The names in requirements/colab.in."""
    lines = (ROOT / VERSIONS["newest"]).read_text("utf-8").splitlines()
    return [name.lower().replace("_", "-") for line in lines for name in re.findall(r"^[A-Za-z][\w-]*", line)]


def table(rows: list[dict[str, Any]]) -> str:
    """The results as Markdown: a line for each lab, a column for each kind of versions and Python."""
    kinds = sorted({(row["versions"], row["python"]) for row in rows}) or [("colab", colab_python())]
    cells = {(row["lab"], row["versions"], row["python"]): row for row in rows}

    def cell(row: dict[str, Any] | None) -> str:
        if row is None:
            return "not run"
        if row["failed"]:
            return "**fails**"
        return f"{row['core_minutes']:.1f} min, {row['differ']} of {row['outputs']} differ"

    lines = [
        ["lab", *(f"{versions}, Python {python}" for versions, python in kinds)],
        ["---"] * (len(kinds) + 1),
    ]
    for lab in sorted(path.stem for path in (ROOT / "labs").glob("*.ipynb")):
        lines.append([lab, *(cell(cells.get((lab, *kind))) for kind in kinds)])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def record(row: dict[str, Any]) -> None:
    """Keep a result, in place of an earlier one of the same lab, versions and Python."""
    key = ("lab", "versions", "python")
    kept = json.loads(RESULTS.read_text("utf-8")) if RESULTS.is_file() else []
    rows = [old for old in kept if any(old[name] != row[name] for name in key)] + [row]
    rows.sort(key=lambda each: [each[name] for name in key])
    write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    write_text(RESULTS.with_suffix(".md"), table(rows))


def report(row: dict[str, Any]) -> str:
    """A result in words."""
    told = ", ".join(f"{name} {version}" for name, version in row["packages"].items())
    lines = [f"{row['lab']} with Python {row['python']}, {told}."]
    if row["changed"]:
        lines.append(f"The setup cell changed the version of {', '.join(row['changed'])}.")
    if row["installed"]:
        lines.append(f"The setup cell installed {', '.join(row['installed'])}.")
    if row["failed"]:
        lines.append(f"FAILED after {row['minutes']} minutes at {row['failed']}")
    else:
        differ = f"{row['differ']} of {row['outputs']} printed outputs differ from the book's"
        lines.append(f"Passed in {row['minutes']} minutes; {differ}.")
    return "\n".join(lines)


def main() -> None:
    """Command line: NOTEBOOK [--versions ...] [--environment FOLDER] [--record]."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebook", type=Path)
    parser.add_argument("--versions", choices=VERSIONS, default="colab")
    parser.add_argument(
        "--environment", type=Path, help="where it is made, or was (default _build/rehearsal/VERSIONS)"
    )
    parser.add_argument("--record", action="store_true", help="keep the result in benchmarks/versions.json")
    given = parser.parse_args()
    environment = (given.environment or ROOT / "_build" / "rehearsal" / given.versions).resolve()
    try:
        if given.notebook.suffix != ".ipynb" or not given.notebook.is_file():
            raise CourseError(
                f"{given.notebook} is not a notebook: name one, such as labs/01_pretraining.ipynb."
            )
        if Path(sys.prefix).resolve() == environment:
            result, notebook = rehearse(given.notebook)
            row = {"versions": given.versions, **result}
            ran = environment / given.notebook.name
            write_text(ran, json.dumps(notebook, indent=1))
            print(f"{report(row)}\nThe notebook as it was run: {ran}", flush=True)
            if given.record:
                record(row)
            sys.exit(bool(row["failed"]))
        version = platform.python_version()
        if given.versions == "colab" and not version.startswith(colab_python() + "."):
            raise CourseError(
                f"Colab has Python {colab_python()} (requirements/colab.txt), and this is {version}: name that one, "
                f"for example: make rehearsal PYTHON=python{colab_python()}"
            )
    except CourseError as error:
        sys.exit(str(error))
    install.main(VERSIONS[given.versions], str(environment))
    command = [str(environment / install.PYTHON), "-m", "tools.rehearse", *sys.argv[1:]]
    sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
