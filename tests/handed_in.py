"""Notebooks as students hand them in, made from an assignment's source without otter."""

import json
from pathlib import Path

from tools.assignments.source import Mutant, Source
from utils.checks import code_of

SECRET = "the class of the tests"


def notebook(cells: list[tuple[str, str]]) -> str:
    """A notebook's text from (kind, source) of its cells."""
    made = [{"cell_type": kind, "metadata": {}, "source": text, "outputs": []} for kind, text in cells]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


def answers(source: Source, student: str, mutant: Mutant | None = None) -> list[tuple[str, str]]:
    """The cells of a student's notebook with the solution, or with one wrong answer."""
    code = code_of(student, SECRET)
    cells = []
    for _, text in source.program(mutant):
        if text.startswith("student ="):
            text = f'student = "{student}"\ncode = "{code}"'
        cells.append(("code", text))
    for question in source.questions.values():
        if question.manual:
            cells += [
                ("markdown", f"<!-- BEGIN ANSWER {question.name} -->"),
                ("markdown", "Because of *this*."),
                ("markdown", "<!-- END ANSWER -->"),
            ]
    return cells


def hand_in(folder: Path, name: str, cells: list[tuple[str, str]]) -> Path:
    """Write a notebook into the folder of submissions."""
    path = folder / f"{name}.ipynb"
    path.write_text(notebook(cells), "utf-8")
    return path
