"""A stand-in for avcheck.checker: the file's name says what the check finds, so the command is
tested without a network.

Worker processes get it as `make_checker`, which is pickled by its name.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from avcheck.batch import run
from avcheck.batch.remote import Location, Stamp
from avcheck.batch.run import CheckerMaker
from avcheck.errors import ModelError, NoAudio
from avcheck.network.shipped import weights_sha256
from avcheck.record.report import BlockResult, Report, Segment, Track
from avcheck.settings import CheckSettings

if TYPE_CHECKING:  # loading it would slow down every process that has the stand-in
    import pytest

LANGUAGES = ("eng", "fra", "deu")
MADE: list[FakeChecker] = []  # every checker built, for tests that look at how it was called


class FakeChecker:
    def __init__(self, model: Path | None = None, device: str = "auto", threads: int = 0) -> None:
        if device == "cuda":
            raise ModelError("no GPU that torch can use; take --device cpu")
        self.model = model
        self.device = device
        self.threads = threads
        self.calls: list[dict[str, Any]] = []
        MADE.append(self)

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[Report, ...]:
        """One report; for every track three, the second of which is late by 200 ms."""
        report = self._check(path, settings, on_progress)
        if not settings.every_track or report.verdict == "error":
            return (report,)
        tracks = tuple(Track(k, code, "", "aac", k == 0) for k, code in enumerate(LANGUAGES))
        summary = "track 1 (fra) is late by 200 ms; the other 2 are in sync"
        late = replace(report, verdict="out_of_sync", offset_ms=-200.0)
        return tuple(
            replace(
                late if k == 1 else report,
                audio_track=k,
                audio_tracks=tracks,
                records=3,
                title_summary=summary,
            )
            for k in range(3)
        )

    def _check(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: Callable[[float], None] | None,
    ) -> Report:
        self.calls.append({"path": path, "settings": settings})
        if on_progress:
            on_progress(0.5)
            on_progress(1.0)
        name = Path(path).name
        sha256 = weights_sha256(self.model)
        if "broken" in name:
            return Report(
                str(path), "error", reason="not a media file avcheck reads", model_sha256=sha256
            )
        if "mute" in name:
            raise NoAudio(path, "the file has no audio track; give its sound with --audio FILE")
        if "raises" in name:
            raise NoAudio(path, "no audio stream")
        if "bug" in name:
            raise RuntimeError("shapes differ [3, 4]")
        if "model" in name:
            raise ModelError("the network gave no numbers")
        if "pid" in name:
            return Report(
                str(path),
                "undecidable",
                reason=f"checked in process {os.getpid()}",
                model_sha256=sha256,
            )
        if "huge" in name:
            raise MemoryError
        if "ctrlc" in name:
            raise KeyboardInterrupt
        if "segfault" in name:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "killed" in name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "exits" in name:
            os._exit(7)
        if "hangs" in name:
            time.sleep(600)
        if "naps" in name:
            time.sleep(1)
        if "eats" in name:
            bytearray(1 << 33)
        if "slow" in name:
            time.sleep(0.1)
        if "unsure" in name:
            reason = "the picture does not show what sounds"
            return Report(
                str(path), "undecidable", reason=reason, confidence=0.2, model_sha256=sha256
            )
        late = "late" in name
        return Report(
            str(path),
            "out_of_sync" if late else "in_sync",
            offset_ms=-120.0 if late else 4.0,
            confidence=0.97,
            tolerance=settings.tolerance,
            container_offset_ms=-23.2,
            duration_s=2.0,
            sampled_s=None if settings.sample is None else 1.0,
            audio_track=next(iter(settings.audio_tracks), 0),
            video_track=settings.video_track or 0,
            segments=(Segment(0.0, 2.0, -120.0 if late else 4.0, 0.97),),
            blocks=(BlockResult(0.0, 0.75, -118.0 if late else 4.0), BlockResult(1.0, 0.25, None)),
            model_sha256=sha256,
        )


def make_checker(settings: CheckSettings, threads: int) -> FakeChecker:
    """As `avcheck.batch.load_checker`, which also stands in for it in workers."""
    return FakeChecker(settings.model, settings.device, threads)


def make_no_checker(settings: CheckSettings, threads: int) -> FakeChecker:
    raise ModelError("the weights are damaged")


def make_bug(settings: CheckSettings, threads: int) -> FakeChecker:
    raise KeyError("trunk")


def make_too_big(settings: CheckSettings, threads: int) -> FakeChecker:
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")


def make_unloadable(settings: CheckSettings, threads: int) -> FakeChecker:
    raise ImportError("libtorch_cpu.so: failed to map segment from shared object")


def no_precheck(settings: CheckSettings, source: Location, before: Collection[Stamp]) -> None:
    """As `avcheck.batch.run.precheck`, for files that hold no media: the checker says what is wrong
    with them.
    """


def install() -> None:
    """Put the stand-in where `from avcheck.checker import Checker` and every worker find it (in a
    process of its own).
    """
    sys.modules["avcheck.checker"] = as_module()
    run.load_checker = make_checker
    run.precheck = no_precheck


def command() -> None:
    """The command with the stand-in, as a process runs it: without workers unless it is asked for
    them.
    """
    install()
    from avcheck.cli import check
    from avcheck.cli.app import main

    check._ISOLATED = False

    sys.exit(main())


def stand_in(monkeypatch: pytest.MonkeyPatch, in_workers: CheckerMaker | None = None) -> None:
    """The same for the length of a test; in worker processes too if `in_workers` makes the checker
    there.
    """
    monkeypatch.setitem(sys.modules, "avcheck.checker", as_module())
    monkeypatch.setattr(run, "precheck", no_precheck)
    if in_workers is not None:
        monkeypatch.setattr(run, "load_checker", in_workers)


def as_module() -> ModuleType:
    module = ModuleType("avcheck.checker")
    module.Checker = FakeChecker  # type: ignore[attr-defined]
    return module
