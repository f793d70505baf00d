"""Files as recorders and archives write them, of which a reader has lost something before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from avcheck.errors import NotMedia
from avcheck.media import open_media
from avcheck.media.stream_clock import StreamClock
from avcheck.text.plain_text import is_text, why_no_video
from tests.support.mp4_boxes import box, boxes, find, without
from tests.support.reading import late_ms, whole

Clip = Callable[..., Path]
TURN_S = 2**33 / 90000
AAC_MS = 1024 / 48  # what its encoder puts in front, where the container cannot tell


@pytest.mark.parametrize("at_s", [0.4, 2.0])
def test_a_bare_latm_stream_is_counted_from_its_first_frame(clip: Clip, at_s: float) -> None:
    """FFmpeg counts from behind those that it read to find the stream's parameters."""
    options = {"vcodec": None, "format": "latm", "seconds": 3}
    sound = clip("sound.latm", events_s=(at_s + 0.04,), **options)
    film = clip("film.mp4", events_s=(at_s,), acodec=None, seconds=3)
    assert late_ms(film, audio_path=sound) == pytest.approx(40 + AAC_MS, abs=0.1)
    with open_media(film, audio_path=sound) as file:
        start_s, samples = whole(list(file.sounds()))
    assert start_s == pytest.approx(0, abs=1e-4)
    assert len(samples) / 16000 == pytest.approx(3.03, abs=0.01)


def test_an_empty_packet_is_no_damage(clip: Clip, tmp_path: Path) -> None:
    """Theora says so that the picture before stays, as screen recordings do most of the time."""
    path = tmp_path / "film.nut"
    film = clip("film.mkv", vcodec="mjpeg", pix_fmt="yuvj420p", full_range=True)
    with (
        av.open(str(film)) as reader,
        av.open(str(path), "w") as writer,
    ):
        streams = {
            stream.index: writer.add_stream_from_template(stream, opaque=True)
            for stream in reader.streams
        }
        pictures = 0
        for packet in reader.demux():
            if not packet.size:
                continue
            stream = streams[packet.stream.index]
            if packet.stream.type == "video":
                pictures += 1
            if packet.stream.type == "video" and pictures in (30, 31):
                empty = av.Packet(b"")
                empty.pts, empty.dts = packet.pts, packet.dts
                empty.time_base, empty.duration = packet.time_base, packet.duration
                packet = empty
            packet.stream = stream
            writer.mux(packet)
    with av.open(str(path)) as written:
        sizes = [packet.size for packet in written.demux(video=0) if packet.pts is not None]
        assert (len(sizes), sizes.count(0)) == (50, 2)
    with open_media(path) as file:
        assert len(list(file.pictures())) == 48
        assert list(file.sounds())
        assert not file.degraded


FRAGMENTS: dict[str, Any] = {
    "seconds": 4,
    "events_s": (3.0,),
    "sound_late_s": 0.04,
    "video_options": {"g": "25"},
}
MOVFLAGS = {
    "unsigned offsets": "frag_keyframe+empty_moov+default_base_moof",
    "signed offsets": "cmaf+frag_keyframe",
    "an edit list": "frag_keyframe+delay_moov+default_base_moof",
}


def later(path: Path, by_s: float) -> Path:
    """Moves the fragments of an mp4 by their decoding times (`tfdt`)."""
    data = without(path, lambda kind, _: kind in (b"mfra", b"sidx")).read_bytes()
    moov = find(data, b"moov") or b""
    scales = {
        int.from_bytes((find(track, b"tkhd") or b"")[12:16], "big"): int.from_bytes(
            (find(track, b"mdia", b"mdhd") or b"")[12:16], "big"
        )
        for kind, track in boxes(moov)
        if kind == b"trak"
    }

    def moved(kind: bytes, body: bytes, scale: int) -> bytes:
        if kind == b"traf":
            scale = scales[int.from_bytes((find(body, b"tfhd") or b"")[4:8], "big")]
        if kind in (b"moof", b"traf"):
            return box(kind, b"".join(moved(*inner, scale) for inner in boxes(body)))
        if kind == b"tfdt":
            assert body[0] == 1
            time = int.from_bytes(body[4:], "big") + round(by_s * scale)
            body = body[:4] + time.to_bytes(8, "big")
        return box(kind, body)

    path.write_bytes(b"".join(moved(*each, 0) for each in boxes(data)))
    return path


