"""What a result advises is an option of the command that gives it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from avcheck.cli.app import main
from avcheck.cli.group import app
from avcheck.record.tracks import programme
from tests.support.clips import Clip
from tests.support.scenery import noise, scenery
from tests.support.transport_stream import interleaved, packets_of, pat, renumbered, write

TRACKS = ("--audio-track", "--video-track")


def options_of(command: str) -> set[str]:
    group: Any = typer.main.get_command(app)
    wanted = group.get_command(None, command)
    return {name for each in wanted.params for name in each.opts}


@pytest.mark.parametrize("command", ["check", "compare", "evidence", "signal", "watch"])
def test_another_track_or_programme_can_be_chosen(command: str) -> None:
    assert "--program" in programme(1, (1, 2))
    assert {*TRACKS, "--program"} <= options_of(command)


@pytest.mark.parametrize("command", ["check", "evidence", "fix", "watch"])
def test_small_faces_can_be_looked_for(command: str) -> None:
    assert {*TRACKS, "--thorough"} <= options_of(command)


@pytest.fixture
def two(clip: Clip) -> Path:
    """Two programmes: in the first the sound is 200 ms late, in the second it is not."""
    sound, types = noise(12), {0x100: 0x1B, 0x101: 0x03}
    parts = [
        packets_of(
            clip(
                f"{late_s}.ts",
                seconds=10,
                draw=scenery,
                play=lambda times, late_s=late_s: sound(times - late_s),
                size=(160, 90),
                acodec="mp2",
            )
        )
        for late_s in (0.2, 0.0)
    ]
    moved = renumbered(parts[0], 11, 0, types), renumbered(parts[1], 12, 0x40, types)
    path = clip("0.2.ts").with_name("two.ts")
    return write(path, [*pat({11: 0x1000, 12: 0x1040}), *interleaved(*moved)])


def test_compare_takes_the_programme_that_it_names(
    two: Path, clip: Clip, capsys: pytest.CaptureFixture[str]
) -> None:
    before = clip("before.mkv", seconds=10, draw=scenery, play=noise(12), size=(160, 90))
    for options, number, late_ms in ((["--program", "11"], 11, 200), (["--program", "12"], 12, 0)):
        main(["compare", str(before), str(two), "--json", *options])
        record = json.loads(capsys.readouterr().out)
        assert (record["program"], record["programs"]) == (number, [11, 12])
        assert record["offset_ms"] == pytest.approx(-late_ms, abs=12)
    assert main(["signal", str(two), "--program", "13"]) == 2
    assert "13" in capsys.readouterr().err
