"""Grading a class: honest and wrong notebooks, and those that attack the grader."""

import csv
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import yaml
from handed_in import SECRET, answers, hand_in, notebook

from tools.assignments import grade, judge, reports, room
from tools.assignments.classes import Class, codes, listed, read_class
from tools.assignments.judge import Graded
from tools.assignments.source import Source
from tools.assignments.submission import read
from utils.checks import code_of
from utils.errors import CourseError

NAME = "04_applications"  # the one that runs fastest
SOURCE = Source(NAME)
OF = sum(question.points for question in SOURCE.questions.values() if not question.manual)
CHECKED = [question.name for question in SOURCE.questions.values() if not question.manual]

# What a hostile student puts between the cell `mine = ...` and honest answers: the code, what the report says, if
# anything, and whether the honest answers still count; `None` where that depends on the moment.
ATTACKS: dict[str, tuple[str, str, bool | None]] = {
    "crash": ("raise RuntimeError('<b>boom</b>')", "raised RuntimeError: <b>boom</b>", True),
    "segfault": ("import ctypes; ctypes.string_at(0)", "ended its own process", True),
    "exit": ("import sys; sys.exit(3)", "raised SystemExit: 3", True),
    "hard_exit": ("import os; os._exit(0)", "ended its own process", True),
    "loop": ("while True: pass", "ran for more than 4 seconds", True),
    "stubborn_loop": (
        "import signal; signal.signal(signal.SIGPROF, signal.SIG_IGN)\nwhile True: pass",
        "took too long",
        True,
    ),
    "sleep": ("import time; time.sleep(10000)", "took too long", True),
    "gigabytes": ("while True: print('x' * 10**6)", "printed more than 20 MB", True),
    "memory": ("x = [bytearray(10**8) for _ in range(20)]", "raised MemoryError", True),
    "disk": (
        "with open('big', 'wb') as file:\n    for _ in range(10**4): file.write(bytes(10**6))",
        r"raised OSError: \[Errno 27\]",
        True,
    ),
    "forge_reply": (
        "import os\nfor fd in range(3, 256):\n"
        '    try: os.write(fd, b\'{"value": "1"}\\n\' * 99)\n    except OSError: pass',
        "wrote into the pipe of the grader",
        True,
    ),
    "change_checks": (
        "from utils import checks, plain\nchecks.run = lambda *_: None\nplain.loads = plain.dumps = lambda x: '1'",
        "",
        False,
    ),
    "always_equal": (
        "class Yes(str):\n    __eq__ = lambda *_: True\n    __hash__ = str.__hash__\n"
        "class Namespace(dict):\n    __missing__ = lambda self, name: (lambda *a, **k: Yes('1'))",
        "",
        True,
    ),
}
# Needs a closed room: elsewhere the guard refuses these from the start.
CLOSED_ATTACKS: dict[str, tuple[str, str, bool | None]] = {
    "fork_bomb": (
        "import os\nwhile True: os.fork()",
        "started more than 16 processes|raised BlockingIOError|used more than",
        None,
    ),
    "background": (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time\\nmark = \"left behind\"\\nwhile True: time.sleep(1)'],\n"
        "                 start_new_session=True)",
        "",
        True,
    ),
    "kill_all": ("import os; os.kill(-1, 9)", "", True),
    "network": (
        "import socket; socket.create_connection(('1.1.1.1', 53), 2)",
        "Network is unreachable",
        True,
    ),
    "many_processes_memory": (
        "import os, time\nfor _ in range(4):\n    if not os.fork():\n        x = b'x' * (3 * 10**8)\n"
        "        time.sleep(60)\ntime.sleep(60)",
        "used more than 1 GiB of memory",
        True,
    ),
}
GUARDED_ATTACKS: dict[str, tuple[str, str, bool]] = {
    "fork": ("import os; os.fork()", "not allowed while an assignment is graded", True),
    "program": (
        "import subprocess; subprocess.run(['id'])",
        "not allowed while an assignment is graded",
        True,
    ),
    "network": ("import socket; socket.create_connection(('1.1.1.1', 53), 2)", "not allowed while an", True),
}


