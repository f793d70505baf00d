"""`avcheck demo`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from avcheck import render
from avcheck.batch.run import SCRATCH_IS_FULL
from avcheck.cli.gate import ExitCode
from avcheck.cli.group import app
from avcheck.cli.options import Device, Model
from avcheck.cli.require import require_file
from avcheck.cli.screen import Output, check_alone
from avcheck.errors import UsageError, is_disk_full, why_not_written
from avcheck.machine.files import publish_new, unfinished, why_not_new
from avcheck.record.report import FRAME_MS, describe_offset
from avcheck.settings import CheckSettings


@app.command()
def demo(
    offset: Annotated[
        float,
        typer.Option(
            metavar="MS",
            help="Offset to put in, from -1500 to 1500: positive = sound early, negative = late.",
        ),
    ] = -120.0,
    keep: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep the clip (MP4) under this new name.")
    ] = None,
    device: Device = "auto",
    model: Model = None,
) -> None:
    """Make a short clip with a known offset, check it, and show both.

    Exit code 0 if the offset is found to within one frame (40 ms), else 2.
    """
    import tempfile

    if not abs(offset) <= 1500:  # written so that it refuses NaN too
        raise UsageError(f"--offset must lie between -1500 and 1500 ms, not {offset:g}")
    if model is not None:
        require_file("--model", model)
    if keep is not None:
        if keep.suffix.lower() != ".mp4":
            raise UsageError(
                "--keep: the clip is an MP4, so its name must end in .mp4, not "
                f"{keep.suffix or keep.name!r}"
            )
        if os.path.lexists(keep):
            raise UsageError(f"--keep: {keep} exists already; choose another name")
        if why := why_not_new(keep):
            raise UsageError(f"--keep: {why}")

    from avcheck.scenes.demo import make_demo

    with tempfile.TemporaryDirectory(prefix="avcheck-") as folder:
        clip = Path(folder, "demo.mp4")
        try:
            make_demo(clip, offset_ms=offset)
        except OSError as error:
            if is_disk_full(error):
                raise UsageError(SCRATCH_IS_FULL) from error
            raise
        if keep is not None:
            _keep(clip, keep)
        output = Output("text", quiet=False, detailed=True)
        output.write(
            f"made:  {describe_offset(offset)}"
            + (f", kept as {render.printable(str(keep))}" if keep else "")
            + "\n"
        )
        result = check_alone(clip, CheckSettings(device=device, model=model), quiet=False)
        output.emit(replace(result, path=str(keep or clip.name)))
    if result.offset_ms is None or result.verdict not in ("in_sync", "out_of_sync"):
        output.write("found: no offset that avcheck is sure of\n")
        raise typer.Exit(ExitCode.BUG if output.has_bug else ExitCode.NOT_JUDGED)
    error_ms = result.offset_ms - offset
    agrees = abs(error_ms) <= FRAME_MS
    output.write(
        f"found: {result.offset_text}, {abs(error_ms):.0f} ms from what was put in: "
        + ("right to within one frame\n" if agrees else "wrong by more than one frame\n")
    )
    raise typer.Exit(ExitCode.OK if agrees else ExitCode.NOT_JUDGED)


def _keep(clip: Path, path: Path) -> None:
    """Copy the clip to its new name: all of it, or nothing. Raises UsageError."""
    import shutil

    partial = unfinished(path)
    try:
        shutil.copyfile(clip, partial)
        publish_new(partial, path)
    except OSError as error:
        raise UsageError(f"--keep: cannot write {path}: {why_not_written(error)}") from error
    finally:
        with suppress(OSError):
            partial.unlink()
