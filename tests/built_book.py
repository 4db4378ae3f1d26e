"""The whole book, built once for all tests that look at its pages."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_folder = tempfile.TemporaryDirectory(prefix="book-")  # removed when the tests end


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the book in `source` as `make book` does, every warning an error; pages go to `out`/_build/html."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--path-output", out]
    strict = ["-W", "--keep-going", "-n"]
    return subprocess.run([*command, *strict], capture_output=True, text=True, encoding="utf-8")


@cache
def built_book() -> Path:
    """Folder with the pages of the book; fails with what the build said when it is not clean."""
    out = Path(_folder.name)
    done = build(ROOT, out)
    assert done.returncode == 0, done.stderr[-4000:]
    return out / "_build" / "html"


def pages(book: Path) -> list[Path]:
    """Every page of the book, the generated index and search pages too."""
    return sorted(page for page in book.rglob("*.html") if "_static" not in page.parts)
