"""The ffmpeg command for a plan, for those who would rather run that."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from avcheck.fix.formats import encoder_of
from avcheck.fix.moves import Moves, Refused
from avcheck.fix.plan import Plan, StreamPlan
from avcheck.fix.shown import shown_by_stream

# A rate is a whole number; of samples this much finer, it gives the pace to 1.3 millionths
_FINE = 16


def ffmpeg_line(plan: Plan, target: Path, sample_rates: dict[int, int]) -> str:
    """A line for a POSIX shell. Made for ffmpeg 9; older ones keep less and round times of mp4 to 1
    ms.

    `sample_rates`: Hz, by stream number, of the tracks that are moved. Raises Refused if no single
    line does it.
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
    words = ["ffmpeg", "-n", "-i", _file(plan.source)]
    written = [each for each in plan.streams if each.is_written]
    for each in written:
        words += ["-map", f"0:{each.index}"]
    words += ["-c", "copy"]
    for number, each in enumerate(written):
        if each.action != "copied":
            words += _sound(number, each, plan.moves, sample_rates[each.index])
    for option, value in plan.options.items():
        words += [f"-{option}", value]
    return shlex.join([*words, _file(target)])


def joining_line(picture: Path, sound: Path) -> str:
    """A line that puts the pictures of one file and the sound of another into one."""
    joined = _file(picture.with_name(f"{picture.stem}-joined.mkv"))
    inputs = ("-i", _file(picture), "-i", _file(sound))
    return shlex.join(["ffmpeg", "-n", *inputs, "-map", "0:V", "-map", "1:a", "-c", "copy", joined])


def _sound(number: int, stream: StreamPlan, moves: Moves, rate: int) -> Iterator[str]:
    """The options that move the sound which is stream `number` of the new file."""
    (move,) = moves.pieces
    if stream.action == "moved":
        yield from (f"-bsf:{number}", f"setts=ts=TS{move.later_s:+.6f}/TB")
        return
    filters = []
    if stream.action == "encoded":
        fine = _FINE * rate
        filters += [f"aresample={round(fine * move.pace)}", f"asetrate={fine}", f"aresample={rate}"]
    if move.later_s >= 0:
        filters.append(f"adelay={round(move.later_s * rate)}S:all=1")
    else:
        # As long as it was: MXF ends the pictures where the sound ends.
        filters += [
            f"atrim=start={-move.later_s:.6f}",
            "asetpts=PTS-STARTPTS",
            f"apad=pad_len={round(-move.later_s * rate)}",
        ]
    yield from (
        f"-filter:{number}",
        ",".join(filters),
        f"-c:{number}",
        encoder_of(stream.codec) or stream.codec,
    )


def _file(path: Path) -> str:
    """A name that ffmpeg takes for neither an option nor a protocol."""
    return f"file:{path}"
