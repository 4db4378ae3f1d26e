"""Build what students and graders get from an assignment's source: `make assignments`, in otter's environment.

otter takes out solutions and hidden checks. Into the repository go `assignments/NAME/NAME.ipynb`, for students, and
`assignments/NAME/checks/`, the public checks without otter. Into `_build/assignments/NAME/` go the solution and the zip
for Gradescope. The same source gives the same bytes.
"""

import ast
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from tools.assignments.source import ROOT, Source
from tools.build_labs import METADATA, with_ids
from utils.checks import Check
from utils.errors import CourseError
from utils.setup_cell import BADGE_MARK, MARK, colab_badge, setup_cell

CONFIG = {
    "init_cell": False,
    "export_cell": False,
    "generate": True,
    "runs_on": "colab",
    "tests": {"files": True, "ok_format": False},
}
ARGUMENTS = ast.parse("from utils.checks import in_otter\nanswer, mine = in_otter(env)").body
CHECK_CELL = re.compile(r'grader\.check\("(\w+)"\)')
PROGRAMS = ("setup.sh", "run_autograder")
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip knows


def build(name: str, secret: str) -> None:
    """Build one assignment; with a class secret the autograder accepts only that class.

    Raises:
        CourseError: the source is wrong, or otter refuses it.
    """
    source = Source(name)
    target = ROOT / "_build" / "assignments" / name
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        made = _otter(source, Path(place), secret)
        student = _finished(nbformat.read(made / "student" / f"{name}.ipynb", as_version=4), source)
        _must_compile(student, source)
        nbformat.write(student, source.path.with_suffix(".ipynb"))
        _write_checks(made / "student" / "tests", source)
        solution = nbformat.read(made / "autograder" / f"{name}.ipynb", as_version=4)
        nbformat.write(_finished(solution, source), target / f"{name}-solution.ipynb")
        (archive,) = (made / "autograder").glob("*.zip")
        _repack(archive, target / f"{name}-gradescope.zip")


def _otter(source: Source, place: Path, secret: str) -> Path:
    """Run `otter assign` in a folder; where its results are."""
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "utils", place / "utils", ignore=unwanted)
    (place / "assignments" / source.name).mkdir(parents=True)
    (place / "assignments" / source.name / "README.md").write_text(
        "Only the name of this folder is needed.\n", "utf-8"
    )
    for file in source.files:
        copy = shutil.copytree if (ROOT / file).is_dir() else shutil.copy
        (place / file).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / file, place / file)
    files = sorted({"utils", "assignments", *(Path(file).parts[0] for file in source.files)})
    if secret:
        (place / "secret.txt").write_text(secret, "utf-8")
        files.append("secret.txt")
    config = {**CONFIG, "autograder_files": files, "requirements": _requirements()}
    master = nbformat.v4.new_notebook(cells=_master_cells(source, config))
    master.metadata = nbformat.from_dict(METADATA)
    nbformat.write(master, place / f"{source.name}.ipynb")
    command = [sys.executable, "-m", "otter", "assign", f"{source.name}.ipynb", "made"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise CourseError(f"otter refuses {source.path.name}:\n{(done.stdout + done.stderr)[-2000:]}")
    return place / "made"


def _requirements() -> list[str]:
    """What students' notebooks import, for Gradescope's machine: the teaching list without otter."""
    lines = (ROOT / "requirements" / "teaching.in").read_text("utf-8").splitlines()
    wanted = [line.partition("#")[0].strip() for line in lines]
    return [line for line in wanted if line and not line.startswith("otter-grader")]


def _master_cells(source: Source, config: dict) -> list[NotebookNode]:
    """The cells of otter's master notebook: the source's, with settings filled in and checks in otter's form."""
    cells = []
    for part in source.parts:
        cell, text = part.cell, part.cell.source
        if text.startswith("# ASSIGNMENT CONFIG"):
            text = "# ASSIGNMENT CONFIG\n" + yaml.safe_dump(config, sort_keys=False)
        elif part.place == "TESTS" and cell.cell_type == "code":
            text = _otter_test(text, source.questions[part.question].checks)
        elif text == "# BEGIN SOLUTION" and source.questions[part.question].manual:
            cells.append(nbformat.v4.new_markdown_cell(f"<!-- BEGIN ANSWER {part.question} -->"))
        elif text == "# END QUESTION" and source.questions[part.question].manual:
            cells.append(nbformat.v4.new_markdown_cell("<!-- END ANSWER -->"))
        new = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell}
        cells.append(new.get(cell.cell_type, nbformat.v4.new_raw_cell)(text))
    return cells


def _otter_test(text: str, checks: list[Check]) -> str:
    """A check as otter wants it: settings before it, and the notebook's names as its one argument."""
    tree = ast.parse(text)
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    (check,) = (check for check in checks if f"test_{check.name}" == function.name)
    function.args = ast.parse("lambda env: 0").body[0].value.args
    function.body[1:1] = ARGUMENTS
    settings = yaml.safe_dump({"points": check.points, "hidden": check.hidden})
    return f'""" # BEGIN TEST CONFIG\n{settings}""" # END TEST CONFIG\n{ast.unparse(tree)}'


def _finished(notebook: NotebookNode, source: Source) -> NotebookNode:
    """otter's notebook as the course gives it out: own check cells, setup cell, badge, nothing of chance in it."""
    badge = colab_badge(ROOT, f"assignments/{source.name}/{source.name}.ipynb", "assignment")
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        cell.source = CHECK_CELL.sub(r'mine.check("\1")', cell.source).replace(BADGE_MARK, badge)
        if cell.source.strip() == MARK:
            cell.source = setup_cell(ROOT)
    otters = ("<!-- BEGIN QUESTION -->", "<!-- END QUESTION -->")
    for cell in notebook.cells:
        for mark in otters:
            cell.source = cell.source.replace(mark, "").strip()
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    return with_ids(notebook)


def _must_compile(notebook: NotebookNode, source: Source) -> None:
    for cell in notebook.cells:
        try:
            ast.parse(cell.source if cell.cell_type == "code" else "")
        except SyntaxError as error:
            raise CourseError(
                f"{source.path.name}: without its solution this cell is no Python any more, write `# BEGIN SOLUTION` "
                f"and `# END SOLUTION` around all of it:\n{cell.source}"
            ) from error


def _write_checks(tests: Path, source: Source) -> None:
    """The public checks that otter left, in the form of `utils.checks`."""
    folder = source.path.parent / "checks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for question in sorted(path.stem for path in tests.glob("*.py")):
        tree = ast.parse((tests / f"{question}.py").read_text("utf-8"))
        functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
        for function in functions:
            function.decorator_list = []
            function.args = ast.parse("lambda answer, mine: 0").body[0].value.args
            del function.body[1 : 1 + len(ARGUMENTS)]
        head = f'"""Public checks of {question}, made from {source.path.name} by `make assignments`."""'
        code = "\n\n\n".join([head, *map(ast.unparse, functions)]) + "\n"
        (folder / f"{question}.py").write_text(code, "utf-8")


def _repack(archive: Path, target: Path) -> None:
    """Copy a zip in a fixed order and without times."""
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in sorted(old.infolist(), key=lambda entry: entry.filename):
            plain = zipfile.ZipInfo(entry.filename, LONG_AGO)
            plain.external_attr = 0o755 << 16 if entry.filename in PROGRAMS else 0o644 << 16
            plain.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(plain, old.read(entry))
