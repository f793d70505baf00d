"""The protocol of the measurements: its constants, and what is drawn at random for each clip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avcheck.errors import MediaError
from avcheck.eval.small import there_and_back
from avcheck.eval.stats import EPSILON
from avcheck.eval.windows import Footage
from avcheck.media import open_media
from avcheck.network.weights import Loaded
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import DEFAULT_PRESET, PRESETS
from avcheck.scan.looking import LEVELS
from avcheck.train.corpus import Clip, decode
from avcheck.verdict.posterior import USUAL_S, Calibration, needed_confidence

SEED = 1
LONGEST_S = 120.0  # of a longer clip only the beginning is measured
PAPER_FRAMES = 105  # 4.2 s
AS_A_CHECK = "as in a check"  # takes the place of a kind of attention
PAPER_LATE_S = (2.0, 5.8)  # a displaced sound is moved by this much, either way
PAIR_MS = (40, 50, 80, 100, 200, 300, 500)
PAIR_MISSING_S = 0.1  # a displaced copy that lacks more sound than this is left out
OFFSET_FRAMES = (105, 125, 250, 500)  # 4.2, 5, 10, 20 s
OFFSET_LATE_S = 1.0
SHIFTED_MS = (80, 120, 200, 500)
SHIFTED_LEAST_S = 10.0
CONTROL_S = 20.0  # of each clip
SMALL_FRAMES = 250  # 10 s
SMALL_FACTORS = (2, 4, 8)
SMALL_FOREIGN = 4  # the factor at which a stranger's sound is tried as well
STRANGER = "sound of another clip"
COVERAGE_S = 6.0  # least length of a clip that should get a verdict
SEEN_SHARE = 0.5  # least share of pictures with a face for a speaker to count as seen
HISS = 10 ** (-50 / 20)  # RMS of the noise that replaces the sound
TOLERANCE = PRESETS[DEFAULT_PRESET]
VERDICTS = ("out_of_sync", "undecidable", "in_sync")
# Blocks of sound on either side of a segment, enough for all shifts that are tried
AROUND = 2
OnStep = Callable[[str, int, int], None]  # called with (stage, done, total)


@dataclass(frozen=True)
class Bench:
    """The weights under test."""

    model: Loaded  # as a check uses them
    heads: dict[str, Loaded]  # with each kind of attention that they hold
    calibration: Calibration  # from scores to chances
    levels: tuple[int, ...] = LEVELS  # short sides at which pictures are looked at, px

    @property
    def decide(self) -> float:
        """The confidence that a verdict on ten seconds needs."""
        return needed_confidence(USUAL_S, self.calibration)


def generator(clip: Clip, purpose: str) -> np.random.Generator:
    """A random generator that depends on the clip and the purpose alone, not on the order of the
    measurements.
    """
    digest = hashlib.sha256(f"{SEED}/{clip.id}/{purpose}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def missing_s(footage: Footage, start_s: float, seconds: float) -> float:
    """How many of the `seconds` of sound from `start_s` on are not in the clip."""
    have_s = len(footage.samples) / SAMPLE_RATE
    return seconds - max(0.0, min(start_s + seconds, have_s) - max(start_s, 0.0))


def displacement(
    aligned_s: float, seconds: float, have_s: float, rng: np.random.Generator
) -> float | None:
    """By how much to displace the sound of a window in the paper's protocol (section 4).

    Args:
        aligned_s: Where in the clip's sound that of the window begins.
        seconds: Length of the window.
        have_s: Length of the clip's sound; the displaced sound lies wholly within it.
        rng: Draws the displacement.

    Returns:
        How late to make the sound, s: 2 to 5.8 s either way, uniformly over what the clip allows.
        None if it allows none.
    """
    least, most = PAPER_LATE_S
    late = (least, min(most, aligned_s))
    early = (max(-most, aligned_s + seconds - have_s), -least)
    spans = [span for span in (early, late) if span[1] > span[0] + EPSILON]
    if not spans:
        return None
    at = float(rng.uniform(0.0, sum(high - low for low, high in spans)))
    for low, high in spans:
        if at <= high - low:
            return low + at
        at -= high - low
    return spans[-1][1]


class Foreign:
    """Sound of other groups: their clips one after another, each decoded once."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips
        self._samples: dict[str, NDArray[np.int16]] = {}

    def sound(self, clip: Clip, count: int) -> NDArray[np.float32] | None:
        """`count` samples at 16 kHz of other groups than that of `clip`; None if they have too
        little.
        """
        others = [other for other in self._clips if other.group != clip.group]
        parts: list[NDArray[np.int16]] = []
        for k in generator(clip, "foreign").permutation(len(others)):
            parts.append(self._read(others[k]))
            if sum(map(len, parts)) >= count:
                return np.concatenate(parts)[:count].astype(np.float32) / 32768.0
        return None

    def _read(self, clip: Clip) -> NDArray[np.int16]:
        """All the sound of a clip, (n,) at 16 kHz."""
        if clip.id not in self._samples:
            pieces: list[NDArray[np.float32]] = [np.zeros(0, np.float32)]
            try:
                with open_media(clip.path) as media:
                    pieces += [sound.samples for sound in media.sounds()]
            except MediaError:
                pass  # a damaged clip lends what could be read of it
            self._samples[clip.id] = (np.concatenate(pieces).clip(-1, 1) * 32767).astype(np.int16)
        return self._samples[clip.id]


class Scenery:
    """Pictures of clips of other groups, to set a clip before or beside."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._clips = clips

    def pictures(
        self, clip: Clip, kind: str, count: int, short_side: int
    ) -> NDArray[np.uint8] | None:
        """Pictures of another group than that of `clip`.

        Args:
            clip: The clip that they are for.
            kind: "speech" or "generic".
            count: How many.
            short_side: Of the pictures, px.

        Returns:
            (count, H, W); None if no such clip decodes.
        """
        others = [
            other for other in self._clips if other.kind == kind and other.group != clip.group
        ]
        for k in generator(clip, f"scenery {kind}").permutation(len(others)):
            with suppress(MediaError):
                return there_and_back(decode(others[k].path, short_side)[0][:count], count)
        return None
