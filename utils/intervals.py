"""Confidence and prediction intervals, all by scipy, each of which names its method.

Only the standard library is imported at the top, so that the book can format an `Interval` where scipy is not
installed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.errors import CourseError

if TYPE_CHECKING:
    import numpy as np

LEVEL = 0.95
RESAMPLES = 9999
FEW = 10  # below this number of runs a bootstrap interval of a mean is too narrow: Student's t is used


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval from `low` to `high`, by `method`, from `n` values."""

    estimate: float
    low: float
    high: float
    method: str
    n: int

    def __str__(self) -> str:
        """Format as `0.28 [0.26, 0.30]`, with the digits that the width deserves."""
        return format_interval(self.estimate, self.low, self.high)


def decimals(estimate: float, low: float, high: float) -> int:
    """Return the decimals to print: two below 10, one below 100, none above, more for a narrow interval."""
    largest = max(abs(estimate), abs(low), abs(high))
    least = 2 if largest < 10 else 1 if largest < 100 else 0
    width = high - low
    if width > 0:
        wanted = math.ceil(round(-math.log10(width / 4), 6))
    else:
        wanted = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    return min(max(least, wanted), 6)


def format_interval(estimate: float, low: float, high: float) -> str:
    """Format three numbers as `0.28 [0.26, 0.30]`."""
    digits = decimals(estimate, low, high)
    return f"{estimate:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def mean_ci(values: Sequence[float], seed: int = 0) -> Interval:
    """Return the mean of one value per run with its 95 % confidence interval.

    From 10 runs on: BCa bootstrap over runs, 9,999 resamples drawn from `seed` (Efron 1987), the plain
    percentile bootstrap where BCa is not defined. Below 10 runs the bootstrap is known to be too narrow (five
    normal values: 84 % coverage in place of 95 %), so Student's t is used. All values equal: the interval is
    that value.
    """
    return _mean_ci(_numbers(values, "mean_ci"), seed, "")


