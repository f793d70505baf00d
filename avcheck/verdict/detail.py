"""What a verdict rests on, for drawing: how well every offset fits, and where in the picture the
network looked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.media import MediaInfo
from avcheck.record.detail import BlockPlaces, Detail, MediaFacts, SegmentDetail
from avcheck.record.report import FRAME_MS, nearest_stretch
from avcheck.verdict.judge import Judgement
from avcheck.verdict.posterior import Calibration, Curve, Place, evidence, match_ratio

# Share of a block's attention that a listed cell has at least: the rest is spread thinly
LEAST_SHARE = 0.04
MOST_CELLS = 8  # of a block


def detail_of(
    curves: Sequence[Curve], judgement: Judgement, calibration: Calibration, info: MediaInfo
) -> Detail:
    """The detail of a file.

    Args:
        curves: Of its segments, in order of time.
        judgement: On these curves.
        calibration: That of the weights.
        info: What is known of the file.
    """
    # A shift says how much later the sound is read, an offset how early it is: they rise in
    # opposite directions.
    offsets_ms = (
        -FRAME_MS * (curves[0].shifts[::-1] - calibration.bias_frames) if curves else np.zeros(0)
    )
    media = MediaFacts(
        container=info.container,
        video_codec=info.video_codec,
        width=info.width,
        height=info.height,
        rotation=info.rotation,
        frame_rate=None if info.frame_rate is None else round(float(info.frame_rate), 4),
        audio_codec=info.audio_codec,
        first_picture_s=info.first_picture_s,
        first_sound_s=info.first_sound_s,
    )
    segments = tuple(_segment(curve, judgement, calibration) for curve in curves)
    return Detail(
        tuple(round(float(offset_ms), 1) + 0.0 for offset_ms in offsets_ms), segments, media
    )


def _segment(curve: Curve, judgement: Judgement, calibration: Calibration) -> SegmentDetail:
    log_odds = evidence(curve, calibration)
    known = np.isfinite(log_odds)
    fit = [
        round(float(value), 2) + 0.0 if is_known else None
        for value, is_known in zip(match_ratio(log_odds, calibration), known, strict=True)
    ]
    at = _shift(curve, log_odds, judgement, calibration)
    finest = min(curve.grid, key=lambda place: place.width)
    columns, rows = _how_many(finest.width), _how_many(finest.height)
    spread = _onto_cells(curve.grid, columns, rows)
    blocks = tuple(
        BlockPlaces(float(start_s), _cells(curve.places[number, at] @ spread, columns))
        for number, start_s in enumerate(curve.block_start_s)
    )
    return SegmentDetail(curve.start_s, curve.end_s, tuple(fit[::-1]), columns, rows, blocks)


def _shift(
    curve: Curve, log_odds: NDArray[np.float64], judgement: Judgement, calibration: Calibration
) -> int:
    """The index of the file's shift at this segment; if that is unknown, of the shift that fits the
    segment best.
    """
    if not judgement.stretches:
        return int(np.argmax(log_odds))
    middle_s = (curve.start_s + curve.end_s) / 2
    frames = (
        calibration.bias_frames
        - nearest_stretch(judgement.stretches, middle_s).offset_at(middle_s) / FRAME_MS
    )
    return int(np.argmin(np.abs(curve.shifts - frames)))


def _onto_cells(grid: Sequence[Place], columns: int, rows: int) -> NDArray[np.float64]:
    """How the attention on each of P places spreads over the cells of the picture, (P, rows *
    columns); each row sums to 1.

    A place of a coarser level covers several cells.
    """
    shares = [
        np.outer(
            _overlap(place.y, place.height, rows), _overlap(place.x, place.width, columns)
        ).ravel()
        for place in grid
    ]
    return np.stack(shares)


def _how_many(length: float) -> int:
    """How many of such a share of a side there are, the last of them perhaps cut off."""
    return math.ceil(round(1 / length, 6))


def _overlap(middle: float, length: float, cells: int) -> NDArray[np.float64]:
    """How much of one place covers each of `cells` side by side, (cells,), summing to 1.

    middle, length: of the place, as shares of the side; it may reach beyond the picture.
    """
    edges = np.linspace(0, 1, cells + 1)
    covered = np.diff(np.clip(edges, middle - length / 2, middle + length / 2))
    return np.asarray(covered / covered.sum(), np.float64)


def _cells(attention: NDArray[np.float64], columns: int) -> tuple[tuple[int, int, float], ...]:
    """(column, row, share) of the cells with most of a block's attention (rows * columns,), the
    strongest first.
    """
    total = float(attention.sum())
    if not total > 0:
        return ()
    share = attention / total
    best = np.argsort(-share, kind="stable")[:MOST_CELLS]
    return tuple(
        (int(k % columns), int(k // columns), round(float(share[k]), 3))
        for k in best
        if share[k] >= LEAST_SHARE
    )
