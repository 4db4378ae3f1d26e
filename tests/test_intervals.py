"""Intervals: order, coverage on simulated data, and what bad samples get."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.errors import CourseError
from utils.intervals import (
    Interval,
    format_interval,
    mean_ci,
    paired_ci,
    prediction_interval,
    ratio_ci,
    slope_ci,
    wilson,
)

samples = st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=30)


@settings(max_examples=30, deadline=None)
@given(samples)
def test_mean_lies_inside(values):
    ci = mean_ci(values)
    assert ci.low - 1e-9 <= ci.estimate <= ci.high + 1e-9
    assert ci.estimate == pytest.approx(np.mean(values), abs=1e-6)
    assert ci.n == len(values) and ci.method


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=20), st.floats(0.5, 0.999))
def test_prediction_interval_is_wider_at_a_higher_level(values, level):
    narrow, wide = prediction_interval(values, level / 2), prediction_interval(values, level)
    assert wide.low <= narrow.low <= narrow.estimate <= narrow.high <= wide.high


@pytest.mark.parametrize(("n", "least"), [(3, 0.92), (5, 0.92), (12, 0.88)])
def test_mean_ci_covers_the_truth(n, least):
    rng = np.random.default_rng(n)
    hits = [ci.low <= 2.0 <= ci.high for ci in (mean_ci(rng.normal(2.0, 1.0, n)) for _ in range(250))]
    assert least <= np.mean(hits) <= 0.99


def test_prediction_interval_covers_the_next_run():
    rng = np.random.default_rng(1)
    draws = rng.normal(size=(2000, 6))
    hits = [ci.low <= row[5] <= ci.high for row in draws for ci in [prediction_interval(row[:5])]]
    assert 0.98 <= np.mean(hits) <= 1.0


def test_slope_covers_the_truth():
    rng = np.random.default_rng(2)
    x = np.arange(6.0)
    hits = [
        ci.low <= 0.5 <= ci.high for ci in (slope_ci(x, 0.5 * x + rng.normal(size=6)) for _ in range(500))
    ]
    assert 0.92 <= np.mean(hits) <= 0.98


def test_wilson_is_the_textbook_interval():
    ci = wilson(8, 10)  # z = 1.96: centre 0.7169, half width 0.2267
    assert (ci.estimate, ci.n, ci.method) == (0.8, 10, "Wilson")
    assert (ci.low, ci.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 5).low == 0.0 and wilson(5, 5).high == 1.0


def test_student_interval_is_the_textbook_interval():
    ci = mean_ci([1.0, 2.0, 3.0])  # 2 +- 4.3027 * 1 / sqrt(3)
    assert (ci.low, ci.high) == (pytest.approx(-0.4841, abs=1e-4), pytest.approx(4.4841, abs=1e-4))
    assert ci.method == "Student t"


def test_methods_are_named_and_repeatable():
    values = np.random.default_rng(0).normal(size=10)
    assert mean_ci(values) == mean_ci(values)
    assert mean_ci(values).method == "BCa bootstrap"
    assert paired_ci(values, values / 2).method == "paired BCa bootstrap"
    assert ratio_ci(values + 9, values / 2 + 9).method == "paired BCa bootstrap"
    assert mean_ci([0.1] * 10) == Interval(0.1, 0.1, 0.1, "all runs equal", 10)
    assert paired_ci([1.5, 2.5], [1.0, 2.0]).method == "paired all runs equal"


def test_pairing_removes_what_runs_share():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 10, 12)
    ci = paired_ci(shared + 1 + rng.normal(0, 0.1, 12), shared)
    assert 0.8 < ci.low < 1 < ci.high < 1.2


def test_ratio():
    ci = ratio_ci([2.0, 4.0, 6.0, 8.0], [1.0, 2.0, 3.0, 4.0])
    assert ci.estimate == ci.low == ci.high == pytest.approx(2.0)
    with pytest.raises(CourseError, match="positive denominator in every run, and found 0"):
        ratio_ci([1.0, 2.0], [1.0, 0.0])


@pytest.mark.parametrize("function", [mean_ci, prediction_interval])
def test_too_few_values(function):
    with pytest.raises(CourseError, match="was given 1: run more seeds"):
        function([0.5])
    with pytest.raises(CourseError, match="was given 0"):
        function([])


def test_prediction_interval_needs_three():
    with pytest.raises(CourseError, match="needs at least 3 values"):
        prediction_interval([0.1, 0.2])


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_must_be_finite(bad):
    for call in (
        lambda x: mean_ci(x),
        lambda x: paired_ci([1.0] * len(x), x),
        lambda x: slope_ci(range(len(x)), x),
        lambda x: prediction_interval(x),
    ):
        with pytest.raises(CourseError, match=f"given {bad} as value 1 of 3"):
            call([0.5, bad, 0.7])


def test_pairs_must_match():
    with pytest.raises(CourseError, match="have 2 and 3 values"):
        paired_ci([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(CourseError, match="two different x values"):
        slope_ci([1.0, 1.0, 1.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize(("successes", "n"), [(3, 2), (-1, 5), (0, 0)])
def test_wilson_counts(successes, n):
    with pytest.raises(CourseError, match="0 <= successes <= n"):
        wilson(successes, n)


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((0.28, 0.26, 0.30), "0.28 [0.26, 0.30]"),
        ((0.28, 0.1, 0.5), "0.28 [0.10, 0.50]"),
        ((0.03124, 0.03001, 0.03310), "0.0312 [0.0300, 0.0331]"),
        ((1520.4, 1400.2, 1650.1), "1520 [1400, 1650]"),
        ((12.34, 11.1, 13.3), "12.3 [11.1, 13.3]"),
        ((0.00012, 0.00012, 0.00012), "0.000120 [0.000120, 0.000120]"),
        ((-0.5, -0.75, -0.25), "-0.50 [-0.75, -0.25]"),
        ((0.0, 0.0, 0.0), "0.00 [0.00, 0.00]"),
    ],
)
def test_format(numbers, text):
    assert format_interval(*numbers) == text
    assert str(Interval(*numbers, method="exact", n=1)) == text
