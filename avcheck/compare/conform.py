"""What was done to a title since its reference: what was inserted, removed or moved, and what plays
at another speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from avcheck.compare.align import Piece
from avcheck.record.edits import TIMES, Edit, Stream

# At a cut, this much in all may be unmatched: in the sound a second on either side, as far as the
# mean of its features reaches, which silence changes
_FUZZ_S: dict[Stream, float] = {"sound": 2.0, "picture": 0.5}
# One edit in sound and picture alike: its ends may lie so far apart, its lengths differ by so much;
# more would put them out of sync
_ALIKE_S, _AS_LONG_S = 1.0, 0.045
_BLURRED_S = 2.0  # of the picture around a cut of both, which may be unmatched in all
_LEAST_S: dict[Stream, float] = {"sound": 0.004, "picture": 0.02}  # that a cut inserts or removes
_LEAST_BACK_S = 0.5  # that a cut goes back in the reference, which is then in another order
_LEAST_END_S = 0.5  # that is inserted or removed at either end of the title
_LEAST_SPEED = 1e-4  # as a share: 6 ms a minute
_ELSEWHERE = 0.5  # share of a skipped part that, if other pieces have it, makes it not removed


@dataclass(frozen=True)
class TimeSpan:
    """From `start_s` to `end_s` on the clock of a file or its reference."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class _Cut:
    """Where one piece ends and the next begins, on the clocks of the file and the reference; pace:
    seconds of the reference in one of the file.
    """

    file: TimeSpan
    reference: TimeSpan
    pace: float


def edits(
    sound: Sequence[Piece], picture: Sequence[Piece], file: TimeSpan, reference: TimeSpan
) -> tuple[Edit, ...]:
    """The edits that explain these pieces, in order of time. An edit made to both sound and picture
    is listed once.
    """
    cuts = tuple(_of_stream("sound", sound, file, reference))
    heard = list(cuts)
    out: list[Edit] = []
    for shown in _of_stream("picture", picture, file, reference):
        same = next((each for each in heard if _alike(each, shown)), None)
        blurred = next((each for each in heard if _blurs(shown, each)), None)
        if same is not None:
            heard.remove(same)
            out.append(replace(shown, stream="both"))
        elif blurred is not None:
            heard.remove(blurred)
            out.append(replace(blurred, stream="both"))
        else:
            beside = next((each for each in cuts if _is_beside(shown, each)), None)
            out.append(shown if beside is None else _as_cut(shown, beside))
    return tuple(sorted([*out, *heard], key=lambda each: (each.start_s, each.kind)))


def _alike(first: Edit, second: Edit) -> bool:
    apart = [getattr(first, name) - getattr(second, name) for name in TIMES]
    longer_s = apart[1] - apart[0] - (apart[3] - apart[2])
    return (
        first.kind == second.kind
        and max(map(abs, apart)) <= _ALIKE_S
        and (first.kind in ("reordered", "speed") or abs(longer_s) <= _AS_LONG_S)
    )


def _blurs(shown: Edit, heard: Edit) -> bool:
    """Whether an edit of the picture is that of the sound, listed as another picture in place of
    some of the reference only because pictures next to the cut were not found.
    """
    return _is_beside(shown, heard) and abs(_longer_s(shown) - _longer_s(heard)) <= _AS_LONG_S


def _is_beside(shown: Edit, heard: Edit) -> bool:
    """Whether an edit of the picture, listed as `_blurs` says, lies at a cut of the sound, which
    inserts or removes as well.
    """
    ours_s, theirs_s = shown.end_s - shown.start_s, shown.reference_end_s - shown.reference_start_s
    return (
        shown.kind == "replaced"
        and heard.kind in ("inserted", "removed")
        and min(ours_s, theirs_s) <= _BLURRED_S
        and heard.kind == ("inserted" if _longer_s(shown) > 0 else "removed")
        and abs(_longer_s(shown)) >= _LEAST_S["picture"]
        and shown.start_s - _ALIKE_S <= heard.start_s
        and heard.end_s <= shown.end_s + _ALIKE_S
    )


