"""The assignments: sources, what is built from them, checks that see through wrong and copied answers."""

import ast
import contextlib
import io
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from tools.assignments import source, trial
from tools.assignments.source import Source
from tools.assignments.submission import BEGIN, END, PLACEHOLDER
from utils import checks, plain
from utils.errors import CourseError
from utils.setup_cell import setup_cell

ROOT = Path(__file__).resolve().parent.parent
NAMES = source.all_names()
OTTER = ROOT / ".venv-teaching" / "bin" / "python"


@pytest.fixture(scope="module", params=NAMES)
def tried(request) -> tuple[Source, trial.Trial]:
    """An assignment, and a run of its solution, mutants and copied answers."""
    return Source(request.param), trial.tried(request.param)


def test_there_is_one_for_each_chapter() -> None:
    chapters = [path.stem for path in sorted((ROOT / "chapters").glob("0[1-5]-*.md"))]
    assert [name.replace("_", "-") for name in NAMES] == chapters


def test_solution_gets_full_marks(tried: tuple[Source, trial.Trial]) -> None:
    solution = tried[1].solution
    assert not any(solution.values()), solution


def test_every_mutant_loses_the_points_it_should(tried: tuple[Source, trial.Trial]) -> None:
    source, found = tried
    for number, mutant in enumerate(source.mutants):
        assert set(found.mutants[number]) == set(mutant.fails), (mutant.question, mutant.mistake)


def test_copied_answers_lose_points(tried: tuple[Source, trial.Trial]) -> None:
    copied = tried[1].copied
    assert sum(bool(failed) for failed in copied.values()) >= 2, copied


@pytest.mark.parametrize("name", NAMES)
def test_questions_are_as_promised(name: str) -> None:
    asked = Source(name)
    assert 4 <= len(asked.questions) <= 6
    assert [question.manual for question in asked.questions.values()].count(True) == 1
    for question in asked.questions.values():
        if question.manual:
            assert "**Rubric**" in asked.text(question.name, "SOLUTION", "markdown")
            continue
        assert {check.hidden for check in question.checks} == {True, False}, question.name
        assert sum(mutant.question == question.name for mutant in asked.mutants) >= 3


def test_page_for_teachers_says_what_each_assignment_is_worth() -> None:
    page = (ROOT / "assignments" / "README.md").read_text("utf-8")
    for name in NAMES:
        points = {manual: 0.0 for manual in (True, False)}
        for question in Source(name).questions.values():
            points[question.manual] += question.points
        assert re.search(rf"<{name}/{name}\.ipynb>`.*\| {points[False]:g} \| {points[True]:g} \|\n", page), (
            name
        )


def blank_names(notebook: nbformat.NotebookNode) -> dict[str, Any]:
    """The names of a student's notebook of whom nothing is written yet; cells may fail."""
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.source.startswith(("# Course setup", "mine.check")):
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Exception):
                exec(compile(cell.source, "cell", "exec"), names)
    return names


