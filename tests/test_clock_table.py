"""Every container and codec that PyAV can write, measured through `open_media` by somebody else's
instrument.
"""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from tests.support import clock_table
from tests.support.clock_cases import CASES
from tests.support.clock_media import LATE_MS, Case
from tests.support.clock_table import Row, measure

MAJOR = av.__version__.partition(".")[0]


def _params() -> list[object]:
    params: list[object] = []
    for case in CASES:
        marks = [pytest.mark.slow] if case.slow else []
        marks += [pytest.mark.xfail(reason=case.wrong, strict=False)] if case.wrong else []
        params.append(pytest.param(case, id=case.name, marks=marks))
    return params


@pytest.mark.parametrize("case", _params())
def test_the_sound_is_as_late_as_the_file_says(case: Case, tmp_path: Path) -> None:
    if case.only not in ("", MAJOR):
        pytest.skip(f"only PyAV {case.only} writes it")
    row = measure(case, tmp_path)
    assert not row.fault(case), row


def test_names_are_unique_and_every_exception_has_its_reason() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 100
    moved = [
        case for case in CASES if abs(case.late_ms - LATE_MS) > 1 and "moved by" not in case.name
    ]
    moved += [case for case in CASES if case.late_ms == LATE_MS and "moved by" in case.name]
    assert all(case.why for case in moved)


def test_the_document_has_the_whole_table() -> None:
    text = (Path(__file__).parents[1] / "docs" / "media-clock.md").read_text(encoding="utf-8")
    rows = (
        text.partition(clock_table.MARKS[0])[2]
        .partition(clock_table.MARKS[1])[0]
        .strip()
        .splitlines()[2:]
    )
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [case.name for case in CASES]


def test_a_fault_would_be_found() -> None:
    case = Case("x", "mp4", "libx264", "aac")
    good = Row("x", "1", 41.0, 40.0, 42.0, 60)
    assert good.fault(case) == ""
    assert Row("x", "1", 44.0, 43.0, 45.0, 75).fault(case) == "44.00 ms late, not 40.00"
    assert Row("x", "1", 40.0, 30.0, 45.0, 75).fault(case) == "from 30.00 to 45.00 ms late"
    assert Row("x", "1", 41.0, 40.0, 42.0, 59).fault(case) == "59 pictures of 60"
    assert Row("x", "1", error="is empty").fault(case) == "is empty"
    assert Row("x", "1").fault(case) == "nothing could be measured"


def test_the_instrument_sees_a_shift(tmp_path: Path) -> None:
    """A file whose sound is moved by 20 ms is measured 20 ms later: the figures are not the
    instrument's own.
    """
    case = Case("moved", "mkv", "mpeg4", "pcm_s16le", {"audio_offset_s": 0.02})
    assert measure(case, tmp_path).late_ms == pytest.approx(60.0, abs=0.1)


def test_the_table_puts_runs_side_by_side() -> None:
    name = CASES[0].name
    text = clock_table.table(
        [[Row(name, "18.1", 40.0, 40.0, 40.0, 58)], [Row(name, "19.0", 46.0, 43.0, 49.0, 50)]]
    )
    assert "| file | truth | PyAV 18.1 | PyAV 19.0 | |" in text
    assert (
        f"| {name} | 40.00 | 40.00 | 46.00 (43 to 49), 50 of 58 pictures | **not right: PyAV "
        "19.0: 46.00 ms late" in text
    )