def paired_ci(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """Return the mean of `a[i] - b[i]` (run i of both shares its seed) with the interval of `mean_ci`."""
    first, second = _pairs(a, b, "paired_ci")
    return _mean_ci(first - second, seed, "paired ")


def ratio_ci(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """Return `mean(a) / mean(b)` with a paired bootstrap interval (BCa, else percentile).

    Raises CourseError unless all values of `b` are positive. With fewer than 10 pairs the interval is narrow.
    """
    first, second = _pairs(a, b, "ratio_ci")
    if second.min() <= 0:
        raise CourseError(f"ratio_ci needs a positive denominator in every run, and found {second.min():g}.")

    def statistic(x: np.ndarray, y: np.ndarray, axis: int = -1) -> np.ndarray:
        return x.mean(axis=axis) / y.mean(axis=axis)

    return _bootstrap((first, second), statistic, seed, "paired ")


def wilson(successes: int, n: int) -> Interval:
    """Return the rate `successes / n` with its 95 % Wilson score interval (Wilson 1927)."""
    from scipy.stats import binomtest

    if not (n >= 1 and 0 <= successes <= n):
        raise CourseError(f"wilson needs 0 <= successes <= n and n >= 1, and was given {successes} of {n}.")
    ci = binomtest(int(successes), int(n)).proportion_ci(LEVEL, method="wilson")
    return Interval(successes / n, float(ci.low), float(ci.high), "Wilson", int(n))


def prediction_interval(values: Sequence[float], level: float = 0.99) -> Interval:
    """Return the interval in which one new run falls with probability `level`, by Student's t.

    mean +- t * sd * sqrt(1 + 1/n), as for a new draw from the normal distribution that gave the
    `values`, of which at least 3 are needed.
    """
    from scipy.stats import t

    x = _numbers(values, "prediction_interval", least=3)
    n, mean = len(x), float(x.mean())
    half = float(t.ppf((1 + level) / 2, n - 1) * x.std(ddof=1) * math.sqrt(1 + 1 / n))
    return Interval(mean, mean - half, mean + half, f"{level:.4g} prediction, Student t", n)


def slope_ci(x: Sequence[float], y: Sequence[float]) -> Interval:
    """Return the least-squares slope of `y` on `x` with its 95 % interval by Student's t (needs 3 points)."""
    from scipy.stats import linregress, t

    first, second = _pairs(x, y, "slope_ci", least=3)
    if first.min() == first.max():
        raise CourseError(
            f"slope_ci needs at least two different x values, and all {len(first)} are {first[0]:g}."
        )
    fit = linregress(first, second)
    half = float(t.ppf((1 + LEVEL) / 2, len(first) - 2) * fit.stderr)
    return Interval(
        float(fit.slope),
        float(fit.slope - half),
        float(fit.slope + half),
        "least squares, Student t",
        len(first),
    )


def rank_correlation_ci(x: Sequence[float], y: Sequence[float], seed: int = 0) -> Interval:
    """Spearman's rank correlation over pairs, with a bootstrap interval (percentiles over resampled pairs)."""
    import numpy as np
    from scipy.stats import bootstrap, spearmanr

    def statistic(a: Sequence[float], b: Sequence[float]) -> float:
        return spearmanr(a, b).statistic

    pairs = _numbers(x, "rank_correlation_ci"), _numbers(y, "rank_correlation_ci")
    found = bootstrap(
        pairs,
        statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(
        float(statistic(*pairs)), float(found.low), float(found.high), "bootstrap over pairs", len(x)
    )


def _numbers(values: Sequence[float], caller: str, least: int = 2) -> np.ndarray:
    """Return `values` as a float array [n] after checking that there are enough and that all are finite."""
    import numpy as np

    x = np.asarray(values, dtype=float).ravel()
    if len(x) < least:
        raise CourseError(
            f"{caller} needs at least {least} values, one per run, and was given {len(x)}: run more seeds."
        )
    bad = np.flatnonzero(~np.isfinite(x))
    if len(bad):
        raise CourseError(
            f"{caller} was given {x[bad[0]]} as value {bad[0]} of {len(x)}: every run must give a finite "
            "number."
        )
    return x


def _pairs(
    a: Sequence[float], b: Sequence[float], caller: str, least: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Return both samples as arrays [n]; raise CourseError where their lengths differ."""
    first, second = _numbers(a, caller, least), _numbers(b, caller, least)
    if len(first) != len(second):
        raise CourseError(
            f"{caller} pairs run i of one sample with run i of the other, but they have {len(first)} and "
            f"{len(second)} values."
        )
    return first, second


def _mean_ci(x: np.ndarray, seed: int, prefix: str) -> Interval:
    import numpy as np
    from scipy.stats import ttest_1samp

    if np.ptp(x) == 0:
        return Interval(float(x[0]), float(x[0]), float(x[0]), f"{prefix}all runs equal", len(x))
    if len(x) < FEW:
        ci = ttest_1samp(x, 0.0).confidence_interval(LEVEL)
        return Interval(float(x.mean()), float(ci.low), float(ci.high), f"{prefix}Student t", len(x))
    return _bootstrap((x,), np.mean, seed, prefix)


def _bootstrap(data: tuple[np.ndarray, ...], statistic: Callable, seed: int, prefix: str) -> Interval:
    """Return the 95 % bootstrap interval of `statistic`: BCa, or percentile where BCa gives no number."""
    import numpy as np
    from scipy.stats import bootstrap

    estimate = float(statistic(*data))
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # scipy warns where BCa is not defined
            ci = bootstrap(
                data,
                statistic,
                paired=len(data) > 1,
                vectorized=True,
                n_resamples=RESAMPLES,
                method=method,
                confidence_level=LEVEL,
                rng=np.random.default_rng(seed),
            ).confidence_interval
        if math.isfinite(ci.low) and math.isfinite(ci.high):
            break
    return Interval(estimate, float(ci.low), float(ci.high), f"{prefix}{method} bootstrap", len(data[0]))
