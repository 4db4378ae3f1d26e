"""Evidence: sweeps that resume, checks that fail, rows with verdicts, and quotations."""

import errno
import json
import math
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from utils import evidence, settings
from utils.errors import CourseError
from utils.evidence import Lab, canonical, load, quote, read_runs, verdict
from utils.intervals import Interval, mean_ci, prediction_interval

SETTINGS = [
    {"method": m, "labels": n, "seed": s} for m in ("b", "a") for n in (128, 32) for s in range(10, -1, -1)
]
ROW = {
    "id": "gap",
    "claim": "PT-16",
    "statement": "Pretraining helps.",
    "metric": "accuracy, tuned minus scratch",
    "interval": Interval(0.28, 0.26, 0.30, "paired BCa bootstrap", 10),
    "seeds": 10,
    "rule": "ci95[0] > 0",
    "published": "error 5.00 against 6.87 %",
    "source": "howard2018ulmfit",
    "cell": "what-it-buys",
}


def train(method, labels, seed):
    noise = np.random.default_rng([seed, labels]).normal(0, 0.01)
    return {"accuracy": 0.5 + labels / 1000 + (method == "a") * 0.1 + noise, "steps": 10}


@pytest.fixture
def mode(monkeypatch):
    """Choose recording or reading, and the profile."""

    def choose(record, profile="mini"):
        monkeypatch.setenv("COURSE_RECORD", "1" if record else "0")
        monkeypatch.setenv("COURSE_PROFILE", profile)

    monkeypatch.setenv("TQDM_DISABLE", "1")
    choose(False)
    return choose


@pytest.fixture
def recorded(tmp_path, mode):
    """Return a folder with recorded runs and one recorded row, in reading mode."""
    mode(True)
    lab = Lab("lab", tmp_path)
    lab.sweep("sentiment", train, SETTINGS)
    lab.record(**ROW)
    lab.table()
    mode(False)
    return tmp_path


def test_recording_writes_sorted_readable_files(recorded):
    lines = (recorded / "runs" / "lab.csv").read_text().splitlines()
    assert lines[0] == "experiment,setting,metric,value"
    assert lines[1].startswith('sentiment,"{""labels"":32,""method"":""a"",""seed"":0}",accuracy,0.6')
    assert lines[2].endswith(",steps,10.0")
    seeds = [json.loads(setting)["seed"] for _, setting, metric in read_runs(recorded / "runs" / "lab.csv")]
    assert seeds[:22] == [s for s in range(11) for _ in range(2)], "10 comes after 9"
    (row,) = json.loads((recorded / "lab.json").read_text())
    assert row["lab"] == "lab" and row["profile"] == "mini" and row["verdict"] == "supported"
    assert row["ci95"] == [0.26, 0.3] and row["method"] == "paired BCa bootstrap"
    assert sorted(p.name for p in recorded.rglob("*") if p.is_file()) == ["lab.csv", "lab.json"]


def test_reading_runs_only_the_live_settings(recorded):
    calls = []

    def counting(**setting):
        calls.append(setting["seed"])
        return train(**setting)

    sweep = Lab("lab", recorded).sweep("sentiment", counting, SETTINGS, live=lambda s: s["seed"] < 2)
    assert sorted(calls) == [0] * 4 + [1] * 4
    assert len(sweep.recorded) == 44 and len(sweep.live) == 8
    assert list(sweep.live.columns) == ["labels", "method", "seed", "accuracy", "steps"]
    assert sweep.recorded["method"].tolist() == [s["method"] for s in SETTINGS], "the order of the settings"


def test_sweep_resumes_after_an_interruption(tmp_path, mode, capsys):
    mode(True)
    calls = []

    def breaks(**setting):
        calls.append(setting)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return train(**setting)

    with pytest.raises(KeyboardInterrupt):
        Lab("lab", tmp_path).sweep("sentiment", breaks, SETTINGS)
    sweep = Lab("lab", tmp_path).sweep("sentiment", breaks, SETTINGS)
    assert len(calls) == 7 + 1 + 37 and len(sweep.recorded) == 44
    assert "sentiment: 7 of 44 runs are recorded, 37 to go" in capsys.readouterr().out
    once = (tmp_path / "runs" / "lab.csv").read_bytes()
    Lab("other", tmp_path).sweep("sentiment", train, SETTINGS)
    assert (tmp_path / "runs" / "other.csv").read_bytes() == once, "an interruption leaves no trace"


