"""Long titles that are heard first: where they are then looked at, and that this tells what a look
at all of it tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.checker import Checker
from avcheck.media import Sound
from avcheck.network import weights
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.rates import SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_FRAMES, Block
from avcheck.reading.segments import Window, segments
from avcheck.record.report import Listened, Report, Segment
from avcheck.render.page.words import unseen
from avcheck.scan import curves as scanning
from avcheck.scan import first_look, listening
from avcheck.scan.listening import (
    LEAST_VOICE,
    LEAST_WITH_OFFSET,
    PART_UNITS,
    TRIES,
    LookPlan,
    hear,
    mean_voice,
    next_units,
    units,
)
from avcheck.scan.looking import LEVELS
from avcheck.settings import CheckSettings
from avcheck.text.times import clock
from avcheck.verdict.judge import Judgement
from avcheck.verdict.posterior import Curve
from tests.support.blinking import B_FRAMES, correlated, film, late
from tests.support.looking_around import Shows, look_around
from tests.support.networks import TINY

torch.set_num_threads(1)
Array = np.ndarray[Any, Any]


# ---- where to look


def looked_at(voice: list[float], shows: Shows, drift: float | None = None) -> set[int]:
    """The units that a whole check looks at in the end."""
    return look_around(LookPlan.of_all(len(voice)), voice, shows, drift=drift)[1]


@pytest.mark.parametrize("blocks", [1, 4, 9, 14, 15, 24, 25, 26, 300, 304, 305])
def test_units_are_the_segments_of_the_whole_title(blocks: int) -> None:
    pictures, mask = np.zeros((25, 2, 2), np.uint8), np.ones(25, bool)
    mel = np.zeros((100, 64), np.float32)
    source = [
        Block(k, float(k), pictures, mask, mel, np.ones(100, bool), -20.0) for k in range(blocks)
    ]
    whole = [[block.index for block in window.inside] for window in segments(source)]
    assert [list(unit) for unit in units(blocks)] == whole


def test_one_unit_a_part_is_enough_where_all_agree() -> None:
    total = 40 * PART_UNITS
    looked = looked_at([1.0] * total, lambda _: 20.0)
    assert len(looked) == 40
    assert {0, total - 1} <= looked
    assert max(np.diff(sorted(looked))) < 2 * PART_UNITS


def test_what_sounds_most_like_a_voice_is_looked_at_and_what_sounds_like_none_never() -> None:
    voice = [0.0, 0.3, 0.9, 0.5, 0.0, 0.0] * 40
    assert {k % 6 for k in looked_at(voice, lambda _: 20.0)} == {2, 5}  # 5 is the title's last
    assert looked_at([0.0] * 59 + [LEAST_VOICE], lambda k: 20.0 * (k == 59)) == {59}


def test_a_part_that_tells_nothing_is_tried_a_few_times() -> None:
    total = 40 * PART_UNITS
    looked = looked_at([1.0] * total, lambda k: None if k < total / 2 else 20.0)
    assert sum(k < total / 2 for k in looked) == 20 * TRIES


def test_few_offsets_make_it_look_at_all_that_can_tell() -> None:
    voice = [1.0, 0.0] * 60
    few = looked_at(voice, lambda k: 20.0 if k < 2 * (LEAST_WITH_OFFSET - 1) else None)
    assert few == {*range(0, 120, 2), 119}


def test_a_title_that_stays_undecided_is_looked_at_whole() -> None:
    assert looked_at([1.0, 0.0] * 60, lambda _: None) == set(range(120))


@pytest.mark.parametrize("at", [1, 2, 37, 60, 61, 100, 178])
@pytest.mark.parametrize("spoken", [1, 2])
def test_a_jump_is_followed_to_the_units_on_either_side(at: int, spoken: int) -> None:
    """Of which every `spoken`th has a voice."""
    voice = [float(k % spoken == 0) for k in range(180)]
    looked = looked_at(voice, lambda k: 0.0 if k < at else 200.0)
    able = [k for k in range(180) if voice[k]]
    assert {max(k for k in able if k < at), min(k for k in able if k >= at)} <= looked
    assert len(looked) < 60


def test_half_way_between_two_that_disagree_what_sounds_most_like_a_voice_is_looked_at() -> None:
    voice = dict.fromkeys(range(12), 0.2) | {2: 1.0, 5: 0.9}
    parts = tuple(
        Segment(10.0 * k, 10.0 * (k + 1), offset_ms, 0.9)
        for k, offset_ms in ((0, 0.0), (11, 200.0))
    )
    judgement = Judgement("out_of_sync", None, 200.0, segments=parts)
    plan = LookPlan(total=12, parts=1, enough=1, most=12, hears_all=True)
    assert next_units(plan, voice, {0, 11}, [judgement], 0.0) == (1, 5, 10)


@pytest.mark.parametrize("first", range(60, 60 + PART_UNITS))
def test_a_minute_that_is_off_is_found_and_seen_all_but_whole(first: int) -> None:
    # The longest in which there may be no whole part
    off = range(first, first + 2 * PART_UNITS - 1)
    looked = looked_at([1.0] * 180, lambda k: 200.0 * (k in off))
    assert {off[0] - 1, off[0], off[-1], off[-1] + 1} <= looked
    assert len(looked.intersection(off)) >= 5


def test_a_drift_is_followed_to_both_ends() -> None:
    voice = [0.0, 0.2, 1.0] + [1.0] * 174 + [1.0, 0.2, 0.0]
    assert {1, 178} <= looked_at(voice, lambda k: 3.0 * k if voice[k] else None, drift=18.0)


@pytest.mark.parametrize(("mute", "reached"), [(1, {178, 179}), (2, {177, 178}), (40, {178, 179})])
def test_where_an_end_shows_nothing_the_drift_is_followed_to_the_next(
    mute: int, reached: set[int]
) -> None:
    looked = looked_at([1.0] * 180, lambda k: 3.0 * k if k < 180 - mute else None, drift=18.0)
    assert reached <= looked
    assert sum(k >= 180 - mute for k in looked) <= mute


# ---- what is heard


def test_voices_are_told_from_steady_noise_and_silence() -> None:
    rng = np.random.default_rng(1)
    times_s = np.arange(12 * SAMPLE_RATE) / SAMPLE_RATE
    syllables = (np.sin(2 * np.pi * 4 * times_s) > 0) + 0.02
    samples = 0.1 * rng.standard_normal(len(times_s))
    samples[4 * SAMPLE_RATE : 8 * SAMPLE_RATE] = 0
    samples[8 * SAMPLE_RATE :] *= syllables[8 * SAMPLE_RATE :]
    heard = hear([Sound(5.0, samples.astype(np.float32))], 5.0, 14)
    assert np.all(heard[:8] < LEAST_VOICE)
    assert np.all(heard[8:12] > 0.5)
    assert np.all(heard[12:] == 0)  # there is no more


def test_a_page_says_what_was_only_heard_and_why() -> None:
    report = Report("a.mp4", "in_sync", duration_s=5400.0, listened=Listened(1000.0, 400.0))
    assert [(length, why.partition(":")[0]) for length, why in unseen(report)] == [
        ("6:40", "Only heard"),
        ("1:06:40", "Only heard"),
    ]
    all_but_whole = Report("a.mp4", "in_sync", duration_s=600.0, listened=Listened(600.0, 0.0))
    assert unseen(all_but_whole) == []


# ---- the verdict


@pytest.fixture
def checker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checker:
    """One that hears first what is at least 40 s long, and has short parts."""
    monkeypatch.setattr(scanning, "score_segment", correlated)
    monkeypatch.setattr(first_look, "LEAST_S", 40.0)
    monkeypatch.setattr(listening, "PART_UNITS", 3)
    monkeypatch.setattr(listening, "LEAST_WITH_OFFSET", 3)
    path = tmp_path / "tiny.safetensors"
    torch.manual_seed(0)
    heads = {kind: JointHead(TINY) for kind in ATTENTION_KINDS}
    weights.save(path, SyncNet(TINY), heads, calibration={"none": 3.0}, training={})
    return Checker(path, "cpu")


def half_silent(play: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The same sound with every other twenty seconds left out."""
    return lambda times_s: play(times_s) * (times_s % 40 < 20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "late_s"),
    [
        ("film.mp4", lambda t: 0 * t),
        ("film.mkv", lambda t: 0 * t + 0.2),
        ("film.ts", lambda t: 0.24 * (t > 70.0)),
        ("film.mp4", lambda t: -0.4 * t / 145.0),
    ],
    ids=["in sync", "late", "jump", "drift"],
)
def test_what_is_looked_at_tells_what_all_of_it_tells(
    tmp_path: Path, checker: Checker, name: str, late_s: Callable[[Array], Array]
) -> None:
    path = film(tmp_path / name, 145, half_silent(late(late_s)), video_options=B_FRAMES)
    progress: list[float] = []
    some = checker.check(path, CheckSettings(), progress.append)
    whole = checker.check(path, CheckSettings(thorough=True))
    assert progress == sorted(progress)
    assert progress[-1] == 1.0
    assert sum(share <= 0.2 for share in progress) >= 145  # it moves while the sound is heard
    assert whole.listened is None
    assert some.listened is not None
    assert some.listened.mute_s >= 40
    assert some.listened.looked_s <= 105
    assert some.listened.looked_s == pytest.approx(
        sum(each.end_s - each.start_s for each in some.segments), abs=1
    )
    assert some.verdict == whole.verdict
    assert some.offset_ms == pytest.approx(whole.offset_ms, abs=24)
    assert (some.drift_ms_per_min is None) == (whole.drift_ms_per_min is None)
    assert some.jump_intervals_s == whole.jump_intervals_s
    assert {(each.start_s, each.offset_ms) for each in some.segments} <= {
        (each.start_s, each.offset_ms) for each in whole.segments
    }


