"""Evidence as a film, read back: the seconds as they are keep their offset, and the same seconds
after them have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.evidence import film
from avcheck.evidence.film import ShownPart, make_film, telling_span
from avcheck.evidence.letters import written
from avcheck.evidence.panel import (
    HEIGHT,
    PICTURE_HEIGHT,
    WIDTH,
    Canvas,
    burn_in,
    glow_of,
    panel,
    picture,
)
from avcheck.rates import FRAME_RATE
from avcheck.record.detail import BlockPlaces, Detail, SegmentDetail
from avcheck.record.report import (
    BlockResult,
    PictureFacts,
    Report,
    Segment,
    Stretch,
)
from tests.support import fake_scan
from tests.support.clips import click_time_s
from tests.support.page_reports import MEDIA

Clip = Callable[..., Path]
EVENT_S = 4.0


def report(
    path: Path | str = "a.mp4",
    offset_ms: float | None = -200.0,
    attention: dict[int, float] | None = None,
) -> Report:
    stretches = () if offset_ms is None else (Stretch(0.0, 20.0, offset_ms, offset_ms),)
    return Report(
        str(path),
        "undecidable" if offset_ms is None else "out_of_sync",
        offset_ms=offset_ms,
        duration_s=20.0,
        audio_track=0,
        video_track=0,
        stretches=stretches,
        blocks=tuple(
            BlockResult(float(k), (attention or {}).get(k, 0.01), None) for k in range(20)
        ),
    )


# ---- which seconds


def test_the_seconds_that_draw_most_attention_are_shown() -> None:
    assert telling_span(report(attention={9: 0.3, 11: 0.3, 13: 0.2}), 5.0) == ShownPart(9.0, 5.0)


def test_of_a_test_signal_the_seconds_with_most_events_are_shown() -> None:
    events = tuple(Segment(at_s, at_s + 0.1, -200.0, 1.0) for at_s in (2.0, 11.2, 12.2, 13.2))
    made = replace(report(attention={2: 0.9}), measured_by="test_signal", segments=events)
    span = telling_span(made, 5.0)
    assert span.start_s <= 11.2 < 13.2 < span.end_s


def test_a_jump_does_not_lie_in_them_where_that_can_be() -> None:
    made = report(attention={9: 0.4, 10: 0.4, 14: 0.1})
    parts = (Stretch(0.0, 10.0, 0.0, 0.0), Stretch(10.0, 20.0, -200.0, -200.0))
    span = telling_span(Report(**{**vars(made), "stretches": parts}), 5.0)
    assert span in (ShownPart(5.0, 5.0), ShownPart(10.0, 5.0))


@pytest.mark.parametrize(
    ("duration_s", "looked_s", "length_s"),
    [
        (5.3, 6.0, 5.3),
        (5.0, 6.0, 5.0),
        (5.0, 5.0, 5.0),
        (4.0, 6.0, 6.0),
        (None, 6.0, 6.0),
        (60.0, 6.0, 8.0),
    ],
)
def test_a_short_title_is_shown_to_its_end(
    duration_s: float | None, looked_s: float, length_s: float
) -> None:
    segments = (Segment(0.0, looked_s, None, 0.0),)
    made = replace(report(), duration_s=duration_s, segments=segments)
    assert telling_span(made, 8.0) == ShownPart(0.0, length_s)


def test_what_is_asked_for_is_shown_as_far_as_the_title_goes() -> None:
    assert telling_span(report(), 8.0, at_s=15.5) == ShownPart(15.5, 4.5)
    for length_s, at_s, wrong in (
        (4.9, None, "length_s"),
        (15.1, None, "length_s"),
        (float("nan"), None, "length_s"),
        (8.0, 20.0, "at_s"),
        (8.0, -1.0, "at_s"),
    ):
        with pytest.raises(UsageError, match=f"^{wrong} must lie"):
            telling_span(report(), length_s, at_s)


# ---- the film


@pytest.mark.parametrize("late_ms", [200.0, pytest.param(-160.0, marks=pytest.mark.slow)])
def test_the_offset_is_heard_and_then_taken_out(clip: Clip, tmp_path: Path, late_ms: float) -> None:
    path = clip(seconds=6, events_s=(EVENT_S,), sound_late_s=late_ms / 1000, size=(320, 240))
    target = tmp_path / "out.mp4"
    length_s = 1.6
    make_film(report(path, -late_ms), ShownPart(EVENT_S - length_s / 2, length_s), target)
    with av.open(str(target)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, video.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (audio.codec_context.name, audio.codec_context.sample_rate) == ("aac", 48_000)
        frames = [(frame.time, frame.to_ndarray(format="gray")) for frame in file.decode(video)]
    assert len(frames) == 2 * length_s * FRAME_RATE
    flashes_s = [time_s for time_s, luma in frames if luma[:PICTURE_HEIGHT].mean() > 100]
    assert flashes_s == pytest.approx([length_s / 2, 1.5 * length_s], abs=0.001)
    with av.open(str(target)) as file:
        parts = [(frame.time, frame.to_ndarray()[0]) for frame in file.decode(audio=0)]
    sound = np.concatenate([samples for _, samples in parts])
    half = round(length_s * 48_000)
    start_s = parts[0][0]
    assert start_s is not None
    first_s = click_time_s(start_s, sound[:half], 48_000)
    second_s = click_time_s(start_s + length_s, sound[half:], 48_000)
    assert 1000 * (first_s - flashes_s[0]) == pytest.approx(late_ms, abs=3)
    assert 1000 * (second_s - flashes_s[1]) == pytest.approx(0, abs=3)


def test_an_offset_of_seconds_is_taken_out_too(clip: Clip, tmp_path: Path) -> None:
    """A stamped capture is measured up to 5 s."""
    path = clip(seconds=10, events_s=(EVENT_S,), sound_late_s=4.6, size=(320, 240))
    target = tmp_path / "out.mp4"
    make_film(report(path, -4600.0), ShownPart(EVENT_S - 0.8, 1.6), target)
    with av.open(str(target)) as file:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert click_time_s(0.0, sound[round(1.6 * 48_000) :], 48_000) == pytest.approx(0.8, abs=0.003)


@pytest.mark.parametrize("late_ms", [100.03125, 37.3])  # half a sample of 16 kHz
def test_the_sound_keeps_its_treble_when_it_is_moved(
    clip: Clip, tmp_path: Path, late_ms: float
) -> None:
    def tone(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
        return 0.3 * np.sin(2 * np.pi * 7000 * times_s)

    path = clip(seconds=6, size=(320, 240), play=tone)
    target = tmp_path / "out.mp4"
    make_film(report(path, -late_ms), ShownPart(2.0, 2.0), target)
    with av.open(str(target)) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    before, after = (heard[round(48_000 * s) :][:48_000].std() for s in (0.5, 2.5))
    assert before > 0.1
    assert 20 * np.log10(after / before) == pytest.approx(0, abs=0.2)  # dB


def test_an_offset_that_changes_is_taken_out_at_every_moment(clip: Clip, tmp_path: Path) -> None:
    clicks_s = (1.0, 2.0, 3.0)
    path = clip(seconds=4, events_s=clicks_s, size=(320, 240))
    drift = (Stretch(0.0, 4.0, -100.0, 100.0),)  # t - (0.05 t - 0.1) is the moment of the click
    jump = (Stretch(0.0, 2.5, 200.0, 200.0), Stretch(2.5, 4.0, -200.0, -200.0))
    for name, stretches, dues_s in (
        ("drift", drift, [(click_s - 0.1) / 0.95 for click_s in clicks_s]),
        ("jump", jump, [1.2, 2.2, 2.8]),
    ):
        target = tmp_path / f"{name}.mp4"
        make_film(replace(report(path), stretches=stretches), ShownPart(0.5, 3.0), target)
        with av.open(str(target)) as file:
            heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        for click_s, due_s in zip(clicks_s, dues_s, strict=True):
            first = round((3 + click_s - 0.5 - 0.5) * 48_000)
            heard_s = click_time_s(click_s - 0.5, heard[first : first + 48_000], 48_000)
            assert 1000 * (heard_s - due_s) == pytest.approx(0, abs=3)


def test_without_an_offset_there_is_nothing_to_take_out(clip: Clip, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    make_film(report(clip(seconds=4), None), ShownPart(1.0, 2.0), target)
    with av.open(str(target)) as file:
        assert sum(1 for _ in file.decode(video=0)) == 2 * FRAME_RATE


@pytest.mark.parametrize("rate", [24, 50, 60])
def test_the_timecode_is_that_of_the_picture_shown(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int
) -> None:
    """Each picture is as bright as its number in its second."""
    timecodes: list[tuple[int, int]] = []

    def burnt_in(canvas: Canvas, timecode: str) -> None:
        number = round((float(canvas.y[PICTURE_HEIGHT // 2, WIDTH // 2]) - 40) / 3)
        timecodes.append((number, int(timecode[-2:])))

    monkeypatch.setattr(film, "burn_in", burnt_in)
    path = clip(
        seconds=2,
        fps=rate,
        draw=lambda time_s: np.full((240, 320), 40 + 3 * (round(time_s * rate) % rate), np.uint8),
        size=(320, 240),
    )
    facts = PictureFacts(320, 240, f"{rate}/1", 0.0)
    make_film(replace(report(path), picture=facts), ShownPart(0.5, 1.0), tmp_path / "out.mp4")
    assert len({number for number, _ in timecodes}) >= 20
    assert all(number == timecode for number, timecode in timecodes)


# ---- one frame


def test_the_attention_glows_where_it_falls() -> None:
    segment = SegmentDetail(0.0, 1.0, (), 16, 9, (BlockPlaces(0.0, ((12, 2, 0.5), (12, 3, 0.25))),))
    glow = glow_of(segment, segment.blocks[0])
    assert glow is not None
    canvas = picture(np.full((360, 640), 100, np.uint8), glow)
    row, column = divmod(int(canvas.v.argmax()), canvas.v.shape[1])
    assert (row // 20, column // 20) == (2, 12)  # cells are 40 px, the colour planes half as large
    assert (canvas.u[:, :160] == 128).all()
    assert glow_of(segment, BlockPlaces(0.0, ())) is None
    detailed = replace(report(), detail=Detail((), (segment,), MEDIA))
    assert film._Glows(detailed).at(0.5) is not None
    # Of a test signal it is not what the verdict rests on
    assert film._Glows(replace(detailed, measured_by="test_signal")).at(0.5) is None


@pytest.mark.parametrize("size", [(90, 160), (160, 90), (120, 300), (1, 1)])
def test_a_picture_of_any_shape_fits(size: tuple[int, int]) -> None:
    canvas = picture(np.full(size, 255, np.uint8), None)
    assert canvas.stacked().shape == (HEIGHT * 3 // 2, WIDTH)
    shown = np.argwhere(canvas.y[:PICTURE_HEIGHT] == 235)
    (top, left), (bottom, right) = shown.min(axis=0), shown.max(axis=0)
    assert (bottom - top + 1) / (right - left + 1) == pytest.approx(size[0] / size[1], rel=0.03)
    assert abs(left - (WIDTH - 1 - right)) <= 2
    assert abs(top - (PICTURE_HEIGHT - 1 - bottom)) <= 2


@pytest.mark.parametrize("its_s", [0.25, -0.5, None, 5.0])
def test_the_mark_stands_where_the_sound_is_heard(its_s: float | None) -> None:
    canvas = Canvas.blank()
    panel(canvas, np.zeros(32_000, np.float32), "as it is", "0:01.00", its_s)
    columns = np.flatnonzero(canvas.v[(PICTURE_HEIGHT + 60) // 2] > 150)
    if its_s is None or abs(its_s) > 1:
        assert not len(columns)
    else:
        assert abs(2 * columns.mean() - WIDTH * (its_s + 1) / 2) <= 2


def test_the_timecode_stands_in_the_corner_of_the_picture() -> None:
    canvas = picture(np.full((360, 640), 200, np.uint8), None)
    plain = canvas.copy()
    burn_in(canvas, "01:00:03;12")
    dots = written("01:00:03;12")
    corner = canvas.y[8 : 8 + dots.shape[0], WIDTH - 8 - dots.shape[1] : WIDTH - 8]
    assert np.array_equal(corner > 100, dots)
    changed = np.argwhere(canvas.y != plain.y)
    assert changed[:, 0].max() < 40
    assert changed[:, 1].min() > WIDTH / 2


def test_letters_are_written_as_they_look() -> None:
    assert ["".join("#" if dot else "." for dot in row) for row in written("T1", scale=1)] == [
        "#####...#...",
        "..#....##...",
        "..#.....#...",
        "..#.....#...",
        "..#.....#...",
        "..#.....#...",
        "..#....###..",
    ]


# ---- the command


def test_the_command_refuses_before_it_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    title = tmp_path / "a.mp4"
    title.write_bytes(b"x")
    other = tmp_path / "there.mp4"
    other.write_bytes(b"y")
    for target, words in (
        (tmp_path / "out.mkv", "must end in .mp4"),
        (other, "exists already; --force"),
        (title, "is what is checked"),
        (tmp_path, "must end in .mp4"),
        (tmp_path / "gone" / "out.mp4", "there is no directory"),
    ):
        assert main(["evidence", str(title), str(target)]) == 2
        assert words in capsys.readouterr().err
    assert (title.read_bytes(), other.read_bytes()) == (b"x", b"y")
    for wrong, words in (
        ("--at=soon", "'soon' is no time"),
        ("--at=1:75", "'1:75' is no time"),
        ("--length=0:30", "--length must lie between 5 and 15 s, not 30"),
        ("--audio=gone.wav", "gone.wav"),
    ):
        assert main(["evidence", str(title), str(tmp_path / "out.mp4"), wrong]) == 2
        said = capsys.readouterr()
        assert words in said.err and not said.out


def test_a_place_is_given_as_the_titles_timecode_too(
    monkeypatch: pytest.MonkeyPatch,
    clip: Clip,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And one outside the title is refused before it is checked."""
    spans: list[ShownPart] = []
    checked: list[Path] = []
    title = clip(
        "a.mxf", seconds=13, fps=Fraction(30000, 1001), vcodec="mpeg2video", acodec="pcm_s16le"
    )

    def check(path: Path, *_: object, **__: object) -> Report:
        checked.append(path)
        return report(path)

    def write(_: Report, span: ShownPart, target: Path, *, audio: Path | None) -> None:
        spans.append(span)
        target.touch()

    monkeypatch.setattr("avcheck.cli.evidence.check_alone", check)
    monkeypatch.setattr(film, "make_film", write)
    command = ["evidence", str(title), str(tmp_path / "out.mp4"), "--force"]
    for at in ("00:00:05:15", "5.5055", "0:00:05.5055"):
        assert main([*command, f"--at={at}", "--length=0:06"]) == 0
    assert [each.start_s for each in spans] == pytest.approx([5.5055] * 3)
    assert [each.length_s for each in spans] == [6.0] * 3
    capsys.readouterr()
    for slip, says in (
        ("--at=00:00:05:31", "no picture of the title can have the timecode 00:00:05:31"),
        (
            "--at=00:00:20:00",
            "--at must lie in the title, from 00:00:00:00 to 00:00:13:00, not 00:00:20:00",
        ),
        ("--at=99", "--at must lie in the title, from 0 to 13.0 s, not 99"),
        ("--length=20", "--length must lie"),
    ):
        assert main([*command, slip]) == 2
        assert f"avcheck: {says}" in capsys.readouterr().err
    assert checked == [title] * 3


