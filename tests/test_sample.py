"""Sampling long titles: where to look, that what is seen there is what the whole shows, and that
the verdict is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.checker import Checker
from avcheck.errors import CannotSeek, UsageError
from avcheck.media import open_media
from avcheck.network import weights
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.reading.blocks import Block, blocks
from avcheck.reading.segments import Window, window_over
from avcheck.scan import curves as scanning
from avcheck.scan.listening import CANDIDATES, ENOUGH_SAMPLES, TRIES, LookPlan
from avcheck.settings import MOST_PROBES, CheckSettings
from tests.support.blinking import B_FRAMES, correlated, film, late
from tests.support.looking_around import Shows, look_around
from tests.support.networks import TINY

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]


# ---- where to look

TOTAL, PROBES = 720, 8  # units of a title of two hours


def sampled(
    voice: list[float], *sounds: Shows, drift: float | None = None, probes: int = PROBES
) -> tuple[set[int], set[int]]:
    """The units that are heard, and those that are looked at."""
    plan = LookPlan.of_samples(len(voice), probes)
    assert plan is not None
    return look_around(plan, voice, *sounds, drift=drift)


@pytest.mark.parametrize(("total", "probes"), [(1, 8), (1, 3), (9, 3), (24, 8)])
def test_a_title_no_longer_than_all_probes_is_not_sampled(total: int, probes: int) -> None:
    assert LookPlan.of_samples(total, probes) is None
    assert LookPlan.of_samples(total + 3 * probes, probes) is not None


def test_some_units_of_every_part_are_heard_and_the_most_like_a_voice_looked_at() -> None:
    rng = np.random.default_rng(1)
    voice = rng.uniform(0.1, 0.5, TOTAL)
    voice[rng.permutation(TOTAL)[: TOTAL // 4]] = 0.9
    heard, looked = sampled(voice.tolist(), lambda _: 20.0)
    shares = [TOTAL * k // (CANDIDATES * PROBES) for k in range(CANDIDATES * PROBES + 1)]
    for low, high in pairwise(shares):
        assert len(heard.intersection(range(low, high))) == 1
    assert len({k - low for k, low in zip(sorted(heard), shares, strict=False)}) > 3
    for part in range(PROBES):
        (best,) = looked.intersection(range(90 * part, 90 * (part + 1)))
        assert voice[best] >= max(voice[k] for k in heard if k // 90 == part) - 0.1


def test_what_sounds_like_no_voice_is_not_looked_at() -> None:
    voice = [float(k < 90) for k in range(TOTAL)]
    heard, looked = sampled(voice, lambda _: 20.0)
    assert len(heard) == CANDIDATES * PROBES
    assert len(looked) == ENOUGH_SAMPLES
    assert max(looked) < 90


def test_a_silent_title_is_looked_at_once_a_part() -> None:
    _, looked = sampled([0.0] * TOTAL, lambda _: None)
    assert [90 * part <= k < 90 * (part + 1) for part, k in enumerate(sorted(looked))] == [True] * 8


@pytest.mark.parametrize("at", [25, 91, 180, 352, 353, 500, 690])
@pytest.mark.parametrize("spoken", [1, 2])
def test_a_jump_is_narrowed_down_to_neighbouring_units(at: int, spoken: int) -> None:
    """Of which every `spoken`th has a voice."""
    voice = [float(k % spoken == 0) for k in range(TOTAL)]
    heard, looked = sampled(voice, lambda k: 0.0 if k < at else 240.0)
    able = [k for k in range(TOTAL) if voice[k]]
    assert {max(k for k in able if k < at), min(k for k in able if k >= at)} <= looked
    assert len(looked) <= MOST_PROBES * PROBES
    assert len(heard) < 100


@pytest.mark.parametrize("total", [60, TOTAL, 1200])
def test_a_drift_is_followed_to_both_ends(total: int) -> None:
    _, looked = sampled([1.0] * total, lambda k: -2.0 * k, drift=-12.0)
    assert {0, total - 1} <= looked
    assert len(looked) <= PROBES + 4


def test_an_open_verdict_asks_for_more_up_to_the_cap() -> None:
    heard, looked = sampled([float(k % 7 == 0) for k in range(TOTAL)], lambda _: None)
    assert looked == {k for k in heard if k % 7 == 0}
    assert PROBES < len(looked) < MOST_PROBES * PROBES
    assert len(sampled([1.0] * TOTAL, lambda _: None)[1]) == MOST_PROBES * PROBES


def test_a_part_that_shows_nothing_is_tried_a_few_times() -> None:
    _, looked = sampled([1.0] * TOTAL, lambda k: 20.0 if k >= 90 else None)
    assert sum(k < 90 for k in looked) == TRIES
    assert len(looked) == PROBES - 1 + TRIES


def test_a_sound_that_shows_nothing_asks_only_if_no_other_shows_anything() -> None:
    voice = [1.0] * TOTAL
    assert len(sampled(voice, lambda _: 20.0, lambda _: None)[1]) == PROBES
    assert len(sampled(voice, lambda _: None, lambda _: None)[1]) == MOST_PROBES * PROBES
    _, looked = sampled(voice, lambda _: 20.0, lambda k: 20.0 + 240.0 * (k >= 352))
    assert {351, 352} <= looked


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
    clip: Callable[..., Path], name: str, options: dict[str, Any]
) -> None:
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
        probe = window_over(media, 4, 8, origin_s)
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
            np.zeros((100, 64), np.float32),
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
        window_over(media, 40, 45, 0.0)


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
    path = film(tmp_path / name, 125, late(late_s), video_options=B_FRAMES)
    checker = Checker(model, "cpu")
    progress: list[float] = []
    some = checker.check(path, CheckSettings(sample=3), progress.append)
    whole = checker.check(path)
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert whole.sampled_s is None
    assert some.sampled_s is not None
    # Three probes, three more for enough of them, and what there is to follow; the last has 5 s
    assert 55 <= some.sampled_s <= 90
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
        pytest.param("old.avi", {"seconds": 105}, marks=pytest.mark.slow),
        pytest.param(
            "fixed.mp4",
            {
                "seconds": 105,
                "video_options": {"preset": "ultrafast", "g": "9999", "sc_threshold": "0"},
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_is_short_or_cannot_be_sought_is_checked_whole(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch, name: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(scanning, "score_segment", correlated)
    path = film(tmp_path / name, play=late(lambda t: 0 * t), **options)
    report = Checker(model, "cpu").check(path, CheckSettings(sample=3))
    assert report.sampled_s is None
    assert report.verdict == "in_sync"
    assert report.segments[-1].end_s == pytest.approx(options["seconds"], abs=1)