def test_each_run_is_seeded_by_its_setting(tmp_path, mode):
    mode(True)
    grid = [{"seed": s} for s in (0, 1, 2)]

    def draws(seed):
        return {"draw": np.random.rand()}

    forward = Lab("a", tmp_path).sweep("x", draws, grid).recorded
    backward = Lab("b", tmp_path).sweep("x", draws, grid[::-1]).recorded
    assert forward["draw"].tolist() == backward["draw"].tolist()[::-1]
    assert forward["draw"].nunique() == 3


def test_a_sweep_inside_a_run_leaves_its_random_numbers_alone(tmp_path, mode):
    mode(True)

    def draws(seed):
        lab.sweep("inner", lambda seed: {"draw": np.random.rand()}, [{"seed": s} for s in range(3)])
        return {"draw": np.random.rand()}

    lab = Lab("lab", tmp_path)
    first = lab.sweep("outer", draws, [{"seed": 5}]).recorded["draw"].tolist()  # records the inner runs, too
    assert lab.sweep("outer again", draws, [{"seed": 5}]).recorded["draw"].tolist() == first


def test_two_sweeps_share_a_file(tmp_path, mode, capsys):
    mode(True)
    lab = Lab("lab", tmp_path)
    lab.sweep("z", lambda seed: {"loss": 1.0}, [{"seed": 0}])
    lab.sweep("a", lambda seed: {"loss": 2.0}, [{"seed": 0}, {"seed": 1}])
    assert [key[0] for key in read_runs(tmp_path / "runs" / "lab.csv")] == ["a", "a", "z"]
    lab.sweep("a", lambda seed: {"loss": 2.0}, [{"seed": 0}])
    assert "a: 1 recorded runs belong to no setting of it" in capsys.readouterr().out


def test_torn_last_line_is_dropped_with_its_run(recorded, mode, capsys):
    path = recorded / "runs" / "lab.csv"
    whole = path.read_bytes()
    line = whole.splitlines(keepends=True)[-1]
    for torn in (whole[:-1], whole[:-3], whole[: -len(line) + 1], whole + b"sentiment", whole + line[:-4]):
        path.write_bytes(torn)
        assert len(read_runs(path)) == 86, torn[-60:]
        assert "lab.csv: the last run was cut off" in capsys.readouterr().out
    path.write_bytes(whole + b"other,")
    assert len(read_runs(path)) == 88, "the start of another run leaves the one before it"
    path.write_bytes(whole[:-3])
    mode(True)
    Lab("lab", recorded).sweep("sentiment", train, SETTINGS)
    assert path.read_bytes() == whole


def test_append_repairs_and_does_not_repeat(tmp_path, capsys):
    path = tmp_path / "lab.csv"
    evidence.append_runs(path, "x", '{"seed":0}', {"loss": 0.1, "bits": 2.0})
    evidence.append_runs(path, "x", '{"seed":1}', {"loss": 0.2, "bits": 2.0})
    path.write_bytes(path.read_bytes()[:-2])
    evidence.append_runs(path, "x", '{"seed":2}', {"loss": 0.3, "bits": 2.0})
    assert [json.loads(key[1])["seed"] for key in read_runs(path)] == [0, 0, 2, 2]
    before = path.read_bytes()
    evidence.append_runs(path, "x", '{"seed":2}', {"loss": 0.4, "bits": 2.0})
    assert path.read_bytes() == before


def test_a_run_is_recorded_whole_or_not_at_all(tmp_path):
    """Wherever the disk is full: a run with some of its metrics would pass for a whole one."""
    path = tmp_path / "lab.csv"
    evidence.append_runs(path, "x", '{"seed":0}', {"a": 0.1, "b": 2.0, "c": 1.0})
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    run = "x", '{"seed":1}', {"a": 0.2, "b": 3.0, "c": 1.5}
    try:
        for room in range(len(before) - len(evidence.HEADER)):
            resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + room, limits[1]))
            with pytest.raises(CourseError, match="lab.csv cannot be written .*: make room"):
                evidence.append_runs(path, *run)
            assert len(read_runs(path)) == 3, room
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [path]
    evidence.append_runs(path, *run)
    assert len(read_runs(path)) == 6


