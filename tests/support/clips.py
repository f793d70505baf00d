"""Clips made on the spot: a picture that flashes and a sound that clicks, at times that are known
exactly.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

DARK, BRIGHT = 30, 235  # luma, limited range
CLICK_S = 0.02
_FRAMES = 32  # of an encoder, whose sound is worked out at a time
Array = np.ndarray[Any, Any]
Pictures = Callable[[float], Array]  # time in seconds -> luma (H, W) uint8, limited range
Sounds = Callable[[Array], Array]  # times in seconds (n,) -> samples (n,), -1..1
Clip = Callable[..., Path]  # the fixture `clip`: a name and options of `make_clip` -> the file


def click(times_s: Array) -> Array:
    """A 20 ms chirp that begins at 0: 0.8 peak, and sharp under correlation whatever a codec does
    to it.
    """
    inside = (times_s >= 0) & (times_s < CLICK_S)
    phase = 2 * np.pi * (500 * times_s + 0.5 * (5500 / CLICK_S) * times_s**2)  # 0.5 to 6 kHz
    return np.where(inside, 0.8 * np.sin(phase) * np.sin(np.pi * times_s / CLICK_S), 0.0)


def flashes(events_s: Sequence[float], fps: float, size: tuple[int, int]) -> Pictures:
    """Dark pictures, and a bright one at each of `events_s`."""
    dark, bright = (np.full(size[::-1], luma, np.uint8) for luma in (DARK, BRIGHT))

    def draw(time_s: float) -> Array:
        on = any(abs(time_s - event_s) < 0.5 / fps for event_s in events_s)
        return bright if on else dark

    return draw


@lru_cache  # the same clicks are one object, by which `Shelf` knows a clip again
def _clicks(events_s: tuple[float, ...]) -> Sounds:
    def play(times_s: Array) -> Array:
        total = np.zeros(len(times_s))
        for event_s in events_s:
            near = (times_s >= event_s) & (times_s < event_s + CLICK_S)
            if near.any():
                total[near] += click(times_s[near] - event_s)
        return total

    return play


def clicks(events_s: Sequence[float]) -> Sounds:
    """Silence, and a `click` at each of `events_s`."""
    return _clicks(tuple(events_s))


def click_time_s(start_s: float, samples: Array, rate: int = 16000) -> float:
    """When the click in a run of samples begins, to a fraction of a sample."""
    template = click(np.arange(round(CLICK_S * rate)) / rate)
    match = np.correlate(samples.astype(np.float64), template, "valid")
    peak = int(np.argmax(np.abs(match)))
    shift = 0.0
    if 0 < peak < len(match) - 1:
        before, at, after = np.abs(match[peak - 1 : peak + 2])
        shift = 0.5 * (before - after) / (before - 2 * at + after)
    return start_s + (peak + shift) / rate


@contextmanager
def usual_priority() -> Iterator[None]:
    """Gives this thread back the priority it had.

    libsvtav1, run by root, makes the thread that opens it a real-time one and leaves it so
    (findings/av1-encoder-leaves-its-caller-real-time.sh).
    """
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        if os.sched_getscheduler(0) != policy:
            os.sched_setscheduler(0, policy, param)


@usual_priority()
def make_clip(
    path: Path,
    *,
    seconds: float = 2.0,
    fps: float | Fraction = 25,
    size: tuple[int, int] = (160, 120),  # width, height
    vcodec: str | None = "libx264",
    acodec: str | None = "aac",
    sample_rate: int = 48000,
    layout: str = "mono",
    events_s: Sequence[float] = (1.0,),  # flash and click
    sound_late_s: float = 0.0,  # moves the click inside the sound: the content is out of sync
    # Moves the whole audio stream by its timestamps: the click moves with it
    audio_offset_s: float = 0.0,
    start_s: float = 0.0,  # moves both streams by their timestamps
    picture_times_s: Sequence[float] | None = None,  # variable frame rate; None: every 1 / fps
    # Audio left out of the stream, codec frame by codec frame
    audio_gaps_s: Sequence[tuple[float, float]] = (),
    draw: Pictures | None = None,
    play: Sounds | Sequence[Sounds] | None = None,  # a sequence makes one audio track each
    rotation: int = 0,  # degrees counterclockwise, as a phone writes it
    cover_art: bool = False,
    aspect: Fraction | None = None,  # of a pixel
    default_track: int | None = None,
    languages: Sequence[str] = (),  # of the audio tracks
    pix_fmt: str = "yuv420p",
    full_range: bool = False,
    video_options: Mapping[str, str] | None = None,
    audio_options: Mapping[str, str] | None = None,
    bit_rate: int = 128_000,  # of the sound
    container_options: Mapping[str, str] | None = None,
    format: str | None = None,
    tags: Mapping[str, str] | None = None,  # of the picture stream
) -> Path:
    """Write a video with PyAV: by default 2 s of dark pictures, one bright at 1.0 s, and a click in
    the sound at 1.0 s.

    `draw(time_s)` and `play(times_s)` replace the scene. Either codec may be None, which leaves
    that stream out.
    """
    rate = Fraction(fps).limit_denominator(1001)
    fps = float(rate)
    draw = draw or flashes(events_s, fps, size)
    late_s = [event_s + sound_late_s for event_s in events_s]
    plays = [clicks(late_s)] if play is None else [play] if callable(play) else list(play)
    times_s = picture_times_s or [k / fps for k in range(math.ceil(seconds * fps - 1e-9))]
    with av.open(str(path), "w", format=format, options=dict(container_options or {})) as container:
        video: Any = None
        if vcodec:
            options = (
                {"preset": "ultrafast", "crf": "28"} if vcodec in ("libx264", "libx265") else {}
            )
            options |= {"x265-params": "log-level=none"} if vcodec == "libx265" else {}
            # It has no use for `thread_count`: by itself it starts some forty threads
            svt = {"preset": "12", "svtav1-params": "lp=1"}
            options |= svt if vcodec == "libsvtav1" else {}
            options |= (
                {"deadline": "realtime", "cpu-used": "8"} if vcodec.startswith("libvpx") else {}
            )
            video = container.add_stream(
                vcodec, rate=rate, options=options | dict(video_options or {})
            )
            video.width, video.height = size
            video.metadata.update(tags or {})
            video.pix_fmt = pix_fmt
            tick = Fraction(1, 12000) if picture_times_s else 1 / rate
            tick_s = float(tick)
            video.codec_context.time_base = tick
            video.codec_context.thread_count = 1
            if full_range:
                video.codec_context.color_range = 2
            if aspect:
                video.codec_context.sample_aspect_ratio = aspect
            if rotation:
                video.set_display_rotation(rotation)
        # AAC takes several times as long to look for the best coding, and to keep to a bit rate, as
        # to code at one quality. Noise that the decoder is to make up would be another one from the
        # middle of a file.
        one_quality = {"flags": "+qscale", "global_quality": "118"}
        quick = {"aac_coder": "fast", "aac_pns": "0", "aac_tns": "0"} | one_quality
        audios: list[Any] = []
        for index in range(len(plays) if acodec else 0):
            audio: Any = container.add_stream(
                acodec or "aac",
                rate=sample_rate,
                layout=layout,
                options=(quick if acodec == "aac" else {}) | dict(audio_options or {}),
            )
            if default_track is not None:
                audio.disposition = 1 if index == default_track else 0
            if index < len(languages):
                audio.metadata["language"] = languages[index]
            audio.bit_rate = bit_rate
            audios.append(audio)
        cover: Any = None
        if cover_art:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
            cover.disposition = 1024
        container.start_encoding()
        if cover:
            container.mux(
                cover.encode(
                    VideoFrame.from_ndarray(np.full((64, 64), 128, np.uint8), "gray").reformat(
                        format="yuvj420p"
                    )
                )
            )

        # Setting a reformatter up, and its threads, takes longer than a picture.
        shaper = VideoReformatter()
        luma: Array | None = None
        frame_samples = 1024
        if audios:
            frame_samples = audios[0].codec_context.frame_size or 1024
        total = math.ceil(seconds * sample_rate)
        starts = list(range(0, total, frame_samples)) if audios else []
        tracks = [
            _AudioFrames(audio, sound, total, frame_samples)
            for audio, sound in zip(audios, plays if audios else [], strict=True)
        ]
        jobs = [(time_s, 0, time_s) for time_s in times_s] if video else []
        jobs += [(first / sample_rate + audio_offset_s, 1, first) for first in starts]
        for _, kind, at in sorted(jobs):
            if kind == 0:
                if luma is not (luma := draw(at)):
                    # Levels are meant as written
                    picture = shaper.reformat(
                        VideoFrame.from_ndarray(luma, "gray"),
                        format=pix_fmt,
                        src_color_range=2,
                        dst_color_range=2,
                        threads=1,
                    )
                    if not full_range:
                        picture.color_range = 1
                picture.pts = round((at + start_s) / tick_s)
                picture.time_base = tick
                container.mux(video.encode(picture))
                continue
            first = int(at)
            if any(begin <= first / sample_rate < end for begin, end in audio_gaps_s):
                continue
            pts = first + round((audio_offset_s + start_s) * sample_rate)
            for track in tracks:
                container.mux(track.stream.encode(track.frame(first, pts)))
        for stream in [video, *audios, cover]:
            if stream is not None:
                container.mux(stream.encode(None))
    return path


class _AudioFrames:
    """The frames of one track, for its encoder."""

    def __init__(self, stream: Any, play: Sounds, total: int, count: int) -> None:
        self.stream = stream
        self._play = play
        self._total = total  # samples
        self._count = count  # in a frame
        self._make = audio_frames(stream)
        self._rate = stream.codec_context.sample_rate
        self._first, self._samples = 0, np.zeros(0)

    def frame(self, first: int, pts: int) -> AudioFrame:
        """That of the samples from `first` on."""
        at = first - self._first
        if at < 0 or at >= len(self._samples):  # of many frames at a time
            count = min(_FRAMES * self._count, self._total - first)
            self._samples = np.asarray(self._play((first + np.arange(count)) / self._rate))
            self._first, at = first, 0
        return self._make(self._samples[at : at + self._count], pts)


def audio_frame(stream: Any, samples: Array, pts: int) -> AudioFrame:
    """Mono samples in the encoder's own format, the same in every channel."""
    return audio_frames(stream)(samples, pts)


