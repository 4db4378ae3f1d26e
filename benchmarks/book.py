"""How long the book takes to build (see README.md).

python -m benchmarks.book                    # about 2 minutes; writes benchmarks/book.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.machine import Meter, processor
from utils.settings import root


def measure(source: Path) -> dict[str, Any]:
    """Build the book in `source` as `make book` does on a fresh clone, into a folder that is removed.

    Raises CalledProcessError where the build is not clean.
    """
    with TemporaryDirectory() as folder, Meter() as meter:
        command = [
            Path(sys.executable).with_name("jupyter-book"),
            "build",
            source,
            "--path-output",
            folder,
            "-W",
            "-n",
        ]
        clock, before = time.perf_counter(), meter.core_seconds()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds, spent = time.perf_counter() - clock, meter.core_seconds() - before
        pages = sum("_static" not in path.parts for path in Path(folder).rglob("*.html"))
    return {
        "pages": pages,
        "seconds": round(seconds, 1),
        "core_seconds": round(spent, 1),
        "peak_bytes": meter.peak,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Time the build of the book.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("book.json"), help="result file")
    options = parser.parse_args(arguments)
    result = {"processor": processor(), "jupyter-book": version("jupyter-book"), **measure(root())}
    options.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(result)


if __name__ == "__main__":
    main()
