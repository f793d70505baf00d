"""`avcheck eval`: every measure of the weights on the validation groups of a corpus, whole frames, no face detector.

Each clip is decoded once and looked at once; every measurement then moves its sound. Raw figures are rows (plain dicts, one
JSON object a line in the file given as `out`), and tables and pictures are made from the rows alone (`eval.rows`).
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
import tempfile
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from avcheck.blocks import FRAME_RATE, SAMPLE_RATE, Block, blocks
from avcheck.cores import cores
from avcheck.errors import MediaError, UsageError
from avcheck.eval.measures import (
    CONFIDENCE_EDGES,
    area_under_risk,
    bootstrap,
    calibration_error,
    confidence_bin,
    leave_one_group_out,
    share,
    table,
)
from avcheck.eval.plots import draw, require_matplotlib
from avcheck.eval.rows import (
    KINDS,
    RISK_FROM,
    RISK_S,
    Row,
    errors_frames,
    groups_of,
    of_measure,
    populations,
    sizes,
    truths,
)
from avcheck.eval.small import Scene, share_beyond, shrunk, side_by_side, there_and_back
from avcheck.eval.windows import GRAIN, Footage, Shot, as_they_are, curves, hear, observe, within_a_film
from avcheck.media import open_media
from avcheck.memory import keep_memory
from avcheck.model import ATTENTION_KINDS, fuse
from avcheck.results import DEFAULT_PRESET, FRAME_MS, PRESETS
from avcheck.scan import LEVELS, SEGMENT_BLOCKS, Checker, LevelChoice, detail_of, look, motion_of, score, segments
from avcheck.scenes import make_scene
from avcheck.train.corpus import Clip, decode, find_clips
from avcheck.train.facemesh import read_faces
from avcheck.verdict import NEAR_FRAMES, Calibration, Curve, Estimate, combine, estimate, evidence, judge, match_ratio
from avcheck.weights import Loaded, load, load_heads

SEED = 1
LONGEST_S = 120.0  # of a longer clip only the beginning is measured
PAPER_FRAMES = 105  # 4.2 s
AS_A_CHECK = "as in a check"  # stands in the place of a kind of attention
PAPER_LATE_S = (2.0, 5.8)  # a displaced sound is moved by this much, either way
PAIR_MS = (40, 50, 80, 100, 200, 300, 500)
PAIR_MISSING_S = 0.1  # a displaced copy that lacks more sound than this is left out
OFFSET_FRAMES = (105, 125, 250, 500)  # 4.2, 5, 10, 20 s
OFFSET_LATE_S = 1.0
SHIFTED_MS = (80, 120, 200, 500)
SHIFTED_LEAST_S = 10.0
CONTROL_S = 20.0  # of each clip
SMALL_FRAMES = 250  # 10 s
SMALL_FACTORS = (2, 4, 8)
SMALL_FOREIGN = 4  # the factor at which a stranger's sound is tried too
STRANGER = "sound of another clip"
COVERAGE_S = 6.0  # from this length on a clip is asked for a verdict
SEEN_SHARE = 0.5  # of the pictures looked at that show a face, where a speaker is seen
HISS = 10 ** (-50 / 20)  # RMS of the noise that replaces the sound
TOLERANCE = PRESETS[DEFAULT_PRESET]
VERDICTS = ("out_of_sync", "undecidable", "in_sync")
_EPSILON = 1e-6
_AROUND = 2  # blocks of sound either side of a segment, which reach as far as the shifts that are tried


@dataclass(frozen=True)
class Bench:
    """The weights under test: as a check uses them, and with every kind of attention that they hold."""

    model: Loaded
    heads: dict[str, Loaded]
    calibration: Calibration
    levels: tuple[int, ...] = LEVELS


def evaluate(
    corpus: Path,
    *,
    model: Path | None,
    device: str,
    out: Path | None = None,
    plots: Path | None = None,
    speed: bool = True,
    small: bool = False,
    faces: Path | None = None,
    coverage: bool = False,
    added: Sequence[int] = (),
    last: bool = False,
    on_clip: Callable[[int, int], None] | None = None,
) -> Iterator[str]:
    """Measure weights (the shipped ones when `model` is None) on the `val` split of a corpus; yields text as it is ready.

    out: gets every raw figure as JSON lines, at once. plots: a folder for pictures (`eval.plots`). speed: also measure speed.
    small: also measure small faces. faces: a file of `train.facemesh`, which tells in which clips a speaker is seen. coverage:
    measure whole speech clips and nothing else, for the table of how many are told an offset. added: only clips of these
    rounds of the corpus (empty: of all). last: only those set aside for the last table (`corpus.set_aside`), which are left out
    otherwise. on_clip: called after each clip with (done, total).

    Raises UsageError for a corpus without such clips and for pictures without matplotlib, ModelError or UsageError as
    `weights.load` does.
    """
    if plots is not None:
        require_matplotlib()
    clips = sorted(find_clips(corpus, split="val", last=last), key=lambda clip: (clip.kind, clip.id))
    clips = [clip for clip in clips if clip.added in (added or (clip.added,))]
    if coverage:
        clips = [clip for clip in clips if clip.kind == "speech"]
    if not clips:
        raise UsageError(f"{corpus}: none of its validation clips is of what was asked for")
    face_share = {name: found.share for name, found in read_faces(faces).items()} if faces is not None else {}
    bench = _bench(model, device)
    heading = _heading(bench, clips)
    yield heading
    with ExitStack() as stack:
        raw = stack.enter_context(out.open("w", buffering=1, encoding="utf-8")) if out is not None else None
        _write(raw, {"measure": "heading", "text": heading, "decide": bench.calibration.decide})
        rows: list[Row] = []
        failed: list[str] = []
        foreign = Foreign([clip for clip in clips if clip.kind == "speech"])
        scenery = Scenery(clips) if small else None
        # Clips side by side on one thread each keep the cores busier than one clip on all of them.
        pool = ThreadPoolExecutor(_workers(), initializer=torch.set_num_threads, initargs=(1,))
        stack.callback(pool.shutdown, cancel_futures=True)
        for number, found in enumerate(
            pool.map(partial(_measured, bench=bench, foreign=foreign, scenery=scenery, coverage=coverage), clips), 1
        ):
            if isinstance(found, str):
                failed.append(found)
            else:
                found = [{**row, "face_share": face_share.get(row["clip"])} for row in found]
                rows += found
                for row in found:
                    _write(raw, row)
            if on_clip is not None:
                on_clip(number, len(clips))
        if failed:
            text = f"Left out, cannot be decoded: {'; '.join(failed)}\n"
            _write(raw, {"measure": "heading", "text": text})
            yield text
        yield from tables(rows, bench.calibration.decide)
        if plots is not None:
            yield _drawn(rows, plots)
        if speed and not coverage:
            timed = measure_speed(model, device)
            _write(raw, {"measure": "speed", **timed})
            yield speed_table(timed)


def from_rows(rows: Sequence[Row], *, plots: Path | None = None, source: Path | None = None) -> Iterator[str]:
    """What `evaluate` yields, from rows that it wrote (`rows.read_rows`), read from `source`.

    Raises UsageError for pictures as that does, and for rows that lack what the tables need.
    """
    if plots is not None:
        require_matplotlib()
    by = of_measure(rows)
    headings = by.get("heading", [])
    try:
        for row in headings:
            yield row["text"]
        yield from tables(rows, next((row["decide"] for row in headings if "decide" in row), Calibration.decide))
        if plots is not None:
            yield _drawn(rows, plots)
        for row in by.get("speed", []):
            yield speed_table(row)
    except (KeyError, TypeError) as error:
        told = f"{type(error).__name__}: {error}"
        raise UsageError(f"{source or 'rows'}: not all figures of `avcheck eval --rows` are there ({told})") from error


def _drawn(rows: Sequence[Row], folder: Path) -> str:
    return "Pictures: " + ", ".join(str(path) for path in draw(rows, folder)) + "\n"


def _bench(model: Path | None, device: str) -> Bench:
    loaded = load(model, device=device)
    fuse(loaded.net)
    heads = load_heads(loaded, model, device=device)
    return Bench(loaded, {str(kind): head for kind, head in heads.items()}, Calibration(**loaded.calibration))


def _workers() -> int:
    """Clips measured at a time; each may take a few hundred MB."""
    return min(4, cores())


def _measured(clip: Clip, bench: Bench, foreign: Foreign, scenery: Scenery | None, coverage: bool) -> list[Row] | str:
    """The rows of a clip, or why it cannot be measured."""
    try:
        frames, samples = decode(clip.path, max(bench.levels))
    except MediaError as error:
        return f"{clip.id} ({error})"
    frames, samples = frames[: round(LONGEST_S * FRAME_RATE)], samples[: round(LONGEST_S * SAMPLE_RATE)]
    footage = observe(clip, frames, samples, bench.model, bench.levels)
    return list(measure_coverage(footage, bench, foreign) if coverage else measure(footage, bench, foreign, scenery))


def _heading(bench: Bench, clips: Sequence[Clip]) -> str:
    loaded = bench.model
    found = []
    for kind in KINDS:
        some = [clip for clip in clips if clip.kind == kind]
        trusted = sum(clip.trusted for clip in some)
        found.append(
            f"{kind}: {len(some)} clips of {len({clip.group for clip in some})} groups, {trusted} with a trusted offset"
        )
    return "\n".join(
        [
            f"Weights {loaded.sha256[:16]}, attention {loaded.net.config.attention}, on {loaded.device}"
            + ("" if loaded.calibration else ", NOT calibrated (defaults)"),
            f"Validation groups: {'; '.join(found)}",
            "Whole frames, no face detector. In brackets: 95 % interval, bootstrap over groups.",
            "",
        ]
    )


def _write(raw: TextIO | None, row: Row) -> None:
    if raw is not None:
        raw.write(json.dumps(row, default=float) + "\n")


# ------------------------------------------------------------------------------------------------------------ measuring


def measure(footage: Footage, bench: Bench, foreign: Foreign, scenery: Scenery | None = None) -> Iterator[Row]:
    """Every raw figure of one clip; those of small faces only where there is `scenery` to set it in."""
    for rows in (
        _paper(footage, bench),
        _offsets(footage, bench),
        _foreign_offsets(footage, bench, foreign),
        _verdicts(footage, bench),
        _controls(footage, bench, foreign),
        _small(footage, bench, foreign, scenery) if scenery is not None else (),
    ):
        for row in rows:
            yield {"measure": row.pop("measure"), **_about(footage), **row}


def measure_coverage(footage: Footage, bench: Bench, foreign: Foreign) -> Iterator[Row]:
    """What is told of a whole speech clip as it was recorded, and of all its pictures with the sound of another group."""
    shot = footage.shot(0, len(footage.frames))
    sounds = {"as recorded": footage.samples, STRANGER: foreign.sound(footage.clip, len(footage.samples))}
    for case, samples in sounds.items():
        if samples is not None:
            told = _judged(shot, hear(samples, 0.0, shot), bench)
            yield {"measure": "coverage", **_about(footage), "case": case, **told}


def _about(footage: Footage) -> Row:
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


def chance(clip: Clip, purpose: str) -> np.random.Generator:
    """Chance that depends on the clip and the purpose alone, not on the order of measuring."""
    digest = hashlib.sha256(f"{SEED}/{clip.id}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def missing_s(footage: Footage, start_s: float, seconds: float) -> float:
    """How much of the sound from `start_s` on the clip does not have."""
    have_s = len(footage.samples) / SAMPLE_RATE
    return seconds - max(0.0, min(start_s + seconds, have_s) - max(start_s, 0.0))


def displacement(aligned_s: float, seconds: float, have_s: float, rng: np.random.Generator) -> float | None:
    """How late to make the sound of a window: 2 to 5.8 s either way, evenly among what the clip has; None where it has none.

    The window's aligned sound begins at `aligned_s` of `have_s` seconds; the displaced sound lies wholly within them.
    """
    least, most = PAPER_LATE_S
    late = (least, min(most, aligned_s))
    early = (max(-most, aligned_s + seconds - have_s), -least)
    spans = [span for span in (early, late) if span[1] > span[0] + _EPSILON]
    if not spans:
        return None
    at = float(rng.uniform(0.0, sum(high - low for low, high in spans)))
    for low, high in spans:
        if at <= high - low:
            return low + at
        at -= high - low
    return spans[-1][1]


def _paper(footage: Footage, bench: Bench) -> Iterator[Row]:
    """Windows of 4.2 s, as they are and displaced by 2 to 5.8 s, with every head; and against copies displaced by little."""
    rng = chance(footage.clip, "paper")
    seconds = PAPER_FRAMES / FRAME_RATE
    have_s = len(footage.samples) / SAMPLE_RATE
    for first in range(0, len(footage.frames) - PAPER_FRAMES + 1, PAPER_FRAMES):
        shot = footage.shot(first, PAPER_FRAMES)
        aligned_s = (first + footage.own_frames) / FRAME_RATE
        where: Row = {"start_s": first / FRAME_RATE}
        aligned = hear(footage.samples, aligned_s, shot)
        logits = {kind: as_they_are(shot, aligned, head) for kind, head in bench.heads.items()}
        logits[AS_A_CHECK] = _matches_as_it_is(shot, aligned, bench)
        late_s = displacement(aligned_s, seconds, have_s, rng)
        if late_s is None:
            yield {"measure": "paper_left_out", **where}
        else:
            displaced = hear(footage.samples, aligned_s - late_s, shot)
            for kind, head in bench.heads.items():
                row = {"measure": "paper", "attention": kind, **where}
                yield {**row, "late_s": 0.0, "in_sync": True, "logit": logits[kind]}
                yield {**row, "late_s": late_s, "in_sync": False, "logit": as_they_are(shot, displaced, head)}
            row = {"measure": "paper", "attention": AS_A_CHECK, **where}
            yield {**row, "late_s": 0.0, "in_sync": True, "logit": logits[AS_A_CHECK]}
            yield {**row, "late_s": late_s, "in_sync": False, "logit": _matches_as_it_is(shot, displaced, bench)}
        kind = bench.model.net.config.attention
        for late_ms in sorted(sign * size for size in PAIR_MS for sign in (-1, 1)):
            start_s = aligned_s - late_ms / 1000
            if missing_s(footage, start_s, seconds) <= PAIR_MISSING_S:
                logit = as_they_are(shot, hear(footage.samples, start_s, shot), bench.model)
                yield {"measure": "pairwise", **where, "late_ms": late_ms, "logit_true": logits[kind], "logit": logit}


def _matches_as_it_is(shot: Shot, sound: list[Block], bench: Bench) -> float:
    """Log odds that picture and sound match as they are, by a check's own evidence; even odds before anything is seen."""
    (curve,) = curves(shot, sound, bench.model)
    ratio = match_ratio(evidence(curve, bench.calibration), bench.calibration)
    return float(ratio[np.flatnonzero(curve.shifts == 0)[0]])


