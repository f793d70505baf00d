"""An edit decision list (CMX 3600) with an event for each marker of one title.

OpenTimelineIO's own adapter writes no FCM and every text in capitals, and loses the locators of
drop-frame titles when it reads them (`findings/otio-edl-loses-drop-frame-locators.sh`).
"""

from __future__ import annotations

from avcheck.markers import Marked, Marker, marked
from avcheck.render.base import Renderer
from avcheck.render.editing import COLOURS, about, marker_text, title_of
from avcheck.report import Report

# Names that differ in DaVinci Resolve
_RESOLVE = {"MAGENTA": "Fuchsia"}


class Edl(Renderer):
    """The list of one title. Lists of several titles follow each other, which few programs read."""

    def item(self, report: Report) -> str:
        """The title, whether its timecode drops frames, and its events.

        Each event spans its part, from and to the same timecode. It carries the marker twice: as
        DaVinci Resolve reads it (`|C: |M: |D:`), and as a locator (`* LOC:`).
        """
        title = marked(report)
        name = title_of(report)
        lines = [
            f"TITLE: {name}",
            f"FCM: {'DROP FRAME' if title.timecode.drop else 'NON-DROP FRAME'}",
            "",
        ]
        remark = f"* {about(report, title)}"  # after an event: readers expect it nowhere else
        for number, marker in enumerate(title.markers, start=1):
            lines += [*_event(number, marker, title, name), *[remark] * (number == 1), ""]
        return "\n".join(lines if title.markers else [*lines, remark, ""])


def _event(number: int, marker: Marker, title: Marked, name: str) -> list[str]:
    start, end = title.timecode.text(marker.start), title.timecode.text(marker.end)
    colour = COLOURS[marker.kind]
    text = marker_text(marker)
    resolve = _RESOLVE.get(colour, colour.capitalize())
    return [
        f"{number:03d}  AX       V     C        {start} {end} {start} {end}",
        f" |C:ResolveColor{resolve} |M:{text.replace('|', '/')} |D:{marker.length}",
        f"* FROM CLIP NAME: {name}",
        f"* LOC: {start} {colour:<7} {text}",
    ]
