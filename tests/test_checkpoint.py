"""Results files: what a resumed run skips, what a kill leaves behind, and merging."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from avcheck import render
from avcheck.batch.base import Limits
from avcheck.batch.checkpoint import Checkpoint, Merged
from avcheck.batch.run import CRASH_REMEDY, check_many, identified
from avcheck.cli.app import main
from avcheck.errors import UsageError
from avcheck.record.report import Report, Tolerance
from avcheck.settings import CheckSettings
from tests.support import fake_scan
from tests.support.commands import ENVIRONMENT, FAKE_MAIN
from tests.support.saved import records, sample


def checked() -> list[str]:
    return [str(call["path"]) for checker in fake_scan.MADE for call in checker.calls]


def written(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_record_can_be_read_back() -> None:
    settings = CheckSettings(tolerance=Tolerance(10, 20))
    first = identified(sample(__file__), settings)
    assert (first.file_size, len(first.settings_sha256)) == (Path(__file__).stat().st_size, 64)
    record = json.loads(render.to_json(first))
    assert Report.from_record({**record, "a_field_of_a_later_version": 1}) == first


@pytest.mark.parametrize(
    "wrong",
    [
        None,
        [],
        "x",
        {},
        {"path": 1},
        {"verdict": "fine"},
        {"schema_version": 2},
        {"tolerance": None},
        {"degraded": []},
        {"blocks": 3},
        {"blocks": [{"start_s": "0", "attention": 1, "offset_ms": None}]},
        {"checked_at": 5},
        {"checked_at": "yesterday"},
        {"confidence": "0.9"},
        {"confidence": None},
        {"confidence": True},
        {"offset_ms": float("nan")},
        {"offset_ms": 10**400},
        {"reason": ["x"]},
        {"file_size": 1.5},
        {"jumps_s": ["1:00"]},
        {"jumps_s": "12"},
    ],
)
def test_what_is_no_record_is_refused(wrong: object) -> None:
    whole = json.loads(render.to_json(sample()))
    with pytest.raises(ValueError, match=r"record|verdict|schema|object|checked_at"):
        Report.from_record({**whole, **wrong} if isinstance(wrong, dict) and wrong else wrong)


def test_the_settings_that_bear_on_a_result_are_told_apart(tmp_path: Path) -> None:
    dub = tmp_path / "dub.wav"
    dub.write_bytes(b"1")
    several = [
        CheckSettings(),
        CheckSettings(tolerance=Tolerance(40, 61)),
        CheckSettings(audio_tracks=(0,)),
        CheckSettings(video_track=0),
        CheckSettings(program=1),
        CheckSettings(sample=8),
        CheckSettings(sample=9),
        CheckSettings(audio=(dub,)),
    ]
    hashes = [settings.sha256() for settings in several]
    dub.write_bytes(b"12")
    hashes.append(several[-1].sha256())
    assert len(set(hashes)) == 9
    assert CheckSettings(device="cpu", tolerance=Tolerance(40.0, 60)).sha256() == hashes[0]


def test_a_second_run_does_only_what_is_left(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lib/a.mp4", "gone.mp4", "--resume", "r.jsonl"]) == 2
    assert checked() == ["lib/a.mp4"]
    capsys.readouterr()
    assert main(["lib", "gone.mp4", "--resume", "r.jsonl"]) == 2
    assert checked() == ["lib/a.mp4", "lib/b late.mp4", "lib/broken.mov", "lib/c.mkv"]
    out, err = capsys.readouterr()
    assert [row.split(":")[0] for row in out.partition("\n\n")[0].splitlines()] == [
        "lib/b late.mp4",
        "lib/c.mkv",
    ]
    assert (
        err.splitlines()[-1]
        == "5 files: 2 in sync, 1 out of sync, 2 errors (2 of them done before, in r.jsonl)"
    )
    assert len(records(library / "r.jsonl")) == 5
    # What was found before counts
    assert main(["lib", "--resume", "r.jsonl", "--include", "[ab]*"]) == 2
    assert main(["lib", "--resume", "r.jsonl", "--include", "[ab] *"]) == 1
    assert main(["lib", "--resume", "r.jsonl", "--include", "[ab] *", "--exit-zero"]) == 0
    assert len(checked()) == 4


def test_what_changed_is_checked_again(library: Path) -> None:
    def run(*options: str) -> int:
        before = len(checked())
        main(["lib", "--resume", "r.jsonl", *options])
        return len(checked()) - before

    assert run() == 4
    assert run() == 0
    (library / "lib" / "a.mp4").write_bytes(b"longer")
    assert run() == 1
    os.utime(library / "lib" / "a.mp4", ns=(0, 0))
    assert run() == 1
    assert run("--preset", "film") == 4
    assert run("--device", "cpu") == 0
    (library / "w.safetensors").write_bytes(b"other weights")
    fake_scan.MADE.clear()
    assert run("--model", "w.safetensors") == 4
    assert run("--retry-errors") == 1


def test_an_internal_error_is_tried_again(library: Path) -> None:
    (library / "bug.mp4").write_bytes(b"x")
    assert main(["bug.mp4", "--resume", "r.jsonl"]) == 3
    assert main(["bug.mp4", "--resume", "r.jsonl"]) == 3
    assert checked() == ["bug.mp4", "bug.mp4"]


def test_the_lines_that_the_command_prints_can_be_gone_on_from(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--format", "jsonl", "lib"])
    lines = capsys.readouterr().out.splitlines(keepends=True)
    (library / "r.jsonl").write_text("".join(lines[:2]) + lines[2][:50])
    main(["lib", "--resume", "r.jsonl"])
    assert (
        "r.jsonl: the last line was cut short by a kill and has been removed"
        in capsys.readouterr().err
    )
    assert Counter(record["path"] for record in records(library / "r.jsonl")) == {
        f"lib/{name}": 1 for name in ("a.mp4", "b late.mp4", "broken.mov", "c.mkv")
    }


@pytest.mark.parametrize("kept", [0, 1, 30, -2, -1])
def test_a_last_line_cut_short_is_mended(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "r.jsonl"
    first, second = (render.to_json(sample(name)) + "\n" for name in ("a.mp4", "b.mp4"))
    path.write_text(first + second[:kept])
    with Checkpoint(path) as checkpoint:
        whole = kept == -1  # only the end of the line is missing
        assert checkpoint.mended == (kept not in (0, -1))
        assert checkpoint.verdict(sample("a.mp4")) == "in_sync"
        assert checkpoint.verdict(sample("b.mp4")) == ("in_sync" if whole else None)
        checkpoint.add(sample("c.mp4"))
    assert [record["path"] for record in records(path)] == [
        "a.mp4",
        *(["b.mp4"] if whole else []),
        "c.mp4",
    ]


def test_a_first_line_cut_short_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    for start in ("{", '{"schema_ver', render.to_json(sample())[:100]):
        path.write_text(start)
        with Checkpoint(path) as checkpoint:
            assert checkpoint.mended
        assert path.read_bytes() == b""


@pytest.mark.parametrize(
    "content", [b"\x00\x00\x00\x18ftypmp42", b"[\n{}\n]\n", b"{}\n", b"notes", b"{'a': 1"]
)
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="is not a results file of avcheck"):
        Checkpoint(path)
    assert path.read_bytes() == content
    with pytest.raises(UsageError, match="is not a results file of avcheck"):
        Merged([path])


def test_strange_lines_between_records_are_passed_over(
    library: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = library / "r.jsonl"
    path.write_text(
        render.to_json(sample("a.mp4")) + "\ngarbage\n\n" + render.to_json(sample("b.mp4")) + "\n"
    )
    with Checkpoint(path) as checkpoint:
        assert checkpoint.strange == 1
        assert checkpoint.verdict(sample("b.mp4")) == "in_sync"
    main(["lib", "--resume", "r.jsonl"])
    assert "r.jsonl: lines skipped that are not records: 1" in capsys.readouterr().err


def test_what_cannot_be_a_results_file(library: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(library / "pipe")
    for name, says in (
        ("lib", "cannot open lib"),
        ("pipe", "not a regular file"),
        ("no/r.jsonl", "cannot open no/r.jsonl"),
    ):
        assert main(["lib", "--resume", name]) == 2
        assert says in capsys.readouterr().err
    assert main(["lib", "--retry-errors"]) == 2
    assert "--retry-errors goes with --resume" in capsys.readouterr().err


def test_a_record_is_on_disk_whole_once_it_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the system takes it in pieces."""
    path, real, synced = tmp_path / "r.jsonl", os.write, list[int]()
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:100]))
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.stat().st_size))
    with Checkpoint(path) as done:
        done.add(sample("a.mp4"), sample("b.mp4"))
    assert [record["path"] for record in records(path)] == ["a.mp4", "b.mp4"]
    assert synced == [path.stat().st_size]


