"""Rules that every lab's notebook keeps, beside nbval's comparison of every printed number.

nbval does not see a figure that changed, a cell that was never run and stores no output, or an unknown magic.
"""

import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from tools import build_labs

ROOT = Path(__file__).resolve().parent.parent
LABS = sorted((ROOT / "labs").glob("*.py"))
TAGS = {
    "hide-cell",
    "hide-input",
    "hide-output",
    "nbval-ignore-output",
    "raises-exception",
    "remove-cell",
    "remove-input",
}
LOCAL = re.compile(r"/(?:home|root|tmp|Users|var/folders)/|[A-Z]:\\\\|ipykernel_\d|\bat 0x[0-9a-f]{6}")
UNROUNDED = re.compile(r"\d\.\d{7,}")  # the last digits differ between processors
ALT_LENGTH = 40  # characters; less can't say what a figure shows


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code" and cell.source.strip()]


def has_image(cell: NotebookNode) -> bool:
    return any(kind.startswith("image/") for output in cell.outputs for kind in output.get("data", {}))


def printed(cell: NotebookNode) -> str:
    """The text that stands beside a figure: printed, or shown as a table or value, but not a figure's own name."""
    texts = [output.text for output in cell.outputs if output.output_type == "stream"]
    for output in cell.outputs:
        data = output.get("data", {})
        if not any(kind.startswith("image/") for kind in data):
            texts.append(str(data.get("text/plain", "")))
    return "\n".join(texts).strip()


def differences_from_source(notebook: NotebookNode, plan: NotebookNode) -> list[str]:
    """Cells that are not what the build would make from the .py source."""

    def cells(nb: NotebookNode) -> list[tuple[str, str, str]]:
        return [(c.cell_type, c.source, json.dumps(c.metadata, sort_keys=True)) for c in nb.cells]

    have, want = cells(notebook), cells(plan)
    wrong = [
        f"cell {i} differs from the source"
        for i, (a, b) in enumerate(zip(have, want, strict=False))
        if a != b
    ]
    return wrong + ([f"{len(have)} cells, the source has {len(want)}"] if len(have) != len(want) else [])


def never_run(notebook: NotebookNode) -> list[str]:
    """Code cells were run once each, from the top, in a fresh kernel."""
    counts = [cell.execution_count for cell in code_cells(notebook)]
    if counts == list(range(1, len(counts) + 1)):
        return []
    return [f"execution counts are {counts}, not 1 to {len(counts)}"]


def bad_outputs(notebook: NotebookNode) -> list[str]:
    """Warnings, unexpected errors, local paths, memory addresses and unrounded numbers in outputs."""
    wrong = []
    for i, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                wrong.append(f"cell {i} writes to stderr: {output.text[:80]!r}")
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                wrong.append(f"cell {i} fails with {output.ename}")
            data = {k: v for k, v in output.get("data", {}).items() if not k.startswith("image/")}
            text = "\n".join([output.get("text", ""), *output.get("traceback", []), *map(str, data.values())])
            if LOCAL.search(text):
                wrong.append(
                    f"cell {i} shows a path or address of one machine: {LOCAL.search(text).group()!r}"
                )
            if UNROUNDED.search(text) and "nbval-ignore-output" not in cell.metadata.get("tags", []):
                wrong.append(f"cell {i} prints an unrounded number: {UNROUNDED.search(text).group()}")
    return wrong


def bad_tags(notebook: NotebookNode) -> list[str]:
    """Tags outside the list, and outputs that nbval ignores without a reason."""
    wrong = []
    for i, cell in enumerate(notebook.cells):
        tags = set(cell.metadata.get("tags", []))
        wrong += [f"cell {i} has the tag {tag!r}, which is not allowed" for tag in sorted(tags - TAGS)]
        if "nbval-ignore-output" in tags and len(str(cell.metadata.get("reason", ""))) < 10:
            wrong.append(f"cell {i} is ignored by nbval without a `reason` in its metadata")
    return wrong


def bad_figures(notebook: NotebookNode) -> list[str]:
    """Figures without alt text, or without a printed number or sentence beside them."""
    wrong = []
    for i, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or not has_image(cell):
            continue
        alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
        if len(alt) < ALT_LENGTH:
            wrong.append(
                f"cell {i} shows a figure with {len(alt)} characters of alt text, {ALT_LENGTH} are needed"
            )
        if not printed(cell):
            wrong.append(f"cell {i} shows a figure and prints nothing beside it")
    return wrong