def test_the_sound_may_be_a_file_of_its_own(clip: Clip, tmp_path: Path) -> None:
    pictures = clip("silent.mp4", seconds=5, acodec=None)
    sound = clip("sound.wav", seconds=5, vcodec=None, acodec="pcm_s16le", events_s=(3.0,))
    checked = replace(report(pictures), audio_track=None)
    make_film(checked, ShownPart(2.0, 2.0), tmp_path / "out.mp4", audio=sound)
    with av.open(str(tmp_path / "out.mp4")) as file:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
    assert click_time_s(0.0, heard[: 2 * 48_000], 48_000) == pytest.approx(1.0, abs=0.03)


def test_the_command_writes_a_whole_film_or_none(
    clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_scan.stand_in(monkeypatch)
    title, target = clip("late.mp4", seconds=8), tmp_path / "out.mp4"
    assert main(["evidence", str(title), str(target)]) == 0  # out of sync, and the film is there
    said = capsys.readouterr()
    assert "sound late by 120 ms" in said.out
    assert "out.mp4 shows 0:00 to 0:02" in said.err
    assert fake_scan.MADE[-1].calls[-1]["settings"].detail is True
    assert main(["evidence", str(title), str(target), "--force", "--at=0:00:01", "--length=5"]) == 0
    assert "out.mp4 shows 0:01 to 0:02" in capsys.readouterr().err
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"x")
    assert main(["evidence", str(broken), str(tmp_path / "none.mp4")]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "late.mp4", "out.mp4"]
