"""The setup cell, run in a real kernel from a foreign folder against a clone of this repository."""

import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from utils import setup_cell
from utils.errors import CourseError

ROOT = Path(__file__).resolve().parent.parent
CHECK = "from pathlib import Path\nimport utils\nPath(utils.__file__).relative_to(Path.cwd()).as_posix()"


def run(folder: Path, *cells: str) -> list[nbformat.NotebookNode]:
    """Run cells in one kernel in `folder`; returns the cells with their outputs."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(folder)}}).execute()
    return notebook.cells


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of a clone of this repository whose branch is `main`, whatever is checked out here."""
    copy = tmp_path / "origin"
    subprocess.run(["git", "clone", "--quiet", ROOT.as_uri(), str(copy)], check=True)
    subprocess.run(["git", "-C", str(copy), "checkout", "--quiet", "-B", "main"], check=True)
    monkeypatch.setenv("COURSE_REPO", copy.as_uri())
    monkeypatch.setenv("COURSE_REF", "main")
    return copy.as_uri()


def test_fetches_the_course_once_and_prints_nothing(tmp_path: Path, clone: str) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    source = setup_cell.setup_cell(ROOT)
    first, second, paths, where = run(
        folder, source, source, "import sys\nsys.path.count(str(course_root))", CHECK
    )
    assert first.outputs == [] and second.outputs == []
    assert paths.outputs[0].data["text/plain"] == "1"
    assert where.outputs[0].data["text/plain"] == "'course/utils/__init__.py'"


def test_finds_the_clone_around_it_without_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no git, so a clone would fail
    cell, where = run(ROOT / "tests", setup_cell.setup_cell(ROOT), "str(course_root)")
    assert cell.outputs == []
    assert where.outputs[0].data["text/plain"] == repr(str(ROOT))


@pytest.mark.parametrize("broken", ["no such repository", "no git"])
def test_one_sentence_when_the_course_cannot_be_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    folder = tmp_path / "foreign"
    folder.mkdir()
    monkeypatch.setenv("COURSE_REPO", (tmp_path / "nowhere").as_uri())
    if broken == "no git":
        monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(CellExecutionError) as failure:
        run(folder, setup_cell.setup_cell(ROOT))
    shown = str(failure.value).partition("Course setup: git failed (")[2]
    assert shown.strip().endswith("): repair that and run this cell again.")
    assert "\n" not in shown.strip() and "Traceback" not in str(failure.value)


def test_old_python_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 8, 18, "final", 0))
    with pytest.raises(
        Exception, match=r"^Python 3.10 or newer is needed, this is 3\.8: choose another kernel\.$"
    ):
        exec(setup_cell.setup_cell(ROOT), {})


def test_address_is_read_from_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "_config.yml"
    config.write_text("repository: {url: 'https://github.com/someone/course/', branch: next}\n", "utf-8")
    assert setup_cell.repository(tmp_path) == ("https://github.com/someone/course", "next")
    assert '"https://github.com/someone/course")' in setup_cell.setup_cell(tmp_path)
    badge = setup_cell.colab_badge(tmp_path, "labs/01_pretraining.ipynb", "lab")
    assert "/github/someone/course/blob/next/labs/01_pretraining.ipynb)" in badge
    config.write_text("title: a book\n", "utf-8")
    with pytest.raises(CourseError, match="_config.yml, key repository.url"):
        setup_cell.repository(tmp_path)