def bad_code(notebook: NotebookNode) -> list[str]:
    """Cells that are too long to teach with, and magics and shell lines, whose failure nbval would miss."""
    taught = [cell for cell in code_cells(notebook) if not cell.source.startswith(build_labs.SETUP_START)]
    lengths = sorted(len(cell.source.splitlines()) for cell in taught)
    wrong = [
        f"cell {i} holds a magic or shell line: {line.strip()!r}"
        for i, cell in enumerate(notebook.cells)
        if cell.cell_type == "code"
        for line in cell.source.splitlines()
        if re.match(r"\s*(%%?[a-z]|!)", line)
    ]
    if lengths and statistics.median(lengths) > 6:
        wrong.append(f"the median code cell has {statistics.median(lengths):g} lines, more than 6")
    if lengths and sum(length > 20 for length in lengths) > 0.1 * len(lengths):
        wrong.append(
            f"more than one code cell in ten is longer than 20 lines: {[n for n in lengths if n > 20]}"
        )
    return wrong


RULES = [never_run, bad_outputs, bad_tags, bad_figures, bad_code]


@pytest.mark.parametrize("lab", LABS, ids=lambda path: path.stem)
def test_lab_notebook(lab: Path) -> None:
    assert build_labs.built(lab).is_file(), f"run `make labs LAB={lab.stem}`"
    notebook = nbformat.read(build_labs.built(lab), as_version=4)
    nbformat.validate(notebook)
    wrong = differences_from_source(notebook, build_labs.planned(lab))
    wrong += [sentence for rule in RULES for sentence in rule(notebook)]
    assert not wrong, "\n".join([lab.stem, *wrong])


def test_every_notebook_has_a_source() -> None:
    notebooks = {path.stem for path in (ROOT / "labs").glob("*.ipynb")}
    assert notebooks == {path.stem for path in LABS}


# The rules themselves, on one small lab that is right and on notebooks made wrong.

SOURCE = """\
# %% [markdown]
# # A lab
# <!-- colab badge -->

# %% tags=["hide-input"]
# course setup

# %% [markdown]
# ## One question

# %%
import random

random.seed(1)
print(f"{random.random():.3f}")

# %% mystnb={"image": {"alt": "A straight line that rises from zero at the left to one at the right."}}
import matplotlib.pyplot as plt

plt.plot([0, 1])
plt.show()
print("slope 1.0")

# %% tags=["raises-exception"]
from utils.errors import CourseError

raise CourseError("This cell fails on purpose.")
"""


