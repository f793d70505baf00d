"""How fast a check is, stage by stage, and how much memory it takes."""

from __future__ import annotations

import math
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avcheck.checker import Checker
from avcheck.eval.protocol import TOLERANCE
from avcheck.eval.rows import Row
from avcheck.eval.stats import table
from avcheck.film_writer import SOUND_RATE, write_film
from avcheck.machine.memory import keep_memory
from avcheck.media import open_media
from avcheck.reading.blocks import blocks
from avcheck.reading.segments import segments
from avcheck.scan.curves import LevelChoice, detail_of, motion_of, score
from avcheck.scan.looking import LEVELS, look
from avcheck.scenes.generate import make_scene
from avcheck.settings import CheckSettings
from avcheck.verdict.judge import judge
from avcheck.verdict.posterior import Calibration, Curve

SPEED_S = 120.0  # of generated 1080p
_STRANGER_S = 60.0  # of another film's sound


@dataclass
class _Stopwatch:
    """Times each stage."""

    cpu_s: dict[str, float] = field(default_factory=dict)  # seconds a minute of video, by stage
    wall_s: dict[str, float] = field(default_factory=dict)  # the same by the clock on the wall
    _since: tuple[float, float] = (0.0, 0.0)  # CPU and wall clock at `start`, s

    def start(self) -> None:
        self._since = time.process_time(), time.perf_counter()

    def stop(self, stage: str, seconds: float) -> None:
        """Add the time since `start`, per minute of video, to a stage that worked on so many
        seconds of it.
        """
        a_minute = 60.0 / seconds
        cpu, wall = time.process_time() - self._since[0], time.perf_counter() - self._since[1]
        self.cpu_s[stage] = self.cpu_s.get(stage, 0.0) + cpu * a_minute
        self.wall_s[stage] = self.wall_s.get(stage, 0.0) + wall * a_minute


