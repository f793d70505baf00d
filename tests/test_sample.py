"""Sampling long titles: where to look, that what is seen there is what the whole shows, and that
the verdict is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avcheck import first_look, sampling, weights
from avcheck import scan as scanning
from avcheck import segments as segments_module
from avcheck.blocks import Block, blocks
from avcheck.checker import Checker
from avcheck.errors import CannotSeek, UsageError
from avcheck.heads import JointHead
from avcheck.media import open_media
from avcheck.model import SyncNet
from avcheck.model_config import ATTENTION_KINDS
from avcheck.report import Segment
from avcheck.sampling import first_probes, more_probes, stretches
from avcheck.segments import Window
from avcheck.settings import MOST_PROBES, PROBE_BLOCKS, CheckSettings
from avcheck.verdict import Judgement
from tests.support.blinking import B_FRAMES, blink, correlated, late
from tests.support.clips import make_clip
from tests.support.networks import TINY

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]


# ---- where to look


def test_the_first_probes_lie_in_the_middle_of_equal_parts() -> None:
    assert stretches(3600.0) == 180
    assert first_probes(180, 8) == (11, 33, 56, 78, 101, 123, 146, 168)
    assert first_probes(16, 8) == (1, 3, 5, 7, 9, 11, 13, 15)


@pytest.mark.parametrize("total", [0, 1, 5, 15])
def test_a_short_title_is_not_sampled(total: int) -> None:
    assert first_probes(total, 8) == ()


def found(
    offsets: dict[int, float | None], verdict: str = "in_sync", drift: float | None = None
) -> Judgement:
    """What probes say whose segments all show these offsets (ms)."""
    segments = tuple(
        Segment(PROBE_BLOCKS * k + half, PROBE_BLOCKS * k + half + 10, offset_ms, 0.9)
        for k, offset_ms in sorted(offsets.items())
        for half in (0.0, 10.0)
    )
    return Judgement(verdict, None, 0.0, 0.9, drift, (), segments, ())  # type: ignore[arg-type]


def test_probes_that_agree_are_enough() -> None:
    looked = {3: 0.0, 10: 12.0, 17: -20.0, 24: None}
    assert more_probes(list(looked), found(looked), 28, 4, 0.0) == ()


@pytest.mark.parametrize("where", [4, 11, 15, 16, 24])
def test_a_jump_is_narrowed_down_to_neighbouring_stretches(where: int) -> None:
    total, count = 28, 4
    looked = list(first_probes(total, count))
    while more := more_probes(
        looked, found({k: 0.0 if k < where else 240.0 for k in looked}), total, count, 0.0
    ):
        assert len(more) == 1
        looked += more
    assert {where - 1, where} <= set(looked)
    assert len(looked) <= count + 3


def test_a_drift_is_followed_to_both_ends() -> None:
    looked = {3: 0.0, 10: -100.0, 17: -200.0, 24: -300.0}
    assert more_probes(list(looked), found(looked, "out_of_sync", -20.0), 28, 4, 0.0) == (0, 27)


def test_an_open_verdict_asks_for_more_up_to_the_cap() -> None:
    looked = list(first_probes(100, 8))
    while more := more_probes(looked, found(dict.fromkeys(looked), "undecidable"), 100, 8, 0.0):
        assert not set(more) & set(looked)
        looked += more
    assert len(looked) == 8 * MOST_PROBES
    assert max(np.diff(sorted(looked))) <= 8
    tiny = list(first_probes(6, 3))
    while more := more_probes(tiny, found(dict.fromkeys(tiny), "undecidable"), 6, 3, 0.0):
        tiny += more
    assert sorted(tiny) == list(range(6))


def test_segments_are_told_apart_on_the_grid_of_the_title() -> None:
    late = tuple(
        Segment(1.48 + PROBE_BLOCKS * k, 11.48 + PROBE_BLOCKS * k, 200.0 * (k > 5), 0.9)
        for k in (1, 9)
    )
    judged = Judgement("out_of_sync", None, 200.0, 0.9, None, (), late, ())
    assert more_probes([1, 9], judged, 12, 3, 1.48) == (5,)


def test_too_few_probes_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 3 probes, not 2"):
        CheckSettings(sample=2)


# ---- what is seen there


def scene(time_s: float) -> Array:
    rows = np.sin(np.arange(48) / 7 + 3 * time_s)
    columns = np.cos(np.arange(64) / 9 - 5 * time_s)
    return (120 + 90 * rows[:, None] * columns).astype(np.uint8)


def babble(times_s: Array) -> Array:
    tone = np.sin(2 * np.pi * (300 * times_s + 40 * np.sin(times_s)))
    return (
        0.3 * np.sin(2 * np.pi * 220 * times_s) * (1 + np.sin(6 * np.pi * times_s)) / 2 + 0.1 * tone
    )


def probe_of(seconds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes of fewer seconds, so that a short film has as many stretches as a long one."""
    for module in (sampling, segments_module, first_look):
        monkeypatch.setattr(module, "PROBE_BLOCKS", seconds)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mp4", {}),
        ("clip.mp4", {"sample_rate": 44100, "fps": 30000 / 1001}),
        ("clip.mp4", {"audio_offset_s": 0.5}),
        ("clip.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("clip.mkv", {"sample_rate": 44100}),
        ("clip.mkv", {"acodec": "libmp3lame", "start_s": 1.3}),
        ("clip.webm", {"vcodec": "libvpx", "acodec": "libopus", "video_options": {}}),
        ("clip.ts", {}),
    ],
)
def test_a_probe_s_blocks_are_those_of_the_whole_title(
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, Any],
) -> None:
    probe_of(4, monkeypatch)
    path = clip(
        name,
        **{
            "seconds": 11,
            "size": (64, 48),
            "sample_rate": 24_000,
            "draw": scene,
            "play": babble,
            "video_options": B_FRAMES | {"g": "75"},
        }
        | options,
    )
    with open_media(path, threads=1) as media:
        assert media.seekable
        origin_s = media.info.first_picture_s
        assert origin_s is not None
        (probe,) = segments_module.probes(media, [1], origin_s)
        assert not media.degraded.truncated
        whole = {block.index: block for block in blocks(media.pictures(), media.sounds())}
    assert [len(part) for part in (probe.before, probe.inside, probe.after)] == [2, 4, 2]
    for block in (*probe.before, *probe.inside, *probe.after):
        same = whole[block.index]
        assert block.start_s == same.start_s
        for field in ("pictures", "picture_mask", "mel", "mel_mask", "level_db"):
            if field.startswith("picture") and not 4 <= block.index < 8:
                assert not np.any(getattr(block, field))  # those around it lend their sound
                continue
            assert np.array_equal(getattr(block, field), getattr(same, field)), (block.index, field)