def student_notebook(name: str) -> nbformat.NotebookNode:
    return nbformat.read(ROOT / "assignments" / name / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("name", NAMES)
def test_blank_notebook_gets_nothing(name: str) -> None:
    asked = Source(name)
    mine = checks.Graded(name, checks.OPEN, "", "")
    names = blank_names(student_notebook(name))
    for question in asked.questions.values():
        answer = checks.Answers(checks.Names(names))
        passed = [check.name for check in question.checks if not checks.run(check, answer, mine)]
        assert not passed, (question.name, passed)


@pytest.mark.parametrize("name", NAMES)
def test_student_notebook_follows_from_its_source(name: str) -> None:
    asked = Source(name)
    notebook = student_notebook(name)
    nbformat.validate(notebook)
    text = "\n".join(cell.source for cell in notebook.cells)
    assert setup_cell(ROOT) in text and f"/assignments/{name}/{name}.ipynb)" in text
    assert "SOLUTION" not in text and "Rubric" not in text and "hidden" not in text.split("fresh")
    codes = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    given = [part.cell.source for part in asked.parts if part.place is None and part.cell.cell_type == "code"]
    assert [code for code in given if code.strip() != "# course setup" and code not in codes] == []
    for question in asked.questions.values():
        assert question.manual or f'mine.check("{question.name}")' in codes
        assert (
            not question.manual
            or BEGIN.search(text)[1] == question.name
            and PLACEHOLDER in text
            and END in text
        )
    for part in asked.parts:
        if part.place is None and part.cell.cell_type == "markdown" and "colab badge" not in part.cell.source:
            assert part.cell.source.strip() in text


@pytest.mark.parametrize("name", NAMES)
def test_public_checks_follow_from_the_source(name: str) -> None:
    for question in Source(name).questions.values():
        path = ROOT / "assignments" / name / "checks" / f"{question.name}.py"
        if question.manual:
            assert not path.exists()
            continue
        built = {
            f.name: ast.dump(f)
            for f in ast.parse(path.read_text("utf-8")).body
            if isinstance(f, ast.FunctionDef)
        }
        wanted = {f.name: ast.dump(f) for f in ast.parse(Source(name).text(question.name, "TESTS")).body}
        public = {f"test_{check.name}" for check in question.checks if not check.hidden}
        assert built == {name: code for name, code in wanted.items() if name in public}


@pytest.mark.skipif(
    not OTTER.is_file(), reason="otter's environment is not installed (`make teaching-installed`)"
)
def test_otter_builds_the_same_bytes_and_gives_the_same_points(tmp_path: Path) -> None:
    name = NAMES[-2]
    committed = (ROOT / "assignments" / name / f"{name}.ipynb").read_bytes()
    archive = ROOT / "_build" / "assignments" / name / f"{name}-gradescope.zip"
    made = []
    for _ in range(2):
        subprocess.run([OTTER, "-m", "tools.assignments", "build", name], cwd=ROOT, check=True)
        made.append(archive.read_bytes())
    assert made[0] == made[1]
    assert (ROOT / "assignments" / name / f"{name}.ipynb").read_bytes() == committed
    assert not any("secret" in entry or "mutants" in entry for entry in zipfile.ZipFile(archive).namelist())
    asked = Source(name)
    of = sum(question.points for question in asked.questions.values() if not question.manual)
    for notebook, points in (
        (archive.with_name(f"{name}-solution.ipynb"), of),
        (asked.path.with_suffix(".ipynb"), 0),
    ):
        command = [OTTER, "-m", "otter", "run", "--no-logo", "-a", archive, "-o", tmp_path, notebook]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
        results = (tmp_path / "results.json").read_text("utf-8")
        assert sum(test["score"] for test in json.loads(results)["tests"] if "score" in test) == points


def test_plain_data_comes_back_as_it_was() -> None:
    value = {
        "numbers": [1, -2.5, True, None, 10**30],
        "pair": (1, "ä"),
        3: {frozenset({1}), "x"},
        "bytes": b"\0\xff",
        "scalar": np.float32(0.5),
        "array": np.arange(6.0).reshape(2, 3),
        "empty": np.zeros((0, 3), dtype=np.int64),
        "words": np.array(["a", "long"]),
    }
    back = plain.loads(plain.dumps(value))
    assert repr(back) == repr(value)
    tensor = plain.loads(plain.dumps(torch.arange(4).reshape(2, 2)))
    assert tensor.dtype == torch.int64 and tensor.tolist() == [[0, 1], [2, 3]]
    assert np.isnan(plain.loads(plain.dumps(float("nan"))))


class Number(int):
    __eq__ = lambda *_: True  # noqa: E731
    __hash__ = int.__hash__


def test_no_object_survives_as_plain_data() -> None:
    back = plain.loads(plain.dumps([Number(3)]))
    assert type(back[0]) is int and back != [4]
    endless: list = []
    endless.append(endless)
    for bad in (object(), iter([1]), np.array([object()]), lambda: 1, endless):
        with pytest.raises(plain.NotPlain):
            plain.dumps(bad)
    for text in (
        "",
        "{",
        '{"array": ["O", [1], ""]}',
        '{"tensor": 3}',
        '{"what": []}',
        '{"dict": [[[1], 2]]}',
        "[" * 9999,
    ):
        with pytest.raises(plain.NotPlain):
            plain.loads(text)


def test_every_student_has_a_world_and_a_code_of_their_own() -> None:
    worlds = set()
    for student in ("ada", "eve", "Zoë 7"):
        code = checks.code_of(student, "secret")
        assert len(code) == 10 and code.isalnum() and code != checks.code_of(student, "another")
        mine = checks.Assignment(NAMES[0], f" {student} ", code.lower())
        assert mine.rng("x").integers(10**9) == mine.rng("x").integers(10**9) != mine.rng("y").integers(10**9)
        worlds.add(mine.seed)
    assert len(worlds) == 3 and mine.seed != checks.Assignment(NAMES[1], student, code).seed
    first, second = (
        checks.Graded(NAMES[0], "ada", checks.code_of("ada", s), s).fresh("x") for s in ("a", "b")
    )
    assert first.integers(10**9) != second.integers(10**9)


@pytest.mark.parametrize(
    ("name", "student", "code", "said"),
    [
        ("06_none", "open", "", "There is no assignment '06_none'"),
        ("01_pretraining", "open", "ABCDEFGHIJ", "give your student id too"),
        ("01_pretraining", "ada", "", "does not belong to the student id 'ada'"),
        ("01_pretraining", "ada", checks.code_of("eve", "s"), "does not belong to the student id 'ada'"),
    ],
)
def test_wrong_identity_gets_one_sentence(name: str, student: str, code: str, said: str) -> None:
    with pytest.raises(CourseError, match=said):
        checks.Assignment(name, student, code)


def test_check_prints_a_sentence_for_each_failure(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = tmp_path / "toy" / "checks"
    folder.mkdir(parents=True)
    (folder / "q1.py").write_text(
        'def test_sum(answer, mine):\n    """points: 1"""\n    assert answer.add(1, 2) == 3, "1 + 2 is 3."\n\n\n'
        'def test_name(answer, mine):\n    """points: 2"""\n    assert answer.total == 6, "The total is 6."\n'
    )
    monkeypatch.setattr(checks, "ASSIGNMENTS", tmp_path)
    mine = checks.Assignment("toy")

    def add(a, b):
        return a + b

    mine.check("q1", {"add": add, "total": 6})
    assert capsys.readouterr().out == "q1: 2 of 2 public checks pass (3 points).\n"
    for names, said in (
        ({"add": add}, "- `total` is not defined: run its cell."),
        ({"add": add, "total": ...}, "- `total` is still `...`: write your answer there."),
        ({"add": add, "total": add}, "- The total is 6."),
        ({"add": lambda a, b: 1 / 0, "total": 6}, "- `add` raised ZeroDivisionError: division by zero"),
        (
            {"add": lambda a, b: iter("3"), "total": 6},
            "- `add` returned a value of type str_ascii_iterator: expected",
        ),
        ({"add": lambda a, b: None, "total": "6"}, "- 1 + 2 is 3.\n- The total is 6."),
        ({"add": 3, "total": 6}, "- The check `sum` can't use your answer: TypeError"),
    ):
        mine.check("q1", names)
        assert said in capsys.readouterr().out
    with pytest.raises(CourseError, match="has no checks for 'q2'"):
        mine.check("q2", {})