def test_two_recorders_at_a_time(tmp_path):
    code = (
        "import sys; from pathlib import Path; from utils.evidence import append_runs\n"
        "for seed in range(40):\n"
        "    append_runs(Path(sys.argv[1]), sys.argv[2], '{\"seed\":%d}' % seed, {'a': 1.0, 'b': 2.0})"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "lab.csv")]
    workers = [subprocess.Popen([*command, name], cwd=settings.root()) for name in ("one", "two")]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert len(read_runs(tmp_path / "lab.csv")) == 160


@pytest.mark.parametrize(
    "line",
    [
        'sentiment,"{""seed"":0}",accuracy',
        'sentiment,"{""seed"":0}",accuracy,nan',
        'sentiment,"{""seed"":0}",accuracy,high',
        "sentiment,seed 0,accuracy,0.5",
        'sentiment,"[0]",accuracy,0.5',
        'sentiment,"{""labels"":32,""method"":""a"",""seed"":0}",accuracy,0.5',
    ],
)
def test_unreadable_line_is_named(recorded, line):
    path = recorded / "runs" / "lab.csv"
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(CourseError, match=r"lab\.csv, line 90: expected .* found '[s]entiment"):
        read_runs(path)


def test_missing_header_is_named(recorded):
    path = recorded / "runs" / "lab.csv"
    path.write_text(path.read_text().partition("\n")[2])
    with pytest.raises(CourseError, match=r"lab\.csv, line 1: expected 'experiment,setting,metric,value'"):
        read_runs(path)


def test_missing_runs_are_named_before_anything_runs(recorded):
    def never(**setting):
        raise AssertionError("ran")

    more = [*SETTINGS, {"method": "a", "labels": 64, "seed": 0}]
    with pytest.raises(CourseError, match=r"lacks 1 of the 45 runs .*\"labels\":64.*make evidence"):
        Lab("lab", recorded).sweep("sentiment", never, more)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"accuracy": math.nan}, "accuracy=nan"),
        ({"seed": 1.0}, "seed=1.0"),
        ({}, "returned {}"),
        (None, "returned None"),
    ],
)
def test_runs_must_return_finite_metrics(tmp_path, mode, result, message):
    mode(True)
    with pytest.raises(CourseError, match=message):
        Lab("lab", tmp_path).sweep("x", lambda seed: result, [{"seed": 0}])
    assert not (tmp_path / "runs" / "lab.csv").exists()


def test_settings_must_be_plain_and_unique(tmp_path, mode):
    with pytest.raises(CourseError, match="sizes=\\(1, 2\\) is not plain"):
        canonical({"sizes": (1, 2)})
    with pytest.raises(CourseError, match="rate=nan"):
        canonical({"rate": math.nan})
    with pytest.raises(CourseError, match="twice"):
        Lab("lab", tmp_path).sweep("x", train, [{"seed": 0}, {"seed": np.int64(0)}])
    assert canonical({"b": np.float64(0.5), "a": np.int64(3), "c": None}) == '{"a":3,"b":0.5,"c":null}'


def test_check_accepts_and_rejects(recorded):
    lab = Lab("lab", recorded)
    lab.check(lab.sweep("sentiment", train, SETTINGS), "accuracy", by=["method", "labels"])
    lab.check(lab.sweep("sentiment", train, SETTINGS), "steps", by=["method", "labels"])

    def worse(method, labels, seed):
        metrics = train(method, labels, seed)
        return {**metrics, "accuracy": metrics["accuracy"] - (method == "a" and labels == 32) * 0.1}

    broken = lab.sweep("sentiment", worse, SETTINGS)
    message = r"accuracy of 'sentiment' at method=a, labels=32 came out as 0\.5\d+, outside the 99\.75 % .*11 recorded"
    with pytest.raises(CourseError, match=message):
        lab.check(broken, "accuracy", by=["method", "labels"])
    lab.check(broken, "accuracy", by=["method", "labels"], slack=0.1)


