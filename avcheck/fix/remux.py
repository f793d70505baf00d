"""Write the new file: every stream of the plan, packet by packet, with what PyAV does not copy by
itself.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.packet import Packet

from avcheck.errors import is_disk_full
from avcheck.fix.encode import Encoder
from avcheck.fix.formats import (
    MOV,
    OWN_TAGS,
    SILENCE,
    TOGETHER,
    add_stream,
    attach,
    encoder_of,
    is_attached,
    is_cover,
    name_instead,
    reel_of,
    tags_of,
)
from avcheck.fix.moves import Move, Refused
from avcheck.fix.pcm import PcmLayout
from avcheck.fix.plan import Plan, StreamPlan
from avcheck.fix.shown import shown_by_stream
from avcheck.media.base import JITTER_S, reason_of, timed_out
from avcheck.media.container import (
    VIDEO_FORMATS,
    Clock,
    clock_of,
    open_container,
    origin_s_of,
)
from avcheck.media.packets import pcm_bits

# What a writer raises that has no place for a stream
_NOT_HERE = (av.error.PatchWelcomeError, av.error.InvalidDataError, av.error.ArgumentError)
_CLOSE_S = 0.0002  # a gap that does not matter
_TICKS = 90_000  # a second at least, of times that are moved


@dataclass
class Ledger:
    """What was written of one stream. times_s: when each packet is due on the old file's clock, as
    moved; sums: a checksum of the bytes of each; whole: of all bytes one after the other.
    """

    plan: StreamPlan  # what becomes of the stream
    times_s: list[float] = field(default_factory=list)
    sums: list[int] = field(default_factory=list)
    whole: int = 0
    is_cover: bool = False  # which has a checksum, but no time where it is an attachment


def write(plan: Plan, target: Path, *, chapters_later_s: float = 0.0) -> dict[int, Ledger]:
    """Write `target`, and return what was written, by the number that the stream of the new file is
    read under. `chapters_later_s`: how much later all streams come out, which chapters do not by
    themselves.

    Raises MediaError, OSError, and Refused if the container does not take it; `target` may then be
    left behind, incomplete.
    """
    with open_container(plan.source, VIDEO_FORMATS) as reader:
        writer = av.open(str(target.absolute()), "w", format=plan.muxer, options=dict(plan.options))
        try:
            ledgers = _Copy(plan, reader, writer).run(chapters_later_s)
        except av.error.FFmpegError as error:
            if is_disk_full(error):  # the container is not to blame
                raise
            main = [reader.streams[index] for index in (plan.main_video, plan.measured)]
            is_refusal = isinstance(error, _NOT_HERE)
            remedy = name_instead(reader, main, plan.muxer) if is_refusal else ""
            raise Refused(
                f"the new file cannot be written as {plan.muxer}: {reason_of(error)}{remedy}"
            ) from error
        finally:
            with suppress(av.error.FFmpegError):
                writer.close()
    return _as_read(ledgers, target)


def _moved_chapters(chapters: list[Any], later_s: float) -> list[Any]:
    """The chapters, so much later."""
    made = []
    for each in chapters:
        ticks = round(later_s / each["time_base"])
        made.append({**each, "start": each["start"] + ticks, "end": each["end"] + ticks})
    return made


def _as_read(ledgers: list[Ledger], target: Path) -> dict[int, Ledger]:
    """The ledgers by the numbers that their streams are read under: FLV numbers streams anew, by
    which of them comes first, and cover art has a place of its own. Those of one kind keep their
    order.
    """
    numbers: dict[tuple[str, bool], list[int]] = {}
    with open_container(target, VIDEO_FORMATS) as reader:
        for stream in reader.streams:
            numbers.setdefault((stream.type, is_cover(stream)), []).append(stream.index)
    read: dict[int, Ledger] = {}
    for ledger in sorted(ledgers, key=lambda each: each.is_cover):
        kind = ledger.plan.kind
        left = numbers.get((kind, ledger.is_cover)) or numbers.get((kind, False), [])
        number = left.pop(0) if left else None
        if number is None:
            name = f"{ledger.plan.kind} stream {ledger.plan.index}"
            raise Refused(f"in the new file {name} would be missing; name it .mkv")
        read[number] = ledger
    return read


def _picture_of(path: Path, index: int) -> bytes:
    """The picture of a stream that is cover art."""
    with open_container(path, VIDEO_FORMATS) as reader:
        packets = reader.demux(reader.streams[index])
        return next((bytes(packet) for packet in packets if packet.size), b"")


@dataclass
class _Cut:
    """How far a track has been written. A packet that would begin while the piece before the cut
    still plays is left out.
    """

    piece: Move
    end: int = 0  # of the last packet, in ticks
    until: int | None = None  # of the piece before


class _Copy:
    """One pass over the packets of a file."""

    def __init__(self, plan: Plan, reader: Any, writer: Any) -> None:
        self._plan = plan
        self._reader = reader
        self._writer = writer
        self._clocks: dict[int, Clock] = {}
        self._outputs: dict[int, Any] = {}
        self._ledgers: dict[int, Ledger] = {}
        self._layouts: dict[int, PcmLayout] = {}
        self._encoders: dict[int, Encoder] = {}
        self._cuts: dict[int, _Cut] = {}
        self._shown = shown_by_stream(plan)
        # Whatever a transport stream counts from: elsewhere, nothing would be shown up to there
        self._begins_anew = not plan.same_format and "mp4" not in reader.format.name

    def run(self, chapters_later_s: float) -> list[Ledger]:
        """Write everything; what was written, in the order of the new file's streams."""
        self._add_streams()
        writer = self._writer
        tags = {
            key: value
            for key, value in self._reader.metadata.items()
            if key.lower() not in OWN_TAGS
        }
        writer.metadata.update(tags)
        if self._begins_anew:
            chapters_later_s -= origin_s_of(self._reader)
        writer.set_chapters(_moved_chapters(self._reader.chapters(), chapters_later_s))
        for packet in _dated(self._packets()):
            for made in self._new_packets(packet):
                writer.mux(made)
        for index, encoder in self._encoders.items():
            for made in encoder.rest():
                made.stream = self._outputs[index]
                writer.mux(made)
        for index, layout in self._layouts.items():
            for made in self._pcm(index, layout.rest()):
                writer.mux(made)
        writer.close()
        return list(self._ledgers.values())

    def _add_streams(self) -> None:
        for each in self._plan.streams:
            if not each.is_written:
                continue
            stream = self._reader.streams[each.index]
            if is_attached(stream, self._plan.muxer):
                picture = _picture_of(self._plan.source, each.index)
                attach(self._writer, stream, picture)
                self._ledgers[each.index] = Ledger(each, sums=[zlib.crc32(picture)], is_cover=True)
                continue
            if each.action == "encoded":
                self._outputs[each.index] = made = self._encoded_stream(stream, each)
                self._encoders[each.index] = Encoder(
                    stream,
                    made,
                    self._plan.moves,
                    self._kept_origin_s(stream),
                    as_long=self._plan.muxer in TOGETHER,
                )
            else:
                self._outputs[each.index] = add_stream(
                    self._writer, stream, same_format=self._plan.same_format
                )
            if each.index == self._plan.main_video and self._plan.muxer in MOV:
                self._outputs[each.index].metadata.update(reel_of(self._reader))
            if each.action == "rewritten":
                context = stream.codec_context
                frame = context.layout.nb_channels * pcm_bits(each.codec) // 8
                self._layouts[each.index] = PcmLayout(
                    self._plan.moves, context.sample_rate, frame, SILENCE[each.codec]
                )
            self._ledgers[each.index] = Ledger(each, is_cover=is_cover(stream))

    def _encoded_stream(self, stream: Any, plan: StreamPlan) -> Any:
        context = stream.codec_context
        name = encoder_of(plan.codec) or plan.codec
        made = self._writer.add_stream(name, rate=context.sample_rate, layout=context.layout.name)
        if context.bit_rate and plan.codec not in SILENCE:
            made.bit_rate = context.bit_rate
        formats = made.codec_context.codec.audio_formats or []
        if context.format is not None and context.format.name in {each.name for each in formats}:
            made.codec_context.format = context.format.name
        made.disposition = stream.disposition
        made.metadata.update(tags_of(stream))
        return made

    def _clock(self, stream: Any) -> Clock:
        if stream.index not in self._clocks:
            self._clocks[stream.index] = clock_of(self._reader, self._plan.source, stream)
        return self._clocks[stream.index]

    def _kept_origin_s(self, stream: Any) -> float:
        """The timestamp that is zero of the new file's clock."""
        return 0.0 if self._begins_anew else self._clock(stream).origin_s

    def _packets(self) -> Iterator[Packet[Any]]:
        """Every packet of the streams that are written, with the presentation time that its
        container states.
        """
        streams = [
            self._reader.streams[index]
            for index in self._outputs
            if self._reader.streams[index].type != "attachment"
        ]
        try:
            for packet in self._reader.demux(streams):
                self._retime(packet)
                yield packet
        except av.error.ExitError:
            raise timed_out(self._plan.source) from None
        except av.error.FFmpegError as error:
            raise Refused(
                f"the file is damaged ({reason_of(error)}); a copy would lose what comes after"
            ) from error

    def _retime(self, packet: Packet[Any]) -> None:
        """Give a packet the presentation time that its container or codec states; its decoding time
        keeps its distance from that.
        """
        shown = self._shown.get(packet.stream.index)
        if shown is not None and packet.size:
            shown.date(packet)
        retime = self._clock(packet.stream).retime
        if retime is None:
            return
        was = packet.pts
        retime(packet)
        if was is not None and packet.pts is not None and packet.dts is not None:
            packet.dts += packet.pts - was

    def _new_packets(self, packet: Packet[Any]) -> Iterator[Packet[Any]]:
        index = packet.stream.index
        ledger = self._ledgers[index]
        action = ledger.plan.action
        clock = self._clock(packet.stream)
        if action == "encoded":
            for made in self._encoders[index].take(packet, -clock.origin_s):
                made.stream = self._outputs[index]
                yield made
            return
        if not packet.size or packet.time_base is None or is_filler(packet, ledger.plan.codec):
            return
        if packet.dts is None and is_cover(packet.stream):
            packet.pts = packet.dts = 0  # a picture for the whole film
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None:
            raise Refused("the file has packets without a time; remux it to mkv first")
        due_s = float(stamp * packet.time_base) - clock.origin_s
        if self._begins_anew and not is_cover(packet.stream):
            ticks = round(Fraction(clock.origin_s) / packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - ticks
            packet.dts = None if packet.dts is None else packet.dts - ticks
        if action == "rewritten":
            yield from self._pcm(index, self._layouts[index].take(due_s, bytes(packet)))
            return
        if action == "moved":
            _refine(packet)
            later = self._later(packet, due_s)
            if later is None:
                return
            packet.pts = None if packet.pts is None else packet.pts + later
            packet.dts = None if packet.dts is None else packet.dts + later
            due_s += float(later * packet.time_base)
        packet.stream = self._outputs[index]
        ledger.times_s.append(due_s)
        ledger.sums.append(zlib.crc32(packet))
        ledger.whole = zlib.crc32(packet, ledger.whole)
        yield packet

    def _later(self, packet: Packet[Any], due_s: float) -> int | None:
        """By how many ticks a packet of the sound comes later; None if a cut removes it."""
        tick_s = Fraction(packet.time_base or 1)
        length = packet.duration or 0
        piece = self._plan.moves.at(due_s + float(length * tick_s) / 2)
        later = round(Fraction(piece.later_s) / tick_s)
        if not self._plan.moves.jumps or packet.dts is None:
            return later
        start = packet.dts + later
        cut = self._cuts.setdefault(packet.stream.index, _Cut(piece))
        if piece is not cut.piece:
            cut.piece, cut.until = piece, cut.end
        if cut.until is not None and _collides(float((start - cut.until) * tick_s)):
            return None
        cut.end = start + length
        return later

    def _pcm(self, index: int, runs: Iterator[tuple[int, bytes]]) -> Iterator[Packet[Any]]:
        """Runs of samples as packets of the new file."""
        stream = self._reader.streams[index]
        rate = stream.codec_context.sample_rate
        for first, run in runs:
            made: Packet[Any] = Packet(run)
            made.stream = self._outputs[index]
            made.time_base = Fraction(1, rate)
            made.pts = made.dts = first + round(self._kept_origin_s(stream) * rate)
            made.is_keyframe = True
            yield made


def _collides(gap_s: float) -> bool:
    """Whether a packet that begins so long after the piece before a cut has ended has to be left
    out: a reader takes a small gap or overlap for jitter, and would play what follows that much off
    its place.
    """
    return gap_s < 2 * JITTER_S and abs(gap_s) > _CLOSE_S


def _refine(packet: Packet[Any]) -> None:
    """Count a packet's times in ticks fine enough to move it: those of AVI are as long as a packet
    of MP3, 24 ms.
    """
    parts = math.ceil(packet.time_base * _TICKS)
    packet.pts = None if packet.pts is None else packet.pts * parts
    packet.dts = None if packet.dts is None else packet.dts * parts
    packet.duration = (packet.duration or 0) * parts
    packet.time_base = packet.time_base / parts


def is_filler(packet: Packet[Any], codec: str) -> bool:
    """Whether a packet says that no subtitle is shown: writers of mp4 insert these themselves, and
    would have them twice.
    """
    return codec == "mov_text" and bytes(packet) == bytes(2)


def _dated(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """The same packets, each with a decoding time: the first ones of matroska with B-pictures have
    none, not even the key frame, and FFmpeg's muxers lose packets without one.
    """
    waiting: dict[int, list[Packet[Any]]] = {}
    for packet in packets:
        index = packet.stream.index
        held = waiting.get(index, [])
        if packet.dts is None and packet.size and packet.stream.type == "video":
            waiting.setdefault(index, []).append(packet)
            continue
        if packet.dts is not None and held:
            after = packet.dts
            for each in reversed(held):
                after -= each.duration or 1
                each.dts = after
            yield from held
            del waiting[index]
        yield packet
    for held in waiting.values():
        for each in held:
            each.dts = each.pts
        yield from held
