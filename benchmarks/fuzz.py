"""Damaged files for every loader of the course: the right data, or one sentence that refuses them.

    python -m benchmarks.fuzz                        # all loaders, 10,000 inputs each: writes fuzz.json, fuzz.md
    python -m benchmarks.fuzz --loader squad --seed 123 --inputs 1 --show      # one input again

The loaders and their second readings stand in tests/loaders.py, the kinds of damage in tests/mutations.py.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from tests.loaders import LOADERS, MEMORY, REFUSE, Files, Loader
from utils.errors import CourseError
from utils.settings import root

INPUTS = 10_000
SECONDS = 10.0  # of computing time for one input
ROOM = 2 << 30  # bytes of memory that an input may ask for beyond what the process had
LONGEST = 600  # characters of a sentence that refuses, without the names of folders
UNHARMED = 0.05  # share of inputs that are left as they were


class TooLong(BaseException):
    """An input took longer than SECONDS."""


@dataclass(frozen=True)
class Outcome:
    """What a loader made of one input: `kind` is right, refused or wrong; `what` says how it was refused or wrong."""

    kind: str
    what: str
    unharmed: bool


def drawn(name: str, seed: int) -> tuple[Files, Any, bool]:
    """The files of one input, their truth where it is known, and whether a loader has to read them as before."""
    loader, random = LOADERS[name], Random(f"{name} {seed}")
    files, truth = loader.make(random)
    same = truth is not REFUSE
    if random.random() < UNHARMED:
        return files, truth, same
    if loader.shuffle and random.random() < 0.4:
        return loader.shuffle(random, files), truth, False
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        file, damage = random.choice(sorted(files)), random.choice(loader.damages)
        new, meant = damage(random, files[file])
        if truth is REFUSE and new != files[file] and loader.read:
            truth = None  # a second damage may undo the first: the second reading tells
        same = same and (meant and not file.endswith(".safetensors") or new == files[file])
        files = files | {file: new}
    return files, truth, same


def tried(name: str, seed: int, folder: Path) -> Outcome:
    """Write one input into an empty `folder` and load it."""
    loader = LOADERS[name]
    files, truth, same = drawn(name, seed)
    write(files, folder)
    try:
        found = limited(loader, folder)
    except CourseError as error:
        sentence = str(error)
        if same:
            return Outcome("wrong", f"refused, though nothing was damaged: {sentence}", same)
        fault = faulty(sentence, folder)
        return (
            Outcome("wrong", f"{fault}: {sentence!r}", same) if fault else Outcome("refused", sentence, same)
        )
    except (Exception, TooLong) as error:
        return Outcome("wrong", f"{type(error).__name__}: {error}"[:500], same)
    if truth is REFUSE:
        return Outcome("wrong", "accepted what nobody may accept", same)
    try:
        expected = truth if truth is not None else loader.read(folder)
    except Exception as error:
        return Outcome("wrong", f"accepted what has no meaning ({type(error).__name__}: {error})"[:300], same)
    if not loader.agree(found, expected):
        return Outcome("wrong", f"read {found!r:.700} and not {expected!r:.700}", same)
    return Outcome("right", "", same)


def write(files: Files, folder: Path) -> None:
    """Write files by name."""
    for file, data in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(data)


def limited(loader: Loader, folder: Path) -> Any:
    """What the loader gives, within SECONDS and ROOM."""

    def stop(*_: object) -> None:
        raise TooLong(f"more than {SECONDS} seconds")

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    old = signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM, before[1]))
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return loader.load(folder)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        resource.setrlimit(resource.RLIMIT_AS, before)
        signal.signal(signal.SIGPROF, old)


def faulty(sentence: str, folder: Path) -> str:
    """What is wrong with a sentence that refuses, or nothing."""
    if "\n" in sentence or not sentence.endswith("."):
        return "no sentence"
    if str(folder) not in sentence and not any(path.name in sentence for path in folder.rglob("*")):
        return "names no file"
    if ": " not in sentence and "; " not in sentence:
        return "names no remedy"
    return "too long" if len(sentence.replace(str(folder), "")) > LONGEST else ""


def measure(name: str, inputs: int, first: int = 0, show: bool = False) -> dict[str, Any]:
    """Try inputs in this process; counts, seconds of computing time, and the first wrong ones."""
    counts = dict.fromkeys(("right", "refused", "wrong"), 0)
    unharmed, wrong, start = 0, [], time.process_time()
    data = os.environ.get("COURSE_DATA")
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY) as kept:
        folder = Path(kept) / "input"
        write(LOADERS[name].make(Random(name))[0], Path(kept) / "first")
        with suppress(Exception):  # imports what it needs, without a limit
            LOADERS[name].load(Path(kept) / "first")
        for seed in range(first, first + inputs):
            outcome = tried(name, seed, folder)
            shutil.rmtree(folder)
            counts[outcome.kind] += 1
            unharmed += outcome.unharmed
            if outcome.kind == "wrong":
                wrong.append({"seed": seed, "what": outcome.what.replace(kept, "")})
            if show:
                print(seed, outcome)
    if data is None:
        os.environ.pop("COURSE_DATA", None)
    else:
        os.environ["COURSE_DATA"] = data
    seconds = round(time.process_time() - start, 1)
    return {"inputs": inputs, **counts, "undamaged": unharmed, "seconds": seconds, "wrong_ones": wrong[:20]}


def apart(name: str, inputs: int, first: int) -> dict[str, Any]:
    """`measure` in a process of its own, which an input may end."""
    call = f"import json; from benchmarks.fuzz import measure; print(json.dumps(measure({name!r}, {inputs}, {first})))"
    done = subprocess.run([sys.executable, "-c", call], cwd=root(), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name}: the process ended with {done.returncode}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def table(result: dict[str, Any]) -> str:
    """Markdown: a line for each loader."""
    columns = ("inputs", "right", "refused", "wrong", "undamaged")
    lines = [f"| loader | {' | '.join(columns)} |", f"|---|{'---:|' * len(columns)}"]
    for name, found in result.items():
        lines.append(f"| {name} | {' | '.join(f'{found[column]:,}' for column in columns)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Try loaders side by side and keep their counts, or show what happens to each input of one."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fuzz", description="Damaged files for every loader."
    )
    parser.add_argument("--inputs", type=int, default=INPUTS, help="for each loader (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first input (default %(default)s)")
    parser.add_argument(
        "--loader", choices=LOADERS, nargs="+", default=list(LOADERS), help="only these (default: all)"
    )
    parser.add_argument("--show", action="store_true", help="print each outcome, and keep nothing")
    parser.add_argument("--out", type=Path, default=root() / "benchmarks" / "fuzz.json")
    chosen = parser.parse_args()
    if chosen.show:
        for name in chosen.loader:
            measure(name, chosen.inputs, chosen.seed, show=True)
        return
    kept = json.loads(chosen.out.read_text("utf-8")) if chosen.out.exists() else {}
    with ThreadPoolExecutor(2) as pool:
        running = {pool.submit(apart, name, chosen.inputs, chosen.seed): name for name in chosen.loader}
        for each in as_completed(running):
            if each.exception():  # an input ended the process
                print(each.exception(), flush=True)
                continue
            kept[running[each]] = found = each.result()
            print(running[each], found, flush=True)
            ordered = {name: kept[name] for name in LOADERS if name in kept}
            chosen.out.write_text(json.dumps(ordered, indent=1) + "\n", "utf-8")
            chosen.out.with_suffix(".md").write_text(table(ordered), "utf-8")


if __name__ == "__main__":
    main()
