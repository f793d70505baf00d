"""About seventy transcodes of one title, each with its truth: which moment of the reference each
moment of the file shows and plays.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avcheck.record.report import Verdict
from bench import film
from bench.film import SECONDS, Luma, Samples
from tests.support.clips import make_clip

RATES = {
    "23.976": Fraction(24000, 1001),
    "24": Fraction(24),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "50": Fraction(50),
    "59.94": Fraction(60000, 1001),
}
Look = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]
Hear = Callable[[Samples], Samples]


@dataclass(frozen=True)
class Part:
    """From `start_s` on, the file plays the reference from `reference_s` on, at `pace` seconds of
    the reference in one of the file; None: something that the reference does not have.
    """

    start_s: float
    reference_s: float | None
    pace: float = 1.0


AS_IT_WAS = (Part(0.0, 0.0),)


@dataclass(frozen=True)
class Transcode:
    """What was done to the title, and what a comparison should say of it."""

    name: str
    rate: str = "25"  # of the reference
    to: str = "25"  # of the file
    convert: str = "nearest"  # or "blend" of two pictures, or "fields" of 3:2 pull-down
    picture: tuple[Part, ...] = AS_IT_WAS
    sound: tuple[Part, ...] = AS_IT_WAS
    look: Look = field(default=lambda picture: picture)
    hear: Hear = field(default=lambda samples: samples)
    voices: int = 0  # take of the voice in the file; the reference has take 0
    music: int = 0
    bed_level: float = 1.0  # of both
    seconds: float = 28.0
    reference_s: float = SECONDS
    file: str = "film.mp4"
    clip: Mapping[str, Any] = field(default_factory=dict)  # options of `make_clip`
    reference_look: Look | None = None
    verdict: Verdict = "in_sync"

    def make(self, path: Path) -> None:
        """Write the file."""
        pictures = _pictures(self.rate, self.reference_s)
        file_rate = float(RATES[self.to])

        def draw(time_s: float) -> NDArray[np.uint8]:
            return self.look(self._shown(pictures, round(time_s * file_rate) / file_rate))

        heard = self.hear(film.sound(self.voices, self.music, self.bed_level))

        def play(times_s: NDArray[np.float64]) -> NDArray[np.float64]:
            return _played(heard, reference_times(self.sound, times_s), times_s)

        _write(path, draw, play, RATES[self.to], self.seconds, self.clip)

    def make_reference(self, path: Path) -> None:
        """Write the reference that it is made from."""
        pictures, rate = _pictures(self.rate, self.reference_s), RATES[self.rate]
        look = self.reference_look or (lambda picture: picture)
        heard = film.sound(0, 0, self.bed_level)  # called as in `make`, so that it is made once
        _write(
            path,
            lambda time_s: look(pictures[min(len(pictures) - 1, round(time_s * float(rate)))]),
            lambda times_s: _played(heard, times_s, times_s),
            rate,
            self.reference_s,
            {"acodec": "flac"},
        )

    def _shown(self, pictures: Luma, time_s: float) -> NDArray[np.uint8]:
        (reference_s,) = reference_times(self.picture, np.array([time_s]))
        if np.isnan(reference_s):
            return film.picture(500 + time_s)
        at = reference_s * float(RATES[self.rate])
        last = len(pictures) - 1
        if self.convert == "blend":
            low = min(last, max(0, int(at + 1e-6)))
            share = min(max(at - low, 0.0), 1.0)
            mixed = pictures[low] * (1 - share) + pictures[min(last, low + 1)] * share
            return np.asarray(mixed, np.uint8)
        if self.convert == "fields":
            half = 0.5 * float(RATES[self.rate] / RATES[self.to])
            first, second = (min(last, max(0, int(each + 0.2))) for each in (at, at + half))
            out = pictures[first].copy()
            out[1::2] = pictures[second][1::2]
            return out
        step = RATES[self.rate] / RATES[self.to]
        # The nearest picture, so that on the whole pictures are neither early nor late. A repeated
        # one counts from when it is first shown; of dropped ones the one that is shown counts.
        nearest = np.ceil(at + float(step) / 2 - 1e-6) - 1 if step <= 1 else np.floor(at + 0.499)
        return pictures[min(last, max(0, int(nearest)))]


def reference_times(parts: tuple[Part, ...], times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The moments of the reference at these of the file, in seconds; NaN if it has none."""
    at = np.searchsorted([part.start_s for part in parts], times_s + 1e-9, side="right") - 1
    out = np.full(len(times_s), np.nan)
    for k, part in enumerate(parts):
        here = (at == k) if k else (at <= 0)
        if part.reference_s is not None:
            out[here] = part.reference_s + part.pace * (times_s[here] - part.start_s)
    return out


