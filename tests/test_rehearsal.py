"""The rehearsal of a notebook alone, in the environment of these tests, its arguments, its table, its workflow."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import yaml
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tools import install, rehearse
from tools.environment import NOTEBOOK_ENVIRONMENT
from utils.settings import root
from utils.setup_cell import setup_cell

LABS = sorted(path.stem for path in (root() / "labs").glob("*.py"))
SURROUNDINGS = """\
import os, sys
from pathlib import Path
foreign = [name for name in os.environ if name in {ours!r}]
print(sorted(path.name for path in Path().iterdir()), foreign, {root!r} in sys.path)
"""
COURSE_CALL = "from utils.intervals import wilson\nprint(f'{wilson(8, 10).estimate:.1f}')"


def written(path: Path, *cells: str | NotebookNode) -> Path:
    """A notebook of code cells, which may have outputs."""
    made = [new_code_cell(cell) if isinstance(cell, str) else cell for cell in cells]
    nbformat.write(new_notebook(cells=made), path)
    return path


def stdout(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def test_a_notebook_alone_in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(root()))
    ours = sorted({*NOTEBOOK_ENVIRONMENT, "PYTHONPATH"} - {"OMP_WAIT_POLICY"})
    surroundings = SURROUNDINGS.format(ours=ours, root=str(root()))
    path = written(
        tmp_path / "small.ipynb",
        setup_cell(root()),
        new_code_cell(surroundings, outputs=[stdout("['course', 'small.ipynb'] [] False\n")]),
        new_code_cell(COURSE_CALL, outputs=[stdout("0.9\n")]),
        new_code_cell("1 / 0", metadata={"tags": ["raises-exception"]}),
    )
    row, ran = rehearse.rehearse(path)
    assert row["failed"] == "" and (row["outputs"], row["differ"]) == (
        2,
        2,
    )  # "0.9" is not what it prints, and the error is new
    assert row["packages"]["torch"] and set(row["packages"]) == set(rehearse.needed())
    assert rehearse.printed(ran.cells[2]) == "0.8" and row["core_minutes"] > 0
    assert row["changed"] == [] and re.fullmatch("[0-9a-f]{40}", row["commit"])
    assert "printed outputs differ from the book's." in rehearse.report(row)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("value = 2\nvalue / 0", "ZeroDivisionError: division by zero"),
        ("import os\nos._exit(1)", "DeadKernelError: "),
    ],
)
def test_the_failing_cell_is_named(tmp_path, source, error):
    row, _ = rehearse.rehearse(written(tmp_path / "fails.ipynb", "1", source, "2"))
    assert row["failed"].startswith(f"cell 1 ({source.splitlines()[0]}): {error}")
    assert re.search(r"FAILED after [\d.]+ minutes at cell 1 ", rehearse.report(row))


def test_what_counts_as_a_printed_output():
    """A progress bar, standard error and a figure's name do not; a value, a table and an error do."""
    image = new_output("display_data", {"image/png": "", "text/plain": "<Image 0x1>"})
    value = new_output("execute_result", {"text/plain": "0.5"})
    noise = [
        new_output("stream", name="stderr", text="warning"),
        image,
        stdout(" 5%|\r10%|"),
        stdout("\rall:  0%|  | 0/2 [00:00<?, ?it/s]\n\rone: 1it [00:01, 1.2s/it]\x1b[A"),
        stdout("\r      \rdone\n"),
    ]
    error = new_output("error", ename="CourseError", evalue="no file", traceback=[])
    old = new_notebook(
        cells=[new_code_cell(outputs=each) for each in ([value], [stdout("done\n")], [image], [error])]
    )
    new = new_notebook(cells=[new_code_cell(outputs=each) for each in ([value], noise, [], [value])])
    assert rehearse.compared(new, old) == {"outputs": 3, "differ": 1}
    assert rehearse.compared(old, old) == {"outputs": 3, "differ": 0}


GIT = """#!/bin/sh
test "$1" = clone || { echo "abc1234 of 2026-08-19"; exit; }
for folder; do :; done  # the last argument
mkdir -p "$folder"
printf 'Ubuntu 22.04.5 LTS\\nPython 3.13.15\\n' >"$folder/os-info.txt"
cp freeze.txt "$folder/pip-freeze.txt"
"""
UV = """#!/bin/sh
while [ $# -gt 0 ]; do
    case $1 in --constraints) cp "$2" constraints.txt ;; --python-version) echo "$2" >python.txt ;; esac
    shift
done
echo "numpy==2.1.3" >requirements/colab.txt
"""


