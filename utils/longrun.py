"""What the long trainings share: files that are whole, settings that explain themselves, a folder, a command line."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field, fields
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from utils.downloads import read_json
from utils.errors import CourseError, shown
from utils.settings import processes


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` for a new file, which then takes its place: `path` is the old file or the new, never a part.

    What a kill leaves of the new file is overwritten the next time. Raises CourseError where it cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except (
        OSError,
        RuntimeError,
        SafetensorError,
    ) as error:  # torch and safetensors have their own for a full disk
        part.unlink(missing_ok=True)
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise CourseError(
            f"{path} cannot be written ({reason}): make room, or check its rights; the same call then goes on."
        ) from None


def need_plan(path: Path, before: Any, now: dict[str, Any]) -> None:
    """Raise CourseError where the training whose state is in the file `path` had another plan, or the file has none."""
    remedy = "delete it to start again"
    if not isinstance(before, dict):
        raise CourseError(f"{path} does not hold an interrupted training: {remedy}.")
    for name, value in now.items():
        if before.get(name) != value:
            raise CourseError(
                f"{path} was written by a training with {name}={before.get(name)!r}, and this one has "
                f"{name}={value!r}: repeat that call to go on, or {remedy}."
            )


def setting(default: Any, what: str) -> Any:
    """A field of a dataclass of settings: its default, and what the command line says of it."""
    return field(default=default, metadata={"what": what})


def compare(path: Path, begun: dict[str, Any]) -> None:
    """Raise CourseError where the training that was begun, whose settings are in the JSON file `path`, had others."""
    if not path.exists():
        return
    before = read_json(path, "choose another --output")
    if not isinstance(before, dict) or not begun.keys() <= before.keys():
        raise CourseError(f"{path} does not hold the settings of a training: choose another --output.")
    changed = [
        name for name in begun if type(before[name]) is not type(begun[name]) or before[name] != begun[name]
    ]
    if changed:
        name = changed[0]
        raise CourseError(
            f"{path.parent} holds a training with {name}={shown(before[name])}, and now {name}={begun[name]!r} was "
            "asked for: use the same settings to go on, or another --output."
        )


def result(path: Path) -> dict[str, float]:
    """What a training that has ended kept in the JSON file `path`. Raises CourseError for anything but numbers."""
    remedy = "delete it, and the same command measures again"
    found = read_json(path, remedy)
    if not isinstance(found, dict) or not all(type(value) in (int, float) for value in found.values()):
        raise CourseError(f"{path} does not hold the result of a training: {remedy}.")
    return found


def command(
    module: str, what: str, settings: type, train: Callable[[Path, Any], dict], arguments: list[str] | None
) -> None:
    """Call `train(output, settings)` as a command line says, and print what it returns, once for all processes.

    `settings` is a dataclass whose fields are made by `setting`; each is an option of its name. A CourseError ends the
    program with its sentence.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=what)
    parser.add_argument("--output", type=Path, required=True, help="folder of what is kept and of the result")
    for each in fields(settings):
        kind, meaning = type(each.default), each.metadata["what"]
        how = {"action": "store_true"} if kind is bool else {"type": kind, "default": each.default}
        shown = meaning if kind is bool or each.default == "" else f"{meaning} (default {each.default})"
        parser.add_argument(f"--{each.name.replace('_', '-')}", help=shown, **how)
    chosen = vars(parser.parse_args(arguments))
    try:
        found = train(chosen.pop("output"), settings(**chosen))
    except CourseError as error:
        parser.exit(1, f"{error}\n")
    if processes()[0] == 0:
        print(json.dumps(found))
