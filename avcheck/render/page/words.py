"""What a page says of a report, in words.

Text that is not avcheck's own goes through `printable`; the templates escape it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import PurePath

from avcheck.record.edits import describe_edit
from avcheck.record.markers import TitleClock
from avcheck.record.report import USUAL_REACH_S, Report, Track, confidence_text, describe_offset
from avcheck.render.text import (
    details,
    offset_of,
    outcome,
    printable,
    span,
)
from avcheck.text.counted import counted
from avcheck.text.times import clock, moment

Facts = list[tuple[str, str]]
_SURE_OF = {  # what the confidence is, by what measured
    "network": " (the chance that the offset is right within 80 ms)",
    "reference": " (the share of the file that was aligned)",
}


def sentence(report: Report) -> str:
    """The verdict as a person would say it."""
    if report.verdict == "in_sync" and report.offset_ms is not None:
        return f"Sound and picture are in sync: {describe_offset(report.offset_ms)}."
    if report.verdict == "out_of_sync" and report.offset_ms is not None:
        said = describe_offset(report.offset_ms)
        side = "early" if report.offset_ms > 0 else "late"
        limit_ms = report.tolerance.limit_ms(report.offset_ms)
        worst = (
            " at worst" if len(report.stretches) > 1 or report.drift_ms_per_min is not None else ""
        )
        return f"{said[0].upper()}{said[1:]}{worst}; at most {limit_ms:g} ms {side} is allowed."
    said = outcome(report) or "No more is known."
    return f"{said[0].upper()}{said[1:]}{'' if said.endswith(('.', '?', '!', ')')) else '.'}"


def facts(report: Report) -> Facts:
    """What stands under the verdict, one line each."""
    left_out = {"damage", "notes", "stretch", "edit", "reason", "confidence"}
    sure = confidence_text(report.confidence) + _SURE_OF.get(report.measured_by, "")
    first = [] if report.verdict == "error" else [("confidence", sure)]
    return first + [fact for fact in details(report) if fact[0] not in left_out]


def row_facts(report: Report) -> Facts:
    """The same for a row of a table, which shows the confidence already."""
    return [fact for fact in facts(report) if fact[0] != "confidence"]


def edits(report: Report) -> list[tuple[str, str]]:
    """What was done to the title since its reference, as (when, what)."""
    at = when(report)
    return [(at(each.start_s), describe_edit(each)) for each in report.edits]


def when(report: Report) -> Callable[[float], str]:
    """Writes a moment as a time, and as the title's own timecode where its rate is known."""
    title = TitleClock.of(report.picture)

    def written(time_s: float) -> str:
        return " ".join(filter(None, (moment(time_s), title.text(time_s))))

    return written


def course(report: Report) -> list[tuple[str, str, str]]:
    """The stretches as (from, to, offset), where the offset changes."""
    at = when(report)
    return [(at(each.start_s), at(each.end_s), offset_of(each)) for each in report.stretches]


def segments(report: Report) -> list[tuple[str, str, str]]:
    """Every segment as (from and to, offset, confidence)."""
    return [
        (
            f"{clock(each.start_s)} to {clock(each.end_s)}",
            "none" if each.offset_ms is None else describe_offset(each.offset_ms),
            confidence_text(each.confidence),
        )
        for each in report.segments
    ]


def unseen(report: Report) -> list[tuple[str, str]]:
    """What was not looked at or shows nothing, and why."""
    degraded = report.degraded
    out: list[tuple[str, str]] = []
    if report.part_s is not None:
        left = "Everything else was left out: only this part was to be looked at."
        out.append((span(*report.part_s), left))
    if report.sampled_s is not None and report.duration_s is not None:
        rest_s = max(0.0, (report.looked_at_s or 0.0) - report.sampled_s)
        out.append((clock(rest_s), "Not looked at: the title was sampled."))
    if report.listened is not None and report.duration_s is not None:
        mute_s, looked_s = report.listened.mute_s, report.listened.looked_s
        rest_s = max(0.0, (report.looked_at_s or 0.0) - mute_s - looked_s)
        for length_s, why in (
            (mute_s, "Only heard: nothing in it sounds like a voice."),
            (rest_s, "Only heard: what was seen around it was enough."),
        ):
            out += [(clock(length_s), why)] if length_s >= 1 else []
    why = (
        f"{report.unseen_text.capitalize()}."
        if report.by_reference
        else "Left out or damaged; the notes below say why."
    )
    out += [(span(*each), why) for each in degraded.unseen_s]
    if degraded.unseen_bytes:
        at_end = "At the end of the file: another one that was joined to it."
        out.append((f"{degraded.unseen_bytes:,} bytes", at_end))
    if degraded.missing_video_s > 0.5:
        out.append((f"{degraded.missing_video_s:.1f} s", "There is no picture."))
    if degraded.missing_audio_s > 0.5:
        out.append((f"{degraded.missing_audio_s:.1f} s", "There is no sound."))
    if degraded.corrupt_frames:
        frames = counted(degraded.corrupt_frames, "frame")
        out.append((frames, "Damaged; the decoder patched or dropped them."))
    if degraded.truncated:
        out.append(("the end", "The file is cut short: it ends before its header says."))
    mute_s = sum(each.end_s - each.start_s for each in report.segments if each.offset_ms is None)
    if mute_s and report.verdict != "error":
        out.append(
            (
                clock(mute_s),
                "Looked at, but shows no offset of its own: nothing in the picture goes with the "
                "sound there.",
            )
        )
    return out