def audio_frames(stream: Any) -> Callable[[Array, int], AudioFrame]:
    """Makes each `audio_frame` of a stream."""
    context = stream.codec_context
    layout, rate, tick = context.layout.name, context.sample_rate, Fraction(1, context.sample_rate)
    channels = len(context.layout.channels)
    kind = context.format.name
    # Not every PyAV makes planar frames of many channels from an array, and none 64-bit integers
    if channels >= 8 and kind.endswith("p"):
        kind = kind[:-1]
    kind = kind.replace("s64", "dbl")

    def make(samples: Array, pts: int) -> AudioFrame:
        data = np.asarray(samples, np.float64)
        if kind[:3] == "s16":
            data = np.round(data * 32767).astype(np.int16)
        elif kind[:3] == "s32":
            data = np.round(data * 2147483000).astype(np.int32)
        elif kind[:2] == "u8":
            data = np.round(data * 127 + 128).astype(np.uint8)
        else:
            data = data.astype(np.float64 if kind[:3] == "dbl" else np.float32)
        if channels == 1:
            block = data[None]
        elif kind.endswith("p"):
            block = np.tile(data, (channels, 1))
        else:
            block = np.repeat(data, channels)[None]
        frame = AudioFrame.from_ndarray(np.ascontiguousarray(block), format=kind, layout=layout)
        frame.sample_rate = rate
        frame.pts = pts
        frame.time_base = tick
        return frame

    return make


class Shelf:
    """Clips that were made before: the same options again give a copy.

    A clip is known by its suffix and options. One whose picture or sound is drawn by a function
    made inside a test is made anew, as such a function has no name of its own.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[object, Path] = {}

    def clip(self, path: Path, **options: Any) -> Path:
        """`make_clip(path, **options)`, or a copy of what that made before."""
        if not all(map(_same_next_time, (options.get("draw"), *_listed(options.get("play"))))):
            return make_clip(path, **options)
        key = (path.suffix, _hashable(options))
        if key not in self._made:
            kept = self._folder / f"{len(self._made)}{path.suffix}"
            self._made[key] = make_clip(kept, **options)
        shutil.copyfile(self._made[key], path)
        return path


def _same_next_time(function: object) -> bool:
    """Whether asking for the same pictures or sound again gives this very function."""
    name = getattr(function, "__qualname__", "")
    return "<locals>" not in name or name == "_clicks.<locals>.play"


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return frozenset((name, _hashable(each)) for name, each in value.items())
    if isinstance(value, (list, tuple, range)):
        return tuple(_hashable(each) for each in value)
    return value
