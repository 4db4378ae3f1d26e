"""Build labs/NAME.ipynb, with outputs, from labs/NAME.py: `make labs`, `make labs-text`, `make evidence`.

The build is deterministic: cell ids follow from the cells' text, the kernel runs in a fixed environment, and no times
are kept. So building twice from the same sources on one machine gives the same bytes.
"""

import argparse
import hashlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from tools.environment import enter_notebook_environment, recording_environment
from utils.downloads import write_text
from utils.errors import CourseError
from utils.setup_cell import BADGE_MARK, MARK, TEMPLATE, colab_badge, setup_cell

ROOT = Path(__file__).resolve().parent.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_TIMEOUT = 900  # seconds
SETUP_START = TEMPLATE.splitlines()[0]


def planned(source: Path) -> NotebookNode:
    """The notebook that a lab's source describes, not run: setup cell and badge filled in, ids fixed."""
    notebook = jupytext.reads(source.read_text("utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)  # jupytext's note on blank lines in the source
        if cell.cell_type == "code" and cell.source.strip() == MARK:
            cell.source = setup_cell(ROOT)
        elif cell.cell_type == "markdown":
            cell.source = cell.source.replace(
                BADGE_MARK, colab_badge(ROOT, f"labs/{source.stem}.ipynb", "lab")
            )
    return with_ids(notebook)


def with_ids(notebook: NotebookNode) -> NotebookNode:
    """Give every cell an id that follows from its text."""
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1
        cell["id"] = hashlib.sha1(f"{text}\n{seen[text]}".encode()).hexdigest()[:12]
    return notebook


def execute(notebook: NotebookNode, folder: Path, **hooks: Callable[..., None]) -> None:
    """Run all cells in `folder`, outputs go into `notebook`; `hooks` are nbclient's, such as `on_cell_executed`.

    Raises:
        CourseError: a cell failed; names the cell and the error.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
        **hooks,
    )
    enter_notebook_environment()
    try:
        client.execute()
    except CellExecutionError as error:
        raise CourseError(f"A cell failed, nothing is written:\n{error}") from error
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.source.strip():
            cell.execution_count = None
    notebook.metadata = nbformat.from_dict(METADATA)  # the kernel adds its version


def built(source: Path) -> Path:
    """Where the notebook of a lab's source stands."""
    return source.with_suffix(".ipynb")


def build(source: Path) -> None:
    """Run a lab and write its notebook."""
    notebook = planned(source)
    execute(notebook, source.parent)
    nbformat.write(notebook, built(source))


def build_text(source: Path) -> None:
    """Write changed prose, cell metadata, badge and setup cell into a lab's notebook and keep its outputs.

    Raises:
        CourseError: there is no notebook, or its code differs from the source, so it has to be run.
    """
    if not built(source).is_file():
        raise CourseError(f"{built(source).name} is not built yet: run `make labs LAB={source.stem}`.")
    old = [cell for cell in nbformat.read(built(source), as_version=4).cells if cell.cell_type == "code"]
    notebook = planned(source)
    new = [cell for cell in notebook.cells if cell.cell_type == "code"]

    def code(cells: list[NotebookNode]) -> list[str]:
        return [MARK if cell.source.startswith(SETUP_START) else cell.source for cell in cells]

    if code(old) != code(new):
        raise CourseError(f"The code of {source.name} has changed: run `make labs LAB={source.stem}`.")
    for cell, kept in zip(new, old, strict=True):
        cell.outputs, cell.execution_count = kept.outputs, kept.execution_count
    nbformat.write(notebook, built(source))


def record(source: Path) -> None:
    """Run a lab as a script with all recorded seeds; it goes on where it was interrupted.

    Cells that fail on purpose (tag `raises-exception`) are left out, since they would end the script.

    Raises:
        CourseError: the script failed; its own message stands above.
    """
    notebook = planned(source)
    notebook.cells = [c for c in notebook.cells if "raises-exception" not in c.metadata.get("tags", [])]
    env = recording_environment() | {"PYTHONPATH": str(ROOT)}
    script = ROOT / "_build" / "record" / source.name  # not in a temporary folder, which a kill would leave
    write_text(script, jupytext.writes(notebook, fmt="py:percent"))
    failed = subprocess.run([sys.executable, str(script)], cwd=source.parent, env=env).returncode
    if failed:
        raise CourseError(
            f"Recording {source.name} failed: repair it, and the same command goes on from there."
        )


def sources(names: list[str]) -> list[Path]:
    """The lab sources with these names, all when none is given.

    Raises:
        CourseError: no lab has such a name.
    """
    labs = {path.stem: path for path in sorted((ROOT / "labs").glob("*.py"))}
    unknown = sorted(set(names) - set(labs))
    if unknown:
        raise CourseError(f"There is no labs/{unknown[0]}.py: LAB is one of {', '.join(labs) or 'none yet'}.")
    return [labs[name] for name in names or labs]


def main() -> None:
    """Command line: [--text | --record] [LAB ...]."""
    parser = argparse.ArgumentParser(description=__doc__)
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--text", dest="act", action="store_const", const=build_text, help="keep outputs, run nothing"
    )
    way.add_argument("--record", dest="act", action="store_const", const=record, help="measure, as a script")
    parser.add_argument("labs", nargs="*")
    given = parser.parse_args()
    act = given.act or build
    try:
        for source in sources(given.labs):
            start = time.perf_counter()
            act(source)
            print(f"{source.stem}: {act.__name__} done in {time.perf_counter() - start:.0f} s", flush=True)
    except CourseError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