def attacking(attack: str, student: str) -> list[tuple[str, str]]:
    """A right notebook with this cell after `mine = ...`."""
    cells = answers(SOURCE, student)
    place = next(number for number, (_, code) in enumerate(cells) if "mine = checks" in code)
    return [*cells[: place + 1], ("code", attack), *cells[place + 1 :]]


def make_class(folder: Path, students: list[str]) -> Path:
    path = folder / "class.yml"
    path.write_text(yaml.safe_dump({"name": "Tests & more", "secret": SECRET, "students": students}), "utf-8")
    return path


def peeking(class_path: Path, folder: Path) -> str:
    """A cell that lists which of the things that it must not see are there."""
    secret = [
        class_path,
        folder,
        SOURCE.path,
        SOURCE.path.with_name("mutants.py"),
        Path("/etc/passwd"),
        Path.home() / ".ssh",
    ]
    return (
        f"import os\nseen = []\nfor path in {[str(path) for path in secret]}:\n"
        "    try:\n        os.listdir(path) if os.path.isdir(path) else open(path).read()\n        seen.append(path)\n"
        "    except OSError: pass\n"
        "raise ValueError(f'saw {seen}')"
    )


@pytest.fixture(scope="module", params=["closed", "guarded"])
def attacked(request, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graded]:
    """Attack -> result, all graded in one go; `_folder` holds the reports."""
    closed = request.param == "closed"
    if closed and room.closed_room_refused(NAME):
        pytest.skip(f"no closed rooms here: {room.closed_room_refused(NAME)}")
    folder = tmp_path_factory.mktemp(request.param)
    attacks = {**ATTACKS, **(CLOSED_ATTACKS if closed else GUARDED_ATTACKS)}
    class_path = make_class(folder, list(attacks) + ["peek"])
    handed = folder / "in"
    handed.mkdir()
    attacks["peek"] = (peeking(class_path, handed), r"raised ValueError: saw \[\]", True)
    for name, (attack, _, _) in attacks.items():
        hand_in(handed, name, attacking(attack, name))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judge, "CELL", 4)
        patch.setattr(judge, "CALL", 2)
        patch.setattr(room, "MEMORY", 2**30)
        patch.setattr(room, "THREADS", 48)
        patch.setattr(room, "PROCESSES", 16)
        patch.setitem(room.LIMITS, "RLIMIT_DATA", 2**30)
        patch.setattr(grade, "closed_room_refused", lambda _: "" if closed else "for a test")
        target = grade.grade_class(handed, class_path, "", 2)
    results = {}
    for path in (target / "graded").glob("*.json"):
        graded = Graded.from_json(path.read_text("utf-8"))
        results[graded.student] = (graded, attacks[graded.student])
    assert set(results) == set(attacks)
    return results


def test_attacks_are_contained_and_reported(attacked: dict) -> None:
    for name, (graded, (_, said, honest)) in attacked.items():
        assert re.search(said, " ".join(graded.events)), (name, graded.events)
        points = sum(answered.points or 0 for answered in graded.questions)
        assert honest is None or points == (OF if honest else 0), (name, points, graded)


def test_nothing_is_left_running(attacked: dict) -> None:
    left = [p for p in psutil.process_iter(["cmdline"]) if "left behind" in " ".join(p.info["cmdline"] or ())]
    assert not left


