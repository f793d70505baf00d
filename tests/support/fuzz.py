"""`python -m tests.support.fuzz --minutes N [--seed S]`: damages small generated files at random
and has avcheck check them.

Every case is checked in a guarded worker of avcheck's own (`avcheck.batch.workers`) that has a
deadline and a memory limit, and that the kernel kills for opening a socket. Most cases are decoded
and cut into blocks, a share goes through a whole (untrained) network, and now and then the last
cases go through the command itself. It has to hold that no case hangs, crashes its worker, ends as
a bug of avcheck or opens another file of its folder; that each has exactly one record; and that the
command ends with a documented exit code. No case is kept: `--seed S --case K` makes it again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("SVT_LOG", "1")  # its AV1 encoder talks

from avcheck import render
from avcheck.batch.base import Limits
from avcheck.batch.discovery import MEDIA_SUFFIXES
from avcheck.batch.remote import Source
from avcheck.batch.run import CheckerMaker, FileChecker, check_many, load_checker
from avcheck.report import BUG, Report
from avcheck.settings import CheckSettings
from tests.support import decode_scan, guard, hostile

ROOT = Path(__file__).parents[2]
DEADLINE_S = 30.0  # for a case that takes some 20 ms on an idle machine
ROUND = 400  # cases between two looks at the clock by the workers
FULL = 40  # of them through the network
COMMAND = 25  # of them through the command
COMMAND_LINE = "from tests.support import decode_scan; decode_scan.command()"
EXIT_CODES = {0, 1, 2}  # 3 would be a bug

# (suffix, options of make_clip)
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mp4", {}),
    ("mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}),
    ("mp4", {"container_options": {"movflags": "faststart"}, "vcodec": "libx265", "acodec": "ac3"}),
    (
        "mp4",
        {
            "vcodec": "mpeg4",
            "acodec": "libmp3lame",
            "sample_rate": 44100,
            "rotation": 90,
            "cover_art": True,
        },
    ),
    (
        "mov",
        {
            "vcodec": "prores_ks",
            "pix_fmt": "yuv422p10le",
            "acodec": "pcm_s16le",
            "layout": "stereo",
        },
    ),
    ("mov", {"vcodec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True, "acodec": "alac"}),
    ("mkv", {}),
    ("mkv", {"vcodec": "ffv1", "acodec": "flac"}),
    ("mkv", {"vcodec": "mpeg2video", "acodec": "ac3"}),
    (
        "mkv",
        {
            "vcodec": "libx264",
            "acodec": "pcm_f32le",
            "picture_times_s": [0.0, 0.03, 0.2, 0.21, 0.6],
        },
    ),
    ("webm", {"vcodec": "libvpx", "acodec": "libopus"}),
    ("webm", {"vcodec": "libvpx-vp9", "acodec": "libopus"}),
    ("webm", {"vcodec": "libsvtav1", "acodec": "libopus"}),
    ("ts", {}),
    ("ts", {"vcodec": "mpeg2video", "acodec": "mp2"}),
    ("avi", {"acodec": "ac3"}),
    ("avi", {"vcodec": "mpeg4", "acodec": "libmp3lame", "sample_rate": 44100}),
    ("avi", {"vcodec": "rawvideo", "acodec": "pcm_u8"}),
    ("flv", {"sample_rate": 44100}),
    ("flv", {"vcodec": "flv", "acodec": "libmp3lame", "sample_rate": 44100}),
    ("mxf", {"vcodec": "mpeg2video", "acodec": "pcm_s16le"}),
    ("mpg", {"vcodec": "mpeg2video", "acodec": "mp2"}),
    ("ogv", {"vcodec": "libvpx", "acodec": "libopus"}),
    ("wmv", {"vcodec": "wmv2", "acodec": "wmav2"}),
    ("wav", {"vcodec": None, "acodec": "pcm_s16le"}),
    ("flac", {"vcodec": None, "acodec": "flac"}),
    ("mp3", {"vcodec": None, "acodec": "libmp3lame", "sample_rate": 44100}),
    ("aiff", {"vcodec": None, "acodec": "pcm_s16be"}),
)
SOUNDS = {".wav", ".flac", ".mp3", ".aiff"}  # checked with the picture of `FILM`
FILM = "film.dat"
ODD_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
_TABLES = {
    b"stts",
    b"ctts",
    b"stsc",
    b"stsz",
    b"stco",
    b"elst",
    b"mdhd",
    b"mvhd",
    b"tkhd",
    b"trun",
    b"tfdt",
    b"tfhd",
    b"hdlr",
}
# Matroska elements with a size worth changing: segment, cluster, block, tracks, codec private,
# timestamps, rates, sizes.
_EBML = re.compile(
    rb"\x18\x53\x80\x67|\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\x63\xa2|\xe7|\xa3|\xa0|\xa1|\x9b|\x2a\xd7\xb1|\x44\x89|\xb5|\xb0|\xba|\x9f"
)

Mutation = Callable[[bytearray, random.Random], None]


def make_seeds(folder: Path) -> list[tuple[str, bytes]]:
    """(suffix, content) of small good files of every kind."""
    found = []
    for number, (suffix, options) in enumerate(KINDS):
        path = folder / f"{number}.{suffix}"
        size = (96, 64) if options.get("vcodec") == "libsvtav1" else (64, 48)
        hostile.make_clip(
            path, **{"seconds": 0.64, "size": size, "draw": hostile.noise(number, size), **options}
        )  # type: ignore[arg-type]
        found.append((suffix, path.read_bytes()))
    return found


# -- mutations -------------------------------------------------------------------------------------


def _near(data: bytearray, rng: random.Random) -> int:
    """A place in the file; every second time in its head or tail, where the structure is."""
    where = rng.random()
    if where < 0.4:
        return rng.randrange(min(len(data), 1500))
    if where < 0.5:
        return rng.randrange(max(0, len(data) - 3000), len(data))
    return rng.randrange(len(data))


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 10, 100))):
        data[_near(data, rng)] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 10, 100))):
        data[_near(data, rng)] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def set_number(data: bytearray, rng: random.Random) -> None:
    form = rng.choice((">H", "<H", ">I", "<I", ">Q", "<Q"))
    at = _near(data, rng)
    size = struct.calcsize(form)
    if at + size <= len(data):
        value = rng.choice(
            (*ODD_NUMBERS, rng.getrandbits(8 * size), len(data), 2**63 - 1, 2**64 - 1)
        )
        struct.pack_into(form, data, at, value % (1 << (8 * size)))


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[_near(data, rng) :]


def remove(data: bytearray, rng: random.Random) -> None:
    at = _near(data, rng)
    del data[at : at + rng.choice((1, 4, 188, rng.randrange(1, 2000)))]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = _near(data, rng)
    part = data[at : at + rng.choice((1, 8, 188, rng.randrange(1, 4000)))]
    to = rng.choice((at, _near(data, rng)))
    data[to:to] = part * rng.choice((1, 2, 20))


def swap(data: bytearray, rng: random.Random) -> None:
    one, other = sorted((_near(data, rng), _near(data, rng)))
    size = rng.randrange(1, 500)
    data[one : one + size], data[other : other + size] = (
        data[other : other + size],
        data[one : one + size],
    )


def mp4_size(data: bytearray, rng: random.Random) -> None:
    boxes = list(hostile.mp4_boxes(data))
    if boxes:
        _, start, end = rng.choice(boxes)
        size = rng.choice(
            (*ODD_NUMBERS, 7, 8, 9, end - start - 1, end - start + 1, 2 * (end - start), len(data))
        )
        struct.pack_into(">I", data, start, size % 2**32)


def mp4_table(data: bytearray, rng: random.Random) -> None:
    """Counts, times, sizes and places in the tables of an mp4."""
    boxes = [box for box in hostile.mp4_boxes(data) if box[0] in _TABLES and box[2] - box[1] >= 16]
    if boxes:
        _, start, end = rng.choice(boxes)
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.randrange(start + 8, end - 3, 4)
            struct.pack_into(
                ">I", data, at, rng.choice((*ODD_NUMBERS, rng.getrandbits(32), rng.randrange(5000)))
            )


def ebml(data: bytearray, rng: random.Random) -> None:
    """Sizes, and the first bytes (often a timestamp), of the elements of a matroska file."""
    found = list(_EBML.finditer(data))
    if found:
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.choice(found).end() + rng.choice((0, 0, 1, 2, 3, 4, 8))
            if at < len(data):
                data[at] = rng.choice((0, 1, 0x10, 0x40, 0x80, 0x81, 0xFF, rng.randrange(256)))


def ts_clock(data: bytearray, rng: random.Random) -> None:
    """The timestamps of a transport or program stream."""
    found = [match.end() for match in re.finditer(rb"\x00\x00\x01[\xbd\xc0-\xef]", data)]
    if found:
        for _ in range(rng.choice((1, 3))):
            at = rng.choice(found) + rng.randrange(2, 16)
            if at < len(data):
                data[at] = rng.randrange(256)


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    set_bytes,
    set_number,
    set_number,
    truncate,
    remove,
    repeat,
    swap,
    mp4_size,
    mp4_table,
    ebml,
    ts_clock,
)


def mutant(seeds: Sequence[tuple[str, bytes]], seed: int, number: int) -> tuple[str, bytes]:
    """Suffix and content of a case."""
    rng = random.Random(f"{seed}:{number}")
    suffix, content = rng.choice(seeds)
    if rng.random() < 0.05:  # the head of one file, the rest of another
        content = content[: rng.randrange(1, len(content))] + rng.choice(seeds)[1]
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            rng.choice(MUTATIONS)(data, rng)
    if rng.random() < 0.1:
        suffix = rng.choice(sorted(MEDIA_SUFFIXES)).removeprefix(".")
    return suffix, bytes(data)


# -- running ---------------------------------------------------------------------------------------


class WithFilm:
    """Checks a sound file as the sound of the good film that lies next to it."""

    def __init__(self, checker: FileChecker) -> None:
        self._checker = checker

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[Report, ...]:
        """The report of the file, or of the film with it."""
        path = Path(path)
        if path.suffix not in SOUNDS:
            return self._checker.check_tracks(path, settings, on_progress)
        settings = replace(settings, audio=(path,))
        (report,) = self._checker.check_tracks(path.with_name(FILM), settings, on_progress)
        return (replace(report, path=str(path)),)


def guarded_decoder(settings: CheckSettings, threads: int) -> FileChecker:
    """What a worker does with a case: decode it and cut it into blocks, without the network of any
    kind.
    """
    warnings.simplefilter("error", RuntimeWarning)  # a NaN that numpy warns of is a bug as well
    if guard.AVAILABLE:
        guard.forbid_network()
    return WithFilm(decode_scan.make_checker(settings, threads))


def guarded_checker(settings: CheckSettings, threads: int) -> FileChecker:
    """The same with all that a check is."""
    warnings.simplefilter("error", RuntimeWarning)
    checker = load_checker(settings, 1)
    if guard.AVAILABLE:
        guard.forbid_network()
    return WithFilm(checker)


@dataclass
class Fuzz:
    """One run: where its files lie, and what it has found."""

    seed: int
    root: Path
    deadline_s: float = DEADLINE_S
    seeds: Sequence[tuple[str, bytes]] = ()
    cases: int = 0
    full: int = 0
    commands: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.folder = self.root / "cases"
        made = self.root / "seeds"
        for each in (self.folder, made):
            each.mkdir()
        self.seeds = self.seeds or make_seeds(made)
        hostile.make_clip(self.folder / FILM, format="mpegts")
        shutil.copyfile(self.folder / FILM, self.folder / hostile.TARGET)
        self.model = self.root / "untrained.safetensors"

    def path(self, number: int) -> Path:
        suffix, content = mutant(self.seeds, self.seed, number)
        path = self.folder / f"{number}.{suffix}"
        path.write_bytes(content)
        return path

    def check(
        self, numbers: Sequence[int], *, full: bool = False, make: CheckerMaker | None = None
    ) -> None:
        """Check these cases in a guarded worker, with the network or with what `make` makes."""
        settings = CheckSettings(model=self._model() if full else None, device="cpu")
        limits = Limits(1, self.deadline_s, 3000 if full else 1000)
        records: Counter[str] = Counter()
        paths: list[Path] = []

        def cases() -> Iterator[Source]:
            for number in numbers:
                paths.append(self.path(number))
                yield paths[-1]

        with guard.Opened(self.folder) as opened:
            make = make or (guarded_checker if full else guarded_decoder)
            for found in check_many(cases(), settings, limits, make_checker=make):
                records[found.path] += 1
                self.verdicts[found.verdict] += 1
                problem = fault_of(found)
                if hostile.TARGET.encode() in opened.names():
                    problem = f"opened {hostile.TARGET}"
                if problem:
                    self._fault(Path(found.path), problem)
        for path in paths:
            if records[str(path)] != 1:
                self._fault(path, f"{records[str(path)]} records")
            path.unlink()
        self.cases += len(paths)
        self.full += len(paths) if full else 0

    def command(self, numbers: Sequence[int]) -> None:
        """Check these cases with one run of the command, two workers."""
        paths = [self.path(number) for number in numbers]
        line = [
            sys.executable,
            "-c",
            COMMAND_LINE,
            "check",
            "--jobs",
            "2",
            "--timeout",
            f"{self.deadline_s:g}",
        ]
        environment = {
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(self.root),
            "OMP_NUM_THREADS": "1",
        }
        line += ["--format", "jsonl", "--no-config", "--", *map(str, paths)]
        done = subprocess.run(line, env=environment, capture_output=True, timeout=600, check=False)
        records = Counter(json.loads(row)["path"] for row in done.stdout.splitlines())
        if done.returncode not in EXIT_CODES:
            self._fault(
                paths[0],
                f"the command ended with {done.returncode}: "
                f"{done.stderr.decode(errors='replace')[-500:]}",
            )
        for path in paths:
            if records[str(path)] != 1:
                self._fault(path, f"{records[str(path)]} records of the command")
            path.unlink()
        self.cases += len(paths)
        self.commands += 1

    def _model(self) -> Path:
        if not self.model.exists():
            from tests.support.networks import written  # loads torch

            written(self.model)
        return self.model

    def _fault(self, path: Path, problem: str) -> None:
        self.faults.append(f"{problem}  seed {self.seed} case {path.stem}")
        print(f"FAULT {self.faults[-1]}", flush=True)


def fault_of(found: Report) -> str | None:
    """What is wrong with the report of a case."""
    reason = found.reason or ""
    if reason.startswith(BUG):
        return reason
    if any(words in reason for words in ("the worker", "no result within", "out of memory")):
        return reason
    if len(reason.splitlines()) > 1 or (found.verdict == "error") != bool(
        reason and found.verdict == "error"
    ):
        return f"not one clear line: {reason!r}"
    json.loads(render.to_json(found))
    return None


def run(
    fuzz: Fuzz, seconds: float, *, full: int = FULL, command: int = COMMAND, size: int = ROUND
) -> None:
    """Check cases until the time is up, at least one round."""
    until = time.monotonic() + seconds
    numbers = itertools.count()
    while fuzz.cases == 0 or time.monotonic() < until:
        fuzz.check(list(itertools.islice(numbers, size - full - command)))
        if full:
            fuzz.check(list(itertools.islice(numbers, full)), full=True)
        if command:
            fuzz.command(list(itertools.islice(numbers, command)))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.fuzz", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", type=int, help="only this case")
    options = parser.parse_args(argv)
    root = Path(tempfile.mkdtemp(prefix="avcheck-fuzz-"))
    fuzz = Fuzz(options.seed, root)
    began = time.monotonic()
    if options.case is None:
        run(fuzz, 60 * options.minutes)
    else:
        fuzz.check([options.case])
    took_s = time.monotonic() - began
    print(
        f"seed {fuzz.seed}: {fuzz.cases} cases in {took_s:.0f} s, {fuzz.cases / took_s:.1f} a "
        f"second; {fuzz.full} of them with "
        f"the network, {fuzz.commands} runs of the command; "
        f"{dict(sorted(fuzz.verdicts.items()))}; {len(fuzz.faults)} faults"
    )
    shutil.rmtree(root)
    return 1 if fuzz.faults else 0


if __name__ == "__main__":
    sys.exit(main())
