"""Where to look in a long title, by what is heard in it. Pure arithmetic; no torch.

A title is cut into units, which are the segments of a check of all of it. A `LookPlan` cuts it into
parts as well. In every part the unit that sounds most like a voice is looked at first (of equal
ones, that nearest to an end of the title), then the next, until one shows an offset or `TRIES` have
shown none.
Where neighbours disagree, what lies between and beside them is looked at, until the jump lies
between two neighbours. While the title is undecided, or few units show an offset, more are looked
at everywhere.

There are two plans. For a whole check all of the sound is heard, parts are short, and a title that
stays undecided is looked at whole. A sampled title has few parts. In each of them a few units are
heard, from the middle of the file, and more of them where a jump or a drift leads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from avcheck.rates import SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_S, BLOCK_SAMPLES, Sound, SoundTimeline
from avcheck.reading.mel import MEL_MARGIN, log_mel
from avcheck.reading.segments import SEGMENT_BLOCKS
from avcheck.record.report import FRAME_MS
from avcheck.settings import MOST_PROBES
from avcheck.verdict.judge import Judgement
from avcheck.verdict.posterior import SILENT_DB

LEAST_S = 300.0  # a shorter title is looked at whole
PART_UNITS = 6  # of a whole check
TRIES = 3
LEAST_WITH_OFFSET = 8  # units with an offset; fewer cannot show a jump or a drift
ENOUGH_SAMPLES = 4  # the same where a title is sampled; the measuring error falls no further
CANDIDATES = 10  # units of a part that are heard where a title is sampled
HEARD_BLOCKS = 5  # of each of them
APART_MS = 2 * FRAME_MS  # offsets of two units that differ by more disagree
LEAST_VOICE = 0.1  # the least share of a unit with something to hear
_GOLDEN = (5**0.5 - 1) / 2  # its multiples are spread evenly between whole numbers
# Steady noise measured under 0.5 dB, music 3 to 6, speech 5 to 20
_STEADY_DB, _VOICE_DB = 1.5, 8.0
_VOICED = slice(8, 44)  # bands of the log-mel, 250 to 3,500 Hz
_FLOOR = 1e-2  # power; quieter sound does not count as rising or falling
_SMOOTH = 5  # columns; no syllable is faster than 20 a second
_DB = 10 / np.log(10)


def hear(
    sounds: Iterable[Sound],
    origin_s: float,
    blocks: int,
    on_block: Callable[[int], None] = lambda heard: None,
) -> NDArray[np.float64]:
    """How much each block of a sound is like a voice.

    Syllables make loudness rise and fall a few times a second. Music does so less, and steady noise
    hardly at all.

    Args:
        sounds: The runs of the sound, in order of time.
        origin_s: Where the first block begins, on the clock of the sound.
        blocks: How many blocks to hear.
        on_block: Called after each block with the number of those heard.

    Returns:
        (blocks,), 0 for silence and steady noise, 1 for speech.
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
        on_block(index + 1)
    return voice


def mean_voice(voice: Sequence[float]) -> float:
    """How much a unit sounds like a voice, 0..1, from how much each sound of the title does there;
    0 without any sound.

    It is the mean: a commentary is a voice throughout, and does not show which pictures speak. But
    a unit in which any sound has a voice has something to hear.
    """
    if not voice:
        return 0.0
    return max(sum(voice) / len(voice), min(max(voice), LEAST_VOICE))