@pytest.fixture
def small_class(tmp_path: Path) -> tuple[Path, Path]:
    """class.yml and the folder of submissions."""
    (tmp_path / "in").mkdir()
    return make_class(tmp_path, ["ada", "eve", "<i>bob</i>", "=cmd()"]), tmp_path / "in"


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def test_who_can_not_be_graded_gets_one_sentence(small_class: tuple[Path, Path]) -> None:
    class_path, folder = small_class
    right = answers(SOURCE, "ada")

    def changed(old: str, new: str) -> list[tuple[str, str]]:
        return [(kind, text.replace(old, new)) for kind, text in right]

    eve = code_of("eve", SECRET)
    hand_in(folder, "open", changed('"ada"', '"open"'))
    hand_in(folder, "nobody", [(kind, text) for kind, text in right if not text.startswith("student =")])
    hand_in(folder, "wrong_code", changed(code_of("ada", SECRET), eve))
    hand_in(folder, "stranger", answers(SOURCE, "stranger"))
    hand_in(folder, "other", changed(NAME, "01_pretraining"))
    (folder / "half.ipynb").write_text(notebook(right)[:500])
    (folder / "no_cells.ipynb").write_text('{"cells": 3}')
    (folder / "deep.ipynb").write_text("[" * 10**5)
    (folder / "binary.ipynb").write_bytes(bytes(range(256)))
    (folder / "link.ipynb").symlink_to(class_path)
    target = grade.grade_class(folder, class_path, NAME, 1)
    notes = {row["file"]: row["note"] for row in rows(target / "results.csv")}
    assert notes["open.ipynb"] == notes["nobody.ipynb"]
    assert notes["open.ipynb"].startswith("It names no student: write your id and your code into the cell")
    assert notes["wrong_code.ipynb"] == (
        f"The code {eve!r} is not that of the student 'ada': compare both with what your teacher sent."
    )
    assert notes["stranger.ipynb"] == "The student 'stranger' is not in the class list."
    assert notes["other.ipynb"] == f"It is an answer to 01_pretraining, not to {NAME}."
    for name in ("half", "no_cells", "deep", "binary"):
        assert notes[f"{name}.ipynb"].startswith("It is no Jupyter notebook, or only part of one"), name
    assert notes["link.ipynb"].startswith("It is a link to another place")
    assert all(note.count(". ") == 0 for note in notes.values()), notes