def test_check_level_is_shared_by_the_live_points(recorded):
    lab = Lab("lab", recorded)
    values = [train("a", 32, seed)["accuracy"] for seed in range(11)]
    one, four = prediction_interval(values, 0.99), prediction_interval(values, 0.9975)
    between = (one.high + four.high) / 2

    def shifted(method, labels, seed):
        return {
            "accuracy": between if (method, labels) == ("a", 32) else train(method, labels, seed)["accuracy"]
        }

    four_points = lab.sweep("sentiment", shifted, SETTINGS)
    lab.check(four_points, "accuracy", by=["method", "labels"])
    one_point = lab.sweep(
        "sentiment", shifted, [s for s in SETTINGS if (s["method"], s["labels"]) == ("a", 32)]
    )
    with pytest.raises(CourseError, match="outside the 99 %"):
        lab.check(one_point, "accuracy", by=["method", "labels"])


def test_check_raises_false_alarms_rarely():
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(400):
        draws = rng.normal(size=(8, 11))
        bands = [prediction_interval(row[:10], 1 - 0.01 / 8) for row in draws]
        alarms += any(not b.low <= row[10] <= b.high for b, row in zip(bands, draws, strict=True))
    assert alarms / 400 <= 0.025


def test_check_needs_enough_runs(tmp_path, mode):
    grid = [{"method": "a", "labels": 32, "seed": s} for s in range(2)]
    for record in (True, False):
        mode(record)
        lab = Lab("lab", tmp_path)
        with pytest.raises(CourseError, match="2 recorded runs and needs at least 3"):
            lab.check(lab.sweep("x", train, grid), "accuracy", by=["method"])


def test_check_names_what_is_missing(recorded):
    lab = Lab("lab", recorded)
    sweep = lab.sweep("sentiment", train, SETTINGS)
    with pytest.raises(CourseError, match="has no 'f1': it has"):
        lab.check(sweep, "f1", by=["method"])
    with pytest.raises(CourseError, match="no live run"):
        lab.check(lab.sweep("sentiment", train, SETTINGS, live=lambda s: False), "accuracy", by=["method"])


def test_check_groups_none_with_none(tmp_path, mode):
    grid = [{"tuning": t, "seed": s} for t in (None, "all") for s in range(4)]

    def run(tuning, seed):
        return {"loss": seed / 10} if tuning else {"loss": seed / 10, "extra": 1.0}

    mode(True)
    Lab("lab", tmp_path).sweep("x", run, grid)
    mode(False)
    lab = Lab("lab", tmp_path)
    sweep = lab.sweep("x", run, grid)
    lab.check(sweep, "loss", by=["tuning"])
    lab.check(sweep, "extra", by=["tuning"])


@pytest.mark.parametrize(
    ("rule", "low", "high", "result"),
    [
        ("ci95[0] > 0", 0.1, 0.2, "supported"),
        ("ci95[0] > 0", -0.1, 0.2, "inconclusive"),
        ("ci95[0] > 0", -0.2, -0.1, "contradicted"),
        ("ci95[0] > 0", 0.0, 0.1, "inconclusive"),
        ("0 < ci95[0]", 0.1, 0.2, "supported"),
        ("ci95[1] < 0.5", 0.1, 0.2, "supported"),
        ("ci95[1] < 0.5", 0.4, 0.6, "inconclusive"),
        ("ci95[1] < -0.5", -0.4, 0.6, "contradicted"),
        ("-0.1 < ci95[0] and ci95[1] < 0.1", -0.05, 0.05, "supported"),
        ("ci95[1] < 0.1 and ci95[0] > -0.1", -0.05, 0.2, "inconclusive"),
        ("-0.1 < ci95[0] and ci95[1] < 0.1", 0.15, 0.2, "contradicted"),
        ("-0.1 < ci95[0] and ci95[1] < 0.1", -0.3, -0.2, "contradicted"),
        ("ci95[0] > 2/3 - 0.1*2", 0.5, 0.6, "supported"),
    ],
)
def test_verdict(rule, low, high, result):
    assert verdict(rule, low, high) == result


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1))
def test_verdict_mirrors(low, width, x):
    assert verdict(f"ci95[0] > {x!r}", low, low + width) == verdict(f"ci95[1] < {-x!r}", -low - width, -low)


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "ci95[0]",
        "ci95[0] >= 0",
        "ci95[1] > 0",
        "ci95[0] < 0",
        "0 < ci95[0] < 1",
        "ci95[0] > 0 or ci95[1] < 1",
        "ci95[0] > 0 and ci95[0] > 1",
        "ci95[0] > 'a'",
        "ci95[0] > 1/0",
        "ci95[0] > abs(-1)",
        "ci95[0] > True",
        "__import__('os').system('true')",
        "ci95[0] > __import__('os').getpid()",
        "estimate > 0",
    ],
)
def test_other_rules_are_refused(rule):
    with pytest.raises(CourseError, match="is not of the form"):
        verdict(rule, 0.0, 1.0)