@pytest.mark.parametrize("by_s", [7200, 1_764_374_400], ids=["two hours", "since 1970"])
@pytest.mark.parametrize("movflags", MOVFLAGS.values(), ids=MOVFLAGS)
def test_a_recorded_live_stream_begins_at_zero(clip: Clip, movflags: str, by_s: int) -> None:
    """DASH and HLS in mp4 count from the beginning of the stream, often from 1970."""
    path = clip("film.mp4", container_options={"movflags": movflags}, **FRAGMENTS)
    plain_ms = late_ms(path)
    with open_media(path) as file:
        first_s, duration_s = file.info.first_picture_s, file.info.duration_s
        times_s = [picture.pts_s for picture in file.pictures()]
    later(path, by_s)
    assert late_ms(path) == pytest.approx(plain_ms, abs=0.1)
    with open_media(path) as file:
        assert file.info.first_picture_s == pytest.approx(first_s, abs=1e-3)
        assert file.info.duration_s == pytest.approx(duration_s, abs=0.1)
        shown = list(file.pictures())
        assert [picture.pts_s for picture in shown] == pytest.approx(times_s, abs=1e-3)
        assert next(file.pictures(2.5)).pts_s == pytest.approx(2.48, abs=0.1)


@pytest.mark.parametrize(
    ("picture_s", "sound_s", "expected_ms"),
    [(7200, 7199.7, 40), (7200, 7202, 40), (7200, 0, 340), (0, 0, 340), (7200, 9000, 340)],
    ids=["sound earlier", "sound later", "sound from zero", "both from zero", "another stream"],
)
@pytest.mark.parametrize("suffix", ["mp4", "ts"])
def test_picture_and_sound_of_one_stream_keep_its_clock(
    clip: Clip, suffix: str, picture_s: float, sound_s: float, expected_ms: float
) -> None:
    """DASH and HLS keep them in files of their own, whose pieces begin at different times."""
    gap_s = picture_s - sound_s if expected_ms == 40 else 0.3
    at_s = 3.04 + gap_s  # of the click, in the sound's own file
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    film: dict[str, Any] = {"seconds": 4, "events_s": (3.0,), "acodec": None}
    sound: dict[str, Any] = {"seconds": 4, "events_s": (at_s,), "vcodec": None, "acodec": "mp2"}
    if suffix == "mp4":
        film |= {"container_options": options}
        sound |= {"container_options": options | {"frag_duration": "500000"}}
        picture = later(clip("film.mp4", **film), picture_s)
        other = later(clip("sound.mp4", **sound), sound_s)
    else:
        picture = clip("film.ts", start_s=float(picture_s), **film)
        other = clip("sound.ts", start_s=float(sound_s), **sound)
    with open_media(picture, audio_path=other) as file:
        assert file.info.first_picture_s == pytest.approx(0, abs=1e-3)
        shared = expected_ms == 40 or (suffix == "mp4" and picture_s == sound_s)
        assert file.info.audio_clock == ("stream" if shared else "film")
    assert late_ms(picture, audio_path=other) == pytest.approx(expected_ms, abs=12)


@pytest.mark.parametrize(("picture_s", "sound_s"), [(0, 0), (0, 0.3), (1.4, 1.7), (4.8, 5.2)])
def test_fragments_share_a_clock_near_zero_too(
    clip: Clip, picture_s: float, sound_s: float
) -> None:
    """FFmpeg's HLS: the first picture is due at 80 ms, and so is the sound that goes with it."""
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    at_s = 1.04 + 0.08 + picture_s - sound_s  # of the click, in the sound's own file
    film = clip(
        "film.mp4",
        acodec=None,
        video_options={"bf": "3", "b-adapt": "0", "g": "25"},
        container_options=options,
    )
    sound = clip(
        "sound.mp4",
        seconds=3,
        events_s=(at_s,),
        vcodec=None,
        acodec="mp2",
        container_options=options | {"frag_duration": "500000"},
    )
    film, sound = later(film, picture_s), later(sound, sound_s)
    with open_media(film, audio_path=sound) as file:
        assert file.info.audio_clock == "stream"
    assert late_ms(film, audio_path=sound) == pytest.approx(40, abs=12)