def test_two_runs_cannot_write_to_one_file(tmp_path: Path) -> None:
    with (
        Checkpoint(tmp_path / "r.jsonl"),
        pytest.raises(UsageError, match="another run is writing"),
    ):
        Checkpoint(tmp_path / "r.jsonl")
    with Checkpoint(tmp_path / "r.jsonl"):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_after_kills_at_any_moment_every_file_is_there_once(library: Path, jobs: str) -> None:
    for number in range(6):
        (library / "lib" / f"slow {number}.mp4").write_bytes(b"x")
    expected = {str(path.relative_to(library)) for path in (library / "lib").iterdir()}
    draw = random.Random(7)
    line = [sys.executable, "-c", FAKE_MAIN, "lib", "--resume", "r.jsonl", "--jobs", jobs]
    kills = 0
    while True:
        process = subprocess.Popen(
            line, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        enough = written(library / "r.jsonl") + draw.randint(1, 4)
        deadline = time.monotonic() + 60
        while (
            process.poll() is None
            and written(library / "r.jsonl") < enough
            and time.monotonic() < deadline
        ):
            time.sleep(0.01)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=draw.uniform(0, 0.1))
        if process.poll() is not None:
            break
        process.kill()
        process.wait()
        kills += 1
        with (library / "r.jsonl").open(
            "ab"
        ) as file:  # and now and then the line was not yet whole
            file.write(b'{"schema_version": 1, "avch' if kills % 2 else b"")
    assert process.returncode == 2  # broken.mov, found in whichever run
    assert kills >= 2
    assert Counter(record["path"] for record in records(library / "r.jsonl")) == dict.fromkeys(
        expected, 1
    )


