"""A student's process behind closed doors, and the questions one may ask it.

On Linux the process lives in a room of its own (`enter.py`): no network, no other process, no file but Python, the
course's `utils` and a folder in memory. Where the system allows no such room (macOS, some containers) it gets the same
limits and a guard inside Python that refuses network, programs and other files; `closed_room_refused` says so.
"""

import functools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
MEMORY = 3 * 2**30  # bytes, all processes of a student together
PRINTED = 20 * 2**20  # bytes
REPLY = 64 * 2**20  # bytes
FOLDER = 256 * 2**20  # bytes, all files of a student together
PROCESSES = 32
THREADS = 128  # in a closed room only; elsewhere the system counts all that its user runs
PATIENCE = 4  # wall-clock seconds for each second of processor time, before a process is stopped
LIMITS = {  # of each process; names of Python's module `resource`
    "RLIMIT_DATA": MEMORY,
    "RLIMIT_CPU": 150,
    "RLIMIT_FSIZE": 64 * 2**20,
    "RLIMIT_NOFILE": 256,
    "RLIMIT_CORE": 0,
}
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/sys/devices/system/cpu")
COURSE = ("utils", "checkpoints", "tools/assignments/worker.py")


class RoomClosed(Exception):
    """The process is gone; the message says why, to go after `it`."""


def environment(home: str) -> dict[str, str]:
    """What the process sees of the environment: nothing personal."""
    return {
        "HOME": home,
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": f"{home}/matplotlib",
        "OMP_NUM_THREADS": "1",
        "PATH": os.defpath,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": home,
        "TQDM_DISABLE": "1",
    }


def readable(assignment: str) -> list[str]:
    """The paths that a student's process may read, none of them below another."""
    python = {sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parent.parent)}
    python |= {os.path.realpath(path) for path in python}
    course = [str(ROOT / path) for path in COURSE] + [str(ROOT / "assignments" / assignment / "checks")]
    paths = [path for path in dict.fromkeys((*SYSTEM, *sorted(python), *course)) if Path(path).exists()]
    return [path for path in paths if not any(Path(other) in Path(path).parents for other in paths)]


class Room:
    """A running process of a student; a context manager that ends it with all its children.

    Args:
        assignment: whose public checks the process may see.
        deadline: `time.monotonic()` at which it ends in any case.
        closed: whether in a closed room.
    """

    def __init__(self, assignment: str, deadline: float, closed: bool):
        self.deadline = deadline
        self.printed = 0
        self.most = 0  # bytes of memory, the highest seen
        self._closed = closed
        self._asked = 0
        self._received = b""
        self._watched = time.monotonic()
        self._folder = tempfile.mkdtemp(prefix="room-")
        command = _closed_command if closed else _guarded_command
        self._process = subprocess.Popen(
            command(assignment, self._folder),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._folder,
            env=environment(self._folder),
            preexec_fn=os.setpgrp,  # out of reach of signals to the group
        )
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            os.set_blocking(pipe.fileno(), False)

    def __enter__(self) -> "Room":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def _family(self) -> list[psutil.Process]:
        try:
            first = psutil.Process(self._process.pid)
            return [*first.children(recursive=True), first]
        except psutil.NoSuchProcess:
            return []

    def close(self) -> None:
        """End the process, its children, and what they wrote."""
        for process in [] if self._closed else self._family():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                pass
        self._process.kill()  # with a closed room everything in it ends, too
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _end(self, why: str) -> RoomClosed:
        self.close()
        return RoomClosed(why)

    def ask(self, seconds: float, **step: Any) -> dict:
        """Send one step, which may use `seconds` of processor time, and wait for the reply.

        Raises:
            RoomClosed: the process ended, or had to be ended.
        """
        if self._process.returncode is not None:
            raise RoomClosed("is over")
        until = min(time.monotonic() + PATIENCE * seconds, self.deadline)
        self._asked += 1
        unsent = json.dumps({"number": self._asked, "seconds": seconds, **step}).encode() + b"\n"
        stdin, stdout, stderr = (self._process.stdin, self._process.stdout, self._process.stderr)
        while b"\n" not in self._received:
            now = time.monotonic()
            if now > until:
                raise self._end("took too long")
            if now > self._watched + 0.2:
                self._watch()
                self._watched = now
            ready, writable, _ = select.select([stdout, stderr], [stdin] if unsent else [], [], 0.1)
            if writable:
                try:
                    unsent = unsent[os.write(stdin.fileno(), unsent[:65536]) :]
                except BrokenPipeError:
                    raise self._end("ended its own process") from None
            if stderr in ready:
                self.printed += len(os.read(stderr.fileno(), 1 << 20))
                if self.printed > PRINTED:
                    raise self._end(f"printed more than {PRINTED >> 20} MB")
            if stdout in ready:
                got = os.read(stdout.fileno(), 1 << 20)
                if not got:
                    raise self._end("ended its own process")
                self._received += got
                if len(self._received) > REPLY:
                    raise self._end(f"answered with more than {REPLY >> 20} MB")
        line, _, self._received = self._received.partition(b"\n")
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError):
            reply = None
        if not isinstance(reply, dict) or reply.get("number") != self._asked or self._received:
            raise self._end("wrote into the pipe of the grader")
        return reply

    def _watch(self) -> None:
        family = self._family()
        memory = 0
        for process in family:
            try:
                memory += process.memory_info().rss
            except psutil.NoSuchProcess:
                pass
        self.most = max(self.most, memory)
        if len(family) > PROCESSES:
            raise self._end(f"started more than {PROCESSES} processes")
        if memory > MEMORY:
            raise self._end(f"used more than {MEMORY >> 30} GiB of memory")


def _guarded_command(assignment: str, folder: str) -> list[str]:
    guard = {"read": readable(assignment), "write": folder}
    return [sys.executable, str(HERE / "worker.py"), json.dumps(LIMITS), json.dumps(guard)]


def _closed_command(assignment: str, folder: str) -> list[str]:
    root = os.geteuid() == 0
    given = {
        "room": folder,
        "paths": readable(assignment),
        "folder": str(ROOT / "assignments" / assignment),
        "size": FOLDER,
        "user": 100_000 + os.getpid() % 100_000 if root else None,
        "command": [sys.executable, str(HERE / "worker.py"), json.dumps({**LIMITS, "RLIMIT_NPROC": THREADS})],
        "env": environment("/tmp"),
    }
    spaces = ["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
    own = [] if root else ["--user", "--map-root-user"]
    return ["unshare", *own, *spaces, sys.executable, "-I", "-S", str(HERE / "enter.py"), json.dumps(given)]


@functools.cache
def closed_room_refused(assignment: str) -> str:
    """Why this system gives no closed room, empty when it does."""
    if not sys.platform.startswith("linux") or not shutil.which("unshare"):
        return "only Linux with `unshare` has them"
    with tempfile.TemporaryDirectory() as folder:
        try:
            done = subprocess.run(
                _closed_command(assignment, folder), input=b"", capture_output=True, timeout=60, cwd="/"
            )
        except subprocess.TimeoutExpired:
            return "it did not start within 60 seconds"
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return (said or ["`unshare` failed"])[-1] if done.returncode else ""
