"""Files as recorders and archives write them, of which a reader has lost something before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.media import open_media
from tests.support.reading import late_ms, whole

Clip = Callable[..., Path]
AAC_MS = 1024 / 48  # what its encoder puts in front, where the container cannot tell


@pytest.mark.parametrize("at_s", [0.4, 2.0])
def test_a_bare_latm_stream_is_counted_from_its_first_frame(clip: Clip, at_s: float) -> None:
    """FFmpeg counts from the 51st."""
    options = {"vcodec": None, "format": "latm", "seconds": 3}
    sound = clip("sound.latm", events_s=(at_s + 0.04,), **options)
    film = clip("film.mp4", events_s=(at_s,), acodec=None, seconds=3)
    assert late_ms(film, audio_path=sound) == pytest.approx(40 + AAC_MS, abs=0.1)
    with open_media(film, audio_path=sound) as file:
        start_s, samples = whole(list(file.sounds()))
    assert start_s == pytest.approx(0, abs=1e-4)
    assert len(samples) / 16000 == pytest.approx(3.03, abs=0.01)
