"""A file that is no media is refused before torch is loaded, in this process and in a worker; a
clip is checked as ever.
"""

from __future__ import annotations

import gc
import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.batch import run as run_batch
from avcheck.batch.base import Limits
from avcheck.batch.run import Unchanged, check_changed, check_many, precheck
from avcheck.cli.app import main
from avcheck.errors import ModelError, NotMedia, UsageError
from avcheck.machine.loading import while_importing
from avcheck.media import open_media
from avcheck.reading import choice
from avcheck.record.report import Report
from avcheck.settings import CheckSettings
from avcheck.text.plain_text import ANNEX_POINTER, LFS_POINTER, NO_VIDEO, PLAYLIST, is_text
from tests.support import fake_scan

WITH_WORKER = Limits(timeout_s=60)
everywhere = pytest.mark.parametrize("limits", [None, WITH_WORKER], ids=["here", "in a worker"])


def make_slowly(settings: CheckSettings, threads: int) -> fake_scan.FakeChecker:
    time.sleep(3)
    return fake_scan.make_checker(settings, threads)


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.mp4"
    path.write_text("Remember the milk.\n")
    return path


def stand_in(monkeypatch: pytest.MonkeyPatch, make: run_batch.CheckerMaker) -> None:
    """Another checker, but the real first look."""
    fake_scan.MADE.clear()
    monkeypatch.setattr(run_batch, "load_checker", make)


def loaded_by(code: str, *names: str) -> tuple[str, list[str]]:
    """What a new process prints, and which of these modules it has loaded in the end."""
    code = f"import sys; {code}; print(*(name for name in {names} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stderr, run.stdout.split()


def test_the_command_refuses_a_text_file_without_any_library_of_media(notes: Path) -> None:
    said, loaded = loaded_by(
        f"from avcheck.cli.app import main; main([{str(notes)!r}])",
        *("torch", "av", "numpy", "rich", "jinja2", "pydantic"),
        *("avcheck.cli.check", "avcheck.cli.compare", "avcheck.cli.fix", "avcheck.render.edl"),
    )
    # The command asked for is there, and no other
    assert (said, loaded) == (f"{notes}: error: {NO_VIDEO}\n", ["avcheck.cli.check"])


@pytest.mark.slow
def test_loading_the_weights_brings_no_compiler() -> None:
    code = "from avcheck.network import weights; weights.load(device='cpu')"
    assert loaded_by(code, "torch", "torch._dynamo", "sympy") == ("", ["torch"])


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"Remember the milk.\n", True),
        ("Grüße, 你好".encode() * 1000, True),
        (b"", False),
        (b"two words\x00", False),
        (b"\xff\xfe\xfd", False),
    ],
)
def test_text_is_known_by_its_first_bytes(tmp_path: Path, content: bytes, text: bool) -> None:
    path = tmp_path / "some"
    path.write_bytes(content)
    assert is_text(path) == text


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", LFS_POINTER),
        ("/annex/objects/SHA256E-s287167--57dd.mp4\n", ANNEX_POINTER),
        ("#EXTM3U\nfilm.ts\n", PLAYLIST),
        ("Fetch it: git lfs pull\n", NO_VIDEO),
    ],
    ids=["lfs", "annex", "playlist", "other"],
)
def test_a_text_in_the_place_of_a_video_says_how_to_come_by_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, why: str
) -> None:
    path = tmp_path / "film.mp4"
    path.write_text(content)
    assert main([str(path)]) == 2
    assert capsys.readouterr().err == f"{path}: error: {why}\n"
    with pytest.raises(NotMedia, match=re.escape(why)):
        open_media(path)


def test_no_folder_is_text(tmp_path: Path) -> None:
    assert not is_text(tmp_path)
    assert not is_text(tmp_path / "gone")


@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv", "ts", "avi", "flv", "mxf", "mpg", "nut"])
def test_no_clip_is_text(clip: Callable[..., Path], suffix: str) -> None:
    codecs = {"mpg": ("mpeg2video", "mp2"), "mxf": ("mpeg2video", "pcm_s16le")}
    vcodec, acodec = codecs.get(suffix, ("libx264", "aac"))
    assert not is_text(clip(f"clip.{suffix}", seconds=0.2, vcodec=vcodec, acodec=acodec))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's")
