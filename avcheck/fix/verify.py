"""Read the new file back by avcheck's own clock: if anything is not where it should be to a
millisecond, the fix has failed.

First every packet: its bytes and its time. Then what is really heard and seen: the decoded sound
throughout, and the decoded pictures at the start and after a seek. Where the file's zero is the
earliest timestamp (all but mp4), a sound that now begins before the pictures moves that zero, so
only places relative to each other count.
"""

from __future__ import annotations

import zlib
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import AvcheckError, CannotSeek
from avcheck.fix.formats import SILENCE, is_cover
from avcheck.fix.moves import Moves
from avcheck.fix.plan import Plan
from avcheck.fix.remux import Ledger, is_filler
from avcheck.fix.tape import QUIET, Floats, Tape, level
from avcheck.media import Media, Picture, open_media
from avcheck.media.container import VIDEO_FORMATS, Clock, clock_of, open_container
from avcheck.rates import SAMPLE_RATE
from avcheck.verdict.posterior import vertex

EXACT_MS = 1.0
_EVERY_S = 5.0  # between two places where the sound is compared; less in a short title
_WINDOW_S = 1.0  # of sound that is compared at each
_EDGE_S = 0.25  # between such a window and a cut
_PICTURES = 40  # that are decoded and compared at each place
_SEEK_SHARE = 0.6  # of the title, from which pictures are compared after a seek
_ALIKE = 0.9  # correlation of two windows that differ only by coding
_BAND_HZ = 100.0, 3000.0  # the band in which windows are compared
_AS_GOOD = 1e-3  # of a correlation; places this close are equally good
_REACH_MS = 2.0  # around its place, in which a window is searched for
_MOST_UNLIKE = 0.05  # share of the windows that may be unlike: after a cut a codec starts anew


class Failed(AvcheckError):
    """The new file is not as it should be, and is not kept."""


@dataclass(frozen=True)
class Readback:
    """How far off the new file is at worst, in ms, from what was asked for.

    later_ms: how much later all streams, pictures included, are on the file's clock than in the old
    file. identical: the numbers of the streams whose packets are bit by bit those of the old file.
    sound_places, pictures: how many were compared, decoded.
    """

    later_ms: float
    packet_ms: float  # of the times of packets
    sound_ms: float | None  # of the decoded sound; None: not compared
    sound_places: int
    pictures: int
    identical: frozenset[int]


@dataclass
class _Read:
    """The packets of a stream of the new file, beside the `Ledger` of what was written."""

    tick_ms: float = 0.0  # how finely they are timed
    times_s: list[float] = field(default_factory=list)  # of each, on the file's clock
    sums: list[int] = field(default_factory=list)  # of the bytes of each
    whole: int = 0  # of the bytes of all


def read_back(plan: Plan, target: Path, ledgers: dict[int, Ledger]) -> Readback:
    """Compare the new file with the plan. Raises Failed, and MediaError if it cannot be read."""
    reads = _read_packets(target, ledgers)
    (main,) = (index for index, each in ledgers.items() if each.plan.index == plan.main_video)
    (measured,) = (index for index, each in ledgers.items() if each.plan.index == plan.measured)
    if not reads[main].times_s:
        raise Failed("its pictures were lost in writing")
    later_s = reads[main].times_s[0] - ledgers[main].times_s[0]
    packet_ms, identical = 0.0, set()
    for index, ledger in ledgers.items():
        if ledger.plan.action not in ("copied", "moved") or ledger.plan.kind == "attachment":
            continue
        read = reads[index]
        if _is_identical(read, ledger):
            identical.add(ledger.plan.index)
        elif plan.same_format:
            raise Failed(
                f"{_name(ledger)} did not come out as it went in ({len(read.sums)} of "
                f"{len(ledger.sums)} packets)"
            )
        packet_ms = max(packet_ms, _off_ms(read, ledger, later_s))
    exact_ms = EXACT_MS + reads[measured].tick_ms / 2
    with (
        _opened(plan.source, plan.audio_track, plan.video_track) as old,
        _opened(target, plan.new_audio_track, plan.new_video_track) as new,
    ):
        pictures = _pictures(old, new, later_s, target)
        sound_ms, places = _sound(old, new, plan.moves, later_s, exact_ms)
    return Readback(1000 * later_s, packet_ms, sound_ms, places, pictures, frozenset(identical))


