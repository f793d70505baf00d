"""What a container can hold: which muxer writes it, which streams that takes, and what PyAV does
not copy of a stream by itself.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import av
import av.error
from av.container import InputContainer
from av.stream import AttachmentStream, Disposition, Stream
from av.video.stream import VideoStream

from avcheck.media.streams import playing

# Suffix -> FFmpeg's muxer. In some of these all streams begin together: there sound cannot be moved
# by its times.
MUXERS = {
    **dict.fromkeys((".mp4", ".m4v", ".f4v"), "mp4"),
    **{".mov": "mov", ".qt": "mov", ".3gp": "3gp", ".3g2": "3g2"},
    **{".mkv": "matroska", ".mk3d": "matroska", ".webm": "webm"},
    **dict.fromkeys((".ts", ".mts", ".m2ts", ".m2t", ".tsv"), "mpegts"),
    **{".avi": "avi", ".mxf": "mxf", ".flv": "flv", ".nut": "nut", ".wmv": "asf", ".asf": "asf"},
    **{".ogv": "ogg", ".ogg": "ogg"},
}
TOGETHER = frozenset({"avi", "mxf"})
MOV = frozenset({"mp4", "mov", "3gp", "3g2"})
FAMILIES = {  # a demuxer and the muxers that write the same
    "mov,mp4,m4a,3gp,3g2,mj2": MOV,
    "matroska,webm": frozenset({"matroska", "webm"}),
}
# Cover art that Matroska's readers know by this kind of attachment
_COVERS = {
    "mjpeg": ("image/jpeg", "cover.jpg"),
    "png": ("image/png", "cover.png"),
    "gif": ("image/gif", "cover.gif"),
    "tiff": ("image/tiff", "cover.tiff"),
}
# What MPEG-TS has a kind for: FFmpeg's writer takes any other sound and subtitles too, and its
# reader does not find them again
_IN_TRANSPORT: dict[str, frozenset[str]] = {
    "audio": frozenset(
        [
            "aac",
            "aac_latm",
            "ac3",
            "ac4",
            "dts",
            "eac3",
            "mp1",
            "mp2",
            "mp3",
            "opus",
            "pcm_bluray",
            "s302m",
            "truehd",
        ]
    ),
    "attachment": frozenset(),
    "subtitle": frozenset(["arib_caption", "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle"]),
}
SILENCE = {  # PCM that is samples and nothing else, with the byte of silence
    **dict.fromkeys(
        ("pcm_s8", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_s64le", "pcm_s64be"), 0
    ),
    **{f"pcm_s{bits}{end}": 0 for bits in (16, 24, 32) for end in ("le", "be")},
    **{"pcm_u8": 0x80, "pcm_alaw": 0xD5, "pcm_mulaw": 0xFF},
}
_ENCODERS = {  # of sounds that are played at another pace and encoded again
    **{
        "aac": "aac",
        "mp3": "libmp3lame",
        "mp2": "mp2",
        "opus": "libopus",
        "ac3": "ac3",
        "eac3": "eac3",
    },
    **{"flac": "flac", "alac": "alac", "wmav2": "wmav2", "vorbis": "libvorbis"},
}


def encoder_of(codec: str) -> str | None:
    """The encoder for a codec, of those that this FFmpeg has; None if it has none: PyAV's wheels
    come without libvorbis.
    """
    name = codec if codec in SILENCE else _ENCODERS.get(codec)
    try:
        return None if name is None else av.Codec(name, "w").name
    except av.codec.codec.UnknownCodecError:
        return None


def codec_of(stream: Stream) -> str:
    """The codec of a stream by FFmpeg's name; "" if unknown."""
    context: Any = stream.codec_context  # PyAV's types deny that it can be None
    if context is not None:
        return str(context.codec.canonical_name)
    return str(getattr(stream, "name", None) or "")


def name_instead(container: Any, streams: Sequence[Stream], muxer: str) -> str:
    """What to name the new file if `muxer` does not do: words that end a refusal."""
    first = ".mov" if muxer == "mxf" else ".mkv"
    for suffix in dict.fromkeys((first, ".mkv", ".mov", ".mp4", ".ts")):
        other = MUXERS[suffix]
        if other != muxer and not any(why_not(each, container, other) for each in streams):
            return f"; name the new file {suffix}"
    return ", and no other container that avcheck writes holds it; convert it first"


def why_not(stream: Stream, container: InputContainer, muxer: str) -> str:
    """Why a muxer does not take a stream, "" if it does: a header with it and the main picture is
    written to memory to find out.
    """
    if stream.type not in ("video", "audio", "subtitle", "data", "attachment"):
        return "its kind is unknown"
    if is_attached(stream, muxer):
        return ""
    name = codec_of(stream) or stream.type
    refusal = f"{muxer} does not hold {name}"
    if muxer == "mpegts" and name not in _IN_TRANSPORT.get(stream.type, {name}):
        return refusal
    beside = next((each for each in playing(container) if each is not stream), None)
    trial = av.open(io.BytesIO(), "w", format=muxer)
    try:
        for each in (beside, stream):
            if each is not None:
                add_stream(trial, each, same_format=False)
        trial.start_encoding()
    except (av.error.FFmpegError, ValueError, TypeError, NotImplementedError):
        return refusal
    finally:
        with suppress(av.error.FFmpegError):  # some end no file without a packet
            trial.close()
    return ""


