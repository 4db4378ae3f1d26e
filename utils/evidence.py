"""What a lab measured: single runs, rows with intervals and verdicts, and the numbers that the book quotes.

A lab `NAME` keeps its single runs in `evidence/runs/NAME.csv` (one line per run and metric) and its rows in
`evidence/NAME.json` (one object per measurement). In the `full` profile both live below `evidence/full/`.

- While recording (COURSE_RECORD=1) a lab runs every setting that the CSV lacks and writes its rows. The runs may go on
  side by side (COURSE_JOBS) or on a cluster (COURSE_SCHEDULER); only this process writes.
- Otherwise it runs only its live settings, reads the others from the CSV, checks that the live values fall
  inside the recorded prediction interval, and that the rows still follow from the runs.
- In `full`, when not recording, a lab stands alone: every setting is run, nothing is compared or written.

A recorded run is never run again: to measure an experiment anew, delete its lines from the CSV.

`load` and `quote` need only the standard library, so the book can be built without pandas and scipy.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils import settings as course
from utils import spread
from utils.downloads import parse_json, read_json, read_text, write_text
from utils.errors import CourseError, shown
from utils.intervals import Interval, decimals, format_interval, prediction_interval

if TYPE_CHECKING:
    import pandas as pd

Setting = dict[str, Any]
Key = tuple[str, str, str]  # experiment, canonical JSON of the setting, metric
Runs = dict[str, dict[str, float]]  # canonical JSON of the setting -> metrics

NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?", re.ASCII)  # as Python writes it
HEADER = "experiment,setting,metric,value\n"
FIELDS: dict[str, type] = {
    **dict.fromkeys(["id", "claim", "statement", "lab", "profile", "metric", "unit", "method"], str),
    **dict.fromkeys(["rule", "verdict", "published", "source", "cell"], str),
    "estimate": float,
    "ci95": list,
    "seeds": int,
}
LEVEL = 0.99  # of the recorded prediction interval, for all live points of one check together
TOLERANCE = 1e-6  # largest difference, relative or absolute, between a recomputed number and the recorded one

_depth = 0  # how many runs are going on, each within the one before


@dataclass(frozen=True)
class Sweep:
    """The runs of one experiment: data frames with one column per setting and per metric, one row per run."""

    experiment: str
    recorded: pd.DataFrame
    live: pd.DataFrame


class Lab:
    """The evidence of one lab, such as `Lab("01_pretraining")`, kept in `folder` (default `evidence/`)."""

    def __init__(self, name: str, folder: Path | None = None) -> None:
        self.name = name
        self.profile = course.profile()
        self.recording = course.recording()
        base = folder or course.root() / "evidence"
        self._folder = base / "full" if self.profile == "full" else base
        self._csv = self._folder / "runs" / f"{name}.csv"
        self._json = self._folder / f"{name}.json"
        self._rows: dict[str, dict] = {}
        self._sent: dict[Key, float] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """For a worker, which may look at the runs that are recorded now, and records none."""
        return self.__dict__ | {"_sent": read_runs(self._csv)}

    @property
    def _alone(self) -> bool:
        """True in `full` when not recording: nothing recorded on such a machine exists to compare with."""
        return self.profile == "full" and not self.recording

    def sweep(
        self,
        experiment: str,
        run: Callable[..., dict[str, float]],
        settings: Sequence[Setting],
        live: Callable[[Setting], bool] = lambda setting: setting.get("seed") == 0,
    ) -> Sweep:
        """Run one experiment over `settings` and return its recorded and its live runs.

        `run(**setting)` returns its metrics, finite numbers by name. Python, numpy and torch are seeded with
        `setting["seed"]` (0 where there is none) before each run, so a result does not depend on the order of
        runs. Recording: each run that the CSV lacks is run and appended at once; a stopped sweep goes on
        where it ended. Otherwise: only the settings for which `live(setting)` is true are run. Raises
        CourseError when a recorded run is missing, when a setting is listed twice or is not made of plain
        values, and when a metric is not a finite number.
        """
        wanted: dict[str, Setting] = {}
        for setting in settings:
            key = canonical(setting)
            if key in wanted:
                raise CourseError(f"Sweep {experiment!r} of lab {self.name} lists the setting {key} twice.")
            wanted[key] = setting
        shown = [key for key, setting in wanted.items() if live(setting)]
        if self._sent is not None:
            recorded = fresh = _metrics(self._sent, experiment)
            if not wanted.keys() <= recorded.keys():
                raise spread.NotRecorded(experiment)
        elif self._alone:
            recorded = fresh = self._run_all(experiment, run, wanted)
        elif self.recording:
            recorded = fresh = self._run_missing(experiment, run, wanted)
        else:
            recorded = self._recorded(experiment, wanted)
            fresh = self._run_all(experiment, run, {key: wanted[key] for key in shown})
        return Sweep(experiment, _frame(recorded, list(wanted)), _frame(fresh, shown))

    def check(self, sweep: Sweep, metric: str, by: Sequence[str], slack: float = TOLERANCE) -> None:
        """Check that each live value of `metric` lies inside the prediction interval of its recorded runs.

        Recorded runs are grouped by the setting columns `by` (all but the seed, as a rule); a group needs 3
        runs. The level is 99 % for all live points of the call together: each of m points is held against the
        interval of level 1 - 0.01 / m (Bonferroni). Both ends are moved out by `slack` times the mean (or 1,
        if that is more): give the worth of one test item for a metric that saturates, where recorded runs
        agree. Raises CourseError naming the setting, the value and the interval. While recording only the
        size of the groups is checked; in `full`, when not recording, nothing.
        """
        if sweep.live.empty:
            raise CourseError(f"Sweep {sweep.experiment!r} has no live run to check: let `live` choose one.")
        columns = sweep.recorded.columns.intersection(sweep.live.columns)
        for column in [*by, metric]:
            if column not in columns:
                raise CourseError(f"Sweep {sweep.experiment!r} has no {column!r}: it has {list(columns)}.")
        if self._alone:
            return
        groups: dict[str, list[float]] = {}
        for run in sweep.recorded.dropna(subset=metric).to_dict("records"):
            groups.setdefault(_place(run, by), []).append(run[metric])
        live = sweep.live.dropna(subset=metric).to_dict("records")
        level = 1 - (1 - LEVEL) / max(len(live), 1)
        for point in live:
            place = _place(point, by)
            values = groups.get(place, [])
            where = f"{metric} of {sweep.experiment!r} at {place}"
            if len(values) < 3:
                raise CourseError(
                    f"{where} has {len(values)} recorded runs and needs at least 3: add seeds and run "
                    "`make evidence`."
                )
            if self.recording:
                continue
            band = prediction_interval(values, level)
            room = slack * max(1.0, abs(band.estimate))
            if not band.low - room <= point[metric] <= band.high + room:
                raise CourseError(
                    f"{where} came out as {point[metric]:.4g}, outside the {100 * level:.4g} % prediction "
                    f"interval [{band.low:.4g}, {band.high:.4g}] of {len(values)} recorded runs: the code no "
                    "longer does what was recorded, so find out why before running `make evidence`."
                )

    def record(
        self,
        *,
        id: str,
        claim: str,
        statement: str,
        metric: str,
        interval: Interval,
        seeds: int,
        rule: str,
        published: str = "",
        source: str = "",
        cell: str = "",
        unit: str = "",
    ) -> str:
        """Record one measurement and return its verdict: `supported`, `contradicted` or `inconclusive`.

        `id` is a slug, unique in the lab; `claim` a ledger id; `cell` the anchor of the lab section that
        shows it; `rule` is explained at `verdict`. Recording: the row is written to the JSON. Otherwise it is
        compared with the JSON, and CourseError is raised where a text differs or a number does by more than
        1e-6.
        """
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id):
            raise CourseError(
                f"The evidence id {id!r} of lab {self.name} is not a slug like 'label-gap': rename it."
            )
        numbers = [float(f"{x:.9g}") for x in (interval.estimate, interval.low, interval.high)]
        if not all(map(math.isfinite, numbers)):
            raise CourseError(f"Evidence {self.name}/{id} has an interval that is not finite: {numbers}.")
        row = {
            "id": id,
            "claim": claim,
            "statement": statement,
            "lab": self.name,
            "profile": self.profile,
            "metric": metric,
            "unit": unit,
            "estimate": numbers[0],
            "ci95": numbers[1:],
            "method": interval.method,
            "seeds": int(seeds),
            "rule": rule,
            "verdict": verdict(rule, numbers[1], numbers[2]),
            "published": published,
            "source": source,
            "cell": cell,
        }
        self._rows[id] = row
        if self.recording:
            rows = _read_rows(self._json) if self._json.exists() else {}
            _write_rows(self._json, {**rows, id: row})
        elif not self._alone:
            self._compare(row)
        return row["verdict"]

    def conclude(self, id: str, interval: Interval, seeds: int) -> None:
        """Record the measurement `id` as `labs/NAME.yml` describes it (claim, statement, metric, rule, ...), and print
        its interval and verdict.

        Raises CourseError when the file has no such id, and what `record` raises.
        """
        path = course.root() / "labs" / f"{self.name}.yml"
        plan = _plan(read_text(path))
        if id not in plan:
            raise CourseError(f"{path} does not describe the measurement {id!r}: write its rule there first.")
        verdict = self.record(id=id, interval=interval, seeds=seeds, **plan[id])
        print(f"{id}: {interval} {plan[id].get('unit', '')}".rstrip() + f", {verdict}")

    def table(self) -> pd.DataFrame:
        """Return the lab's rows for its last section: claim, statement, result, seeds, verdict, published.

        While recording, rows that this session did not record are first removed from the JSON, so the lab
        must have run from its first cell.
        """
        import pandas as pd

        if self.recording:
            _write_rows(self._json, self._rows)
        rows = self._rows if self._alone else _read_rows(self._json)
        columns = ["id", "claim", "statement", "result", "seeds", "verdict", "published"]
        ordered = sorted(rows.values(), key=lambda row: row["id"])
        lines = [{**row, "result": _result(row)} for row in ordered]
        return pd.DataFrame(lines, columns=columns).set_index("id")

    def _run_all(
        self, experiment: str, run: Callable[..., dict[str, float]], settings: dict[str, Setting]
    ) -> Runs:
        bar = course.progress(settings.items(), desc=experiment, total=len(settings))
        return {key: _run(experiment, run, setting) for key, setting in bar}

    def _run_missing(
        self, experiment: str, run: Callable[..., dict[str, float]], settings: dict[str, Setting]
    ) -> Runs:
        recorded = _metrics(read_runs(self._csv), experiment)
        missing = {key: setting for key, setting in settings.items() if key not in recorded}
        done = len(settings) - len(missing)
        print(f"{experiment}: {done} of {len(settings)} runs are recorded, {len(missing)} to go")
        found = spread.unordered(partial(_run, experiment, run), missing)
        for key, metrics in course.progress(found, desc=experiment, total=len(missing)):
            append_runs(self._csv, experiment, key, metrics)
        if recorded.keys() - settings:
            print(f"{experiment}: {len(recorded.keys() - settings)} recorded runs belong to no setting of it")
        sort_runs(self._csv)
        return self._recorded(experiment, settings)

    def _recorded(self, experiment: str, settings: dict[str, Setting]) -> Runs:
        recorded = _metrics(read_runs(self._csv), experiment)
        missing = [key for key in settings if key not in recorded]
        if missing:
            raise CourseError(
                f"{self._csv} lacks {len(missing)} of the {len(settings)} runs of experiment {experiment!r}, "
                f"first {missing[0]}: run `make evidence`, or `git checkout` the file if it was changed."
            )
        return recorded

    def _compare(self, row: dict) -> None:
        rows = _read_rows(self._json)
        if row["id"] not in rows:
            raise CourseError(f"{self._json} has no row {row['id']!r}: run `make evidence` to record it.")
        old = rows[row["id"]]
        for field, new in row.items():
            if not _same(new, old[field]):
                raise CourseError(
                    f"{self._json}, row {row['id']!r}: {field} is recorded as {old[field]!r} but the lab "
                    f"now gives {new!r}; run `make evidence` if the change is meant."
                )


def _same(new: Any, old: Any) -> bool:
    """True if two fields of a row agree, numbers to within TOLERANCE."""
    if isinstance(new, list):
        return all(map(_same, new, old))
    if isinstance(new, float):
        return math.isclose(new, old, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return new == old


def _place(run: Setting, by: Sequence[str]) -> str:
    """Name a group of runs, as `labels=32, method=tuned`; a data frame may have made 32 to 32.0, None to NaN."""
    values = [run[name] if run[name] == run[name] else None for name in by]
    texts = [f"{value:.10g}" if isinstance(value, float) else str(value) for value in values]
    return ", ".join(f"{name}={text}" for name, text in zip(by, texts, strict=True))


def canonical(setting: Setting) -> str:
    """Return a setting as JSON with sorted keys; values are text, numbers (of numpy too), booleans or None."""
    plain = {}
    for name, value in setting.items():
        value = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
        if not isinstance(value, (str, int, float, type(None))) or (
            isinstance(value, float) and not math.isfinite(value)
        ):
            raise CourseError(
                f"The setting {name}={value!r} is not plain text, a finite number, True, False or None."
            )
        plain[name] = value
    return json.dumps(plain, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def verdict(rule: str, low: float, high: float) -> str:
    """Decide a rule by a 95 % interval: `supported`, `contradicted` or `inconclusive`.

    A rule has one of three forms, with numbers x and y (or sums and quotients of numbers, such as 2/3):
    `ci95[0] > x`, `ci95[1] < x`, or `x < ci95[0] and ci95[1] < y`. It is supported when it is true of the
    interval, contradicted when the whole interval lies on the other side (`ci95[1] < x`, `ci95[0] > x`, or
    outside x..y), and inconclusive otherwise. Raises CourseError for any other rule; nothing is evaluated but
    arithmetic.
    """
    above, below = _bounds(rule)
    if (above is None or low > above) and (below is None or high < below):
        return "supported"
    if (above is not None and high < above) or (below is not None and low > below):
        return "contradicted"
    return "inconclusive"


def _bounds(rule: str) -> tuple[float | None, float | None]:
    """Parse a rule into (x that ci95[0] must exceed, x that ci95[1] must stay below)."""
    try:
        tree = ast.parse(rule, mode="eval").body
        parts = tree.values if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And) else [tree]
        bounds: dict[int, float] = {}
        for part in parts:
            index, value = _comparison(part)
            if index in bounds:
                raise ValueError
            bounds[index] = value
    except (SyntaxError, ValueError, ArithmeticError, RecursionError, MemoryError):
        raise CourseError(
            f"The rule {shown(rule)} is not of the form 'ci95[0] > x', 'ci95[1] < x' or "
            "'x < ci95[0] and ci95[1] < y' with numbers x and y."
        ) from None
    if len(bounds) == 2 and bounds[0] >= bounds[1]:
        raise CourseError(f"The rule {rule!r} can never hold: {bounds[0]:g} is not below {bounds[1]:g}.")
    return bounds.get(0), bounds.get(1)


def _comparison(node: ast.expr) -> tuple[int, float]:
    """Return (0, x) for `ci95[0] > x`, (1, x) for `ci95[1] < x`, either way round, or raise ValueError."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        raise ValueError
    left, right, op = node.left, node.comparators[0], type(node.ops[0])
    if not isinstance(left, ast.Subscript):
        left, right, op = right, left, {ast.Lt: ast.Gt, ast.Gt: ast.Lt}.get(op)
    match left, op:
        case ast.Subscript(ast.Name("ci95"), ast.Constant(0)), ast.Gt:
            return 0, _number(right)
        case ast.Subscript(ast.Name("ci95"), ast.Constant(1)), ast.Lt:
            return 1, _number(right)
    raise ValueError