def _opened(path: Path, audio_track: int, video_track: int) -> Media:
    """A file by the tracks of the fix, data in the place of samples included."""
    return open_media(
        path, audio_track=audio_track, video_track=video_track, any_sound=True, threads=1
    )


def _read_packets(target: Path, ledgers: dict[int, Ledger]) -> dict[int, _Read]:
    """What the new file holds of each stream that has a ledger, by its number."""
    reads = {index: _Read() for index in ledgers}
    clocks: dict[int, Clock] = {}
    with open_container(target, VIDEO_FORMATS) as container:
        wanted = [
            each
            for each in container.streams
            if each.index in ledgers and each.type != "attachment"
        ]
        for packet in container.demux(wanted):
            index = packet.stream.index
            read, tick_s = reads[index], packet.time_base or Fraction(0)
            if index not in clocks:
                clocks[index] = clock_of(container, target, packet.stream)
                read.tick_ms = 1000 * float(tick_s)
            if (retime := clocks[index].retime) is not None:
                retime(packet)
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and is_cover(packet.stream):
                stamp = stamp or 0
            if not packet.size or stamp is None or is_filler(packet, ledgers[index].plan.codec):
                continue
            read.times_s.append(float(stamp * tick_s) - clocks[index].origin_s)
            read.sums.append(zlib.crc32(packet))
            read.whole = zlib.crc32(packet, read.whole)
    return reads


def _name(ledger: Ledger) -> str:
    return f"{ledger.plan.kind} stream {ledger.plan.index}"


def _is_pcm(ledger: Ledger) -> bool:
    """Whether it is for the reader of mov to choose where its packets end."""
    return ledger.plan.codec in SILENCE


def _is_identical(read: _Read, ledger: Ledger) -> bool:
    """Whether a stream came out bit by bit as it went in."""
    return read.sums == ledger.sums or (_is_pcm(ledger) and read.whole == ledger.whole)


def _off_ms(read: _Read, ledger: Ledger, later_s: float) -> float:
    """How far off its place the worst packet of a stream is. Raises Failed beyond `EXACT_MS`."""
    read_s, written_s = read.times_s, ledger.times_s
    if _is_pcm(ledger) and read.sums != ledger.sums:
        read_s, written_s = read_s[:1], written_s[:1]
    # Another format divides packets otherwise; decoding will tell
    if len(read_s) != len(written_s) or not written_s:
        return 0.0
    off_ms = 1000 * np.abs(np.array(read_s) - np.array(written_s) - later_s)
    worst_ms = float(off_ms.max())
    if worst_ms > EXACT_MS + read.tick_ms / 2:
        at_s = written_s[int(off_ms.argmax())]
        raise Failed(f"{_name(ledger)} is {worst_ms:.1f} ms off its place at {at_s:.2f} s")
    return worst_ms


def _pictures(old: Media, new: Media, later_s: float, target: Path) -> int:
    """How many decoded pictures were compared, at the start and after a seek: each must be the
    same, at its time.
    """
    places: list[float | None] = [None]
    if old.seekable and new.seekable and (old.info.duration_s or 0) > 1:
        places.append((old.info.first_picture_s or 0.0) + _SEEK_SHARE * (old.info.duration_s or 0))
    count = 0
    for from_s in places:
        try:
            with closing(old.pictures(from_s)) as theirs:
                first = next(theirs, None)
                if first is None:
                    continue
                # A rounded time does not make it another picture
                sought_s = None if from_s is None else first.pts_s + later_s + 2 * EXACT_MS / 1000
                with closing(new.pictures(sought_s)) as ours:
                    for was, now in islice(
                        zip(chain([first], theirs), ours, strict=False), _PICTURES
                    ):
                        _same_picture(was, now, later_s)
                        count += 1
        except CannotSeek:
            continue
    if not count:
        raise Failed("none of its pictures decodes")
    return count


