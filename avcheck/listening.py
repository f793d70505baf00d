"""Where to look in a long title whose sound has been heard. Pure arithmetic; no torch.

A title is cut into units, which are the segments of a check of all of it, and into parts of
`PART_UNITS` units in a row. Hearing costs a hundredth of looking, so all of the sound is heard
first. In every part the unit that sounds most like a voice is looked at, then the next, until one
shows an offset or `TRIES` have shown none. Where neighbours disagree, what lies between and beside
them is looked at, until the jump lies between two neighbours. While the title is undecided, or few
units show an offset, more are looked at everywhere; a title that stays undecided is looked at
whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.blocks import BLOCK_S, BLOCK_SAMPLES, Sound, SoundTimeline
from avcheck.mel import MEL_MARGIN, log_mel
from avcheck.posterior import SILENT_DB
from avcheck.rates import SAMPLE_RATE
from avcheck.sampling import APART_MS
from avcheck.segments import SEGMENT_BLOCKS
from avcheck.verdict import Judgement

LEAST_S = 300.0  # a shorter title is looked at whole
PART_UNITS = 6
TRIES = 3
LEAST_WITH_OFFSET = 8  # units with an offset; fewer cannot show a jump or a drift
LEAST_VOICE = 0.1  # the least share of a unit with something to hear
# Steady noise measured under 0.5 dB, music 3 to 6, speech 5 to 20
_STEADY_DB, _VOICE_DB = 1.5, 8.0
_VOICED = slice(8, 44)  # bands of the log-mel, 250 to 3,500 Hz
_FLOOR = 1e-2  # power; quieter sound does not count as rising or falling
_SMOOTH = 5  # columns; no syllable is faster than 20 a second
_DB = 10 / np.log(10)


def hear(sounds: Iterable[Sound], origin_s: float, blocks: int) -> NDArray[np.float64]:
    """How much each of so many blocks from `origin_s` on sounds like voices, 0..1: (blocks,).

    Syllables make loudness rise and fall a few times a second. Music does so less, and steady noise
    hardly at all.
    """
    timeline = SoundTimeline(sounds)
    voice = np.zeros(blocks)
    for index in range(blocks):
        start_s = origin_s + index * BLOCK_S - MEL_MARGIN / SAMPLE_RATE
        samples, _ = timeline.read(start_s, BLOCK_SAMPLES + 2 * MEL_MARGIN)
        if np.mean(samples**2) >= 10 ** (SILENT_DB / 10):
            power = np.exp(log_mel(samples)[:, _VOICED]).sum(axis=1)
            loud_db = _DB * np.log(power + _FLOOR)
            smooth_db = np.convolve(loud_db, np.full(_SMOOTH, 1 / _SMOOTH), mode="valid")
            rise = (float(smooth_db.std()) - _STEADY_DB) / (_VOICE_DB - _STEADY_DB)
            voice[index] = min(max(rise, 0.0), 1.0)
    return voice


def units(blocks: int) -> tuple[range, ...]:
    """The blocks of each unit of a title with so many blocks."""
    count = max(1, (blocks + SEGMENT_BLOCKS // 2) // SEGMENT_BLOCKS)
    starts = [SEGMENT_BLOCKS * number for number in range(count)]
    return tuple(map(range, starts, [*starts[1:], blocks]))


def next_units(
    voice: Sequence[float], looked: set[int], judgement: Judgement | None, origin_s: float
) -> tuple[int, ...]:
    """The units to look at next, in rising order; none if enough was seen.

    voice: of each unit, as `hear` gives it; looked: those looked at so far; judgement: the
    judgement on them, None at first. The last unit is always looked at: it shows whether the title
    ends when its header says.
    """
    total = len(voice)
    able = [k for k in range(total) if voice[k] >= LEAST_VOICE]
    left = sorted((k for k in able if k not in looked), key=lambda k: -round(voice[k], 1))
    wanted = {total - 1} - looked
    if judgement is None:
        return tuple(sorted(wanted | _one_a_part(left, total)))
    offsets = offsets_of(judgement, total, origin_s)
    undecided = judgement.verdict == "undecidable" and judgement.offset_ms is None
    if undecided and not left:
        return tuple(k for k in range(total) if k not in looked)
    if undecided or len(offsets) < LEAST_WITH_OFFSET:
        wanted |= _one_a_part(left, total)
    else:
        done = {_part(k, total) for k in offsets}
        tries = [_part(k, total) for k in looked]
        wanted |= _one_a_part(
            [k for k in left if (at := _part(k, total)) not in done and tries.count(at) < TRIES],
            total,
        )
    if judgement.drift_ms_per_min is not None:
        wanted |= {able[0], able[-1]} - looked if able else set()
    else:
        wanted |= _around_jumps(left, offsets)
    return tuple(sorted(wanted))


def offsets_of(judgement: Judgement, total: int, origin_s: float) -> dict[int, float]:
    """The offset (ms) of each unit that shows one, out of `total`."""
    offsets: dict[int, float] = {}
    for segment in judgement.segments:
        if segment.offset_ms is not None:
            middle_s = (segment.start_s + segment.end_s) / 2 - origin_s
            offsets[min(total - 1, int(middle_s // (SEGMENT_BLOCKS * BLOCK_S)))] = segment.offset_ms
    return offsets


def _part(unit: int, total: int) -> int:
    """The part of a title of `total` units in which a unit lies."""
    return unit * max(1, round(total / PART_UNITS)) // total


def _one_a_part(left: Sequence[int], total: int) -> set[int]:
    """The first unit of what is left in each part, sorted by how much it sounds like a voice."""
    best: dict[int, int] = {}
    for unit in left:
        best.setdefault(_part(unit, total), unit)
    return set(best.values())


def _around_jumps(left: Sequence[int], offsets: dict[int, float]) -> set[int]:
    """Between neighbours that disagree the middle of what is left, and the units beside them."""
    wanted: set[int] = set()
    for before, after in pairwise(sorted(offsets)):
        if abs(offsets[after] - offsets[before]) > APART_MS:
            between = sorted(k for k in left if before < k < after)
            wanted |= set(between[len(between) // 2 :][:1])
            beside = {before - 1, before + 1, after - 1, after + 1}
            wanted |= beside.intersection(left)
    return wanted
