"""Media behind a URL: copied, checked under its own name, and every trouble a report."""

from __future__ import annotations

import builtins
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fake_scan
import pytest

from avcheck.batch import CheckSettings, check_many
from avcheck.cli import main
from avcheck.discovery import discover
from avcheck.remote import fetched, is_url
from avcheck.workers import Limits

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def memory() -> Iterator[Any]:
    system = fsspec.filesystem("memory")
    system.pipe("/films/late.mp4", b"picture and sound")
    yield system
    system.rm("/films", recursive=True)


def check(url: str) -> Any:
    (report,) = check_many([url], CheckSettings(), make_checker=fake_scan.make_checker)
    return report


def test_what_is_a_url() -> None:
    assert is_url("s3://bucket/a.mp4") and is_url("HTTPS://x/y") and is_url("memory://a")
    assert not any(map(is_url, ["a.mp4", "C:\\films\\a.mp4", "c://x", "s3:/bucket", "/s3://x", Path("s3://bucket/a.mp4")]))
    assert discover(["memory://films/late.mp4", "memory://films/late.mp4"]).files == ["memory://films/late.mp4"]


def test_a_url_is_copied_and_the_copy_removed() -> None:
    with fetched("memory://films/late.mp4") as local:
        assert local.read_bytes() == b"picture and sound"
        assert local.name == "late.mp4"
    assert not local.parent.exists()


def test_a_report_names_the_url() -> None:
    report = check("memory://films/late.mp4")
    assert (report.path, report.verdict, report.file_size) == ("memory://films/late.mp4", "out_of_sync", 17)
    assert report.file_mtime_ns > 1.7e18


def test_trouble_is_a_report_in_one_line(memory: Any) -> None:
    memory.pipe("/films/raises.mp4", b"x")
    assert check("memory://films/raises.mp4").reason == "no audio stream"
    assert check("memory://films/gone.mp4").reason == "no such file"
    assert "cannot be fetched: ValueError: Protocol not known" in check("nonsense://x.mp4").reason


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any) -> Any:
        if name == "fsspec":
            raise ModuleNotFoundError("No module named 'fsspec'", name="fsspec")
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    assert check("memory://films/late.mp4").reason == (
        "reading memory:// needs another package (No module named 'fsspec'): pip install 'avcheck[remote]'"
    )


def test_a_copy_that_does_not_fit_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: namedtuple("usage", "free")(3))
    reason = check("memory://films/late.mp4").reason
    assert reason.startswith("needs 0.0 GB of scratch space") and reason.endswith("set TMPDIR to a larger disk")


def test_workers_take_urls_and_a_second_run_skips_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "late.mp4"
    file.write_bytes(b"x")
    (report,) = check_many([f"file://{file}"], CheckSettings(), Limits(timeout_s=60), make_checker=fake_scan.make_checker)
    assert (report.path, report.verdict) == (f"file://{file}", "out_of_sync")
    monkeypatch.setitem(sys.modules, "avcheck.scan", fake_scan.as_module())
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        assert main(["memory://films/late.mp4", "--resume", "r.jsonl"]) == 1
    assert len((tmp_path / "r.jsonl").read_text().splitlines()) == 1
    assert "1 of them done before" in capsys.readouterr().err
