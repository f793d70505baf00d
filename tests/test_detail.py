"""The detail of a record: curves the right way round, and attention on the right cells of the
picture.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from avcheck.media import MediaInfo
from avcheck.record.report import Stretch, Track
from avcheck.scan.looking import places_in
from avcheck.verdict.detail import LEAST_SHARE, detail_of
from avcheck.verdict.judge import Judgement
from avcheck.verdict.posterior import Calibration, Curve, Place

SHIFTS = np.arange(-5, 6)
# The upper right quarter, and the lowest cell at the left
GRID = (
    Place(80, 0, 1, y=0.25, x=0.75, height=0.5, width=0.5),
    Place(160, 3, 0, y=0.875, x=0.125, height=0.25, width=0.25),
)
INFO = MediaInfo(
    path=Path("a.mp4"),
    duration_s=2.0,
    video_codec="h264",
    width=640,
    height=360,
    rotation=90,
    frame_rate=Fraction(24000, 1001),
    audio_codec="aac",
    audio_track=0,
    video_track=0,
    program=None,
    programs=(),
    audio_tracks=(Track(0, "", "", "aac", True),),
    video_tracks=(),
    first_picture_s=0.0,
    first_sound_s=0.021,
    container="QuickTime / MOV",
)


def curve(peak: int, places: dict[int, tuple[float, float]] | None = None) -> Curve:
    """Two blocks that match at shift `peak` (frames, positive = sound late); `places`: attention by
    shift, else even.
    """
    score = np.where(peak == SHIFTS, 6.0, -6.0).astype(np.float32)
    score[0] = -np.inf
    attention = np.full((2, len(SHIFTS), 2), 0.25, np.float32)
    for shift, shares in (places or {}).items():
        attention[:, SHIFTS.tolist().index(shift)] = shares
    return Curve(
        start_s=10.0,
        end_s=12.0,
        shifts=SHIFTS,
        score=score,
        match=np.zeros(len(SHIFTS), np.float32),
        block_start_s=np.array([10.0, 11.0]),
        block_score=np.stack([score, score]),
        block_match=np.zeros((2, len(SHIFTS)), np.float32),
        attention=np.full((2, len(SHIFTS)), 0.5, np.float32),
        places=attention,
        grid=GRID,
        motion=np.ones(2, np.float32),
        detail=np.ones(2, np.float32),
        level_db=np.zeros(2, np.float32),
    )


def judgement_of(offset_ms: float | None) -> Judgement:
    stretches = () if offset_ms is None else (Stretch(0.0, 20.0, offset_ms, offset_ms),)
    return Judgement("out_of_sync", None, offset_ms, 1.0, stretches=stretches)


def test_a_sound_that_is_late_fits_at_a_negative_offset() -> None:
    detail = detail_of([curve(3)], judgement_of(-120.0), Calibration(), INFO)
    assert detail.offsets_ms == (
        -200.0,
        -160.0,
        -120.0,
        -80.0,
        -40.0,
        0.0,
        40.0,
        80.0,
        120.0,
        160.0,
        200.0,
    )
    (segment,) = detail.segments
    fit = dict(zip(detail.offsets_ms, segment.fit, strict=True))
    assert max((value, at) for at, value in fit.items() if value is not None)[1] == -120.0
    assert fit[200.0] is None  # shift -5, which could not be compared
    # Of 12 on the scale of logits, whatever a match anywhere is worth.
    assert fit[-120.0] - fit[0.0] == pytest.approx(12.0, abs=0.01)  # type: ignore[operator]


def test_the_networks_own_bias_is_taken_off() -> None:
    detail = detail_of([curve(3)], judgement_of(-100.0), Calibration(bias_frames=0.5), INFO)
    assert detail.offsets_ms[0] == -180.0
    best = max(range(11), key=lambda k: detail.segments[0].fit[k] or -99.0)
    assert detail.offsets_ms[best] == -100.0  # 3 frames late less half a frame


def test_attention_falls_on_the_cells_of_the_finest_level() -> None:
    detail = detail_of([curve(3, {3: (0.4, 0.1)})], judgement_of(-120.0), Calibration(), INFO)
    (segment,) = detail.segments
    assert (segment.columns, segment.rows) == (4, 4)
    assert [block.start_s for block in segment.blocks] == [10.0, 11.0]
    # A quarter of the picture is four cells, each with a quarter of its share of 0.8.
    assert set(segment.blocks[0].cells) == {
        (2, 0, 0.2),
        (3, 0, 0.2),
        (2, 1, 0.2),
        (3, 1, 0.2),
        (0, 3, 0.2),
    }


@pytest.mark.parametrize("offset_ms", [-120.0, None])
def test_attention_is_that_at_the_offset_found_or_else_at_the_best_one(
    offset_ms: float | None,
) -> None:
    places = {2: (0.0, 1.0), 3: (1.0, 0.0)}
    detail = detail_of(
        [curve(2 if offset_ms is None else 3, places)], judgement_of(offset_ms), Calibration(), INFO
    )
    cells = {cell[:2] for cell in detail.segments[0].blocks[0].cells}
    assert cells == ({(0, 3)} if offset_ms is None else {(2, 0), (3, 0), (2, 1), (3, 1)})


def test_a_place_covers_the_cells_that_it_sees() -> None:
    """Of places whose middles are the first pixel and every 16th from there, the first is cut off,
    and the next lies half in either cell.
    """
    first, second, *_ = places_in(80, (2, 2), (32, 32))
    item = replace(curve(3, {3: (0.4, 0.1)}), grid=(first, second))
    (segment,) = detail_of([item], judgement_of(-120.0), Calibration(), INFO).segments
    assert (segment.columns, segment.rows) == (2, 2)
    cells = {cell[:2]: cell[2] for cell in segment.blocks[0].cells}
    assert cells == {
        (0, 0): pytest.approx(0.8 + 0.1, abs=0.01),
        (1, 0): pytest.approx(0.1, abs=0.01),
    }


def test_what_is_spread_thinly_is_left_out() -> None:
    detail = detail_of([curve(3, {3: (0.1, 0.9)})], judgement_of(-120.0), Calibration(), INFO)
    cells = detail.segments[0].blocks[0].cells
    assert cells == ((0, 3, 0.9),)  # the other cells have 0.025 each
    assert all(share >= LEAST_SHARE for _, _, share in cells)


def test_the_media_facts_are_those_of_the_file() -> None:
    media = detail_of([], judgement_of(None), Calibration(), INFO).media
    assert (media.container, media.video_codec, media.audio_codec) == (
        "QuickTime / MOV",
        "h264",
        "aac",
    )
    assert (media.width, media.height, media.rotation, media.frame_rate) == (640, 360, 90, 23.976)
    assert (media.first_picture_s, media.first_sound_s) == (0.0, 0.021)
