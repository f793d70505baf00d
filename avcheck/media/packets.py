"""Packets and frames of one stream: damage is counted and skipped, and decoding goes on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from avcheck.media.base import (
    MAX_PIXELS,
    ROUNDING_S,
    STALE_S,
    Retime,
    Source,
    Tally,
    cannot_seek,
    frame_time_s,
    timed_out,
)
from avcheck.media.order import ShowOrder

# A frame this far ahead of the one before is believed only if the next one does not go back
FAR_S = 10.0

READ_FAILURES = 64  # failed reads in a row after which the rest counts as lost

# If the key frame lies further before the place asked for, seeking is no cheaper than going on
RUN_UP_S = 30.0

# How far before the place asked for to seek to, one after another until a key frame lies before it:
# some formats seek by decoding time, which is a few pictures ahead, and an MPEG-TS has no index of
# key frames.
_BACK_S = (0.0, 0.2, 2.0, 6.0, 12.0, 24.0)

# Formats whose timestamps after a seek are those of a decode from the start; in the others they are
# guessed from bit rates.
SEEKABLE = frozenset({"mp4", "matroska", "mpegts", "wav"})


def prepare(container: InputContainer, streams: Sequence[Stream], threads: int) -> None:
    """Set the decoders up before their first packet, and have the demuxer skip every other
    stream.
    """
    for stream in container.streams:
        if stream not in streams:
            stream.discard = Discard.all
    for stream in streams:
        context = stream.codec_context
        context.thread_type = "NONE" if threads == 1 else "AUTO"
        context.thread_count = threads
        if isinstance(stream, VideoStream):
            # In av.open it has no effect; here it also covers a size that changes in mid-stream.
            context.options = {"max_pixels": str(MAX_PIXELS)}


def raise_if_memory_is_short(error: Exception) -> None:
    """Raise an error again if it only says that memory is short, and nothing about the file.

    FFmpeg says the same of damage that claims more memory than it ever allocates, and of a stream
    too many. It is believed if there is no room for the largest picture that is decoded.
    """
    if isinstance(error, av.error.MemoryError):
        with suppress(MemoryError):
            # Four planes of 16 bits, untouched, so they cost nothing
            np.empty(8 * MAX_PIXELS, np.uint8)
            return
    if isinstance(error, MemoryError):
        raise error


def pcm_bits(codec: str) -> int:
    """Bits of one sample of PCM, by FFmpeg's name of the codec, such as "pcm_s16le"; 8 for A-law
    and its kin, whose names do not say.
    """
    digits = "".join(char for char in codec.removeprefix("pcm_") if char.isdigit())
    return int(digits or 8)


class Decoder:
    """Decodes the packets of one stream. A packet that does not decode is counted and skipped;
    PyAV's own loop would stop.
    """

    def __init__(self, container: InputContainer, stream: Stream, tally: Tally) -> None:
        self._tally = tally
        self._least = 0  # bytes; with fewer, a packet of PCM ends the stream and holds no sound
        if isinstance(stream, AudioStream) and stream.codec_context.name.startswith("pcm_"):
            context = stream.codec_context
            self._least = context.layout.nb_channels * pcm_bits(context.name) // 8
        self._order = (
            ShowOrder(container, stream, tally) if isinstance(stream, VideoStream) else None
        )

    def decode(self, packet: Packet[Any]) -> list[Any]:
        """The frames that this packet completes, and frames held back until their times were
        known.
        """
        if not packet.size and packet.pts is not None:  # Theora: the picture before stays
            return []
        if 0 < packet.size < self._least:
            return []
        if self._order is not None:
            self._order.taken(packet)
        try:
            frames: list[Any] = packet.decode()
        except (EOFError, BlockingIOError):
            return []
        except (av.error.FFmpegError, MemoryError, ValueError) as error:
            raise_if_memory_is_short(error)
            self._tally.lost += 1
            return []
        return frames if self._order is None else self._order.shown(frames)

    def rest(self) -> list[Any]:
        """The frames still held back, at the end of the packets."""
        return [] if self._order is None else self._order.rest()


def decoded_frames(
    container: InputContainer, stream: Stream, tally: Tally, packets: Iterator[Packet[Any]]
) -> Iterator[Any]:
    """The decoded frames of one stream's packets."""
    decoder = Decoder(container, stream, tally)
    for packet in packets:
        yield from decoder.decode(packet)
    yield from decoder.rest()


def is_seekable(container: InputContainer) -> bool:
    """Whether a check may begin in the middle of this kind of container."""
    return not SEEKABLE.isdisjoint(container.format.name.split(","))