def units(blocks: int) -> tuple[range, ...]:
    """The blocks of each unit of a title with so many blocks."""
    count = max(1, (blocks + SEGMENT_BLOCKS // 2) // SEGMENT_BLOCKS)
    starts = [SEGMENT_BLOCKS * number for number in range(count)]
    return tuple(map(range, starts, [*starts[1:], blocks]))


@dataclass(frozen=True)
class LookPlan:
    """How much of a title is heard and looked at.

    total: its units; parts: into which it is cut; enough: units with an offset that are enough;
    most: units looked at in the end; hears_all: whether all of the sound is heard first.
    """

    total: int
    parts: int
    enough: int
    most: int
    hears_all: bool

    @classmethod
    def of_all(cls, total: int) -> LookPlan:
        """The plan of a whole check."""
        return cls(total, max(1, round(total / PART_UNITS)), LEAST_WITH_OFFSET, total, True)

    @classmethod
    def of_samples(cls, total: int, probes: int) -> LookPlan | None:
        """The plan of a title that is sampled by so many probes at first; None if it is too
        short.
        """
        most = MOST_PROBES * probes
        return cls(total, probes, ENOUGH_SAMPLES, most, False) if total > most else None

    def part(self, unit: int) -> int:
        """The part of the title in which a unit lies."""
        return unit * self.parts // self.total


def units_to_hear(
    plan: LookPlan,
    voice: Mapping[int, float],
    looked: set[int],
    judgements: Sequence[Judgement],
    origin_s: float,
) -> tuple[int, ...]:
    """The units to hear before `next_units` is asked, which takes the same.

    They are some of every part at first; then some between neighbours that disagree, if nothing in
    between is left to look at; and, where the offset drifts, some at either end of the title.
    """
    unheard = [unit for unit in range(plan.total) if unit not in voice]
    if not judgements:
        parts = [[k for k in unheard if plan.part(k) == part] for part in range(plan.parts)]
        return tuple(unit for part in parts for unit in _spread(part))
    able = _able(voice)
    wanted: set[int] = set()
    for judgement in _that_ask(judgements):
        if judgement.drift_ms_per_min is not None:
            edges = [-1, *able, plan.total]
            gaps = [(edges[0], edges[1]), (edges[-2], edges[-1])]
        else:
            gaps = [
                (before, after)
                for before, after in _jumps(offsets_of(judgement, plan.total, origin_s))
                if all(k in looked for k in able if before < k < after)
            ]
        for low, high in gaps:
            wanted.update(_spread([unit for unit in unheard if low < unit < high]))
    return tuple(sorted(wanted))


def next_units(
    plan: LookPlan,
    voice: Mapping[int, float],
    looked: set[int],
    judgements: Sequence[Judgement],
    origin_s: float,
) -> tuple[int, ...]:
    """The units to look at next, in rising order; none once it is enough.

    A sound that shows nothing asks for more only if no other shows anything. A whole check always
    looks at the last unit: it shows whether the title ends when its header says.

    voice: how much each unit that was heard sounds like a voice, 0..1; looked: the units looked at
    so far; judgements: on these, one for each sound, none at first; origin_s: where the first unit
    begins.
    """
    able = _able(voice)
    left = sorted(
        (k for k in able if k not in looked),
        key=lambda k: (-round(voice[k], 1), min(k, plan.total - 1 - k)),
    )
    last = {plan.total - 1} if plan.hears_all else set()
    if not judgements:
        first = _one_a_part(plan, left) | last
        return tuple(sorted(first or _one_a_part(plan, sorted(voice))))
    follow, more = last - looked, set[int]()
    for judgement in _that_ask(judgements):
        offsets = offsets_of(judgement, plan.total, origin_s)
        if _is_open(judgement) or len(offsets) < plan.enough:
            more |= _one_a_part(plan, left)
        else:
            done = {plan.part(k) for k in offsets}
            tries = [plan.part(k) for k in looked]
            done |= {part for part in tries if tries.count(part) >= TRIES}
            more |= _one_a_part(plan, [k for k in left if plan.part(k) not in done])
        if judgement.drift_ms_per_min is not None:
            follow |= _towards_ends(left, looked, offsets)
        else:
            follow |= _around_jumps(left, offsets)
    if plan.hears_all and not left and all(map(_is_open, judgements)):
        follow = set(range(plan.total)) - looked
    wanted = [*sorted(follow), *(k for k in left if k in more - follow)]
    return tuple(sorted(wanted[: plan.most - len(looked)]))


def _is_open(judgement: Judgement) -> bool:
    return judgement.verdict == "undecidable" and judgement.offset_ms is None


def _that_ask(judgements: Sequence[Judgement]) -> Sequence[Judgement]:
    """Those that show an offset; all if none does."""
    return [each for each in judgements if not _is_open(each)] or judgements


def _able(voice: Mapping[int, float]) -> list[int]:
    """The units with something to hear."""
    return sorted(unit for unit in voice if voice[unit] >= LEAST_VOICE)


def _spread(units: Sequence[int]) -> list[int]:
    """Up to `CANDIDATES` of these, one somewhere in each equal share of them.

    In equal steps they might always meet the same part of what repeats.
    """
    count = min(CANDIDATES, len(units))
    starts = [len(units) * number // max(1, count) for number in range(count + 1)]
    return [
        units[low + int((high - low) * (_GOLDEN * (units[low] + 1) % 1))]
        for low, high in pairwise(starts)
    ]


def offsets_of(judgement: Judgement, total: int, origin_s: float) -> dict[int, float]:
    """The offset (ms) of each unit that shows one, out of `total`."""
    offsets: dict[int, float] = {}
    for segment in judgement.segments:
        if segment.offset_ms is not None:
            middle_s = (segment.start_s + segment.end_s) / 2 - origin_s
            offsets[min(total - 1, int(middle_s // (SEGMENT_BLOCKS * BLOCK_S)))] = segment.offset_ms
    return offsets


def _one_a_part(plan: LookPlan, left: Sequence[int]) -> set[int]:
    """The first unit in each part of those that are left, which come the most promising first."""
    best: dict[int, int] = {}
    for unit in left:
        best.setdefault(plan.part(unit), unit)
    return set(best.values())


def _towards_ends(left: Sequence[int], looked: set[int], offsets: dict[int, float]) -> set[int]:
    """The unit nearest to either end of the title; where that showed no offset the next one, until
    `TRIES` have shown none.
    """
    wanted: set[int] = set()
    if offsets:
        first, last = min(offsets), max(offsets)
        if sum(k < first for k in looked) < TRIES:
            wanted.update(sorted(k for k in left if k < first)[:1])
        if sum(k > last for k in looked) < TRIES:
            wanted.update(sorted(k for k in left if k > last)[-1:])
    return wanted


def _jumps(offsets: dict[int, float]) -> list[tuple[int, int]]:
    """Neighbours that disagree."""
    return [
        (before, after)
        for before, after in pairwise(sorted(offsets))
        if abs(offsets[after] - offsets[before]) > APART_MS
    ]


def _around_jumps(left: Sequence[int], offsets: dict[int, float]) -> set[int]:
    """The most promising unit in the middle third between neighbours that disagree, and the units
    beside these neighbours.
    """
    wanted: set[int] = set()
    for before, after in _jumps(offsets):
        between = sorted(k for k in left if before < k < after)
        third = len(between) // 3
        middle = between[third : len(between) - third]
        wanted |= set([k for k in left if k in middle][:1])
        wanted |= {before - 1, before + 1, after - 1, after + 1}.intersection(left)
    return wanted
