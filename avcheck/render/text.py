"""Reports as text for people: the line of a file, the table of its blocks, the details below, the
summary of a run.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from avcheck.record.edits import describe_edit
from avcheck.record.report import (
    VERDICT_TEXT,
    Report,
    Stretch,
    Tolerance,
    confidence_text,
    describe_offset,
)
from avcheck.record.tracks import programme, sound_named
from avcheck.render.base import Renderer
from avcheck.text.counted import counted
from avcheck.text.times import between, clock, moment

if TYPE_CHECKING:
    from rich.text import Text

VERDICT_STYLE = {
    "in_sync": "bold green",
    "out_of_sync": "bold red",
    "undecidable": "bold yellow",
    "error": "bold red",
}
_AUDIO_CLOCK = {
    "stream": "due by the clock of the stream that both files were taken from",
    "film": "begins with the film",
}
_EVENTS = {  # of a test signal: singular and plural
    "flash": ("flash with its beep", "flashes with their beeps"),
    "countdown": ("count with its tick", "counts with their ticks"),
    "2-pop": ("single picture with its pop", "single pictures with their pops"),
    "clap": ("closing with its clap", "closings with their claps"),
    "stamp": ("stamped picture with its tones", "stamped pictures with their tones"),
}
FAILURES = 100  # of a run are listed at its end
_STRETCHES = 4  # of a file that are listed in its line
_EDITS = 20  # of a file that are listed below it
# Build servers (GitHub, Azure, TeamCity) act on these anywhere in a line of their log.
LOG_COMMAND = re.compile(r"(##\w*)\[")


def printable(text: str) -> str:
    """The text on one line and harmless: what a terminal would act on or reorder, or cannot show,
    becomes an escape.

    That covers C0 and C1 controls, line and paragraph separators, invisible and direction marks,
    the lone surrogates that stand for the bytes of a file name that is not UTF-8, and the "##[...]"
    commands of build servers.
    """
    shown = "".join(
        _escape(char) if unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} else char
        for char in text
    )
    return LOG_COMMAND.sub(r"\1\\x5b", shown)


def _escape(char: str) -> str:
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # surrogateescape: one raw byte
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def line(report: Report, *, course: bool = True) -> str:
    """One line of plain text, for example "a.mp4: out of sync: sound late by 120 ms (3.0 frames),
    confidence 0.97".

    With `course` it lists the stretches of a changing offset, as `details` does.
    """
    return "".join(text for text, _ in _line_parts(report, course))


def styled_line(report: Report, *, course: bool = True) -> Text:
    """The same line as `line`, with the verdict in colour."""
    from rich.text import Text

    return Text.assemble(*_line_parts(report, course))


def verdict_text(report: Report) -> str:
    """The verdict in words; "borderline" for an offset that is beyond its limit by less than the
    measuring error.
    """
    return "borderline" if report.reason_code == "borderline" else VERDICT_TEXT[report.verdict]


def outcome(report: Report, *, course: bool = True) -> str:
    """What follows the verdict: the offset and how sure it is, or the reason; "" if there is
    nothing to say.
    """
    if report.verdict in ("in_sync", "out_of_sync"):
        changes = [text for text in (_drift(report.drift_ms_per_min), _jumps(report)) if text]
        offset = f"{report.offset_text} at worst" if changes else report.offset_text or ""
        return ", ".join([offset, f"confidence {confidence_text(report.confidence)}", *changes]) + (
            _course(report) if course else ""
        )
    return printable(report.reason or "")


def sound(report: Report) -> str:
    """Which sound of its title a record is about, as in "track 1 (fra)" or "with fra.wav"; "" if it
    is the only one.
    """
    if report.records < 2:
        return ""
    name = printable(sound_named(report.audio_track, report.audio_tracks, report.audio_path))
    return name if report.audio_path is None else f"with {name}"


def subject(report: Report) -> str:
    """The path, and which of its sounds if there are several."""
    path = printable(report.path) or "(empty path)"
    return f"{path} {sound(report)}".rstrip() if report.records > 1 else path


class Titles:
    """Counts the titles that the records of a run are about, and notices the last sound of each."""

    def __init__(self) -> None:
        self.count = 0
        self._path: str | None = None
        self._left = 0

    def summary_after(self, report: Report) -> str:
        """The line after the last record of a title with several sounds, else ""."""
        if report.path != self._path or not self._left:
            self.count += 1
            self._path, self._left = report.path, report.records
        self._left -= 1
        if self._left or not report.title_summary:
            return ""
        path = printable(report.path) or "(empty path)"
        return f"{_harmless(path)}: {printable(report.title_summary)}"


def _harmless(path: str) -> str:
    """GitHub takes a line that begins with "::" for a command; write the path so that it does
    not.
    """
    return f"./{path}" if path.lstrip().startswith("::") else path


def _line_parts(report: Report, course: bool) -> Iterator[tuple[str, str]]:
    yield f"{_harmless(subject(report))}: ", ""
    yield verdict_text(report), VERDICT_STYLE[report.verdict]
    if said := outcome(report, course=course):
        yield f": {said}", ""
    if report.by_signal:
        yield " [test signal]", ""
    if report.part_s is not None:
        yield f" [only {span(*report.part_s)}]", ""
    if report.audio_clock == "stream":
        yield " [sound by the stream's clock]", ""
    if looked := _sampled(report):
        yield f" [sampled {looked}]", ""
    if looked := _listened(report):
        yield f" [looked at {looked}]", ""
    if chosen := _one_of_several(report):
        yield f" [{chosen}]", ""
    if report.program is not None and (chosen := programme(report.program, report.programs)):
        yield f" [programme {chosen}]", ""
    if report.degraded:
        yield f" [{_degraded(report)}]", ""


class Lines(Renderer):
    """The plain line of every file; of several sounds, a line each and one for the title."""

    def __init__(self) -> None:
        self._titles = Titles()

    def item(self, report: Report) -> str:
        """The line and a line feed."""
        return "".join(
            f"{text}\n" for text in (line(report), self._titles.summary_after(report)) if text
        )


def details(report: Report, *, stretches: bool = True) -> list[tuple[str, str]]:
    """What stands under the line of a single file, as (name, text): only what is worth saying and
    not in the line. `stretches`: those of a changing offset too, which a folded table has already.
    """
    container = report.container_offset_ms
    decided = report.verdict in ("in_sync", "out_of_sync")
    rows = [
        ("reason", printable(report.reason) if report.reason and decided else None),
        (
            "best guess",
            report.offset_text
            if report.verdict == "undecidable" and report.reason_code != "borderline"
            else None,
        ),
        ("reference", None if report.reference is None else printable(report.reference)),
        (
            "confidence",
            confidence_text(report.confidence) if report.verdict == "undecidable" else None,
        ),
        (
            "by",
            _events(report) if report.by_signal else None,
        ),
        (
            "precision",
            f"within {report.measuring_error_ms:.3g} ms (95 %)"
            if decided and report.measuring_error_ms is not None
            else None,
        ),
        ("tolerance", _tolerance(report.tolerance) if report.verdict != "error" else None),
        (
            "programme",
            None if report.program is None else programme(report.program, report.programs),
        ),
        ("sound", _AUDIO_CLOCK.get(report.audio_clock or "")),
        ("part", None if report.part_s is None else span(*report.part_s)),
        ("sampled", _sampled(report)),
        ("looked at", _listened(report)),
        ("drift", _drift(report.drift_ms_per_min)),
        ("jumps", _jumps(report)),
        *(
            ("stretch", _stretch(stretch))
            for stretch in report.stretches
            if stretches and (len(report.stretches) > 1 or stretch.drifts)
        ),
        *(("edit", edit) for edit in _edits(report)),
        ("timestamps", None if container is None else _container(container)),
        (
            "notes" if report.by_reference else "damage",
            _degraded(report) if report.degraded else None,
        ),
    ]
    return [(name, text) for name, text in rows if text]


def summary(verdicts: Counter[str], titles: int | None = None) -> str:
    """How a batch ended, for example "12 files: 9 in sync, 1 out of sync, 2 undecidable". `titles`:
    the number of files, if some have several sounds.
    """
    words = {**VERDICT_TEXT, "error": "error" if verdicts["error"] == 1 else "errors"}
    parts = [f"{verdicts[verdict]} {text}" for verdict, text in words.items() if verdicts[verdict]]
    return f"{judged(verdicts.total(), titles)}: {', '.join(parts) or 'none checked'}"


def judged(total: int, titles: int | None) -> str:
    """What was judged: files, or sounds of them."""
    if titles is None or titles == total:
        return counted(total, "file")
    return f"{counted(total, 'sound')} of {counted(titles, 'file')}"


def failures(worst: Iterable[Report], failed: int, total: int, titles: int) -> Iterator[str]:
    """The lines that end a batch: how many failed, and which and why, the worst first.

    Args:
        worst: The reports to list.
        failed: How many files failed, or sounds of them.
        total: How many there are.
        titles: How many files there are, each perhaps with several sounds.
    """
    yield f"Failed: {failed} of {judged(total, titles)}"
    listed = list(worst)
    for report in listed:
        yield f"  {verdict_text(report):<11}  {subject(report)}: {outcome(report)}"
    if failed > len(listed):
        yield f"  and {failed - len(listed)} more"


def span(start_s: float, end_s: float) -> str:
    """A part of a film in words: "3.0 s to 9.0 s", and from a minute on "0:58 to 1:02:03"."""
    return (
        f"{start_s:.1f} s to {end_s:.1f} s" if end_s < 60 else f"{clock(start_s)} to {clock(end_s)}"
    )


def percent(share: float) -> str:
    """A share, 0..1, as in "8.3 %", or "0.014 %": a second of a long title has little of the
    attention.
    """
    value = 100 * share
    digits = 1 if value >= 1 or not value else 2 if value >= 0.1 else 3
    return f"{value:.{digits}f} %"


def short_offset(offset_ms: float, digits: int = 0) -> str:
    """An offset in few words: "120 ms late"."""
    size = abs(offset_ms)
    if round(size, digits) == 0:
        return "0 ms"
    return f"{size:.{digits}f} ms {'early' if offset_ms > 0 else 'late'}"


def change_of(start_ms: float, end_ms: float) -> str:
    """Two offsets in few words, or one if they are equal: "4 ms early to 24 ms early"."""
    start, end = short_offset(start_ms), short_offset(end_ms)
    return start if start == end else f"{start} to {end}"


def _one_of_several(report: Report) -> str:
    """Which audio track was checked, if a title has several and one of them was checked; else
    "".
    """
    if report.records > 1 or report.audio_track is None or len(report.audio_tracks) < 2:
        return ""
    return f"audio {sound_named(report.audio_track, report.audio_tracks, None)}"


def _events(report: Report) -> str | None:
    if not report.segments:
        return None
    one, several = _EVENTS.get(report.signal or "", _EVENTS["flash"])
    return f"{len(report.segments)} {one if len(report.segments) == 1 else several}"


def _tolerance(tolerance: Tolerance) -> str:
    text = f"early by at most {tolerance.early_ms:g} ms, late by at most {tolerance.late_ms:g} ms"
    return f"{text} ({tolerance.preset})" if tolerance.preset else text


def _drift(drift_ms_per_min: float | None) -> str | None:
    if drift_ms_per_min is None or abs(drift_ms_per_min) < 0.05:
        return None
    return (
        f"sound drifts {'earlier' if drift_ms_per_min > 0 else 'later'} by "
        f"{abs(drift_ms_per_min):.1f} ms a minute"
    )


def _jumps(report: Report) -> str | None:
    times = [between(start_s, end_s) for start_s, end_s in report.jumps_between_s]
    return f"offset jumps {', '.join(times)}" if times else None


def _course(report: Report) -> str:
    """The offsets of a file's stretches, if it changes: " (0:00 to 0:40: 4 ms early; ...)"."""
    if len(report.stretches) < 2:
        return ""
    parts = [
        f"{clock(each.start_s)} to {clock(each.end_s)}: "
        f"{change_of(each.start_offset_ms, each.end_offset_ms)}"
        for each in report.stretches[:_STRETCHES]
    ]
    left = len(report.stretches) - len(parts)
    return f" ({'; '.join(parts)}{f'; and {left} more' if left else ''})"