@pytest.mark.parametrize(
    ("picture_s", "sound_s", "shared"),
    [(20.8, 21.2, True), (3600.0, 3599.0, True), (0.0, 0.4, False), (20.8, 400.0, False)],
)
def test_tracks_of_a_call_keep_its_clock(
    clip: Clip, picture_s: float, sound_s: float, shared: bool
) -> None:
    """A server records each track of a call in a Matroska of its own, which counts from the
    beginning of the call; so does a live stream in WebM.
    """
    ahead_s = sound_s - picture_s if shared else 0.0
    film = clip("film.mkv", start_s=picture_s, events_s=(3.0,), seconds=4, acodec=None)
    options: dict[str, Any] = {"vcodec": None, "acodec": "flac", "seconds": 5}
    sound = clip("sound.mka", start_s=sound_s, events_s=(3.04 - ahead_s,), **options)
    with open_media(film, audio_path=sound) as file:
        assert file.info.audio_clock == ("stream" if shared else "film")
    assert late_ms(film, audio_path=sound) == pytest.approx(40, abs=1)


def packed(path: Path, at_s: float) -> Path:
    """Puts a tag in front of sound without a container, that says when it is due in its stream."""
    stamp = round(at_s * 90_000) % 2**33
    body = b"com.apple.streaming.transportStreamTimestamp\0" + stamp.to_bytes(8, "big")
    frame = b"PRIV" + len(body).to_bytes(4, "big") + bytes(2) + body
    tag = b"ID3\x04" + bytes(2) + len(frame).to_bytes(4, "big") + frame
    path.write_bytes(tag + path.read_bytes())
    return path


@pytest.mark.parametrize(
    ("picture_s", "sound_s"), [(7200, 7200.3), (7200, 7199.8), (1.4, 1.5), (95441.72, 1.0)]
)
@pytest.mark.parametrize(("suffix", "acodec"), [("aac", "aac"), ("mp3", "libmp3lame")])
def test_packed_sound_says_when_it_is_due(
    clip: Clip, suffix: str, acodec: str, picture_s: float, sound_s: float
) -> None:
    """HLS may have the sound of a stream without a container (RFC 8216, 3.4)."""
    ahead_s = sound_s - picture_s + (TURN_S if picture_s > sound_s + 10 else 0)
    film = clip("film.ts", start_s=picture_s, events_s=(4.0,), seconds=5, acodec=None)
    options: dict[str, Any] = {"seconds": 5, "vcodec": None, "acodec": acodec}
    sound = clip(f"sound.{suffix}", events_s=(4.04 - ahead_s,), **options)
    plain_ms = late_ms(film, audio_path=sound) + 1000 * ahead_s
    with open_media(film, audio_path=packed(sound, sound_s)) as file:
        assert file.info.audio_clock == "stream"
    assert late_ms(film, audio_path=sound) == pytest.approx(plain_ms, abs=0.1)
    assert plain_ms == pytest.approx(40, abs=55)  # with the encoder's delay


def test_packed_sound_of_another_stream_begins_with_the_film(clip: Clip) -> None:
    film = clip("film.mp4", acodec=None)
    sound = clip("sound.aac", vcodec=None, acodec="aac")
    plain_ms = late_ms(film, audio_path=sound)
    with open_media(film, audio_path=packed(sound, 1.5)) as file:
        assert file.info.audio_clock == "film"
    assert late_ms(film, audio_path=sound) == plain_ms


