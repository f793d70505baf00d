"""The ffmpeg command for a plan, for those who would rather run that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
from av.format import Flags

from avcheck.errors import AvcheckError
from avcheck.fix.formats import MOV, SILENCE, encoder_of, is_attached, reel_of
from avcheck.fix.moves import Refused
from avcheck.fix.plan import Plan, StreamPlan
from avcheck.fix.shown import shown_by_stream
from avcheck.media import open_media
from avcheck.media.container import SOUND_FORMATS, VIDEO_FORMATS, clock_of, open_container
from avcheck.media.mp4 import index_of
from avcheck.media.streams import playing
from avcheck.text.shell import shell_line

# A rate is a whole number; of samples this much finer, it gives the pace to 1.3 millionths
_FINE = 16
_LOOKED_AT = 500  # packets
_UNLIKE_S = Fraction(1, 1_000_000)  # another time to ffmpeg, and none to a file
_MS = Fraction(1, 1000)  # a tick that is fine enough to move sound by
_NEW_IN_MP4 = frozenset({"flac", "truehd"})  # up to ffmpeg 5.1, which refuses them unless told
# From zero on without a gap, as filters and encoders count samples only: where the sound begins
# later, or has gaps, there is silence
_WHOLE = "aresample=async=1:min_hard_comp=0.01:first_pts=0"


def ffmpeg_line(plan: Plan, target: Path) -> tuple[str, tuple[str, ...]]:
    """A line for a POSIX shell, and what it does not do as avcheck does, in sentences.

    Made for ffmpeg 9 and run with 5.1 and 7, which keep less and round times of mp4 to 1 ms. Raises
    Refused if no single line does it.
    """
    if plan.moves.jumps:
        raise Refused(
            "its sound has to be cut, which no single ffmpeg command does; leave --print-command "
            "out"
        )
    if shown_by_stream(plan):
        raise Refused(
            "its packets do not say when their pictures are shown, and ffmpeg would show them a "
            "picture late; leave --print-command out"
        )
    if index_of(plan.source).retimes:
        raise Refused(
            "ffmpeg reads its pictures or its sound at other times than the file says, and would "
            "move what is right; leave --print-command out"
        )
    with open_container(plan.source, VIDEO_FORMATS) as reader:
        line = _Line(plan, reader).words(target), tuple(_notes(plan, reader))
        if not _times_rise(plan, reader):
            raise Refused(
                "two of its packets have the same time, and ffmpeg would give one another; leave "
                "--print-command out"
            )
        return line


def _times_rise(plan: Plan, reader: Any) -> bool:
    """Whether each packet of the pictures and of the measured sound is decoded after the one before
    it, at the beginning of the file.
    """
    streams = [reader.streams[index] for index in (plan.main_video, plan.measured)]
    before: dict[int, int] = {}
    for packet in islice(reader.demux(streams), _LOOKED_AT):
        if packet.dts is None:
            continue
        if packet.dts <= before.get(packet.stream.index, packet.dts - 1):
            return False
        before[packet.stream.index] = packet.dts
    return True


def joining_line(picture: Path, sound: Path) -> str:
    """A line that puts the pictures of one file and the sound of another into one, as late as
    avcheck hears it beside them.
    """
    joined = _file(picture.with_name(f"{picture.stem}-joined.mkv"))
    words = ["ffmpeg", "-n"]
    try:
        offsets_s = _joined_at(picture, sound)
    except AvcheckError:  # which a check of the two names
        offsets_s = (Fraction(0), Fraction(0))
    else:
        words.append("-copyts")  # or ffmpeg begins each file at a time of its own choice
    for path, offset_s in zip((picture, sound), offsets_s, strict=True):
        words += [*_later(offset_s), "-i", _file(path)]
    return shell_line([*words, "-map", "0:V", "-map", "1:a", "-c", "copy", joined])


def _joined_at(picture: Path, sound: Path) -> tuple[Fraction, Fraction]:
    """How much later the timestamps of both files are to come. Raises MediaError."""
    with open_media(picture, audio_path=sound, threads=1) as media:
        info = media.info
    with (
        open_container(picture, VIDEO_FORMATS) as film,
        open_container(sound, SOUND_FORMATS) as other,
    ):
        video: Any = playing(film)[info.video_track]
        origin_s = Fraction(clock_of(film, picture, video).origin_s)
        begins_s = Fraction(other.start_time or 0, av.time_base)
        if _begins_with_what_is_taken(film):
            origin_s -= _UNLIKE_S
    return -origin_s, Fraction(info.first_sound_s or 0.0) - begins_s


def _begins_with_what_is_taken(reader: Any) -> bool:
    """Whether ffmpeg has an input of this format begin with the streams that are taken from it, not
    with the file.

    `-copyts` keeps it from that. ffmpeg 5.1 does it even then if `-itsoffset` has the input begin
    at exactly zero.
    """
    return bool(reader.format.flags & Flags.ts_discont.value)


def _later(offset_s: Fraction) -> list[str]:
    """The option that makes an input later, if there is anything to say."""
    return ["-itsoffset", f"{float(offset_s):.6f}"] if offset_s else []


class _Line:
    """The words of a command.

    Packets that move are read from the file a second time, with other times: the filter `setts`
    would do it in one reading, but up to ffmpeg 5.1 counts in the ticks of the old container.
    """

    def __init__(self, plan: Plan, reader: Any) -> None:
        self._plan = plan
        self._reader = reader
        self._later_s = Fraction(plan.moves.pieces[0].later_s).limit_denominator(1_000_000)
        self._written = [each for each in plan.streams if each.is_written]
        self._moved = [each for each in self._written if each.action == "moved"]
        if any(self._tick_s(each) > _MS for each in self._moved):
            raise Refused(
                "its packets of sound are dated to a whole packet, and ffmpeg moves them by whole "
                "packets only; leave --print-command out"
            )

    def words(self, target: Path) -> str:
        """The line."""
        rest_later_s = self._rest_later_s()
        words = ["ffmpeg", "-n"]
        if self._moved and _begins_with_what_is_taken(self._reader):
            words.append("-copyts")
            rest_later_s += _UNLIKE_S - self._first_s(self._written)
        if self._plan.hides_start:
            words.append("-copyts")  # or everything would begin with what is hidden
        words += self._input(rest_later_s)
        if self._moved:
            words += self._input(rest_later_s + self._later_s)
        for each in self._written:
            words += ["-map", f"{int(each in self._moved)}:{each.index}"]
        words += ["-c", "copy"]
        for number, each in enumerate(self._written):
            words += self._stream(number, each)
        if self._plan.muxer in MOV and any(each.codec in _NEW_IN_MP4 for each in self._written):
            words += ["-strict", "experimental"]
        for option, value in self._plan.options.items():
            words += [f"-{option}", value]
        return shell_line([*words, _file(target)])

    def _input(self, later_s: Fraction) -> list[str]:
        words = _later(later_s)
        if self._plan.hides_start:
            # By its own reading of such an edit list, ffmpeg shows pictures up to one early
            words += ["-advanced_editlist", "0"]
        return [*words, "-i", _file(self._plan.source)]

    def _tick_s(self, stream: StreamPlan) -> Fraction:
        return Fraction(self._reader.streams[stream.index].time_base or 0)

    def _rest_later_s(self) -> Fraction:
        """How much later everything but the sound is to come, so that no sound begins before zero:
        there a writer moves all streams, but leaves the chapters where they are.
        """
        if not self._moved or self._plan.muxer in MOV or not self._reader.chapters():
            return Fraction(0)
        lead_s = self._first_s(self._moved) - self._first_s(self._written)
        needed_s = -self._later_s - lead_s
        grid_s = max([_MS, *map(self._tick_s, self._written)])
        return max(Fraction(0), math.ceil(needed_s / grid_s) * grid_s)

    def _first_s(self, streams: Sequence[StreamPlan]) -> Fraction:
        """When the first of some streams begins."""
        all_of_them = [self._reader.streams[each.index] for each in streams]
        starts_s = [
            each.start_time * each.time_base
            for each in all_of_them
            if each.start_time is not None and each.time_base is not None
        ]
        return min(starts_s, default=Fraction(0))

    def _stream(self, number: int, stream: StreamPlan) -> Iterator[str]:
        """The options of stream `number` of the new file."""
        was = self._reader.streams[stream.index]
        if stream.title and was.metadata.get("title") != stream.title:
            yield from (f"-metadata:s:{number}", f"title={stream.title}")  # mp4 reads it as a name
        if stream.index == self._plan.main_video and self._plan.muxer in MOV:
            for key, value in reel_of(self._reader).items():
                yield from (f"-metadata:s:{number}", f"{key}={value}")
        if stream.action not in ("rewritten", "encoded"):
            return
        filters = ",".join(self._filters(stream, int(was.codec_context.sample_rate)))
        yield from (f"-filter:{number}", filters)
        yield from (f"-c:{number}", encoder_of(stream.codec) or stream.codec)
        if was.codec_context.bit_rate and stream.codec not in SILENCE:
            yield from (f"-b:{number}", str(was.codec_context.bit_rate))

    def _filters(self, stream: StreamPlan, rate: int) -> Iterator[str]:
        """Those that move a sound of so many Hz, which is then encoded."""
        (move,) = self._plan.moves.pieces
        yield _WHOLE
        if stream.action == "encoded":
            fine = _FINE * rate
            yield from (f"aresample={round(fine * move.pace)}", f"asetrate={fine}")
            yield f"aresample={rate}"
        if move.later_s >= 0:
            yield f"adelay={round(move.later_s * rate)}S:all=1"
        else:
            yield from (f"atrim=start={-move.later_s:.6f}", "asetpts=PTS-STARTPTS")
            # As long as it was: MXF ends the pictures where the sound ends.
            yield f"apad=pad_len={round(-move.later_s * rate)}"


def _notes(plan: Plan, reader: Any) -> Iterator[str]:
    """What the line does not do as avcheck does."""
    for each in plan.streams:
        if each.action == "dropped":
            yield f"it leaves out {each.kind} stream {each.index} ({each.why})"
        elif each.kind == "video" and is_attached(reader.streams[each.index], plan.muxer):
            yield (
                f"it makes the cover art (stream {each.index}) a second picture track; without "
                "--print-command that becomes an attachment"
            )
    moved = [each for each in plan.streams if each.is_written and each.action != "copied"]
    if plan.muxer in ("matroska", "webm") and any(each.codec == "opus" for each in moved):
        yield "ffmpeg 5.1 puts Opus in Matroska some ms off its place; 7 and 9 do not"


def _file(path: Path) -> str:
    """A name that ffmpeg takes for neither an option nor a protocol."""
    return f"file:{path}"
