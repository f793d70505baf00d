"""OpenTimelineIO: a timeline of one clip with markers for each title. Needs the extra markers.

The library accepts fractions of a picture and cuts them off later, so every time here is a whole
number of pictures at the exact rate (`findings/otio-cuts-pictures-off.sh`).
"""

from __future__ import annotations

from typing import Any, ClassVar

from avcheck.errors import UsageError
from avcheck.record.markers import Marked, marked
from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.editing import COLOURS, about, marker_text, project_of, title_of, url_of


class Otio(Renderer):
    """The timeline of one title, or a collection of those of several."""

    head_last: ClassVar[bool] = True

    def __init__(self) -> None:
        """Raises UsageError if OpenTimelineIO is not installed."""
        try:
            import opentimelineio
        except ImportError as error:
            raise UsageError(
                "the format otio needs OpenTimelineIO: pip install opentimelineio"
            ) from error
        self._otio: Any = opentimelineio
        self._count = 0

    def head(self) -> str:
        """The opening of a collection; a single timeline needs none."""
        if self._count == 1:
            return ""
        return '{"OTIO_SCHEMA": "SerializableCollection.1", "name": "avcheck", "children": [\n'

    def item(self, report: Report) -> str:
        """The timeline of a title."""
        comma = ",\n" if self._count else ""
        self._count += 1
        return comma + str(self._timeline(report, marked(report)).to_json_string(indent=2))

    def tail(self) -> str:
        """The end of a collection."""
        return "\n" if self._count == 1 else "\n]}\n"

    def _timeline(self, report: Report, title: Marked) -> Any:
        schema, timecode = self._otio.schema, title.timecode
        time, span = self._otio.opentime.RationalTime, self._otio.opentime.TimeRange
        rate = float(timecode.rate)

        def pictures(first: int, length: int) -> Any:
            return span(time(timecode.start + first, rate), time(length, rate))

        clip = schema.Clip(
            title_of(report),
            schema.ExternalReference(url_of(report), pictures(0, title.length)),
            pictures(0, title.length),
            metadata={"avcheck": {"verdict": report.verdict, "about": about(report, title)}},
        )
        for each in title.markers:
            text, marked = marker_text(each), pictures(each.start, each.length)
            clip.markers.append(schema.Marker(text, marked, COLOURS[each.kind], {}, text))
        timeline = schema.Timeline(project_of(report), global_start_time=time(timecode.start, rate))
        timeline.tracks.append(schema.Track("V1", [clip], kind="Video"))
        return timeline
