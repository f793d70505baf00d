"""The files of the clock table: every container and codec, and what is done to them by copying
packets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.support.clock_media import CUT_S, Case, copied

# H.264 with B-pictures
B = {"video_options": {"preset": "ultrafast", "crf": "20", "bf": "3", "g": "25"}}


def _with(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Options put together; those of encoder and container are merged."""
    whole: dict[str, Any] = {}
    for part in (*parts, more):
        for key, value in part.items():
            whole[key] = {**whole.get(key, {}), **value} if isinstance(value, dict) else value
    return whole


FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
NTSC = "30000/1001"
PAL = {"size": (720, 576), "layout": "stereo"}
EXPERIMENTAL = {"audio_options": {"strict": "experimental"}, "layout": "stereo"}
FIVE = {"video_options": {"preset": "ultrafast"}}

# Why a file's own timestamps say another lateness than that of what was encoded.
HEARD = "no edit list, so the 1024 samples that the AAC encoder puts in front are heard"
MOVED = (
    "AVI states no encoder delay, and FFmpeg's muxer moves all pictures but the first by a "
    "whole one to make room for it"
)
UNSTATED = "the container states no encoder delay, so it is heard"
DECODED = "no presentation times, so a picture is shown when it is decoded, as FFmpeg and mpv do"


