"""Where each moment of the sound belongs, and how samples are laid out and played for it:
arithmetic without media.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from avcheck.fix.encode import Pace
from avcheck.fix.moves import Move, Moves, Refused, by, of, then
from avcheck.fix.pcm import PcmLayout
from avcheck.record.report import Report, Stretch

RATE = 48_000


def report(*stretches: Stretch) -> Report:
    return Report(
        "film", "out_of_sync", offset_ms=stretches[0].start_offset_ms, stretches=stretches
    )


def test_sound_that_is_early_comes_later() -> None:
    (move,) = of(report(Stretch(0, 60, 120, 120))).pieces
    assert move.new_s(10.0) == pytest.approx(10.12)
    assert move.old_s(10.12) == pytest.approx(10.0)


@pytest.mark.parametrize("offset_ms", [math.nan, math.inf, 60_001, -60_001])
def test_a_move_that_is_no_offset_is_refused(offset_ms: float) -> None:
    with pytest.raises(Refused, match="up to 60 s"):
        by(offset_ms)


def test_a_drift_is_taken_out_all_along() -> None:
    """What belongs to the picture at p is heard at p less the offset there, also beyond the ends of
    what was measured.
    """
    stretch = Stretch(10, 110, 100, 600)
    moves = of(report(stretch))
    assert moves.drifts
    for picture_s in (0.0, 10.0, 60.0, 110.0, 200.0):
        offset_s = (100 + 5 * (picture_s - 10)) / 1000
        assert moves.pieces[0].new_s(picture_s - offset_s) == pytest.approx(picture_s, abs=1e-9)


def test_a_drift_after_a_jump_is_taken_out_from_there_on() -> None:
    level, drift = of(report(Stretch(0, 18, 0, 0), Stretch(20, 120, 400, 900))).pieces
    assert (level.pace, level.later_s) == (1.0, 0.0)
    for picture_s in (30.0, 70.0, 120.0):
        offset_s = (400 + 5 * (picture_s - 20)) / 1000
        assert drift.new_s(picture_s - offset_s) == pytest.approx(picture_s, abs=1e-9)


def test_a_jump_is_cut_in_the_middle_of_where_it_may_be() -> None:
    moves = of(report(Stretch(0, 24, 0, 0), Stretch(29, 60, 400, 400)))
    assert [piece.later_s for piece in moves.pieces] == [0.0, 0.4]
    # The picture's time less the offset between both
    assert moves.pieces[0].until_s == pytest.approx(26.5 - 0.2)


def test_a_jump_is_cut_only_if_it_is_placed_within_eleven_seconds() -> None:
    placed, vague = (report(Stretch(0, 20, 0, 0), Stretch(at, 60, 400, 400)) for at in (31, 31.1))
    assert of(placed).pieces[0].until_s == pytest.approx(25.5 - 0.2)
    with pytest.raises(Refused, match="from 20 to 31 s, which is not known well enough"):
        of(vague)


def test_a_report_without_stretches_has_one_offset() -> None:
    assert of(replace(report(Stretch(0, 1, 0, 0)), stretches=(), offset_ms=-80.0)).pieces[
        0
    ].later_s == pytest.approx(-0.08)
    with pytest.raises(Refused, match="not known"):
        of(replace(report(Stretch(0, 1, 0, 0)), stretches=(), offset_ms=None))


def test_what_is_left_after_a_move_is_added_to_it() -> None:
    """Everything of the file in between, its pictures too, came 0.3 s later."""
    first = of(report(Stretch(0, 30, 0, 0), Stretch(30, 120, 400, 1300)))
    second = of(report(Stretch(0, 50, 60, 60), Stretch(50, 120, 100, 30)))
    both = then(first, second, 0.3)
    edge_s = 50 - 0.3 - 0.08  # of the second, on the pictures' clock
    assert [piece.until_s for piece in both.pieces[:-1]] == pytest.approx(
        [first.pieces[0].until_s, first.pieces[1].old_s(edge_s)]
    )
    for old_s in (0.0, 10.0, 31.0, 60.0, 110.0):
        between_s = first.at(old_s).new_s(old_s) + 0.3
        wanted_s = second.at(between_s).new_s(between_s) - 0.3
        assert both.at(old_s).new_s(old_s) == pytest.approx(wanted_s, abs=1e-9)


def laid_out(moves: Moves, count: int, packet: int = 1024, jitter_s: float = 0.0) -> np.ndarray:
    """Samples numbered from 1, laid out packet by packet, with the silence as 0."""
    layout = PcmLayout(moves, RATE, 4, 0)
    samples = np.arange(1, count + 1, dtype=np.int32)
    runs: list[tuple[int, bytes]] = []
    for first in range(0, count, packet):
        start_s = first / RATE + (jitter_s if first % (2 * packet) else 0.0)
        runs += layout.take(start_s, samples[first : first + packet].tobytes())
    runs += layout.rest()
    ends = [first + len(data) // 4 for first, data in runs]
    assert [first for first, _ in runs] == [0, *ends[:-1]]  # one behind the other
    return np.frombuffer(b"".join(data for _, data in runs), np.int32)


@pytest.mark.parametrize("later", [14_400, 64, 1, 0, -1, -64, -14_400, -14_336])
@pytest.mark.parametrize("jitter_s", [0.0, 0.0005])
def test_pcm_is_moved_to_the_sample(later: int, jitter_s: float) -> None:
    """In packets of 1024: a move that ends within 3 ms of a packet is no rounding of its time."""
    count = 20_000
    got = laid_out(by(1000 * later / RATE), count, jitter_s=jitter_s)
    samples = np.arange(1, count + 1)
    wanted = np.concatenate(
        [np.zeros(max(0, later)), samples[max(0, -later) :], np.zeros(max(0, -later))]
    )
    near = 1 + round(jitter_s * RATE)  # a packet's own time counts only where the sound begins
    if jitter_s == 0 or later >= 0:
        assert (got == wanted).all()
    else:
        assert abs(int(got[0]) - int(wanted[0])) <= near


def test_pcm_is_cut_or_filled_at_a_jump() -> None:
    gap = laid_out(Moves((Move(-math.inf, 0.2, 0.0), Move(0.2, math.inf, 0.1))), RATE)
    assert (gap[:9600] == np.arange(1, 9601)).all()
    assert not gap[9600:14400].any()
    assert (gap[14400:] == np.arange(9601, RATE + 1)).all()
    cut = laid_out(Moves((Move(-math.inf, 0.2, 0.0), Move(0.2, math.inf, -0.1))), RATE)
    assert (cut[:9600] == np.arange(1, 9601)).all()
    assert (cut[9600 : RATE - 4800] == np.arange(9601 + 4800, RATE + 1)).all()


@pytest.mark.parametrize("pace", [1.001, 0.999, 25 / 24 * 1.001])
def test_another_pace_puts_every_sample_where_it_belongs(pace: float) -> None:
    """A sum of tones is known everywhere, so the interpolation can be held against the truth; -80
    dB is beyond hearing.
    """
    move = Move(-math.inf, math.inf, 0.05, pace)

    def tones(times_s: np.ndarray) -> np.ndarray:
        waves = [np.sin(2 * np.pi * hz * times_s + hz) for hz in (110.0, 1000.0, 5003.0)]
        return np.sum(waves, axis=0) / 4

    player = Pace(Moves((move,)), RATE, 1)
    samples = tones(np.arange(2 * RATE) / RATE).astype(np.float32)[None]
    runs = [
        run
        for first in range(0, 2 * RATE, 1024)
        for run in player.take(first / RATE, samples[:, first : first + 1024])
    ]
    runs += player.rest()
    assert runs[0][0] == 0
    got = np.concatenate([run for _, run in runs], axis=1)[0]
    assert len(got) == pytest.approx(move.new_s(2.0) * RATE, abs=1)
    at_s = np.arange(len(got)) / RATE
    old_s = np.array([move.old_s(new_s) for new_s in at_s])
    inner = (at_s > 0.1) & (at_s < 1.9)
    assert np.abs(got - tones(old_s))[inner].max() < 1e-4
    assert not got[at_s < 0.045].any()  # before the sound begins
