"""`python -m bench.tracks [FILE]`: what each further audio track of a title costs, in CPU seconds,
decoding included: of the command, and in a process that has loaded the network already. Of the
runs, in turn, the least counts: other work on the machine only adds to it.

FILE: any video with one audio track; without it a talking head is generated. Its track is copied
four times, so all of them match the pictures equally.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av

from avcheck.checker import Checker
from avcheck.machine.memory import keep_memory
from avcheck.scenes.demo import make_demo
from avcheck.settings import CheckSettings
from bench import HERE
from bench.rows import cost_of

TRACKS = 4
# A file, and how many of its tracks are checked -> CPU seconds, and the verdicts
Way = Callable[[Path, int], tuple[float, tuple[str, ...]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the generated film")
    parser.add_argument("--runs", type=int, default=3, help="of each number of tracks")
    options = parser.parse_args()
    keep_memory()  # as the command does
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        source = options.file
        if source is None:
            source = Path(folder, "one.mp4")
            make_demo(source, offset_ms=-120, seconds=options.seconds)
        path = _with_tracks(source, Path(folder, "many.mkv"))
        checker = Checker(device="cpu", threads=1)
        checker.check(path, CheckSettings(end=11.0))  # the first look builds kernels
        ways: dict[str, Way] = {
            "the command": _by_command,
            "in a process with the network loaded": partial(_in_process, checker),
        }
        for name, way in ways.items():
            print(f"{name}:")
            for line in _compared(way, path, max(1, options.runs)):
                print(f"  {line}")


def _compared(way: Way, path: Path, runs: int) -> Iterator[str]:
    """What one, two and `TRACKS` tracks cost one way, each the least of several runs in turn."""
    costs = [{count: way(path, count) for count in (1, 2, TRACKS)} for _ in range(runs)]
    least_s = {count: min(each[count][0] for each in costs) for count in costs[0]}
    first_s = least_s.pop(1)
    yield f"1 track: {first_s:.2f} s CPU"
    for count, spent_s in least_s.items():
        share = (spent_s - first_s) / (count - 1) / first_s
        yield (
            f"{count} tracks: {spent_s:.2f} s CPU, {100 * share:.1f} % of the first for each "
            f"further one; {', '.join(costs[0][count][1])}"
        )


def _by_command(path: Path, count: int) -> tuple[float, tuple[str, ...]]:
    tracks = [each for number in range(count) for each in ("--audio-track", str(number))]
    cost = cost_of(HERE, path, tracks)
    return cost.cpu_s, cost.verdicts


def _in_process(checker: Checker, path: Path, count: int) -> tuple[float, tuple[str, ...]]:
    began_s = _cpu_s()
    reports = checker.check_tracks(path, CheckSettings(audio_tracks=tuple(range(count))))
    return _cpu_s() - began_s, tuple(each.verdict for each in reports)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _with_tracks(source: Path, path: Path) -> Path:
    """The film with its audio track `TRACKS` times, copied."""
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        picture: Any = writer.add_stream_from_template(reader.streams.video[0])
        tracks: list[Any] = [
            writer.add_stream_from_template(reader.streams.audio[0]) for _ in range(TRACKS)
        ]
        for packet in reader.demux(reader.streams.video[0], reader.streams.audio[0]):
            if packet.dts is None:
                continue
            if packet.stream.type == "video":
                packet.stream = picture
                writer.mux(packet)
            else:
                for track in tracks:
                    copied = av.Packet(bytes(packet))
                    copied.pts, copied.dts = packet.pts, packet.dts
                    copied.time_base, copied.duration = packet.time_base, packet.duration
                    copied.stream = track
                    writer.mux(copied)
    return path


if __name__ == "__main__":
    main()
