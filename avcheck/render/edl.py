"""An edit decision list (CMX 3600) with an event for each marker of one title.

OpenTimelineIO's own adapter writes no FCM and every text in capitals, and loses the locators of
drop-frame titles when it reads them (`findings/otio-edl-loses-drop-frame-locators.sh`).
"""

from __future__ import annotations

from avcheck.record.markers import Marked, Marker, apart, marked
from avcheck.record.report import Report
from avcheck.render.base import Renderer
from avcheck.render.editing import COLOURS, about, marker_text, title_of
from avcheck.render.text import sound

# Names that differ in DaVinci Resolve
_RESOLVE = {"MAGENTA": "Fuchsia"}


class Edl(Renderer):
    """The list of one title. What was found in further sounds of it follows in the same list."""

    def __init__(self) -> None:
        self._events = 0
        self._taken: set[int] = set()  # pictures at which an event begins
        self._begun = False

    def item(self, report: Report) -> str:
        """The title, whether its timecode drops frames, and its events.

        Each event spans its part, from and to the same timecode. It carries the marker twice: as
        DaVinci Resolve reads it (`|C: |M: |D:`), and as a locator (`* LOC:`).
        """
        title = marked(report)
        name = title_of(report)
        count = "DROP FRAME" if title.timecode.drop else "NON-DROP FRAME"
        lines = [""] if self._begun else [f"TITLE: {name}", f"FCM: {count}", ""]
        self._begun = True
        which = f"{sound(report)}: " if report.records > 1 else ""
        # After an event: readers expect it nowhere else
        remark = [f"* {which}{about(report, title)}"]
        for marker in apart(title.markers, title.length, self._taken):
            self._events += 1
            self._taken.add(marker.start)
            text = f"{which}{marker_text(marker)}"
            lines += [*_event(self._events, marker, text, title, name), *remark, ""]
            remark = []
        return "\n".join([*lines, *remark, ""] if remark else lines)


def _event(number: int, marker: Marker, text: str, title: Marked, name: str) -> list[str]:
    start, end = title.timecode.text(marker.start), title.timecode.text(marker.end)
    colour = COLOURS[marker.kind]
    resolve = _RESOLVE.get(colour, colour.capitalize())
    return [
        f"{number:03d}  AX       V     C        {start} {end} {start} {end}",
        f" |C:ResolveColor{resolve} |M:{text.replace('|', '/')} |D:{marker.length}",
        f"* FROM CLIP NAME: {name}",
        f"* LOC: {start} {colour:<7} {text}",
    ]