def _number(node: ast.expr) -> float:
    match node:
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            return float(value)
        case ast.UnaryOp(ast.USub(), operand):
            return -_number(operand)
        case ast.BinOp(left, ast.Add(), right):
            return _number(left) + _number(right)
        case ast.BinOp(left, ast.Sub(), right):
            return _number(left) - _number(right)
        case ast.BinOp(left, ast.Mult(), right):
            return _number(left) * _number(right)
        case ast.BinOp(left, ast.Div(), right):
            return _number(left) / _number(right)
    raise ValueError


# Rows


def load(lab: str, folder: Path | None = None) -> dict[str, dict]:
    """Return the rows of a lab (`full/NAME` in the full profile) by id; CourseError if the file is not valid."""
    path = (folder or course.root() / "evidence") / f"{lab}.json"
    if not path.is_file():
        raise CourseError(
            f"{path} does not exist, so lab {lab!r} has no evidence: check the name, or run `make evidence`."
        )
    return _read_rows(path)


def quote(ref: str, folder: Path | None = None) -> str:
    """Return a measured number as text.

    `lab/id` gives `0.28 [0.26, 0.30]`; `lab/id:field` gives a field of the row; `lab/id:field:format` formats
    a number, or both ends of `ci95`, for instance `:estimate:.0%`. Raises CourseError for an unknown lab, id,
    field or format.
    """
    name, _, rest = ref.partition(":")
    field, _, spec = rest.partition(":")
    lab, slash, row_id = name.rpartition("/")
    if not slash or not lab or not row_id:
        raise CourseError(
            f"The evidence reference {ref!r} is not of the form 'lab/id' or 'lab/id:field:format'."
        )
    rows = load(lab, folder)
    if row_id not in rows:
        raise CourseError(
            f"The evidence reference {ref!r} names no row of {lab}.json: it has {', '.join(sorted(rows))}."
        )
    row = rows[row_id]
    if not field:
        return _result(row)
    if field not in row:
        raise CourseError(
            f"The evidence reference {ref!r} names no field of a row: the fields are {', '.join(row)}."
        )
    value = row[field]
    if not spec and field in ("estimate", "ci95"):
        spec = f".{decimals(row['estimate'], *row['ci95'])}f"
    try:
        return f"[{value[0]:{spec}}, {value[1]:{spec}}]" if field == "ci95" else f"{value:{spec}}"
    except ValueError:
        raise CourseError(
            f"The evidence reference {ref!r} has the format {spec!r}, which does not fit {value!r}."
        ) from None