@pytest.mark.slow
def test_several_sounds_are_heard_and_share_the_looks(tmp_path: Path, checker: Checker) -> None:
    """The last is a commentary: a voice throughout, which goes with nothing."""
    play = [
        half_silent(late(lambda t: 0 * t)),
        half_silent(late(lambda t: 0 * t + 0.2)),
        late(lambda t: 0 * t + 40.0),
    ]
    path = film(tmp_path / "film.mkv", 145, play)
    reports = checker.check_tracks(path, CheckSettings(every_track=True))
    assert [each.verdict for each in reports] == ["in_sync", "out_of_sync", "undecidable"]
    assert [each.offset_ms for each in reports[:2]] == [
        pytest.approx(0, abs=24),
        pytest.approx(-200, abs=24),
    ]
    (listened,) = {each.listened for each in reports}
    assert listened is not None
    assert listened.looked_s <= 105
    (looked,) = {tuple(part.start_s for part in each.segments) for each in reports}
    assert listened.looked_s == pytest.approx(10 * len(looked), abs=5.1)


@pytest.mark.parametrize(
    ("voice", "common"),
    [
        ([], 0.0),
        ([0.6], 0.6),
        ([0.6, 0.2], 0.4),
        ([0.0, 0.05], 0.05),
        ([0.0, 0.0, 0.12], LEAST_VOICE),  # something to hear
    ],
)
def test_a_unit_sounds_like_a_voice_as_its_sounds_do_on_average(
    voice: list[float], common: float
) -> None:
    assert mean_voice(voice) == pytest.approx(common)