def test_an_interrupt_of_the_command_is_130_and_keeps_what_is_done(library: Path) -> None:
    (library / "lib" / "hangs.mp4").write_bytes(b"x")
    line = [sys.executable, "-c", FAKE_MAIN, "lib", "--resume", "r.jsonl", "--jobs", "2"]
    process = subprocess.Popen(
        line,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and not (
        (library / "r.jsonl").exists() and len(records(library / "r.jsonl")) == 4
    ):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert len(out.splitlines()) == 3
    assert err.splitlines() == [
        "lib/broken.mov: error: not a media file avcheck reads",
        "avcheck: interrupted",
    ]
    assert len(records(library / "r.jsonl")) == 4


def test_a_file_that_kills_its_worker_is_not_tried_again(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_scan.stand_in(monkeypatch, fake_scan.make_checker)
    (library / "lib" / "segfault.mp4").write_bytes(b"x")
    assert main(["lib", "--resume", "r.jsonl", "--timeout", "60"]) == 2
    again = list(records(library / "r.jsonl"))
    assert [each["reason"] for each in again if "segfault" in each["path"]] == [
        f"the worker was killed by signal 11 (SIGSEGV); {CRASH_REMEDY}"
    ]
    assert main(["lib", "--resume", "r.jsonl", "--timeout", "60"]) == 2
    assert records(library / "r.jsonl") == again


def test_check_many_signs_what_it_checked(library: Path) -> None:
    (result,) = check_many([Path("lib/a.mp4")], CheckSettings(), Limits())
    status = Path("lib/a.mp4").stat()
    assert (result.file_size, result.file_mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert result.settings_sha256 == CheckSettings().sha256()
    assert str(result.checked_at).endswith("Z")
