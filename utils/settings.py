"""Profile, recording mode, workers, data folder, seeds, device, threads and progress bars of every lab.

Only the standard library is imported here; numpy, torch and tqdm are imported by the functions that need
them.
"""

from __future__ import annotations

import os
import random
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from utils.errors import CourseError

if TYPE_CHECKING:
    import torch

T = TypeVar("T")
Profile = Literal["mini", "full"]
_warned = False


def root() -> Path:
    """Return the folder of the course, the one that holds `_toc.yml`."""
    return Path(__file__).resolve().parents[1]


def profile() -> Profile:
    """Return the profile that COURSE_PROFILE names: `mini` (default, two CPU cores) or `full` (one GPU)."""
    name = os.environ.get("COURSE_PROFILE") or "mini"
    if name == "mini" or name == "full":
        return name
    raise CourseError(
        f"COURSE_PROFILE={name!r} is not a profile of the course: set it to 'mini' or to 'full'."
    )


def recording() -> bool:
    """Return True when COURSE_RECORD=1: labs then run every recorded seed and write the evidence."""
    value = os.environ.get("COURSE_RECORD") or "0"
    if value not in ("0", "1"):
        raise CourseError(
            f"COURSE_RECORD={value!r} is not understood: set it to 1 to record evidence, or to 0."
        )
    return value == "1"


def jobs() -> int:
    """Return how many recorded runs COURSE_JOBS lets go on side by side on this machine, 1 by default."""
    value = os.environ.get("COURSE_JOBS") or "1"
    if not value.isascii() or not value.isdigit() or int(value) < 1:
        raise CourseError(f"COURSE_JOBS={value!r} is not a number of processes: set it to 2, for instance.")
    return int(value)


def scheduler() -> str:
    """Return the address of the Dask scheduler that COURSE_SCHEDULER names, empty when it is not set."""
    value = os.environ.get("COURSE_SCHEDULER") or ""
    if value and jobs() > 1:
        raise CourseError(
            f"COURSE_JOBS={jobs()} is for this machine alone and COURSE_SCHEDULER={value!r} for a cluster, whose "
            "workers are its jobs: set one of the two."
        )
    return value


def data_dir() -> Path | None:
    """Return the folder that COURSE_DATA names, or None when it is not set; the folder must exist."""
    value = os.environ.get("COURSE_DATA")
    if not value:
        return None
    folder = Path(value).expanduser()
    if not folder.is_dir():
        raise CourseError(
            f"COURSE_DATA={value!r} is not a folder: create it, or unset COURSE_DATA to download the data."
        )
    return folder


def seed_everything(seed: int) -> None:
    """Seed Python's `random`, numpy, and torch (all devices) if torch has been imported."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)


@contextmanager
def same_random() -> Iterator[None]:
    """Leave the random numbers of Python, numpy and torch (CPU) afterwards as if nothing had been drawn in between."""
    import numpy as np

    torch = sys.modules.get("torch")
    python, numpy, own = random.getstate(), np.random.get_state(), torch and torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
        if torch:
            torch.set_rng_state(own)


def device(
    cpu_time: str = "10 to 50 times the minutes that the lab's header states for a GPU",
) -> torch.device:
    """Return the best device of this machine: cuda, else mps, else cpu.

    In the `full` profile a machine without a GPU is used all the same; one warning per session then says that
    the work takes `cpu_time`.
    """
    import torch

    global _warned
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    if profile() == "full" and not _warned:
        _warned = True
        warnings.warn(
            f"No GPU was found, so the full profile runs on the CPU: expect {cpu_time}.", stacklevel=2
        )
    return torch.device("cpu")


def processes() -> tuple[int, int]:
    """The number of this process, from 0, and how many share the work, as `accelerate launch` tells each of them."""
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def threads(n: int) -> None:
    """Let torch use `n` CPU threads; one thread makes sums, and so the printed numbers, repeatable."""
    import torch

    torch.set_num_threads(n)


def progress(iterable: Iterable[T], desc: str = "", total: int | None = None) -> Iterator[T]:
    """Iterate with a progress bar (tqdm), which is not shown where TQDM_DISABLE is set."""
    from tqdm import tqdm

    return iter(tqdm(iterable, desc=desc, total=total, **bar_style()))


@contextmanager
def quiet() -> Iterator[None]:
    """Drop what compiled code writes to standard error, such as TensorFlow's notes while it is imported.

    Exceptions, and in a notebook what Python writes, come through as ever.
    """
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)  # not sys.stderr, which a library may keep for its messages
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def bar_style() -> dict[str, Any]:
    """Return the tqdm options of every bar: on standard output, gone when done, off with TQDM_DISABLE."""
    disable = os.environ.get("TQDM_DISABLE", "") not in ("", "0")
    return {"disable": disable, "file": sys.stdout, "leave": False, "ncols": 80}
