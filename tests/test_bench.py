"""The bench runs: one tiny row, beside itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from avcheck.media import open_media
from bench import HERE, batch, catalogue, media, syncnet
from bench.__main__ import main
from bench.catalogue import Plan
from bench.rows import Cost, medians, processor


@pytest.mark.slow
def test_a_row_is_measured_beside_another_checkout(capsys: pytest.CaptureFixture[str]) -> None:
    main(["text", "--against", str(HERE), "--runs", "1"])
    heading, *lines = capsys.readouterr().out.splitlines()
    assert "medians of 1" in heading
    here, other, ratio = (line.removeprefix("text").split() for line in lines)
    for line, word in ((here, "here"), (other, "there")):
        assert (line[0], line[-1]) == (word, "error")  # a text is no video
        wall_s, cpu_s, memory_mb = float(line[1]), float(line[4]), float(line[7])
        assert 0 < cpu_s <= 60
        assert wall_s > 0
        assert memory_mb > 5
    assert ratio[-2:] == ["same", "verdicts"]
    assert float(ratio[2]) == pytest.approx(float(other[4]) / float(here[4]), rel=0.1)


@pytest.mark.slow
def test_what_decoding_alone_costs_stands_beside_a_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["clip", "--runs", "1", "--seconds", "3", "--keep", str(tmp_path)])
    heading, check, decoding = capsys.readouterr().out.splitlines()
    assert processor() in heading
    alone_s, times = (float(word) for word in decoding.split() if word[0].isdigit())
    assert 0 < alone_s < float(check.split()[5])
    assert times == pytest.approx(float(check.split()[5]) / alone_s, rel=0.3)


def test_medians_are_of_each_figure() -> None:
    runs = [
        Cost(1.0, 9.0, 5.0, ("in_sync",)),
        Cost(2.0, 7.0, 4.0, ("in_sync",)),
        Cost(9.0, 8.0, 6.0, ("in_sync",)),
    ]
    assert medians(runs) == Cost(2.0, 8.0, 5.0, ("in_sync",))


def test_a_plan_is_its_factors_multiplied() -> None:
    plan = Plan(hours=3000, minutes=45, days=5, cores=10, price=2.0)  # 4,000 titles
    core_hours, machines, cost, records = plan.lines(cpu_s=900, record_bytes=250_000)
    assert core_hours.endswith("= 1,000")  # a quarter of an hour each
    assert machines.endswith("= 0.8")  # of the 1,200 core hours that one has in five days
    assert cost.endswith("= 200")
    assert records.endswith("= 1.0 GB")


@pytest.mark.slow
def test_a_file_repeated_goes_on_without_a_gap(tmp_path: Path) -> None:
    once, whole = tmp_path / "once.mp4", tmp_path / "whole.mp4"
    media.clip(once, 3.0)
    media.repeat(once, whole, 3.0, 8.0)
    with open_media(whole, threads=1) as file:
        times_s = [picture.pts_s for picture in file.pictures()]
        sounds = list(file.sounds())
    assert times_s == pytest.approx([k / 25 for k in range(200)], abs=1e-3)
    assert sounds[0].start_s == pytest.approx(0, abs=0.05)
    assert sounds[-1].end_s == pytest.approx(8, abs=0.05)
    assert sum(len(sound.samples) for sound in sounds) / 16_000 == pytest.approx(8, abs=0.1)


def test_the_largest_process_is_that_of_each_number_of_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was the largest of all runs so far."""
    costs = iter(Cost(30.0, 6.0, memory_mb, ("in_sync",)) for memory_mb in (500.0, 400.0))
    monkeypatch.setattr(batch, "clips", lambda *_: None)
    monkeypatch.setattr(batch, "cost_of", lambda *_: next(costs))
    batch.batch(tmp_path, 1, 60.0, None)
    _, one, two, _ = capsys.readouterr().out.splitlines()
    assert "2.0 files a minute" in one
    assert "6.0 CPU seconds a minute of video" in one
    assert "500 MB" in one
    assert "400 MB" in two


def test_a_title_too_short_to_be_sampled_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        catalogue.main(["--seconds", "240"])
    assert "is never sampled" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["nothing"], ["text", "--against", "/nowhere"]])
def test_what_cannot_be_measured_is_refused(arguments: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(arguments)


def test_the_folder_is_the_checkout() -> None:
    assert Path("tests/test_bench.py") == Path(__file__).relative_to(HERE)


def test_the_networks_of_the_comparison_are_of_their_described_size() -> None:
    """S3FD looks at strides of 4, 8, 16 px and three larger ones; SyncNet gives 1024 numbers."""
    with torch.inference_mode():
        maps = syncnet.FaceDetector().eval()(torch.rand(1, 3, 128, 256))
        features = syncnet.SyncNet().eval()(torch.rand(1, 3, 5, 224, 224), torch.rand(1, 1, 13, 20))
    assert [tuple(score.shape[2:]) for score, _ in maps[:3]] == [(32, 64), (16, 32), (8, 16)]
    assert len(maps) == 6
    assert [tuple(each.shape) for each in features] == [(1, 1024), (1, 1024)]