@lru_cache(maxsize=2)
def _pictures(rate: str, seconds: float) -> Luma:
    count = round(seconds * float(RATES[rate]))
    return np.stack([film.picture(k / float(RATES[rate])) for k in range(count)])


@lru_cache(maxsize=1)
def _foreign() -> Samples:
    return film.sound(9, 9)[::-1]


def _played(
    samples: Samples, reference_s: NDArray[np.float64], times_s: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The sound at `times_s` of the file, which are `reference_s` of the reference."""
    is_foreign = np.isnan(reference_s)
    heard = _between(samples, np.where(is_foreign, -1.0, reference_s))
    if is_foreign.any():
        heard[is_foreign] = _between(_foreign(), times_s[is_foreign])
    return heard


def _between(samples: Samples, times_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sound at these times, in seconds; silence before and after it."""
    at = times_s * film.SOUND_RATE
    low = np.floor(at).astype(np.intp)
    inside = (low >= 0) & (low < len(samples) - 1)
    low = np.clip(low, 0, len(samples) - 2)
    share = at - low
    return np.where(inside, samples[low] * (1 - share) + samples[low + 1] * share, 0.0)


def _write(
    path: Path,
    draw: Callable[[float], NDArray[np.uint8]],
    play: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    rate: Fraction,
    seconds: float,
    options: Mapping[str, Any],
) -> None:
    height, width = draw(0.0).shape
    make_clip(
        path, seconds=seconds, fps=rate, size=(width, height), draw=draw, play=play, **options
    )


# ---- what is done to pictures


def _crop(top: float, left: float) -> Look:
    """Crop these shares of height and width from either side, and scale back to the old size."""

    def look(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width = picture.shape
        high, wide = round(top * height), round(left * width)
        return resized(picture[high : height - high, wide : width - wide], (height, width))

    return look


def _cut(left: float) -> Look:
    """Cut these shares of the width off, which makes the picture narrower."""

    def look(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        wide = round(left * picture.shape[1]) // 2 * 2
        return np.ascontiguousarray(picture[:, wide : picture.shape[1] - wide])

    return look


def resized(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at another size, by nearest neighbour."""
    rows, columns = (
        np.arange(new) * old // new for new, old in zip(size, picture.shape, strict=True)
    )
    return np.ascontiguousarray(picture[np.ix_(rows, columns)])


def _boxed(high: int, wide: int) -> Look:
    """Add black bars above and below, or at the sides."""
    return lambda picture: np.pad(picture, ((high, high), (wide, wide)), constant_values=16)


def _inside(height: int, width: int) -> Look:
    """Shrink the picture, in a black one of its old size."""

    def look(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        out = np.full_like(picture, 16)
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        out[top : top + height, left : left + width] = resized(picture, (height, width))
        return out

    return look


def _logo(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = picture.copy()
    out[10:40, 260:310] = 235
    return out


def _graded(gamma: float, gain: float, lift: float) -> Look:
    levels = np.clip(lift + gain * 219 * (np.arange(256) / 235.0) ** gamma, 16, 235)
    return lambda picture: levels.astype(np.uint8)[picture]


def _subtitled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Add a line of text that comes and goes with the content."""
    out = picture.copy()
    if int(picture[0, 0]) % 3:
        out[150:168, 60:260] = np.where(np.arange(200) // 7 % 2, 235, 20)
    return out


def _grainy(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    seed = int(picture[::20, ::20].sum())
    noise = np.random.default_rng(seed).normal(0, 12, picture.shape)
    return np.clip(picture + noise, 16, 235).astype(np.uint8)


def _mirrored(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(picture[:, ::-1])


def _still(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.full_like(picture, 90)


# ---- what is done to sounds


def _filtered(low_hz: float, high_hz: float) -> Hear:
    def hear(samples: Samples) -> Samples:
        hz = np.fft.rfftfreq(len(samples), 1 / film.SOUND_RATE)
        gain = 1 / (1 + (low_hz / np.maximum(hz, 1)) ** 4) / (1 + (hz / high_hz) ** 4)
        return np.fft.irfft(np.fft.rfft(samples) * gain, len(samples)).astype(np.float32)

    return hear


def _squeezed(samples: Samples) -> Samples:
    """Compress the dynamic range: the level in 50 ms to the power of 0.3."""
    wide = round(0.05 * film.SOUND_RATE)
    level = np.sqrt(np.convolve(samples**2, np.ones(wide) / wide, "same") + 1e-8)
    return np.asarray(0.3 * samples * level**-0.7, np.float32)


def _clipped(samples: Samples) -> Samples:
    return np.clip(5 * samples, -0.25, 0.25)


def _noisy(samples: Samples) -> Samples:
    noise = np.random.default_rng(5).normal(0, 0.6 * np.std(samples), len(samples))
    return np.asarray(samples + noise, np.float32)


def _roomy(samples: Samples) -> Samples:
    out = samples.copy()
    for delay_s, gain in ((0.013, 0.5), (0.029, 0.35), (0.053, 0.25), (0.097, 0.15)):
        count = round(delay_s * film.SOUND_RATE)
        out[count:] += gain * samples[:-count]
    return 0.6 * out


def _times(gain: float) -> Hear:
    return lambda samples: np.asarray(gain * samples, np.float32)


def _moved(late_ms: float) -> tuple[Part, ...]:
    return (Part(0.0, -late_ms / 1000),)


def _paced(pace: float) -> dict[str, Any]:
    parts = (Part(0.0, 0.0, pace),)
    return {"picture": parts, "sound": parts, "seconds": min(30.0, 0.98 * SECONDS / pace)}


def _edited(*parts: Part, **settings: Any) -> dict[str, Any]:
    return {"picture": parts, "sound": parts, **settings}


_INSERTED = (Part(0.0, 0.0), Part(11.0, None), Part(18.0, 11.0))
_FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof+delay_moov"}
_H264_B = {"preset": "ultrafast", "bf": "2", "g": "50"}

CODECS = [
    Transcode("H.264, AAC in mp4", clip={"video_options": _H264_B}),
    Transcode("H.264, AAC in fragmented mp4", clip={"container_options": _FRAGMENTED}),
    Transcode("H.264, Opus in mkv", file="film.mkv", clip={"acodec": "libopus"}),
    Transcode("MPEG-2, MP2 in ts", file="film.ts", clip={"vcodec": "mpeg2video", "acodec": "mp2"}),
    Transcode("H.264, AC-3 5.1 in ts", file="film.ts", clip={"acodec": "ac3", "layout": "5.1"}),
    Transcode(
        "VP8, Opus in webm",
        file="film.webm",
        clip={"vcodec": "libvpx", "acodec": "libopus", "layout": "stereo"},
    ),
    Transcode("H.265, AAC in mov", file="film.mov", clip={"vcodec": "libx265"}),
    Transcode(
        "MPEG-2, PCM in mxf", file="film.mxf", clip={"vcodec": "mpeg2video", "acodec": "pcm_s16le"}
    ),
    Transcode("H.264, AAC 44.1 kHz in flv", file="film.flv", clip={"sample_rate": 44100}),
    Transcode(
        "MPEG-4, MP3 in mkv", file="film.mkv", clip={"vcodec": "mpeg4", "acodec": "libmp3lame"}
    ),
    Transcode(
        "AAC at 24 kbit/s, H.264 at CRF 40",
        clip={"bit_rate": 24_000, "video_options": {"preset": "ultrafast", "crf": "40"}},
    ),
    Transcode(
        "AAC at 11 kHz, 96 x 54",
        clip={"sample_rate": 11025, "bit_rate": 32_000},
        look=lambda picture: resized(picture, (54, 96)),
    ),
    Transcode("Opus at 12 kbit/s", file="film.mkv", clip={"acodec": "libopus", "bit_rate": 12_000}),
]
FRAME_RATES = [
    Transcode("25 to 50, repeated", to="50"),
    Transcode("50 to 25", rate="50"),
    Transcode("25 to 29.97, repeated", to="29.97"),
    Transcode("25 to 29.97, blended", to="29.97", convert="blend"),
    Transcode("29.97 to 25, dropped", rate="29.97"),
    Transcode("29.97 to 25, blended", rate="29.97", convert="blend"),
    Transcode("29.97 to 59.94, repeated", rate="29.97", to="59.94"),
    Transcode("50 to 29.97", rate="50", to="29.97"),
    Transcode("24 to 25, one repeated a second", rate="24"),
    Transcode("24 to 25, PAL speed-up", rate="24", **_paced(25 / 24)),
    Transcode("25 to 24, slowed down", to="24", **_paced(24 / 25)),
    Transcode("23.976 to 25, speed-up", rate="23.976", **_paced(25 * 1001 / 24000)),
    Transcode("24 to 23.976, slowed down", rate="24", to="23.976", **_paced(1000 / 1001)),
    Transcode("23.976 to 24, sped up", rate="23.976", to="24", **_paced(1001 / 1000)),
    Transcode("23.976 to 29.97, 3:2 pull-down", rate="23.976", to="29.97", convert="fields"),
    Transcode("23.976 to 59.94, 3:2 repeats", rate="23.976", to="59.94"),
    Transcode("29.97 to 23.976, pictures dropped", rate="29.97", to="23.976"),
]
LOOKS = [
    Transcode("letterbox", look=_boxed(30, 0)),
    Transcode("pillarbox", look=_inside(180, 240)),
    Transcode("letterbox taken away", reference_look=_boxed(30, 0)),
    Transcode("cropped to 4:3", look=_cut(0.125)),
    Transcode("cropped to 2.39:1", look=lambda picture: np.ascontiguousarray(picture[22:158])),
    Transcode("cropped by a tenth on every side", look=_crop(0.1, 0.1)),
    Transcode("squeezed to 4:3", look=lambda picture: resized(picture, (180, 240))),
    Transcode("logo", look=_logo),
    Transcode("subtitles burnt in", look=_subtitled),
    Transcode("dark grade", look=_graded(1.8, 0.9, 10)),
    Transcode("flat grade", look=_graded(0.7, 0.4, 60)),
    Transcode("grain", look=_grainy),
    Transcode("mirrored", look=_mirrored),
]
SOUNDS = [
    Transcode("20 dB down", hear=_times(0.1)),
    Transcode("polarity inverted", hear=_times(-1.0)),
    Transcode("dynamic range compressed", hear=_squeezed),
    Transcode("band-passed", hear=_filtered(800, 2500)),
    Transcode("low-passed", hear=_filtered(20, 700)),
    Transcode("clipped", hear=_clipped),
    Transcode("noise 4 dB below", hear=_noisy),
    Transcode("echoes of a room", hear=_roomy),
    Transcode("music and effects alone", hear=lambda samples: film.bed()),
    Transcode("a dub over the same bed", voices=1),
    Transcode("a dub over a faint bed", voices=1, bed_level=0.3),
    Transcode(
        "a dub over a faint bed, 150 ms late",
        bed_level=0.3,
        voices=1,
        sound=_moved(150),
        verdict="out_of_sync",
    ),
]
EDITS = [
    Transcode("sound 150 ms late", sound=_moved(150), verdict="out_of_sync"),
    Transcode("sound 83 ms early", sound=_moved(-83), verdict="out_of_sync"),
    Transcode("sound 11 ms late", sound=_moved(11)),
    Transcode("7 s inserted", **_edited(*_INSERTED)),
    Transcode("5 s removed", **_edited(Part(0.0, 0.0), Part(13.0, 18.0))),
    Transcode("head cut off, tail of something else", **_edited(Part(0.0, 5.0), Part(22.0, None))),
    Transcode("parts in another order", **_edited(Part(0.0, 16.0), Part(14.0, 0.0))),
    Transcode(
        "200 ms cut out of the sound",
        sound=(Part(0.0, 0.0), Part(14.0, 14.2)),
        verdict="out_of_sync",
    ),
    Transcode("sound slips by 0.3 %", sound=(Part(0.0, 0.0, 1.003),), verdict="out_of_sync"),
    Transcode("sound slips by 0.02 %", sound=(Part(0.0, 0.0, 1.0002),)),
]
STRANGERS = [
    Transcode(
        "sound of another performance",
        voices=1,
        music=1,
        verdict="undecidable",
    ),
    Transcode(
        "sound of something else",
        sound=(Part(0.0, None),),
        verdict="undecidable",
    ),
    Transcode("pictures of something else", picture=(Part(0.0, None),), verdict="undecidable"),
    Transcode("a still picture", look=_still, picture=(Part(0.0, None),), verdict="undecidable"),
]
TRANSCODES = [*CODECS, *FRAME_RATES, *LOOKS, *SOUNDS, *EDITS, *STRANGERS]