def test_impossible_rule_is_refused():
    with pytest.raises(CourseError, match="can never hold"):
        verdict("0.5 < ci95[0] and ci95[1] < 0.1", 0.0, 1.0)


def test_record_agrees_with_the_file_or_stops(recorded):
    lab = Lab("lab", recorded)
    assert lab.record(**ROW) == "supported"
    close = Interval(0.28 + 1e-8, 0.26, 0.30, "paired BCa bootstrap", 10)
    lab.record(**{**ROW, "interval": close})
    stale = Interval(0.28, 0.25, 0.30, "paired BCa bootstrap", 10)
    with pytest.raises(
        CourseError, match=r"row 'gap': ci95 is recorded as \[0.26, 0.3\] but the lab now gives"
    ):
        lab.record(**{**ROW, "interval": stale})
    with pytest.raises(CourseError, match="statement is recorded as 'Pretraining helps.'"):
        lab.record(**{**ROW, "statement": "It does not."})
    with pytest.raises(CourseError, match="has no row 'other'"):
        lab.record(**{**ROW, "id": "other"})
    with pytest.raises(CourseError, match="cannot be read.*make evidence"):
        Lab("absent", recorded).record(**ROW)


def test_record_refuses_bad_rows(tmp_path, mode):
    mode(True)
    lab = Lab("lab", tmp_path)
    with pytest.raises(CourseError, match="not a slug"):
        lab.record(**{**ROW, "id": "Label gap"})
    with pytest.raises(CourseError, match="not finite"):
        lab.record(**{**ROW, "interval": Interval(math.nan, 0, 1, "", 3)})
    assert not (tmp_path / "lab.json").exists()


def test_record_keeps_id_order_and_drops_old_rows(recorded, mode):
    mode(True)
    lab = Lab("lab", recorded)
    lab.record(**{**ROW, "id": "zeta"})
    lab.record(**{**ROW, "id": "alpha", "rule": "ci95[1] < 0"})
    assert list(load("lab", recorded)) == ["alpha", "gap", "zeta"]
    table = lab.table()
    assert table.index.tolist() == ["alpha", "zeta"] == list(load("lab", recorded))
    assert table.loc["zeta", "result"] == "0.28 [0.26, 0.30]"
    assert table["verdict"].tolist() == ["contradicted", "supported"]


def test_table_reads_the_file(recorded):
    table = Lab("lab", recorded).table()
    assert table.columns.tolist() == ["claim", "statement", "result", "seeds", "verdict", "published"]
    assert table.loc["gap", "seeds"] == 10


def test_full_profile_stands_alone(recorded, mode):
    mode(False, profile="full")
    before = sorted(recorded.rglob("*"))
    lab = Lab("lab", recorded)
    sweep = lab.sweep("sentiment", train, SETTINGS[:4])
    assert len(sweep.recorded) == 4
    lab.check(
        lab.sweep("sentiment", train, [{"method": "a", "labels": 1, "seed": 0}]), "accuracy", by=["method"]
    )
    assert lab.record(**{**ROW, "interval": Interval(1.0, 0.9, 1.1, "t", 3)}) == "supported"
    assert lab.table().loc["gap", "result"] == "1.00 [0.90, 1.10]"
    assert sorted(recorded.rglob("*")) == before
    mode(True, profile="full")
    lab = Lab("lab", recorded)
    lab.sweep("sentiment", train, SETTINGS[:4])
    lab.record(**ROW)
    assert load("full/lab", recorded)["gap"]["profile"] == "full"
    assert quote("full/lab/gap:profile", recorded) == "full"