def measure_speed(model: Path | None, device: str, seconds: float = SPEED_S) -> Row:
    """Measure a check in a process of its own, on a generated 1080p film in H.264.

    Args:
        model: The weights; None: the shipped ones.
        device: As in `CheckSettings`.
        seconds: Length of the film.

    Returns:
        Seconds per minute of the film by stage (`cpu_s`, `wall_s`), and peak memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        make_film(path, seconds)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            return pool.submit(_time_stages, path, model, device).result()


def make_film(path: Path, seconds: float, size: tuple[int, int] = (1080, 1920)) -> None:
    """Write a talking head of `size` (H, W) with camera noise as mp4, H.264 and stereo AAC."""
    height, width = size
    scene = make_scene(
        "talking", seed=1, seconds=seconds, size=(height // 4, width // 4), head_share=0.4
    )
    noise = np.random.default_rng(1).normal(0.0, 2.0, (8, height, width)).round().astype(np.int16)

    def pictures() -> Iterator[NDArray[np.uint8]]:
        picture = np.full((height * 3 // 2, width), 128, np.uint8)
        for k, luma in enumerate(scene.frames):
            large = np.repeat(np.repeat(luma, 4, axis=0), 4, axis=1)[:height, :width]
            picture[:height] = np.clip(large + noise[k % len(noise)], 16, 235)
            yield picture

    sound = np.repeat(scene.samples, SOUND_RATE // scene.sample_rate)
    write_film(path, size, pictures(), np.stack([sound, sound]), bit_rate=128_000, crf="23")


def _time_stages(path: Path, model: Path | None, device: str) -> Row:
    """A check of a film as a user runs it, then the same stages one by one, each timed."""
    keep_memory()
    checker = Checker(model, device)
    loaded = checker.loaded
    checker.curves(path)  # the first look builds kernels
    watch = _Stopwatch()
    watch.start()
    whole, *_ = checker.curves(path)
    watch.stop("whole check", round(sum(curve.end_s - curve.start_s for curve in whole)))
    peak_mb = _peak_mb()
    closer_mb = _closer_mb(path, checker)
    watch.start()
    with open_media(path, short_side=max(LEVELS)) as media:
        once = list(blocks(media.pictures(), media.sounds()))
    watch.stop("decode", len(once))
    scored: list[Curve] = []
    choice = LevelChoice(Calibration(**loaded.calibration))
    for window in segments(once):
        inside = window.inside
        watch.start()
        pictures = np.concatenate([block.pictures for block in inside])
        shown = np.concatenate([block.picture_mask for block in inside])
        view = look(pictures, shown, inside[0].start_s, loaded, choice.levels)
        watch.stop("trunk", len(once))
        watch.start()
        motion = np.array([motion_of(block) for block in inside], np.float32)
        detail = np.array([detail_of(block) for block in inside], np.float32)
        scored.append(score(view, window, loaded, motion, detail))
        watch.stop("scan", len(once))
        choice.after(scored[-1:])
    watch.start()
    judge(scored, TOLERANCE, Calibration(**loaded.calibration))
    watch.stop("scan", len(once))
    kept = sum(
        array.nbytes
        for curve in scored
        for array in (curve.places, curve.attention, curve.block_score, curve.score)
    )
    return {
        "cpu_s": watch.cpu_s,
        "wall_s": watch.wall_s,
        "film_s": len(once),
        "peak_mb": peak_mb,
        "closer_mb": closer_mb,
        "kept_mb_per_min": kept / 1e6 * 60 / len(once),
        "device": str(loaded.device),
    }


def _closer_mb(path: Path, checker: Checker) -> float | None:
    """Peak memory with a stranger's sound, which should be undecidable and looked at closer; None
    if it was not.
    """
    other = path.with_suffix(".wav")
    # Its pictures are not used
    scene = make_scene("talking", seed=2, seconds=_STRANGER_S, size=(36, 64), frame_rate=1.0)
    with wave.open(str(other), "wb") as file:
        file.setparams((1, 2, scene.sample_rate, 0, "NONE", ""))
        file.writeframes((scene.samples * 32767).astype("<i2").tobytes())
    report = checker.check(path, CheckSettings(audio=(other,)))
    return _peak_mb() if report.verdict == "undecidable" and report.offset_ms is None else None


def _peak_mb() -> float:
    """Peak resident memory of this process; NaN if the system does not report it."""
    with suppress(OSError, StopIteration, ValueError):
        # On Linux a child's ru_maxrss inherits its parent's peak; VmHWM is the child's own.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3
    try:
        import resource
    except ImportError:  # Windows
        return math.nan
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def speed_table(row: Row) -> str:
    """Seconds per minute of video, compared with playing it, and memory."""
    cpu_s, wall_s = row["cpu_s"], row["wall_s"]
    names = {name: name if name == "whole check" else f"{name} alone" for name in cpu_s}
    lines = [(names[stage], f"{cpu_s[stage]:.2f}", f"{wall_s[stage]:.2f}") for stage in cpu_s]
    more_mb = row["kept_mb_per_min"] * max(0.0, 120 - row["film_s"] / 60)
    note = (
        f"1080p H.264 of {row['film_s']} s, generated, on {row['device']}: "
        f"{60 / wall_s['whole check']:.1f} times as fast as it plays. Peak memory "
        f"{row['peak_mb']:.0f} MB; {row['kept_mb_per_min']:.2f} MB of curves are kept a minute, so "
        f"a film of two hours needs about {row['peak_mb'] + more_mb:.0f} MB."
    )
    if (closer_mb := row.get("closer_mb")) is not None:
        note += (
            f" With another film's sound it is undecidable and looked at closer: {closer_mb:.0f} "
            f"MB, of two hours about {closer_mb + more_mb:.0f} MB."
        )
    return table("Speed: seconds per minute of video", ("stage", "CPU, s", "wall, s"), lines, note)
