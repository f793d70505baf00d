"""Files with several tracks: which one is checked, what the others are called, and that an
undecided file names them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from av.stream import Disposition

from avcheck.checker import Checker
from avcheck.cli import app
from avcheck.errors import DecodeFailed, NoAudio, NoVideo
from avcheck.media import open_media
from avcheck.media.streams import choose_audio
from avcheck.network import weights
from avcheck.network.heads import JointHead
from avcheck.network.model import SyncNet
from avcheck.network.model_config import ATTENTION_KINDS
from avcheck.record.report import Report, Track
from avcheck.record.tracks import available, named, others
from avcheck.render.text import line
from avcheck.settings import CheckSettings
from tests.support.clips import Array, click, clicks
from tests.support.networks import TINY

Clip = Callable[..., Path]


def track(number: int, language: str = "", title: str = "") -> Track:
    return Track(number, language, title, "aac", number == 0)


def joined(
    path: Path,
    parts: Sequence[tuple[Path, str]],
    tags: Sequence[dict[str, str]] = (),
    *,
    flagged: bool = True,
) -> Path:
    """A file with the first stream of a kind ("video" or "audio") of each source, copied; the first
    of a kind is flagged.
    """
    readers = [av.open(str(source)) for source, _ in parts]
    with av.open(str(path), "w") as writer:
        mapped = []
        for number, (reader, (_, kind)) in enumerate(zip(readers, parts, strict=True)):
            stream = getattr(reader.streams, kind)[0]
            output: Any = writer.add_stream_from_template(stream)
            output.metadata.update(tags[number] if number < len(tags) else {})
            # default, or not
            output.disposition = int(
                flagged and kind not in [earlier for _, earlier in parts[:number]]
            )
            mapped.append((reader, stream, output))
        for reader, stream, output in mapped:
            for packet in reader.demux(stream):
                if packet.dts is not None:
                    packet.stream = output
                    writer.mux(packet)
    for reader in readers:
        reader.close()
    return path


def moving(time_s: float) -> Array:
    rows, columns = np.mgrid[:96, :128]
    return (120 + 90 * np.sin(rows / 7 + 3 * time_s) * np.cos(columns / 9 - 5 * time_s)).astype(
        np.uint8
    )


def still(_: float) -> Array:
    return moving(0.0)


def babble(times_s: Array) -> Array:
    return 0.3 * np.sin(2 * np.pi * 220 * times_s) * (
        1 + np.sin(2 * np.pi * 3 * times_s)
    ) / 2 + 0.2 * click(times_s % 0.5)


# -- words -----------------------------------------------------------------------------------------


def test_tracks_are_named_by_number_language_and_title() -> None:
    tracks = [track(0, "eng", "Desktop"), track(1, title="Mic"), track(2, "deu"), track(3)]
    assert named(tracks) == '0 (eng, "Desktop"), 1 ("Mic"), 2 (deu) and 3'
    assert named(tracks[:2]) == '0 (eng, "Desktop") and 1 ("Mic")'
    assert available(tracks[:1], "audio") == '1 audio track, number 0 (eng, "Desktop")'
    assert available(tracks[2:], "picture") == "2 picture tracks, numbers 2 (deu) and 3"


def test_the_other_tracks_come_with_their_option() -> None:
    assert others([], []) == ""
    assert (
        others([track(1)], []) == "the file has another audio track, number 1: try --audio-track 1"
    )
    assert (
        others([track(0), track(2)], [])
        == "the file has 2 other audio tracks, numbers 0 and 2: try --audio-track N"
    )
    both = others([track(1, "eng")], [track(1), track(2)])
    assert both == (
        "the file has another audio track, number 1 (eng) and 2 other picture tracks, numbers 1 "
        "and 2: "
        "try --audio-track 1 or --video-track N"
    )


def test_many_tracks_and_long_titles_stay_one_sentence() -> None:
    assert named([track(number) for number in range(40)]) == "0, 1, 2, 3, 4, 5 and 34 more"
    assert named([track(0, title="x" * 500)]) == f'0 ("{"x" * 39}…")'


def test_titles_are_other_people_s_text() -> None:
    """What a terminal or a reader would take for something else stands there as an escape, or not
    at all.
    """
    assert named([track(0, "\x1b[1m", 'a"\n\x1b[1m\u202eb')]) == '0 ("a\'\\x0a\\x1b[1m\\x202eb")'


# -- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("suffix", "key"),
    [("mkv", "title"), ("mp4", "title"), ("mov", "handler_name"), ("ts", "title")],
)
def test_a_file_tells_its_tracks(clip: Clip, tmp_path: Path, suffix: str, key: str) -> None:
    film, voice = clip("film.mp4", seconds=0.4), clip("voice.mp4", seconds=0.4, acodec="ac3")
    tags = [{}, {"language": "eng"}, {"language": "ger", key: "Mic"}]
    path = joined(
        tmp_path / f"joined.{suffix}", [(film, "video"), (film, "audio"), (voice, "audio")], tags
    )
    with open_media(path) as media:
        info = media.info
    assert [(each.number, each.language, each.codec) for each in info.audio_tracks] == [
        (0, "eng", "aac"),
        (1, "ger", "ac3"),
    ]
    assert [each.title for each in info.audio_tracks] == ["", "" if suffix == "ts" else "Mic"]
    assert info.video_track == 0
    assert [(each.number, each.language, each.title, each.codec) for each in info.video_tracks] == [
        (0, "", "", "h264")
    ]


def test_a_title_that_is_not_text_reads_the_same_with_every_pyav(
    clip: Clip, tmp_path: Path
) -> None:
    film = clip("film.mp4", seconds=0.4)
    path = joined(
        tmp_path / "odd.mkv", [(film, "video"), (film, "audio")], [{}, {"title": "Kommentar XX"}]
    )
    path.write_bytes(path.read_bytes().replace(b"Kommentar XX", b"Kommentar \xe4\x07"))
    with open_media(path) as media:
        assert media.info.audio_tracks[0].title == "Kommentar \ufffd\x07"


def test_the_flagged_track_is_the_default(clip: Clip) -> None:
    with open_media(
        clip("clip.mkv", play=[clicks([1.0])] * 3, default_track=1, seconds=0.4)
    ) as media:
        assert [each.default for each in media.info.audio_tracks] == [False, True, False]
        assert media.info.audio_track == 1


def test_without_a_flag_the_first_track_is_the_default(clip: Clip, tmp_path: Path) -> None:
    """As players have it; FFmpeg itself takes the track whose header tells a bit rate."""
    film, voice = clip("film.mp4", seconds=0.4), clip("voice.mp4", seconds=0.4, acodec="ac3")
    path = joined(
        tmp_path / "bare.mkv", [(film, "video"), (film, "audio"), (voice, "audio")], flagged=False
    )
    with open_media(path) as media:
        assert [(each.codec, each.default) for each in media.info.audio_tracks] == [
            ("aac", False),
            ("ac3", False),
        ]
        assert media.info.audio_track == 0


def test_without_a_flag_the_first_picture_track_is_shown(clip: Clip, tmp_path: Path) -> None:
    """As players have it; FFmpeg itself takes the one with more pictures at the beginning."""
    slides, film = clip("slides.mp4", fps=2, size=(128, 96)), clip("film.mp4")
    parts = [(slides, "video"), (film, "video"), (film, "audio")]
    with open_media(joined(tmp_path / "two.mkv", parts, flagged=False)) as media:
        assert (media.info.video_track, media.info.width) == (0, 128)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ([Disposition.visual_impaired, Disposition(0)], 1),
        ([Disposition.hearing_impaired, Disposition.visual_impaired], 0),
        ([Disposition(0), Disposition.default | Disposition.visual_impaired], 1),
    ],
    ids=["described", "all for some", "the default is described"],
)
def test_a_track_for_the_impaired_comes_after_the_others(
    clip: Clip, tmp_path: Path, flags: list[Disposition], expected: int
) -> None:
    film = clip("film.mp4", seconds=0.4)
    path = joined(
        tmp_path / "two.mkv", [(film, kind) for kind in ("video", "audio", "audio")], flagged=False
    )
    with av.open(str(path)) as container:
        for stream, flag in zip(container.streams.audio, flags, strict=True):
            stream.disposition = flag
        assert choose_audio(container, path, None).index - 1 == expected


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts"])
def test_a_picture_track_is_chosen(clip: Clip, tmp_path: Path, suffix: str) -> None:
    slides = clip("slides.mp4", draw=still, size=(128, 96))
    film = clip("film.mp4", events_s=(1.2,))
    path = joined(tmp_path / f"two.{suffix}", [(slides, "video"), (film, "video"), (film, "audio")])
    for number, width in ((None, 128), (0, 128), (1, 160)):
        with open_media(path, video_track=number) as media:
            assert (media.info.video_track, media.info.width) == (number or 0, width)
            pictures = [(picture.pts_s, picture.luma.mean()) for picture in media.pictures()]
            assert len(pictures) == 50
    assert [time_s for time_s, level in pictures if level > 200] == pytest.approx([1.2], abs=0.025)


def test_a_track_that_nothing_decodes_is_not_the_default(clip: Clip, tmp_path: Path) -> None:
    """Spatial sound of a phone, AC-4 of a broadcast: players take the track beside it."""
    film = clip("film.mp4", seconds=0.4)
    path = joined(tmp_path / "new.mkv", [(film, kind) for kind in ("video", "audio") * 2])
    data = path.read_bytes()
    for known, unknown in ((b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/NEW"), (b"A_AAC", b"A_NEW")):
        assert data.count(known) == 2
        data = data.replace(known, unknown, 1)
    path.write_bytes(data)
    with open_media(path) as media:
        assert (media.info.video_track, media.info.audio_track) == (1, 1)
        assert [each.codec for each in media.info.audio_tracks] == ["", "aac"]
        assert list(media.pictures())
        assert list(media.sounds())
    for wanted in ((0, None), (None, 0)):
        with pytest.raises(DecodeFailed, match="codec is unknown"):
            open_media(path, video_track=wanted[0], audio_track=wanted[1])


def test_cover_art_is_not_counted(clip: Clip) -> None:
    with open_media(clip("clip.mp4", cover_art=True, seconds=0.4), video_track=0) as media:
        assert (len(media.info.video_tracks), media.info.width) == (1, 160)


def test_a_track_that_is_not_there(clip: Clip, tmp_path: Path) -> None:
    film = clip("film.mp4", seconds=0.4)
    one = tmp_path / "one.mkv"
    joined(
        one,
        [(film, "video"), (film, "audio"), (film, "audio")],
        [{}, {"title": "Desktop"}, {"title": "Mic"}],
    )
    with pytest.raises(NoVideo) as video:
        open_media(one, video_track=1)
    assert (
        str(video.value)
        == f"{one}: the file has no picture track 1: it has 1 picture track, number 0; choose "
        "one with --video-track"
    )
    for wrong in (2, -1):
        with pytest.raises(NoAudio) as audio:
            open_media(one, audio_track=wrong)
        assert str(audio.value) == (
            f"{one}: the file has no audio track {wrong}: it has 2 audio tracks, "
            'numbers 0 ("Desktop") and 1 ("Mic"); '
            "choose one with --audio-track"
        )


# -- reports ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    torch.manual_seed(0)
    heads = {kind: JointHead(replace(TINY, attention=kind)) for kind in ATTENTION_KINDS}
    weights.save(path, SyncNet(TINY), heads, calibration={"none": 3.0}, training={})
    return path


def silent_first(clip: Clip, tmp_path: Path, title: str = "Mic") -> Path:
    film = clip("film.mp4", seconds=3, size=(128, 96), draw=moving, play=[clicks([])])
    voice = clip("voice.mp4", seconds=3, play=[babble])
    return joined(
        tmp_path / "obs.mkv",
        [(film, "video"), (film, "audio"), (voice, "audio")],
        [{}, {"title": "Desktop"}, {"title": title}],
    )


def test_a_silent_first_track_names_the_second(clip: Clip, tmp_path: Path, model: Path) -> None:
    checker = Checker(model, "cpu")
    path = silent_first(clip, tmp_path)
    report = checker.check(path)
    assert report.verdict == "undecidable"
    assert (
        report.reason
        == 'the sound is silent; the file has another audio track, number 1 ("Mic"): try '
        "--audio-track 1"
    )
    assert [each.title for each in report.audio_tracks] == ["Desktop", "Mic"]
    assert (report.audio_track, report.video_track, len(report.video_tracks)) == (0, 0, 1)
    assert Report.from_record(json.loads(json.dumps(report.to_record()))) == report
    spoken = checker.check(path, CheckSettings(audio_tracks=(1,)))
    assert not (spoken.reason or "").startswith("the sound is silent")


def test_a_still_first_picture_names_the_second(clip: Clip, tmp_path: Path, model: Path) -> None:
    slides = clip("slides.mp4", seconds=3, draw=still, size=(128, 96))
    film = clip("film.mp4", seconds=3, draw=moving, size=(128, 96), play=[babble])
    path = joined(tmp_path / "talk.mkv", [(slides, "video"), (film, "video"), (film, "audio")])
    report = Checker(model, "cpu").check(path)
    assert (
        report.reason
        == "the picture does not move; the file has another picture track, number 1: try "
        "--video-track 1"
    )


def test_only_tracks_that_could_help_are_named(clip: Clip, tmp_path: Path, model: Path) -> None:
    """Another picture makes a silent sound no louder."""
    film = clip("film.mp4", seconds=3, size=(128, 96), draw=moving, play=[clicks([])])
    parts = [(film, "video"), (film, "video"), (film, "audio"), (film, "audio")]
    report = Checker(model, "cpu").check(joined(tmp_path / "four.mkv", parts))
    assert (
        report.reason
        == "the sound is silent; the file has another audio track, number 1: try --audio-track 1"
    )


def test_a_separate_sound_has_no_tracks_to_choose_from(
    clip: Clip, tmp_path: Path, model: Path
) -> None:
    dub = silent_first(clip, tmp_path)
    report = Checker(model, "cpu").check(dub, CheckSettings(audio=(dub,)))
    assert (report.reason, report.audio_track, len(report.audio_tracks)) == (
        "the sound is silent",
        None,
        2,
    )


def test_a_title_cannot_command_a_terminal(clip: Clip, tmp_path: Path, model: Path) -> None:
    report = Checker(model, "cpu").check(silent_first(clip, tmp_path, "a\x1b[1m##[x]\nb"))
    text = line(report)
    assert text.isprintable() and "##[" not in text


def test_records_of_before_have_no_tracks() -> None:
    record = Report("a.mp4", "in_sync", offset_ms=0.0).to_record()
    for key in ("video_track", "audio_tracks", "video_tracks"):
        del record[key]
    assert Report.from_record(record) == Report("a.mp4", "in_sync", offset_ms=0.0)


def test_the_command_says_it(
    clip: Clip, tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = silent_first(clip, tmp_path)
    arguments = ["check", str(path), "--no-config", "--model", str(model), "--device", "cpu"]
    assert app.main([*arguments, "--video-track", "0"]) == 0
    assert '1 ("Mic"): try --audio-track 1' in capsys.readouterr().out
    assert app.main([*arguments, "--video-track", "3"]) == 2
    error = capsys.readouterr().err
    assert (
        "has no picture track 3: it has 1 picture track, number 0; choose one with --video-track"
        in error
    )


@pytest.mark.parametrize(
    ("tracks", "number", "said"),
    [
        ((track(0, "eng"), track(1, "fra")), 1, " [audio track 1 (fra)]"),
        ((track(0, "eng"), track(1, "fra")), 0, " [audio track 0 (eng)]"),
        ((track(0, "eng"),), 0, ""),
        ((track(0, "eng"), track(1, "fra")), None, ""),  # a separate sound file
    ],
)
def test_the_line_names_the_one_track_that_was_checked(
    tracks: tuple[Track, ...], number: int | None, said: str
) -> None:
    report = Report("a.mkv", "in_sync", offset_ms=0.0, audio_track=number, audio_tracks=tracks)
    assert line(report).removeprefix(line(replace(report, audio_tracks=()))) == said