def _written() -> Iterator[Case]:
    """Files as PyAV writes them."""
    for fps, count in (("24000/1001", 58), ("25", 60), (NTSC, 72), ("50", 120), ("60", 144)):
        yield Case(
            f"mp4, H.264, AAC, {fps} pictures a second",
            "mp4",
            "libx264",
            "aac",
            _with(B, fps=fps),
            pictures=count,
        )
    for rate in (44_100, 22_050, 16_000, 8_000):
        yield Case(
            f"mp4, H.264, AAC at {rate} Hz",
            "mp4",
            "libx264",
            "aac",
            _with(B, sample_rate=rate),
            slow=rate < 20_000,
        )
    yield Case("mp4, H.264, AAC 5.1", "mp4", "libx264", "aac", _with(B, layout="5.1"))
    for acodec, name in (
        ("libmp3lame", "MP3"),
        ("ac3", "AC-3"),
        ("eac3", "E-AC-3"),
        ("libopus", "Opus"),
        ("flac", "FLAC"),
    ):
        yield Case(f"mp4, H.264, {name}", "mp4", "libx264", acodec, B)
        yield Case(f"mkv, H.264, {name}", "mkv", "libx264", acodec, B)
    yield Case("mp4, H.264, MP2", "mp4", "libx264", "mp2", B, slow=True)
    yield Case("mp4, H.264, ALAC", "mp4", "libx264", "alac", B, slow=True)
    times_s = [number / 25 for number in range(60) if number % 7 != 3]
    yield Case(
        "mp4, H.264, AAC, variable rate",
        "mp4",
        "libx264",
        "aac",
        _with(B, picture_times_s=times_s),
        pictures=51,
    )
    yield Case("mp4, HEVC, AAC", "mp4", "libx265", "aac", FIVE)
    yield Case("mp4, AV1, Opus", "mp4", "libsvtav1", "libopus")
    yield Case("mp4, MPEG-4 part 2, AAC", "mp4", "mpeg4", "aac", slow=True)
    for flags, name in (("empty_moov", "empty_moov"), ("delay_moov", "delay_moov")):
        options = {"movflags": f"frag_keyframe+{flags}"}
        yield Case(
            f"mp4 in fragments ({name}), H.264, AAC",
            "mp4",
            "libx264",
            "aac",
            _with(B, container_options=options),
        )
    cmaf, late = {"movflags": "cmaf+frag_keyframe"}, {"movflags": "cmaf+frag_keyframe+delay_moov"}
    name = "mp4, CMAF, H.264, AAC"
    yield Case(
        name, "mp4", "libx264", "aac", _with(B, container_options=cmaf), late_ms=61.33, why=HEARD
    )
    yield Case(
        "mp4, CMAF with an edit list, H.264, AAC",
        "mp4",
        "libx264",
        "aac",
        _with(B, container_options=late),
    )
    each = {"movflags": "frag_every_frame+empty_moov"}
    for acodec, name, late_ms in (("aac", "AAC", 61.33), ("libopus", "Opus", 60.0)):
        yield Case(
            f"mp4, a fragment a picture, H.264, {name}",
            "mp4",
            "libx264",
            acodec,
            _with(B, container_options=each),
            late_ms=late_ms,
            why="the first frame of each pair of sound has the time of the second",
        )
    yield Case("ismv, H.264, AAC", "ismv", "libx264", "aac", B)
    for option, name in (
        ({"movflags": "negative_cts_offsets"}, "negative offsets"),
        ({"use_editlist": "0"}, "no edit list"),
    ):
        yield Case(
            f"mp4, {name}, H.264, AAC", "mp4", "libx264", "aac", _with(B, container_options=option)
        )
    yield Case("f4v, H.264, AAC", "f4v", "libx264", "aac", B, slow=True)
    yield Case("mov, H.264, ALAC", "mov", "libx264", "alac", B)
    yield Case("mov, H.264, ADPCM IMA", "mov", "libx264", "adpcm_ima_qt", B, slow=True)
    yield Case("mov, ProRes, PCM", "mov", "prores_ks", "pcm_s16le", {"pix_fmt": "yuv422p10le"})
    dnx = {"pix_fmt": "yuv422p", "video_options": {"profile": "dnxhr_lb"}}
    yield Case("mov, DNxHR, PCM 24 bit", "mov", "dnxhd", "pcm_s24le", dnx)
    yield Case(
        "mov, CineForm, PCM", "mov", "cfhd", "pcm_s16le", {"pix_fmt": "yuv422p10le"}, slow=True
    )
    yield Case("mov, JPEG 2000, PCM", "mov", "jpeg2000", "pcm_s16le", slow=True)
    yield Case("mov, DV, PCM", "mov", "dvvideo", "pcm_s16le", PAL, slow=True)
    yield Case("3gp, MPEG-4 part 2, AAC", "3gp", "mpeg4", "aac")
    amr = {"size": (704, 576), "sample_rate": 8_000, "bit_rate": 12_200}
    yield Case("3gp, H.263, AMR", "3gp", "h263", "libopencore_amrnb", amr, only="18", slow=True)

    yield Case("mkv, H.264, AAC", "mkv", "libx264", "aac", B)
    for acodec, name in (
        ("mp2", "MP2"),
        ("alac", "ALAC"),
        ("wavpack", "WavPack"),
        ("tta", "TTA"),
        ("pcm_s24le", "PCM 24 bit"),
    ):
        yield Case(f"mkv, H.264, {name}", "mkv", "libx264", acodec, B, slow=acodec != "wavpack")
    yield Case("mkv, H.264, Vorbis", "mkv", "libx264", "vorbis", _with(B, EXPERIMENTAL))
    yield Case("mkv, FFV1, PCM float", "mkv", "ffv1", "pcm_f32le")
    group = {"bf": "4", "x264-params": "open-gop=1:b-pyramid=2"}
    yield Case(
        "mkv, H.264 in open groups, AAC", "mkv", "libx264", "aac", _with(B, video_options=group)
    )
    interlaced = {"flags": "+ilme+ildct"}
    yield Case(
        "mkv, H.264 interlaced, AAC", "mkv", "libx264", "aac", _with(B, video_options=interlaced)
    )
    yield Case("webm, VP8, Vorbis", "webm", "libvpx", "vorbis", EXPERIMENTAL)
    yield Case("webm, VP9, Opus", "webm", "libvpx-vp9", "libopus")

    sounds = (
        ("aac", "AAC"),
        ("libmp3lame", "MP3"),
        ("mp2", "MP2"),
        ("ac3", "AC-3"),
        ("eac3", "E-AC-3"),
        ("libopus", "Opus"),
    )
    for acodec, name in sounds:
        yield Case(f"ts, H.264, {name}", "ts", "libx264", acodec, B)
    yield Case(
        "ts, HEVC with B-pictures, AAC",
        "ts",
        "libx265",
        "aac",
        _with(FIVE, video_options={"bf": "3", "b-adapt": "0"}),
    )
    two = {"video_options": {"bf": "2"}}
    yield Case("ts, MPEG-2, MP2", "ts", "mpeg2video", "mp2", two)
    yield Case("m2ts, H.264, AC-3", "m2ts", "libx264", "ac3", B)
    yield Case("mpg, MPEG-1, MP2", "mpg", "mpeg1video", "mp2", two)
    yield Case("mpg, H.264, MP2", "mpg", "libx264", "mp2", B)
    for crf, name in (("20", ""), ("33", ", several a packet")):
        options = {"preset": "veryfast", "crf": crf, "bf": "0"}
        yield Case(
            f"mpg, H.264 without B-pictures{name}, MP2",
            "mpg",
            "libx264",
            "mp2",
            {"video_options": options},
        )
    yield Case("vob, MPEG-2, AC-3", "vob", "mpeg2video", "ac3", two)

    yield Case("avi, MPEG-4 part 2, PCM", "avi", "mpeg4", "pcm_s16le")
    yield Case("avi, MPEG-4 part 2 with B-pictures, PCM", "avi", "mpeg4", "pcm_s16le", two)
    yield Case("avi, H.264, PCM", "avi", "libx264", "pcm_s16le", B)
    yield Case("avi, MPEG-4 part 2, MP3", "avi", "mpeg4", "libmp3lame", late_ms=23.02, why=MOVED)
    yield Case("avi, MPEG-4 part 2, AAC", "avi", "mpeg4", "aac", late_ms=21.33, why=MOVED)
    yield Case("avi, MPEG-4 part 2, AC-3", "avi", "mpeg4", "ac3", late_ms=45.33, why=UNSTATED)
    yield Case("avi, MPEG-4 part 2, MP2", "avi", "mpeg4", "mp2", late_ms=50.02, why=UNSTATED)
    yield Case("avi, MPEG-4 part 2, ADPCM", "avi", "mpeg4", "adpcm_ms", slow=True)
    yield Case(
        "avi, Motion JPEG, PCM",
        "avi",
        "mjpeg",
        "pcm_s16le",
        {"pix_fmt": "yuvj420p", "full_range": True},
    )
    yield Case(
        "avi, HuffYUV, PCM", "avi", "huffyuv", "pcm_s16le", {"pix_fmt": "yuv422p"}, slow=True
    )
    yield Case("avi, UYVY, PCM", "avi", "rawvideo", "pcm_s16le", {"pix_fmt": "uyvy422"})
    yield Case("avi, DV, PCM", "avi", "dvvideo", "pcm_s16le", PAL, slow=True)

    yield Case("wmv, WMV 2, WMA 2", "wmv", "wmv2", "wmav2", {"sample_rate": 44_100})
    yield Case("wmv, WMV 2, WMA 1", "wmv", "wmv2", "wmav1", {"sample_rate": 44_100}, slow=True)
    one = {"video_options": {"bf": "0"}}
    yield Case("asf, H.264 without B-pictures, MP3", "asf", "libx264", "libmp3lame", one)
    yield Case("asf, H.264, AAC", "asf", "libx264", "aac", B)
    yield Case("flv, H.264, AAC", "flv", "libx264", "aac", B)
    yield Case("flv, Sorenson, MP3", "flv", "flv", "libmp3lame", {"sample_rate": 44_100})
    yield Case(
        "flv, Sorenson, Nellymoser", "flv", "flv", "nellymoser", {"sample_rate": 44_100}, slow=True
    )
    yield Case("flv, HEVC, AAC", "flv", "libx265", "aac", FIVE, slow=True)
    yield Case("flv, AV1, Opus", "flv", "libsvtav1", "libopus", slow=True)

    yield Case("mxf, MPEG-2, PCM", "mxf", "mpeg2video", "pcm_s16le", two)
    yield Case("mxf, DNxHR, PCM", "mxf", "dnxhd", "pcm_s24le", dnx, slow=True)
    yield Case(
        "mxf, ProRes, PCM", "mxf", "prores_ks", "pcm_s24le", {"pix_fmt": "yuv422p10le"}, slow=True
    )
    yield Case("mxf, H.264, PCM", "mxf", "libx264", "pcm_s16le", B, late_ms=-40, why=DECODED)
    for acodec, name in (("libopus", "Opus"), ("flac", "FLAC")):
        yield Case(f"ogv, VP8, {name}", "ogv", "libvpx", acodec, {"format": "ogg"})
    yield Case("ogv, VP8, Vorbis", "ogv", "libvpx", "vorbis", _with(EXPERIMENTAL, format="ogg"))
    yield Case("nut, H.264, Opus", "nut", "libx264", "libopus", B)
    yield Case("dv, DV PAL", "dv", "dvvideo", "pcm_s16le", PAL)
    gxf = "FFmpeg's reader has the pictures of a GXF one later than its writer put them"
    yield Case(
        "gxf, MPEG-2, PCM",
        "gxf",
        "mpeg2video",
        "pcm_s16le",
        {"size": (720, 576)},
        late_ms=0,
        why=gxf,
    )
    small = {"size": (352, 288)}
    yield Case("rm, RealVideo 2, AC-3", "rm", "rv20", "ac3", small, late_ms=45.33, why=UNSTATED)


