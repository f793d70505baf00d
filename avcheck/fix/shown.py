"""When the pictures of an AVI are shown, if that is in another order than that of their packets,
which say nothing of it.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    """When the picture of each packet is shown, by the packet's place; and by how much all are
    decoded earlier, so that none is shown before. In ticks.
    """

    times: Mapping[int, int]
    earlier: int

    def date(self, packet: Packet[Any]) -> None:
        """Give a packet the time at which its picture is shown; one that only says that the last
        picture stays keeps its place.
        """
        if packet.dts is None:
            raise Refused(_UNCLEAR)
        packet.pts = self.times.get(packet.dts, packet.dts)
        packet.dts -= self.earlier


def shown_by_stream(plan: Plan) -> dict[int, Shown]:
    """How the pictures of the streams of a plan are shown, where its container has to be told: by
    stream number. An AVI is told nothing. Raises Refused where that is unclear.
    """
    if plan.muxer == "avi":
        return {}
    pictures = [each.index for each in plan.streams if each.kind == "video" and each.is_written]
    each_shown = ((index, shown_in(plan.source, index)) for index in pictures)
    return {index: shown for index, shown in each_shown if shown is not None}


def shown_in(source: Path, index: int) -> Shown | None:
    """For a stream whose packets are those of an AVI; None for others, and where pictures are shown
    in the order of their packets. Raises Refused where that is unclear.

    As in `media.order`, the n-th picture shown takes the n-th place, so all are decoded.
    """
    with open_container(source, VIDEO_FORMATS) as container:
        stream: Any = container.streams[index]
        if not has_avi_packets(container, stream) or not stream.codec_context.codec.reorder:
            return None
        prepare(container, [stream], 0)
        places: list[int | None] = []
        for packet in packets_of(container, [stream], Tally()):
            packet.pts = packet.dts  # which the decoder passes on to the packet's picture
            with suppress(av.error.FFmpegError):
                places += [frame.pts for frame in packet.decode()]
    known = [place for place in places if place is not None]
    in_order = sorted(known)
    if known == in_order:
        return None
    if len(set(known)) < len(places):
        raise Refused(_UNCLEAR)
    times = dict(zip(known, in_order, strict=True))
    return Shown(times, max(place - time for place, time in times.items()))
