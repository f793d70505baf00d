"""What avcheck's reader gives of a clip, as one piece or as one figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from avcheck.media import Media, Sound, open_media
from tests.support.clips import Array, click_time_s


def whole(sounds: list[Sound]) -> tuple[float, Array]:
    """Start and samples of a file's sound as one piece, gaps filled with silence."""
    start_s = sounds[0].start_s
    samples = np.zeros(round((sounds[-1].end_s - start_s) * 16000) + 1, np.float32)
    for sound in sounds:
        first = round((sound.start_s - start_s) * 16000)
        samples[first : first + len(sound.samples)] = sound.samples
    return start_s, samples


def flash_s(file: Media) -> float:
    for picture in file.pictures():
        if picture.luma.mean() > 128:
            return picture.pts_s
    raise AssertionError("no flash")


# Begins the note on an AVI whose pictures are reordered
IN_PLACES = "its pictures carry no times of presentation"


def late_ms(path: Path, **options: Any) -> float:
    """How late the click is against the flash, by our clock. Nothing may be lost on the way."""
    with open_media(path, **options) as file:
        late_s = click_time_s(*whole(list(file.sounds()))) - flash_s(file)
        notes = tuple(note for note in file.degraded.notes if not note.startswith(IN_PLACES))
        assert not replace(file.degraded, notes=notes), file.degraded
    return 1000 * late_s