def _same_picture(was: Picture, now: Picture, later_s: float) -> None:
    off_ms = 1000 * (now.pts_s - was.pts_s - later_s)
    if abs(off_ms) > EXACT_MS:
        raise Failed(f"the picture at {was.pts_s:.2f} s is not where it was ({off_ms:+.1f} ms)")
    if not np.array_equal(was.luma, now.luma):
        raise Failed(f"the picture at {was.pts_s:.2f} s is a different one")


def _sound(
    old: Media, new: Media, moves: Moves, later_s: float, exact_ms: float
) -> tuple[float | None, int]:
    """How far off (ms) the decoded sound is at worst from where it should be, at most `exact_ms`,
    and at how many places it was compared.
    """
    worst_ms: float | None = None
    places, unlike = 0, 0
    unlike_s = 0.0
    with closing(old.sounds()) as theirs, closing(new.sounds()) as ours:
        before, after = Tape(theirs), Tape(ours)
        at_s = old.info.first_sound_s or 0.0
        step_s = min(_EVERY_S, max(_WINDOW_S, (old.info.duration_s or 0.0) / 20))
        while not before.is_over(at_s):
            begin_s, at_s = at_s, at_s + step_s
            piece = moves.at(begin_s)
            new_s = piece.new_s(begin_s) + later_s
            if (
                begin_s - _EDGE_S < piece.from_s
                or begin_s + _WINDOW_S + _EDGE_S > piece.until_s
                or new_s < _EDGE_S
            ):
                continue
            wanted = before.read(begin_s, round((_WINDOW_S + 0.1) * SAMPLE_RATE))
            # What a codec adds after the last sample does not count
            if before.is_over(begin_s + _WINDOW_S + 0.1):
                break
            count = round(_WINDOW_S * SAMPLE_RATE)
            wanted = np.interp(
                np.arange(count) / piece.pace, np.arange(len(wanted)), wanted
            ).astype(np.float32)
            if level(wanted) < QUIET:
                continue
            got = after.read(new_s, count)
            places += 1
            likeness, off_ms = _compared(got, wanted)
            if likeness < _ALIKE:
                unlike, unlike_s = unlike + 1, new_s
                continue
            if abs(off_ms) > exact_ms:
                raise Failed(f"its sound is {off_ms:+.1f} ms off its place at {new_s:.2f} s")
            worst_ms = max(worst_ms or 0.0, abs(off_ms))
    if unlike > max(1.0, _MOST_UNLIKE * places) or (places and unlike == places):
        raise Failed(f"its sound is not what it was, for example at {unlike_s:.2f} s")
    return worst_ms, places


def _compared(got: Floats, wanted: Floats) -> tuple[float, float]:
    """The highest correlation (-1..1) of two windows within `_REACH_MS`, and how late (ms) `got` is
    there.
    """
    reach = round(_REACH_MS * SAMPLE_RATE / 1000)
    heard, inner = _in_band(got), _in_band(wanted)[reach:-reach]
    energy = np.concatenate([[0.0], np.cumsum(heard * heard)])
    # Relative to the energy of each place, or a louder one would look most alike
    energy = energy[len(inner) :] - energy[: -len(inner)]
    curve = np.correlate(heard, inner, "valid") / np.sqrt(
        np.maximum(energy * float(inner @ inner), 1e-12)
    )
    # A tone looks the same a period later: of places that are equally good, the nearest is meant
    good = np.flatnonzero(curve >= curve.max() - _AS_GOOD)
    at = int(good[np.abs(good - reach).argmin()])
    while (step := int(curve[max(0, at - 1) : at + 2].argmax()) - min(at, 1)) != 0:
        at += step
    return float(curve[at]), 1000 * (at + vertex(curve, at) - reach) / SAMPLE_RATE


def _in_band(samples: Floats) -> NDArray[np.float64]:
    """The samples within `_BAND_HZ`: above, sound between two samples looks like another."""
    spectrum = np.fft.rfft(samples)
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(hz < _BAND_HZ[0]) | (hz > _BAND_HZ[1])] = 0
    return np.asarray(np.fft.irfft(spectrum, len(samples)), np.float64)
