"""Building the book, and the pages of a built one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the book in `source` as `make book` does, every warning an error; pages go to `out`/_build/html."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", out]
    strict = ["-W", "--keep-going", "-n"]
    return subprocess.run([*command, *strict], capture_output=True, text=True, encoding="utf-8")


def pages(book: Path) -> list[Path]:
    """Every page of the book, the generated index and search pages too."""
    return sorted(page for page in book.rglob("*.html") if "_static" not in page.parts)