def has_to_seek(from_s: float | None) -> bool:
    """Whether a key frame lies far enough from the beginning to seek back to; nearer, a decode
    starts at the beginning.
    """
    return from_s is not None and from_s > _BACK_S[-1]


def packets_from(
    container: InputContainer,
    stream: Stream,
    tally: Tally,
    from_s: float | None,
    source: Source,
) -> Iterator[Packet[Any]]:
    """The packets of one stream from a key frame on that is due at or before `from_s`, or all of
    them. Raises CannotSeek.
    """
    if from_s is None or not has_to_seek(from_s):
        yield from packets_of(container, [stream], tally, source.retime)
        return
    for back_s in _BACK_S:
        seek(container, stream, from_s - back_s + source.origin_s + source.seek_ahead_s)
        packets = packets_of(container, [stream], tally, source.retime)
        for packet in packets:
            if not packet.is_keyframe or packet.pts is None:
                continue
            due_s = float(packet.pts * (packet.time_base or 0)) - source.origin_s
            if due_s > from_s + ROUNDING_S:
                break
            if due_s < from_s - RUN_UP_S:
                if stream.type == "audio":  # found by pictures whose key frames lie far apart
                    continue
                raise cannot_seek(container)
            yield packet
            yield from packets
            return
    raise cannot_seek(container)


def seek(container: InputContainer, stream: Stream, time_s: float) -> None:
    """Go to a key frame at or before `time_s` on the stream's own clock.

    The index of a Matroska file has the key frames of its pictures alone. To find a place of its
    sound, FFmpeg would read everything before it, so that is found by the pictures.
    """
    if "matroska" in container.format.name and container.streams.video:
        stream = container.streams.video[0]
    try:
        container.seek(round(time_s / float(stream.time_base or 1)), stream=stream, backward=True)
    except (av.error.FFmpegError, OverflowError) as error:
        raise_if_memory_is_short(error)
        raise cannot_seek(container) from None


def dated(
    frames: Iterator[Any], origin_s: float, tally: Tally
) -> Iterator[tuple[float | None, Any]]:
    """The frames with their times, without those whose timestamp is damaged: one such frame would
    make all others late.
    """
    last_s = math.inf
    held: tuple[float, Any] | None = None
    for frame in frames:
        time_s = frame_time_s(frame, origin_s)
        if held is not None:
            if time_s is not None and time_s < held[0]:
                tally.stray += 1
            else:
                yield held
                last_s = held[0]
            held = None
        if time_s is not None and time_s > last_s + FAR_S:
            held = time_s, frame
            continue
        yield time_s, frame
        last_s = last_s if time_s is None else time_s
    if held is not None:
        yield held


def packets_of(
    container: InputContainer, streams: Sequence[Stream], tally: Tally, retime: Retime | None = None
) -> Iterator[Packet[Any]]:
    """The packets of `streams`. A failed read is counted and tried again: it ends PyAV's generator,
    but not the file.
    """
    failures = 0
    while failures < READ_FAILURES:
        try:
            for packet in _kept(container.demux(list(streams))):
                failures = 0
                if retime is not None:
                    retime(packet)
                yield packet
            return
        except av.error.ExitError:
            raise timed_out(Path(container.name.removeprefix("file:"))) from None
        # IndexError: PyAV, when a damaged flv grows a stream
        except (
            av.error.FFmpegError,
            MemoryError,
            IndexError,
        ) as error:
            raise_if_memory_is_short(error)
            failures += 1
            tally.lost += failures == 1


def _kept(packets: Iterator[Packet[Any]]) -> Iterator[Packet[Any]]:
    """The packets, without the mark by which FFmpeg discards what it decodes of them, where that is
    wrong.

    In an mp4 it marks every packet that is due no later than one before. The fragments of one film
    can have two frames of sound begin at the same time, the first without a length: the second has
    no time of its own, and is heard after the first. The fragments of a joined film go far back:
    what they hold has to be counted as left out.
    """
    tops: dict[int, int] = {}  # the latest decoding time of each stream
    for packet in packets:
        stream, due = packet.stream, packet.dts
        top = tops.get(stream.index)
        if due is not None and top is not None and packet.is_discard:
            again = due == top and isinstance(stream, AudioStream)
            if again or (top - due) * (packet.time_base or 0) > STALE_S:
                kept: Packet[Any] = Packet(bytes(packet))
                kept.stream, kept.dts, kept.time_base = stream, due, packet.time_base
                if not again:
                    kept.pts, kept.duration = packet.pts, packet.duration
                packet = kept
        if due is not None:
            tops[stream.index] = due if top is None else max(top, due)
        yield packet
