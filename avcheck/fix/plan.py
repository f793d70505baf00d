"""How a file is written again: the way that its container allows, and what becomes of each stream.

Where a stream can start later, packets get new times and stay as they are. AVI and MXF ignore that
silently (in every FFmpeg up to 9.0.2), so there PCM is written anew with silence in front or
samples taken away; any other sound is refused.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import AttachmentStream, Disposition, Stream

from avcheck.fix.moves import Moves, Refused
from avcheck.media import open_media
from avcheck.media.container import VIDEO_FORMATS, open_container
from avcheck.media.mp4 import index_of
from avcheck.media.streams import playing
from avcheck.record.tracks import escaped

# Suffix -> FFmpeg's muxer. In some of these all streams begin together: there sound cannot be moved
# by its times.
_MUXERS = {
    **dict.fromkeys((".mp4", ".m4v", ".f4v"), "mp4"),
    **{".mov": "mov", ".qt": "mov", ".3gp": "3gp", ".3g2": "3g2"},
    **{".mkv": "matroska", ".mk3d": "matroska", ".webm": "webm"},
    **dict.fromkeys((".ts", ".mts", ".m2ts", ".m2t", ".tsv"), "mpegts"),
    **{".avi": "avi", ".mxf": "mxf", ".flv": "flv", ".nut": "nut", ".wmv": "asf", ".asf": "asf"},
    **{".ogv": "ogg", ".ogg": "ogg"},
}
_TOGETHER = frozenset({"avi", "mxf"})
_MOV = frozenset({"mp4", "mov", "3gp", "3g2"})
_FAMILIES = {  # a demuxer and the muxers that write the same
    "mov,mp4,m4a,3gp,3g2,mj2": _MOV,
    "matroska,webm": frozenset({"matroska", "webm"}),
}
# Cover art that Matroska's readers know by this kind of attachment
_COVERS = {
    "mjpeg": ("image/jpeg", "cover.jpg"),
    "png": ("image/png", "cover.png"),
    "gif": ("image/gif", "cover.gif"),
    "tiff": ("image/tiff", "cover.tiff"),
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

Action = Literal["copied", "moved", "rewritten", "encoded", "rebuilt", "dropped"]


@dataclass(frozen=True)
class StreamPlan:
    """What becomes of one stream of the old file.

    copied: packets and times as they are. moved: packets as they are, at other times. rewritten:
    PCM, sample for sample the same except for inserted silence and cut samples. encoded: decoded,
    played at another pace, encoded again. rebuilt: the container makes it from other data
    (timecode, chapters). dropped: `why` says why it cannot be kept.
    """

    index: int  # of the stream in the old file
    kind: str  # video, audio, subtitle, data, attachment
    codec: str  # FFmpeg's name of it
    action: Action
    language: str = ""  # as the file writes it; "": none
    title: str = ""  # as the file writes it; "": none
    why: str = ""

    @property
    def is_written(self) -> bool:
        """Whether we write it to the new file."""
        return self.action not in ("rebuilt", "dropped")


@dataclass(frozen=True)
class Plan:
    """How a file is written again.

    main_video, measured: stream numbers; video_track, audio_track: what `open_media` calls them.
    """

    source: Path  # the old file
    muxer: str  # FFmpeg's name of the new container
    options: Mapping[str, str]  # of the muxer
    streams: tuple[StreamPlan, ...]  # of the old file, in their order
    moves: Moves  # where the sound belongs
    main_video: int
    measured: int
    video_track: int
    audio_track: int
    playing: tuple[int, ...]  # picture tracks that are no cover art
    same_format: bool  # as the source's: then packets must be bit by bit the same
    notes: tuple[str, ...] = ()  # what to tell the user

    @property
    def new_audio_track(self) -> int:
        """The measured track's number among the audio tracks of the new file."""
        return [
            each.index for each in self.streams if each.kind == "audio" and each.is_written
        ].index(self.measured)

    @property
    def new_video_track(self) -> int:
        """The main picture's number among those that play in the new file."""
        return [
            each.index for each in self.streams if each.index in self.playing and each.is_written
        ].index(self.main_video)


def make_plan(
    source: Path,
    target: Path,
    moves: Moves,
    *,
    audio_track: int | None = None,
    video_track: int | None = None,
    every_track: bool = False,
) -> Plan:
    """The plan for `source` to become `target` with its sound moved; the suffix of `target` says
    its container.

    `every_track` moves all audio tracks, not only the chosen one. Raises MediaError for what cannot
    be read, and Refused.
    """
    with open_media(source, audio_track=audio_track, video_track=video_track, threads=1) as media:
        info = media.info
        if media.are_files:
            raise Refused(
                "it is several files joined end to end; fix each of them, then join them with "
                "mkvmerge or ffmpeg"
            )
        if media.seams_s:
            raise Refused(
                f"its clock or its PIDs change, at {media.seams_s[0]:.1f} s first; cut it there, "
                "and fix each part"
            )
        if len(info.programs) > 1:
            raise Refused("it has several programmes; take out one with ffmpeg, and fix that")
    if index_of(source).mapped:
        raise Refused(
            "its edit list plays pieces of it, and a copy would play all of it; export it again "
            "first"
        )
    with open_container(source, VIDEO_FORMATS) as container:
        if container.format.name == "mpeg":
            raise Refused(
                "a program stream (.mpg, .vob) dates too few of its pictures for a copy; bring it "
                "into .mkv with mkvmerge first"
            )
        muxer = _MUXERS.get(target.suffix.lower())
        if muxer is None:
            raise Refused(
                f"avcheck cannot write {escaped(target.suffix) or 'a file without a suffix'}; "
                "name it .mkv, .mp4, .mov or .ts"
            )
        video = playing(container)[info.video_track]
        audio_number = info.audio_track or 0  # None is for a separate sound file
        measured = container.streams.audio[audio_number]
        moved = _moved_tracks(container, measured, every_track)
        streams = tuple(
            _stream_plan(stream, container, source, muxer, moves, moves_it=stream.index in moved)
            for stream in container.streams
        )
        lost = next(
            (
                each
                for each in streams
                if each.index in (video.index, measured.index) and not each.is_written
            ),
            None,
        )
        if lost is not None:
            raise Refused(f"{lost.why}; name the new file .mkv")
        return Plan(
            source=source,
            muxer=muxer,
            options=_options(source, container, muxer),
            streams=streams,
            moves=moves,
            main_video=video.index,
            measured=measured.index,
            video_track=info.video_track,
            audio_track=audio_number,
            playing=tuple(each.index for each in playing(container)),
            same_format=muxer in _FAMILIES.get(container.format.name, {container.format.name}),
            notes=_notes(container, moved, muxer, moves),
        )


