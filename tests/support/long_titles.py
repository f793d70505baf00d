"""Long titles with a known offset, made of generated talking scenes or of decoded clips."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from avcheck.scenes.generate import make_scene
from avcheck.train.corpus import decode, find_clips

FRAME_RATE = 25
SAMPLE_RATE = 16_000  # Hz, of every shot's sound
SOUND_RATE = 48_000  # Hz, of the title
SIZE = (176, 312)  # height, width
SHOT_S = 12.0  # of a generated scene

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Shot:
    """Pictures, uint8 (T, H, W) at 25 fps from 0 s, and their sound from 0 s, float32 at 16 kHz; in
    sync.
    """

    pictures: Array
    samples: Array


@dataclass(frozen=True)
class Fault:
    """What is wrong with a title: how late its sound is (ms, negative: early) at both ends, and how
    it gets there.
    """

    name: str
    late_ms: tuple[float, float] = (0.0, 0.0)
    jump_at: float | None = None  # share of the title; None: it drifts, or is constant

    def late_s(self, times_s: Array, seconds: float) -> Array:
        """How late the sound is at these moments (s) of a title of so many seconds."""
        start, end = self.late_ms
        share = (
            times_s / seconds
            if self.jump_at is None
            else np.where(times_s < self.jump_at * seconds, 0.0, 1.0)
        )
        return (start + (end - start) * share) / 1000.0


def drawn_shots(seconds: float) -> Iterator[Shot]:
    """Generated talking heads, a new one every 12 s, for so many seconds at least."""
    for number in range(int(-(-seconds // SHOT_S))):
        scene = make_scene(
            "talking",
            seed=1000 + number,
            seconds=SHOT_S,
            size=SIZE,
            head_share=0.5,
            studio=True,
        )
        yield Shot(scene.frames, scene.samples)


def recorded_shots(corpus: Path, seconds: float, seed: int = 1) -> Iterator[Shot]:
    """Validation clips of speech whose own offset is known, corrected for it and in random order,
    until they last `seconds`.
    """
    clips = [
        clip for clip in find_clips(corpus, split="val") if clip.kind == "speech" and clip.trusted
    ]
    clips = [clip for clip in clips if clip.offset_frames is not None]
    rng = np.random.default_rng(seed)
    have_s = 0.0
    while have_s < seconds:
        for k in rng.permutation(len(clips)):
            frames, samples = decode(clips[k].path, min(SIZE))
            late = round((clips[k].offset_frames or 0.0) / FRAME_RATE * SAMPLE_RATE)
            samples = (
                samples[late:]
                if late > 0
                else np.concatenate([np.zeros(-late, np.float32), samples])
            )
            count = min(len(frames), len(samples) * FRAME_RATE // SAMPLE_RATE)
            yield Shot(frames[:count], samples[: count * SAMPLE_RATE // FRAME_RATE])
            have_s += count / FRAME_RATE
            if have_s >= seconds:
                break


def write_title(
    path: Path,
    shots: Iterator[Shot],
    seconds: float,
    fault: Fault | None = None,
) -> Path:
    """Write shots one after the other, cut to `seconds`, with their sound displaced as `fault`
    says; H.264 and AAC.
    """
    with av.open(str(path), "w") as file:
        options = {"preset": "veryfast", "crf": "24", "g": "250", "bf": "3"}
        video: Any = file.add_stream("libx264", rate=FRAME_RATE, options=options)
        video.height, video.width, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.thread_count = 1
        audio: Any = file.add_stream("aac", rate=SOUND_RATE, layout="mono", bit_rate=96_000)
        sounds = [np.zeros(0, np.float32)]
        count = 0
        for shot in shots:
            sounds.append(shot.samples)
            for luma in shot.pictures:
                if count < seconds * FRAME_RATE:
                    frame = VideoFrame.from_ndarray(_fitted(luma), format="gray").reformat(
                        format="yuv420p"
                    )
                    frame.pts, frame.time_base = count, Fraction(1, FRAME_RATE)
                    file.mux(video.encode(frame))
                    count += 1
        file.mux(video.encode(None))
        sound = np.concatenate(sounds)
        times_s = np.arange(round(count / FRAME_RATE * SOUND_RATE)) / SOUND_RATE
        late_s = (fault or Fault("in sync")).late_s(times_s, seconds)
        played = np.interp(
            times_s - late_s, np.arange(len(sound)) / SAMPLE_RATE, sound, left=0.0, right=0.0
        )
        for at in range(0, len(played), 1024):
            run = AudioFrame.from_ndarray(
                played[None, at : at + 1024].astype(np.float32), format="fltp", layout="mono"
            )
            run.sample_rate, run.pts, run.time_base = SOUND_RATE, at, Fraction(1, SOUND_RATE)
            file.mux(audio.encode(run))
        file.mux(audio.encode(None))
    return path


def _fitted(luma: Array) -> Array:
    """The picture scaled to fit into `SIZE`, with black around it."""
    if luma.shape == SIZE:
        return luma
    scale = min(SIZE[0] / luma.shape[0], SIZE[1] / luma.shape[1])
    height, width = (
        min(side, round(scale * each)) for side, each in zip(SIZE, luma.shape, strict=True)
    )
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(luma), format="gray")
    scaled = frame.reformat(width=width, height=height, interpolation="AREA").to_ndarray()
    whole = np.full(SIZE, 16, np.uint8)
    top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
    whole[top : top + height, left : left + width] = scaled
    return whole