def _result(row: dict) -> str:
    return format_interval(row["estimate"], *row["ci95"])


def _read_rows(path: Path) -> dict[str, dict]:
    """Read an evidence file and check it: the fields of FIELDS, unique ids, verdicts that follow."""
    if not path.exists():
        raise CourseError(
            f"{path} cannot be read (there is none): `git checkout` it, or run `make evidence`."
        )
    rows = read_json(path, "`git checkout` it, or run `make evidence`")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise CourseError(f"{path} must hold a list of objects: `git checkout` it, or run `make evidence`.")
    result: dict[str, dict] = {}
    for place, row in enumerate(rows):
        where = f"{path}, row {place} ({shown(row.get('id', 'no id'))})"
        for field, kind in FIELDS.items():
            if type(row.get(field)) is not kind and not (kind is float and _is_number(row.get(field))):
                raise CourseError(
                    f"{where}: {field!r} is missing or not of type {kind.__name__}; run `make evidence`."
                )
        if len(row["ci95"]) != 2 or not all(map(_is_number, row["ci95"])) or row["ci95"][0] > row["ci95"][1]:
            raise CourseError(
                f"{where}: 'ci95' must hold two numbers, the smaller one first; run `make evidence`."
            )
        if row["seeds"] < 1:
            raise CourseError(f"{where}: 'seeds' must be positive; run `make evidence`.")
        if row["id"] in result:
            raise CourseError(f"{where}: the id stands twice; run `make evidence`.")
        try:
            follows = verdict(row["rule"], *row["ci95"])
        except CourseError as error:
            raise CourseError(f"{where}: {str(error).removesuffix('.')}; run `make evidence`.") from None
        if follows != row["verdict"]:
            raise CourseError(
                f"{where}: the verdict {shown(row['verdict'])} does not follow from its rule; run `make evidence`."
            )
        result[row["id"]] = row
    return result


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _write_rows(path: Path, rows: dict[str, dict]) -> None:
    ordered = sorted(rows.values(), key=lambda row: row["id"])
    write_text(path, json.dumps(ordered, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


# Single runs


def read_runs(path: Path) -> dict[Key, float]:
    """Return the recorded values by (experiment, setting, metric); an absent file has none.

    A last line that a killed run left half written is dropped with a message, and so is all that this run
    wrote. Any other line that cannot be read raises CourseError with its number.
    """
    text = _read_text(path)
    whole = _whole_lines(text)
    if len(whole) < len(text):
        print(f"{path.name}: the last run was cut off and is dropped; recording runs it again")
    return dict(_parse(path, whole))


def append_runs(path: Path, experiment: str, setting: str, metrics: dict[str, float]) -> None:
    """Add the metrics of one run, all of them or none, after removing a torn last line.

    The file is written anew: after an append that was cut off between two lines, a run with some of its metrics would
    look like a whole one.
    """
    lines = _lines({(experiment, setting, metric): value for metric, value in metrics.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        whole = _whole_lines(_read_text(path)) or HEADER
        if setting not in _metrics(_parse(path, whole), experiment):  # else another recording was faster
            write_text(path, whole + lines)


def sort_runs(path: Path) -> None:
    """Rewrite the file in canonical order, so that two recordings differ only in what they measured."""
    if path.exists():
        with _locked(path.parent):
            runs = _parse(path, _whole_lines(_read_text(path)))
            write_text(path, HEADER + _lines(dict(sorted(runs.items(), key=_order))))


def _order(item: tuple[Key, float]) -> tuple:
    """Sort key of a run: experiment, then each setting value by name (numbers as numbers), then metric."""
    (experiment, setting, metric), _ = item
    values = [
        (name, (0, value, "") if isinstance(value, (int, float)) else (1, 0, str(value)))
        for name, value in json.loads(setting).items()
    ]
    return experiment, values, metric


def _read_text(path: Path) -> str:
    """The text of a file of runs, empty where there is none; it begins with HEADER or with a part of it."""
    try:
        text = path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n") if path.exists() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise CourseError(
            f"{path} cannot be read ({error}): `git checkout` it, or run `make evidence`."
        ) from None
    if not text.startswith(HEADER[: len(text)]):
        raise CourseError(
            f"{path}, line 1: expected {HEADER.strip()!r}, found {text.partition(chr(10))[0][:80]!r}; `git checkout` "
            "the file, or delete it and run `make evidence`."
        )
    return text


def _whole_lines(text: str) -> str:
    """Return `text` without a torn last line and the lines before it that may belong to the same run."""
    lines = text.split("\n")
    torn = lines.pop()
    last = _fields(lines[-1])[:2] if len(lines) > 1 else []
    if torn and last:
        start = _csv_line(last)
        if torn.startswith(start) or start.startswith(torn):
            while _fields(lines[-1])[:2] == last:
                lines.pop()
    return "".join(line + "\n" for line in lines)


def _fields(line: str) -> list[str]:
    """The cells of a line; none where it is not CSV."""
    try:
        return next(csv.reader([line], strict=True), [])
    except csv.Error:
        return []


def _csv_line(fields: Sequence[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(fields)
    return out.getvalue()


@lru_cache(maxsize=1)  # a lab asks for the same file at every sweep
def _parse(path: Path, text: str) -> Mapping[Key, float]:
    runs: dict[Key, float] = {}
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if number == 1 and line + "\n" == HEADER:
            continue
        try:
            experiment, setting, metric, value = _fields(line)
            key, number_value = (experiment, canonical(parse_json(setting)), metric), float(value)
            if number == 1 or key in runs or not math.isfinite(number_value) or not NUMBER.fullmatch(value):
                raise ValueError
        except (ValueError, AttributeError, CourseError):
            raise CourseError(
                f"{path}, line {number}: expected {HEADER.strip()!r} with each run once and a finite value, "
                f"found {line[:80]!r}; `git checkout` the file, or delete the line and run `make evidence`."
            ) from None
        runs[key] = number_value
    return runs


@lru_cache(maxsize=1)  # a lab asks for the same file at every conclusion
def _plan(text: str) -> Mapping[str, dict[str, Any]]:
    """The descriptions in a `labs/NAME.yml`, by id."""
    import yaml

    return yaml.safe_load(text)


def _lines(runs: Mapping[Key, float]) -> str:
    return "".join(_csv_line([*key, repr(value)]) + "\n" for key, value in runs.items())


def _metrics(runs: Mapping[Key, float], experiment: str) -> Runs:
    """Return the metrics of each run of one experiment."""
    result: Runs = {}
    for (name, setting, metric), value in runs.items():
        if name == experiment:
            result.setdefault(setting, {})[metric] = value
    return result


def _run(experiment: str, run: Callable[..., dict[str, float]], setting: Setting) -> dict[str, float]:
    global _depth
    _depth += 1
    try:  # a run that asks for runs of another sweep draws on as if they had been recorded before
        with course.same_random() if _depth > 1 else nullcontext():
            course.seed_everything(int(setting.get("seed", 0)))
            metrics = run(**setting)
    finally:
        _depth -= 1
    if not isinstance(metrics, dict) or not metrics:
        raise CourseError(
            f"A run of {experiment!r} at {setting} returned {metrics!r}: it must return its metrics by name."
        )
    for name, value in metrics.items():
        if name in setting or not math.isfinite(value):
            raise CourseError(
                f"A run of {experiment!r} at {setting} gave {name}={value}: a metric must be a finite number "
                "with a name of its own."
            )
    return {name: float(value) for name, value in metrics.items()}


def _frame(runs: Runs, keys: list[str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([{**json.loads(key), **runs[key]} for key in keys])


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a lock on `folder` (POSIX only), so that two recordings do not tear each other's lines."""
    try:
        import fcntl
    except ImportError:  # Windows: record one lab at a time
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