def test_segments_of_a_probe_have_the_sound_of_both_sides() -> None:
    def block(index: int) -> Block:
        pictures = np.zeros((25, 2, 2), np.uint8)
        return Block(
            index,
            float(index),
            pictures,
            np.ones(25, bool),
            np.zeros((100, 64)),
            np.ones(100, bool),
            -20.0,
        )

    probe = Window(
        [block(k) for k in range(40, 60)],
        [block(k) for k in (38, 39)],
        [block(k) for k in (60, 61)],
    )
    parts = [
        [[item.index for item in part] for part in (each.before, each.inside, each.after)]
        for each in probe.segments()
    ]
    assert parts == [
        [[38, 39], list(range(40, 50)), [50, 51]],
        [[48, 49], list(range(50, 60)), [60, 61]],
    ]


def test_a_file_without_key_frames_is_not_read_from_the_middle(clip: Callable[..., Path]) -> None:
    path = clip(
        seconds=45,
        size=(64, 48),
        video_options={"preset": "ultrafast", "g": "9999", "sc_threshold": "0"},
    )
    with open_media(path, threads=1) as media, pytest.raises(CannotSeek, match="check it whole"):
        list(segments_module.probes(media, [2], 0.0))


# ---- the verdict


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    heads = {kind: JointHead(TINY) for kind in ATTENTION_KINDS}
    weights.save(path, SyncNet(TINY), heads, calibration={"none": 3.0}, training={})
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "late_s"),
    [
        ("film.mp4", lambda t: 0 * t),
        ("film.mkv", lambda t: 0 * t + 0.2),
        ("film.ts", lambda t: 0.24 * (t > 81.0)),
        ("film.mp4", lambda t: -0.4 * t / 125.0),
    ],
    ids=["in sync", "late", "jump", "drift"],
)
def test_the_verdict_of_probes_is_that_of_the_whole(
    tmp_path: Path,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    late_s: Callable[[Array], Array],
) -> None:
    monkeypatch.setattr(scanning, "score_segment", correlated)
    path = make_clip(
        tmp_path / name,
        seconds=125,
        size=(64, 48),
        sample_rate=16_000,
        draw=blink,
        play=late(late_s),
        video_options=B_FRAMES,
    )
    checker = Checker(model, "cpu")
    progress: list[float] = []
    some = checker.check(path, CheckSettings(sample=3), progress.append)
    whole = checker.check(path)
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert whole.sampled_s is None
    assert some.sampled_s is not None
    # Three probes, and one more where there is something to follow
    assert 60 <= some.sampled_s <= 80
    assert sum(segment.end_s - segment.start_s for segment in some.segments) == pytest.approx(
        some.sampled_s
    )
    assert (
        some.verdict
        == whole.verdict
        == ("in_sync" if late_s(np.full(1, 125.0))[0] == 0 else "out_of_sync")
    )
    # A drift is judged by its end, and the end of the title that fills no probe is not looked at.
    assert some.offset_ms == pytest.approx(whole.offset_ms, abs=24)
    assert (some.drift_ms_per_min is None) == (whole.drift_ms_per_min is None)
    assert (some.drift_ms_per_min or 0.0) == pytest.approx(whole.drift_ms_per_min or 0.0, rel=0.06)
    assert len(some.jumps_s) == len(whole.jumps_s)
    assert some.jumps_s == pytest.approx(whole.jumps_s, abs=20)
    for report in (some, whole):
        assert len(report.stretches) == len(report.jumps_s) + 1
        for start_s, end_s in report.jump_intervals_s:
            # The segment in which it jumps shows what most of it has
            assert start_s - 10 <= 81 <= end_s + 10
        for stretch in report.stretches:
            for at_s, offset_ms in (
                (stretch.start_s, stretch.start_offset_ms),
                (stretch.end_s, stretch.end_offset_ms),
            ):
                inside_s = (
                    np.clip(at_s, stretch.start_s + 10, stretch.end_s - 10)
                    if report.jumps_s
                    else at_s
                )
                assert offset_ms == pytest.approx(
                    -1000 * float(late_s(np.full(1, inside_s))[0]), abs=40
                )
    assert {(segment.start_s, segment.offset_ms) for segment in some.segments} <= {
        (segment.start_s, segment.offset_ms) for segment in whole.segments
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("short.mp4", {"seconds": 14}),
        ("old.avi", {"seconds": 21, "acodec": "pcm_s16le"}),
        (
            "fixed.mp4",
            {
                "seconds": 45,
                "video_options": {"preset": "ultrafast", "g": "9999", "sc_threshold": "0"},
            },
        ),
    ],
)
def test_what_is_short_or_cannot_be_sought_is_checked_whole(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(scanning, "score_segment", correlated)
    probe_of(5, monkeypatch)
    path = make_clip(
        tmp_path / name,
        size=(64, 48),
        sample_rate=16_000,
        draw=blink,
        play=late(lambda t: 0 * t),
        **options,
    )
    report = Checker(model, "cpu").check(path, CheckSettings(sample=3))
    assert report.sampled_s is None
    assert report.verdict == "in_sync"
    assert report.segments[-1].end_s == pytest.approx(options["seconds"], abs=1)