def lines(report: Report) -> list[str]:
    """The rest of a row's details: stretches, what was not looked at, tracks to choose from."""
    out = [
        f"{start} to {end}: {text}"
        for start, end, text in (course(report) if len(report.stretches) > 1 else ())
    ]
    out += [f"{at}: {what}" for at, what in edits(report)]
    out += [f"{what}: {why}" for what, why in unseen(report)] + notes(report)
    if report.title_summary:
        out.insert(0, printable(report.title_summary))
    if len(report.audio_tracks) > 1:
        rows = tracks(report.audio_tracks, report.audio_track)
        out += [f"audio track {' '.join(filter(None, track))}" for track in rows]
    return out


def notes(report: Report) -> list[str]:
    """Remarks from reading the file."""
    return [printable(note) for note in report.degraded.notes]


def tracks(listed: tuple[Track, ...], checked: int | None) -> list[tuple[str, ...]]:
    """Tracks as (number, codec, language, title, remarks)."""
    return [
        (
            str(each.number),
            printable(each.codec),
            printable(each.language),
            printable(each.title),
            ", ".join(["checked"] * (each.number == checked) + ["default"] * each.default),
        )
        for each in listed
    ]


def container(report: Report) -> Facts:
    """What is known of the file and its streams."""
    media = report.detail.media if report.detail else None
    rows: Facts = []
    if media is not None:
        rate = "" if media.frame_rate is None else f", {media.frame_rate:g} pictures a second"
        turned = f", turned by {media.rotation}°" if media.rotation else ""
        rows += [
            ("container", printable(media.container)),
            (
                "picture",
                f"{printable(media.video_codec)}, {media.width} x {media.height}{rate}{turned}",
            ),
            ("sound", printable(media.audio_codec)),
            (
                "first picture",
                "not found"
                if media.first_picture_s is None
                else f"at {media.first_picture_s:.3f} s",
            ),
            (
                "first sound",
                "not found" if media.first_sound_s is None else f"at {media.first_sound_s:.3f} s",
            ),
        ]
    if report.container_offset_ms is not None:
        rows.append(
            ("timestamps", f"sound starts {_ahead(report.container_offset_ms)} the picture")
        )
    if report.picture is not None and report.picture.timecode is not None:
        rows.append(("timecode", f"starts at {printable(report.picture.timecode)}"))
    if report.program is not None:
        rows.append(("programme", f"{report.program} of {', '.join(map(str, report.programs))}"))
    if report.duration_s is not None:
        rows.append(("duration", clock(report.duration_s)))
    if report.file_size is not None:
        rows.append(("size", f"{report.file_size:,} bytes"))
    return [row for row in rows if row[1]]


def made(report: Report) -> Facts:
    """What made the record."""
    rows = [
        ("checked", report.checked_at or ""),
        ("avcheck", printable(report.avcheck_version)),
        ("weights", report.model_sha256[:16]),
        ("settings", report.settings_sha256[:16]),
    ]
    return [row for row in rows if row[1]]


def again(report: Report) -> str:
    """The command that repeats this check and makes this page; "" for a name that cannot be
    typed.
    """
    compared = report.by_reference
    names = [report.reference or "", report.path] if compared else [report.path]
    if not all(name and printable(name) == name for name in names):
        return ""
    words = ["avcheck", *(["compare"] if compared else [])]
    words += [f"./{name}" if name.startswith("-") else name for name in names]
    if report.tolerance.preset is not None:
        words += ["--preset", report.tolerance.preset]
    else:
        words += [
            "--early",
            f"{report.tolerance.early_ms:g}",
            "--late",
            f"{report.tolerance.late_ms:g}",
        ]
    for option, value in (
        ("--audio-track", report.audio_track),
        ("--video-track", report.video_track),
    ):
        if value is not None:
            words += [option, str(value)]
    if report.program is not None and not compared:
        words += ["--program", str(report.program)]
    if report.part_s is not None:
        for option, time_s in zip(("--start", "--end"), report.part_s, strict=True):
            words += [option, f"{time_s:.3f}".rstrip("0").rstrip(".")]
    if report.sampled_s is not None:
        words.append("--sample")
    if report.reach_s > USUAL_REACH_S:
        words += ["--reach", f"{report.reach_s:g}"]
    if report.audio_path is not None and printable(report.audio_path) == report.audio_path:
        words += ["--audio", report.audio_path]
    elif report.audio_track is None and report.verdict != "error" and not compared:
        words += ["--audio", "SOUND_FILE"]
    return " ".join(map(shlex.quote, [*words, "--output", "html=report.html"]))


def file_name(report: Report) -> str:
    """The last part of the path, which heads a page."""
    path = printable(report.path)
    return PurePath(path).name or path or "(empty path)"


def record_name(report: Report) -> str:
    """A safe file name for the record."""
    return (re.sub(r"[^A-Za-z0-9._-]+", "_", PurePath(report.path).name).strip("._-") or "record")[
        :100
    ] + ".avcheck.json"


def _ahead(offset_ms: float) -> str:
    if abs(offset_ms) < 0.5:
        return "with"
    return f"{abs(offset_ms):.0f} ms {'before' if offset_ms > 0 else 'after'}"
