"""`python -m bench.players`: what mpv presents of files that `avcheck fix` moved by a known offset,
from the start and after a seek. It needs mpv on the PATH and the extra `stamps`: the files are the
test video of av-drift-detector, in which every picture and its sound carry a number.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np

from avcheck.fix.repair import FixSettings, fix_file
from avcheck.record.report import PRESETS, Report
from avcheck.signals.verdict import check_signal
from tests.support.clips import make_clip
from tests.support.films import KINDS, B
from tests.support.fixing import never

SIZE = (640, 360)  # width, height; MPEG-2 needs as much for the stamps to be read
SECONDS, SEEK_S = 8.0, 3.3
OFFSETS_MS = (300, -300)  # of the sound before: positive = early
RATE, SOUND_RATE = 25, 48_000


def make(path: Path, offset_ms: float) -> Path:
    """The test video with its sound early by `offset_ms`."""
    import av_drift_detector as avd

    renderer = avd.PatternRenderer(fps=str(RATE), width=SIZE[0], height=SIZE[1])
    samples = np.asarray(
        avd.synthesize_audio(
            round(SECONDS * SOUND_RATE), fps=str(RATE), delay=-offset_ms / 1000, music=False
        )
    )
    kind = KINDS[f"film{path.suffix}"]
    return make_clip(
        path,
        seconds=SECONDS,
        fps=Fraction(RATE),
        size=SIZE,
        draw=lambda at_s: np.frombuffer(renderer.render(round(at_s * RATE)), np.uint8).reshape(
            SIZE[::-1]
        ),
        play=lambda at_s: samples[
            np.minimum(np.round(at_s * SOUND_RATE).astype(int), len(samples) - 1)
        ],
        video_options=B if kind["vcodec"] == "libx264" else {},
        **kind,
    )


def presented(path: Path, start_s: float, folder: Path) -> Report:
    """What mpv shows and plays of a file from a moment on, read from the stamps."""
    out = folder / "presented.nut"
    out.unlink(missing_ok=True)
    # Asked to start at 0, mpv seeks there, and dates the first pictures of some AVIs differently
    seek = [f"--start={start_s:g}"] if start_s else []
    line = ["mpv", "--no-config", "--really-quiet", *seek, f"--o={out}"]
    codecs = ["--of=nut", "--ovc=ffv1", "--oac=pcm_s16le"]
    subprocess.run([*line, *codecs, str(path)], check=True)
    return check_signal(out, PRESETS["ebu-r37"])


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    if shutil.which("mpv") is None:
        raise SystemExit("mpv is not on the PATH")
    said = subprocess.run(["mpv", "--version"], capture_output=True, text=True, check=True).stdout
    print(said.splitlines()[0])
    print(f"{'file':20}{'from the start':>22}{f'from {SEEK_S:g} s':>22}   ms, least to most")
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as name:
        folder = Path(name)
        for kind in KINDS:
            for offset_ms in OFFSETS_MS:
                source = make(folder / kind, offset_ms)
                target = folder / f"fixed{source.suffix}"
                target.unlink(missing_ok=True)
                outcome = fix_file(source, target, FixSettings(force_offset_ms=offset_ms), never)
                label = f"{source.suffix[1:]} {offset_ms:+d} ms"
                if outcome.status != "fixed":
                    print(f"{label:20}{outcome.status}: {outcome.reason}")
                    continue
                cells = (_cell(presented(target, at_s, folder)) for at_s in (0.0, SEEK_S))
                print(f"{label:20}{''.join(f'{cell:>22}' for cell in cells)}", flush=True)


def _cell(report: Report) -> str:
    offsets_ms = [each.offset_ms for each in report.segments if each.offset_ms is not None]
    if not offsets_ms:
        return report.reason_code or "nothing"
    return f"{min(offsets_ms):+.1f} to {max(offsets_ms):+.1f} ({len(offsets_ms)})"


if __name__ == "__main__":
    main()