def test_what_colab_publishes_becomes_versions(tmp_path):
    """Packages locked by address get their version, what only has an address or comes with torch goes."""
    wheel = "https://download.pytorch.org/whl/cpu/torch-2.11.0%2Bcpu-cp313-cp313-manylinux_2_28_x86_64.whl"
    model = (
        "https://github.com/x/y/releases/download/en_core_web_sm-3.8.0/en_core_web_sm-3.8.0-py3-none-any.whl"
    )
    lines = [
        "numpy==2.1.3",
        f"torch @ {wheel}",
        f"en_core_web_sm @ {model}#sha256=12",
        "nvidia-nccl-cu13==2.31.2",
    ]
    (tmp_path / "freeze.txt").write_text("\n".join([*lines, "PyDrive2 @ git+https://github.com/x/y@12", ""]))
    for name, text in {"bin/git": GIT, "bin/uv": UV, "tools/lock_colab.sh": ""}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text or (root() / name).read_text("utf-8"))
        (tmp_path / name).chmod(0o755)
    (tmp_path / "requirements").mkdir()
    env = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    done = subprocess.run([tmp_path / "tools" / "lock_colab.sh"], env=env, capture_output=True, text=True)
    assert done.stdout == "requirements/colab.txt: 1 packages\n", done.stderr
    assert (tmp_path / "constraints.txt").read_text().split() == ["numpy==2.1.3", "torch==2.11.0"]
    assert (tmp_path / "python.txt").read_text() == "3.13\n"


@pytest.mark.parametrize("name", ["no_such.ipynb", "labs/01_pretraining.py"])
def test_one_sentence_for_what_is_no_notebook(monkeypatch, name):
    monkeypatch.setattr(sys, "argv", ["rehearse", name])
    with pytest.raises(
        SystemExit, match=f"^{name} is not a notebook: name one, such as labs/01_pretraining.ipynb.$"
    ):
        rehearse.main()


def test_one_sentence_for_a_python_that_colab_has_not(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearse.platform, "python_version", lambda: "3.9.1")
    notebook = str(written(tmp_path / "a.ipynb", "1"))
    monkeypatch.setattr(sys, "argv", ["rehearse", notebook, "--environment", str(tmp_path / "new")])
    with pytest.raises(
        SystemExit, match=r"^Colab has Python 3\.\d+ \(requirements/colab.txt\), and this is 3.9.1: "
    ):
        rehearse.main()
    assert not (tmp_path / "new").exists()


def test_unknown_versions(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["rehearse", "a.ipynb", "--versions", "oldest"])
    with pytest.raises(SystemExit):
        rehearse.main()
    assert "invalid choice: 'oldest' (choose from " in capsys.readouterr().err


def test_newest_versions_are_looked_for_each_time(tmp_path, monkeypatch, capsys):
    commands = []
    monkeypatch.setattr(install, "venv_version", lambda venv: sys.version)
    monkeypatch.setattr(
        install.subprocess,
        "run",
        lambda command, **_: commands.append(command) or install.subprocess.CompletedProcess(command, 0),
    )
    for name in ("list.in", "list.in", "lock.txt", "lock.txt"):
        (tmp_path / name).write_text("numpy\n")
        install.main(str(tmp_path / name), str(tmp_path))
    installing = [command for command in commands if "pip" in command]
    assert ["--upgrade" in command for command in installing] == [True, True, False]
    assert "--require-hashes" in installing[-1]


ROW = {
    "lab": LABS[0],
    "versions": "colab",
    "python": "3.13.0",
    "failed": "",
    "core_minutes": 2.04,
    "outputs": 9,
    "differ": 1,
}


def test_results_are_kept_by_lab_versions_and_python(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearse, "RESULTS", tmp_path / "versions.json")
    rehearse.record(ROW | {"failed": "cell 3"})
    rehearse.record(ROW)
    rehearse.record(ROW | {"lab": LABS[1], "versions": "locked", "python": "3.10.1", "failed": "cell 3"})
    assert [row["failed"] for row in json.loads((tmp_path / "versions.json").read_text())] == ["", "cell 3"]
    head, _, first, second, third, *_ = (tmp_path / "versions.md").read_text().splitlines()
    assert head == "| lab | colab, Python 3.13.0 | locked, Python 3.10.1 |"
    assert first == f"| {LABS[0]} | 2.0 min, 1 of 9 differ | not run |"
    assert second == f"| {LABS[1]} | not run | **fails** |"
    assert third == f"| {LABS[2]} | not run | not run |"


def test_the_recorded_results():
    rows = json.loads(rehearse.RESULTS.read_text("utf-8"))
    assert rehearse.table(rows) == rehearse.RESULTS.with_suffix(".md").read_text("utf-8")
    for row in rows:
        assert row["lab"] in LABS and row["versions"] in rehearse.VERSIONS
        assert row["changed"] == [], "the setup cell must leave Colab's packages as they are"
        assert 0 <= row["differ"] <= row["outputs"]


def test_the_weekly_workflow_rehearses_every_lab():
    jobs = yaml.safe_load((root() / ".github" / "workflows" / "weekly.yml").read_text("utf-8"))["jobs"]
    matrix = jobs["rehearsal"]["strategy"]["matrix"]
    assert matrix["lab"] == LABS and matrix["versions"] == ["colab", "newest"]
    steps = jobs["rehearsal"]["steps"]
    python = next(step["with"]["python-version"] for step in steps if "setup-python" in step.get("uses", ""))
    assert python == rehearse.colab_python()
    targets = re.findall(r"^([a-z-]+):.*##", (root() / "Makefile").read_text("utf-8"), re.M)
    used = re.findall(
        r"make ([a-z-]+)", "\n".join(step.get("run", "") for job in jobs.values() for step in job["steps"])
    )
    assert {"rehearsal", "lock-colab", "test"} <= set(used) <= set(targets)
