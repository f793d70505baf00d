"""A short film with a known offset, to see avcheck at work without any media at hand. Needs
PyAV.
"""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame

from avcheck.errors import UsageError
from avcheck.scenes.base import SAMPLE_RATE, Floats, Scene
from avcheck.scenes.generate import make_scene

FRAME_RATE = 25
SIZE = (432, 576)  # height, width
SOUND_RATE = 48000  # Hz
SOUND_PACKET = 1024  # samples an AAC frame holds
LONGEST_OFFSET_MS = 60_000.0
# Sound rendered beyond both ends; every offset within it is cut from the very same scene
MARGIN_S = 3.0
TINT = (118, 139)  # constant U and V: skin rather than grey


def make_demo(path: Path, *, offset_ms: float, seconds: float = 12.0, seed: int = 1) -> None:
    """Write a talking head of `seconds` to `path` (MP4, H.264 and AAC) with its sound early by
    `offset_ms` (negative: late).

    The scene is rendered longer and then cut, so both streams start at 0 and have the same length,
    and only their content shows the offset, which is exact to a sample of 48 kHz. The same seed and
    length give the same scene at any offset up to 2 s.
    """
    if not (math.isfinite(offset_ms) and abs(offset_ms) <= LONGEST_OFFSET_MS):
        raise UsageError(
            f"a demo can be off by up to {LONGEST_OFFSET_MS:.0f} ms, not {offset_ms} ms"
        )
    if not (math.isfinite(seconds) and seconds >= 1 / FRAME_RATE):
        raise UsageError(f"a demo lasts at least one frame, not {seconds} s")
    margin_s = max(MARGIN_S, math.ceil(abs(offset_ms) / 1000) + 1.0)
    scene = make_scene(
        "talking",
        seed=seed,
        seconds=seconds,
        size=SIZE,
        frame_rate=FRAME_RATE,
        sound_margin_s=margin_s,
        head_share=0.5,
        studio=True,
    )
    # Sound early by x: what belongs to the picture at t + x is heard at t.
    begin = round((margin_s + offset_ms / 1000) * SOUND_RATE)
    length = len(scene.frames) * SOUND_RATE // FRAME_RATE
    sound = _resampled(scene.samples)[begin : begin + length]
    _write(path, scene, sound)


def _resampled(samples: Floats) -> Floats:
    """From 16 to 48 kHz, float32, by padding the spectrum: no delay, and the ringing at both ends
    falls into the margin.
    """
    times = SOUND_RATE // SAMPLE_RATE
    n = len(samples) * times
    return (np.fft.irfft(np.fft.rfft(samples), n) * times).astype(np.float32).clip(-1, 1)


def _write(path: Path, scene: Scene, sound: Floats) -> None:
    height, width = scene.frames.shape[1:]
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as file:
        video = file.add_stream(
            "libx264", rate=FRAME_RATE, options={"crf": "20", "preset": "veryfast", "threads": "1"}
        )
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = file.add_stream("aac", rate=SOUND_RATE, layout="mono", bit_rate=96_000)
        picture = np.empty((height * 3 // 2, width), np.uint8)
        picture[height : height * 5 // 4], picture[height * 5 // 4 :] = TINT
        sent = 0
        for k, luma in enumerate(scene.frames):
            np.multiply(luma, 219 / 255, out=picture[:height], casting="unsafe")
            picture[:height] += 16  # video range
            file.mux(video.encode(_video_frame(picture, k)))
            # Sound follows its pictures closely, so that players need not read far ahead.
            while sent < len(sound) and sent * FRAME_RATE < (k + 1) * SOUND_RATE:
                file.mux(audio.encode(_audio_frame(sound[sent : sent + SOUND_PACKET], sent)))
                sent += SOUND_PACKET
        file.mux(video.encode(None))
        file.mux(audio.encode(None))


def _video_frame(picture: np.ndarray, k: int) -> VideoFrame:
    frame = VideoFrame.from_ndarray(picture, format="yuv420p")
    frame.pts, frame.time_base = k, Fraction(1, FRAME_RATE)
    return frame


def _audio_frame(samples: Floats, place: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(
        np.ascontiguousarray(samples[None]), format="fltp", layout="mono"
    )
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, place, Fraction(1, SOUND_RATE)
    return frame
