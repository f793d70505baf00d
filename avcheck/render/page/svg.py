"""What all charts of the page use: a time axis, boxes, words, numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from avcheck.record.report import Report
from avcheck.text.times import clock

WIDTH = 1000.0
# Beside the plots, within the width; half of the last time label fits at the right
LEFT, RIGHT = 74.0, 22.0
INSIDE = WIDTH - LEFT - RIGHT
AXIS = 30.0  # below a plot, for its time labels
_STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)


@dataclass(frozen=True)
class Axis:
    """The time on the file's clock across a drawing, from start_s at the left to end_s."""

    start_s: float
    end_s: float

    @classmethod
    def of(cls, report: Report) -> Axis:
        """From the file's zero, or its first block if that is earlier, to the end of all that is
        known of it.
        """
        ends = [segment.end_s for segment in report.segments] + [
            end_s for _, end_s in report.degraded.unseen_s
        ]
        starts = [segment.start_s for segment in report.segments]
        start_s = min([0.0, *starts])
        return cls(start_s, max([start_s + 1.0, report.duration_s or 0.0, *ends]))

    def x(self, time_s: float) -> float:
        """Where a time is drawn."""
        share = (time_s - self.start_s) / (self.end_s - self.start_s)
        return LEFT + INSIDE * min(max(share, 0.0), 1.0)

    def time_s(self, share: float) -> float:
        """The time at a share (0..1) of the way across."""
        return self.start_s + share * (self.end_s - self.start_s)

    def ticks(self) -> list[float]:
        """Round times, at most ten or so."""
        step_s = next(
            (step for step in _STEPS_S if (self.end_s - self.start_s) / step <= 10), _STEPS_S[-1]
        )
        first = int(-(-self.start_s // step_s))
        return [step_s * k for k in range(first, int(self.end_s // step_s) + 1)]

    def drawn(self, y: float) -> Markup:
        """The time labels, under a plot that ends at `y`."""
        marks = (
            Markup(
                '<path class="tick" d="M{0} {1}v5"/><text class="at" x="{0}" y="{2}">{3}</text>'
            ).format(coord(self.x(time_s)), coord(y), coord(y + 18), clock(time_s))
            for time_s in self.ticks()
        )
        return Markup("").join(marks)


def text_at(x: float, y: float, text: str, name: str = "") -> Markup:
    """Text at a place; `name` adds a class of the style sheet. A stroke of its letters does not
    cover them.
    """
    # An attribute, as HTML validators do not know the CSS property
    return Markup('<text class="at {}" paint-order="stroke" x="{}" y="{}">{}</text>').format(
        name, coord(x), coord(y), text
    )


def box(name: str, x: float, y: float, width: float, height: float) -> Markup:
    """A rectangle of the class `name`."""
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(
        name, coord(x), coord(y), coord(max(width, 0.0)), coord(max(height, 0.0))
    )


def svg(height: float, words: str, parts: Sequence[Markup]) -> Markup:
    """A drawing, `WIDTH` wide; `words` describe it to those who cannot see it."""
    return Markup(
        '<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>'
    ).format(coord(WIDTH), coord(height), words, Markup("").join(parts))


def coord(value: float) -> str:
    """A coordinate, rounded to a tenth of a pixel."""
    return f"{value:.1f}".removesuffix(".0")
