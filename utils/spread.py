"""Runs side by side, in processes of this machine or on the workers of a Dask cluster: `make evidence JOBS=2`.

Runs are independent of each other, so it does not matter where and in which order they happen, as long as each worker
does what this process would do. Therefore a worker gets the function with all that it refers to, once; it takes over
this process's thread counts, on which the last digits depend; and it refuses to work with other code, other versions or
another hash seed, or on two runs at a time, which would share one random generator.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import importlib
import io
import os
import pickle
import platform
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from utils import settings
from utils.errors import CourseError

if TYPE_CHECKING:
    import numpy as np
    from distributed import Client
    from joblib import Parallel

T = TypeVar("T")

FRAMEWORKS = ("torch", "tensorflow")  # in the order in which they can be imported
VERSIONS = (
    "cloudpickle fastai joblib numpy pandas scikit-learn scipy tensorflow tf_keras tokenizers torch transformers"
).split()
PATIENCE = 60  # seconds to wait for a scheduler, and for a worker; ten times that for one in place of those that died

LATER = None  # the answer of a worker that can't do a task

_at_work = threading.Lock()
_loaded: tuple[str, Any] = ("", None)  # the function that this worker has at hand, and its name


def unordered(function: Callable[[Any], T], tasks: Mapping[str, Any]) -> Iterator[tuple[str, T]]:
    """Yield (name, function(task)) of each task as soon as it is done.

    With COURSE_JOBS=1 and no COURSE_SCHEDULER, which is the default, this is a plain loop in the order of `tasks`.
    Otherwise joblib hands the tasks out. A worker that dies is replaced by another one, and a task that needs runs
    which are not recorded yet is done here. `function` never returns None. Raises CourseError where it can't be sent,
    where no scheduler answers, it has no worker, or a worker is not made for this work; and what a task raises. Whoever
    stops listening loses only the tasks that are being worked on.
    """
    jobs, scheduler = settings.jobs(), settings.scheduler()
    if jobs == 1 and not scheduler:
        for name, task in tasks.items():
            yield name, function(task)
        return

    def work(
        *call: Any,
    ) -> Any:  # a local function travels whole: a scheduler reads it and need not know the course
        from utils.spread import _work

        return _work(*call)

    left = dict(tasks)
    while left:
        before, begun = len(left), len(left) < len(tasks)
        parcel, shared = _packed(function)
        digest, here = hashlib.sha256(parcel).hexdigest(), _facts(shared)
        pool, lost = _pool(jobs, scheduler, parcel, 10 * PATIENCE if begun else PATIENCE)
        calls = [(work, (parcel, digest, here, name, task), {}) for name, task in left.items()]
        try:
            for name, result in pool(calls):
                if result is not LATER:
                    del left[name]
                    yield name, result
        except lost as error:
            if len(left) < before:
                continue  # with new workers, which get the parcel anew
            raise CourseError(
                f"The workers died {len(left)} runs before the end ({type(error).__name__}), probably for want of "
                "memory: use fewer of them, and the same command goes on from there."
            ) from None
        except ModuleNotFoundError as error:
            raise CourseError(
                f"A worker can't import {error.name}: start the workers of {scheduler or 'this machine'} in a clone of "
                f"the course, with `make worker SCHEDULER={scheduler or 'ADDRESS'}`."
            ) from None
        if left:
            name = next(iter(left))
            yield (
                name,
                function(left.pop(name)),
            )  # what this one asks for is recorded now, perhaps for the others, too


class NotRecorded(Exception):
    """A task asks, on a worker, for runs that are not recorded yet: only the recording itself can record them."""


# ---- this side


def _packed(function: Callable[[Any], Any]) -> tuple[np.ndarray, list[str]]:
    """The function and all that it refers to as bytes, and the files and folders of this session among that.

    An array, since joblib gives arrays once: as a memory map to processes, by `scatter` to a cluster.
    """
    import cloudpickle
    import numpy as np

    shared: set[str] = set()
    temporary = Path(tempfile.gettempdir())

    class Pickler(cloudpickle.Pickler):
        def reducer_override(self, value: Any) -> Any:
            if isinstance(value, functools._lru_cache_wrapper) and value.__module__ == "__main__":
                parameters = value.cache_parameters()
                return _cached, (value.__wrapped__, parameters["maxsize"], parameters["typed"])
            if isinstance(value, Path) and value.is_relative_to(temporary) and value.exists():
                shared.add(str(value))
            return super().reducer_override(value)

    file = io.BytesIO()
    try:
        Pickler(file).dump(function)
    except Exception as error:  # each library has its own way to refuse
        reason = " ".join(str(error).split())[:200]
        raise CourseError(
            f"These runs can't be sent to a worker ({type(error).__name__}: {reason}): record them without JOBS and "
            "SCHEDULER."
        ) from None
    return np.frombuffer(file.getbuffer(), np.uint8), sorted(shared)


def _cached(function: Callable[..., T], maxsize: int | None, typed: bool) -> Callable[..., T]:
    """A cache of its own for the worker: `lru_cache` itself can't be pickled."""
    return functools.lru_cache(maxsize, typed)(function)


def _facts(shared: list[str]) -> dict[str, Any]:
    """What a worker must have in common with this process, and what it takes over from it."""
    tensorflow = sys.modules.get("tensorflow")
    return {
        "same": _same(),
        "shared": shared,
        "frameworks": [name for name in FRAMEWORKS if name in sys.modules],
        "threads": _threads(),
        "options": tensorflow.config.optimizer.get_experimental_options() if tensorflow else {},
    }


