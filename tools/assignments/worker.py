"""A student's process: runs the notebook's cells, then answers questions about its names, in plain data only.

One line of JSON comes in on standard input for each step and one goes out. It holds nothing that a student must not
see: no check, no secret, no other submission. `python worker.py LIMITS [GUARD]`, both JSON; GUARD only where there is
no closed room.
"""

import json
import os
import resource
import signal
import sys
from typing import Any

from utils import checks, plain

FORBIDDEN = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "subprocess.",
    "pty.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.system",
    "os.kill",
)
LOOKS = ("open", "os.listdir", "os.scandir", "os.chdir")
FILE_EVENTS = (
    *LOOKS,
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.truncate",
    "os.link",
    "os.symlink",
)


class TookTooLong(BaseException):
    """The student's code used up its processor time; no `except Exception` of theirs swallows it."""


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process and its children: memory, processor time, file size, files, processes."""
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))


def guard(read: list[str], write: str) -> None:
    """Refuse network, other programs and files elsewhere: a fence where no closed room can be had, not a wall."""
    writable = os.path.realpath(write)
    readable = (writable, *map(os.path.realpath, read), "/dev", "/proc/self", "/sys/devices")
    changing = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def watch(event: str, args: tuple) -> None:
        refused = event.startswith(FORBIDDEN)
        if event in FILE_EVENTS and isinstance(args[0], str | bytes):
            path = os.path.realpath(os.fsdecode(args[0]))
            changes = event not in LOOKS or (event == "open" and args[2] & changing and path != os.devnull)
            refused = not any(
                f"{path}/".startswith(f"{place}/") for place in ((writable,) if changes else readable)
            )
        if refused:
            raise PermissionError(f"not allowed while an assignment is graded: {event}")

    sys.addaudithook(watch)


def without_magics(code: str) -> str:
    """A cell as plain Python: lines that begin with % or ! do nothing, where the cell is no Python otherwise."""
    try:
        compile(code, "cell", "exec")
        return code
    except SyntaxError:
        lines = code.splitlines()
        return "\n".join("pass" if line.startswith(("%", "!")) else line for line in lines)


def run(code: str, names: dict[str, Any]) -> str | None:
    """Run a cell; what it raised, in one line."""
    try:
        exec(compile(without_magics(code), "cell", "exec"), names)
    except TookTooLong:
        raise
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None


def answered(step: dict, names: dict[str, Any]) -> dict:
    """What to reply to one step."""
    source = checks.Names(names)
    signal.setitimer(signal.ITIMER_PROF, step["seconds"])
    try:
        if step["do"] == "run":
            return {"raised": run(step["code"], names)}
        if step["do"] == "look":
            value = source.look(step["name"])
            return {"function": True} if isinstance(value, checks.Function) else {"value": plain.dumps(value)}
        args, kwargs = plain.loads(step["given"])
        return {"value": plain.dumps(source.call(step["name"], args, kwargs))}
    except checks.AnswerError as error:
        return {"refused": str(error), "kind": error.kind}
    except TookTooLong:
        return {"late": True}
    except BaseException as error:  # SystemExit and what else is no Exception
        return {
            "refused": f"It raised {type(error).__name__}.",
            "kind": f"your code raised {type(error).__name__}",
        }
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    """Answer until standard input ends. Standard output is for replies only; students print into standard error."""
    limit(json.loads(sys.argv[1]))
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    questions = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    if len(sys.argv) > 2:
        guard(**json.loads(sys.argv[2]))

    def late(*_: Any) -> None:
        raise TookTooLong

    signal.signal(signal.SIGPROF, late)
    checks.Assignment.check = lambda *_, **__: None  # the grader does that
    names: dict[str, Any] = {"__name__": "__main__"}
    first = os.getpid()
    for line in questions:
        step = json.loads(line)
        reply = {"number": step["number"], **answered(step, names)}
        if os.getpid() != first:  # the student's code made a copy of this process
            os._exit(0)
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    main()
