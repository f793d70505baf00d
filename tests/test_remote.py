"""Media behind a URL: copied, checked under its own name, and every trouble a report."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from avcheck.batch import remote
from avcheck.batch.base import Limits
from avcheck.batch.discovery import discover
from avcheck.batch.remote import fetched, is_url, url_problem, url_stamp
from avcheck.batch.run import check_many
from avcheck.cli.app import main
from avcheck.errors import MediaError
from avcheck.record.report import Report
from avcheck.settings import CheckSettings
from tests.support import fake_scan
from tests.support.formats import SEVERAL

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def memory(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(remote, "SCHEMES", remote.SCHEMES | {"memory"})
    system = fsspec.filesystem("memory")
    system.pipe("/films/late.mp4", b"picture and sound")
    yield system
    system.rm("/films", recursive=True)


def check(url: str) -> Any:
    (report,) = check_many([url], CheckSettings(), make_checker=fake_scan.make_checker)
    return report


def checker_with_memory(settings: CheckSettings, threads: int) -> fake_scan.FakeChecker:
    """For workers, each of which has a memory of its own."""
    remote.SCHEMES |= {"memory"}
    for number in range(3):
        memory = fsspec.filesystem("memory")
        memory.pipe(f"/films/late {number}.mp4", b"x")
        memory.store[f"/films/late {number}.mp4"].modified = datetime(2026, 3, 1, tzinfo=UTC)
    memory.pipe("/films/segfault.mp4", b"x")
    return fake_scan.make_checker(settings, threads)


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/a.mp4") and is_url("HTTPS://x/y") and is_url("memory://a")
    for path in (
        "a.mp4",
        "C:\\films\\a.mp4",
        "c://x",
        "s3:/bucket",
        "/s3://x",
        Path("s3://bucket/a.mp4"),
    ):
        assert not is_url(path)
    assert discover(["memory://films/late.mp4", "memory://films/late.mp4"]).files == [
        "memory://films/late.mp4"
    ]


def test_a_url_is_copied_and_the_copy_removed() -> None:
    with fetched("memory://films/late.mp4") as local:
        assert local.read_bytes() == b"picture and sound"
        assert local.name == "late.mp4"
    assert not local.parent.exists()


def test_a_report_names_the_url() -> None:
    report = check("memory://films/late.mp4")
    assert (report.path, report.verdict, report.file_size) == (
        "memory://films/late.mp4",
        "out_of_sync",
        17,
    )
    assert report.file_mtime_ns > 1.7e18


def test_trouble_is_a_report_in_one_line(memory: Any) -> None:
    memory.pipe("/films/raises.mp4", b"x")
    assert check("memory://films/raises.mp4").reason == "no audio stream"
    assert check("memory://films/raises.mp4").reason_code == "no_audio"
    gone = check("memory://films/gone.mp4")
    assert (gone.reason, gone.reason_code) == (
        "there is no such file; check the URL",
        "missing",
    )


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "fsspec":
            raise ModuleNotFoundError("No module named 'fsspec'", name="fsspec")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert check("memory://films/late.mp4").reason == (
        "reading memory:// needs another package (No module named 'fsspec'): pip install "
        "'fsspec[http,s3]'"
    )


def test_a_copy_that_does_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=3))
    report = check("memory://films/late.mp4")
    assert report.reason_code == "fetch_failed"
    reason = report.reason
    assert reason.startswith("the file needs 0.0 GB of scratch space") and reason.endswith(
        "set TMPDIR to a larger disk"
    )


def test_workers_take_urls_and_a_second_run_skips_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = "memory://films/late 0.mp4"
    (report,) = check_many(
        [url], CheckSettings(), Limits(timeout_s=60), make_checker=checker_with_memory
    )
    assert (report.path, report.verdict) == (url, "out_of_sync")
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["memory://films/late.mp4", "--resume", "r.jsonl"]) == 1
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1
    assert "all done before, in r.jsonl: nothing was left to check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("file:///films/a.mp4", "file:// is not opened; give the path of a local file without it"),
        ("FILE://localhost/films/a.mp4", "file:// is not opened; give the path"),
        ("local:///films/a.mp4", "local:// is not opened; give the path"),
        (
            "simplecache::file:///films/a.mp4",
            "a chain of file systems (::) is not opened; give the URL of the file itself",
        ),
        ("simplecache::https://x/a.mp4", "a chain of file systems (::) is not opened"),
        ("https://x/a.mp4::file:///films/a.mp4", "a chain of file systems (::) is not opened"),
        ("zip://a.mp4::/films.zip", "a chain of file systems (::) is not opened"),
        ("reference://x", "reference:// is not opened, only abfs,"),
        ("nonsense://x.mp4", "nonsense:// is not opened, only abfs,"),
        ("https://x/" + "a" * 9000, "more than 8192 characters"),
        ("https://x/a\n.mp4", "control character"),
    ],
)
def test_a_list_cannot_name_what_is_not_remote(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    url: str,
    says: str,
) -> None:
    monkeypatch.setattr(fsspec.core, "url_to_fs", pytest.fail)
    for opened in (url_stamp, lambda each: fetched(each).__enter__()):
        with pytest.raises(MediaError) as caught:
            opened(url)
        assert says in str(caught.value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "list").write_bytes(url.encode() + b"\0")
    for _ in range(2):
        assert main(["--files-from", "list", "--resume", "r.jsonl", "-q"]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert says in err
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("scheme", sorted(remote.SCHEMES))
def test_the_schemes_are_some_that_fsspec_or_its_packages_know(scheme: str) -> None:
    assert scheme in fsspec.available_protocols() or scheme == "abfss"
    assert url_problem(f"{scheme}://place/film.mp4") is None


def test_a_scheme_may_be_in_capitals(memory: Any) -> None:
    assert url_stamp("MEMORY://films/late.mp4")[0] == 17


def test_a_secret_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], memory: Any
) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.setenv("AVCHECK_DEBUG", "1")
    monkeypatch.chdir(tmp_path)

    def to_memory(url: str) -> Any:
        if "denied" in url:
            raise OSError(f"403: {url}, signed 'S3CRET+1' for ann:S3CRET2")
        return memory, f"/films/{url.partition('?')[0].rpartition('/')[2]}"

    monkeypatch.setattr(fsspec.core, "url_to_fs", to_memory)
    kinds = ("late", "bug", "raises", "gone", "denied")
    for kind in kinds[:3]:
        memory.pipe(f"/films/{kind}.mp4", b"x")
    urls = [f"https://ann:S3CRET2@films.example/{kind}.mp4?Signature=S3CRET%2B1" for kind in kinds]
    urls += ["simplecache::" + urls[0]]
    outputs = [word for form in SEVERAL for word in ("--output", f"{form}=out.{form}")]
    assert main([*urls, "--resume", "r.jsonl", *outputs]) == 3
    assert main(["x", "--model", "https://ann:S3CRET@x/weights"]) == 2
    said = "".join(capsys.readouterr())
    assert "Traceback" in said and "films.example/late.mp4?redacted: out of sync" in said
    for path in (tmp_path / "r.jsonl", *tmp_path.glob("out.*")):
        said += path.read_text()
    assert "S3CRET" not in said
    # Signed again, only the bug is checked again; what the server said no to waits for
    # --retry-errors.
    again = [url.replace("S3CRET", "other") for url in urls]
    before = len((tmp_path / "r.jsonl").read_text().splitlines())
    main([*again, "--resume", "r.jsonl"])
    paths = [json.loads(row)["path"] for row in (tmp_path / "r.jsonl").read_text().splitlines()]
    names = [path.partition("?")[0].rpartition("/")[2] for path in paths[before:]]
    assert names == ["bug.mp4"]
    assert set(paths[before:]) <= set(paths[:before])
    capsys.readouterr()
    main(["merge", "r.jsonl"])
    assert (
        capsys.readouterr().err.splitlines()[-1]
        == f"{before} files: 1 out of sync, {before - 1} errors"
    )


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [[], ["--timeout", "60"]])
def test_urls_done_before_are_not_asked_all_at_first(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    jobs: list[str],
) -> None:
    fake_scan.stand_in(monkeypatch, checker_with_memory)
    monkeypatch.chdir(tmp_path)
    urls = [f"memory://films/late {number}.mp4" for number in range(3)]
    assert main([urls[0], urls[2], "--resume", "r.jsonl", *jobs]) == 1
    asked: list[str] = []
    real = remote.url_stamp
    heard: list[str] = []

    def asking(url: str) -> remote.Stamp:
        asked.append(url)
        return real(url)

    def checking(*_: Any) -> tuple[Report, ...]:
        heard.append(f"{len(asked)}")
        return (Report("x", "in_sync"),)

    monkeypatch.setattr("avcheck.batch.run.url_stamp", asking)
    monkeypatch.setattr(fake_scan.FakeChecker, "check_tracks", checking)
    capsys.readouterr()
    assert main([urls[1], *urls, "--resume", "r.jsonl", *jobs]) == 1
    out, err = capsys.readouterr()
    assert [row.partition(": ")[0] for row in out.partition("\n\n")[0].splitlines()] == [urls[1]]
    if jobs:
        assert asked == []  # but by the worker
        assert err == "3 files: 3 out of sync (2 of them done before, in r.jsonl)\n"
    else:
        assert asked == [urls[1], urls[0], urls[2]] and heard == ["1"]  # each as it came up
        assert err == "3 files: 1 in sync, 2 out of sync (2 of them done before, in r.jsonl)\n"


def test_a_url_that_ended_in_an_error_is_checked_again_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    memory.pipe("/films/raises.mp4", b"x")
    for options, records in (([], 2), ([], 2), (["--retry-errors"], 3)):
        assert (
            main(
                [
                    "memory://films/raises.mp4",
                    "memory://films/late.mp4",
                    "--resume",
                    "r.jsonl",
                    *options,
                ]
            )
            == 2
        )
        assert len((tmp_path / "r.jsonl").read_text().splitlines()) == records


def test_a_url_is_done_with_every_sound_and_in_error_with_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    memory.pipe("/films/late.mp4", b"x")
    results = tmp_path / "r.jsonl"
    command = ["memory://films/late.mp4", "--audio-track", "all", "--resume", "r.jsonl"]
    assert main(command) == 1
    whole = results.read_text().splitlines(keepends=True)

    def records_after(lines: list[str], *options: str) -> int:
        results.write_text("".join(lines))
        main([*command, *options])
        return len(results.read_text().splitlines())

    assert records_after(whole) == 3
    assert records_after(whole[:2]) == 2 + 3  # a kill lost the last
    first_failed = [whole[0].replace('"verdict": "out_of_sync"', '"verdict": "error"'), *whole[1:]]
    assert first_failed != whole
    assert records_after(first_failed) == 3
    assert records_after(first_failed, "--retry-errors") == 3 + 3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segfault", "gone"])
def test_a_url_without_a_stamp_that_ended_in_an_error_is_not_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    fake_scan.stand_in(monkeypatch, checker_with_memory)
    monkeypatch.chdir(tmp_path)
    command = [f"memory://films/{name}.mp4", "--resume", "r.jsonl", "--timeout", "60"]
    assert main(command) == 2
    (record,) = map(json.loads, (tmp_path / "r.jsonl").read_text().splitlines())
    assert (record["verdict"], record["file_size"], record["file_mtime_ns"]) == (
        "error",
        None,
        None,
    )
    capsys.readouterr()
    for options, records in (([], 1), (["--retry-errors"], 2)):
        assert main([*command, *options]) == 2
        assert len((tmp_path / "r.jsonl").read_text().splitlines()) == records
        assert ("all done before" in capsys.readouterr().err) == (records == 1)


def test_of_a_url_the_newest_record_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: Any
) -> None:
    fake_scan.stand_in(monkeypatch)
    monkeypatch.chdir(tmp_path)
    command = ["memory://films/in sync.mp4", "--resume", "r.jsonl"]
    assert main(command) == 2
    memory.pipe("/films/in sync.mp4", b"x")
    assert main([*command, "--retry-errors"]) == main(command) == 0
    memory.rm("/films/in sync.mp4")
    assert main(command) == main(command) == 2
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 3
