"""`python -m bench.writers [NAME]`: files that other programs write, as avcheck reads them and as
mpv plays them. It needs mpv and the extra `stamps`; a program that is not on the PATH is left out.

The film that they are given is the test video of av-drift-detector, its sound late by 40 ms. Exit
code 1 if what avcheck reads is more than 3 ms from what mpv plays.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from avcheck.record.report import PRESETS, Report
from avcheck.signals.verdict import check_signal
from bench.players import make, presented

LATE_MS = 40.0
MOST_APART_MS = 3.0


@dataclass(frozen=True)
class Writer:
    """A program, what its file is called, and its arguments: {film}, {picture}, {sound} (MPEG-2 and
    MP2 as bare streams) and {out} are paths.
    """

    program: str
    name: str
    arguments: str

    def write(self, paths: dict[str, Path], folder: Path) -> Path | None:
        """Its file, or None if the program wrote none."""
        out = folder / self.name
        line = [each.format(**paths, out=out) for each in self.arguments.split()]
        subprocess.run(
            [self.program, *line],
            cwd=folder,
            capture_output=True,
            check=False,
        )
        return out if out.is_file() and out.stat().st_size else None


_HANDBRAKE = "-i {film} -o {out} --encoder-preset veryfast -q 18"
_MELT = "-silent {film} -consumer avformat:{out} rate=25"
_MENCODER = "{film} -o {out}"
_GSTREAMER = (
    "filesrc location={film} ! qtdemux name=d %s name=m ! filesink location={out} "
    "d.video_0 ! queue ! h264parse ! m. d.audio_0 ! queue ! aacparse ! m."
)

WRITERS = (
    Writer("HandBrakeCLI", "handbrake.mp4", f"{_HANDBRAKE} -e x264 -E av_aac"),
    Writer("HandBrakeCLI", "handbrake.mkv", f"{_HANDBRAKE} -e x265 -E ac3"),
    Writer("HandBrakeCLI", "handbrake.webm", f"{_HANDBRAKE} -e VP9 -E opus"),
    Writer("melt", "melt.mp4", f"{_MELT} vcodec=libx264 acodec=aac crf=16"),
    Writer("melt", "melt.mov", f"{_MELT} vcodec=prores_ks acodec=pcm_s16le"),
    Writer("melt", "melt.mxf", f"{_MELT} vcodec=mpeg2video acodec=pcm_s16le vb=20M"),
    Writer("melt", "melt.mpg", f"{_MELT} vcodec=mpeg2video acodec=mp2 vb=6M"),
    Writer(
        "mencoder",
        "mencoder.avi",
        f"{_MENCODER} -ovc lavc -lavcopts vcodec=mpeg4:vbitrate=3000:vmax_b_frames=2 -oac mp3lame",
    ),
    Writer("mencoder", "mencoder-h264.avi", f"{_MENCODER} -ovc x264 -x264encopts crf=18 -oac pcm"),
    Writer("mplex", "mplex.mpg", "-f 8 -o {out} {picture} {sound}"),
    Writer("mkvmerge", "mkvmerge.mkv", "-o {out} {film}"),
    Writer("gst-launch-1.0", "gstreamer.mkv", _GSTREAMER % "matroskamux"),
    Writer("gst-launch-1.0", "gstreamer.mov", _GSTREAMER % "qtmux"),
    Writer("gst-launch-1.0", "gstreamer.ts", _GSTREAMER % "mpegtsmux"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", default="", help="only files whose name holds this")
    wanted = parser.parse_args(arguments).name
    if shutil.which("mpv") is None:
        raise SystemExit("mpv is not on the PATH")
    apart = 0
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as name:
        folder = Path(name)
        paths = {"film": make(folder / "film.mp4", -LATE_MS)}
        paths |= _bare_streams(paths["film"], folder)
        print(f"{'file':20}{'avcheck':>10}{'mpv':>10}   ms late, the middle of all pictures")
        for writer in WRITERS:
            if wanted not in writer.name:
                continue
            if shutil.which(writer.program) is None:
                print(f"{writer.name:20}{writer.program} is not on the PATH", flush=True)
                continue
            path = writer.write(paths, folder)
            if path is None:
                print(f"{writer.name:20}{writer.program} wrote nothing", flush=True)
                continue
            read_ms = _late_ms(check_signal(path, PRESETS["ebu-r37"]))
            played_ms = _late_ms(presented(path, 0.0, folder))
            differ = not abs(read_ms - played_ms) <= MOST_APART_MS
            apart += differ
            mark = "   <<<" if differ else ""
            print(f"{path.name:20}{read_ms:10.1f}{played_ms:10.1f}{mark}", flush=True)
    return min(apart, 1)


def _late_ms(report: Report) -> float:
    """NaN if nothing shows it."""
    offsets_ms = [each.offset_ms for each in report.segments if each.offset_ms is not None]
    return -float(np.median(offsets_ms)) if offsets_ms else float("nan")


def _bare_streams(film: Path, folder: Path) -> dict[str, Path]:
    """The film's picture as MPEG-2 and its sound as MP2, each as a stream without a container."""
    picture, sound = folder / "picture.m2v", folder / "sound.mp2"
    with av.open(str(film)) as source, av.open(str(picture), "w", format="mpeg2video") as out:
        shown = source.streams.video[0]
        stream = out.add_stream("mpeg2video", rate=25, options={"qmax": "3", "maxrate": "9M"})
        stream.width, stream.height, stream.pix_fmt = shown.width, shown.height, "yuv420p"
        stream.bit_rate = 8_000_000
        for frame in source.decode(video=0):
            frame.pict_type = av.video.frame.PictureType.NONE
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    with av.open(str(film)) as source, av.open(str(sound), "w", format="mp2") as out:
        stream = out.add_stream("mp2", rate=48_000)
        for frame in source.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return {"picture": picture, "sound": sound}


if __name__ == "__main__":
    sys.exit(main())
