"""A fixed file has all that the old one had: tracks, languages, flags, titles, chapters, rotation,
HDR, timecode, fonts.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.packet import Packet

from avcheck.fix import verify
from avcheck.rates import SAMPLE_RATE
from tests.support.clock_media import complete
from tests.support.films import tiles
from tests.support.fixing import forced, packets

CHAPTERS = [("one", 0, 2000), ("two", 2000, 4000)]
HDR = (
    "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    ":max-cll=1000,400:log-level=none"
)


def rich(path: Path, **options: Any) -> Path:
    """A film with two languages, the second the default one, subtitles, chapters, a title, and a
    font where there is room.
    """
    plain = tiles(
        path.with_name(f"plain{path.suffix}"), play=[_tone(300.0), _tone(500.0)], **options
    )
    with av.open(str(plain)) as reader, av.open(str(path), "w") as writer:
        outputs: dict[int, Any] = {}
        for stream in reader.streams:
            made = writer.add_stream_from_template(stream, opaque=True)
            made.disposition = stream.disposition
            outputs[stream.index] = made
        sounds = [made for made in outputs.values() if made.type == "audio"]
        for made, language, default in zip(sounds, ("fra", "ita"), (0, 1), strict=True):
            made.metadata["language"] = language
            made.disposition = default
        subtitles: Any = writer.add_mux_stream("subrip" if path.suffix == ".mkv" else "mov_text")
        subtitles.time_base = Fraction(1, 1000)
        subtitles.metadata["language"] = "eng"
        sounds[1].metadata["title"] = "Kommentar"
        if path.suffix == ".mkv":
            writer.add_attachment("letters.ttf", "font/ttf", b"not really a font")
        else:
            outputs[0].metadata["timecode"] = "10:00:00:00"
        writer.metadata["title"] = "A film"
        writer.set_chapters(
            [
                {
                    "id": k,
                    "start": start,
                    "end": end,
                    "time_base": Fraction(1, 1000),
                    "metadata": {"title": title},
                }
                for k, (title, start, end) in enumerate(CHAPTERS)
            ]
        )
        for number, text in enumerate(("Hello", "World")):
            said = (
                text.encode()
                if path.suffix == ".mkv"
                else len(text).to_bytes(2, "big") + text.encode()
            )
            line: Any = Packet(said)
            line.stream, line.time_base = subtitles, Fraction(1, 1000)
            line.pts = line.dts = 500 + 1500 * number
            line.duration = 1000
            writer.mux(line)
        all_packets = [packet for packet in reader.demux() if packet.size]
        complete(all_packets)
        for packet in all_packets:
            packet.stream = outputs[packet.stream.index]
            writer.mux(packet)
    plain.unlink()
    return path


def _tone(hz: float) -> Any:

    return lambda times_s: 0.3 * np.sin(2 * np.pi * hz * times_s)


def chapters(container: Any) -> list[tuple[str, int, int]]:
    listed = []
    for each in container.chapters():
        ms = [round(1000 * float(each[side] * each["time_base"])) for side in ("start", "end")]
        listed.append((each["metadata"]["title"], *ms))
    return listed


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("offset_ms", [-200, 200])
def test_nothing_is_lost(suffix: str, offset_ms: float, tmp_path: Path) -> None:
    codecs = {"vcodec": "libx264", "acodec": "aac"}
    turned = {} if suffix == ".mkv" else {"rotation": 90}
    source = rich(tmp_path / f"film{suffix}", **codecs, **turned)
    target = tmp_path / f"fixed{suffix}"
    result = forced(source, target, offset_ms)
    assert result.status == "fixed", result.reason
    assert result.lost == ()
    assert [note for note in result.notes if "audio track 0 was not measured and not moved" in note]
    by_kind = {
        (each.kind, each.language): each.action
        for each in result.streams
        if each.kind in ("audio", "subtitle")
    }
    assert by_kind == {
        ("audio", "fra"): "copied",
        ("audio", "ita"): "moved",
        ("subtitle", "eng"): "copied",
    }
    assert "dropped" not in {each.action for each in result.streams}
    with av.open(str(source)) as old, av.open(str(target)) as new:
        assert len(new.streams) == len(old.streams)
        for was, now in zip(old.streams, new.streams, strict=True):
            assert now.type == was.type
            assert int(now.disposition) == int(was.disposition)
            for key in ("language", "title", "name", "timecode", "filename"):
                assert now.metadata.get(key) == was.metadata.get(key)
            if was.type in ("video", "audio"):
                assert now.codec_context.extradata == was.codec_context.extradata
                assert now.codec_context.codec_tag == was.codec_context.codec_tag
        assert new.metadata["title"] == "A film"
        later_ms = result.clock.later_ms if result.clock else 0.0
        assert later_ms == pytest.approx(
            200 if (suffix, offset_ms) == (".mkv", -200) else 0, abs=25
        )
        # Chapters stay with their pictures
        assert chapters(old) == CHAPTERS
        for (title, *old_ms), (kept, *new_ms) in zip(CHAPTERS, chapters(new), strict=True):
            assert kept == title
            assert new_ms == pytest.approx([at_ms + later_ms for at_ms in old_ms], abs=1)
        assert (
            next(new.decode(video=0)).rotation
            == next(old.decode(video=0)).rotation
            == turned.get("rotation", 0)
        )
    old_packets, new_packets = packets(source), packets(target)
    for each in result.streams:
        if each.kind in ("video", "audio"):
            assert new_packets[each.track] == old_packets[each.track]
        if each.kind == "subtitle":  # mp4 may end with one more empty packet
            count = len(old_packets[each.track])
            assert new_packets[each.track][:count] == old_packets[each.track]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_what_a_transport_stream_cannot_hold_is_left_out(suffix: str, tmp_path: Path) -> None:
    """For subtitles of another kind, or a font, the whole file was refused."""
    source = rich(tmp_path / f"film{suffix}", vcodec="libx264", acodec="aac")
    result = forced(source, tmp_path / "fixed.ts", 120)
    assert (result.status, result.reason) == ("fixed", None)
    dropped = {each.kind for each in result.streams if each.action == "dropped"}
    assert dropped == ({"subtitle", "attachment"} if suffix == ".mkv" else {"subtitle"})


@pytest.mark.parametrize(("old", "new"), [(".mp4", ".mkv"), (".mkv", ".mp4")])
def test_the_title_of_a_track_goes_into_another_container(
    old: str, new: str, tmp_path: Path
) -> None:
    """mp4 has it as the track's name."""
    source = rich(tmp_path / f"film{old}", vcodec="libx264", acodec="aac")
    result = forced(source, tmp_path / f"fixed{new}", 200)
    assert result.status == "fixed", result.reason
    assert [each.title for each in result.streams if each.kind == "audio"] == ["", "Kommentar"]
    assert not [lost for lost in result.lost if "title" in lost or "name of" in lost]
    with av.open(str(tmp_path / f"fixed{new}")) as container:
        tags = container.streams.audio[1].metadata
    assert tags.get("title" if new == ".mkv" else "name") == "Kommentar"


