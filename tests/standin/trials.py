"""Trials: a loader meets a fault of one of its files, and then none; what was said, and what is in the cache."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import resource
import select
import shutil
import signal
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import RLock
from unittest import mock

from tqdm import tqdm

from tests.standin import loaders
from tests.standin.files import HANDLE, MEMBERS, content
from tests.standin.loaders import Loader
from tests.standin.server import Fault, Standin
from utils import downloads
from utils.downloads import SOURCES, Source
from utils.errors import CourseError

TIMEOUT = 0.25  # seconds of silence, in place of 30, where a server is silent
PATIENCE = 60.0  # seconds after which a process hangs
REMEDY = re.compile(r"try again|make room|get it again|do not use it|by hand")
CUTS = 20  # places at which a body ends too early
EVIL = ("../evil", "/tmp/course-evil", "a/../../evil", "a\\..\\evil", "C:evil")
LINKS = {
    "symlink": tarfile.SYMTYPE,
    "hardlink": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "fifo": tarfile.FIFOTYPE,
}


@dataclass(frozen=True)
class Outcome:
    """What a trial showed; `problems` says what is not as it should be."""

    clean_error: bool  # the loader refused, in one sentence that names file and remedy
    right_after: bool  # and without the fault it ended right
    problems: tuple[str, ...] = ()

    @property
    def wrong(self) -> bool:
        """Whether something wrong would have been trusted later."""
        return any(problem.startswith("trusted") for problem in self.problems)


class Lab:
    """A stand-in with the files of some loaders, and SOURCES with its addresses and the hashes of the small files."""

    def __init__(self, some: Iterable[Loader]) -> None:
        self.names = [name for loader in some for name in loader.sources]
        urls = {name: HANDLE if name == HANDLE else SOURCES[name].url for name in self.names}
        self.pages = {name: url.partition("://")[2] for name, url in urls.items()}
        self.server = Standin({page: content(name) for name, page in self.pages.items()})
        self.truth: dict[str, tuple[str, dict[str, str]]] = {}
        self.lasts: dict[str, tuple[int, float]] = {}  # lines of downloads.py and seconds of a loader

    def __enter__(self) -> Lab:
        self._stack = ExitStack()
        self._stack.enter_context(self.server)
        small = {name: self._small(name) for name in self.names if name != HANDLE}
        self._stack.enter_context(mock.patch.dict(SOURCES, small))
        handles = {HANDLE: self.server.url(HANDLE)}
        self._stack.enter_context(mock.patch.object(loaders, "_handles", handles))
        self._stack.enter_context(mock.patch.dict(os.environ, {"COURSE_PROFILE": "full"}))
        os.environ.pop("COURSE_DATA", None)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _small(self, name: str) -> Source:
        """A source with the address and the hashes of its small file; unknown hashes stay unknown."""
        source, body = SOURCES[name], content(name)
        members = {member.name: digest for member, digest in _hashes(body)} if source.members else {}
        assert set(members) == set(source.members) - {"bert_model.ckpt.meta"}, (
            "the members that are published"
        )
        known = _sha256(body) if source.sha256 else None
        return replace(source, url=self.server.url(source.url), sha256=known, size=len(body), members=members)

    def file(self, name: str) -> str:
        """The file's name in the cache, or the part of it that a message must have."""
        return "en-uncased-l-12-h-768-a-12-4" if name == HANDLE else SOURCES[name].file

    def is_archive(self, name: str) -> bool:
        """Whether a source is unpacked."""
        return name == HANDLE or SOURCES[name].file.endswith(loaders.ARCHIVES)

    def known(self, name: str) -> bool:
        """Whether the hash of a source, or of all it holds, is known before the first download."""
        return name != HANDLE and bool(SOURCES[name].sha256 or SOURCES[name].members)

    @contextmanager
    def cache(self) -> Iterator[Path]:
        """An empty cache in a folder of its own."""
        with TemporaryDirectory(prefix="faults-") as folder:
            cache = Path(folder) / "cache"
            with mock.patch.object(downloads, "cache_dir", lambda: cache):
                yield cache

    def undisturbed(self, loader: Loader) -> tuple[str, dict[str, str]]:
        """What a loader gives, and what is in the cache then."""
        if loader.name not in self.truth:
            with self.cache() as cache:
                self.truth[loader.name] = _quiet(loader.load), trusted(cache)
        return self.truth[loader.name]

    # ---- trials

    def fault(self, loader: Loader, name: str, fault: Fault) -> Outcome:
        """A loader while one of its pages has a fault."""
        self.undisturbed(loader)
        with self.cache() as cache:
            patience = TIMEOUT if fault.way in ("silent", "stalled") else downloads.TIMEOUT
            with (
                self.server.disturbed(self.pages[name], fault),
                mock.patch.object(downloads, "TIMEOUT", patience),
            ):
                said = _attempt(loader.load)
            return self._judge(loader, cache, said, name)

    def evil(self, loader: Loader, name: str, body: bytes) -> Outcome:
        """A loader whose archive is another one, even by its hash, where one is known."""
        self.undisturbed(loader)
        with self.cache() as cache:
            source = SOURCES.get(name)
            if source and source.sha256:
                fooled = mock.patch.dict(SOURCES, {name: replace(source, sha256=_sha256(body))})
            else:
                fooled = ExitStack()
            with fooled, mock.patch.dict(self.server.pages, {self.pages[name]: body}):
                said = _attempt(loader.load)
            outside = [path for path in cache.parent.iterdir() if path != cache]
            outside += [path for path in map(Path, EVIL) if path.is_absolute() and path.exists()]
            extra = [f"trusted: {path} was written" for path in outside]
            allowed = {source.file: _sha256(body)} if source and source.sha256 else {}
            return self._judge(loader, cache, said, name, allowed, extra)

    def full_disk(self, loader: Loader, name: str, limit: int) -> Outcome:
        """A loader that may write no more than `limit` bytes to a file."""
        self.undisturbed(loader)

        def act() -> str:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return loader.load()

        with self.cache() as cache:
            process = Child(lambda: _attempt(act))
            return self._judge(
                loader, cache, process.result(), name, files=[self.file(n) for n in loader.sources]
            )

    def two(self, loader: Loader, fault: Fault) -> list[Outcome]:
        """Two processes at once; a fault of the first page lasts as long as it says."""
        loaded, _ = self.undisturbed(loader)
        with self.cache() as cache:
            with self.server.disturbed(self.pages[loader.sources[0]], fault):
                processes = [Child(lambda: _attempt(loader.load)) for _ in range(2)]
                said = [process.result() for process in processes]
            failed = sum(one != loaded for one in said)
            problems = [f"{failed} of 2 failed: {said}"] if failed > (fault.way != "slow") else []
            return [self._judge(loader, cache, one, loader.sources[0], problems=problems) for one in said]

    def killed(self, loader: Loader, random: Random, by_line: bool) -> tuple[Outcome, bool]:
        """A process that SIGKILL ends at a random line of utils/downloads.py, or at a random time."""
        self.undisturbed(loader)
        slow = Fault("slow", seconds=0.02)
        with self.cache() as cache:
            with self.server.disturbed(self.pages[loader.sources[0]], slow):
                if loader.name not in self.lasts:
                    start = time.perf_counter()
                    lines = int(Child(lambda: _lines(loader.load)).result())
                    self.lasts[loader.name] = lines, time.perf_counter() - start
                    shutil.rmtree(cache)
                lines, seconds = self.lasts[loader.name]
                if by_line:
                    at = random.randrange(1, lines + 1)
                    child = Child(lambda: _lines(loader.load, at))
                else:
                    child = Child(loader.load)
                    child.kill_after(random.uniform(0, seconds))
                said = child.result()
            return self._judge(loader, cache, said, loader.sources[0], temporary=True), said == "killed"

    def _judge(
        self,
        loader: Loader,
        cache: Path,
        said: str,
        name: str,
        allowed: Mapping[str, str] | None = None,
        problems: list[str] | None = None,
        temporary: bool = False,
        files: list[str] | None = None,
    ) -> Outcome:
        """What is in the cache after a fault, what was said, and how the next run ends."""
        loaded, cached = self.undisturbed(loader)
        problems = list(problems or [])
        good = {**cached, **(allowed or {})}
        problems += [
            f"trusted: {file} after {said}"
            for file, digest in trusted(cache).items()
            if good.get(file) != digest
        ]
        left = [path.name for path in cache.glob(f".*{downloads.PART}")] if cache.exists() else []
        if left and not temporary:
            problems.append(f"left: {left}")
        error = said.startswith("CourseError: ")
        if error:
            named = any(file in said for file in files or [self.file(name)])
            if not named or "\n" in said or not REMEDY.search(said):
                problems.append(f"unclear: {said}")
        elif said not in (loaded, "killed"):
            problems.append(f"bare or wrong: {said}")
        again = _attempt(loader.load)
        if again != loaded or trusted(cache) != cached:
            problems.append(f"not right after: {again}, {trusted(cache).keys() ^ cached.keys()}")
        after = not any(problem.startswith("not right") for problem in problems)
        return Outcome(error, after, tuple(problems))


