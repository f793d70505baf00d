"""Which files are checked, in which order, and that one file's trouble stays its own."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import get_args

import pytest

from avcheck import errors
from avcheck.batch import run
from avcheck.batch.base import Limits
from avcheck.batch.discovery import MEDIA_SUFFIXES, Discovery, discover
from avcheck.batch.run import OUT_OF_MEMORY, check_many
from avcheck.errors import ModelError, UsageError
from avcheck.record.report import PRESETS, ErrorCode
from avcheck.settings import CheckSettings
from avcheck.text.plain_text import ANNEX_POINTER
from tests.support import fake_scan


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x\0")


def names(discovery: Discovery, root: Path) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in discovery.files]


def reasons(discovery: Discovery) -> dict[str, str | None]:
    assert all(report.verdict == "error" for report in discovery.errors)
    return {Path(report.path).name: report.reason for report in discovery.errors}


def test_directories_are_searched_in_a_stable_order(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "b.MP4",
        "a.mkv",
        "z/c.mov",
        "m/n/d.webm",
        "m/e.ts",
        "notes.txt",
        "cover.jpg",
        "sound.wav",
    )
    discovery = discover([tmp_path])
    assert names(discovery, tmp_path) == ["a.mkv", "b.MP4", "m/e.ts", "m/n/d.webm", "z/c.mov"]
    assert discovery.errors == []


def test_hidden_entries_and_what_is_no_file_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "._a.mp4", ".cache/b.mp4", "dir.mp4/c.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    assert names(discover([tmp_path]), tmp_path) == ["a.mp4", "dir.mp4/c.mp4"]


def test_named_files_are_always_taken(tmp_path: Path) -> None:
    touch(tmp_path, ".hidden.mp4", "film.dat", "noextension")
    given = [tmp_path / "noextension", tmp_path / "film.dat", tmp_path / ".hidden.mp4"]
    assert discover(given).files == given


def test_each_file_comes_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "b/y.mp4")
    discovery = discover(
        [tmp_path / "b", tmp_path / "a" / ".." / "b" / "y.mp4", tmp_path, tmp_path / "b"]
    )
    assert names(discovery, tmp_path) == ["b/y.mp4", "a/x.mp4"]
    assert discovery.errors == []


def test_typescript_is_no_transport_stream(tmp_path: Path) -> None:
    (tmp_path / "app.ts").write_text("export const x = 'ü';\n", encoding="utf-8")
    (tmp_path / "empty.ts").write_bytes(b"")
    (tmp_path / "film.ts").write_bytes(b"G@\0\x10" + b"\xff" * 184)
    assert names(discover([tmp_path]), tmp_path) == ["empty.ts", "film.ts"]
    assert discover([tmp_path / "app.ts"]).files == [tmp_path / "app.ts"]


def test_what_cannot_be_checked_becomes_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "empty/readme.txt", "ok.mp4")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nowhere")
    discovery = discover(
        [
            tmp_path / n
            for n in ("gone.mp4", "empty", "pipe", "dangling.mp4", "ok.mp4", "bad\0name")
        ],
        PRESETS["film"],
    )
    assert discovery.files == [tmp_path / "ok.mp4"]
    assert reasons(discovery) == {
        "gone.mp4": "there is no such file or directory; check the path",
        "empty": "this directory holds no media files; check the path",
        "pipe": "this is not a regular file; save the video to a file first",
        "dangling.mp4": "this link leads to nothing; mend or remove it",
        "bad\0name": "no file can have this name: it holds a NUL",
    }
    codes = {Path(report.path).name: report.reason_code for report in discovery.errors}
    assert codes == dict.fromkeys(("gone.mp4", "dangling.mp4", "bad\0name"), "missing") | {
        "empty": "no_media",
        "pipe": "not_media",
    }
    assert discovery.errors[0].tolerance == PRESETS["film"]


def test_a_broken_link_in_a_directory_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "film.mp4").symlink_to(tmp_path / "nowhere.mp4")
    discovery = discover([tmp_path])
    assert reasons(discovery) == {"film.mp4": "this link leads to nothing; mend or remove it"}


def test_what_version_control_has_not_fetched_is_not_passed_over(tmp_path: Path) -> None:
    """A transport stream would be taken for TypeScript."""
    (tmp_path / "film.ts").write_text("version https://git-lfs.github.com/spec/v1\nsize 123\n")
    (tmp_path / "film.mp4").symlink_to(".git/annex/objects/ab/SHA256E-s9--1.mp4/SHA256E-s9--1.mp4")
    discovery = discover([tmp_path])
    assert names(discovery, tmp_path) == ["film.ts"]
    assert reasons(discovery) == {"film.mp4": ANNEX_POINTER}


def test_links_are_followed_to_files_of_the_same_directory_alone(tmp_path: Path) -> None:
    touch(tmp_path, "store/film.mp4", "lib/own.mp4", "library/near.mp4")
    (tmp_path / "lib" / "in.mp4").symlink_to(tmp_path / "lib" / "own.mp4")
    (tmp_path / "lib" / "out.mp4").symlink_to(tmp_path / "store" / "film.mp4")
    (tmp_path / "lib" / "near.mp4").symlink_to(tmp_path / "library" / "near.mp4")
    (tmp_path / "lib" / "loop").symlink_to(tmp_path)
    discovery = discover([tmp_path / "lib"])
    assert names(discovery, tmp_path) == ["lib/in.mp4", "lib/own.mp4"]
    assert set(reasons(discovery)) == {"near.mp4", "out.mp4"}
    assert "this link leads out of the directory searched" in str(reasons(discovery)["out.mp4"])
    assert {report.reason_code for report in discovery.errors} == {"outside_link"}
    (tmp_path / "linked").symlink_to(tmp_path / "lib")
    assert len(discover([tmp_path / "linked"]).files) == 2
    assert discover([tmp_path / "lib" / "out.mp4"]).files == [tmp_path / "lib" / "out.mp4"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_directory_is_an_error(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "locked/b.mp4")
    (tmp_path / "locked").chmod(0)
    discovery = discover([tmp_path])
    (tmp_path / "locked").chmod(0o700)
    assert names(discovery, tmp_path) == ["a.mp4"]
    assert "this directory cannot be read" in str(reasons(discovery)["locked"])


def test_the_suffixes_are_as_files_are_compared() -> None:
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in MEDIA_SUFFIXES)


# ---- check_many


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_scan.stand_in(monkeypatch)
    fake_scan.MADE.clear()


def test_reports_come_one_by_one() -> None:
    started: list[Path | str] = []
    reports = check_many(
        [Path("good.mp4"), Path("late.mp4")], CheckSettings(), on_file=started.append
    )
    assert fake_scan.MADE == []
    assert next(reports).verdict == "in_sync"
    assert started == [Path("good.mp4")]
    assert next(reports).verdict == "out_of_sync"
    assert len(fake_scan.MADE) == 1


def test_progress_is_passed_on() -> None:
    heard: list[tuple[Path | str, float]] = []
    list(
        check_many(
            [Path("good.mp4")],
            CheckSettings(),
            on_progress=lambda path, done: heard.append((path, done)),
        )
    )
    assert heard == [(Path("good.mp4"), 0.5), (Path("good.mp4"), 1.0)]


def test_the_checker_gets_the_threads_asked_for() -> None:
    list(check_many([Path("good.mp4")], CheckSettings(), Limits(threads=2)))
    assert [made.threads for made in fake_scan.MADE] == [2]


def test_the_time_of_a_check_is_shared_out_to_its_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = iter((100.0, 106.0))
    monkeypatch.setattr(run, "_seconds", lambda: next(now_s))
    reports = check_many([Path("good.mp4")], CheckSettings(every_track=True))
    assert [report.elapsed_s for report in reports] == [2.0, 2.0, 2.0]


def test_trouble_stays_with_its_file() -> None:
    bugs: list[tuple[Path | str, Exception]] = []
    files = [Path(f"{kind}.mp4") for kind in ("raises", "bug", "huge", "good")]
    settings = CheckSettings(tolerance=PRESETS["film"])
    reports = list(
        check_many(files, settings, on_bug=lambda path, error: bugs.append((path, error)))
    )
    assert [report.verdict for report in reports] == ["error", "error", "error", "in_sync"]
    assert [report.path for report in reports] == [str(path) for path in files]
    assert {report.tolerance for report in reports} == {PRESETS["film"]}
    assert [(path, type(error)) for path, error in bugs] == [(Path("bug.mp4"), RuntimeError)]


def test_what_concerns_every_file_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError):
        list(check_many([Path("good.mp4")], CheckSettings(device="cuda")))

    def refuse(*_: object, **__: object) -> None:
        raise UsageError("no")

    monkeypatch.setattr(fake_scan.FakeChecker, "check_tracks", refuse)
    touch(tmp_path, "good.mp4")
    with pytest.raises(UsageError):
        list(check_many([tmp_path / "good.mp4"], CheckSettings()))


def test_a_file_that_goes_away_during_the_run_is_its_own_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object, path: Path, *__: object) -> None:
        raise UsageError(f"{path}: no such file; check the path")

    monkeypatch.setattr(fake_scan.FakeChecker, "check_tracks", refuse)
    (report,) = check_many([tmp_path / "good.mp4"], CheckSettings())
    assert (report.verdict, report.reason) == ("error", "the file disappeared during the run")
    assert report.reason_code == "missing"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:113] DefaultCPUAllocator: can't allocate memory: "
                "..."
            ),
            OUT_OF_MEMORY,
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), OUT_OF_MEMORY),
        (RuntimeError("could not create a primitive"), OUT_OF_MEMORY),
        (
            RuntimeError("could not create a primitive descriptor for a convolution"),
            "internal error",
        ),
        (ValueError("out of memory"), "internal error"),
    ],
)
def test_a_lack_of_memory_has_many_names(
    monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(fake_scan.FakeChecker, "check_tracks", fail)
    (report,) = check_many([Path("good.mp4")], CheckSettings())
    assert str(report.reason).startswith(reason)
    assert report.reason_code == ("out_of_memory" if reason == OUT_OF_MEMORY else "bug")


ERRORS = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.AvcheckError)
]


@pytest.mark.parametrize(
    "kind",
    [each for each in ERRORS if issubclass(each, errors.MediaError)],
    ids=lambda kind: kind.__name__,
)
def test_the_kind_of_an_error_is_in_the_report(
    monkeypatch: pytest.MonkeyPatch, kind: type[errors.MediaError]
) -> None:
    def fail(_: object, path: Path, *__: object) -> None:
        raise kind(path, "what is wrong")

    monkeypatch.setattr(fake_scan.FakeChecker, "check_tracks", fail)
    (report,) = check_many([Path("good.mp4")], CheckSettings())
    assert (report.verdict, report.reason, report.reason_code) == (
        "error",
        "what is wrong",
        kind.code,
    )


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("good.mp4", "the file is empty"),
        ("voice.wav", "voice.wav: the file is empty"),
        ("a\x1b[31m.wav", "a\\x1b[31m.wav: the file is empty"),
    ],
)
def test_a_reason_names_only_another_file_than_the_record(
    monkeypatch: pytest.MonkeyPatch, path: str, reason: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise errors.NotMedia(path, "the file is empty")

    monkeypatch.setattr(fake_scan.FakeChecker, "check_tracks", fail)
    (report,) = check_many(["./good.mp4" if path == "good.mp4" else "film.mp4"], CheckSettings())
    assert report.reason == reason


def test_an_error_keeps_its_parts_on_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(errors.NoAudio(Path("a.mp4"), "the file has no audio track")))  # noqa: S301 - our own
    assert (type(error), error.path, error.reason) == (
        errors.NoAudio,
        "a.mp4",
        "the file has no audio track",
    )
    assert str(error) == "a.mp4: the file has no audio track"


def test_every_error_has_a_documented_code_of_its_own() -> None:
    codes = [kind.code for kind in ERRORS if "code" in vars(kind)]
    assert set(codes) <= set(get_args(ErrorCode))
    assert len(set(codes)) == len(codes)
