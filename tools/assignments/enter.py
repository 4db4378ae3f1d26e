"""Build the closed room around a student's process, from inside, and start the process: `unshare ... python enter.py`.

Runs as the first process of new mount, process and network namespaces (Linux 5.12 or newer). The room holds only the
paths that it is given, read-only, and one folder to write in, which lives in memory and goes away with it.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

MS_NOSUID, MS_NODEV, MS_BIND, MS_REC = 2, 4, 4096, 16384
MNT_DETACH = 2
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE = 442, -100, 0x8000  # a system call that libc may not have by name
ATTR_RDONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 24, 38
DEVICES = ("null", "zero", "urandom", "random")
libc = ctypes.CDLL(None, use_errno=True)


def _done(failed: int, what: str) -> None:
    if failed:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def mount(source: str, target: Path, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    texts = (source.encode(), str(target).encode(), kind.encode() or None)
    _done(libc.mount(*texts, ctypes.c_ulong(flags), data.encode() or None), f"mount {source} on {target}")


def lock(target: Path, attributes: int) -> None:
    """mount_setattr(2): add read-only and its like to a mount and all below it."""
    wanted = (ctypes.c_uint64 * 4)(attributes, 0, 0, 0)
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    path = str(target).encode()
    failed = libc.syscall(MOUNT_SETATTR, AT_FDCWD, path, AT_RECURSIVE, ctypes.byref(wanted), size)
    _done(failed, f"mount_setattr {target}")


def bind(path: Path, room: Path, attributes: int = ATTR_RDONLY | ATTR_NOSUID | ATTR_NODEV) -> None:
    """Show a path of the machine at the same place in the room, a link as a link."""
    target = room / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if path.is_symlink():
        target.symlink_to(os.readlink(path))
        return
    if path.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mount(str(path), target, flags=MS_BIND | MS_REC)
    lock(target, attributes)


def furnish(room: Path, paths: list[str], folder: str, size: int) -> None:
    """Put everything into the room."""
    mount("room", room, "tmpfs", MS_NOSUID | MS_NODEV, f"size={size},mode=755")
    for path in paths:
        bind(Path(path), room)
    for name in DEVICES:
        bind(Path("/dev", name), room, ATTR_RDONLY | ATTR_NOSUID)
    for place in (room / "tmp", room / folder.lstrip("/")):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o1777)
    processes = room / "proc"
    processes.mkdir()
    try:
        mount("proc", processes, "proc", MS_NOSUID | MS_NODEV)
        lock(processes, ATTR_RDONLY)
    except OSError:  # inside a container the kernel may refuse; nothing needs it
        pass


def leave_powers(user: int | None) -> None:
    """Become `user` where one is given (then this is root), and nobody who could regain a power."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    else:
        for power in range(64):
            libc.prctl(PR_CAPBSET_DROP, power, 0, 0, 0)
    libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)


def main() -> None:
    """One argument: JSON with room, paths, folder, size, user, command and env."""
    given = json.loads(sys.argv[1])
    room = Path(given["room"])
    furnish(room, given["paths"], given["folder"], given["size"])
    os.chdir(room)
    _done(libc.pivot_root(b".", b"."), "pivot_root")
    _done(libc.umount2(b".", MNT_DETACH), "umount of the machine's files")
    os.chdir(given["folder"])
    leave_powers(given["user"])
    os.execve(given["command"][0], given["command"], given["env"])


if __name__ == "__main__":
    main()
