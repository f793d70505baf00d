"""What the drawings of the page show beside what was looked at: the end of a title, and the time
between the events of a test signal.
"""

from __future__ import annotations

import dataclasses
import re

from avcheck.record.report import Degraded, Segment
from avcheck.render.page.charts import attention_chart
from avcheck.render.page.svg import INSIDE, LEFT
from tests.support.page_reports import page, title


def test_a_title_that_ends_within_a_second_draws_nothing_behind_its_end() -> None:
    whole = title(60, jump=False)
    report = dataclasses.replace(
        whole,
        duration_s=59.4,
        segments=(*whole.segments[:-1], dataclasses.replace(whole.segments[-1], end_s=59.4)),
        degraded=Degraded(),
    )
    (line,) = re.findall(r'class="attention" d="([^"]*)"', str(attention_chart(report)))
    bars = re.findall(r"M([\d.]+) [\d.]+v[-\d.]+h([\d.]+)V", line)
    assert len(bars) == 60
    assert max(float(left) + float(width) for left, width in bars) <= LEFT + INSIDE + 0.1


def test_between_the_events_of_a_test_signal_nothing_was_left_out() -> None:
    """The strip called it "not looked at"."""
    events = tuple(Segment(at_s, at_s, -100.0, 1.0) for at_s in (1.0, 3.0, 5.0))
    report = dataclasses.replace(
        title(12), measured_by="test_signal", signal="flash", segments=events
    )
    text = page([report])
    assert "> no event</span>" in text
    assert "> not looked at</span>" not in text
    assert "The events as a table" in text
    assert "> not looked at</span>" in page([title(12)])
