"""The shipped weights judge media never trained on: generated scenes of other seeds, and real clips
where there are any.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from avcheck.checker import Checker
from avcheck.media import Picture, Sound
from avcheck.network.shipped import SHIPPED_SHA256, shipped_path
from avcheck.reading.blocks import BLOCK_FRAMES, BLOCK_SAMPLES, Block, blocks
from avcheck.record.report import DEFAULT_PRESET, PRESETS, Report
from avcheck.scan.curves import scan
from avcheck.scan.looking import LEVELS
from avcheck.scenes.demo import make_demo
from avcheck.settings import CheckSettings
from avcheck.train.corpus import CachedClip, Clip, decode
from avcheck.verdict.judge import Judgement, judge
from tests.support.long_titles import Fault, drawn_shots, write_title
from tests.support.real import ABSENT, CORPUS

TOLERANCE = PRESETS[DEFAULT_PRESET]


@pytest.fixture(scope="module")
def checker() -> Checker:
    return Checker(device="cpu")


def test_the_weights_are_small_and_the_ones_the_code_knows(checker: Checker) -> None:
    assert checker.loaded.sha256 == SHIPPED_SHA256
    assert shipped_path().stat().st_size < 15e6
    assert checker.loaded.training["minutes_used"] > 60


def test_the_documents_speak_of_these_weights(checker: Checker) -> None:
    root = Path(__file__).resolve().parents[1]
    card, readme = (
        " ".join((root / name).read_text(encoding="utf-8").split())
        for name in ("models/CARD.md", "README.md")
    )
    calibration = checker.calibration
    assert f"SHA-256 `{SHIPPED_SHA256}`" in card
    assert f"Weights {SHIPPED_SHA256[:16]}, attention" in card  # the heading of an evaluation
    for name in ("temperature", "none", "match", "match_rise", "level", "length", "scatter"):
        assert f"{getattr(calibration, name):g}" in card
    assert f"measuring error {calibration.guard_ms:g} ms" in card
    assert f"measuring error, {calibration.guard_ms:.0f} ms for ten seconds of speech" in readme


@pytest.mark.slow
def test_offsets_put_in_are_found(tmp_path: Path, checker: Checker) -> None:
    """Seeds and offsets as they come: none may be judged wrong, and no more than one may go
    undecided.
    """
    undecided = 0
    for seed, offset_ms in enumerate((0, -200, 160, -900, 0, 500), start=2):
        path = tmp_path / f"{seed}.mp4"
        make_demo(path, offset_ms=offset_ms, seconds=6, seed=seed)
        report = checker.check(path)
        if report.verdict == "undecidable":
            undecided += 1
            assert report.reason
            continue
        assert report.verdict == ("out_of_sync" if offset_ms else "in_sync")
        assert report.reason is None
        assert report.offset_ms == pytest.approx(offset_ms, abs=40)
        assert report.confidence >= checker.calibration.decide
        assert sum(block.attention for block in report.blocks) == pytest.approx(1, abs=1e-3)
    assert undecided <= 1


@pytest.mark.slow
def test_the_attention_falls_on_the_mouth(tmp_path: Path, checker: Checker) -> None:
    make_demo(tmp_path / "film.mp4", offset_ms=-120, seconds=6)
    detail = checker.check(tmp_path / "film.mp4", CheckSettings(detail=True)).detail
    assert detail is not None
    (segment,) = detail.segments
    share = np.zeros((segment.rows, segment.columns))
    for block in segment.blocks:
        for column, row, part in block.cells:
            share[row, column] += part
    y, x = (
        (np.arange(count) + 0.5) / count @ share.sum(axis=axis) / share.sum()
        for count, axis in ((segment.rows, 1), (segment.columns, 0))
    )
    assert (x, y) == (pytest.approx(0.49, abs=0.04), pytest.approx(0.71, abs=0.04))  # as drawn


@pytest.mark.slow
def test_a_drift_of_fifty_seconds_is_judged_by_its_worst_end(
    tmp_path: Path, checker: Checker
) -> None:
    """Sound that runs 0.2 % fast, from 50 to 156 ms early: as a constant it would pass for some 100
    ms.
    """
    path = write_title(tmp_path / "fast.mp4", drawn_shots(51), 51, Fault("fast", (-50.0, -156.0)))
    report = checker.check(path)
    assert report.verdict == "out_of_sync"
    assert report.drift_ms_per_min == pytest.approx(60 * 106 / 51, rel=0.2)
    (stretch,) = report.stretches
    assert (stretch.start_s, stretch.end_s) == pytest.approx((0, 51), abs=0.1)
    assert (stretch.start_offset_ms, stretch.end_offset_ms) == pytest.approx((50, 156), abs=30)
    assert report.offset_ms == stretch.end_offset_ms
    strays = [
        block
        for block in report.blocks
        if block.offset_ms is not None
        and abs(block.offset_ms - stretch.offset_at(block.start_s)) > 120
    ]
    assert strays == []


Change = Callable[
    [NDArray[np.uint8], NDArray[np.float32]], tuple[NDArray[np.uint8], NDArray[np.float32]]
]
CONTROLS: dict[str, Change] = {
    "black": lambda frames, samples: (np.zeros_like(frames), samples),
    "mute": lambda frames, samples: (frames, np.zeros_like(samples)),
    "frozen": lambda frames, samples: (np.repeat(frames[:1], len(frames), axis=0), samples),
    "noise for sound": lambda frames, samples: (
        frames,
        np.random.default_rng(1).normal(0, 0.05, len(samples)).astype(np.float32),
    ),
}


def scene(path: Path, seed: int, seconds: float) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Pictures at 25 fps and sound at 16 kHz of a demo clip without an offset."""
    make_demo(path, offset_ms=0, seconds=seconds, seed=seed)
    return decode(path, max(LEVELS))