def faults(body: bytes, random: Random) -> dict[str, list[Fault]]:
    """The faults of one file by kind; those of wrong content come with the headers of the right one."""
    flips = []
    for _ in range(3):
        flipped = bytearray(body)
        flipped[random.randrange(len(body))] ^= 1 << random.randrange(8)
        flips.append(bytes(flipped))
    noise = [random.randbytes(len(body)), bytes(len(body))]
    framings = ("with a length", "without a length", "in chunks")
    cuts = [Fault(f"cut {random.choice(framings)}", keep=n / CUTS) for n in range(CUTS)]
    return {
        "cut": cuts,
        "slow": [Fault("silent"), Fault("stalled")],
        "404": [Fault("status", status=404)],
        "429": [Fault("status", status=429, headers={"Retry-After": "30"})],
        "500": [Fault("status", status=500), Fault("status", status=503)],
        "wrong bytes": [Fault("other", wrong) for wrong in flips + noise],
        "wrong length": [
            Fault("other", wrong) for wrong in (body + b"\n", body[:-1], b"", b"<html>Log in</html>")
        ],
    }


def evil_archives(file: str, body: bytes) -> dict[str, list[bytes]]:
    """Archives of the kind of a file that would leave their folder, or fill the disk."""
    zipped = file.endswith(".zip")
    pack = _zip if zipped else _tar
    good = {f"{member}": b"x" for member in MEMBERS}
    leave = [pack({**good, name: b"evil"}) for name in EVIL]
    leave += [_zip(good, link="../evil")] if zipped else [_tar(good, kind) for kind in LINKS.values()]
    bombs = [pack({**good, "zeros": bytes(2**23)})]
    if not zipped:
        bombs += [_tar(good, tarfile.GNUTYPE_SPARSE, 2**40), _tar(good, tail=2**23)]
    return {"path traversal": leave, "zip bomb": bombs}