def _as_cut(shown: Edit, heard: Edit) -> Edit:
    """An edit of the picture beside one of the sound that is longer or shorter: only the difference
    between what was there and what is there now, at the cut of the sound.
    """
    longer_s = _longer_s(shown)
    kept_s = min(shown.end_s - shown.start_s, shown.reference_end_s - shown.reference_start_s)
    before_s = min(max(heard.start_s - shown.start_s, 0.0), kept_s)
    at_s, from_s = shown.start_s + before_s, shown.reference_start_s + before_s
    if longer_s > 0:
        return Edit("inserted", shown.stream, at_s, at_s + longer_s, from_s, from_s)
    return Edit("removed", shown.stream, at_s, at_s, from_s, from_s - longer_s)


def _longer_s(edit: Edit) -> float:
    """By how much an edit makes the title longer; negative: shorter."""
    return edit.end_s - edit.start_s - (edit.reference_end_s - edit.reference_start_s)


def _of_stream(
    stream: Stream, parts: Sequence[Piece], file: TimeSpan, reference: TimeSpan
) -> Iterator[Edit]:
    if not parts:
        return
    for part in parts:
        if abs(part.pace - 1) >= _LEAST_SPEED:
            from_s, to_s = part.reference_start_s, part.reference_s(part.end_s)
            yield Edit("speed", stream, part.start_s, part.end_s, from_s, to_s)
    for before, after in pairwise(parts):
        cut = _Cut(
            TimeSpan(before.end_s, after.start_s),
            TimeSpan(_end_s(before), after.reference_start_s),
            before.pace,
        )
        if cut.reference.end_s < cut.reference.start_s - _LEAST_BACK_S or _elsewhere(parts, cut):
            from_s, to_s = cut.reference.start_s, cut.reference.end_s
            yield Edit("reordered", stream, cut.file.end_s, cut.file.end_s, from_s, to_s)
            # Something may have been inserted here as well
            yield from _between(stream, replace(cut, reference=TimeSpan(to_s, to_s)), _BLURRED_S)
        else:
            yield from _between(stream, cut, _LEAST_S[stream])
    first, last = parts[0], parts[-1]
    at_s, end_s = first.reference_start_s, _end_s(last)
    # One stream may go on where the other has ended
    head = _Cut(
        TimeSpan(min(file.start_s, first.start_s), first.start_s),
        TimeSpan(min(reference.start_s, at_s), at_s),
        first.pace,
    )
    tail = _Cut(
        TimeSpan(last.end_s, max(last.end_s, file.end_s)),
        TimeSpan(end_s, max(end_s, reference.end_s)),
        last.pace,
    )
    for cut, reference_s, share in ((head, at_s, 0.0), (tail, end_s, 1.0)):
        if _elsewhere(parts, cut):
            cut = replace(cut, reference=TimeSpan(reference_s, reference_s))
        yield from _between(stream, cut, _LEAST_END_S, share)


def _between(stream: Stream, cut: _Cut, least_s: float, share: float = 0.5) -> Iterator[Edit]:
    """What was done at a cut. Only the difference between the two gaps, the file's and the
    reference's, is exact. Of what both have there unmatched, `share` lies before the edit.
    """
    file, reference = cut.file, cut.reference
    ours_s, theirs_s = file.end_s - file.start_s, reference.end_s - reference.start_s
    more_s = ours_s - theirs_s / cut.pace
    kept_s = share * max(0.0, min(ours_s, theirs_s / cut.pace))
    at_s, from_s = file.start_s + kept_s, reference.start_s + kept_s * cut.pace
    if min(ours_s, theirs_s) >= _FUZZ_S[stream]:
        yield Edit("replaced", stream, file.start_s, file.end_s, reference.start_s, reference.end_s)
    elif more_s >= least_s:
        yield Edit("inserted", stream, at_s, at_s + more_s, from_s, from_s)
    elif -more_s >= least_s:
        yield Edit("removed", stream, at_s, at_s, from_s, from_s - more_s * cut.pace)


def _elsewhere(parts: Sequence[Piece], cut: _Cut) -> bool:
    """Whether other pieces hold most of what a cut skips of the reference."""
    skipped = cut.reference
    length_s = skipped.end_s - skipped.start_s
    if length_s < _LEAST_BACK_S:
        return False
    return _ELSEWHERE * length_s <= sum(
        max(0.0, min(_end_s(part), skipped.end_s) - max(part.reference_start_s, skipped.start_s))
        for part in parts
    )


def _end_s(part: Piece) -> float:
    """The time in the reference at which a piece ends."""
    return part.reference_s(part.end_s)