def judged(checker: Checker, frames: NDArray[np.uint8], samples: NDArray[np.float32]) -> Judgement:
    pictures = (Picture(k / 25, frame) for k, frame in enumerate(frames))
    source: list[Block] = list(blocks(pictures, iter([Sound(0.0, samples)])))
    return judge(list(scan(source, checker.loaded)), TOLERANCE, checker.calibration)


@pytest.fixture(scope="module")
def plain_scene(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    return scene(tmp_path_factory.mktemp("scene") / "clip.mp4", seed=6, seconds=5)


@pytest.mark.parametrize("name", CONTROLS)
def test_where_nothing_can_be_told_nothing_is_told(
    plain_scene: tuple[NDArray[np.uint8], NDArray[np.float32]], checker: Checker, name: str
) -> None:
    frames, samples = CONTROLS[name](*plain_scene)
    judgement = judged(checker, frames, samples)
    assert judgement.verdict == "undecidable"
    assert judgement.reason
    assert judgement.offset_ms is None


@pytest.mark.slow
def test_the_sound_of_another_scene_is_never_in_sync(tmp_path: Path, checker: Checker) -> None:
    frames, _ = scene(tmp_path / "a.mp4", seed=7, seconds=6)
    _, samples = scene(tmp_path / "b.mp4", seed=8, seconds=6)
    assert (
        judged(checker, frames, samples[: len(frames) // BLOCK_FRAMES * BLOCK_SAMPLES]).verdict
        != "in_sync"
    )


def shifted(source: Path, target: Path, late_ms: int) -> None:
    """A copy whose sound is late by `late_ms`, in its timestamps alone: what plays is what a check
    must see.
    """
    with av.open(str(source)) as read, av.open(str(target), "w") as write:
        copied = [read.streams.video[0], read.streams.audio[0]]
        streams = {each.index: write.add_stream_from_template(each) for each in copied}
        for packet in read.demux(copied):
            if packet.dts is None:
                continue
            if packet.stream.type == "audio":
                delay = round(late_ms / 1000 / packet.time_base)
                assert packet.pts is not None
                packet.pts += delay
                packet.dts += delay
            packet.stream = streams[packet.stream.index]
            write.mux(packet)


def well_known() -> list[dict[str, Any]]:
    """Three clips of validation groups whose offset other weights than the shipped ones were sure
    of.
    """
    if not (CORPUS / "index.jsonl").is_file():
        pytest.skip(ABSENT)
    rows = [json.loads(line) for line in (CORPUS / "index.jsonl").read_text().splitlines()]
    known = [
        row
        for row in rows
        if row["split"] == "val"
        and "added" not in row
        and row.get("true_offset", {}).get("trusted")
    ]
    long = [row for row in known if row["seconds"] > 15]
    return sorted(long, key=lambda row: -row["true_offset"]["confidence"])[:3]


@pytest.mark.slow
def test_a_real_speaker_held_by_hand_is_judged_as_on_a_tripod(checker: Checker) -> None:
    pytest.importorskip("cv2")
    from avcheck.eval.trunks import held_by_hand

    for seed, row in enumerate(well_known()):
        frames, samples = decode(CORPUS / row["file"], max(LEVELS))
        clip = Clip(
            id=row["id"], path=Path(row["file"]), group=row["group"], kind="speech", split="val"
        )
        held = held_by_hand(
            CachedClip(clip, frames[:250], np.zeros(0, np.int16), np.zeros((0, 4), np.float32)),
            seed,
        )
        assert float(np.abs(held.frames.astype(int) - frames[:250]).mean()) > 5
        judgement = judged(checker, held.frames, samples[: 10 * BLOCK_SAMPLES])
        assert judgement.offset_ms == pytest.approx(-40 * row["true_offset"]["frames"], abs=60)


@pytest.mark.slow
def test_a_real_speaker_is_judged_right(tmp_path: Path, checker: Checker) -> None:
    """By his first twenty seconds; the other clips are longer."""
    reports: list[Report] = []
    for row in well_known():
        path = tmp_path / f"{row['id']}.mkv"
        shifted(CORPUS / row["file"], path, late_ms=400)
        reports.append(checker.check(path, CheckSettings(end=20.0)))
        found_ms, own_ms = reports[-1].offset_ms, -40 * row["true_offset"]["frames"]
        assert found_ms is not None
        assert found_ms == pytest.approx(own_ms - 400, abs=60)
    assert {report.verdict for report in reports} == {"out_of_sync"}
