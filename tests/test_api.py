"""`avcheck.check` and `avcheck.check_many`, with a stand-in for the network."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import avcheck
from tests.support import fake_scan


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lib").mkdir()
    for name in ("a.mp4", "b late.mp4", "broken.mov"):
        (tmp_path / "lib" / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    fake_scan.stand_in(monkeypatch)
    fake_scan.MADE.clear()
    return tmp_path


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        ("film", avcheck.PRESETS["film"]),
        (avcheck.PRESETS["atsc"], avcheck.PRESETS["atsc"]),
        (avcheck.Tolerance(1, 2),) * 2,
    ],
)
def test_a_tolerance_is_a_preset_s_name_or_limits(
    clips: Path, given: str | avcheck.Tolerance, limits: avcheck.Tolerance
) -> None:
    assert avcheck.check("lib/a.mp4", tolerance=given).tolerance == limits


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("ebu-r73", "did you mean 'ebu-r37'"),
        ("bbc", "presets are ebu-r37, itu-detect"),
        (40, "not 40; presets are"),
    ],
)
def test_a_wrong_tolerance_says_what_there_is(clips: Path, given: object, says: str) -> None:
    with pytest.raises(avcheck.UsageError, match=says):
        avcheck.check("lib/a.mp4", tolerance=given)  # type: ignore[arg-type]


@pytest.mark.parametrize(("given", "asked"), [(False, None), (True, 8), (5, 5)])
def test_sample_is_yes_or_a_number(clips: Path, given: bool | int, asked: int | None) -> None:
    avcheck.check("lib/a.mp4", sample=given)
    assert fake_scan.MADE[0].calls[0]["settings"].sample == asked


def test_a_directory_is_a_clear_error_and_many_take_it(clips: Path) -> None:
    with pytest.raises(
        avcheck.UsageError, match=r"lib is a directory; avcheck.check_many searches directories"
    ):
        avcheck.check("lib")
    verdicts = [(report.path, report.verdict) for report in avcheck.check_many(["lib", "gone.mp4"])]
    expected = [
        ("gone.mp4", "error"),
        ("lib/a.mp4", "in_sync"),
        ("lib/b late.mp4", "out_of_sync"),
        ("lib/broken.mov", "error"),
    ]
    assert verdicts == expected
    assert len(fake_scan.MADE) == 1  # the weights are loaded once


@pytest.mark.parametrize("given", ["lib/a.mp4", Path("lib/a.mp4")])
def test_one_path_is_not_a_list_of_letters(clips: Path, given: str | Path) -> None:
    assert [report.path for report in avcheck.check_many(given)] == ["lib/a.mp4"]


def test_a_file_that_is_not_there_is_a_report(clips: Path) -> None:
    report = avcheck.check("gone.mp4")
    assert (report.verdict, report.reason_code) == ("error", "missing")


def test_progress_is_heard(clips: Path) -> None:
    one: list[float] = []
    avcheck.check("lib/a.mp4", on_progress=one.append)
    assert one == [0.5, 1.0]
    many: list[tuple[str, float]] = []
    list(
        avcheck.check_many(
            ["lib/a.mp4", "lib/b late.mp4"],
            on_progress=lambda path, done: many.append((path, done)),
        )
    )
    assert many == [(path, done) for path in ("lib/a.mp4", "lib/b late.mp4") for done in (0.5, 1.0)]


def test_a_check_can_be_called_off(clips: Path) -> None:
    cancel = threading.Event()

    def hear(done: float) -> None:
        if done == 0.5:
            cancel.set()

    with pytest.raises(avcheck.Cancelled):
        avcheck.check("lib/a.mp4", on_progress=hear, cancel=cancel)
    with pytest.raises(avcheck.Cancelled):  # and does not even begin
        avcheck.check("lib/a.mp4", cancel=cancel)
    assert len(fake_scan.MADE) == 1


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_run_can_be_called_off_between_files(
    clips: Path, monkeypatch: pytest.MonkeyPatch, jobs: int
) -> None:
    fake_scan.stand_in(monkeypatch, fake_scan.make_checker)
    cancel = threading.Event()
    reports = avcheck.check_many(["lib"], jobs=jobs, cancel=cancel)
    assert next(reports).path.startswith("lib/")
    cancel.set()
    with pytest.raises(avcheck.Cancelled):
        next(reports)


def test_an_option_nobody_knows_is_a_type_error(clips: Path) -> None:
    with pytest.raises(TypeError, match="tolerence"):
        next(avcheck.check_many(["lib"], tolerence="film"))
