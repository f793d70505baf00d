"""`python -m bench.decoding [FILE ...]`: CPU and wall seconds to decode the pictures of a file,
with each option that saves a decoder work.

Without a file it decodes a drawn talking head of 1080 lines with camera noise, in the codecs that
have such options. A check decodes with "no loop filter", and scales each picture at once.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from avcheck.scenes.generate import make_scene
from bench.rows import processor
from tests.support.clips import Array, make_clip

_SIZE = (1920, 1080)  # width, height
_COARSE = 4  # factor by which the drawn picture is enlarged
_CODECS = {"libx264": ".mp4", "mpeg2video": ".mpg", "mpeg4": ".mp4", "mjpeg": ".mov"}
_NO_LOOP_FILTER = {"skip_loop_filter": "all"}


@dataclass(frozen=True)
class Way:
    """Options of FFmpeg's decoder, and the kind and number of its threads; 0: one for each core."""

    options: dict[str, str] = field(default_factory=dict)
    threads: int = 0
    kind: str = "AUTO"


WAYS = {
    "as it comes": Way(),
    "no loop filter": Way(_NO_LOOP_FILTER),
    "and one thread": Way(_NO_LOOP_FILTER, 1, "NONE"),
    "and threads for slices alone": Way(_NO_LOOP_FILTER, 0, "SLICE"),
    "and four threads": Way(_NO_LOOP_FILTER, 4),
    "and luma alone": Way({**_NO_LOOP_FILTER, "flags": "+gray"}),
    "and reference pictures alone": Way({**_NO_LOOP_FILTER, "skip_frame": "noref"}),
    "and no inverse transform of the others": Way({**_NO_LOOP_FILTER, "skip_idct": "noref"}),
    "and half the size": Way({**_NO_LOOP_FILTER, "lowres": "1"}),
    "and a quarter of the size": Way({**_NO_LOOP_FILTER, "lowres": "2"}),
    "and fast": Way({**_NO_LOOP_FILTER, "flags2": "+fast"}),
}


def decoded(path: Path, way: Way) -> tuple[float, float, int, int]:
    """CPU and wall seconds, the number of pictures, and the lines of the last one."""
    cpu_s, wall_s = time.process_time(), time.monotonic()
    pictures = lines = 0
    with av.open(str(path)) as file:
        context = file.streams.video[0].codec_context
        context.thread_type, context.thread_count = way.kind, way.threads
        context.options = way.options
        for picture in file.decode(video=0):
            pictures, lines = pictures + 1, picture.height
    return time.process_time() - cpu_s, time.monotonic() - wall_s, pictures, lines


def compared(path: Path, runs: int) -> Iterator[str]:
    """A line for each way: what it costs, and how many pictures of how many lines it gives."""
    for name, way in WAYS.items():
        each = [decoded(path, way) for _ in range(runs)]
        cpu_s, wall_s = (statistics.median(run[k] for run in each) for k in (0, 1))
        yield f"  {name:40} {cpu_s:7.2f} s CPU {wall_s:7.2f} s wall {each[0][2]:6} x {each[0][3]}"


def drawn(path: Path, codec: str, seconds: float) -> None:
    """A talking head with camera noise."""
    width, height = _SIZE
    kind = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    scene = make_scene(
        "talking", seed=1, seconds=seconds, size=(height // _COARSE, width // _COARSE)
    )
    noise = np.random.default_rng(1).normal(0.0, 2.0, (8, height, width)).round().astype(np.int16)

    def draw(time_s: float) -> Array:
        number = min(len(scene.frames) - 1, round(time_s * 25))
        large = scene.frames[number].repeat(_COARSE, axis=0).repeat(_COARSE, axis=1)
        return np.clip(large + noise[number % len(noise)], 16, 235).astype(np.uint8)

    make_clip(path, seconds=seconds, size=_SIZE, vcodec=codec, acodec=None, draw=draw, pix_fmt=kind)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.decoding", description="What decoding costs, in every way there is."
    )
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE")
    parser.add_argument("--seconds", type=float, default=4.0, help="length of what is drawn")
    parser.add_argument("--runs", type=int, default=3, help="of each way; the median counts")
    options = parser.parse_args(arguments)
    print(f"{processor()}; medians of {options.runs}")
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        paths = options.files
        for codec, suffix in _CODECS.items() if not paths else ():
            paths = [*paths, Path(folder, codec + suffix)]
            drawn(paths[-1], codec, options.seconds)
        for path in paths:
            print(path.name)
            print(*compared(path, options.runs), sep="\n", flush=True)


if __name__ == "__main__":
    main()