@functools.cache
def _same() -> dict[str, str]:
    """The code, the versions and the environment on which numbers depend."""
    code = hashlib.sha256()
    for path in sorted((settings.root() / "utils").rglob("*.py")):
        code.update(path.read_bytes())
    return {
        "Python": ".".join(platform.python_version_tuple()[:2]),
        "the course's utils": code.hexdigest()[:12],
        **{name: _version(name) for name in VERSIONS},
        "COURSE_PROFILE": settings.profile(),
        "hash('course')": str(hash("course")),  # not PYTHONHASHSEED, which may have been set after the start
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _pool(
    jobs: int, scheduler: str, parcel: np.ndarray, patience: int
) -> tuple[Parallel, tuple[type[Exception], ...]]:
    """joblib's pool of workers, and the errors by which it says that workers died."""
    from joblib import Parallel, parallel_config

    options: dict[str, Any] = {"n_jobs": jobs, "return_as": "generator_unordered", "batch_size": 1}
    if not scheduler:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        with parallel_config(backend="loky"):
            return Parallel(**options), (BrokenProcessPool,)
    from concurrent.futures import CancelledError

    from distributed import KilledWorker

    client = _client(scheduler, patience)
    with parallel_config(backend=_dask(client, parcel)):
        return Parallel(**options | {"n_jobs": -1, "pre_dispatch": "all"}), (CancelledError, KilledWorker)


def _dask(client: Client, parcel: np.ndarray) -> Any:
    """joblib's Dask backend, which gives all workers the parcel, with two changes to what joblib 1.6 does.

    joblib waits forever for a task whose workers died, or could not read it; here its error is passed on. And it does
    the work of a single worker in this process; here the worker does it.
    """
    from joblib._dask import DaskDistributedBackend

    class Backend(DaskDistributedBackend):
        def effective_n_jobs(self, n_jobs: int) -> int:
            return max(2, super().effective_n_jobs(n_jobs))

        def submit(self, func: Any, callback: Any = None) -> Any:
            done = super().submit(func, callback)
            done.add_done_callback(lambda done: done.exception() and callback(done.exception()))
            return done

    return Backend(client=client, scatter=[parcel])


def _client(scheduler: str, patience: int) -> Client:
    """The connection to a scheduler that has a worker."""
    client = _connection(scheduler)
    try:
        client.wait_for_workers(1, timeout=patience)
    except asyncio.TimeoutError:
        raise CourseError(
            f"The scheduler {scheduler} has no worker: start one in a clone of the course, with "
            f"`make worker SCHEDULER={scheduler}`."
        ) from None
    return client


@functools.cache
def _connection(scheduler: str) -> Client:
    from distributed import Client

    try:
        return Client(scheduler, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError, asyncio.TimeoutError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CourseError(
            f"COURSE_SCHEDULER={scheduler!r} does not answer ({reason}): start it with `dask scheduler`, and give the "
            "address that it prints, such as tcp://host:8786."
        ) from None


# ---- the worker's side


def _work(parcel: np.ndarray, digest: str, there: dict[str, Any], name: str, task: Any) -> tuple[str, Any]:
    """Do one task on a worker, after making sure that it is made for it."""
    from joblib import parallel_config

    global _loaded
    if not _at_work.acquire(blocking=False):
        raise CourseError(
            f"Worker {_me()} works on several runs at a time, which would share one random generator: start it with "
            "--nthreads 1."
        )
    try:
        if _loaded[0] != digest:
            _loaded = ("", None)  # frees the last one first
            _compare(there)
            for framework in there["frameworks"]:
                importlib.import_module(framework)
            if there["options"]:
                sys.modules["tensorflow"].config.optimizer.set_experimental_options(there["options"])
            _loaded = (digest, pickle.loads(parcel))
        _set_threads(there["threads"])
        with parallel_config(backend="sequential"):  # what scikit-learn would spread over the cluster
            return name, _loaded[1](task)
    except NotRecorded:
        return name, LATER
    finally:
        _at_work.release()


def _compare(there: dict[str, Any]) -> None:
    for what, here in _same().items():
        if here != there["same"][what]:
            raise CourseError(
                f"Worker {_me()} has {what} {here}, and the recording has {there['same'][what]}: start it with the "
                "same clone, requirements.txt and PYTHONHASHSEED, by `make worker`."
            )
    for path in there["shared"]:
        if not Path(path).exists():
            raise CourseError(
                f"Worker {_me()} has no {path}, which these runs share: set TMPDIR for the recording to a folder "
                "that all machines see under one name."
            )


def _me() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _threads() -> dict[str, int]:
    """The number of threads of torch and of each library of numpy, scipy and scikit-learn that has several."""
    from threadpoolctl import threadpool_info

    counts = {Path(pool["filepath"]).name: pool["num_threads"] for pool in threadpool_info()}
    return counts | ({"torch": sys.modules["torch"].get_num_threads()} if "torch" in sys.modules else {})


def _set_threads(counts: dict[str, int]) -> None:
    """Take over what `_threads` found elsewhere; OpenMP counts for each thread apart, so before each task."""
    from threadpoolctl import ThreadpoolController

    if "torch" in counts and "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(counts["torch"])
    for pool in ThreadpoolController().lib_controllers:
        pool.set_num_threads(counts.get(Path(pool.filepath).name, pool.num_threads))