def is_attached(stream: Stream, muxer: str) -> bool:
    """Whether a stream is cover art that becomes an attachment: Matroska knows no other, and as a
    track it would be a second picture.
    """
    return muxer == "matroska" and is_cover(stream) and codec_of(stream) in _COVERS


def is_cover(stream: Stream) -> bool:
    """Whether a stream is a single picture for the whole file."""
    return bool(stream.disposition & Disposition.attached_pic)


def attach(writer: Any, stream: Stream, data: bytes) -> None:
    """Write cover art as an attachment of the new file."""
    kind, name = _COVERS[codec_of(stream)]
    tags = stream.metadata
    made = writer.add_attachment(tags.get("filename", name), tags.get("mimetype", kind), data)
    made.metadata.update(tags)


def add_stream(writer: Any, stream: Stream, *, same_format: bool) -> Any:
    """A stream of the new file for the packets of one of the old: PyAV by itself keeps neither tags
    nor dispositions nor the four letters of the codec (hvc1, without which an iPhone shows no
    HEVC).

    Raises ValueError or FFmpegError where the format does not take it.
    """
    if isinstance(stream, AttachmentStream):
        made = writer.add_attachment(
            stream.name or "", stream.mimetype or "application/octet-stream", stream.data
        )
        made.metadata.update(stream.metadata)
        return made
    made = writer.add_stream_from_template(stream, opaque=True)
    made.time_base = stream.time_base
    made.disposition = stream.disposition
    made.metadata.clear()
    made.metadata.update(tags_of(stream))
    if isinstance(stream, VideoStream) and stream.average_rate and not is_cover(stream):
        # Without a rate mov writes no timecode, and MXF not even a header. FFmpeg reads that of
        # H.264 from its packets, not that of ProRes or DNxHD.
        made.codec_context.framerate = made.codec_context.framerate or stream.average_rate
    if same_format:
        if made.codec_context is not None:
            with suppress(ValueError):  # no four letters
                made.codec_context.codec_tag = stream.codec_context.codec_tag
        if stream.id:
            made.id = stream.id
    return made


def reel_of(container: InputContainer) -> dict[str, str]:
    """The name of the reel, which QuickTime keeps in the timecode track, as a tag of the pictures:
    from there FFmpeg writes it into the track that it makes anew.
    """
    named = (each.metadata.get("reel_name") for each in container.streams)
    return next(({"reel_name": name} for name in named if name), {})


# Tags that each writer of a file sets itself.
OWN_TAGS = frozenset({"encoder", "duration", "major_brand", "minor_version", "compatible_brands"})


def tags_of(stream: Stream) -> dict[str, str]:
    """The tags of a stream, without its writer's own. The title of a track in mp4 is read as its
    name, but written only if it is called title.
    """
    tags = {key: value for key, value in stream.metadata.items() if key.lower() not in OWN_TAGS}
    if stream.container.format.name.startswith("mov,") and "name" in tags:
        tags.setdefault("title", tags.pop("name"))
    return tags


def options_for(source: Path, container: InputContainer, muxer: str) -> dict[str, str]:
    """Options of the muxer that keep the source's properties, and exact times."""
    if muxer not in MOV:
        return {}
    # FFmpeg up to 8 counts an edit list in ms: 40 ms would become 39.333.
    options = {"movie_timescale": "90000"}
    flags = []
    boxes = list(_top_boxes(source)) if "mp4" in container.format.name.split(",") else []
    if b"moof" in boxes:
        # Without `delay_moov` the first packet stays at 0, and CMAF loses the move altogether.
        flags += ["frag_keyframe", "delay_moov", "default_base_moof"]
    elif (
        boxes and boxes.index(b"moov") < boxes.index(b"mdat")
        if {b"moov", b"mdat"} <= set(boxes)
        else not boxes
    ):
        flags += ["faststart"]
    if any(key.startswith("com.") for key in container.metadata):  # as cameras write them
        flags += ["use_metadata_tags"]
    if flags:
        options["movflags"] = "+" + "+".join(flags)
    return options


def _top_boxes(path: Path) -> Sequence[bytes]:
    """The kinds of the outermost boxes of an mp4, up to the first fragment."""
    kinds: list[bytes] = []
    with path.open("rb") as file:
        at, end = 0, path.stat().st_size
        while at + 8 <= end and len(kinds) < 1000:
            file.seek(at)
            head = file.read(16)
            size, kind = int.from_bytes(head[:4], "big"), head[4:8]
            kinds.append(kind)
            if kind == b"moof":
                break
            if size == 1:
                size = int.from_bytes(head[8:16], "big")
            if size < 8:
                break
            at += size
    return kinds
