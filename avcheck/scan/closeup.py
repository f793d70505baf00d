"""The second, closer look: at which segments of an undecided file, and at what cost.

How a segment is looked at is up to `searching`. The look may cost as much as the first look at the
file: in places times pictures that the visual trunk processes, and in time, so that it decodes
fewer seconds again than the file has. A thorough look has no such budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from avcheck.record.report import Tolerance
from avcheck.scan.searching import CloserLook
from avcheck.verdict.judge import SEGMENT_CONFIDENCE, Judgement, judge, obstacle
from avcheck.verdict.posterior import Calibration, Curve, sureness

# Segments that a round looks at closer, and the number of rounds
ZOOM_SEGMENTS = 3
MOST_ROUNDS = 4
# Share of the budget for sounds that show nothing, if another sound of the title shows an offset
FURTHER_SHARE = 0.1
# Share of the file's seconds that are decoded again, as a second of the closer look takes longer
# than one of the first look
_SECONDS_SHARE = 0.6
_SEEK_S = 2  # decoded on average between the key frame and the wanted time


@dataclass(frozen=True)
class Zoomed:
    """The curves of a file and the judgement after a closer look; cut: whether the look ran out of
    budget without an offset.
    """

    curves: list[Curve]
    judgement: Judgement
    cut: bool = False


# A segment's curve, the budget of a look at it, and whether at faces alone -> its curve from a
# closer look.
Closer = Callable[[Curve, float, bool], CloserLook]
# The same for several sounds: the curves of one segment, the numbers of their sounds, the budget of
# one look for all of them, and whether at faces alone.
CloserAtAll = Callable[[Sequence[Curve], Sequence[int], float, bool], list[CloserLook]]


def zoom(
    curves: list[Curve],
    judgement: Judgement,
    closer: Closer,
    tolerance: Tolerance,
    calibration: Calibration,
    *,
    thorough: bool = False,
) -> Zoomed:
    """A closer look at some of the segments that showed nothing.

    A file that is decided or has an offset, whose sound is silent, or whose pictures do not move is
    left as it is.

    Args:
        curves: Of its segments, in order of time, from the first look.
        judgement: On these curves.
        closer: Looks closer at one segment.
        tolerance: By which to judge again.
        calibration: That of the weights.
        thorough: Look without a budget.
    """

    def closer_at_one(
        curves_of_one: Sequence[Curve], _: Sequence[int], budget: float, faces_alone: bool
    ) -> list[CloserLook]:
        return [closer(curves_of_one[0], budget, faces_alone)]

    (zoomed,) = zoom_all(
        [Zoomed(curves, judgement)], closer_at_one, tolerance, calibration, thorough=thorough
    )
    return zoomed


def zoom_all(
    sounds: Sequence[Zoomed],
    closer: CloserAtAll,
    tolerance: Tolerance,
    calibration: Calibration,
    *,
    thorough: bool = False,
    seams_s: Sequence[float] = (),
) -> list[Zoomed]:
    """`zoom` for each sound of a title, over the same larger pictures.

    All undecided sounds share one look, with the budget of one. If another sound shows an offset,
    the pictures were seen well enough, so the sounds that do not match them get only
    `FURTHER_SHARE` of that budget.

    Args:
        sounds: The curves and the judgement of each sound, from the first look.
        closer: Looks closer at one segment for several sounds.
        tolerance, calibration, thorough: As for `zoom`.
        seams_s: Where recordings were joined, as `judge` takes it.

    Returns:
        For each sound what a closer look left it with.
    """
    sounds = list(sounds)
    open_ = [number for number, each in enumerate(sounds) if _is_open(each)]
    if not open_:
        return sounds
    # The sound that comes nearest to an offset leads: it decides where to look.
    lead = max(open_, key=lambda number: sounds[number].judgement.confidence)
    first = sounds[lead].curves
    share = FURTHER_SHARE if any(_shows_offset(each.judgement) for each in sounds) else 1.0
    budget = math.inf if thorough else share * sum(item.looked for item in first)
    length_s = sum(len(item.block_start_s) for item in first)
    seconds = math.inf if thorough else share * _SECONDS_SHARE * length_s
    curves = {number: list(sounds[number].curves) for number in open_}
    cut, begun = False, False
    segments = sounds[lead].judgement.segments
    mute = [
        k
        for k, part in enumerate(segments)
        if part.offset_ms is None and obstacle([first[k]]) is None
    ]
    shows = False
    for _ in range(MOST_ROUNDS):
        chosen = likeliest(mute, curves[lead], [part.confidence for part in segments])
        for k in chosen:
            takes_s = len(first[k].block_start_s) + _SEEK_S
            if takes_s > seconds and (begun or share < 1):
                cut = True
                continue
            # A search takes much longer than a look at faces: only the first segment is searched,
            # and the others once a segment has shown an offset.
            faces_alone = begun and not (shows or thorough)
            looks = closer([curves[n][k] for n in open_], open_, budget, faces_alone)
            for number, each in zip(open_, looks, strict=True):
                curves[number][k] = each.curve
                shows = shows or sureness(each.curve, calibration) >= SEGMENT_CONFIDENCE
            budget, seconds, begun = budget - looks[0].spent, seconds - takes_s, True
            cut = cut or looks[0].cut
        for number in open_:
            judgement = judge(curves[number], tolerance, calibration, seams_s)
            still_cut = cut and not _shows_offset(judgement)
            sounds[number] = Zoomed(curves[number], judgement, still_cut)
        segments = sounds[lead].judgement.segments
        mute = [k for k in mute if k not in chosen]
        if not mute or all(_shows_offset(sounds[number].judgement) for number in open_):
            break
    return sounds


def _shows_offset(judgement: Judgement) -> bool:
    return judgement.verdict != "undecidable" or judgement.offset_ms is not None


def _is_open(sound: Zoomed) -> bool:
    return not _shows_offset(sound.judgement) and obstacle(sound.curves) is None


def likeliest(
    mute: Sequence[int], curves: Sequence[Curve], confidence: Sequence[float]
) -> list[int]:
    """The most promising segment of each of `ZOOM_SEGMENTS` equal parts of these, the best first.

    A segment is more promising if more of it has sound and motion, and then if the first look was
    more confident.
    """

    def promise(k: int) -> tuple[float, float]:
        return float(curves[k].useful.mean()), confidence[k]

    parts = [
        part.tolist() for part in np.array_split(np.array(mute, int), ZOOM_SEGMENTS) if len(part)
    ]
    return sorted((max(part, key=promise) for part in parts), key=promise, reverse=True)
