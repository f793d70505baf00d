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
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.compare.find import vertex
from avcheck.errors import AvcheckError, CannotSeek
from avcheck.fix.formats import SILENCE, is_cover
from avcheck.fix.moves import Moves
from avcheck.fix.plan import Plan
from avcheck.fix.remux import Ledger, is_filler
from avcheck.fix.tape import QUIET, Floats, Tape, level
from avcheck.media import Media, Picture, open_media
from avcheck.media.container import VIDEO_FORMATS, clock_of, open_container
from avcheck.rates import SAMPLE_RATE

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


def read_back(plan: Plan, target: Path, ledgers: dict[int, Ledger]) -> Readback:
    """Compare the new file with the plan. Raises Failed, and MediaError if it cannot be read."""
    later_s, packet_ms, identical, tick_ms = _packets(plan, target, ledgers)
    tracks: dict[str, Any] = {
        "audio_track": plan.new_audio_track,
        "video_track": plan.new_video_track,
        "any_sound": True,
        "threads": 1,
    }
    old_tracks: dict[str, Any] = {
        "audio_track": plan.audio_track,
        "video_track": plan.video_track,
        "any_sound": True,
        "threads": 1,
    }
    with open_media(plan.source, **old_tracks) as old, open_media(target, **tracks) as new:
        pictures = _pictures(old, new, later_s, target)
        exact_ms = EXACT_MS + tick_ms / 2
        sound_ms, places = _sound(old, new, plan.moves, later_s, exact_ms)
    return Readback(1000 * later_s, packet_ms, sound_ms, places, pictures, identical)


def _packets(
    plan: Plan, target: Path, ledgers: dict[int, Ledger]
) -> tuple[float, float, frozenset[int], float]:
    """By how much all streams are later (s), how far off the worst packet is (ms), which streams
    came out the same, and how finely the measured sound is timed (ms).
    """
    times_s: dict[int, list[float]] = {index: [] for index in ledgers}
    sums: dict[int, list[int]] = {index: [] for index in ledgers}
    wholes = dict.fromkeys(ledgers, 0)
    ticks_ms: dict[int, float] = {}
    with open_container(target, VIDEO_FORMATS) as container:
        clocks = {}
        for packet in container.demux(
            [
                each
                for each in container.streams
                if each.index in ledgers and each.type != "attachment"
            ]
        ):
            index = packet.stream.index
            if index not in clocks:
                clocks[index] = clock_of(container, target, packet.stream)
                ticks_ms[index] = 1000 * float(packet.time_base or 0)
            retime = clocks[index].retime
            if retime is not None:
                retime(packet)
            stamp = packet.dts if packet.pts is None else packet.pts
            if packet.size and is_cover(packet.stream):
                stamp = stamp or 0
            if (
                packet.size
                and stamp is not None
                and not is_filler(packet, ledgers[index].plan.codec)
            ):
                times_s[index].append(
                    float(stamp * (packet.time_base or 0)) - clocks[index].origin_s
                )
                sums[index].append(zlib.crc32(packet))
                wholes[index] = zlib.crc32(packet, wholes[index])
    (main,) = (index for index, ledger in ledgers.items() if ledger.plan.index == plan.main_video)
    if not times_s[main]:
        raise Failed("its pictures were lost in writing")
    later_s = times_s[main][0] - ledgers[main].times_s[0]
    worst_ms, identical = 0.0, set()
    for index, ledger in ledgers.items():
        if ledger.plan.action not in ("copied", "moved") or ledger.plan.kind == "attachment":
            continue
        what = f"{ledger.plan.kind} stream {ledger.plan.index}"
        # Where the packets of PCM end is for the reader of mov to choose
        is_pcm = ledger.plan.codec in SILENCE
        if sums[index] == ledger.sums or (is_pcm and wholes[index] == ledger.whole):
            identical.add(ledger.plan.index)
        elif plan.same_format:
            raise Failed(
                f"{what} did not come out as it went in ({len(sums[index])} of {len(ledger.sums)} "
                "packets)"
            )
        read_s, written_s = times_s[index], ledger.times_s
        if is_pcm and sums[index] != ledger.sums:
            read_s, written_s = read_s[:1], written_s[:1]
        if len(read_s) != len(written_s):
            # Another format divides packets otherwise; decoding will tell
            continue
        if not written_s:
            continue
        off_ms = 1000 * np.abs(np.array(read_s) - np.array(written_s) - later_s)
        worst_ms = max(worst_ms, float(off_ms.max()))
        if off_ms.max() > EXACT_MS + ticks_ms[index] / 2:
            at_s = written_s[int(off_ms.argmax())]
            raise Failed(f"{what} is {off_ms.max():.1f} ms off its place at {at_s:.2f} s")
    (measured,) = (index for index, each in ledgers.items() if each.plan.index == plan.measured)
    return later_s, worst_ms, frozenset(identical), ticks_ms.get(measured, 0.0)


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
