"""What is written by hand on purpose, against somebody else's: scipy, OpenCV, or a formula."""

from __future__ import annotations

from types import ModuleType
from typing import cast

import numpy as np
import pytest

from avcheck.reading import mel, stabilise
from avcheck.verdict import course, posterior
from avcheck.verdict.course import order_chance, student_chance, theil_sen
from tests.support.shaken import filmed

cv2 = pytest.importorskip("cv2")


@pytest.fixture(scope="module")
def stats() -> ModuleType:
    """Loaded where it is needed: it takes longer than the tests."""
    return cast(ModuleType, pytest.importorskip("scipy.stats"))


@pytest.mark.parametrize("move", [(0.0, 0.0), (3.0, -2.0), (-1.25, 4.5), (6.4, 2.7)])
def test_phase_correlation_is_opencv_s(move: tuple[float, float]) -> None:
    """By hand, as a check does not need OpenCV, and many pictures go at a time."""
    pictures = filmed(np.array([(0.0, 0.0), move]), (64, 64))  # neither makes them smaller first
    (step,) = stabilise._steps(pictures)
    window = cv2.createHanningWindow((64, 64), cv2.CV_64F)
    theirs, _ = cv2.phaseCorrelate(*pictures.astype(np.float64), window)
    # What is seen moves against the camera; OpenCV's centroid of 5 x 5 is a quarter pixel off
    assert step == pytest.approx(theirs, abs=0.25)
    assert step == pytest.approx([-move[0], -move[1]], abs=0.15)


@pytest.mark.parametrize("count", [1, 2, 3, 100, 101])
def test_the_median_is_numpy_s(count: int) -> None:
    """By hand, as numpy's takes ten times as long for a few values."""
    rng = np.random.default_rng(count)
    curves = rng.normal(0, 30, (4, 3, count))
    known = rng.random(curves.shape) < 0.7
    curves[~known & (rng.random(curves.shape) < 0.5)] = -np.inf
    known[0, 0] = False
    theirs = [
        [np.median(row[some]) if some.any() else 0.0 for row, some in zip(*each, strict=True)]
        for each in zip(curves, known, strict=True)
    ]
    assert posterior._median(curves, known).tolist() == theirs
    assert posterior._median(curves[1, 1], known[1, 1]) == theirs[1][1]
    values = rng.normal(0, 30, count)
    assert course._median(values) == np.median(values)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 4, 11, 40])
def test_the_line_is_scipy_s_theil_sen(stats: ModuleType, count: int, seed: int) -> None:
    """By hand, as a check does not need scipy."""
    rng = np.random.default_rng(seed)
    x = np.sort(rng.uniform(0, 600, count))
    y = rng.normal(0, 30, count) + rng.uniform(-1, 1) * x
    slope, middle = theil_sen(x, y)
    theirs = stats.theilslopes(y, x)
    assert slope == pytest.approx(theirs.slope, abs=1e-12)
    # scipy's intercept is of the medians of x and y; ours the median of what the slope leaves
    assert middle == pytest.approx(np.median(y - theirs.slope * (x - np.median(x))), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("count", [3, 4, 5, 7, 10, 30])
def test_the_chance_of_an_order_is_scipy_s_kendall(
    stats: ModuleType, count: int, seed: int
) -> None:
    """By hand, as a check does not need scipy. Mann-Kendall is Kendall's tau against time."""
    values = np.random.default_rng(seed).normal(size=count) + 0.1 * np.arange(count)
    theirs = stats.kendalltau(np.arange(count), values, method="exact").pvalue
    assert order_chance(values) == pytest.approx(theirs, abs=1e-9 if count <= 10 else 0.01)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 30])
@pytest.mark.parametrize("t", [0.0, 0.3, 1.0, 4.0, 20.0])
def test_student_s_chance_is_scipy_s(stats: ModuleType, t: float, degrees: int) -> None:
    """By hand, as a check does not need scipy."""
    assert student_chance(t, degrees) == pytest.approx(2 * stats.t.sf(t, degrees), abs=1e-12)


def test_log_mel_is_that_of_triangles_of_equal_area() -> None:
    """By hand, as the time of each column has to be exact and torch must not be loaded for it."""
    rng = np.random.default_rng(1)
    columns = 50
    samples = rng.normal(0, 0.1, 160 * columns + 2 * mel.MEL_MARGIN).astype(np.float32)
    window = pytest.importorskip("scipy.signal").get_window("hann", 512)
    starts = 256 + 160 * np.arange(columns)  # the middle of each column
    power = np.array(
        [np.abs(np.fft.rfft(samples[at - 256 : at + 256] * window)) ** 2 for at in starts]
    )

    def hz(mels: float) -> float:
        return 700 * (np.exp(mels / 1127.0) - 1)  # the same scale as 2595 log10, to four digits

    low, high = (1127.0 * np.log(1 + edge / 700) for edge in (60.0, 7600.0))
    edges = [hz(low + (high - low) * k / 65) for k in range(66)]
    bins = np.arange(257) * 16_000 / 512
    theirs = np.empty((columns, 64))
    for k in range(64):
        triangle = np.interp(bins, edges[k : k + 3], [0, 1, 0], left=0, right=0)
        if not triangle.any():
            triangle[np.abs(bins - edges[k + 1]).argmin()] = 1.0
        theirs[:, k] = np.log(power @ (triangle / triangle.sum()) + 1e-5)
    assert mel.log_mel(samples) == pytest.approx(theirs, abs=0.01)
