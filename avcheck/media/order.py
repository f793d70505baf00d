"""When the decoded pictures of a stream are shown, if its container does not say so, or says
something else.

A decoder gives pictures in the order they are shown, so their presentation times rise. If the times
of a file do not, they are decoding times: those of H.264 with B-pictures in an MXF without temporal
offsets, or in an mp4 made of an AVI. ASF has only one time for each picture: the decoding time,
too. A picture is then shown when the packet that completes it is decoded, as in FFmpeg
(`best_effort_timestamp`) and mpv; its time is moved by no more than the codec's reordering.

AVI counts its packets, and the first is due at the beginning of the sound. Not every packet is a
picture: it may be the second field of one, or only say that the last picture stays. So each picture
takes the place of the packet that it begins with, and if pictures are reordered, the n-th one shown
takes the n-th of these places. The same goes for packets that a Matroska took over from an AVI.
"""

from __future__ import annotations

import heapq
from collections import deque
from itertools import pairwise

from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from avcheck.media.base import STALE_S, Tally

# Pictures held back at most, and pixels in them, until it is clear which times these are: an
# encoder that may use B-pictures often begins without.
HELD_MOST, HELD_LEAST, HELD_PIXELS = 128, 8, 50_000_000

# How far a codec moves a picture: x264 puts up to 16 B-pictures in a row
_MOVED_MOST = 18

# Containers with one time for each packet; FFmpeg takes it for the decoding time
_ONE_TIME = frozenset({"avi", "asf"})


