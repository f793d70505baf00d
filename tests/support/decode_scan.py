"""A stand-in for avcheck.checker without a network: everything is decoded and cut into blocks as
ever, and found in sync.

Worker processes get it as `make_checker`, which is pickled by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np

from avcheck.batch import run
from avcheck.network.shipped import weights_sha256
from avcheck.reading.blocks import blocks
from avcheck.reading.choice import open_sound, sounds_of
from avcheck.record.report import BlockResult, Report
from avcheck.settings import CheckSettings


class DecodeChecker:
    def __init__(self, model: Path | None = None, device: str = "auto", threads: int = 0) -> None:
        self._sha256 = weights_sha256(model)

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[Report, ...]:
        """The report of a file with one sound."""
        results = []
        (choice,) = sounds_of(path, settings)
        with open_sound(path, settings, choice, threads=1) as media:
            last_s = -1.0
            for block in blocks(media.pictures(), media.sounds()):
                assert block.start_s > last_s
                assert np.isfinite(block.mel).all()
                last_s = block.start_s
                results.append(BlockResult(block.start_s, 0.0, None))
            report = Report(
                str(path),
                "in_sync",
                offset_ms=0.0,
                confidence=1.0,
                tolerance=settings.tolerance,
                container_offset_ms=media.info.container_offset_ms,
                duration_s=media.info.duration_s,
                audio_track=media.info.audio_track,
                video_track=media.info.video_track,
                program=media.info.program,
                programs=media.info.programs,
                audio_tracks=media.info.audio_tracks,
                video_tracks=media.info.video_tracks,
                blocks=tuple(results),
                degraded=media.degraded,
                model_sha256=self._sha256,
            )
        return (report,)


def make_checker(settings: CheckSettings, threads: int) -> DecodeChecker:
    """As `avcheck.batch.load_checker`, which also stands in for it in workers."""
    return DecodeChecker(settings.model, settings.device, threads)


def install() -> None:
    """Put the stand-in where the command and every worker find it (in a process of its own)."""
    module = ModuleType("avcheck.checker")
    module.Checker = DecodeChecker  # type: ignore[attr-defined]
    sys.modules["avcheck.checker"] = module
    run.load_checker = make_checker


def command() -> None:
    """The command with the stand-in, as a process runs it: without workers unless it is asked for
    them.
    """
    install()
    from avcheck.cli import check
    from avcheck.cli.app import main

    check._ISOLATED = False
    sys.exit(main())
