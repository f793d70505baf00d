"""When pictures are shown whose packets have decoding times only (those of an AVI, and of H.264 in
MXF or ASF). It matters where they are shown in another order than that of the packets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av.error
from av.packet import Packet

from avcheck.fix.moves import Refused
from avcheck.fix.plan import Plan
from avcheck.media.base import Tally
from avcheck.media.container import VIDEO_FORMATS, open_container
from avcheck.media.order import has_avi_packets
from avcheck.media.packets import packets_of, prepare

_UNCLEAR = (
    "its packets do not say when their pictures are shown, and some hold half of a picture; bring "
    "it into .mkv with mkvmerge first"
)


@dataclass(frozen=True)
class Shown:
    """In ticks. times: when the picture of each packet is shown, by the packet's place; earlier: by
    how much all are decoded earlier, so that none is shown before.
    """

    times: Mapping[int, int]
    earlier: int

    def date(self, packet: Packet[Any]) -> None:
        """Give a packet the time at which its picture is shown. A packet that only repeats the last
        picture keeps its place.
        """
        if packet.dts is None:
            raise Refused(_UNCLEAR)
        packet.pts = self.times.get(packet.dts, packet.dts)
        packet.dts -= self.earlier


def shown_by_stream(plan: Plan) -> dict[int, Shown]:
    """When the pictures of each stream of a plan are shown, by stream number, where the new
    container has to know. An AVI does not, nor does a container of the format that the packets come
    from. Raises Refused where it is unclear.
    """
    if plan.muxer == "avi":
        return {}
    pictures = [each.index for each in plan.streams if each.kind == "video" and each.is_written]
    each_shown = (
        (index, shown_in(plan.source, index, copied=plan.same_format)) for index in pictures
    )
    return {index: shown for index, shown in each_shown if shown is not None}


def shown_in(source: Path, index: int, *, copied: bool) -> Shown | None:
    """When the pictures of a stream are shown whose packets have decoding times only. None for
    other streams, and where pictures are shown in the order of their packets.

    As in `media.order`, the n-th picture shown takes the n-th place of an AVI, and elsewhere the
    time at which it is decoded. So all pictures are decoded.

    Args:
        source: The old file.
        index: The number of the stream in it.
        copied: Whether the new file has the same format; then only an AVI's packets matter.

    Raises:
        Refused: It is unclear when they are shown.
    """
    with open_container(source, VIDEO_FORMATS) as container:
        stream: Any = container.streams[index]
        as_avi = has_avi_packets(container, stream)
        context = stream.codec_context
        if not context.codec.reorder or not (as_avi or (context.has_b_frames and not copied)):
            return None
        prepare(container, [stream], 0)
        shown: list[tuple[int | None, int | None]] = []  # where each is sent, and when decoded
        for packet in packets_of(container, [stream], Tally()):
            if not as_avi and packet.pts not in (None, packet.dts):
                return None
            packet.pts = packet.dts  # which the decoder passes on to the packet's picture
            with suppress(av.error.FFmpegError):
                shown += [(frame.pts, frame.dts) for frame in packet.decode()]
    known = [place for place, _ in shown if place is not None]
    in_order = sorted(known)
    if known == in_order:
        return None
    if len(set(known)) < len(shown):
        raise Refused(_UNCLEAR)
    times = in_order if as_avi else _decoded(in_order, [time for _, time in shown])
    shown_at = dict(zip(known, times, strict=True))
    return Shown(shown_at, max(0, *(place - time for place, time in shown_at.items())))


def _decoded(places: Sequence[int], times: Sequence[int | None]) -> list[int]:
    """The times at which pictures are decoded. The last ones come out at the end of the stream,
    without a time: theirs is as long after their place as that of the first.
    """
    delay = (places[0] if times[0] is None else times[0]) - places[0]
    return [
        place + delay if time is None else time for place, time in zip(places, times, strict=True)
    ]
