"""FCPXML 1.10: a project for each title, with markers on its clip.

Every time is a whole number of pictures, as a fraction of a second (1001/30000s). OpenTimelineIO's
own adapter leaves out the length of a picture at the exact NTSC rates, so that not even it can read
what it wrote (`findings/otio-fcpx-has-no-ntsc-rates.sh`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import ClassVar

from avcheck.record.markers import Marked, Marker, marked
from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.editing import about, marker_text, project_of, title_of, url_of
from avcheck.render.junit import xml_text
from avcheck.text.timecode import Timecode

# How Final Cut shows a marker: to do (red), done (green), plain (blue)
_STATES = {"out_of_sync": ' completed="0"', "in_sync": ' completed="1"'}


class FcpXml(Renderer):
    """One event with a project for each title; files that could not be judged are left out.

    What clips refer to comes first in the document, so it is kept until the end: a few hundred
    bytes a title.
    """

    head_last: ClassVar[bool] = True

    def __init__(self) -> None:
        self._resources: list[str] = []
        self._formats: dict[str, str] = {}  # its XML -> its id

    def head(self) -> str:
        """Everything before the projects; ask for it last."""
        resources = [f'<format id="{id}" {text}/>\n' for text, id in self._formats.items()]
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n\n<fcpxml version="1.10">\n'
            f"<resources>\n{''.join(resources + self._resources)}</resources>\n"
            '<library>\n<event name="avcheck">\n'
        )

    def item(self, report: Report) -> str:
        """The project of a title."""
        if report.verdict == "error":
            return ""
        title = marked(report)
        form = self._format(report, title.timecode.rate)
        number = f"r{len(self._resources) + len(self._formats) + 1}"
        name = xml_text(title_of(report))
        first = _time(title.timecode, 0)
        length = _pictures(title.length, title.timecode.rate)
        sound = ' hasAudio="1" audioSources="1"' if report.audio_track is not None else ""
        self._resources.append(
            f'<asset id="{number}" name="{name}" start="{first}" duration="{length}" hasVideo="1" '
            f'format="{form}"{sound}>\n'
            f'<media-rep kind="original-media" src="{xml_text(url_of(report))}"/>\n</asset>\n'
        )
        count = f'tcFormat="{"DF" if title.timecode.drop else "NDF"}"'
        markers = "".join(_marker(each, title) for each in title.markers)
        return (
            f'<project name="{xml_text(project_of(report))}">\n'
            f'<sequence format="{form}" duration="{length}" tcStart="{first}" {count}>\n<spine>\n'
            f'<asset-clip ref="{number}" offset="{first}" name="{name}" start="{first}" '
            f'duration="{length}" format="{form}" {count}>\n'
            f"<note>{xml_text(about(report, title))}</note>\n{markers}</asset-clip>\n"
            "</spine>\n</sequence>\n</project>\n"
        )

    def tail(self) -> str:
        """All closing tags."""
        return "</event>\n</library>\n</fcpxml>\n"

    def _format(self, report: Report, rate: Fraction) -> str:
        """The id of a title's format; many titles share one."""
        size = ""
        if report.picture is not None:
            size = f' width="{report.picture.width}" height="{report.picture.height}"'
        text = f'frameDuration="{_pictures(1, rate)}"{size}'
        number = len(self._resources) + len(self._formats) + 1
        return self._formats.setdefault(text, f"r{number}")


def _marker(marker: Marker, title: Marked) -> str:
    timecode = title.timecode
    return (
        f'<marker start="{_time(timecode, marker.start)}" '
        f'duration="{_pictures(marker.length, timecode.rate)}" '
        f'value="{xml_text(marker_text(marker))}"{_STATES.get(marker.kind, "")}/>\n'
    )


def _time(timecode: Timecode, picture: int) -> str:
    """When a picture is due on the title's own clock, which starts at its timecode."""
    return _pictures(timecode.start + picture, timecode.rate)


def _pictures(count: int, rate: Fraction) -> str:
    """The length of so many pictures in seconds, not reduced, as Final Cut writes it."""
    return f"{count * rate.denominator}/{rate.numerator}s"
