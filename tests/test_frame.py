"""The frame: the two commands, the locked requirements, and the one place where the repository address stands."""

import ast
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from utils.setup_cell import repository

ROOT = Path(__file__).resolve().parent.parent
COURSE, BOOK, COLAB, TEACHING = (
    ROOT / f"requirements{name}.txt" for name in ("", "-book", "-colab", "-teaching")
)
PREINSTALLED = ROOT / "requirements" / "colab.txt"  # on Colab
LISTS = {
    COURSE: ROOT / "requirements" / "course.in",
    BOOK: ROOT / "requirements" / "book.in",
    TEACHING: ROOT / "requirements" / "teaching.in",
    PREINSTALLED: ROOT / "requirements" / "colab.in",
}


def direct(path: Path) -> list[tuple[Requirement, str]]:
    """The requirements of a commented list, each with its comment; included lists are not followed."""
    rows = []
    for line in path.read_text("utf-8").splitlines():
        text, _, comment = line.partition("#")
        if text.strip() and not text.startswith("-"):
            rows.append((Requirement(text.strip()), comment.strip()))
    return rows


def locked(path: Path) -> dict[str, list[tuple[Requirement, int]]]:
    """Package name -> its locked requirements (one for each marker), each with the number of its hashes."""
    pins: dict[str, list[tuple[Requirement, int]]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", path.read_text("utf-8")):
        lines = [
            line.strip().rstrip("\\").strip()
            for line in block.splitlines()
            if not line.lstrip().startswith("#")
        ]
        if lines:
            requirement = Requirement(lines[0])
            hashes = [line for line in lines[1:] if re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", line)]
            pins.setdefault(canonicalize_name(requirement.name), []).append((requirement, len(hashes)))
    return pins


def tracked() -> list[Path]:
    """The files that git knows, deleted ones left out."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize(
    "code",
    [
        "import torch, torchvision, fastai.text.all, transformers; torchvision.ops.nms",
        "import tensorflow, tensorflow_hub, tf_keras; tensorflow_hub.KerasLayer; tf_keras.Sequential()",
    ],
    ids=["torch", "tensorflow"],
)
def test_frameworks_import_together(code: str) -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("path", [*LISTS.values(), COLAB], ids=lambda path: path.name)
def test_every_direct_dependency_says_who_needs_it(path: Path) -> None:
    for requirement, comment in direct(path):
        assert re.search(r"\b(labs?|chapters?|tests?|page|checkpoints)\b", comment), (
            f"{path.name}: {requirement.name}"
        )


@pytest.mark.parametrize(("lock", "source"), LISTS.items(), ids=lambda path: path.name)
def test_lock_covers_the_list_with_hashes(lock: Path, source: Path) -> None:
    pins = locked(lock)
    wanted = direct(source) + (direct(LISTS[BOOK]) if lock == COURSE else [])
    for requirement, _ in wanted:
        versions = [pin for pin, _ in pins[canonicalize_name(requirement.name)]]
        assert any(spec.version in requirement.specifier for pin in versions for spec in pin.specifier), (
            f"{lock.name} does not hold {requirement}: run `make lock`"
        )
    for name, rows in pins.items():
        for pin, hashes in rows:
            assert [spec.operator for spec in pin.specifier] == ["=="], (
                f"{lock.name}: {name} has no fixed version"
            )
            assert hashes, f"{lock.name}: {name} has no hash"
    assert "://" not in lock.read_text("utf-8"), f"{lock.name} names an address"


def test_course_holds_every_pin_of_the_book() -> None:
    course = locked(COURSE)
    for name, rows in locked(BOOK).items():
        versions = {str(pin.specifier) for pin, _ in course[name]}
        assert {str(pin.specifier) for pin, _ in rows} <= versions, name


def test_colab_gets_ranges_of_what_it_lacks() -> None:
    for requirement, _ in direct(COLAB):
        assert {spec.operator for spec in requirement.specifier} == {">=", "<"}, requirement
        assert canonicalize_name(requirement.name) not in locked(PREINSTALLED)
        pins = locked(COURSE)[canonicalize_name(requirement.name)]
        assert all(spec.version in requirement.specifier for pin, _ in pins for spec in pin.specifier)


def test_every_import_is_a_direct_dependency() -> None:
    ours = {path.stem for folder in (ROOT, ROOT / "_ext", ROOT / "tests") for path in folder.iterdir()}
    declared = {canonicalize_name(row.name) for path in LISTS.values() for row, _ in direct(path)}
    declared |= {"docutils", "myst-nb", "myst-parser", "sphinx"}  # what Jupyter Book is made of
    owners = packages_distributions()
    missing = set()
    for path in (p for p in tracked() if p.suffix == ".py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for top in {name.partition(".")[0] for name in names} - ours - set(sys.stdlib_module_names):
                if not {canonicalize_name(owner) for owner in owners.get(top, [])} & declared:
                    missing.add(f"{path.relative_to(ROOT)} imports {top}")
    assert not missing, f"name these in requirements/*.in: {sorted(missing)}"


def test_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text("utf-8"), re.M))
    assert {"book", "test"} <= set(re.findall(r"^make ([a-z-]+)", readme, re.M))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text("utf-8")))
        assert named <= targets, f"{page} names targets that do not exist: {named - targets}"


def test_help_lists_every_target() -> None:
    help_text = subprocess.run(
        ["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text("utf-8"), re.M).group(1).split()
    for target in set(phony) - {"python", "book-installed", "course-installed", "teaching-installed"}:
        assert f"make {target} " in help_text


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make in a folder that holds the Makefile and the installer only."""
    (folder / "tools").mkdir(exist_ok=True)
    for name in ("Makefile", "tools/install.py"):
        shutil.copy(ROOT / name, folder / name)
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.14"])
def test_wrong_python_gets_one_sentence_first(tmp_path: Path, version: str) -> None:
    fake = tmp_path / "python"
    major, minor = version.split(".")
    lie = f"import sys; sys.version_info = ({major}, {minor}, 0, 'final', 0); exec(sys.argv[1])"
    fake.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{lie}" "$2"\n')
    fake.chmod(0o755)
    done = make(tmp_path, "book", f"PYTHON={fake}")
    sentences = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert done.returncode and done.stdout == ""
    assert sentences == [
        f"This course needs Python 3.10 to 3.13, and {fake} is {version}: "
        "name another one, for example: make book PYTHON=python3.12"
    ]
    assert not (tmp_path / ".venv").exists()


def test_missing_python_gets_one_sentence(tmp_path: Path) -> None:
    done = make(tmp_path, "test", "PYTHON=no-such-python")
    assert done.returncode and "No no-such-python found: install Python 3.10 to 3.13" in done.stderr


def test_installs_only_what_has_changed(tmp_path: Path) -> None:
    lock = tmp_path / "requirements-book.txt"
    lock.write_text("# nothing\n")
    first, second = (make(tmp_path, "book-installed", f"PYTHON={sys.executable}") for _ in range(2))
    assert "Installing requirements-book.txt" in first.stdout, first.stderr
    assert (second.returncode, second.stdout) == (0, "")
    (packages,) = (tmp_path / ".venv").glob("lib/python*/site-packages")
    (packages / "whole.py").write_text("x = 1\n")
    (packages / "template.py").write_text("class {{ name }}:\n")
    lock.write_text("# nothing more\n")
    third = make(tmp_path, "book-installed", f"PYTHON={sys.executable}")
    assert "Installing" in third.stdout and third.stderr == ""
    assert len(list(packages.glob("__pycache__/*.pyc"))) == 1
    lock.write_text("no-such-package==1 --hash=sha256:" + "0" * 64 + "\n")
    failed = make(tmp_path, "book-installed", f"PYTHON={sys.executable}", "PIP_NO_INDEX=1")
    assert failed.returncode and "check the network and the disk" in failed.stderr


def test_repository_address_stands_in_one_place() -> None:
    url, _ = repository(ROOT)
    slug = url.partition("github.com/")[2] or url
    derived = {path.with_suffix(".ipynb") for path in (ROOT / "labs").glob("*.py")}
    derived |= set((ROOT / "assignments").glob("*/*.ipynb"))
    holders = set()
    for path in tracked():
        if slug.encode() in path.read_bytes():
            holders.add(path)
    assert holders - derived == {ROOT / "_config.yml"}


def test_continuous_integration_calls_make_test() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    assert script.splitlines()[-1] == "exec make test"
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
