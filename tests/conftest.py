"""Fixtures that every test module may take."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from avcheck.cli import check, config
from tests.support import fake_scan
from tests.support.clips import Shelf

# A shell starts what runs in the background with Ctrl-C ignored, and every process under it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)  # there is no pytest-xdist in every environment
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`-n 2` gives each process whole files, whose films are then made once, unless `--dist` says
    otherwise.
    """
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getoption("dist") == "load" else None


# Loading every test module, and the libraries under them, makes no garbage.
gc.disable()


def pytest_collection_finish() -> None:
    """What is loaded by now stays, so the collector need not go through it again and again; nor
    through what a test makes after every few hundred objects.
    """
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    gc.enable()


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    return Shelf(tmp_path_factory.mktemp("shelf"))


@pytest.fixture
def clip(tmp_path: Path, shelf: Shelf) -> Callable[..., Path]:
    """`clip("name.mp4", **options)` makes a clip in the test's own directory; the options are those
    of `make_clip`.
    """
    return lambda name="clip.mp4", **options: shelf.clip(tmp_path / name, **options)


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that a test calls as a function checks files in the test's own process, where its
    stand-ins are, unless an option asks for workers.
    """
    monkeypatch.setattr(check, "_ISOLATED", False)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network replaced by a stand-in, and no setting from the environment."""
    fake_scan.stand_in(monkeypatch)
    for name in ("AVCHECK_DEBUG", "GITHUB_STEP_SUMMARY", *map(config.variable, config.KEYS)):
        monkeypatch.delenv(name, raising=False)
    fake_scan.MADE.clear()


@pytest.fixture
def clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with one file of each kind, and two below it."""
    for name in (
        "good.mp4",
        "late.mp4",
        "unsure.mkv",
        "broken.mov",
        "lib/a good.mp4",
        "lib/deep/late.webm",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    (tmp_path / ".git").mkdir()  # ends the search for settings here
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An empty folder, for `avcheck watch`."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def library(tmp_path: Path, fake: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with four files in `lib`, one of which cannot be read."""
    (tmp_path / "lib").mkdir()
    for name in ("a.mp4", "b late.mp4", "broken.mov", "c.mkv"):
        (tmp_path / "lib" / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path
