"""The ffmpeg command that `avcheck fix --print-command` prints: run by a real ffmpeg, and what it
writes measured by avcheck's own clock.

Needs an ffmpeg on the PATH, or named by AVCHECK_TEST_FFMPEG; what runs it is skipped without one.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avcheck.cli.app import main
from avcheck.fix.command import joining_line
from avcheck.fix.repair import FixSettings, Outcome, fix_file
from avcheck.media import open_media
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import Stretch
from avcheck.render.text import printable
from tests.support.clock_media import copied
from tests.support.films import noise, tiles
from tests.support.fixing import IN_SYNC, checks, forced, measured, never, packets, place, place_ms
from tests.support.reading import whole

FFMPEG = os.environ.get("AVCHECK_TEST_FFMPEG") or shutil.which("ffmpeg")
needs_ffmpeg = pytest.mark.skipif(FFMPEG is None, reason="there is no ffmpeg on the PATH")
NAMES = [
    "a b.mp4",
    "it's.mp4",
    'q"uote.mp4',
    "-i.mp4",
    "$HOME `x`.mp4",
    "http:x.mp4",
    "new\nline.mp4",
    "red\x1b[31m 100%'\\.mp4",
    "left\u202eright ü.mp4",
    *([os.fsdecode(b"\xff\xfe.mp4")] if sys.platform == "linux" else []),
]

AAC: dict[str, Any] = {"vcodec": "libx264", "acodec": "aac"}
PCM: dict[str, Any] = {"vcodec": "mpeg4", "acodec": "pcm_s16le"}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "mp4": ("film.mp4", AAC),
    "mp4 in fragments": ("film.mp4", {**AAC, "container_options": FRAGMENTS}),
    "mp4, sound later": ("film.mp4", {**AAC, "audio_offset_s": 0.5}),
    "mp4, FLAC": ("film.mp4", {**AAC, "acodec": "flac"}),
    "mov, PCM": ("film.mov", {}),
    "mkv": ("film.mkv", AAC),
    "ts": ("film.ts", {}),
    "ts, sound later": ("film.ts", {"audio_offset_s": 0.5}),
    "avi, PCM": ("film.avi", {}),
    "mxf, PCM": ("film.mxf", {}),
    "mkv, PCM later": ("film.mkv", {**PCM, "audio_offset_s": 0.5}),
    "mkv, PCM with a gap": ("film.mkv", {**PCM, "audio_gaps_s": [(0.7, 1.2)]}),
}


def planned(source: Path, target: Path, offset_ms: float) -> Outcome:
    settings = FixSettings(force_offset_ms=offset_ms, only_command=True)
    return fix_file(source, target, settings, never)


def run(outcome: Outcome, folder: Path) -> None:
    """Run the command that was printed, as a shell does."""
    assert FFMPEG is not None
    assert outcome.command is not None, outcome.reason
    line = outcome.command.replace("ffmpeg", shlex.quote(FFMPEG), 1)
    shell: dict[str, Any] = {
        "cwd": folder,
        "stdin": subprocess.DEVNULL,
        "capture_output": True,
        "text": True,
        "errors": "replace",  # a name need not be UTF-8
    }
    done = subprocess.run(["sh", "-c", line], timeout=60, check=False, **shell)
    assert done.returncode == 0, done.stderr[-2000:]


@needs_ffmpeg
@pytest.mark.parametrize("offset_ms", [-333, pytest.param(120, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("source", "suffix"),
    [
        ("mp4", ".mp4"),
        ("mp4", ".mkv"),  # the times of which have other ticks: ffmpeg 5.1 was off by seconds
        ("mp4", ".ts"),
        ("mp4 in fragments", ".mp4"),
        ("mp4, sound later", ".mp4"),
        ("mp4, FLAC", ".mp4"),
        ("mov, PCM", ".mov"),
        ("mkv", ".mkv"),
        ("mkv", ".mp4"),
        ("ts", ".ts"),
        ("ts", ".mp4"),
        ("ts, sound later", ".mkv"),
        ("avi, PCM", ".avi"),
        ("avi, PCM", ".mkv"),
        ("mxf, PCM", ".mxf"),
        ("mkv, PCM later", ".avi"),  # where every stream begins at zero
        ("mkv, PCM with a gap", ".avi"),
    ],
)
def test_it_moves_the_sound_as_fix_does(
    source: str, suffix: str, offset_ms: float, tmp_path: Path
) -> None:
    name, options = SOURCES[source]
    film = tiles(tmp_path / name, **options)
    target = tmp_path / f"made{suffix}"
    run(planned(film, target, offset_ms), tmp_path)
    fixed = tmp_path / f"fixed{suffix}"
    assert forced(film, fixed, offset_ms).status == "fixed"
    moved_ms = [place_ms(target, at_s) - place_ms(film, at_s) for at_s in (1.4, 2.4)]
    assert moved_ms == pytest.approx([offset_ms] * 2, abs=1.2)
    made, kept = packets(target), packets(fixed)
    assert made[0] == kept[0]  # the pictures
    if suffix in (".avi", ".mxf"):
        return  # a gap is filled in packets of other lengths
    assert made[1] == kept[1]


@needs_ffmpeg
def test_what_an_edit_list_hides_stays_hidden(tmp_path: Path) -> None:
    """An mp4 that was cut between two key frames: ffmpeg by itself shows its pictures 20 ms
    early.
    """
    whole = tiles(tmp_path / "whole.mp4", **AAC)
    source, target = tmp_path / "film.mp4", tmp_path / "made.mp4"
    copied(whole, source, from_s=1.3)
    with open_media(source) as old:
        was_s = [each.pts_s for each in old.pictures()]
    run(planned(source, target, 120), tmp_path)
    with open_media(target) as new:
        assert [each.pts_s for each in new.pictures()] == pytest.approx(was_s, abs=1e-3)
    fixed = tmp_path / "fixed.mp4"
    assert forced(source, fixed, 120).status == "fixed"
    assert packets(target) == packets(fixed)
    other = forced(source, tmp_path / "fixed.mkv", 120)
    assert other.status == "refused"
    assert "hides its first pictures" in str(other.reason)
    assert "name the new file .mp4" in str(other.reason)


@needs_ffmpeg
@pytest.mark.parametrize("later_s", [0.0, 0.5], ids=["sound from the start", "sound later"])
@pytest.mark.parametrize("early_s", [0.1, -0.2])
@pytest.mark.parametrize("name", ["film.mp4", "film.mkv"])
def test_it_takes_a_drift_out(name: str, early_s: float, later_s: float, tmp_path: Path) -> None:
    def play(times_s: Any) -> Any:
        return noise(times_s + early_s + 0.005 * times_s)

    options: dict[str, Any] = {"play": play, "audio_offset_s": later_s}
    source = tiles(tmp_path / name, 6.0, **AAC, **options)
    if later_s:  # what is put into a file later is heard later
        early_s -= 1.005 * later_s
    ends_ms = [1000 * (at_s - (at_s - early_s) / 1.005) for at_s in (0.0, 6.0)]
    report = measured(Stretch(0.0, 6.0, *ends_ms))
    target = tmp_path / f"made{source.suffix}"
    settings = FixSettings(only_command=True)
    run(fix_file(source, target, settings, checks(report, IN_SYNC)), tmp_path)
    places_ms = [place_ms(target, at_s) for at_s in (1.5, 2.5, 4.0)]
    assert places_ms == pytest.approx([0, 0, 0], abs=1.2)


@needs_ffmpeg
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_chapters_stay_with_the_pictures_and_titles_with_their_tracks(
    suffix: str, tmp_path: Path
) -> None:
    """Where the sound would begin before zero, a writer moves all streams, but not the chapters."""
    plain = tiles(tmp_path / f"plain{suffix}", **AAC)
    source, target = tmp_path / f"film{suffix}", tmp_path / f"made{suffix}"
    said = tmp_path / "chapters.txt"
    said.write_text(
        ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1000\nSTART=0\nEND=2000\ntitle=one\n"
        "[CHAPTER]\nTIMEBASE=1/1000\nSTART=2000\nEND=4000\ntitle=two\n"
    )
    assert FFMPEG
    words = [FFMPEG, "-v", "error", "-i", str(plain), "-i", str(said), "-map_metadata", "1"]
    words += ["-c", "copy", "-metadata:s:1", "title=Director", str(source)]
    subprocess.run(words, timeout=60, check=True, stdin=subprocess.DEVNULL)
    run(planned(source, target, -333), tmp_path)
    with av.open(str(source)) as old, av.open(str(target)) as new:
        first_s, second_s = (float(next(each.decode(video=0)).time or 0.0) for each in (old, new))
        starts_s = [
            [float(each["start"] * (each["time_base"] or 0)) for each in container.chapters()]
            for container in (old, new)
        ]
        named = {new.streams[1].metadata.get(key) for key in ("title", "name", "handler_name")}
    assert len(starts_s[1]) == 2
    apart_s = [
        chapter_s - second_s - (was_s - first_s) for was_s, chapter_s in zip(*starts_s, strict=True)
    ]
    assert apart_s == pytest.approx([0, 0], abs=0.025)  # ffmpeg 5.1 counts the delay of AAC in
    assert "Director" in named


@needs_ffmpeg
@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_any_name_goes_through_a_shell(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tiles(tmp_path / "film.mp4").rename(name)
    target = Path(f"{name[:-4]} made.mp4")
    planned_line = planned(Path(name), target, 120)
    assert planned_line.command == printable(planned_line.command or "")
    run(planned_line, tmp_path)
    assert place_ms(target, 2.0) - place_ms(Path(name), 2.0) == pytest.approx(120, abs=1)


def test_the_command_is_printed_and_nothing_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiles(tmp_path / "film.mp4", 2.0, play=[noise, noise])
    target = tmp_path / "a b.mp4"
    words = ["fix", "--print-command", "--force-offset", "80", str(source), str(target)]
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert out == (
        f"ffmpeg -n -i file:{source} -itsoffset 0.080000 -i file:{source} -map 0:0 -map 1:1 "
        f"-map 0:2 -c copy -movie_timescale 90000 'file:{target}'\n"
    )
    assert err == (
        "note: audio track 1 was not measured and not moved; --every-track moves all of them "
        "alike\n"
    )
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    avi = tiles(tmp_path / "film.avi", 2.0)
    fixed = str(tmp_path / "fixed.avi")
    assert main(["fix", "--print-command", "--force-offset", "-80", str(avi), fixed]) == 0
    assert (
        "-filter:1 aresample=async=1:min_hard_comp=0.01:first_pts=0,atrim=start=0.080000,"
        "asetpts=PTS-STARTPTS,apad=pad_len=3840 -c:1 pcm_s16le" in capsys.readouterr().out
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.avi", "film.mp4"]


def test_what_the_command_does_not_do_is_said(tmp_path: Path) -> None:
    cover = tiles(tmp_path / "cover.mp4", 2.0, cover_art=True, **AAC)
    assert planned(cover, tmp_path / "a.mp4", 80).notes == ()
    assert planned(cover, tmp_path / "a.mkv", 80).notes == (
        "it makes the cover art (stream 2) a second picture track; without --print-command that "
        "becomes an attachment",
    )
    opus = tiles(tmp_path / "film.mkv", 2.0)
    assert planned(opus, tmp_path / "b.mkv", 80).notes == (
        "ffmpeg 5.1 puts Opus in Matroska some ms off its place; 7 and 9 do not",
    )


def test_sound_that_ffmpeg_moves_by_whole_packets_only_gets_no_command(tmp_path: Path) -> None:
    """MP3 in an AVI is dated in steps of 24 ms: 133 ms became 144."""
    source = tiles(tmp_path / "film.avi", 2.0, vcodec="mpeg4", acodec="libmp3lame")
    outcome = planned(source, tmp_path / "made.mkv", -133)
    assert outcome.status == "refused"
    assert "by whole packets only; leave --print-command out" in str(outcome.reason)


def test_a_file_that_ffmpeg_reads_at_other_times_gets_no_command(tmp_path: Path) -> None:
    """CMAF with B-pictures: FFmpeg shows them a picture late, so the sound ended up 40 ms off."""
    source = tiles(
        tmp_path / "film.mp4", 2.0, container_options={"movflags": "cmaf+frag_keyframe"}, **AAC
    )
    outcome = planned(source, tmp_path / "made.mp4", 120)
    assert outcome.status == "refused"
    assert "leave --print-command out" in str(outcome.reason)
    assert forced(source, tmp_path / "fixed.mp4", 120).status == "fixed"


def test_packets_at_the_same_time_get_no_command(tmp_path: Path) -> None:
    """In an mp4 with a fragment a picture, FFmpeg reads two packets of sound at one time, and moved
    one of each pair by itself.
    """
    flags = {"movflags": "frag_every_frame+empty_moov"}
    source = tiles(tmp_path / "film.mp4", 2.0, container_options=flags, **AAC)
    outcome = planned(source, tmp_path / "made.mp4", 120)
    assert outcome.status == "refused"
    assert "have the same time" in str(outcome.reason)


@needs_ffmpeg
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("film.mp4", AAC),
        ("film.mkv", AAC),  # was 21 ms off with ffmpeg 5.1
        ("film.ts", {"picture_times_s": [0.3 + k / 25 for k in range(90)]}),  # 321 ms, with any
        ("film.ts", {"start_s": 50.0}),
    ],
)
def test_a_sound_is_joined_where_it_is_heard(
    name: str, options: dict[str, Any], tmp_path: Path
) -> None:
    film, sound = tiles(tmp_path / name, **options), tmp_path / "sound.wav"
    assert FFMPEG
    words = [FFMPEG, "-v", "error", "-i", str(film), "-vn", str(sound)]
    subprocess.run(words, timeout=60, check=True, stdin=subprocess.DEVNULL)
    line = joining_line(film, sound).replace("ffmpeg", shlex.quote(FFMPEG), 1)
    subprocess.run(["sh", "-c", line], timeout=60, check=True, stdin=subprocess.DEVNULL)
    late_ms = []
    for path, audio in ((film, sound), (tmp_path / "film-joined.mkv", None)):
        with open_media(path, audio_path=audio) as media:
            first_s = next(iter(media.pictures())).pts_s
            start_s, heard = whole(list(media.sounds()))
        known = noise(2.0 + np.arange(4000) / SAMPLE_RATE)
        late_ms.append(1000 * (start_s + place(heard, known) / SAMPLE_RATE - first_s))
    assert late_ms[1] == pytest.approx(late_ms[0], abs=1.2)
