"""Check, move, read back, check again: at the end the file is there, whole and in sync, or it is
not there.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from avcheck._version import __version__
from avcheck.errors import AvcheckError, MediaError, UsageError, why_not_written
from avcheck.fix import moves
from avcheck.fix.command import ffmpeg_line
from avcheck.fix.inventory import has_chapters, lost
from avcheck.fix.moves import Moves, Refused
from avcheck.fix.plan import Plan, make_plan
from avcheck.fix.remux import Ledger, write
from avcheck.fix.tape import Tape
from avcheck.fix.verify import EXACT_MS, Failed, Readback, read_back
from avcheck.machine.files import publish_new, unfinished_media, why_not_new
from avcheck.media import open_media
from avcheck.record.report import Report
from avcheck.record.tracks import escaped
from avcheck.render.text import outcome as outcome_text

SCHEMA_VERSION = 1

Status = Literal["fixed", "in_sync", "undecidable", "refused", "failed", "planned", "error"]
# Measures a file by these of its audio and picture tracks; None: the main ones.
Check = Callable[[Path, int | None, int | None], Report]


@dataclass(frozen=True)
class StreamResult:
    """What became of one stream of the old file; kind, codec, language, title, action and why are
    those of `StreamPlan`.

    track: its number among the old file's streams. moved_ms: how much later its times are now,
    relative to the pictures' (at its first moment, if that changes). packets: as many as were
    written; None if it was not copied. identical: whether each packet is bit by bit the same; None
    if there is nothing to compare.
    """

    track: int
    kind: str
    codec: str
    language: str
    title: str
    action: str
    why: str = ""
    moved_ms: float = 0.0
    packets: int | None = None
    identical: bool | None = None


@dataclass(frozen=True)
class Outcome:
    """Everything `avcheck fix` says about one file; `to_record()` is its JSON form.

    fixed: the new file is there. in_sync: it was in sync, and nothing was written. undecidable:
    nobody knows whether it is. refused: it is out of sync and cannot be fixed here. failed: the new
    file was not as it should be, and is gone. planned: only the command was asked for. error: the
    old file cannot be read, or the new one cannot be written. moves: (from_s, until_s, later_ms,
    pace) of each; None: no bound.
    """

    input: str  # path of the old file
    output: str  # path of the new file
    status: Status  # one of these
    reason: str | None = None  # why there is no new file, in words
    before: Report | None = None  # of the old file; None: it was not checked
    after: Report | None = None  # of the new file; None: it was not checked
    moves: tuple[tuple[float | None, float | None, float, float], ...] = ()
    streams: tuple[StreamResult, ...] = ()  # of the old file, in their order
    clock: Readback | None = None  # None: no new file was read back
    lost: tuple[str, ...] = ()  # tags and the like that the new container does not hold, in words
    notes: tuple[str, ...] = ()  # what to tell the user, in sentences
    command: str | None = None  # of ffmpeg, where only that was asked for

    def to_record(self) -> dict[str, Any]:
        """As plain JSON types; `before` and `after` are records of `avcheck check`."""
        record: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "avcheck_version": __version__}
        record |= {key: getattr(self, key) for key in ("input", "output", "status", "reason")}
        record["before"] = None if self.before is None else self.before.to_record()
        record["after"] = None if self.after is None else self.after.to_record()
        names = ("from_s", "until_s", "later_ms", "pace")
        record["moves"] = [dict(zip(names, move, strict=True)) for move in self.moves]
        record["streams"] = [asdict(each) for each in self.streams]
        record["clock"] = (
            None
            if self.clock is None
            else {**asdict(self.clock), "identical": sorted(self.clock.identical)}
        )
        return record | {
            "lost": list(self.lost),
            "notes": list(self.notes),
            "command": self.command,
        }


@dataclass(frozen=True)
class FixSettings:
    """What to do. `force_offset_ms`: take this offset (positive = sound early) and ask the network
    neither before nor after.
    """

    audio_track: int | None = None  # whose offset is measured; None: the main one
    video_track: int | None = None  # that it is measured against; None: the main one
    every_track: bool = False  # move all the sound, not the measured track alone
    force_offset_ms: float | None = None
    only_command: bool = False  # write nothing


def fix_file(source: Path, target: Path, wanted: FixSettings, check: Check) -> Outcome:
    """Write a new file with the sound where it belongs, unless it is there already.

    Args:
        source: The file to fix; it is only read.
        target: The new file; its suffix says its container.
        wanted: What to do.
        check: Measures a file: before, and the new one after.

    Returns:
        What was done, or why it could not be.

    Raises:
        UsageError: `target` exists, or its folder is not there or takes no files.
    """
    if os.path.lexists(target):
        raise UsageError(
            f"{escaped(str(target))} exists already and is not overwritten; name another file"
        )
    if why := why_not_new(target):
        raise UsageError(escaped(why))
    start = Outcome(str(source), str(target), "error")
    before: Report | None = None
    if wanted.force_offset_ms is None:
        before = check(source, wanted.audio_track, wanted.video_track)
        start = Outcome(str(source), str(target), "error", before.reason, before)
        if before.verdict != "out_of_sync":
            status: Status = before.verdict
            return replace(start, status=status)
    try:
        cuts: tuple[str, ...] = ()
        if before is None:
            way = moves.by(wanted.force_offset_ms or 0.0)
        else:
            way, cuts = _measured_way(source, before)
        plan = _planned(source, target, way, wanted, before)
        start = replace(start, moves=_rounded(way), notes=(*plan.notes, *cuts))
        if wanted.only_command:
            line, unlike = ffmpeg_line(plan, target)
            notes = (*start.notes, *unlike)
            return replace(start, status="planned", reason=None, command=line, notes=notes)
        outcome = _fixed(plan, target, start, None if before is None else check)
        if (further := _further(way, outcome)) is None:
            return outcome
        plan = _planned(source, target, further, wanted, before)
        left = f"the first new file was not in sync ({_says(outcome.after)})"
        notes = (
            *start.notes,
            f"{left}; what was left was taken out too, from IN once more",
            *_cuts_of_the_rest(outcome.after),
        )
        return _fixed(plan, target, replace(start, moves=_rounded(further), notes=notes), check)
    except Refused as error:
        return replace(start, status="refused", reason=str(error))
    except Failed as error:
        return replace(start, status="failed", reason=str(error))
    except _Unwritten as error:
        return replace(start, status="error", reason=str(error))
    except MediaError as error:
        return replace(start, status="error", reason=error.reason)


def _measured_way(source: Path, before: Report) -> tuple[Moves, tuple[str, ...]]:
    """What to do to a measured file, and where it is cut in words: in a silence, where its sound
    may have been lost and a cut is not heard, or in the middle of where the offset may jump.
    """
    jumps_s = moves.jumps_of(before)
    if not jumps_s:
        return moves.of(before), ()
    tracks: dict[str, Any] = {"audio_track": before.audio_track, "video_track": before.video_track}
    cuts_s, said = [], []
    with (
        open_media(source, **tracks, threads=1) as media,
        closing(media.sounds()) as sounds,
    ):
        tape = Tape(sounds)
        read_to_s = -math.inf  # the tape does not go back
        for low_s, high_s in jumps_s:
            silence_s = tape.longest_silence(max(low_s, read_to_s), high_s)
            read_to_s = max(read_to_s, high_s)
            cut_s = sum(silence_s or (low_s, high_s)) / 2
            cuts_s.append(cut_s)
            if low_s < high_s:
                place = "in a silence" if silence_s else "halfway, and near it may still be off"
                said.append(
                    f"the offset jumps somewhere from {low_s:.1f} to {high_s:.1f} s; the sound is "
                    f"cut at {cut_s:.2f} s, {place}"
                )
    return moves.of(before, cuts_s), tuple(said)


def _planned(
    source: Path, target: Path, way: Moves, wanted: FixSettings, before: Report | None
) -> Plan:
    chosen = wanted if before is None else before
    return make_plan(
        source,
        target,
        way,
        audio_track=chosen.audio_track,
        video_track=chosen.video_track,
        every_track=wanted.every_track,
    )


def _further(way: Moves, outcome: Outcome) -> Moves | None:
    """What to do to the old file if the new one, checked again, still has an offset that is sure: a
    drift is at first known to some percent only. None if there is no such offset.
    """
    after, clock = outcome.after, outcome.clock
    if outcome.status == "fixed" or after is None or clock is None or after.offset_ms is None:
        return None
    if after.verdict != "out_of_sync" and after.reason_code != "borderline":
        return None
    return moves.then(way, moves.of(after), clock.later_ms / 1000)


def _cuts_of_the_rest(after: Report | None) -> tuple[str, ...]:
    """Where the sound is cut at the jumps that were left in the first new file, in words."""
    return tuple(
        f"what was left jumps somewhere from {low_s:.1f} to {high_s:.1f} s of that file; the sound "
        "is cut halfway, and near it may still be off"
        for low_s, high_s in ([] if after is None else moves.jumps_of(after))
        if low_s < high_s
    )


class _Unwritten(Exception):
    """The new file cannot be written, which says nothing of the old one: why, and what to do."""

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(f"{escaped(str(path))} cannot be written: {why_not_written(error)}")


class _Partial:
    """The unfinished file, beside the one it will become."""

    def __init__(self, path: Path, target: Path) -> None:
        self.path = path
        self._target = target

    def keep(self) -> None:
        """Give it its name, if nobody has taken that meanwhile. Raises UsageError, _Unwritten."""
        try:
            publish_new(self.path, self._target)
        except FileExistsError:
            raise UsageError(
                f"{escaped(str(self._target))} has appeared in the meantime and is not overwritten"
            ) from None
        except OSError as error:
            raise _Unwritten(self._target, error) from error


@contextmanager
def _partial(target: Path) -> Iterator[_Partial]:
    """A new, empty file beside `target`, which is removed afterwards whatever happens. Raises
    _Unwritten.
    """
    path = unfinished_media(target)
    try:
        path.touch(exist_ok=False)
    except OSError as error:
        raise _Unwritten(target, error) from error
    try:
        yield _Partial(path, target)
    finally:
        with suppress(OSError):
            path.unlink()


def _fixed(plan: Plan, target: Path, start: Outcome, check: Check | None) -> Outcome:
    with _partial(target) as partial:
        outcome = _written(plan, partial, start, check)
        if outcome.status == "fixed":
            partial.keep()
        return outcome


def _written(plan: Plan, partial: _Partial, start: Outcome, check: Check | None) -> Outcome:
    """The outcome for a file that has been written, read back and checked. Raises Refused, Failed,
    _Unwritten.
    """
    try:
        ledgers = write(plan, partial.path)
    except OSError as error:
        raise _Unwritten(start.output, error) from error
    try:
        clock = read_back(plan, partial.path, ledgers)
        if abs(clock.later_ms) > EXACT_MS and has_chapters(plan.source):
            # What has to begin before zero makes a writer shift all streams, but no chapters. By
            # how much, only the new file says
            ledgers = write(plan, partial.path, chapters_later_s=clock.later_ms / 1000)
            clock = read_back(plan, partial.path, ledgers)
        gone = lost(plan, partial.path, ledgers, clock.later_ms)
    except OSError as error:
        raise _Unwritten(start.output, error) from error
    except AvcheckError as error:
        said = error.reason if isinstance(error, MediaError) else str(error)
        raise Failed(f"read back, the new file is wrong: {said}; it was not kept") from error
    outcome = replace(
        start, clock=clock, lost=gone, streams=_streams(plan, ledgers, clock), reason=None
    )
    if check is not None:
        after = check(partial.path, plan.new_audio_track, plan.new_video_track)
        outcome = replace(outcome, after=replace(after, path=start.output))
        if after.verdict != "in_sync":
            outcome = replace(outcome, status="failed")
            said = f"checked again, the new file is not in sync ({_says(after)})"
            return replace(outcome, reason=f"{said}; it was not kept")
    return replace(outcome, status="fixed")


def _says(after: Report | None) -> str:
    return "" if after is None else outcome_text(after)


def _rounded(way: Moves) -> tuple[tuple[float | None, float | None, float, float], ...]:
    def bound(time_s: float) -> float | None:
        return None if abs(time_s) == float("inf") else round(time_s, 3)

    return tuple(
        (bound(each.from_s), bound(each.until_s), round(1000 * each.later_s, 3), each.pace)
        for each in way.pieces
    )


def _streams(plan: Plan, ledgers: dict[int, Ledger], clock: Readback) -> tuple[StreamResult, ...]:
    by_index = {ledger.plan.index: ledger for ledger in ledgers.values()}
    first_ms = 1000 * plan.moves.pieces[0].later_s
    results = []
    for each in plan.streams:
        ledger = by_index.get(each.index)
        copied = (
            ledger is not None and each.action in ("copied", "moved") and each.kind != "attachment"
        )
        results.append(
            StreamResult(
                track=each.index,
                kind=each.kind,
                codec=each.codec,
                language=each.language,
                title=each.title,
                action=each.action,
                why=each.why,
                moved_ms=round(first_ms, 3)
                if each.action in ("moved", "rewritten", "encoded")
                else 0.0,
                packets=len(ledger.sums) if ledger is not None and copied else None,
                identical=each.index in clock.identical if copied else None,
            )
        )
    return tuple(results)