def _find(found: Sequence[Curve], bench: Bench) -> Estimate:
    """The offset as a check would estimate it, in frames, positive = late."""
    chances = combine([evidence(curve, bench.calibration) for curve in found], bench.calibration)
    return estimate(chances, found[0].shifts, bench.calibration)


def _offsets(footage: Footage, bench: Bench) -> Iterator[Row]:
    """Windows of several lengths, in the middle of the clip, each with its sound moved from where it was recorded."""
    for count in OFFSET_FRAMES:
        rng = chance(footage.clip, f"offset {count}")
        spare = len(footage.frames) % count
        for first in range(spare // 2, len(footage.frames) - count + 1, count):
            late_s = float(rng.uniform(-OFFSET_LATE_S, OFFSET_LATE_S))
            start_s = first / FRAME_RATE - late_s
            shot = footage.shot(first, count)
            own = list(curves(shot, hear(footage.samples, start_s, shot), bench.model))
            found = {"offset": _find(own, bench)}
            if shot.blocks <= SEGMENT_BLOCKS:
                film = within_a_film(shot, hear(footage.samples, start_s, shot, around=_AROUND), bench.model)
                found["offset_in_film"] = _find([film], bench)
            for measure, told in found.items():
                yield {
                    "measure": measure,
                    "seconds": count / FRAME_RATE,
                    "start_s": first / FRAME_RATE,
                    "late_frames": late_s * FRAME_RATE,
                    "missing_s": round(missing_s(footage, start_s, count / FRAME_RATE), 3),
                    "estimate_frames": told.frames,
                    "confidence": told.confidence,
                }


def _foreign_offsets(footage: Footage, bench: Bench, foreign: Foreign) -> Iterator[Row]:
    """Windows of speech clips with the sound of another group: whatever offset is told of them, none is right."""
    samples = foreign.sound(footage.clip, len(footage.samples)) if footage.clip.kind == "speech" else None
    if samples is None:
        return
    for seconds in RISK_S:
        count = round(seconds * FRAME_RATE)
        spare = len(footage.frames) % count
        for first in range(spare // 2, len(footage.frames) - count + 1, count):
            shot = footage.shot(first, count)
            told = _find(list(curves(shot, hear(samples, first / FRAME_RATE, shot), bench.model)), bench)
            yield {
                "measure": "foreign",
                "seconds": seconds,
                "start_s": first / FRAME_RATE,
                "estimate_frames": told.frames,
                "confidence": told.confidence,
            }


def _judged(shot: Shot, sound: list[Block], bench: Bench) -> Row:
    found = judge(list(curves(shot, sound, bench.model)), TOLERANCE, bench.calibration)
    return {
        "verdict": found.verdict,
        "reason": found.reason,
        "offset_ms": found.offset_ms,
        "confidence": found.confidence,
        "drift_ms_per_min": found.drift_ms_per_min,
        "jumps_s": list(found.jumps_s),
    }


def _verdicts(footage: Footage, bench: Bench) -> Iterator[Row]:
    """The whole clip as a file: as recorded, with its own offset corrected, and with its sound moved on top of that."""
    shot = footage.shot(0, len(footage.frames))
    yield {"measure": "verdict", "case": "as recorded", "late_ms": 0, **_judged(shot, hear(footage.samples, 0.0, shot), bench)}
    cases: list[tuple[str, int]] = []
    if footage.clip.trusted:
        cases.append(("corrected", 0))
    if footage.clip.kind == "speech" and footage.seconds >= SHIFTED_LEAST_S:
        cases += [("shifted", sign * size) for size in SHIFTED_MS for sign in (-1, 1)]
    for case, late_ms in cases:
        sound = hear(footage.samples, footage.own_frames / FRAME_RATE - late_ms / 1000, shot)
        yield {"measure": "verdict", "case": case, "late_ms": late_ms, **_judged(shot, sound, bench)}


class Foreign:
    """Sound of clips of other groups, one after another until there is enough; each is decoded once."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self._samples: dict[str, NDArray[np.int16]] = {}

    def sound(self, clip: Clip, count: int) -> NDArray[np.float32] | None:
        """`count` samples that do not belong to `clip`, float32; None where there is no other group."""
        others = [other for other in self._clips if other.group != clip.group]
        parts: list[NDArray[np.int16]] = []
        for k in chance(clip, "foreign").permutation(len(others)):
            parts.append(self._read(others[k]))
            if sum(map(len, parts)) >= count:
                return np.concatenate(parts)[:count].astype(np.float32) / 32768.0
        return None

    def _read(self, clip: Clip) -> NDArray[np.int16]:
        if clip.id not in self._samples:
            pieces: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
            try:
                with open_media(clip.path) as media:
                    pieces += [sound.samples for sound in media.sounds()]
            except MediaError:
                pass  # a clip that cannot be decoded lends what was read of it
            self._samples[clip.id] = (np.concatenate(pieces).clip(-1, 1) * 32767).astype(np.int16)
        return self._samples[clip.id]


def _controls(footage: Footage, bench: Bench, foreign: Foreign) -> Iterator[Row]:
    """Speech clips without a match between picture and sound: none of them may be called in sync."""
    if footage.clip.kind != "speech":
        return
    count = min(len(footage.frames), round(CONTROL_S * FRAME_RATE))
    samples = footage.samples[: count * SAMPLE_RATE // FRAME_RATE]
    shot = footage.shot(0, count)
    hiss = (chance(footage.clip, "hiss").normal(0.0, HISS, len(samples))).astype(np.float32)
    other = foreign.sound(footage.clip, len(samples))
    cases: list[tuple[str, Shot, NDArray[np.float32]]] = [
        ("black picture", footage.black(count), samples),
        ("mute", shot, np.zeros_like(samples)),
        ("frozen picture", footage.frozen(count, bench.model, bench.levels), samples),
        ("frozen picture with grain", footage.frozen(count, bench.model, bench.levels, GRAIN), samples),
        ("hiss at -50 dB", shot, hiss),
    ]
    if other is not None:
        cases.append((STRANGER, shot, other))
    for case, pictures, sound in cases:
        yield {"measure": "control", "case": case, **_judged(pictures, hear(sound, 0.0, pictures), bench)}


class Scenery:
    """Pictures of clips of other groups, to set a clip before or beside."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips

    def pictures(self, clip: Clip, kind: str, count: int, short_side: int) -> NDArray[np.uint8] | None:
        """`count` pictures of a clip of this kind and of another group than `clip`; None where none decodes."""
        others = [other for other in self._clips if other.kind == kind and other.group != clip.group]
        for k in chance(clip, f"scenery {kind}").permutation(len(others)):
            with suppress(MediaError):
                return there_and_back(decode(others[k].path, short_side)[0][:count], count)
        return None


def _small(footage: Footage, bench: Bench, foreign: Foreign, scenery: Scenery) -> Iterator[Row]:
    """The middle 10 s of a speech clip with a trusted offset: small before other pictures, and beside a silent talker."""
    clip, count = footage.clip, SMALL_FRAMES
    if clip.kind != "speech" or not clip.trusted or len(footage.frames) < count:
        return
    rng = chance(clip, "small")
    first = (len(footage.frames) - count) // 2
    late_s = float(rng.uniform(-OFFSET_LATE_S, OFFSET_LATE_S))
    start_s = first / FRAME_RATE - late_s
    about: Row = {"measure": "small", "start_s": first / FRAME_RATE, "late_frames": late_s * FRAME_RATE}
    shot = footage.shot(first, count)
    alone = _find(list(curves(shot, hear(footage.samples, start_s, shot), bench.model)), bench)
    yield {**about, "case": "alone", **_told(alone, alone)}
    frames = footage.frames[first : first + count]
    ground = scenery.pictures(clip, "generic", count, max(bench.levels))
    other = foreign.sound(clip, count * SAMPLE_RATE // FRAME_RATE)
    for factor in SMALL_FACTORS:
        if ground is None:
            break
        scene = Scene(clip, shrunk(frames, ground, factor, rng), bench.model, bench.levels)
        at_first, closer = scene.judged(hear(footage.samples, start_s, scene.shot), TOLERANCE, bench.calibration)
        told = _told(_find([at_first], bench), _find([closer], bench))
        yield {**about, "case": f"1/{factor}", **told, "closer": at_first is not closer}
        if factor == SMALL_FOREIGN and other is not None:
            found = [
                _find([curve], bench) for curve in scene.judged(hear(other, 0.0, scene.shot), TOLERANCE, bench.calibration)
            ]
            yield {**about, "measure": "small_foreign", "case": f"1/{factor}", **_told(found[0], found[1])}
    neighbour = scenery.pictures(clip, "speech", count, max(bench.levels))
    if neighbour is not None:
        right = bool(rng.integers(2))
        setting, meet = side_by_side(*((neighbour, frames) if right else (frames, neighbour)))
        scene = Scene(clip, setting, bench.model, bench.levels)
        at_first, closer = scene.judged(hear(footage.samples, start_s, scene.shot), TOLERANCE, bench.calibration)
        told = _told(_find([at_first], bench), _find([closer], bench))
        beyond = share_beyond(closer, meet, int(np.argmax(evidence(closer, bench.calibration))))
        yield {
            **about,
            "case": "side by side",
            **told,
            "closer": at_first is not closer,
            "attention": beyond if right else 1 - beyond,
        }


def _told(at_first: Estimate, closer: Estimate) -> Row:
    return {
        "first_frames": at_first.frames,
        "first_confidence": at_first.confidence,
        "estimate_frames": closer.frames,
        "confidence": closer.confidence,
    }


# --------------------------------------------------------------------------------------------------------------- tables


def tables(rows: Sequence[Row], decide: float = Calibration.decide) -> Iterator[str]:
    """Every table that rows can fill, as text. decide: the confidence a verdict needs."""
    by = of_measure(rows)
    if by.get("coverage"):
        yield coverage_table(by["coverage"])
        if by.keys() <= {"heading", "coverage"}:  # nothing else was measured
            return
    yield paper_table(by.get("paper", []), len(by.get("paper_left_out", [])))
    yield pairwise_table(by.get("pairwise", []))
    yield offset_table(by.get("offset", []))
    yield offset_table(by.get("offset_in_film", []), in_film=True)
    yield agreement_table(by.get("offset", []))
    yield untouched_table(by.get("verdict", []))
    yield shifted_table(by.get("verdict", []))
    yield control_table(by.get("control", []))
    if by.get("small"):
        yield small_table(by["small"], by.get("small_foreign", []), decide)
    yield from reliability_tables(by.get("offset", []))
    yield from risk_tables(by.get("offset", []), by.get("foreign", []))


def paper_table(rows: Sequence[Row], left_out: int) -> str:
    """Binary accuracy, half of the decisions on windows as they are, half on displaced ones."""
    lines = []
    for kind, population, some in populations(rows):
        for attention in (*ATTENTION_KINDS, AS_A_CHECK):
            mine = [row for row in some if row["attention"] == attention]
            if not mine:
                continue
            truth, logits, groups = [row["in_sync"] for row in mine], [row["logit"] for row in mine], groups_of(mine)
            right = [float((logit > 0) == wanted) for logit, wanted in zip(logits, truth, strict=True)]
            best = leave_one_group_out(logits, truth, groups)
            count, clips, names = sizes(mine)
            figures = share(right, groups), share(best, groups if best else [])
            lines.append((kind, population, attention, count // 2, clips, names, *figures))
    note = (
        "Windows of 4.2 s, as they are (corrected for a trusted own offset) and displaced by 2 to 5.8 s within the clip; "
        f'{left_out} windows left out, as their clip has no sound 2 s away. Chance is 0.5. "{AS_A_CHECK}": the default '
        "attention at every shift of the window's own 4.2 s, weighed with the trunks' match; the sign is that of the "
        "calibrated odds of a match at shift 0 against none, even beforehand as the protocol has them."
    )
    header = ("kind", "own offset", "attention", "windows", "clips", "groups", "accuracy, sign", "accuracy, best threshold")
    return table("Paper protocol", header, lines, note)


def pairwise_table(rows: Sequence[Row]) -> str:
    """How often the true window scores above its displaced copy; a tie counts half."""
    lines = []
    for kind, population, some in populations(rows):
        for size in PAIR_MS:
            mine = [row for row in some if abs(row["late_ms"]) == size]
            wins = [float(row["logit_true"] > row["logit"]) + 0.5 * (row["logit_true"] == row["logit"]) for row in mine]
            if mine:
                lines.append((kind, population, f"{size} ms", *sizes(mine), share(wins, groups_of(mine))))
    header = ("kind", "own offset", "displaced by", "pairs", "clips", "groups", "true above displaced")
    note = "True window of 4.2 s above its copy displaced by so much, early and late. Chance is 0.5."
    return table("Pairwise", header, lines, note)


def offset_table(rows: Sequence[Row], *, in_film: bool = False) -> str:
    """|error| of the estimated offset, of windows on their own or, with `in_film`, with the sound around them."""
    lines = []
    for kind, name, some, corrected in truths(rows):
        for count in OFFSET_FRAMES:
            mine = [row for row in some if row["seconds"] == count / FRAME_RATE]
            if not mine:
                continue
            errors, groups = np.abs(errors_frames(mine, corrected=corrected)), groups_of(mine)
            near = [share((errors <= frames + _EPSILON).tolist(), groups) for frames in (1, 3)]
            middle = bootstrap(lambda chosen, errors=errors: FRAME_MS * float(np.median(errors[chosen])), groups)  # type: ignore[misc]
            lines.append((kind, name, f"{count / FRAME_RATE:g} s", *sizes(mine), *near, middle.text(0)))
    header = ("kind", "own offsets", "from", "windows", "clips", "groups", "within 1 frame", "within 3 frames", "median, ms")
    note = (
        "Sound moved by up to 1 s either way, evenly, to a sample. Each window is treated like a file cut there after the "
        "move: it has sound for its own time only, and what the clip does not have is missing."
    )
    if in_film:
        note = "The same windows as one segment in the middle of a film: the clip's sound 2 s around them is there too."
    return table("Offset, within a film" if in_film else "Offset", header, lines, note)


def agreement_table(rows: Sequence[Row]) -> str:
    """Neighbouring windows of one clip, each moved by its own amount: do they put the clip's own offset in one place?"""
    lines = []
    for kind in KINDS:
        for seconds in (5.0, 10.0):
            apart, pairs = [], []
            by: dict[str, list[Row]] = {}
            for row in rows:
                if row["kind"] == kind and row["seconds"] == seconds:
                    by.setdefault(row["clip"], []).append(row)
            for mine in by.values():
                own = [
                    row["estimate_frames"] - row["late_frames"] for row in sorted(mine, key=lambda row: float(row["start_s"]))
                ]
                apart += [abs(b - a) for a, b in zip(own[::2], own[1::2], strict=False)]
                pairs += mine[: len(own) // 2]
            if apart:
                near = share([float(distance <= 1 + _EPSILON) for distance in apart], groups_of(pairs))
                lines.append((kind, f"{seconds:g} s", *sizes(pairs), near))
    note = "Two disjoint neighbouring pieces of one clip, each with its sound moved by an amount of its own, estimated apart."
    return table("Agreement", ("kind", "pieces", "pairs", "clips", "groups", "within 1 frame"), lines, note)


def _inside(row: Row) -> bool:
    """Is the clip's own offset inside the tolerance?"""
    early_ms = -float(row["own_frames"]) * FRAME_MS
    return -TOLERANCE.late_ms <= early_ms <= TOLERANCE.early_ms


def coverage_table(rows: Sequence[Row]) -> str:
    """Of how much an offset is told at all: over every clip, whether or not its own offset is known."""
    lines: list[tuple[object, ...]] = []
    known = any(row["face_share"] is not None for row in rows)
    for name, rounds in (
        ("first", [row for row in rows if row["added"] == 1]),
        ("later", [row for row in rows if row["added"] > 1]),
    ):
        seen = [row for row in rounds if (row["face_share"] or 0.0) >= SEEN_SHARE]
        long = [row for row in seen if row["clip_s"] >= COVERAGE_S]
        some = [("all", rounds), ("trusted", [row for row in rounds if row["trusted"]])]
        some[1:1] = [("speaker seen", seen), (f"speaker seen, {COVERAGE_S:g} s or longer", long)] if known else []
        for population, mine in some:
            own = [row for row in mine if row["case"] == "as recorded"]
            strange = [row for row in mine if row["case"] == STRANGER]
            if not own:
                continue
            told = [row for row in own if row["offset_ms"] is not None]
            judged = [row for row in told if row["trusted"] and row["offset_ms"] is not None]
            off = [float(abs(row["offset_ms"] + row["own_frames"] * FRAME_MS) > NEAR_FRAMES * FRAME_MS) for row in judged]
            lines.append(
                (
                    name,
                    population,
                    *sizes(own)[1:],
                    share([float(row["offset_ms"] is not None) for row in own], groups_of(own)),
                    share([float(row["verdict"] != "undecidable") for row in own], groups_of(own)),
                    share(off, groups_of(judged)),
                    share([float(row["offset_ms"] is not None) for row in strange], groups_of(strange)),
                )
            )
    header = (
        "round",
        "speech clips",
        "clips",
        "groups",
        "offset told",
        "verdict",
        "told wrong, of those known",
        "told of a stranger's sound",
    )
    note = (
        "Whole clips as recorded. Speaker seen: a face mesh found a face in half of the pictures looked at. Verdict: in or out "
        f"of sync; where an offset is told without one, it is too close to a limit. Wrong: beyond {NEAR_FRAMES:g} frames of a "
        "trusted own offset, which is an estimate by another network, or for later rounds by earlier weights."
    )
    return table("Coverage of whole clips", header, lines, note)


def _verdict_shares(rows: Sequence[Row]) -> list[object]:
    return [share([float(row["verdict"] == verdict) for row in rows], groups_of(rows)) for verdict in VERDICTS]


def untouched_table(rows: Sequence[Row]) -> str:
    """False alarms."""
    lines = []
    for kind in KINDS:
        some = [row for row in rows if row["kind"] == kind]
        recorded = [row for row in some if row["case"] == "as recorded"]
        for name, mine in (
            ("as recorded, own offset trusted and inside the tolerance", [r for r in recorded if r["trusted"] and _inside(r)]),
            ("as recorded, own offset trusted and outside", [r for r in recorded if r["trusted"] and not _inside(r)]),
            ("as recorded, all", recorded),
            ("own offset corrected, trusted", [row for row in some if row["case"] == "corrected"]),
        ):
            if mine:
                lines.append((kind, name, len(mine), sizes(mine)[2], *_verdict_shares(mine)))
    recorded = [row for row in rows if row["case"] == "as recorded"]
    for name, mine in (
        ("as recorded, all but those known to be outside", [r for r in recorded if not r["trusted"] or _inside(r)]),
        ("as recorded, all", recorded),
    ):
        if mine:
            lines.append(("both", name, len(mine), sizes(mine)[2], *_verdict_shares(mine)))
    note = (
        f"Whole files, tolerance {TOLERANCE.preset} ({TOLERANCE.early_ms:g} ms early, {TOLERANCE.late_ms:g} ms late). A file "
        'whose own trusted offset is outside is rightly called "out of sync", so it is no false alarm.'
    )
    header = ("kind", "files", "n", "groups", "out of sync", "undecidable", "in sync")
    return table("Verdict on untouched files", header, lines, note)


def shifted_table(rows: Sequence[Row]) -> str:
    """Detection."""
    shifted = [row for row in rows if row["case"] == "shifted"]
    lines = []
    for kind, population, some in populations(shifted):
        for size in SHIFTED_MS:
            for name, sides in (("early", (-size,)), ("late", (size,)), ("both", (-size, size))):
                mine = [row for row in some if row["late_ms"] in sides]
                if not mine:
                    continue
                near = [
                    float(row["verdict"] == "out_of_sync" and abs(row["offset_ms"] + row["late_ms"]) <= NEAR_FRAMES * FRAME_MS)
                    for row in mine
                ]
                shares = _verdict_shares(mine)
                lines.append((kind, population, f"{size} ms {name}", *sizes(mine), *shares, share(near, groups_of(mine))))
    header = (
        "kind",
        "own offset",
        "sound",
        "files",
        "clips",
        "groups",
        "out of sync",
        "undecidable",
        "in sync (wrong)",
        "found within 80 ms",
    )
    note = f"Clips of at least {SHIFTED_LEAST_S:g} s, sound moved on top of the correction for a trusted own offset."
    return table("Verdict on shifted files", header, lines, note)


def control_table(rows: Sequence[Row]) -> str:
    """Nothing of this may be called in sync."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        lines.append((case, len(mine), sizes(mine)[2], *_verdict_shares(mine)))
    header = ("control", "files", "groups", "out of sync", "undecidable", "in sync (wrong)")
    return table("Controls", header, lines, f"Speech clips, their first {CONTROL_S:g} s.")


def _sizes_of(rows: Sequence[Row]) -> list[float]:
    return [abs(error) for error in errors_frames(rows, corrected=True)]


def small_table(rows: Sequence[Row], foreign: Sequence[Row], decide: float) -> str:
    """Small faces, and which of two speaks."""
    lines = []
    for case in dict.fromkeys(row["case"] for row in rows):
        mine = [row for row in rows if row["case"] == case]
        groups = groups_of(mine)
        first = _sizes_of([{**row, "estimate_frames": row["first_frames"]} for row in mine])
        errors = _sizes_of(mine)
        sure = [row["confidence"] >= decide for row in mine]
        wrong = [told and error > NEAR_FRAMES + _EPSILON for told, error in zip(sure, errors, strict=True)]
        found = [row for row in mine if "attention" in row]
        strange = [row for row in foreign if row["case"] == case]
        lines.append(
            (
                case,
                *sizes(mine),
                share([float(error <= 1 + _EPSILON) for error in first], groups),
                share([float(error <= 1 + _EPSILON) for error in errors], groups),
                share([float(row["first_confidence"] >= decide) for row in mine], groups),
                share(list(map(float, sure)), groups),
                share(list(map(float, wrong)), groups),
                share([float(row["attention"] > 0.5) for row in found], groups_of(found)) if found else "-",
                share([float(row["confidence"] >= decide) for row in strange], groups_of(strange)) if strange else "-",
            )
        )
    header = (
        "speaker",
        "windows",
        "clips",
        "groups",
        "within 1 frame, first look",
        "within 1 frame",
        "sure, first look",
        "sure",
        "sure and wrong",
        "attention on the speaker",
        "sure of a stranger's sound",
    )
    note = (
        "The middle 10 s of every speech clip with a trusted offset, its sound moved as in the offset table: alone, at a part "
        "of that size at a random place before moving pictures of another group, and beside a silent talker of another group. "
        "What shows nothing at first is looked at closer, as in a check. Sure: confident enough for a verdict; wrong: off by "
        "over 2 frames."
    )
    return table("Small faces and side by side", header, lines, note)


def reliability_tables(rows: Sequence[Row]) -> Iterator[str]:
    """Is the confidence what it says? Over the 10 s windows."""
    ten = [row for row in rows if row["seconds"] == 10.0]
    for kind, name, mine, corrected in truths(ten):
        if name.startswith("any"):
            continue
        confidence = np.array([row["confidence"] for row in mine])
        right = (np.abs(errors_frames(mine, corrected=corrected)) <= NEAR_FRAMES + _EPSILON).astype(np.float64)
        groups = np.array(groups_of(mine))
        bins = confidence_bin(confidence)
        lines: list[tuple[object, ...]] = []
        for k, (low, high) in enumerate(pairwise(CONFIDENCE_EDGES)):
            inside = bins == k
            if inside.any():
                mean, found = confidence[inside].mean(), share(right[inside].tolist(), groups[inside].tolist())
                lines.append((f"{low:g} to {high:g}", int(inside.sum()), len(set(groups[inside])), f"{mean:.3f}", found))
        error = bootstrap(
            lambda chosen, a=confidence, b=right: calibration_error(a[chosen], b[chosen]),  # type: ignore[misc]
            groups.tolist(),
        )
        note = (
            f"Offset from 10 s; right = within 2 frames. Expected calibration error {error.text(3)} over {len(mine)} windows."
        )
        header = ("confidence", "windows", "groups", "mean confidence", "share right")
        yield table(f"Reliability of the confidence: {kind} ({name})", header, lines, note)


def risk_tables(rows: Sequence[Row], foreign: Sequence[Row]) -> Iterator[str]:
    """Which windows can be judged at all? Those below a confidence are given up; how many of the others are wrong?"""
    for kind, name, some, corrected in truths(rows):
        if name.startswith("all"):
            continue
        clips = {row["clip"] for row in some}
        lines: list[tuple[object, ...]] = []
        areas = []
        for seconds in RISK_S:
            length = f"{seconds:g} s"
            mine = [row for row in some if row["seconds"] == seconds]
            if not mine:
                continue
            strangers = [row for row in foreign if row["seconds"] == seconds and row["clip"] in clips]
            wrong = (np.abs(errors_frames(mine, corrected=corrected)) > NEAR_FRAMES + _EPSILON).astype(np.float64)
            confidence, names = np.array([row["confidence"] for row in mine]), groups_of(mine)
            for least in RISK_FROM:
                kept = confidence >= least
                risk = share(wrong[kept].tolist(), [group for group, keep in zip(names, kept, strict=True) if keep])
                fooled = share([float(row["confidence"] >= least) for row in strangers], groups_of(strangers))
                lines.append((length, f"{least:g}", int(kept.sum()), share(kept.astype(float).tolist(), names), risk, fooled))
            area = bootstrap(lambda chosen, a=confidence, b=wrong: area_under_risk(a[chosen], b[chosen]), names)  # type: ignore[misc]
            areas.append(
                f"{length} {area.text(3)} (no order {wrong.mean():.3f}, perfect order {area_under_risk(-wrong, wrong):.3f}; "
                f"{len(strangers)} windows with a stranger's sound)"
            )
        note = (
            "Windows of the offset measure with at least the confidence are kept; wrong = beyond 2 frames. With a stranger's "
            f"sound in its place none can be judged. Area under the curve, lower is better: {'; '.join(areas)}."
        )
        header = ("from", "confidence", "windows", "kept", "wrong among the kept", "stranger's sound kept")
        yield table(f"Risk against coverage: {kind} ({name})", header, lines, note)


# ---------------------------------------------------------------------------------------------------------------- speed

SPEED_S = 120.0  # of generated 1080p
_STRANGER_S = 60.0  # of another film's sound
_SPEED_SOUND_RATE = 48_000


@dataclass
class _Stopwatch:
    """CPU and wall seconds by stage."""

    cpu_s: dict[str, float] = field(default_factory=dict)
    wall_s: dict[str, float] = field(default_factory=dict)
    _since: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        self._since = time.process_time(), time.perf_counter()

    def stop(self, stage: str, seconds: float) -> None:
        """Adds what passed since `start`, as seconds per minute of video, `seconds` of which were worked on."""
        a_minute = 60.0 / seconds
        cpu, wall = time.process_time() - self._since[0], time.perf_counter() - self._since[1]
        self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + cpu * a_minute
        self.wall_s[stage] = self.wall_s.get(stage, 0.0) + wall * a_minute


def measure_speed(model: Path | None, device: str, seconds: float = SPEED_S) -> Row:
    """Seconds per minute of a generated 1080p H.264 film by stage, and peak memory, in a process of its own.

    `seconds`: how long the film is.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        make_film(path, seconds)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_time_stages, path, model, device).result()


def make_film(path: Path, seconds: float, size: tuple[int, int] = (1080, 1920)) -> None:
    """A talking head of (H, W) px with camera noise, H.264 and stereo AAC, in mp4."""
    import av  # `media` reads, and only reads

    height, width = size
    scene = make_scene("talking", seed=1, seconds=seconds, size=(height // 4, width // 4), head_share=0.4)
    noise = np.random.default_rng(1).normal(0.0, 2.0, (8, height, width)).round().astype(np.int16)
    sound = np.repeat(scene.samples, _SPEED_SOUND_RATE // scene.sample_rate)
    with av.open(str(path), "w", format="mp4") as file:
        video = file.add_stream("libx264", rate=FRAME_RATE, options={"preset": "veryfast", "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = file.add_stream("aac", rate=_SPEED_SOUND_RATE, layout="stereo")
        picture = np.full((height * 3 // 2, width), 128, np.uint8)
        for k, luma in enumerate(scene.frames):
            large = np.repeat(np.repeat(luma, 4, axis=0), 4, axis=1)[:height, :width]
            picture[:height] = np.clip(large + noise[k % len(noise)], 16, 235)
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = k, Fraction(1, FRAME_RATE)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        for at in range(0, len(sound), 1024):
            both = np.repeat(sound[None, at : at + 1024], 2, axis=0)
            run = av.AudioFrame.from_ndarray(np.ascontiguousarray(both), format="fltp", layout="stereo")
            run.sample_rate, run.pts, run.time_base = _SPEED_SOUND_RATE, at, Fraction(1, _SPEED_SOUND_RATE)
            file.mux(audio.encode(run))
        file.mux(audio.encode(None))


def _time_stages(path: Path, model: Path | None, device: str) -> Row:
    """A check of a film as a user runs it, then the same stages one after the other with a clock between them."""
    keep_memory()
    checker = Checker(model, device)
    loaded = checker.loaded
    checker.curves(path)  # the first look builds kernels
    watch = _Stopwatch()
    watch.start()
    whole, *_ = checker.curves(path)
    watch.stop("whole check", round(sum(curve.end_s - curve.start_s for curve in whole)))
    peak_mb = _peak_mb()
    closer_mb = _closer_mb(path, checker)
    watch.start()
    with open_media(path, short_side=max(LEVELS)) as media:
        once = list(blocks(media.pictures(), media.sounds()))
    watch.stop("decode", len(once))
    found: list[Curve] = []
    choice = LevelChoice()
    for before, inside, after in segments(iter(once), None):
        watch.start()
        pictures = np.concatenate([block.pictures for block in inside])
        shown = np.concatenate([block.picture_mask for block in inside])
        seen = look(pictures, shown, inside[0].start_s, loaded, choice.levels)
        watch.stop("trunk", len(once))
        watch.start()
        motion = np.array([motion_of(block) for block in inside], np.float32)
        detail = np.array([detail_of(block) for block in inside], np.float32)
        found.append(score(seen, before, inside, after, loaded, motion, detail))
        watch.stop("scan", len(once))
        choice.after(found[-1])
    watch.start()
    judge(found, TOLERANCE, Calibration(**loaded.calibration))
    watch.stop("scan", len(once))
    kept = sum(array.nbytes for curve in found for array in (curve.places, curve.attention, curve.block_score, curve.score))
    return {
        "cpu_s": watch.cpu_s,
        "wall_s": watch.wall_s,
        "film_s": len(once),
        "peak_mb": peak_mb,
        "closer_mb": closer_mb,
        "kept_mb_per_min": kept / 1e6 * 60 / len(once),
        "device": str(loaded.device),
    }


def _closer_mb(path: Path, checker: Checker) -> float | None:
    """Peak memory with a stranger's sound, which is undecidable and looked at closer; None where it was not."""
    other = path.with_suffix(".wav")
    scene = make_scene("talking", seed=2, seconds=_STRANGER_S, size=(36, 64))
    with wave.open(str(other), "wb") as file:
        file.setparams((1, 2, scene.sample_rate, 0, "NONE", ""))
        file.writeframes((scene.samples * 32767).astype("<i2").tobytes())
    report = checker.check(path, audio=other)
    return _peak_mb() if report.verdict == "undecidable" and report.offset_ms is None else None


def _peak_mb() -> float:
    """Peak resident memory of this process; NaN where the system does not tell."""
    with suppress(OSError, StopIteration, ValueError):
        # Linux hands a parent's peak down to the child's ru_maxrss; its own is here.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def speed_table(found: Row) -> str:
    """Seconds per minute of video, how that compares with playing it, and memory."""
    cpu_s, wall_s = found["cpu_s"], found["wall_s"]
    names = {name: name if name == "whole check" else f"{name} alone" for name in cpu_s}
    lines = [(names[stage], f"{cpu_s[stage]:.2f}", f"{wall_s[stage]:.2f}") for stage in cpu_s]
    more_mb = found["kept_mb_per_min"] * max(0.0, 120 - found["film_s"] / 60)
    note = (
        f"1080p H.264 of {found['film_s']} s, generated, on {found['device']}: "
        f"{60 / wall_s['whole check']:.1f} times as fast as it plays. Peak memory {found['peak_mb']:.0f} MB; "
        f"{found['kept_mb_per_min']:.2f} MB of curves are kept a minute, so a film of two hours needs about "
        f"{found['peak_mb'] + more_mb:.0f} MB."
    )
    if (closer_mb := found.get("closer_mb")) is not None:
        note += (
            f" With another film's sound it is undecidable and looked at closer: {closer_mb:.0f} MB, of two hours about "
            f"{closer_mb + more_mb:.0f} MB."
        )
    return table("Speed: seconds per minute of video", ("stage", "CPU, s", "wall, s"), lines, note)
