"""The measurements of one clip, as rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from avcheck.eval.protocol import (
    AROUND,
    AS_A_CHECK,
    CONTROL_S,
    HISS,
    OFFSET_FRAMES,
    OFFSET_LATE_S,
    PAIR_MISSING_S,
    PAIR_MS,
    PAPER_FRAMES,
    SHIFTED_LEAST_S,
    SHIFTED_MS,
    SMALL_FACTORS,
    SMALL_FOREIGN,
    SMALL_FRAMES,
    STRANGER,
    TOLERANCE,
    Bench,
    Foreign,
    Scenery,
    displacement,
    generator,
    missing_s,
)
from avcheck.eval.rows import RISK_S, Row
from avcheck.eval.small import (
    Pictures,
    ViewedSetting,
    closer_over,
    share_beyond,
    shrunk,
    side_by_side,
)
from avcheck.eval.windows import (
    GRAIN,
    Footage,
    Shot,
    as_they_are,
    curves,
    frozen_pictures,
    hear,
    within_a_film,
)
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import Block
from avcheck.reading.segments import SEGMENT_BLOCKS
from avcheck.scan.closeup import zoom
from avcheck.verdict.judge import judge
from avcheck.verdict.posterior import Curve, Estimate, combine, estimate, evidence, match_ratio


def measure(
    footage: Footage, bench: Bench, foreign: Foreign, scenery: Scenery | None = None
) -> Iterator[Row]:
    """Every raw figure of one clip.

    Args:
        footage: The clip.
        bench: The weights.
        foreign: Lends sound of other groups.
        scenery: Lends pictures of other groups, for small faces; None: these are not measured.
    """
    for rows in (
        _paper(footage, bench),
        _offsets(footage, bench),
        _foreign_offsets(footage, bench, foreign),
        _verdicts(footage, bench),
        _controls(footage, bench, foreign),
        _small(footage, bench, foreign, scenery) if scenery is not None else (),
    ):
        for row in rows:
            yield {"measure": row.pop("measure"), **about_clip(footage), **row}


def measure_coverage(footage: Footage, bench: Bench, foreign: Foreign) -> Iterator[Row]:
    """What a check says of a whole speech clip as it was recorded, and of its pictures with the
    sound of another group; and what each segment of 10 s shows, from which `joined` makes titles.
    """
    shot = footage.shot(0, len(footage.frames))
    sounds = {
        "as recorded": footage.samples,
        STRANGER: foreign.sound(footage.clip, len(footage.samples)),
    }
    for case, samples in sounds.items():
        if samples is not None:
            about = {**about_clip(footage), "case": case}
            sound = hear(samples, 0.0, shot)
            segments = list(curves(shot, sound, bench.model))
            judged = judged_as_a_file(segments, sound, lambda: footage.larger, bench)
            yield {"measure": "coverage", **about, **judged}
            for curve in segments:
                if len(curve.block_start_s) == SEGMENT_BLOCKS:
                    yield {"measure": "segment", **about, **_segment_row(curve, footage, bench)}


def _segment_row(curve: Curve, footage: Footage, bench: Bench) -> Row:
    """The calibrated logit of every shift (None where there is none), and the shift that is right
    for the segment's own sound, including the network's bias.
    """
    calibration = bench.calibration
    logits = evidence(curve, calibration) / calibration.temperature - calibration.none
    return {
        "start_s": curve.start_s,
        "truth_frames": footage.own_frames + calibration.bias_frames,
        "logits": [round(float(each), 3) if np.isfinite(each) else None for each in logits],
    }


def about_clip(footage: Footage) -> Row:
    """What every row of a clip says of it."""
    clip = footage.clip
    return {
        "clip": clip.id,
        "group": clip.group,
        "kind": clip.kind,
        "added": clip.added,
        "own_frames": clip.offset_frames,
        "trusted": clip.trusted and clip.offset_frames is not None,
        "clip_s": round(footage.seconds, 2),
    }


def _paper(footage: Footage, bench: Bench) -> Iterator[Row]:
    """Windows of 4.2 s, as they are and displaced by 2 to 5.8 s, with every head; and each against
    its copies that are displaced by less.
    """
    rng = generator(footage.clip, "paper")
    seconds = PAPER_FRAMES / FRAME_RATE
    have_s = len(footage.samples) / SAMPLE_RATE
    for first in range(0, len(footage.frames) - PAPER_FRAMES + 1, PAPER_FRAMES):
        shot = footage.shot(first, PAPER_FRAMES)
        aligned_s = (first + footage.own_frames) / FRAME_RATE
        place: Row = {"start_s": first / FRAME_RATE}
        aligned = _logits(shot, hear(footage.samples, aligned_s, shot), bench)
        late_s = displacement(aligned_s, seconds, have_s, rng)
        if late_s is None:
            yield {"measure": "paper_left_out", **place}
        else:
            displaced = _logits(shot, hear(footage.samples, aligned_s - late_s, shot), bench)
            for kind, logit in aligned.items():
                row = {"measure": "paper", "attention": kind, **place}
                yield {**row, "late_s": 0.0, "in_sync": True, "logit": logit}
                yield {**row, "late_s": late_s, "in_sync": False, "logit": displaced[kind]}
        kind = bench.model.net.config.attention
        for late_ms in sorted(sign * size for size in PAIR_MS for sign in (-1, 1)):
            start_s = aligned_s - late_ms / 1000
            if missing_s(footage, start_s, seconds) <= PAIR_MISSING_S:
                logit = as_they_are(shot, hear(footage.samples, start_s, shot), bench.model)
                yield {
                    "measure": "pairwise",
                    **place,
                    "late_ms": late_ms,
                    "logit_true": aligned[kind],
                    "logit": logit,
                }


def _logits(shot: Shot, sound: list[Block], bench: Bench) -> dict[str, float]:
    """The logit of a match as picture and sound are, by every head and as a check judges it."""
    logits = {kind: as_they_are(shot, sound, head) for kind, head in bench.heads.items()}
    return {**logits, AS_A_CHECK: _matches_as_it_is(shot, sound, bench)}


def _matches_as_it_is(shot: Shot, sound: list[Block], bench: Bench) -> float:
    """Log odds that picture and sound match as they are, by the evidence that a check uses, from
    even prior odds.
    """
    (curve,) = curves(shot, sound, bench.model)
    ratio = match_ratio(evidence(curve, bench.calibration), bench.calibration)
    return float(ratio[np.flatnonzero(curve.shifts == 0)[0]])


def _find(segment_curves: Sequence[Curve], bench: Bench) -> Estimate:
    """The offset as a check would estimate it, in frames, positive = late."""
    chances = combine(
        [evidence(curve, bench.calibration) for curve in segment_curves], bench.calibration
    )
    return estimate(chances, segment_curves[0].shifts, bench.calibration)


def _offsets(footage: Footage, bench: Bench) -> Iterator[Row]:
    """Windows of several lengths, in the middle of the clip, each with its sound moved from its
    recorded place.
    """
    for count in OFFSET_FRAMES:
        rng = generator(footage.clip, f"offset {count}")
        spare = len(footage.frames) % count
        for first in range(spare // 2, len(footage.frames) - count + 1, count):
            late_s = float(rng.uniform(-OFFSET_LATE_S, OFFSET_LATE_S))
            start_s = first / FRAME_RATE - late_s
            shot = footage.shot(first, count)
            own = list(curves(shot, hear(footage.samples, start_s, shot), bench.model))
            estimates = {"offset": _find(own, bench)}
            if shot.blocks <= SEGMENT_BLOCKS:
                film = within_a_film(
                    shot, hear(footage.samples, start_s, shot, around=AROUND), bench.model
                )
                estimates["offset_in_film"] = _find([film], bench)
            for measure, estimated in estimates.items():
                yield {
                    "measure": measure,
                    "seconds": count / FRAME_RATE,
                    "start_s": first / FRAME_RATE,
                    "late_frames": late_s * FRAME_RATE,
                    "missing_s": round(missing_s(footage, start_s, count / FRAME_RATE), 3),
                    "estimate_frames": estimated.frames,
                    "confidence": estimated.confidence,
                }


def _foreign_offsets(footage: Footage, bench: Bench, foreign: Foreign) -> Iterator[Row]:
    """Windows of speech clips with the sound of another group: no offset that they get can be
    right.
    """
    samples = (
        foreign.sound(footage.clip, len(footage.samples)) if footage.clip.kind == "speech" else None
    )
    if samples is None:
        return
    for seconds in RISK_S:
        count = round(seconds * FRAME_RATE)
        spare = len(footage.frames) % count
        for first in range(spare // 2, len(footage.frames) - count + 1, count):
            shot = footage.shot(first, count)
            estimated = _find(
                list(curves(shot, hear(samples, first / FRAME_RATE, shot), bench.model)), bench
            )
            yield {
                "measure": "foreign",
                "seconds": seconds,
                "start_s": first / FRAME_RATE,
                "estimate_frames": estimated.frames,
                "confidence": estimated.confidence,
            }


def judged_as_a_file(
    some: list[Curve], sound: Sequence[Block], larger: Callable[[], Pictures], bench: Bench
) -> Row:
    """What a check says of a file.

    Args:
        some: The score curves of its segments.
        sound: Its blocks, without pictures.
        larger: Makes its pictures for a closer look.
        bench: The weights.
    """
    judgement = zoom(
        some,
        judge(some, TOLERANCE, bench.calibration),
        closer_over(larger, sound, bench.model),
        TOLERANCE,
        bench.calibration,
    ).judgement
    return {
        "verdict": judgement.verdict,
        "reason": judgement.reason,
        "offset_ms": judgement.offset_ms,
        "confidence": judgement.confidence,
        "drift_ms_per_min": judgement.drift_ms_per_min,
        "jumps_s": list(judgement.jumps_s),
        "jump_intervals_s": [list(each) for each in judgement.jump_intervals_s],
    }


def _verdicts(footage: Footage, bench: Bench) -> Iterator[Row]:
    """The whole clip as a file: as recorded, with its own offset corrected, and with its sound then
    moved.
    """
    shot = footage.shot(0, len(footage.frames))

    def judged(start_s: float) -> Row:
        sound = hear(footage.samples, start_s, shot)
        some = list(curves(shot, sound, bench.model))
        return judged_as_a_file(some, sound, lambda: footage.larger, bench)

    yield {"measure": "verdict", "case": "as recorded", "late_ms": 0, **judged(0.0)}
    cases: list[tuple[str, int]] = []
    if footage.clip.trusted:
        cases.append(("corrected", 0))
    if footage.clip.kind == "speech" and footage.seconds >= SHIFTED_LEAST_S:
        cases += [("shifted", sign * size) for size in SHIFTED_MS for sign in (-1, 1)]
    for case, late_ms in cases:
        start_s = footage.own_frames / FRAME_RATE - late_ms / 1000
        yield {"measure": "verdict", "case": case, "late_ms": late_ms, **judged(start_s)}


def _controls(footage: Footage, bench: Bench, foreign: Foreign) -> Iterator[Row]:
    """Speech clips whose picture and sound do not match: none of them may be called in sync."""
    if footage.clip.kind != "speech":
        return
    count = min(len(footage.frames), round(CONTROL_S * FRAME_RATE))
    samples = footage.samples[: count * SAMPLE_RATE // FRAME_RATE]
    shot = footage.shot(0, count)
    hiss = (generator(footage.clip, "hiss").normal(0.0, HISS, len(samples))).astype(np.float32)
    other = foreign.sound(footage.clip, len(samples))

    def larger() -> Pictures:
        return footage.larger[:count]

    def frozen_with_grain() -> Pictures:
        return frozen_pictures(footage.larger, count, GRAIN)

    frozen = footage.frozen(count, bench.model, bench.levels)
    grainy = footage.frozen(count, bench.model, bench.levels, GRAIN)
    # A black or frozen picture gets no closer look.
    cases: list[tuple[str, Shot, NDArray[np.float32], Callable[[], Pictures]]] = [
        ("black picture", footage.black(count), samples, larger),
        ("mute", shot, np.zeros_like(samples), larger),
        ("frozen picture", frozen, samples, larger),
        ("frozen picture with grain", grainy, samples, frozen_with_grain),
        ("hiss at -50 dB", shot, hiss, larger),
    ]
    if other is not None:
        cases.append((STRANGER, shot, other, larger))
    for case, pictures, sound_samples, closer_pictures in cases:
        sound = hear(sound_samples, 0.0, pictures)
        some = list(curves(pictures, sound, bench.model))
        judged = judged_as_a_file(some, sound, closer_pictures, bench)
        yield {"measure": "control", "case": case, **judged}


def _small(footage: Footage, bench: Bench, foreign: Foreign, scenery: Scenery) -> Iterator[Row]:
    """The middle 10 s of a speech clip with a trusted offset: small in front of other pictures, and
    beside a silent talker.
    """
    clip, count = footage.clip, SMALL_FRAMES
    if clip.kind != "speech" or not clip.trusted or len(footage.frames) < count:
        return
    rng = generator(clip, "small")
    first = (len(footage.frames) - count) // 2
    late_s = float(rng.uniform(-OFFSET_LATE_S, OFFSET_LATE_S))
    start_s = first / FRAME_RATE - late_s
    about: Row = {
        "measure": "small",
        "start_s": first / FRAME_RATE,
        "late_frames": late_s * FRAME_RATE,
    }
    shot = footage.shot(first, count)
    alone = _find(list(curves(shot, hear(footage.samples, start_s, shot), bench.model)), bench)
    yield {**about, "case": "alone", **_both_looks(alone, alone)}
    frames = footage.frames[first : first + count]
    ground = scenery.pictures(clip, "generic", count, max(bench.levels))
    other = foreign.sound(clip, count * SAMPLE_RATE // FRAME_RATE)
    for factor in SMALL_FACTORS:
        if ground is None:
            break
        scene = ViewedSetting(clip, shrunk(frames, ground, factor, rng), bench.model, bench.levels)
        at_first, closer = _looked_at(scene, footage.samples, start_s, bench)
        row = _both_looks(_find([at_first], bench), _find([closer], bench))
        yield {**about, "case": f"1/{factor}", **row, "closer": at_first is not closer}
        if factor == SMALL_FOREIGN and other is not None:
            looks = (_find([curve], bench) for curve in _looked_at(scene, other, 0.0, bench))
            yield {
                **about,
                "measure": "small_foreign",
                "case": f"1/{factor}",
                **_both_looks(*looks),
            }
    neighbour = scenery.pictures(clip, "speech", count, max(bench.levels))
    if neighbour is not None:
        right = bool(rng.integers(2))
        setting, meet = side_by_side(*((neighbour, frames) if right else (frames, neighbour)))
        scene = ViewedSetting(clip, setting, bench.model, bench.levels)
        at_first, closer = _looked_at(scene, footage.samples, start_s, bench)
        row = _both_looks(_find([at_first], bench), _find([closer], bench))
        beyond = share_beyond(closer, meet, int(np.argmax(evidence(closer, bench.calibration))))
        yield {
            **about,
            "case": "side by side",
            **row,
            "closer": at_first is not closer,
            "attention": beyond if right else 1 - beyond,
        }


def _looked_at(
    scene: ViewedSetting, samples: NDArray[np.float32], start_s: float, bench: Bench
) -> tuple[Curve, Curve]:
    """The score curves of a scene with a sound from `start_s` on, of the first look and of the one
    that a check judges in the end.
    """
    return scene.judged(hear(samples, start_s, scene.shot), TOLERANCE, bench.calibration)


def _both_looks(at_first: Estimate, closer: Estimate) -> Row:
    return {
        "first_frames": at_first.frames,
        "first_confidence": at_first.confidence,
        "estimate_frames": closer.frames,
        "confidence": closer.confidence,
    }