def test_graded_once_and_words_by_a_person(
    small_class: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class_path, folder = small_class
    words = next(question for question in SOURCE.questions.values() if question.manual)
    for number, student in enumerate(("ada", "<i>bob</i>", "=cmd()")):
        hand_in(folder, f"={number}", answers(SOURCE, student))
    calls = []

    def quick(submission, source, class_, closed) -> Graded:
        calls.append(submission.student)
        graded = Graded(submission.student)
        for question in source.questions.values():
            text = submission.written.get(question.name, "")
            points = None if question.manual else question.points
            graded.questions.append(judge.Answered(question.name, question.points, points, text=text))
        return graded

    monkeypatch.setattr(judge, "grade", quick)
    monkeypatch.setattr(grade, "ProcessPoolExecutor", lambda *_, **__: ThreadPoolExecutor(1))
    target = grade.grade_class(folder, class_path, "", 1)
    grade.grade_class(folder, class_path, "", 1)
    assert sorted(calls) == ["<i>bob</i>", "=cmd()", "ada"]
    written = rows(target / "written.csv")
    assert [row["student"] for row in written] == ["ada", "<i>bob</i>", "'=cmd()"]
    assert written[0]["answer"] == "Because of *this*." and written[0]["file"].startswith("'=")
    for row, points in zip(written, ("1,5", "", "9"), strict=True):
        row["points"] = points
    written[0]["comment"] = "Good & <short>"
    fill_in(target / "written.csv", written)
    with pytest.raises(
        CourseError, match=f"'=cmd.*, {words.name}: expected points from 0 to {words.points:g}, not '9'"
    ):
        grade.grade_class(folder, class_path, "", 1)
    written[2]["points"] = "0"
    fill_in(target / "written.csv", written)
    grade.grade_class(folder, class_path, "", 1)
    first, bob, cmd, eve = rows(target / "results.csv")
    assert (first[words.name], first["total"], first["note"]) == ("1.5", f"{OF + 1.5:g}", "")
    assert bob[words.name] == "" and "give their points in written.csv" in bob["note"]
    assert cmd["student"] == "'=cmd()" and cmd[words.name] == "0"
    assert (eve["student"], eve["total"], eve["file"]) == ("eve", "0", "")
    pages = {path.name: path.read_text("utf-8") for path in (target / "students").glob("*.html")}
    assert len(pages) == 3 and not any("<i>" in page for page in pages.values())
    assert any("Good &amp; &lt;short&gt;" in page for page in pages.values())
    overview = (target / "class.html").read_text("utf-8")
    assert (
        overview.count("<img ") == len(SOURCE.questions)
        and "<i>" not in overview
        and "Tests &amp; more" in overview
    )
    hand_in(folder, "=0", [*answers(SOURCE, "ada"), ("code", "")])
    grade.grade_class(folder, class_path, "", 1)
    assert len(calls) == 4


def fill_in(path: Path, written: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, reports.WRITTEN)
        writer.writeheader()
        writer.writerows(written)


def test_hidden_checks_say_only_what_kind_of_mistake(tmp_path: Path) -> None:
    closed = not room.closed_room_refused(NAME)
    cells = [(kind, "" if code in solutions() else code) for kind, code in answers(SOURCE, "ada")]
    path = hand_in(tmp_path, "empty", cells)
    graded = judge.grade(read(path), SOURCE, Class("class", SECRET, ("ada",)), closed)
    assert sum(answered.points or 0 for answered in graded.questions) == 0
    for answered in graded.questions:
        for checked in answered.checks:
            assert not checked.hidden or re.fullmatch(r"Hidden check \(.*\): [\w' ]+\.", checked.said), (
                checked
            )


def solutions() -> set[str]:
    """The code cells of all solutions."""
    return {p.cell.source for p in SOURCE.parts if p.place == "SOLUTION"}


def test_words_are_found_where_students_write_them(tmp_path: Path) -> None:
    cells = [
        ("markdown", "<!-- BEGIN ANSWER q6 -->\nWritten right here."),
        ("markdown", "_Type your answer here, replacing this text._"),
        ("code", "1 + 1"),
        ("markdown", "# And more"),
        ("markdown", "<!-- END ANSWER -->"),
        ("markdown", "Not this."),
    ]
    assert read(hand_in(tmp_path, "x", cells)).written == {"q6": "Written right here.\n\n# And more"}
    assert read(hand_in(tmp_path, "x", [cells[0], cells[4]])).written == {"q6": "Written right here."}
    assert read(
        hand_in(tmp_path, "x", [("markdown", "<!-- BEGIN ANSWER q6 -->"), cells[1], cells[4]])
    ).written == {"q6": ""}


def test_codes_for_a_new_class_and_for_late_students(tmp_path: Path) -> None:
    students, class_path = tmp_path / "students.csv", tmp_path / "class.yml"
    with pytest.raises(CourseError, match="give a list of students"):
        codes(class_path, None)
    students.write_text("Name,Student ID\nAda,a1\nEve,e2\n")
    target = codes(class_path, students)
    first = target.read_text()
    secret = read_class(class_path).secret
    assert first == f"student,code\na1,{code_of('a1', secret)}\ne2,{code_of('e2', secret)}\n"
    assert class_path.stat().st_mode & 0o77 == 0 and len(secret) >= 40
    students.write_text("z9\na1\n")
    assert codes(class_path, students).read_text().startswith(first)
    assert read_class(class_path).students == ("a1", "e2", "z9")
    for text, said in (("a\na\n", "stands there twice"), ("open\n", "'open'"), ("id\n\n ,x\n", "is empty")):
        students.write_text(text)
        with pytest.raises(CourseError, match=said):
            listed(students)
    for text, said in (
        ("{", "can't be read as YAML"),
        ("name: x\nsecret: ''\n", "key `secret`"),
        ("3", "key `name`"),
    ):
        class_path.write_text(text)
        with pytest.raises(CourseError, match=said):
            read_class(class_path)
