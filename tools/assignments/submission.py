"""What a student handed in: a notebook, read without running anything of it."""

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from utils.downloads import parse_json
from utils.setup_cell import TEMPLATE

LARGEST = 20 * 2**20  # bytes of a notebook
SETUP_START = TEMPLATE.splitlines()[0]
PLACEHOLDER = "_Type your answer here, replacing this text._"  # otter's
BEGIN = re.compile(r"<!-- BEGIN ANSWER (\w+) -->")
END = "<!-- END ANSWER -->"


@dataclass
class Submission:
    """A notebook, read.

    Attributes:
        path: where it was found.
        student, code, assignment: what it says of itself, empty when it says nothing.
        cells: its code cells, the course's setup cell left out.
        written: question in words -> answer.
        problem: why it can't be graded, in one sentence; empty when it can.
    """

    path: Path
    student: str = ""
    code: str = ""
    assignment: str = ""
    cells: list[str] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def read(path: Path) -> Submission:
    """Read a notebook, whatever it is."""
    found = Submission(path)
    try:
        cells = _cells(path)
    except ValueError as error:
        found.problem = str(error)
        return found
    found.cells = [text for kind, text in cells if kind == "code" and not text.startswith(SETUP_START)]
    for text in found.cells:
        _identify(found, text)
    found.written = _written(cells)
    return found


def _cells(path: Path) -> list[tuple[str, str]]:
    if path.is_symlink() or not path.is_file():
        raise ValueError("It is a link to another place, not a file: hand in the notebook itself.")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"It has more than {LARGEST >> 20} MB: clear all outputs and hand it in again.")
    try:
        notebook = parse_json(path.read_text("utf-8-sig"))
        cells = [(cell["cell_type"], cell["source"]) for cell in notebook["cells"]]
        if not all(isinstance(source, str | list) for _, source in cells):
            raise TypeError
        return [(str(kind), "".join(source)) for kind, source in cells]
    except (OSError, ValueError, TypeError, KeyError):
        raise ValueError(
            "It is no Jupyter notebook, or only part of one: download it again as .ipynb."
        ) from None


def _identify(found: Submission, code: str) -> None:
    try:
        tree = ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    for node in tree.body:
        if (
            not isinstance(node, ast.Assign)
            or len(node.targets) != 1
            or not isinstance(node.targets[0], ast.Name)
        ):
            continue
        name, value = node.targets[0].id, node.value
        if name in ("student", "code") and isinstance(value, ast.Constant) and isinstance(value.value, str):
            setattr(found, name, value.value.strip())
        elif (
            name == "mine"
            and isinstance(value, ast.Call)
            and value.args
            and isinstance(value.args[0], ast.Constant)
        ):
            found.assignment = str(value.args[0].value)


def _written(cells: list[tuple[str, str]]) -> dict[str, str]:
    answers: dict[str, list[str]] = {}
    question = None
    for text in (text for kind, text in cells if kind == "markdown"):
        begin = BEGIN.search(text)
        if begin:
            question = begin[1]
        if question:
            mine = BEGIN.sub("", text).replace(END, "").replace(PLACEHOLDER, "").strip()
            answers.setdefault(question, []).extend([mine] if mine else [])
        if END in text:
            question = None
    return {question: "\n\n".join(parts) for question, parts in answers.items()}