@pytest.mark.parametrize(
    ("picture_s", "sound_s"),
    [(95434, 95436), (95440, 95445), (95445, 95440), (95442, 95443), (95443, 95437)],
)
def test_the_clock_of_a_transport_stream_goes_on_behind_its_turn(
    clip: Clip, picture_s: float, sound_s: float
) -> None:
    """It begins again every 26.5 hours, at 95443.7 s: here behind, between or in the two files."""
    at_s = 6.04 + picture_s - sound_s  # of the click, in the sound's own file
    film: dict[str, Any] = {"seconds": 7, "events_s": (6.0,), "acodec": None}
    sound: dict[str, Any] = {"seconds": 13, "events_s": (at_s,), "vcodec": None, "acodec": "mp2"}
    picture = clip("film.ts", start_s=picture_s, **film)
    other = clip("sound.ts", start_s=sound_s, **sound)
    with open_media(picture, audio_path=other) as file:
        assert file.info.audio_clock == "stream"
    assert late_ms(picture, audio_path=other) == pytest.approx(40, abs=12)


@pytest.mark.parametrize(
    ("film_s", "sound_s", "ahead_s"),
    [
        (7200, 7202, 2),
        (7200, 7190.5, -9.5),
        (7200, 7210.5, None),
        (3, 4, None),  # perhaps from zero
        (8, 3, None),
        (TURN_S - 4, 3, 7),
        (3, TURN_S - 4, -7),
        (TURN_S - 8, 3, None),
        (0, TURN_S - 3, -3),
    ],
)
def test_which_files_share_a_stream_clock(
    film_s: float, sound_s: float, ahead_s: float | None
) -> None:
    film, sound = (StreamClock(at_s, turns=True) for at_s in (film_s, sound_s))
    assert sound.ahead_of(film) == (None if ahead_s is None else pytest.approx(ahead_s))


def test_fragments_share_one_from_zero_on() -> None:
    film, sound, plain = (
        StreamClock(0, fragments=True),
        StreamClock(3, fragments=True),
        StreamClock(3),
    )
    assert sound.ahead_of(film) == 3
    assert plain.ahead_of(film) is None
    assert StreamClock(5.5, fragments=True).ahead_of(film) is None


def test_only_a_transport_stream_begins_again() -> None:
    assert StreamClock(3).ahead_of(StreamClock(TURN_S - 4, turns=True)) is None


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("list.m3u8", b"#EXTM3U\n#EXT-X-VERSION:7\nfilm.m4s\n", "is a playlist"),
        ("film.mpd", b'<?xml version="1.0"?>\n<MPD type="static"/>', "is a playlist"),
        ("1.m4s", box(b"styp", b"msdh" + bytes(4)) + box(b"moof", bytes(8)), "is a segment"),
    ],
)
def test_what_is_named_in_place_of_a_stream(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(NotMedia, match=said):
        open_media(path)
    if is_text(path):  # the command does not open these
        assert said in why_no_video(path)


def test_a_recording_that_states_no_rate_has_none(clip: Clip) -> None:
    """As a browser's recorder writes it, with pictures at uneven times."""
    times_s = [number * 0.04 + 0.015 * (number % 2) for number in range(50)]
    path = clip(
        "film.webm",
        vcodec="libvpx",
        acodec="libopus",
        picture_times_s=times_s,
        container_options={"live": "1"},
    )
    data = path.read_bytes()
    at = data.index(b"\x23\xe3\x83\x84")  # how long a picture lasts: 4 bytes
    path.write_bytes(data[:at] + b"\xec\x86" + bytes(6) + data[at + 8 :])
    with open_media(path) as file:
        assert file.info.frame_rate is None
        assert [picture.pts_s for picture in file.pictures()] == pytest.approx(times_s, abs=1e-3)


def test_a_live_recording_that_begins_before_zero_states_no_length(clip: Clip) -> None:
    """By as much as an encoder's delay, as servers and GStreamer write them."""
    options = {"live": "1", "avoid_negative_ts": "disabled"}
    path = clip("film.mkv", acodec="libopus", start_s=-0.04, container_options=options)
    with av.open(str(path)) as container:
        assert container.start_time is not None
        assert container.start_time < 0
        assert container.duration is None
    with open_media(path) as file:
        assert file.info.duration_s is None
        assert file.info.first_sound_s == pytest.approx(0, abs=0.01)