@pytest.mark.parametrize(
    ("ref", "text"),
    [
        ("lab/gap", "0.28 [0.26, 0.30]"),
        ("lab/gap:estimate", "0.28"),
        ("lab/gap:estimate:.0%", "28%"),
        ("lab/gap:ci95", "[0.26, 0.30]"),
        ("lab/gap:ci95:.3f", "[0.260, 0.300]"),
        ("lab/gap:verdict", "supported"),
        ("lab/gap:seeds", "10"),
        ("lab/gap:published", "error 5.00 against 6.87 %"),
    ],
)
def test_quote(recorded, ref, text):
    assert quote(ref, recorded) == text


@pytest.mark.parametrize(
    ("ref", "message"),
    [
        ("absent/gap", "absent.json does not exist"),
        ("lab/absent", "names no row of lab.json: it has gap"),
        ("lab/gap:value", "names no field"),
        ("lab/gap:estimate:.2q", "format '.2q'"),
        ("lab/gap:verdict:.2f", "does not fit 'supported'"),
        ("gap", "not of the form"),
        ("lab/", "not of the form"),
        ("", "not of the form"),
    ],
)
def test_quote_refuses(recorded, ref, message):
    with pytest.raises(CourseError, match=message):
        quote(ref, recorded)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[0].update(verdict="contradicted"), "verdict 'contradicted' does not follow"),
        (lambda rows: rows[0].pop("seeds"), "'seeds' is missing"),
        (lambda rows: rows[0].update(ci95=[0.1]), "two numbers"),
        (lambda rows: rows[0].update(estimate="0.28"), "'estimate' is missing or not of type float"),
        (lambda rows: rows.append(dict(rows[0])), "the id stands twice"),
        (lambda rows: rows.append("gap"), "list of objects"),
    ],
)
def test_edited_evidence_is_refused(recorded, change, message):
    path = recorded / "lab.json"
    rows = json.loads(path.read_text())
    change(rows)
    path.write_text(json.dumps(rows))
    with pytest.raises(CourseError, match=message):
        load("lab", recorded)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lab.json is empty"),
        ("[", "lab.json, line 1, column 2: this is not JSON .*make evidence"),
        ('[{"id": NaN}]', "lab.json: this is not JSON .*make evidence"),
    ],
)
def test_broken_json_is_refused(recorded, text, message):
    (recorded / "lab.json").write_text(text)
    with pytest.raises(CourseError, match=message):
        load("lab", recorded)


def test_wrong_encoding_is_refused(recorded):
    (recorded / "runs" / "lab.csv").write_bytes(b"experiment,\xff\n")
    with pytest.raises(CourseError, match="lab.csv cannot be read.*0xff"):
        read_runs(recorded / "runs" / "lab.csv")


def test_full_disk_is_named(tmp_path, monkeypatch):
    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path = tmp_path / "lab.csv"
    evidence.append_runs(path, "x", '{"seed":0}', {"loss": 1.0})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CourseError, match="lab.csv cannot be written .No space left"):
        evidence.append_runs(path, "x", '{"seed":1}', {"loss": 1.0})
    with pytest.raises(CourseError, match="lab.csv cannot be written .No space left"):
        evidence.sort_runs(path)
    assert [p.name for p in tmp_path.iterdir()] == ["lab.csv"]


def test_quoting_needs_only_the_standard_library(recorded):
    code = (
        "import sys; from pathlib import Path; from utils import evidence\n"
        f"print(evidence.quote('lab/gap', Path({str(recorded)!r})))\n"
        "print(sorted({'numpy', 'scipy', 'pandas', 'torch', 'tqdm', 'pooch', 'requests'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=settings.root(), capture_output=True, text=True)
    assert result.stdout.splitlines() == ["0.28 [0.26, 0.30]", "[]"], result.stderr


def test_recorded_runs_give_the_recorded_row(recorded, mode):
    """A whole lab, recorded and then read, in miniature."""

    def lab_source():
        lab = Lab("gap", recorded)
        sweep = lab.sweep("sentiment", train, SETTINGS)
        means = sweep.recorded.pivot_table(index="seed", columns="method", values="accuracy")
        interval = mean_ci((means["a"] - means["b"]).tolist())
        lab.record(**{**ROW, "interval": interval, "seeds": len(means)})
        return lab.table()

    mode(True)
    first = lab_source()
    mode(False)
    assert lab_source().equals(first)
