"""Where to look in a long title that is not decoded whole. Pure arithmetic on results so far; no
torch.

A title is cut into stretches of `PROBE_BLOCKS` seconds on the grid of its blocks; a probe is a
stretch that is looked at. Probes are spread evenly at first. More follow where neighbouring probes
disagree and where the verdict is open, up to `MOST_PROBES` times as many as at first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from avcheck.report import FRAME_MS
from avcheck.settings import MOST_PROBES, PROBE_BLOCKS
from avcheck.verdict import Judgement

WORTH_IT = 2  # a title is sampled if it is longer than this many times its first probes
APART_MS = 2 * FRAME_MS  # offsets of two probes that differ by more disagree


def stretches(duration_s: float) -> int:
    """How many whole stretches there are in so many seconds of pictures."""
    return int(duration_s // PROBE_BLOCKS)


def first_probes(total: int, count: int) -> tuple[int, ...]:
    """`count` of `total` stretches, each in the middle of an equal part of the title; none if it is
    too short to be sampled.
    """
    if total < WORTH_IT * count:
        return ()
    return tuple(int((number + 0.5) * total / count) for number in range(count))


def more_probes(
    looked: Sequence[int], judgement: Judgement, total: int, count: int, origin_s: float
) -> tuple[int, ...]:
    """The stretches to look at next, in rising order; none if enough was seen.

    `looked`: those looked at so far; `judgement`: the judgement on them; `total`: how many
    stretches there are; `count`: the number of first probes; `origin_s`: where the first stretch
    starts. Of two neighbours that disagree the middle is taken, which halves the time in which the
    offset jumps. A drift is followed to both ends of the title. An open verdict asks for the middle
    of the widest gaps, as many as there were first probes.
    """
    room = MOST_PROBES * count - len(looked)
    if room <= 0:
        return ()
    have = sorted(looked)
    offsets = _offsets(have, judgement, origin_s)
    with_offset = [stretch for stretch in have if stretch in offsets]
    wanted: dict[int, None] = {}
    if judgement.drift_ms_per_min is not None:
        wanted |= dict.fromkeys((0, total - 1))
    for before, after in pairwise(with_offset):
        both = [*offsets[before], *offsets[after]]
        if max(both) - min(both) > APART_MS and judgement.drift_ms_per_min is None:
            wanted |= dict.fromkeys(_middle_of_widest([x for x in have if before <= x <= after]))
    if judgement.verdict == "undecidable":
        edges = [-1, *have, total]
        gaps = sorted(pairwise(edges), key=lambda gap: gap[0] - gap[1])[:count]
        wanted |= dict.fromkeys(middle for gap in gaps for middle in _middle_of_widest(gap))
    return tuple(
        sorted(
            [stretch for stretch in wanted if 0 <= stretch < total and stretch not in looked][:room]
        )
    )


def more_probes_for_all(
    looked: Sequence[int], judgements: Sequence[Judgement], total: int, count: int, origin_s: float
) -> tuple[int, ...]:
    """`more_probes` for a title with several sounds: what any of them asks for, no more than for
    one.

    A sound that shows nothing asks only if no other shows anything: the probes so far already say
    that it does not match the pictures.
    """
    decided = [each for each in judgements if each.verdict != "undecidable"]
    wanted = sorted(
        {
            stretch
            for each in decided or judgements
            for stretch in more_probes(looked, each, total, count, origin_s)
        }
    )
    return tuple(wanted[: MOST_PROBES * count - len(looked)])


def _middle_of_widest(edges: Sequence[int]) -> tuple[int, ...]:
    """The stretch in the middle of the widest gap between neighbours; none if there is no gap."""
    low, high = max(pairwise(edges), key=lambda gap: gap[1] - gap[0])
    return ((low + high) // 2,) if high - low > 1 else ()


def _offsets(
    looked: Sequence[int], judgement: Judgement, origin_s: float
) -> dict[int, list[float]]:
    """The offsets (ms) of the segments in each stretch, for stretches that show any."""
    offsets: dict[int, list[float]] = {}
    for segment in judgement.segments:
        stretch = int(((segment.start_s + segment.end_s) / 2 - origin_s) // PROBE_BLOCKS)
        if segment.offset_ms is not None and stretch in looked:
            offsets.setdefault(stretch, []).append(segment.offset_ms)
    return offsets