@pytest.mark.slow
def test_an_undecided_title_is_looked_at_whole(tmp_path: Path, checker: Checker) -> None:
    path = film(
        tmp_path / "film.mp4",
        46,
        lambda times_s: 0.3 * np.sin(2 * np.pi * 300 * times_s) * (times_s % 0.31 < 0.15),
    )
    report = checker.check(path)
    assert report.verdict == "undecidable"
    assert report.listened is None
    assert [each.start_s for each in report.segments] == [10.0 * k for k in range(5)]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.avi", {}),
        # The sound can be heard first; the pictures have a single key frame
        ("film.mp4", {"preset": "ultrafast", "g": "9999", "sc_threshold": "0"}),
    ],
)
def test_what_cannot_be_sought_is_looked_at_whole(
    tmp_path: Path,
    checker: Checker,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    options: dict[str, str],
) -> None:
    def score(window: Window, model: weights.Loaded, *rest: Any) -> list[Curve]:
        if model.net.visual.on_seen is not None:
            model.net.visual.on_seen(BLOCK_FRAMES * len(window.inside), min(LEVELS))
        return correlated(window, model, *rest)

    monkeypatch.setattr(scanning, "score_segment", score)
    play = half_silent(late(lambda t: 0 * t))
    path = film(tmp_path / name, 46, play, video_options=options)
    progress: list[float] = []
    report = checker.check(path, CheckSettings(), progress.append)
    assert report.verdict == "in_sync"
    assert report.listened is None
    assert len(report.segments) == 5
    assert progress == sorted(progress) and progress[-1] == 1.0


@pytest.fixture(scope="module")
def jumping(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return film(
        tmp_path_factory.mktemp("jumping") / "film.mp4",
        145,
        half_silent(late(lambda t: 0.24 * (t > 70.0))),
        video_options=B_FRAMES,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("end_s", "listened"), [(41.0, False), (142.0, True)])
def test_a_part_that_is_long_enough_is_heard_first_too(
    jumping: Path, checker: Checker, end_s: float, listened: bool
) -> None:
    part = CheckSettings(start=2.5, end=end_s)
    some, whole = checker.check(jumping, part), checker.check(jumping, replace(part, thorough=True))
    assert some.part_s == whole.part_s == (2.5, 2.5 + int(end_s - 2.5))
    assert (some.listened is not None) == listened
    assert whole.listened is None
    assert (some.verdict, some.jump_intervals_s) == (whole.verdict, whole.jump_intervals_s)
    assert some.degraded == whole.degraded
    starts_s = [each.start_s for each in some.segments]
    assert set(starts_s) <= {each.start_s for each in whole.segments}
    if some.listened is not None:
        assert len(starts_s) < len(whole.segments)
        assert some.listened.looked_s + some.listened.mute_s <= 139
        (mute, *_) = [length for length, why in unseen(some) if "voice" in why]
        assert mute == clock(some.listened.mute_s)