@pytest.fixture(scope="module")
def small_lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small lab, built by the real build, inside a folder of its own that has the course around it."""
    root = tmp_path_factory.mktemp("course")
    for name in ("utils", "_config.yml"):
        (root / name).symlink_to(ROOT / name)
    source = root / "labs" / "small.py"
    source.parent.mkdir()
    source.write_text(SOURCE, "utf-8")
    build_labs.build(source)
    return source


def read(source: Path) -> NotebookNode:
    return nbformat.read(build_labs.built(source), as_version=4)


def test_build_keeps_the_rules_and_repeats_itself(small_lab: Path) -> None:
    notebook = read(small_lab)
    assert differences_from_source(notebook, build_labs.planned(small_lab)) == []
    assert [sentence for rule in RULES for sentence in rule(notebook)] == []
    assert "](https://colab.research.google.com/github/" in notebook.cells[0].source
    assert "git" in notebook.cells[1].source and notebook.cells[1].metadata.tags == ["hide-input"]
    assert notebook.cells[4].metadata.mystnb.image.alt.startswith("A straight line")
    first = build_labs.built(small_lab).read_bytes()
    build_labs.build(small_lab)
    assert build_labs.built(small_lab).read_bytes() == first


def test_text_build_keeps_outputs_and_refuses_new_code(small_lab: Path) -> None:
    before = read(small_lab)
    small_lab.write_text(SOURCE.replace("One question", "Another question"), "utf-8")
    build_labs.build_text(small_lab)
    after = read(small_lab)
    assert after.cells[2].source == "## Another question"
    assert [c.outputs for c in code_cells(after)] == [c.outputs for c in code_cells(before)]
    small_lab.write_text(SOURCE.replace("seed(1)", "seed(2)"), "utf-8")
    with pytest.raises(build_labs.CourseError, match="has changed"):
        build_labs.build_text(small_lab)
    small_lab.write_text(SOURCE, "utf-8")
    build_labs.build_text(small_lab)


def test_the_kernel_has_the_tests_environment(small_lab: Path) -> None:
    code = "import os\nos.environ['COURSE_PROFILE'], os.environ['TQDM_DISABLE'], 'PATH' in os.environ"
    probe = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    build_labs.execute(probe, small_lab.parent)
    assert probe.cells[0].outputs[0].data["text/plain"] == "('mini', '1', True)"


def test_a_failing_cell_writes_nothing(small_lab: Path) -> None:
    before = build_labs.built(small_lab).read_bytes()
    small_lab.write_text(SOURCE + "\n# %%\n1 / 0\n", "utf-8")
    with pytest.raises(build_labs.CourseError, match="ZeroDivisionError"):
        build_labs.build(small_lab)
    assert build_labs.built(small_lab).read_bytes() == before
    small_lab.write_text(SOURCE, "utf-8")


def test_recording_runs_the_lab_as_a_script(small_lab: Path) -> None:
    proof = small_lab.parent / "proof.txt"
    write = "import os\nfrom pathlib import Path\nPath('proof.txt').write_text(os.environ['COURSE_RECORD'])\n"
    small_lab.write_text(f"{SOURCE}\n# %%\n{write}", "utf-8")
    build_labs.record(small_lab)  # goes past the cell that fails on purpose
    assert proof.read_text() == "1"
    small_lab.write_text(SOURCE + "\n# %%\n1 / 0\n", "utf-8")
    with pytest.raises(build_labs.CourseError, match="Recording small.py failed"):
        build_labs.record(small_lab)
    small_lab.write_text(SOURCE, "utf-8")


def test_source_rule_can_fail(small_lab: Path) -> None:
    notebook, plan = read(small_lab), build_labs.planned(small_lab)
    notebook.cells[3].source += "\nprint(2)"
    assert differences_from_source(notebook, plan) == ["cell 3 differs from the source"]
    del notebook.cells[3:]
    assert differences_from_source(notebook, plan) == ["3 cells, the source has 6"]
    plan.cells[1].metadata.tags = []
    assert "cell 1 differs from the source" in differences_from_source(notebook, plan)


def spoil(cell: NotebookNode, how: str) -> None:
    stream = nbformat.v4.new_output
    changes = {
        "not run": lambda: cell.update(execution_count=None),
        "run twice": lambda: cell.update(execution_count=9),
        "stderr": lambda: cell.outputs.append(stream("stream", name="stderr", text="UserWarning")),
        "path": lambda: cell.outputs.append(stream("stream", name="stdout", text="/home/someone/course")),
        "address": lambda: cell.outputs.append(
            stream("stream", name="stdout", text="<A object at 0x7f1234567890>")
        ),
        "unrounded": lambda: cell.outputs.append(stream("stream", name="stdout", text="0.30000000000000004")),
        "error": lambda: cell.metadata.pop("tags"),
        "skipped": lambda: cell.metadata.update(tags=["nbval-skip"]),
        "ignored": lambda: cell.metadata.update(tags=["nbval-ignore-output"]),
        "no alt": lambda: cell.metadata.pop("mystnb"),
        "short alt": lambda: cell.metadata.mystnb.image.update(alt="A line."),
        "nothing printed": lambda: cell.update(
            outputs=[o for o in cell.outputs if o.output_type != "stream"]
        ),
        "magic": lambda: cell.update(source="%notmagic\nprint(1)"),
        "shell": lambda: cell.update(source="!ls"),
        "long": lambda: cell.update(source="\n".join(["x = 1"] * 21)),
    }
    changes[how]()


@pytest.mark.parametrize(
    ("rule", "cell", "how"),
    [
        (never_run, 3, "not run"),
        (never_run, 3, "run twice"),
        (bad_outputs, 3, "stderr"),
        (bad_outputs, 3, "path"),
        (bad_outputs, 3, "address"),
        (bad_outputs, 3, "unrounded"),
        (bad_outputs, 5, "error"),
        (bad_tags, 3, "skipped"),
        (bad_tags, 3, "ignored"),
        (bad_figures, 4, "no alt"),
        (bad_figures, 4, "short alt"),
        (bad_figures, 4, "nothing printed"),
        (bad_code, 3, "magic"),
        (bad_code, 3, "shell"),
        (bad_code, 3, "long"),
    ],
)
def test_rules_can_fail(small_lab: Path, rule, cell: int, how: str) -> None:
    notebook = read(small_lab)
    assert rule(notebook) == []
    spoil(notebook.cells[cell], how)
    assert len(rule(notebook)) == 1


def test_median_rule_can_fail(small_lab: Path) -> None:
    notebook = read(small_lab)
    for cell in notebook.cells:
        cell.source = "\n".join(["x = 1"] * 7)
    assert bad_code(notebook) == ["the median code cell has 7 lines, more than 6"]
