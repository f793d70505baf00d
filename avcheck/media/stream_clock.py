"""The clock of the stream that a file was taken from: picture and sound of one stream can lie in
files of their own.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from av.container import InputContainer

from avcheck.media.container import origin_s_of
from avcheck.media.mp4 import index_of
from avcheck.media.transport import TICKS_S, WRAP

# Two files of one stream begin at different times. What was cut out of a film counts from zero or
# thereabouts; two streams are further apart.
_LEAST_S, _APART_S = 5.0, 10.0

# Fragments are made to be played by one clock, also near zero: a packager whose first picture is
# due at 80 ms, as B-pictures are decoded ahead, has the sound wait for it.
_FRAGMENTS_APART_S = 5.0

# Formats in which HLS has sound without a container, with a tag in front that says when it is due
# (RFC 8216, 3.4)
_PACKED = frozenset({"aac", "ac3", "eac3", "mp3"})
_STAMP = b"com.apple.streaming.transportStreamTimestamp\0"
_TAG = 4096  # bytes at the beginning in which it is looked for

_TURN_S = WRAP / TICKS_S


@dataclass(frozen=True)
class StreamClock:
    """The clock of a stream, as a file taken from it shows it."""

    begin_s: float  # when the file begins, by its own timestamps
    turns: bool = False  # they begin again at zero, as in a transport stream every 26.5 hours
    fragments: bool = False  # it is an mp4 in fragments that say when they begin
    packed: bool = False  # it is sound without a container, and says when it begins

    def ahead_of(self, film: StreamClock) -> float | None:
        """How long after the film this file begins; None if the two share no clock."""
        ahead_s = self.begin_s - film.begin_s
        firsts_s = sorted((self.begin_s, film.begin_s))
        turned = self.turns and film.turns and abs(ahead_s) > _TURN_S / 2
        if turned:
            ahead_s -= _TURN_S if ahead_s > 0 else -_TURN_S
        made_for_it = (self.fragments and film.fragments) or (
            self.packed and (film.fragments or film.turns)
        )
        if made_for_it and abs(ahead_s) < _FRAGMENTS_APART_S:
            return ahead_s
        # The one behind the turn may begin near zero.
        far_from_zero = firsts_s[1 if turned else 0] >= _LEAST_S
        return ahead_s if far_from_zero and abs(ahead_s) < _APART_S else None


def stream_clock_of(container: InputContainer, path: Path) -> StreamClock:
    """The clock by which a file counts; zero for a kind of file that never has a stream's."""
    if container.format.name == "mpegts":
        return StreamClock(origin_s_of(container) % _TURN_S, turns=True)
    if "matroska" in container.format.name:
        return StreamClock(origin_s_of(container))
    if container.format.name in _PACKED:
        return _packed_clock(path)
    index = index_of(path)
    return StreamClock(index.begin_s, fragments=bool(index.fragment_ends_s))


def _packed_clock(path: Path) -> StreamClock:
    with path.open("rb") as file:
        head = file.read(_TAG)
    at = head.find(_STAMP) + len(_STAMP)
    if not head.startswith(b"ID3") or at < len(_STAMP) or at + 8 > len(head):
        return StreamClock(0.0)
    ticks = int.from_bytes(head[at : at + 8], "big") % WRAP
    return StreamClock(ticks / TICKS_S, turns=True, packed=True)


def clock_at(zero: int) -> StreamClock:
    """The clock of a transport stream that begins at this timestamp, in ticks."""
    return StreamClock(zero / TICKS_S % _TURN_S, turns=True)