def offset_of(stretch: Stretch) -> str:
    """The offset of a stretch in words: of both ends, if it drifts."""
    start, end = map(describe_offset, (stretch.start_offset_ms, stretch.end_offset_ms))
    return f"from {start} to {end}" if stretch.drifts else start


def _stretch(stretch: Stretch) -> str:
    return f"{clock(stretch.start_s)} to {clock(stretch.end_s)}: {offset_of(stretch)}"


def _edits(report: Report) -> Iterator[str]:
    for edit in report.edits[:_EDITS]:
        yield f"at {moment(edit.start_s)}: {describe_edit(edit)}"
    if len(report.edits) > _EDITS:
        yield f"and {len(report.edits) - _EDITS} more"


def _sampled(report: Report) -> str | None:
    return None if report.sampled_s is None else _of_all(report.sampled_s, report)


def _listened(report: Report) -> str | None:
    return None if report.listened is None else _of_all(report.listened.looked_s, report)


def _of_all(seconds: float, report: Report) -> str:
    length_s = report.looked_at_s
    return clock(seconds) + ("" if length_s is None else f" of {clock(length_s)}")


def _container(offset_ms: float) -> str | None:
    if abs(offset_ms) < 1:
        return None
    return (
        f"the sound starts {abs(offset_ms):.0f} ms {'before' if offset_ms > 0 else 'after'} "
        "the picture"
    )


def _degraded(report: Report) -> str:
    degraded, parts = report.degraded, []
    if degraded.corrupt_frames:
        parts.append(counted(degraded.corrupt_frames, "corrupt frame"))
    if degraded.missing_audio_s > 0.5:
        parts.append(f"{degraded.missing_audio_s:.1f} s of sound missing")
    if degraded.missing_video_s > 0.5:
        parts.append(f"{degraded.missing_video_s:.1f} s of picture missing")
    if degraded.truncated:
        parts.append("file cut short")
    if degraded.unseen_s:
        stretches = ", ".join(span(*each) for each in degraded.unseen_s)
        parts.append(f"{report.unseen_text}: {stretches}")
    return "; ".join([*parts, *(printable(note) for note in degraded.notes)])