def limits(file: str, body: bytes) -> list[int]:
    """Sizes at which the disk is full: at once, within a file, and while an archive is unpacked."""
    return [10, len(body) // 2] + ([len(body) + 100] if file.endswith(loaders.ARCHIVES) else [])


def trusted(cache: Path) -> dict[str, str]:
    """The hashes of all files that a later run would take as they are."""
    return {
        str(path.relative_to(cache)): downloads.sha256(path)
        for path in cache.rglob("*")
        if path.is_file() and not path.relative_to(cache).parts[0].endswith(downloads.PART)
    }


class Child:
    """A forked process that does something; its result is a text."""

    def __init__(self, act: Callable[[], str]) -> None:
        self._pipe, end = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if not self.pid:
            try:
                # a lock that all processes share would stop the others' bars once its owner is killed
                tqdm.set_lock(RLock())
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                os.write(end, _quiet(act).encode())
            except BaseException as error:
                os.write(end, f"{type(error).__name__}: {error}".encode())
            finally:
                os._exit(0)
        os.close(end)

    def kill_after(self, seconds: float) -> None:
        """Send SIGKILL at a time."""
        time.sleep(seconds)
        os.kill(self.pid, signal.SIGKILL)

    def result(self) -> str:
        """What it gave, `killed`, or `hangs` (then it is killed)."""
        if not select.select([self._pipe], [], [], PATIENCE)[0]:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            return "hangs"
        with os.fdopen(self._pipe, "rb") as pipe:
            said = pipe.read().decode()
        _, status = os.waitpid(self.pid, 0)
        return said or ("killed" if os.WIFSIGNALED(status) else "nothing")


def _lines(act: Callable[[], str], kill_at: int = 0) -> str:
    """Count the lines of utils/downloads.py that run, and die at one of them."""
    count = 0

    def line(frame: object, event: str, _: object) -> object:
        nonlocal count
        if event == "line":
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return line

    def call(frame: object, event: str, _: object) -> object:
        return line if frame.f_code.co_filename == downloads.__file__ else None

    sys.settrace(call)
    try:
        act()
    finally:
        sys.settrace(None)
    return str(count)


def _attempt(act: Callable[[], str]) -> str:
    """What it gives, or the error as a text."""
    try:
        return _quiet(act)
    except CourseError as error:
        return f"CourseError: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _quiet(act: Callable[[], str]) -> str:
    with redirect_stdout(io.StringIO()):
        return act()


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _hashes(body: bytes) -> Iterator[tuple[Path, str]]:
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        for name in archive.namelist():
            yield Path(name), _sha256(archive.read(name))


def _zip(members: Mapping[str, bytes], link: str = "") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        if link:
            info = zipfile.ZipInfo("link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, link)
    return buffer.getvalue()


def _tar(members: Mapping[str, bytes], kind: bytes = b"", size: int = 0, tail: int = 0) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        if kind:
            info = tarfile.TarInfo("odd")
            info.type, info.linkname, info.size = kind, "../evil", size
            archive.addfile(info)
    return gzip.compress(buffer.getvalue() + bytes(tail))
