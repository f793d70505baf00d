"""Which units of a long title are heard and looked at, without a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from avcheck.record.report import Segment
from avcheck.scan.listening import LookPlan, next_units, units_to_hear
from avcheck.verdict.judge import Judgement

ORIGIN_S = 2.0

Shows = Callable[[int], float | None]  # the offset (ms) that a unit shows


def look_around(
    plan: LookPlan, voice: Sequence[float], *sounds: Shows, drift: float | None = None
) -> tuple[set[int], set[int]]:
    """The units heard and the units looked at in the end, in a title whose units sound so much like
    a voice, with one sound or several.
    """
    heard = dict(enumerate(voice)) if plan.hears_all else {}
    looked: set[int] = set()
    judgements: list[Judgement] = []
    while True:
        for unit in units_to_hear(plan, heard, looked, judgements, ORIGIN_S):
            assert unit not in heard
            heard[unit] = voice[unit]
        wanted = next_units(plan, heard, looked, judgements, ORIGIN_S)
        if not wanted:
            return set(heard), looked
        assert not looked.intersection(wanted)
        looked.update(wanted)
        judgements = [_judged(sorted(looked), shows, drift) for shows in sounds]


def _judged(looked: Sequence[int], shows: Shows, drift: float | None) -> Judgement:
    parts = tuple(
        Segment(10.0 * k + ORIGIN_S, 10.0 * (k + 1) + ORIGIN_S, shows(k), 0.9) for k in looked
    )
    decided = any(part.offset_ms is not None for part in parts)
    return Judgement(
        "in_sync" if decided else "undecidable",
        None,
        0.0 if decided else None,
        drift_ms_per_min=drift if decided else None,
        segments=parts,
    )
