"""Which tracks of the reference a file is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from avcheck.cli.app import main
from tests.support.clips import Array, make_clip
from tests.support.scenery import noise, scenery

SECONDS = 13.0
LATE_S = 0.12


def english(times_s: Array) -> Array:
    return noise(SECONDS + 1)(times_s)


def french(times_s: Array) -> Array:
    """Another sound: the same noise backwards."""
    return np.asarray(noise(SECONDS + 1)(SECONDS - times_s))


@pytest.fixture(scope="module")
def titles(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A master in two languages, and a French copy whose sound is late."""
    folder = tmp_path_factory.mktemp("titles")
    shown: dict[str, Any] = {"seconds": SECONDS, "draw": scenery, "acodec": "pcm_s16le"}
    master = make_clip(folder / "master.mkv", play=[english, french], **shown)
    copy = make_clip(folder / "fr.mkv", play=lambda times: french(times - LATE_S), **shown)
    return master, copy


def compared(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, object]]:
    code = main(["compare", "--json", *arguments])
    record: dict[str, object] = json.loads(capsys.readouterr().out)
    return code, record


def test_a_file_is_compared_with_the_track_that_is_named(
    titles: tuple[Path, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    master, copy = map(str, titles)
    code, record = compared(capsys, master, copy)
    assert (code, record["verdict"]) == (0, "undecidable")
    results = str(tmp_path / "results.jsonl")
    by_main = record["settings_sha256"]
    chosen = ("--reference-audio-track", "1", "--resume", results)
    code, record = compared(capsys, master, copy, *chosen)
    assert (code, record["verdict"]) == (1, "out_of_sync")
    assert record["offset_ms"] == pytest.approx(-1000 * LATE_S, abs=1)
    assert record["settings_sha256"] != by_main
    # Another track is another comparison
    _, record = compared(capsys, master, copy, "--resume", results)
    assert record["settings_sha256"] == by_main


def test_a_track_that_the_reference_lacks_is_named_by_its_option(
    titles: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    master, copy = map(str, titles)
    assert main(["compare", copy, master, "--reference-audio-track", "1"]) == 2
    said = capsys.readouterr()
    assert "fr.mkv" in said.out + said.err
    assert "--reference-audio-track" in said.out + said.err
