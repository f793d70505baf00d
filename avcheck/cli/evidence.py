"""`avcheck evidence`."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from avcheck.cli import options as opt
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import app
from avcheck.cli.require import require_file
from avcheck.cli.screen import Output, check_alone, complain
from avcheck.errors import MediaError, UsageError, why_not_written
from avcheck.machine.files import unfinished, why_not_new
from avcheck.record.markers import TitleClock
from avcheck.record.report import USUAL_REACH_S
from avcheck.render import printable
from avcheck.settings import CheckSettings, Time, only_track, seconds_of, time_of
from avcheck.text.times import clock


@app.command()
def evidence(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The title.")],
    target: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="The film to write.")],
    at: Annotated[
        str | None,
        opt.option(
            "--at",
            panel=opt.OUTPUT,
            metavar="TIME",
            help="Where the film begins: seconds, [HH:]MM:SS[.mmm], or timecode of the title, "
            "HH:MM:SS:FF. Default: where the evidence is strongest.",
        ),
    ] = None,
    length: Annotated[
        str,
        opt.option(
            "--length",
            panel=opt.OUTPUT,
            metavar="TIME",
            help="How long it is, from 5 to 15 s. Default: 8.",
        ),
    ] = "8",
    audio: opt.Audio = None,
    audio_track: opt.AudioTrack = None,
    video_track: opt.VideoTrack = None,
    reach: opt.Reach = USUAL_REACH_S,
    program: opt.Program = None,
    thorough: opt.Thorough = False,
    device: opt.Device = "auto",
    model: opt.Model = None,
    force: Annotated[
        bool, opt.option("--force", panel=opt.OUTPUT, help="Write over a film that exists.")
    ] = False,
) -> None:
    """Check a title and show why: a film of its most telling seconds as they are, then with the
    offset taken out.

    The picture shows where the attention falls; below it runs the sound, with a mark where the
    picture's own sound is heard. Exit code 0 if the film was written, whatever the verdict; else 2.
    """
    require_file("FILE", file)
    for name, given in (("--audio", audio), ("--model", model)):
        if given is not None:
            require_file(name, given)
    if target.suffix.lower() != ".mp4":
        raise UsageError(
            "the film is an MP4, so its name must end in .mp4, not "
            f"{target.suffix or target.name!r}"
        )
    if why := why_not_new(target):
        raise UsageError(why)
    if os.path.lexists(target):
        if not target.is_file():
            raise UsageError(f"{target} is not a regular file")
        if any(target.samefile(each) for each in (file, audio) if each):
            raise UsageError(f"{target} is what is checked; give the film another name")
        if not force:
            raise UsageError(f"{target} exists already; --force writes over it")

    from avcheck.evidence.film import make_film, require_length, telling_span

    length_s = seconds_of(length, "length")
    require_length(length_s)
    begin = None if at is None else time_of(at, "at")
    output = Output("text", quiet=False, detailed=False)
    settings = CheckSettings(
        device=device,
        model=model,
        audio_tracks=only_track(audio_track),
        audio=() if audio is None else (audio,),
        video_track=video_track,
        reach_s=reach,
        program=program,
        thorough=thorough,
        detail=True,
    )
    # A slip shows before the title is checked
    at_s = None if begin is None else _time_s(begin, file, settings)
    report = check_alone(file, settings, quiet=False)
    output.emit(report)
    if report.verdict == "error":
        raise typer.Exit(ExitCode.BUG if output.has_bug else ExitCode.NOT_JUDGED)
    span = telling_span(report, length_s, at_s)
    partial = unfinished(target)
    try:
        make_film(report, span, partial, audio=audio)
        partial.replace(target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {why_not_written(error)}") from error
    finally:
        partial.unlink(missing_ok=True)
    complain(
        f"{printable(str(target))} shows {clock(span.start_s)} to {clock(span.end_s)}", prefix=""
    )


def _time_s(time: Time, file: Path, settings: CheckSettings) -> float | None:
    """A time in a title as seconds on its clock; None if the title cannot be opened, which a check
    reports. Raises UsageError for a time outside the title.
    """
    from avcheck.evidence.film import require_inside
    from avcheck.reading.choice import open_sound, sounds_of

    with suppress(MediaError):
        with open_sound(file, settings, sounds_of(file, settings)[0]) as media:
            info = media.info
        if not isinstance(time, str):
            if info.duration_s is not None:
                require_inside(time, info.duration_s)
            return time
        title = TitleClock.of(info.picture_facts)
        time_s = title.time_s(time)
        if time_s is None:
            raise UsageError(f"no picture of the title can have the timecode {time}")
        if info.duration_s is not None and not 0 <= time_s < info.duration_s:
            ends = f"from {title.text(title.first_s)} to {title.text(info.duration_s)}"
            raise UsageError(f"must lie in the title, {ends}, not {time}", "at_s")
        return time_s
    return None