def _copied() -> Iterator[Case]:
    """What editors and packagers do to the streams of a file without decoding them."""
    for suffix in ("mp4", "mov", "mkv", "ts", "flv"):
        parts = suffix, "libx264", "aac", B

        def copy(**how: Any) -> Callable[[Path, Path], None]:
            return partial(copied, **how)

        some = suffix in ("mov", "flv")
        # mp4 and mov hide the pictures before the cut, the others show them from the key frame on.
        shown = 27 if suffix in ("mp4", "mov") else 35
        yield Case(f"{suffix}, cut", *parts, copy(from_s=CUT_S), pictures=shown, slow=some)
        yield Case(
            f"{suffix}, sound moved by 300 ms",
            *parts,
            copy(later_s=(0.0, 0.3)),
            late_ms=340,
            slow=some,
        )
        yield Case(
            f"{suffix}, pictures moved by 300 ms",
            *parts,
            copy(later_s=(0.3, 0.0)),
            late_ms=-260,
            slow=some,
        )
        yield Case(
            f"{suffix}, both an hour later", *parts, copy(later_s=(3600.0, 3600.0)), slow=some
        )
    ways = [
        ("mp4", "mkv"),
        ("mkv", "mp4"),
        ("ts", "mp4"),
        ("mp4", "ts"),
        ("flv", "mp4"),
        ("ts", "mkv"),
        ("mkv", "ts"),
    ]
    for source, target in [*ways, ("mkv", "flv")]:
        yield Case(
            f"{source} to {target}",
            source,
            "libx264",
            "aac",
            B,
            copied,
            target,
            slow=source == "ts",
        )
    for target, vcodec in (("avi", "mpeg4"), ("mxf", "mpeg2video")):
        name = f"mov to {target}, sound moved by 300 ms"
        late = partial(copied, later_s=(0.0, 0.3))
        yield Case(
            name,
            "mov",
            vcodec,
            "pcm_s16le",
            {},
            late,
            target,
            why=f"{target} keeps no start of its own for a stream",
        )
    yield Case("mkv to webm", "mkv", "libvpx", "libopus", {}, copied, "webm", slow=True)
    yield Case("mp4 to asf", "mp4", "libx264", "aac", B, copied, "asf", slow=True)
    yield Case(
        "mov to mxf",
        "mov",
        "libx264",
        "pcm_s16le",
        B,
        copied,
        "mxf",
        late_ms=-40,
        why=DECODED,
        slow=True,
    )
    yield Case(
        "ts to avi", "ts", "libx264", "libmp3lame", B, copied, "avi", late_ms=63.02, why=UNSTATED
    )
    for target, late_ms in (("mp4", -16.98), ("mkv", 23.02)):
        own = "avi", "libx264", "libmp3lame", B, copied, target
        yield Case(f"avi to {target}", *own, late_ms=late_ms, why=DECODED)
    yield Case("mp4 to fragments", "mp4", "libx264", "aac", B, partial(copied, options=FRAGMENTS))
    yield Case("HLS in mp4, joined", "mp4", "libx264", "aac", B, partial(_segmented, kind="fmp4"))
    yield Case(
        "HLS in MPEG-TS, joined",
        "mp4",
        "libx264",
        "aac",
        B,
        partial(_segmented, kind="mpegts"),
        "ts",
    )


def _segmented(source: Path, target: Path, *, kind: str) -> None:
    """The segments that a packager makes, one after the other in one file."""
    folder = target.parent / "segments"
    folder.mkdir()
    options = {
        "hls_time": "1",
        "hls_playlist_type": "vod",
        "hls_segment_type": kind,
        "hls_segment_filename": f"{folder}/%03d",
    }
    options |= {"hls_fmp4_init_filename": "init"} if kind == "fmp4" else {}
    copied(source, folder / "list.m3u8", options=options, format="hls")
    first = [folder / "init"] if kind == "fmp4" else []
    target.write_bytes(
        b"".join(part.read_bytes() for part in [*first, *sorted(folder.glob("[0-9]*"))])
    )


CASES = (*_written(), *_copied())
