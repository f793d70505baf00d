"""Drawings in SVG: the offset over the length of a title, how well every offset fits, attention,
and stills.

Plain SVG without a library: the page needs five drawings of its own kind. The smallest library that
draws them in the browser is larger than the page of a two-hour title may be; matplotlib, which
could draw them here, is a large dependency. Colours come from the style sheet, so a page follows
dark, light and print; there are no style attributes, which the page's content security policy
forbids.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from statistics import median

from markupsafe import Markup

from avcheck.record.edits import Edit, describe_edit
from avcheck.record.report import Report, confidence_text
from avcheck.render.page.map_picture import STOPS, map_png
from avcheck.render.page.svg import AXIS, INSIDE, LEFT, Axis, box, coord, svg, text_at
from avcheck.render.text import percent, short_offset
from avcheck.text.times import between, clock, moment

_LANE = 12.0  # height of the strip that shows what was looked at
_SMALL_COLUMNS = 60


@dataclass(frozen=True)
class _Offsets:
    """The scale of offsets in ms, sound early above: it reaches `most_ms` from `middle_ms` to
    `top`, and as far the other way to `top + height`.
    """

    most_ms: float
    top: float
    height: float
    middle_ms: float = 0.0

    def y(self, offset_ms: float) -> float:
        share = min(max((offset_ms - self.middle_ms) / self.most_ms, -1.0), 1.0)
        return self.top + self.height * (1 - share) / 2

    def drawn(self) -> Markup:
        steps_ms = (digit * 10**power for power in count(1) for digit in (1, 2, 5))
        step_ms = next(step for step in steps_ms if self.most_ms <= 3.5 * step)
        least = math.ceil((self.middle_ms - self.most_ms) / step_ms)
        most = math.floor((self.middle_ms + self.most_ms) / step_ms)
        parts = [
            Markup(
                '<path class="{}" d="M{} {}h{}"/><text class="of" x="{}" y="{}">{}</text>'
            ).format(
                "zero" if k == 0 else "grid",
                coord(LEFT),
                coord(self.y(k * step_ms)),
                coord(INSIDE),
                coord(LEFT - 8),
                coord(self.y(k * step_ms) + 4),
                "0 ms" if k == 0 else f"{abs(k * step_ms)} {'early' if k > 0 else 'late'}",
            )
            for k in range(least, most + 1)
        ]
        return Markup("").join(parts)


def offset_chart(report: Report) -> Markup:
    """The offset over the length: what each segment and second shows, the course, jumps, what was
    not looked at.
    """
    axis = Axis.of(report)
    height = 250.0
    scale = _Offsets(_most_ms(report), 8.0, height)
    bottom = scale.top + height
    parts = [
        _band(report, scale),
        scale.drawn(),
        *(_jump(axis, start_s, end_s, scale) for start_s, end_s in report.jumps_between_s),
        *(_edit(axis, edit, scale) for edit in report.edits if edit.kind != "speed"),
        _seconds(report, axis, scale),
        *(_segment_bar(report, number, axis, scale) for number in range(len(report.segments))),
        course(report, axis, scale.y),
        *(_label(report, number, axis, scale) for number in range(len(report.stretches))),
        _lane(report, axis, bottom + 3),
        axis.drawn(bottom + 3 + _LANE),
    ]
    return svg(bottom + 3 + _LANE + AXIS - 6, offset_words(report), parts)


def small_chart(report: Report) -> Markup:
    """The same in a few hundred bytes, for a page of many files: the tolerance, and the median of
    the segments in each column.
    """
    axis = Axis.of(report)
    scale = _Offsets(_most_ms(report), 0.0, 90.0)
    by_column: dict[int, list[float]] = {}
    columns = min(_SMALL_COLUMNS, len(report.segments))
    for segment in report.segments:
        if segment.offset_ms is not None:
            share = (axis.x((segment.start_s + segment.end_s) / 2) - LEFT) / INSIDE
            by_column.setdefault(min(int(share * columns), columns - 1), []).append(
                segment.offset_ms
            )
    wide, most = INSIDE / max(columns, 1), f"{scale.most_ms:.0f}"
    line = "".join(
        f"M{LEFT + at * wide:.0f} {scale.y(median(each)):.0f}h{wide:.0f}"
        for at, each in sorted(by_column.items())
    ) or _stretch_line(report, axis, scale.y)
    parts = [
        _band(report, scale),
        Markup(
            '<path class="zero" d="M74 45h904"/><text x="0" y="49">0 ms</text><text x="0" '
            'y="12">{0} early</text>'
        ).format(most),
        Markup(
            '<text x="0" y="90">{} late</text><text class="of" x="978" y="104">{}</text>'
        ).format(most, clock(axis.end_s)),
        Markup('<path class="segments" d="{}"/>').format(line),
    ]
    return svg(106.0, offset_words(report), parts)


def offset_words(report: Report) -> str:
    """What the chart of the offset shows, for those who cannot see it."""
    if not report.segments:
        total = len(report.stretches)
        many = "one stretch" if total == 1 else f"{total} stretches"
        return f"The offset over the length of the file, in {many}."
    shown = [segment.offset_ms for segment in report.segments if segment.offset_ms is not None]
    if not shown:
        return (
            f"The offset over the length of the file. None of {len(report.segments)} segments "
            "shows an offset."
        )
    low, high = short_offset(min(shown)), short_offset(max(shown))
    return (
        f"The offset over the length of the file. {len(shown)} of {len(report.segments)} segments "
        f"show an offset, from {low} to {high}."
    )


def _stretch_line(report: Report, axis: Axis, y: Callable[[float], float]) -> str:
    """The SVG path of the stretches."""
    return "".join(
        f"M{coord(axis.x(each.start_s))} {coord(y(each.start_offset_ms))}"
        f"L{coord(axis.x(each.end_s))} {coord(y(each.end_offset_ms))}"
        for each in report.stretches
    )


def course(
    report: Report, axis: Axis, y: Callable[[float], float], *, on_map: bool = False
) -> Markup:
    """The stretches as lines, dashed `on_map`; `y` maps an offset in ms to its place."""
    line = _stretch_line(report, axis, y)
    if not line:
        return Markup("")
    if on_map:
        return Markup('<path class="course mapped" d="{}"/>').format(line)
    return Markup('<path class="halo" d="{0}"/><path class="course" d="{0}"/>').format(line)


def score_map(report: Report) -> Markup:
    """How well every offset fits, time by offset, as a picture with the stretches over it."""
    detail = report.detail
    if detail is None or not detail.segments:
        return Markup("")
    axis = Axis.of(report)
    offsets_ms = detail.offsets_ms
    half_ms = (offsets_ms[1] - offsets_ms[0]) / 2
    low_ms, high_ms = offsets_ms[0] - half_ms, offsets_ms[-1] + half_ms
    # A search far from zero is shown by itself
    middle_ms = 0.0 if low_ms < 0 < high_ms else (low_ms + high_ms) / 2
    most_ms = max(middle_ms - low_ms, high_ms - middle_ms)
    scale = _Offsets(most_ms, 8.0, 230.0, middle_ms)
    top, bottom = scale.y(high_ms), scale.y(low_ms)
    picture = Markup(
        '<image x="{}" y="{}" width="{}" height="{}" preserveAspectRatio="none" class="map" '
        'href="data:image/png;base64,{}"/>'
    ).format(
        coord(LEFT),
        coord(top),
        coord(INSIDE),
        coord(bottom - top),
        _base64(map_png(detail, axis)),
    )
    end = scale.top + scale.height
    parts = [
        box("unseen", LEFT, top, INSIDE, bottom - top),
        picture,
        Markup('<g class="over">{}</g>').format(scale.drawn()),
        course(report, axis, scale.y, on_map=True),
    ]
    words = (
        "How well every offset fits, over the length of the file: brighter fits better. The "
        "dashes are the course found."
    )
    return svg(end + AXIS, words, [*parts, axis.drawn(end)])


def attention_chart(report: Report) -> Markup:
    """How much each second counts, as bars; in a long title a bar is the maximum of its seconds."""
    if not report.blocks:
        return Markup("")
    axis = Axis.of(report)
    height, top = 70.0, 6.0
    most = max(block.attention for block in report.blocks) or 1.0
    bars: dict[int, float] = {}
    seconds_px = INSIDE / (axis.end_s - axis.start_s)
    wide = max(seconds_px, 1.0)
    for block in report.blocks:
        at = int((axis.x(block.start_s) - LEFT) / wide + 1e-6)
        bars[at] = max(bars.get(at, 0.0), block.attention)
    line = "".join(
        f"M{coord(LEFT + at * wide)} {coord(top + height)}v{coord(-height * share / most)}"
        f"h{coord(min(0.85 * wide, INSIDE - at * wide))}V{coord(top + height)}z"
        for at, share in sorted(bars.items())
    )
    label = Markup('<text class="of" x="{}" y="{}">{}</text>').format(
        coord(LEFT - 8), coord(top + 8), percent(most)
    )
    end = Markup('<path class="grid" d="M{} {}h{}"/>').format(
        coord(LEFT), coord(top + height), coord(INSIDE)
    )
    best = max(report.blocks, key=lambda block: block.attention)
    words = (
        f"Share of the attention of each second. The most, {percent(best.attention)}, "
        f"falls on {clock(best.start_s)}."
    )
    parts = [
        Markup('<path class="attention" d="{}"/>').format(line),
        end,
        label,
        axis.drawn(top + height),
    ]
    return svg(top + height + AXIS, words, parts)


def fit_legend() -> Markup:
    """The colours of the score map, from bad to good."""
    step = 160 / len(STOPS)
    boxes = (
        Markup('<rect x="{}" y="0" width="{}" height="10" fill="#{:02x}{:02x}{:02x}"/>').format(
            coord(k * step), coord(step + 0.5), *colour
        )
        for k, colour in enumerate(STOPS)
    )
    return Markup(
        '<svg class="legend" viewBox="0 0 160 10" width="160" height="10" '
        'aria-hidden="true">{}</svg>'
    ).format(Markup("").join(boxes))


def _jump(axis: Axis, start_s: float, end_s: float, scale: _Offsets) -> Markup:
    left, right = axis.x(start_s), axis.x(end_s)
    words = f"the offset jumps {between(start_s, end_s)}"
    edges = Markup('<path class="edge" d="M{} {}v{}M{} {}v{}"/>').format(
        coord(left),
        coord(scale.top),
        coord(scale.height),
        coord(right),
        coord(scale.top),
        coord(scale.height),
    )
    zone = Markup(
        '<rect class="jump" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>'
    ).format(
        coord(left), coord(scale.top), coord(max(right - left, 1.5)), coord(scale.height), words
    )
    return zone + edges + text_at((left + right) / 2, scale.top + 12, "jump", "named")


def _edit(axis: Axis, edit: Edit, scale: _Offsets) -> Markup:
    """A mark where something was inserted, removed or moved."""
    left, right = axis.x(edit.start_s), axis.x(edit.end_s)
    words = f"{moment(edit.start_s)}: {describe_edit(edit)}"
    return Markup('<path class="edit" d="M{} {}h{}v{}h{}z"><title>{}</title></path>').format(
        coord(left),
        coord(scale.top),
        coord(max(right - left, 0.5)),
        coord(scale.height),
        coord(-max(right - left, 0.5)),
        words,
    )


def _label(report: Report, number: int, axis: Axis, scale: _Offsets) -> Markup:
    """The offset of a stretch beside its line, on the side away from zero, if there is room."""
    stretch = report.stretches[number]
    left, right = axis.x(stretch.start_s), axis.x(stretch.end_s)
    if right - left < 90:
        return Markup("")
    ends_ms = (stretch.start_offset_ms, stretch.end_offset_ms)
    high = max(ends_ms, key=abs)
    text = " to ".join(map(short_offset, ends_ms)) if stretch.drifts else short_offset(high)
    return text_at((left + right) / 2, scale.y(high) + (-9 if high > 0 else 20), text, "found")


def _most_ms(report: Report) -> float:
    """The largest offset that is drawn; a segment beyond it is drawn at the edge."""
    ends = [
        abs(end) for each in report.stretches for end in (each.start_offset_ms, each.end_offset_ms)
    ]
    shown = sorted(
        abs(segment.offset_ms) for segment in report.segments if segment.offset_ms is not None
    )
    usual = [shown[int(0.95 * (len(shown) - 1))]] if shown else []
    limits = [report.tolerance.early_ms, report.tolerance.late_ms, abs(report.offset_ms or 0.0)]
    return 1.25 * max([80.0, *limits, *ends, *usual])


def _segment_bar(report: Report, number: int, axis: Axis, scale: _Offsets) -> Markup:
    segment = report.segments[number]
    if segment.offset_ms is None:
        return Markup("")
    left, right = axis.x(segment.start_s), axis.x(segment.end_s)
    sure = "sure" if segment.confidence >= 0.9 else "unsure"
    words = (
        f"{clock(segment.start_s)} to {clock(segment.end_s)}: {short_offset(segment.offset_ms)}, "
        f"confidence {confidence_text(segment.confidence)}"
    )
    return Markup(
        '<rect class="segment {}" x="{}" y="{}" width="{}" height="5" '
        'rx="1.5"><title>{}</title></rect>'
    ).format(
        sure,
        coord(left),
        coord(scale.y(segment.offset_ms) - 2.5),
        coord(max(right - left - 0.5, 1.5)),
        words,
    )


def _band(report: Report, scale: _Offsets) -> Markup:
    top, bottom = scale.y(report.tolerance.early_ms), scale.y(-report.tolerance.late_ms)
    return box("band", LEFT, top, INSIDE, bottom - top)


def _seconds(report: Report, axis: Axis, scale: _Offsets) -> Markup:
    """What each second shows by itself, as points."""
    line = "".join(
        f"M{coord(axis.x(block.start_s + 0.5))} {coord(scale.y(block.offset_ms))}h0"
        for block in report.blocks
        if block.offset_ms is not None
    )
    return Markup('<path class="second" d="{}"/>').format(line)


def _lane(report: Report, axis: Axis, y: float) -> Markup:
    """The strip under the plot: what shows an offset, what shows none, and (in the background's
    colour) what was not looked at, or of a test signal what is no event.
    """
    parts = [box("unseen", LEFT, y, INSIDE, _LANE)]
    for shows, name in ((True, "shows"), (False, "mute")):
        runs = _joined(
            [(s.start_s, s.end_s) for s in report.segments if (s.offset_ms is not None) is shows]
            if report.segments
            else [(s.start_s, s.end_s) for s in report.stretches if shows]
        )
        parts += [_zone(name, axis, start_s, end_s, y, _LANE) for start_s, end_s in runs]
    lost = "unmatched" if report.by_reference else "lost"
    parts += [
        _zone(lost, axis, start_s, end_s, y, _LANE) for start_s, end_s in report.degraded.unseen_s
    ]
    return Markup("").join(parts)


def _joined(runs: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Runs in order of time; those that touch become one."""
    out: list[tuple[float, float]] = []
    for start_s, end_s in runs:
        if out and start_s - out[-1][1] < 0.1:
            start_s = out.pop()[0]
        out.append((start_s, end_s))
    return out


def _zone(name: str, axis: Axis, start_s: float, end_s: float, y: float, height: float) -> Markup:
    left, right = axis.x(start_s), axis.x(end_s)
    return box(name, left, y, max(right - left, 1.5), height)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def lane_legend(report: Report) -> Markup:
    """The meaning of the colours in the strip under the chart."""
    shows, lost = ("shows", "shows an offset"), ("lost", "lost or damaged")
    kinds = [shows, ("mute", "shows none"), ("unseen", "not looked at"), lost]
    if report.by_reference:
        kinds = [shows, ("unmatched", report.unseen_text)]
    elif report.by_signal:
        kinds = [shows, ("unseen", "no event"), lost]
    keys = (
        Markup(
            '<span class="key"><svg width="22" height="10" aria-hidden="true">'
            '<rect class="{}" width="22" height="10"/></svg> {}</span>'
        ).format(name, text)
        for name, text in kinds
    )
    return Markup(" ").join(keys)