class ShowOrder:
    """Gives the decoded pictures of one stream the times at which they are shown, in the stream's
    time base.

    Packets go through `taken`, pictures through `shown`; at the end `rest` gives those held back. A
    picture without a known time gets None.
    """

    def __init__(self, container: InputContainer, stream: VideoStream, tally: Tally) -> None:
        self._stream = stream
        self._tally = tally
        as_avi = has_avi_packets(container, stream)
        self._one_time = as_avi or container.format.name in _ONE_TIME
        self._places = _Places(stream, tally) if as_avi else None
        self._last_packet: int | None = None
        # A program stream dates one picture of a PES packet, and FFmpeg counts on from there. It
        # dates the picture whose own header is the first in the packet; but if a sequence header
        # came before it, in the last packet, the next picture is meant.
        self._counted = container.format.name == "mpeg"
        self._ahead = 0  # by which the last picture to go ahead did so
        self._decided = self._counted or self._one_time
        self._decoding = False  # whether the times are decoding times
        self._lead: int | None = None  # of a packet's presentation time over its decoding time
        self._held: list[VideoFrame] = []
        self._last: int | None = None
        self._stale = STALE_S / float(stream.time_base or 1)

    def taken(self, packet: Packet[VideoStream]) -> None:
        """Prepare a packet that is about to be decoded, and learn from its times."""
        if self._one_time and packet.size:
            # The decoder passes the presentation time of a picture's first packet on to the
            # picture. A packet that holds two fields is two packets here, the second undated.
            packet.dts = self._last_packet if packet.dts is None else packet.dts
            packet.pts = packet.dts if packet.pts is None else packet.pts
            self._last_packet = packet.dts
        elif not self._decided and packet.pts is not None and packet.dts is not None:
            # If it varies from picture to picture, presentation differs from decoding.
            lead = packet.pts - packet.dts
            self._decided = self._lead is not None and lead != self._lead
            self._lead = lead

    def shown(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        """These frames and those held back, with their times; or none yet."""
        if self._places is not None:
            return self._places.shown(frames)
        self._held += frames
        if frames and not self._decided:
            times = [(frame.pts, frame.dts) for frame in self._held if frame.pts is not None]
            self._decoding = any(
                0 < before - after < self._stale for (before, _), (after, _) in pairwise(times)
            )
            self._decided = (
                self._decoding
                or not self._stream.codec_context.has_b_frames
                or len(times) < len(self._held)
                or len(times) >= min(HELD_MOST, _room_for(frames[0]))
            )
            if self._decoding:
                first_pts, first_dts = times[0]
                self._tally.decoding_delay_s = float(
                    ((first_dts or first_pts) - first_pts) * (self._stream.time_base or 0)
                )
        return self.rest() if self._decided else []

    def rest(self) -> list[VideoFrame]:
        """The frames held back, with their times."""
        if self._places is not None:
            return self._places.rest()
        decoding = self._decoding or (
            self._one_time and bool(self._stream.codec_context.has_b_frames)
        )
        frames, self._held = self._held, []
        for frame in frames:
            time = frame.dts if decoding or frame.pts is None else frame.pts
            if self._counted:
                time = self._counted_on(frame, time)
            if self._falls_back(time):
                time = frame.dts
            frame.pts = None if self._falls_back(time) else time
            if frame.pts is not None:
                self._last = frame.pts
        return frames

    def _counted_on(self, frame: VideoFrame, time: int | None) -> int | None:
        """The time of a picture of a program stream: if it falls back, it follows the one before.

        If an earlier one went ahead by as much, the pictures since then were late, and this one is
        right.
        """
        if time is None or self._last is None or not frame.duration:
            return time
        ahead = time - self._last - frame.duration
        if ahead > 0:
            self._ahead = ahead
        elif self._falls_back(time):
            owed, self._ahead = self._ahead, 0
            if abs(owed + ahead) >= frame.duration / 2:
                return int(self._last + frame.duration)
        return time

    def _falls_back(self, time: int | None) -> bool:
        """Whether a picture would be shown with the one before, or a little earlier; if much
        earlier, the clock was reset.
        """
        return time is not None and self._last is not None and 0 <= self._last - time < self._stale


class _Places:
    """Lays the pictures of an AVI, in the order they are shown, on the places of the packets that
    they begin with.
    """

    def __init__(self, stream: VideoStream, tally: Tally) -> None:
        self._stream = stream
        self._tally = tally
        self._frames: deque[VideoFrame] = deque()
        self._places: list[int] = []
        self._may_move = stream.codec_context.codec.reorder

    def shown(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        """Those of these frames and of the ones before whose places are certain."""
        for frame in frames:
            place = frame.dts if frame.pts is None else frame.pts
            if place is not None:
                self._frames.append(frame)
                heapq.heappush(self._places, place)
        most = min(_MOVED_MOST, _room_for(frames[0])) if frames and self._may_move else 0
        if not frames or len(self._frames) <= most:
            return []
        # By now the decoder has noticed B-pictures.
        return self._laid(most if self._stream.codec_context.has_b_frames else 0)

    def rest(self) -> list[VideoFrame]:
        return self._laid(0)

    def _laid(self, held: int) -> list[VideoFrame]:
        """All but the last `held` frames, in their places."""
        laid = []
        while len(self._frames) > held:
            frame = self._frames.popleft()
            frame.pts = heapq.heappop(self._places)
            if self._stream.codec_context.has_b_frames and frame.dts is not None:
                # More than the least is a place that was left free
                later_s = float((frame.dts - frame.pts) * (self._stream.time_base or 0))
                least_s = self._tally.decoded_later_s
                self._tally.decoded_later_s = min(later_s, later_s if least_s is None else least_s)
            laid.append(frame)
        return laid


def _room_for(frame: VideoFrame) -> int:
    """How many frames as large as this one may be held back."""
    return max(HELD_LEAST, HELD_PIXELS // (frame.width * frame.height))


def has_avi_packets(container: InputContainer, stream: VideoStream) -> bool:
    """Whether it is an AVI, or a Matroska that keeps the packets of one as they were
    ("V_MS/VFW/FOURCC"). Codecs that have a name of their own there have no four letters.
    """
    return container.format.name == "avi" or (
        "matroska" in container.format.name and bool(stream.codec_context.codec_tag.strip("\0"))
    )
