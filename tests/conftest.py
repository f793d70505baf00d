"""Fixtures that every test module may take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.clips import Shelf


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def clip(tmp_path: Path, shelf: Shelf) -> Callable[..., Path]:
    """`clip("name.mp4", **options)` makes a clip in the test's own directory; the options are those
    of `make_clip`.
    """
    return lambda name="clip.mp4", **options: shelf.clip(tmp_path / name, **options)
