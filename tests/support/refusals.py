"""How a file is read or refused, for tests of odd media."""

from __future__ import annotations

from pathlib import Path

import pytest

from avcheck.errors import AvcheckError
from avcheck.media import open_media
from avcheck.record.report import Degraded


def refused(
    path: Path, kind: type[AvcheckError], *words: str, audio_path: Path | None = None
) -> None:
    """Opening `path` raises `kind` with one line that names the file and holds `words`."""
    with pytest.raises(kind) as caught:
        open_media(path, audio_path=audio_path)
    message = str(caught.value)
    assert type(caught.value) is kind
    assert message.startswith(f"{audio_path or path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


def read(path: Path) -> tuple[list[float], float, Degraded]:
    """Times of all pictures, seconds of sound, and what was lost."""
    with open_media(path) as file:
        times_s = []
        for picture in file.pictures():
            assert picture.luma.ndim == 2
            times_s.append(picture.pts_s)
        sound_s = sum(len(sound.samples) for sound in file.sounds()) / 16000
        return times_s, sound_s, file.degraded
