"""What a file holds besides its packets, and what of that a new file lacks: a fix says what it
could not keep.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av.error
from av.stream import Disposition
from av.video.stream import VideoStream

from avcheck.fix.formats import OWN_TAGS, tags_of
from avcheck.fix.plan import Plan
from avcheck.fix.remux import Ledger
from avcheck.media.container import VIDEO_FORMATS, open_container

# Tags that a writer sets itself, or that count what is in a stream.
_OWN = re.compile(
    r"(_statistics.*|bps|number_of_.*|creation_time|modification_date|vendor_id|variant_bitrate|software|application_platform"
    r"|(company|product|toolkit)_.*|.*_?umid|(generation_)?uid|operational_pattern_ul)(-[a-z]{3})?"
)
_ANYWHERE = frozenset({"timecode", "reel_name"})  # tags kept where each container has them
_Chapter = tuple[float, float, str]  # start and end in ms, and the title
_ROUNDED_MS = 1.5  # how far off the times of a chapter may be in another container
_DEFAULT_HANDLERS = re.compile(r"handler|media", re.IGNORECASE)


@dataclass(frozen=True)
class StreamFacts:
    """A stream as its container describes it."""

    tags: tuple[tuple[str, str], ...]  # key and value, in order
    disposition: int  # FFmpeg's flags
    description: tuple[tuple[str, str], ...]  # what the codec's parameters say, key and value


def lost(
    plan: Plan, target: Path, ledgers: dict[int, Ledger], later_ms: float = 0.0
) -> tuple[str, ...]:
    """What the old file has and the new one lacks, in words; the plan lists dropped streams.
    `later_ms`: how much later everything is in the new one.
    """
    with (
        open_container(plan.source, VIDEO_FORMATS) as old,
        open_container(target, VIDEO_FORMATS) as new,
    ):
        return tuple(_lost(plan, old, new, ledgers, later_ms))


def _lost(
    plan: Plan, old: Any, new: Any, ledgers: dict[int, Ledger], later_ms: float
) -> Iterator[str]:
    kept = _written(new.metadata)
    for key, value in _written(old.metadata).items():
        if kept.get(key) != value:
            yield f"the tag {key}"
    if not _same_chapters(_chapters(old), _chapters(new), later_ms):
        yield "chapters"
    for index, ledger in ledgers.items():
        stream = ledger.plan
        yield from _lost_of(
            f"{stream.kind} stream {stream.index}",
            _facts(old.streams[stream.index]),
            _facts(new.streams[index]),
            is_same_codec=plan.same_format and stream.action != "encoded",
        )
    shows = _first_picture(new, _new_index(plan, ledgers))
    yield from (fact for fact in _first_picture(old, plan.main_video) if fact not in shows)
    if _timecode(old) != _timecode(new):
        yield "the timecode"
    if _reel(old) != _reel(new):
        yield "the name of the reel"


def _lost_of(
    name: str, before: StreamFacts, after: StreamFacts, *, is_same_codec: bool
) -> Iterator[str]:
    """What one stream has and its successor lacks; another container or codec describes itself in
    its own words.
    """
    tags, description = dict(after.tags), dict(after.description)
    yield from (f"the tag {key} of {name}" for key, value in before.tags if tags.get(key) != value)
    if gone := Disposition(before.disposition & ~after.disposition):
        yield f"the flag {'|'.join(flag.name or '' for flag in gone)} of {name}"
    if is_same_codec:
        for key, value in before.description:
            if description.get(key) != value:
                yield f"the {key} of {name} ({value})"


def _new_index(plan: Plan, ledgers: dict[int, Ledger]) -> int:
    return next(index for index, ledger in ledgers.items() if ledger.plan.index == plan.main_video)


def _written(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags that somebody wrote, by their names in small letters."""
    return {
        key.lower(): value
        for key, value in tags.items()
        if not (key.lower() in OWN_TAGS | _ANYWHERE or _OWN.fullmatch(key.lower()))
    }


def _facts(stream: Any) -> StreamFacts:
    tags = _written(tags_of(stream))
    if _DEFAULT_HANDLERS.search(tags.get("handler_name", "handler")):
        tags.pop("handler_name", None)
    if tags.get("language") == "und":
        del tags["language"]
    description: list[tuple[str, str]] = []
    context = stream.codec_context
    if context is not None:
        with suppress(UnicodeError):
            description.append(("codec tag", context.codec_tag))
        if isinstance(stream, VideoStream):
            for name in ("color_primaries", "color_trc", "colorspace", "color_range"):
                description.append((name, str(int(getattr(context, name)))))
            description.append(("pixel shape", str(context.sample_aspect_ratio or Fraction(1))))
    return StreamFacts(tuple(tags.items()), int(stream.disposition), tuple(description))


def _same_chapters(old: list[_Chapter], new: list[_Chapter], later_ms: float) -> bool:
    return len(old) == len(new) and all(
        was[2] == now[2]
        and abs(now[0] - was[0] - later_ms) <= _ROUNDED_MS
        and abs(now[1] - was[1] - later_ms) <= _ROUNDED_MS
        for was, now in zip(old, new, strict=True)
    )


def has_chapters(path: Path) -> bool:
    """Whether a file has chapters."""
    with open_container(path, VIDEO_FORMATS) as container:
        return bool(container.chapters())


def _chapters(container: Any) -> list[_Chapter]:
    chapters: list[_Chapter] = []
    for each in container.chapters():
        start_ms, end_ms = (
            1000 * float(each[side] * each["time_base"]) for side in ("start", "end")
        )
        chapters.append((start_ms, end_ms, each["metadata"].get("title", "")))
    return chapters


def _timecode(container: Any) -> str | None:
    """That of the file or of a stream, wherever its container keeps it."""
    return next(_named("timecode", container), None)


def _reel(container: Any) -> str | None:
    return next(_named("reel_name", container), None)


def _named(name: str, container: Any) -> Iterator[str]:
    for each in (container, *container.streams):
        yield from (value for key, value in each.metadata.items() if key.lower() == name)


def _first_picture(container: Any, index: int) -> list[str]:
    """The rotation and side data (for one, mastering display) of the first picture that decodes."""
    stream = container.streams[index]
    with suppress(av.error.FFmpegError):
        for number, packet in enumerate(container.demux(stream)):
            for frame in packet.decode():
                turned = [f"the rotation by {frame.rotation} degrees"] if frame.rotation else []
                return turned + sorted(
                    f"side data {_kind(each)} of the pictures" for each in frame.side_data
                )
            if number > 100:
                break
    return []


def _kind(side_data: Any) -> str:
    """The kind of side data by its key, which is the data itself with PyAV 18, and its type with
    19.
    """
    return str(getattr(side_data, "type", side_data).name).lower()
