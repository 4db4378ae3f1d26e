"""What a teacher gets: results.csv, written.csv to fill in, a page for every student, and a page about the class."""

import base64
import csv
import io
import re
import statistics
from collections import Counter
from html import escape
from pathlib import Path

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from tools.assignments.classes import Class
from tools.assignments.judge import Answered, Graded
from tools.assignments.source import Source
from utils.downloads import read_text
from utils.errors import CourseError, shown
from utils.plots import BLUE, style

REPAIR = "nothing is written, repair it and repeat the command"
WRITTEN = ["student", "file", "question", "of", "points", "comment", "answer"]
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title><style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; width: 100%; }}
td {{ text-align: left; padding: .3rem .6rem; vertical-align: top; border-bottom: 1px solid #ddd; }}
td.number {{ text-align: right; white-space: nowrap; }}
img {{ max-width: 100%; }}
pre {{ white-space: pre-wrap; background: #f5f5f5; padding: .6rem; }} .problem {{ color: #a00; }}
</style></head><body>
{body}
</body></html>
"""


def write(target: Path, class_: Class, source: Source, results: dict[Path, Graded]) -> None:
    """Write everything into a folder; points that the teacher gave in written.csv are read first and kept."""
    _read_written(target / "written.csv", results)
    _write_written(target / "written.csv", results)
    _write_results(target / "results.csv", class_, source, results)
    pages = target / "students"
    pages.mkdir(exist_ok=True)
    for old in pages.glob("*.html"):
        old.unlink()
    for path, graded in results.items():
        (pages / f"{_page_name(path, graded)}.html").write_text(
            student_page(path, graded, class_, source), "utf-8"
        )
    (target / "class.html").write_text(class_page(class_, source, results), "utf-8")


def _page_name(path: Path, graded: Graded) -> str:
    names = (
        (graded.student, *path.with_suffix("").parts) if not graded.problem else ("not-graded", *path.parts)
    )
    return re.sub(r"[^\w-]+", "_", "--".join(names))[:150]


def total(graded: Graded) -> float:
    """All points given so far."""
    return sum(answered.points or 0 for answered in graded.questions)


def _harmless(text: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _read_written(path: Path, results: dict[Path, Graded]) -> None:
    """Put the teacher's points and comments into the results.

    Raises:
        CourseError: points that are no number, or more than the question has.
    """
    if not path.is_file():
        return
    given = {}
    try:
        rows = list(csv.reader(io.StringIO(read_text(path), newline=""), strict=True))
    except csv.Error as error:
        raise CourseError(f"{path} can't be read as CSV ({error}): {REPAIR}.") from None
    for number, cells in enumerate(rows):
        row = dict(zip(WRITTEN, cells, strict=False))
        if len(cells) != len(WRITTEN) or (not number and cells != WRITTEN):
            raise CourseError(
                f"{path}, row {number + 1}: expected the columns {', '.join(WRITTEN)}, divided by commas: {REPAIR}."
            )
        if (row["file"], row["question"]) in given:
            raise CourseError(
                f"{path}, row {number + 1}: {shown(row['file'])}, {row['question']:.40} stands there twice: {REPAIR}."
            )
        given[row["file"], row["question"]] = row
    for at, graded in results.items():
        for answered in graded.questions:
            row = given.get((_harmless(str(at)), answered.name))
            if row is None or row["answer"] != _harmless(answered.text) or not row["points"].strip():
                continue
            try:
                points = float(row["points"].replace(",", "."))
            except ValueError:
                points = -1.0
            if not 0 <= points <= answered.of:
                raise CourseError(
                    f"{path}, {row['student']}, {answered.name}: expected points from 0 to {answered.of:g}, not "
                    f"{row['points']!r}; {REPAIR}."
                )
            answered.points, answered.comment = points, row["comment"]


def _write_written(path: Path, results: dict[Path, Graded]) -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(WRITTEN)
        for at, graded in results.items():
            for answered in graded.questions:
                if answered.text:
                    points = "" if answered.points is None else f"{answered.points:g}"
                    row = [graded.student, str(at), answered.name, f"{answered.of:g}", points]
                    writer.writerow([*map(_harmless, row), answered.comment, _harmless(answered.text)])


def _write_results(path: Path, class_: Class, source: Source, results: dict[Path, Graded]) -> None:
    names = list(source.questions)
    of = sum(question.points for question in source.questions.values())
    often = Counter(graded.student for graded in results.values() if not graded.problem)
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.writer(file)
        writer.writerow(["student", "file", *names, "total", "of", "note"])
        for at, graded in results.items():
            points = {answered.name: answered.points for answered in graded.questions}
            cells = ["" if points.get(name) is None else f"{points[name]:g}" for name in names]
            note = graded.problem
            if not note and often[graded.student] > 1:
                note = "This student handed in more than one notebook: decide which one counts."
            if not note and None in points.values():
                note = (
                    "Without the answers in words: give their points in written.csv and repeat the command."
                )
            writer.writerow(
                [_harmless(graded.student), _harmless(str(at)), *cells, f"{total(graded):g}", f"{of:g}", note]
            )
        for student in class_.students:
            if student not in often:
                cells = ["0"] * len(names)
                writer.writerow(
                    [_harmless(student), "", *cells, "0", f"{of:g}", "Nothing that could be graded came."]
                )


def student_page(path: Path, graded: Graded, class_: Class, source: Source) -> str:
    """The report that a student gets."""
    of = sum(question.points for question in source.questions.values())
    title = f"{source.name}: {graded.student or path.name}"
    body = [f"<h1>{escape(title)}</h1>", f"<p>{escape(class_.name)}, notebook {escape(str(path))}</p>"]
    if graded.problem:
        body.append(f'<p class="problem"><strong>Not graded.</strong> {escape(graded.problem)}</p>')
        return PAGE.format(title=escape(title), body="\n".join(body))
    open_points = sum(answered.of for answered in graded.questions if answered.points is None)
    body.append(f"<p><strong>{total(graded):g} of {of:g} points</strong>")
    body.append(f"; {open_points:g} more are still to be given by a person.</p>" if open_points else "</p>")
    for answered in graded.questions:
        body.append(_question_part(answered))
    if graded.events:
        body.append("<h2>What happened to your cells</h2><ul>")
        body += [f"<li>{escape(event)}</li>" for event in graded.events]
        body.append("</ul>")
    return PAGE.format(title=escape(title), body="\n".join(body))


def _question_part(answered: Answered) -> str:
    points = "not yet read" if answered.points is None else f"{answered.points:g}"
    lines = [f"<h2>{escape(answered.name)}: {points} of {answered.of:g}</h2>"]
    if answered.text:
        lines.append(f"<pre>{escape(answered.text)}</pre>")
    elif not answered.checks:
        lines.append("<p>There is no answer.</p>")
    if answered.comment:
        lines.append(f"<p>{escape(answered.comment)}</p>")
    if answered.checks:
        lines.append("<table>")
        for checked in answered.checks:
            said = checked.said or f"{'Hidden check' if checked.hidden else 'Check'} passed."
            lines.append(
                f'<tr><td class="number">{checked.points:g} of {checked.of:g}</td><td>{escape(said)}</td></tr>'
            )
        lines.append("</table>")
    return "\n".join(lines)


def class_page(class_: Class, source: Source, results: dict[Path, Graded]) -> str:
    """Statistics of the class, for the teacher."""
    graded = {path: result for path, result in results.items() if not result.problem}
    title = f"{source.name}: {class_.name}"
    missing = [student for student in class_.students if student not in {g.student for g in graded.values()}]
    body = [f"<h1>{escape(title)}</h1>"]
    body.append(
        f"<p>{len(graded)} notebooks graded, {len(results) - len(graded)} not; {len(class_.students)} students"
    )
    body.append(f", nothing from {escape(', '.join(missing))}.</p>" if missing else ".</p>")
    problems = {path: result.problem for path, result in results.items() if result.problem}
    body += _listing("Not graded", problems)
    body += _listing("What happened", {path: " ".join(r.events) for path, r in graded.items() if r.events})
    if graded:
        totals = [total(result) for result in graded.values()]
        body.append(f"<p>Points: mean {statistics.mean(totals):.1f}, median {statistics.median(totals):g}, ")
        body.append(f"lowest {min(totals):g}, highest {max(totals):g}.</p>")
    for name, question in source.questions.items():
        answers = [a for result in graded.values() for a in result.questions if a.name == name]
        given = [answered.points for answered in answers if answered.points is not None]
        body.append(f"<h2>{escape(name)} ({question.points:g} points)</h2>")
        if given:
            mean = f"mean {statistics.mean(given):.2f} of {question.points:g}"
            body.append(
                f"<p>{mean}, {sum(points == question.points for points in given)} of {len(given)} in full.</p>"
            )
            body.append(
                f'<img alt="Points for {escape(name)}: {mean}" src="{_plot(given, question.points)}">'
            )
        body += _failures(answers)
    return PAGE.format(title=escape(title), body="\n".join(body))


def _listing(heading: str, texts: dict[Path, str]) -> list[str]:
    if not texts:
        return []
    rows = [f"<tr><td>{escape(str(path))}</td><td>{escape(text)}</td></tr>" for path, text in texts.items()]
    return [f"<h2>{heading}</h2><table>", *rows, "</table>"]


def _failures(answers: list[Answered]) -> list[str]:
    """How often each check failed, and the message seen most."""
    messages: dict[str, Counter[str]] = {}
    for answered in answers:
        for checked in answered.checks:
            messages.setdefault(checked.name, Counter())
            if checked.message:
                messages[checked.name][checked.message] += 1
    rows = []
    for name, seen in messages.items():
        often = f"; most often: {seen.most_common(1)[0][0][:300]}" if seen else ""
        rows.append(f"<tr><td>{escape(name)}</td><td>{seen.total()} failed{escape(often)}</td></tr>")
    return ["<table>", *rows, "</table>"] if rows else []


def _plot(points: list[float], most: float) -> str:
    """How many got how many points, as an image inside the page."""
    style()
    counts = Counter(points)
    fig, ax = plt.subplots(figsize=(5, 2.2))
    ax.bar(list(counts), list(counts.values()), width=0.04 * most + 0.1, color=BLUE)
    ax.set(xlim=(-0.06 * most - 0.1, 1.06 * most + 0.1), xlabel="points", ylabel="students")
    ax.yaxis.get_major_locator().set_params(integer=True)
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
    plt.close(fig)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