def test_memory_that_was_kept_is_given_back() -> None:
    code = """
import avcheck.machine.memory as memory
def resident_mb(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20
memory.keep_memory()
pieces = [bytearray(b'x' * 2**20) for _ in range(100)]
del pieces
kept_mb = resident_mb()
memory.give_back()
print(kept_mb - resident_mb())
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(run.stdout) > 80


def test_collecting_garbage_rests_while_a_module_is_loaded() -> None:
    with while_importing():
        assert not gc.isenabled()
    assert gc.isenabled()


@everywhere
def test_no_checker_is_made_for_what_cannot_be_checked(
    notes: Path, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, limits: Limits | None
) -> None:
    stand_in(monkeypatch, fake_scan.make_no_checker)
    mute = clip("mute.mp4", acodec=None, seconds=0.2)
    reports = {report.path: report for report in check_many([notes, mute], CheckSettings(), limits)}
    assert [each.verdict for each in reports.values()] == ["error", "error"]
    assert reports[str(notes)].reason == NO_VIDEO
    assert "no audio track" in (reports[str(mute)].reason or "")
    assert reports[str(notes)].file_size == notes.stat().st_size
    assert all(
        each.model_sha256 and each.settings_sha256 and each.checked_at for each in reports.values()
    )


def test_of_several_sounds_one_that_is_none_leaves_the_others_to_the_check(
    notes: Path, clip: Callable[..., Path]
) -> None:
    film = clip(seconds=0.2)
    sound = clip("sound.wav", vcodec=None, acodec="pcm_s16le", seconds=0.2)
    assert isinstance(precheck(CheckSettings(audio=(notes,)), film, ()), Report)
    assert precheck(CheckSettings(audio=(notes, sound)), film, ()) is None


@everywhere
def test_a_checker_that_cannot_be_made_ends_the_run_at_the_first_clip(
    notes: Path, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, limits: Limits | None
) -> None:
    stand_in(monkeypatch, fake_scan.make_no_checker)
    reports = check_many([notes, clip(seconds=0.2)], CheckSettings(), limits)
    assert next(reports).path == str(notes)
    with pytest.raises(ModelError, match="the weights are damaged"):
        next(reports)


@everywhere
def test_among_clips_one_checker_is_made_and_each_file_begins_once(
    notes: Path, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, limits: Limits | None
) -> None:
    stand_in(monkeypatch, fake_scan.make_checker)
    files = [notes, clip("pid.mp4", seconds=0.2), clip("pid too.mp4", seconds=0.2)]
    begun: list[object] = []
    reports: list[Report] = list(check_many(files, CheckSettings(), limits, on_file=begun.append))
    assert begun == files
    assert [report.verdict for report in reports] == ["error", "undecidable", "undecidable"]
    assert len({report.reason for report in reports[1:]}) == 1  # checked by one process
    assert len(fake_scan.MADE) == (0 if limits else 1)


@pytest.mark.slow
def test_the_time_that_the_network_takes_to_load_is_no_file_s(
    clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, make_slowly)
    (report,) = check_many([clip("good.mp4", seconds=0.2)], CheckSettings(), Limits(timeout_s=2))
    assert report.verdict == "in_sync"


def test_a_network_that_does_not_fit_into_memory_is_no_file_s_fault(
    notes: Path, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(monkeypatch, fake_scan.make_too_big)
    reports = check_many([notes, clip(seconds=0.2)], CheckSettings(), WITH_WORKER)
    assert next(reports).reason == NO_VIDEO
    with pytest.raises(UsageError, match="no worker can be started: MemoryError"):
        next(reports)


@everywhere
def test_a_text_file_checked_before_is_not_looked_at_again(
    notes: Path, limits: Limits | None
) -> None:
    stamp = (notes.stat().st_size, notes.stat().st_mtime_ns)
    assert list(check_changed([notes], CheckSettings(), limits, before=lambda _: [stamp])) == [
        Unchanged(notes, stamp)
    ]


def test_a_first_look_leaves_everything_else_to_the_check(
    notes: Path, clip: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert precheck(CheckSettings(), clip(seconds=0.2), ()) is None
    assert precheck(CheckSettings(), "memory://films/notes.mp4", ()) is None
    assert precheck(CheckSettings(), tmp_path / "gone.mp4", ()) is None
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setitem(sys.modules, "avcheck.reading.choice", None)
    notes.write_bytes(bytes(100))
    assert precheck(CheckSettings(), notes, ()) is None


def test_a_first_look_opens_what_the_check_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every setting that chooses what is opened is passed on: else a file could be refused for a
    track nobody asked for.
    """
    film = tmp_path / "film.mp4"
    film.write_bytes(bytes(100))
    asked: dict[str, object] = {}

    def opened(path: Path, **options: object) -> io.BytesIO:
        asked.update(options)
        return io.BytesIO()  # may be closed

    monkeypatch.setattr(choice, "open_media", opened)
    for settings, track, audio in (
        (CheckSettings(audio_tracks=(3,), video_track=3, program=3), 3, None),
        (CheckSettings(audio=(film,), video_track=3, program=3), None, film),
    ):
        assert precheck(settings, film, ()) is None
        sizes = {"short_side": 160, "threads": 0}
        what = {"audio_track": track, "audio_path": audio, "video_track": 3, "program": 3}
        assert asked == what | sizes


def test_a_wrong_audio_file_is_refused_without_a_checker(
    notes: Path,
    clip: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stand_in(monkeypatch, fake_scan.make_no_checker)
    film = clip(seconds=0.2)
    assert main([str(film), "--audio", str(notes)]) == 2
    assert "is not a sound file that avcheck reads" in capsys.readouterr().err
