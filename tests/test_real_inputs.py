"""Files as recorders and archives write them, of which a reader has lost something before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import pytest

from avcheck.media import open_media
from tests.support.reading import late_ms, whole

Clip = Callable[..., Path]
AAC_MS = 1024 / 48  # what its encoder puts in front, where the container cannot tell


@pytest.mark.parametrize("at_s", [0.4, 2.0])
def test_a_bare_latm_stream_is_counted_from_its_first_frame(clip: Clip, at_s: float) -> None:
    """FFmpeg counts from the 51st."""
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