def _moved_tracks(container: InputContainer, measured: AudioStream, every_track: bool) -> set[int]:
    """Stream numbers of the sound that moves: the measured track, or all of them if each is one
    channel of a PCM sound.
    """
    tracks = container.streams.audio
    single = [
        each
        for each in tracks
        if each.codec_context is not None and each.codec_context.layout.nb_channels == 1
    ]
    if every_track or (
        measured in single and len(single) > 1 and measured.codec_context.name.startswith("pcm_")
    ):
        return {each.index for each in (tracks if every_track else single)}
    return {measured.index}


def _notes(container: InputContainer, moved: set[int], muxer: str, moves: Moves) -> tuple[str, ...]:
    notes = []
    if muxer == "mxf" and moves.pieces[-1].later_s > 0:
        notes.append(
            "MXF ends the sound where the pictures end, so what would come after that is cut off"
        )
    left = [
        str(number)
        for number, each in enumerate(container.streams.audio)
        if each.index not in moved
    ]
    if left:
        tracks = (
            f"audio track {left[0]} was"
            if len(left) == 1
            else f"audio tracks {', '.join(left)} were"
        )
        notes.append(f"{tracks} not measured and not moved; --every-track moves all of them alike")
    return tuple(notes)


def _stream_plan(
    stream: Stream,
    container: InputContainer,
    source: Path,
    muxer: str,
    moves: Moves,
    *,
    moves_it: bool,
) -> StreamPlan:
    plan = StreamPlan(
        index=stream.index,
        kind=stream.type,
        codec=codec_of(stream),
        action="copied",
        language=stream.metadata.get("language", ""),
        title=tags_of(stream).get("title", ""),
    )
    handlers = index_of(source).track(stream.id).handlers
    if muxer in _MOV and (
        b"tmcd" in handlers
        or (b"text" in handlers and stream.type == "data" and container.chapters())
    ):
        return replace(plan, action="rebuilt")
    why = _why_not(stream, container, muxer)
    if why:
        return replace(plan, action="dropped", why=why)
    return replace(plan, action=_way(plan, muxer, moves)) if moves_it else plan


def _way(plan: StreamPlan, muxer: str, moves: Moves) -> Action:
    """How the sound of a stream is moved. Raises Refused if it cannot be."""
    pcm = plan.codec in SILENCE
    if moves.drifts:
        if encoder_of(plan.codec) is None:
            raise Refused(
                "its sound drifts and has to be encoded again, and there is no encoder for "
                f"{plan.codec}; "
                "convert the sound to AAC or PCM first"
            )
        return "encoded"
    if pcm and (moves.jumps or muxer in _TOGETHER):
        return "rewritten"
    if muxer in _TOGETHER:
        raise Refused(
            f"in {muxer.upper()} sound can neither start later nor be cut unless it is PCM, and "
            f"this is {plan.codec}; "
            "name the new file .mkv"
        )
    return "moved"


def encoder_of(codec: str) -> str | None:
    """The encoder for a codec, of those that this FFmpeg has."""
    name = codec if codec in SILENCE else _ENCODERS.get(codec)
    try:
        return None if name is None else av.Codec(name, "w").name
    except av.error.FFmpegError:
        return None


def codec_of(stream: Stream) -> str:
    """The codec of a stream by FFmpeg's name; "" if unknown."""
    context: Any = stream.codec_context  # PyAV's types deny that it can be None
    if context is not None:
        return str(context.codec.canonical_name)
    return str(getattr(stream, "name", None) or "")


def _why_not(stream: Stream, container: InputContainer, muxer: str) -> str:
    """Why a muxer does not take a stream, "" if it does: a header with it and the main picture is
    written to memory to find out.
    """
    if stream.type not in ("video", "audio", "subtitle", "data", "attachment"):
        return "its kind is unknown"
    if is_attached(stream, muxer):
        return ""
    name = codec_of(stream) or stream.type
    refusal = f"{muxer} does not hold {name}"
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
    if same_format:
        if made.codec_context is not None:
            with suppress(ValueError):  # no four letters
                made.codec_context.codec_tag = stream.codec_context.codec_tag
        if stream.id:
            made.id = stream.id
    return made


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


def _options(source: Path, container: InputContainer, muxer: str) -> dict[str, str]:
    """Options of the muxer that keep the source's properties, and exact times."""
    if muxer not in _MOV:
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