def test_every_track_moves_where_that_is_wanted(tmp_path: Path) -> None:
    source = rich(tmp_path / "film.mp4", vcodec="libx264", acodec="aac")
    result = forced(source, tmp_path / "fixed.mp4", 200, every_track=True)
    assert [each.action for each in result.streams if each.kind == "audio"] == ["moved", "moved"]
    assert result.notes == ()


def test_the_channels_of_one_sound_move_together(tmp_path: Path) -> None:
    """MXF has a track a channel: moving the one that was measured would part left from right."""
    source = tiles(tmp_path / "film.mxf", play=[_tone(300.0), _tone(500.0)])
    result = forced(source, tmp_path / "fixed.mxf", 120)
    assert result.status == "fixed", result.reason
    assert [each.action for each in result.streams] == ["copied", "rewritten", "rewritten"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_hdr_side_data_and_the_letters_of_hevc_are_kept(suffix: str, tmp_path: Path) -> None:
    colours = {"color_primaries": "bt2020", "color_trc": "smpte2084", "colorspace": "bt2020nc"}
    source = tiles(
        tmp_path / f"film{suffix}",
        2.0,
        vcodec="libx265",
        acodec="aac",
        pix_fmt="yuv420p10le",
        video_options={"preset": "ultrafast", "x265-params": HDR, "tag": "hvc1", **colours},
    )
    target = tmp_path / f"fixed{suffix}"
    result = forced(source, target, 120)
    assert result.status == "fixed", result.reason
    assert result.lost == ()
    properties = []
    for path in (source, target):
        with av.open(str(path)) as container:
            context = container.streams.video[0].codec_context
            frame = next(container.decode(video=0))
            # By kind in PyAV 19, and not yet in 18
            side_data: Any = frame.side_data
            kinds = sorted(getattr(each, "type", each).name for each in side_data)
            properties.append(
                (
                    kinds,
                    context.color_trc,
                    context.color_primaries,
                    context.codec_tag,
                    context.extradata,
                )
            )
    assert properties[0] == properties[1]
    assert "MASTERING_DISPLAY_METADATA" in properties[1][0]


def test_what_cannot_be_kept_is_told(tmp_path: Path) -> None:
    source = rich(tmp_path / "film.mp4", vcodec="libx264", acodec="aac")
    target = tmp_path / "fixed.mkv"
    result = forced(source, target, 120)
    assert result.status == "fixed", result.reason
    dropped = {each.kind: each.why for each in result.streams if each.action == "dropped"}
    assert dropped["subtitle"] == "matroska does not hold mov_text"
    assert len(result.streams) == len(av.open(str(source)).streams)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("was", [".mp4", ".mkv"])
def test_cover_art_stays_cover_art(was: str, suffix: str, tmp_path: Path) -> None:
    """In Matroska it is an attachment; as a track it would be a second picture."""
    source = tiles(tmp_path / "film.mp4", cover_art=True)
    if was == ".mkv":
        source = with_poster(source, tmp_path / "film.mkv")
    target = tmp_path / f"fixed{suffix}"
    result = forced(source, target, -120)
    assert result.status == "fixed", result.reason
    assert len(result.lost) == (2 if was < suffix else 0)  # mp4 has no name and type of a cover
    assert [each.action for each in result.streams] == ["copied", "moved", "copied"]
    assert [each.packets for each in result.streams if each.kind == "video"][1] == 1
    with av.open(str(target)) as container:
        assert [int(each.disposition) & 1024 for each in container.streams.video] == [0, 1024]
        if was == suffix == ".mkv":
            assert container.streams.video[1].metadata["filename"] == "poster.jpg"
    assert packets(target)[2] == packets(source)[2]


def with_poster(film: Path, path: Path) -> Path:
    """The film in Matroska, its cover art an attachment."""
    with av.open(str(film)) as reader, av.open(str(path), "w") as writer:
        *streams, cover = reader.streams
        all_packets = [packet for packet in reader.demux() if packet.size]
        (picture,) = (bytes(packet) for packet in all_packets if packet.stream is cover)
        writer.add_attachment("poster.jpg", "image/jpeg", picture)
        outputs = [writer.add_stream_from_template(each, opaque=True) for each in streams]
        for packet in all_packets:
            if packet.stream is not cover:
                packet.stream = outputs[packet.stream.index]
                writer.mux(packet)
    return path


@pytest.mark.parametrize("off_ms", [0.0, 0.4, -0.3])
@pytest.mark.parametrize("hz", [500.0, 1000.0])
def test_a_tone_is_not_taken_for_itself_a_period_later(hz: float, off_ms: float) -> None:
    """A line-up tone, with a coder's noise, which may favour any period."""
    times_s = np.arange(round(verify._WINDOW_S * SAMPLE_RATE)) / SAMPLE_RATE
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(0, 1e-4, (2, len(times_s)))
        wanted = np.sin(2 * np.pi * hz * times_s) + noise[0]
        got = np.sin(2 * np.pi * hz * (times_s - off_ms / 1000)) + noise[1]
        likeness, found_ms = verify._compared(got.astype(np.float32), wanted.astype(np.float32))
        assert likeness > 0.97
        assert found_ms == pytest.approx(off_ms, abs=0.03)
