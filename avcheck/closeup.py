"""The second, closer look: which window of a picture, at which segments, and its score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from avcheck.blocks import Block
from avcheck.model import agreement
from avcheck.report import Tolerance
from avcheck.scan import Look, look_in_parts, score, sound_with_margin
from avcheck.verdict import Calibration, Curve, Judgement, judge, obstacle
from avcheck.weights import Loaded

MUCH_SHAKE_CLOSER = 0.002  # the same of a closer look: a pixel
ZOOM_SEGMENTS = 3  # of an undecided file are looked at closer at first, and as many again if one of them shows an offset
_PLACES_AT_A_TIME = 500


def look_closer(pictures: NDArray[np.uint8], shown: NDArray[np.bool_], start_s: float, model: Loaded) -> Look:
    """The visual trunk over large pictures, whole, for `score_closer`. A small face leaves its place with little shake."""
    kept = torch.bfloat16 if model.half else torch.float32  # what is done with them next rounds them to that
    return look_in_parts(pictures, shown, start_s, model, (CLOSER_SIDE,), much=MUCH_SHAKE_CLOSER, kept=kept)


def score_closer(
    seen: Look, curve: Curve, before: list[Block], inside: list[Block], after: list[Block], model: Loaded
) -> Curve:
    """`curve`, of one segment, from a larger look at its pictures, of which the window that goes best with the sound is kept.

    One window only: what the rest of the picture shows is at best nothing, and lowers the confidence. Of the blocks only the
    sound is read.
    """
    mel, _ = sound_with_margin(before, inside, after)
    window = best_window(_strength(seen, mel, model), seen.grid)
    grid = tuple(seen.grid[k] for k in window.tolist())
    narrow = replace(seen, picture=seen.picture[:, :, torch.from_numpy(window)], grid=grid)
    return score(narrow, before, inside, after, model, curve.motion, curve.detail)


def zoom(
    curves: list[Curve],
    found: Judgement,
    closer: Callable[[Curve], Curve],
    tolerance: Tolerance,
    calibration: Calibration,
) -> tuple[list[Curve], Judgement]:
    """The curves of a file and what they say, after a closer look at some of the segments that showed nothing.

    `closer` gives a segment's curve from a closer look. A file that is decided, or of which an offset is told, costs nothing,
    nor does one whose sound is silent or whose pictures do not move.
    """
    if found.verdict != "undecidable" or found.offset_ms is not None or obstacle(curves) is not None:
        return curves, found
    curves = list(curves)
    mute = [k for k, part in enumerate(found.segments) if part.offset_ms is None and obstacle([curves[k]]) is None]
    for _ in range(2):
        chosen = spread(mute, ZOOM_SEGMENTS)
        for k in chosen:
            curves[k] = closer(curves[k])
        found = judge(curves, tolerance, calibration)
        mute = [k for k in mute if k not in chosen]
        told = found.verdict != "undecidable" or found.offset_ms is not None
        if told or not any(found.segments[k].offset_ms is not None for k in chosen):
            break
    return curves, found


@torch.inference_mode()
def _strength(seen: Look, mel: NDArray[np.float32], model: Loaded) -> NDArray[np.float32]:
    """`model.agreement` of every place with the sound, (P,)."""
    with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=model.half):
        sound = model.net.sound(torch.from_numpy(mel)[None].to(model.device))
        # The places of a closer look are thousands, and are copied to be compared.
        parts = torch.split(seen.picture, _PLACES_AT_A_TIME, dim=2)
        found = [agreement(part, sound)[0].float() for part in parts]
    strength: NDArray[np.float32] = torch.cat(found).cpu().numpy()
    return strength


CLOSER_SIDE = 528  # px, short side: more than three times that of the first look
LEAST_SIDE = 264  # px; a smaller picture was seen well enough
REACH = 3  # places on either side of a window's middle, 16 px each


def best_window(strength: NDArray[np.floating], grid: Sequence[tuple[int, int, int, int, int]]) -> NDArray[np.int_]:
    """The places within `REACH` of the strongest, as indices, rising.

    strength: of every place, (P,); grid: where they lie, all of one level, as in `scan.Look`.
    """
    at = np.array([place[1:3] for place in grid])
    window: NDArray[np.int_] = np.flatnonzero((np.abs(at - at[int(np.argmax(strength))]) <= REACH).all(axis=1))
    return window


def spread(items: Sequence[int], count: int) -> list[int]:
    """At most `count` of the items, evenly spread and in their order."""
    if len(items) <= count:
        return list(items)
    return [items[int((k + 0.5) * len(items) / count)] for k in range(count)]
