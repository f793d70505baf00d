"""Stills of a title in SVG: the picture with the attention over it, and the sound around it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from avcheck.record.detail import BlockPlaces, SegmentDetail
from avcheck.record.markers import TitleClock
from avcheck.record.report import Report
from avcheck.render.text import percent
from avcheck.text.times import moment

if TYPE_CHECKING:
    from avcheck.evidence.stills import Still

_WAVE_HEIGHT = 90.0
_WAVE_WIDTH = 400.0


@dataclass(frozen=True)
class Frame:
    """A still as the page shows it."""

    at: str  # its time, as the page writes times
    caption: str  # its timecode, and its share of the attention
    picture: Markup  # SVG: the still under its attention
    wave: Markup  # SVG: the sound around it


def frame(still: Still, report: Report) -> Frame:
    """A still with the attention of its second over it, if the verdict rests on that; below it the
    sound, with a mark where the sound of this picture lies.
    """
    at = moment(still.time_s)
    offset_ms = report.offset_at(still.time_s)
    share = next(
        (
            block.attention
            for block in report.blocks
            if block.start_s <= still.time_s < block.start_s + 1 and report.by_network
        ),
        None,
    )
    parts = [TitleClock.of(report.picture).text(still.time_s)]
    parts += [] if share is None else [f"{percent(share)} of the attention"]
    return Frame(
        at, ", ".join(filter(None, parts)), _picture(still, report), _wave(still, offset_ms)
    )


def _picture(still: Still, report: Report) -> Markup:
    places = _places(report, still.time_s)
    heat = Markup("") if places is None else _heat(still, *places)
    return Markup(
        '<svg class="still" viewBox="0 0 {0} {1}" role="img" aria-label="Picture at {2}{3}">'
        '<image width="{0}" height="{1}" href="data:image/jpeg;base64,{4}"/>{5}</svg>'
    ).format(
        still.width,
        still.height,
        moment(still.time_s),
        "" if places is None else _focus(*places),
        base64.b64encode(still.jpeg).decode("ascii"),
        heat,
    )


def _places(report: Report, time_s: float) -> tuple[SegmentDetail, BlockPlaces] | None:
    if not report.by_network:
        return None
    for segment in report.detail.segments if report.detail else ():
        for block in segment.blocks:
            if block.start_s <= time_s < block.start_s + 1 and block.cells:
                return segment, block
    return None


def _heat(still: Still, segment: SegmentDetail, block: BlockPlaces) -> Markup:
    """A glow over each cell, as strong as its share."""
    wide, high = still.width / segment.columns, still.height / segment.rows
    most = max(share for _, _, share in block.cells)
    glows = (
        Markup(
            '<ellipse class="glow" cx="{:.0f}" cy="{:.0f}" rx="{:.0f}" ry="{:.0f}" '
            'fill-opacity="{:.2f}"/>'
        ).format(
            (column + 0.5) * wide,
            (row + 0.5) * high,
            wide,
            high,
            0.2 + 0.8 * share / most,
        )
        for column, row, share in reversed(block.cells)
    )
    return Markup("").join(glows)


def _focus(segment: SegmentDetail, block: BlockPlaces) -> str:
    """Where most of the attention falls, in words."""
    column, row, _ = block.cells[0]
    across = ("left", "middle", "right")[min(3 * column // segment.columns, 2)]
    down = ("top", "middle", "bottom")[min(3 * row // segment.rows, 2)]
    place = "middle" if across == down else f"{down} {across}"
    return f"; the attention falls most on the {place}"


def _wave(still: Still, offset_ms: float | None) -> Markup:
    middle = _WAVE_HEIGHT / 2
    loudest = max((max(-low, high) for low, high in filter(None, still.peaks)), default=0.0)
    gain = (middle - 12) / max(loudest, 0.02)
    wide = _WAVE_WIDTH / len(still.peaks)
    line = "".join(
        f"M{(k + 0.5) * wide:.0f} {middle - gain * peak[1]:.0f}V{middle - gain * peak[0] + 1:.0f}"
        for k, peak in enumerate(still.peaks)
        if peak is not None
    )

    def x(time_s: float) -> float:
        return (
            _WAVE_WIDTH * (time_s - still.sound_start_s) / (still.sound_end_s - still.sound_start_s)
        )

    parts = [Markup('<path class="wave" d="{}"/>').format(line)]
    now = x(still.time_s)
    parts.append(Markup('<path class="now" d="M{:.1f} 0V{:.0f}"/>').format(now, _WAVE_HEIGHT))
    words = "The sound around it"
    if offset_ms is not None:
        # Sound that is early is heard before its picture is shown.
        its = min(max(x(still.time_s - offset_ms / 1000), 0.0), _WAVE_WIDTH)
        parts.append(Markup('<path class="its" d="M{:.1f} 0V{:.0f}"/>').format(its, _WAVE_HEIGHT))
        if abs(its - now) > 2:
            y = _WAVE_HEIGHT - 5
            parts.append(
                Markup('<path class="gap" d="M{:.1f} {:.0f}H{:.1f}"/>').format(now, y, its)
            )
        side = "before" if offset_ms > 0 else "after"
        words += f"; what belongs to this picture is heard {abs(offset_ms):.0f} ms {side} it"
    return Markup(
        '<svg class="sound" viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}">{}</svg>'
    ).format(_WAVE_WIDTH, _WAVE_HEIGHT, words, Markup("").join(parts))
