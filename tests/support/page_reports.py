"""Reports of made-up files, as large as real ones, for the tests of the page."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Iterable

from avcheck.evidence.stills import PARTS, Illustration, Still
from avcheck.record.detail import BlockPlaces, Detail, MediaFacts, SegmentDetail
from avcheck.record.edits import Edit
from avcheck.record.report import (
    BlockResult,
    Degraded,
    Report,
    Segment,
    Stretch,
    Track,
)
from avcheck.render.page import Illustrate, Page

MEDIA = MediaFacts("QuickTime / MOV", "h264", 1920, 1080, 0, 25.0, "aac", 0.0, 0.021)
OFFSETS_MS = tuple(40.0 * k for k in range(-50, 51))
# A grey JPEG of 8 x 8 is as good as any here: the page does not look into it.
NO_JPEG = b"\xff\xd8\xff\xd9"


def title(seconds: int, *, path: str = "film.mp4", jump: bool = True) -> Report:
    """A title whose sound is late by 20 ms, and by 240 ms from its middle on; one segment in five
    shows no offset.
    """
    draw = random.Random(1)
    half = seconds // 20 * 10

    def at(start_s: float) -> float:
        return -240.0 if jump and start_s >= half else -20.0

    segments, details = [], []
    for start in range(0, seconds, 10):
        shows = draw.random() < 0.8
        offset_ms = round(at(start) + draw.gauss(0, 8), 1)
        segments.append(
            Segment(
                float(start),
                start + 10.0,
                offset_ms if shows else None,
                round(draw.uniform(0.9, 1), 4),
            )
        )
        fit = tuple(
            round(draw.gauss(-7, 2) + 14 * shows * math.exp(-(((each - at(start)) / 60) ** 2)), 2)
            for each in OFFSETS_MS
        )
        blocks = tuple(
            BlockPlaces(
                start + k, tuple((6 + n, 4, round(draw.uniform(0.04, 0.2), 3)) for n in range(6))
            )
            for k in range(10)
        )
        details.append(SegmentDetail(float(start), start + 10.0, fit, 18, 10, blocks))
    block_results = tuple(
        BlockResult(
            float(k),
            round(draw.uniform(0.5, 1.5) / seconds, 6),
            at(k) + draw.randrange(-30, 30) if k % 3 else None,
        )
        for k in range(seconds)
    )
    parts = (
        (
            Stretch(0.0, float(half), -20.0, -20.0),
            Stretch(half + 10.0, float(seconds), -240.0, -240.0),
        )
        if jump
        else (Stretch(0.0, float(seconds), -20.0, -20.0),)
    )
    return Report(
        path,
        "out_of_sync" if jump else "in_sync",
        offset_ms=-240.0 if jump else -20.0,
        confidence=0.99,
        container_offset_ms=-21.3,
        jumps_s=(half + 5.0,) if jump else (),
        jump_intervals_s=((float(half), half + 10.0),) if jump else (),
        stretches=parts,
        duration_s=float(seconds),
        audio_track=0,
        video_track=0,
        audio_tracks=(Track(0, "eng", "Stereo", "aac", True), Track(1, "fra", "", "ac3", False)),
        video_tracks=(Track(0, "", "", "h264", True),),
        segments=tuple(segments),
        blocks=block_results,
        degraded=Degraded(
            corrupt_frames=2, notes=("2 damaged audio packets",), unseen_s=((12.0, 14.5),)
        ),
        detail=Detail(OFFSETS_MS, tuple(details), MEDIA),
        model_sha256="0a" * 32,
        file_size=1_234_567,
        settings_sha256="0b" * 32,
        checked_at="2026-03-01T12:00:00.000Z",
        avcheck_version="0.1.0",
    )


def stills(report: Report) -> Illustration:
    """Six stills, each as large as one of a real picture."""
    peaks = tuple((-0.5, 0.25) if k % 7 else None for k in range(PARTS))
    moments_s = (2.5, 12.5, 22.5, 32.5, 42.5, 52.5)
    data = NO_JPEG + random.Random(2).randbytes(25_000)
    return Illustration(
        tuple(Still(at_s, data, 480, 270, at_s - 1, at_s + 1, peaks) for at_s in moments_s)
    )


def compared() -> Report:
    """A title of a minute beside its reference, with seven seconds put in."""
    return dataclasses.replace(
        title(60),
        measured_by="reference",
        reference="<b>master</b>.mov",
        segments=(),
        blocks=(),
        detail=None,
        edits=(Edit("inserted", "both", 10.0, 17.0, 10.0, 10.0),),
        degraded=Degraded(unseen_s=((10.0, 17.0),)),
    )


def run(count: int, *, seconds: int = 5400) -> list[Report]:
    """A run of so many files, one in ten an error, one in ten undecidable, one in five out of
    sync.
    """
    draw = random.Random(3)
    reports = []
    for k in range(count):
        path = f"/mnt/library/Season {k % 9 + 1:02}/Episode {k:05} of a title with a long name.mxf"
        if k % 10 == 0:
            reason = "the file has no audio track; give its sound with --audio FILE"
            reports.append(Report(path, "error", reason=reason, reason_code="no_audio"))
            continue
        known = k % 10 != 1
        base = draw.choice([-130.0, 120.0]) if k % 5 == 2 else draw.uniform(-40, 30)
        segments = tuple(
            Segment(
                float(at),
                at + 10.0,
                round(base + draw.gauss(0, 9), 1) if known and draw.random() < 0.7 else None,
                0.95,
            )
            for at in range(0, seconds, 10)
        )
        reports.append(
            Report(
                path,
                "undecidable" if not known else "out_of_sync" if k % 5 == 2 else "in_sync",
                reason=None
                if known
                else "nothing in the picture goes with the sound at any shift within 2 s",
                reason_code=None if known else "no_match",
                offset_ms=round(base, 1) if known else None,
                confidence=0.96 if known else 0.3,
                container_offset_ms=-21.3,
                stretches=(Stretch(0.0, float(seconds), round(base, 1), round(base, 1)),)
                if known
                else (),
                duration_s=float(seconds + k),
                audio_track=0,
                video_track=0,
                audio_tracks=(
                    Track(0, "eng", "Stereo", "aac", True),
                    Track(1, "fra", "Audio description", "aac", False),
                ),
                video_tracks=(Track(0, "", "", "h264", True),),
                segments=segments,
            )
        )
    return reports


HOSTILE = [
    "<script>alert(1)</script>.mp4",
    '"><img src=x onerror=alert(1)>.mp4',
    "' onmouseover='alert(1)' x='.mp4",
    "</template></title></style><svg onload=alert(1)>.mp4",
    "{{ 7 * 7 }}{% raw %}.mp4",
    "javascript:alert(1).mp4",
    "&lt;b&gt;&amp;.mp4",
    "]]><!-- .mp4",
    "\u202egp4.\u2066x\u200b.mp4",
    "a\nb\r\x00\x1b[31m.mp4",
    "\udcff.mp4",
    "עברית عربي.mp4",
]


def page(reports: Iterable[Report], illustrate: Illustrate | None = None, **options: int) -> str:
    made = Page(illustrate=illustrate, **options)
    items = [made.item(report) for report in reports]
    return made.head() + "".join(items) + made.tail()


def hostile(name: str) -> Report:
    """A report in which every text that a file can bring is `name`."""
    made = title(60, path=name)
    assert made.detail is not None
    media = dataclasses.replace(
        made.detail.media, container=name, video_codec=name, audio_codec=name
    )
    return dataclasses.replace(
        made,
        audio_tracks=(Track(0, name, name, name, True), Track(1, name, name, name, False)),
        video_tracks=(Track(0, name, name, name, True),),
        degraded=Degraded(notes=(name,)),
        detail=dataclasses.replace(made.detail, media=media),
        avcheck_version=name,
    )
