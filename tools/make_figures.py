"""Draw the figures of the chapters into assets/figures: `make figures`.

Some figures are drawings, others show recorded runs (`evidence/runs/`) or a checkpoint's tokenizer. Each chapter has
a module in `tools/figures/`. What a figure was drawn from is kept in it as a fingerprint, so that a test can tell when
it is out of date.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from tools import figures
from tools.figures import (
    adaptation,
    analysis,
    applications,
    introduction,
    open_problems,
    pretraining,
    preview,
    repository,
    scaling,
)
from utils.errors import CourseError
from utils.plots import DPI, style

FOLDER = Path("assets") / "figures"
FIGURES = {
    **introduction.FIGURES,
    **pretraining.FIGURES,
    **analysis.FIGURES,
    **adaptation.FIGURES,
    **applications.FIGURES,
    **open_problems.FIGURES,
    **scaling.FIGURES,
    **preview.FIGURES,
}


def fingerprint(name: str, inputs: Any) -> str:
    """What a figure depends on, in short: its inputs, the module of its chapter, and what all chapters share."""
    text = json.dumps(inputs, sort_keys=True)
    for module in (figures, inspect.getmodule(FIGURES[name].draw)):
        text += inspect.getsource(module)
    return hashlib.sha256(text.encode()).hexdigest()


def save(name: str, folder: Path) -> None:
    """Draw one figure into `folder`; raises CourseError when what it shows was not measured yet."""
    source = FIGURES[name]
    inputs = source.inputs()
    style()
    fig = source.draw(inputs)
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"Software": None, "Comment": fingerprint(name, inputs)}
    fig.savefig(folder / f"{name}.png", dpi=DPI, metadata=metadata)
    plt.close(fig)


def main() -> None:
    for name in FIGURES:
        try:
            save(name, repository(FOLDER))
            print(f"{FOLDER / name}.png")
        except CourseError as error:
            print(f"{FOLDER / name}.png is not drawn: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
