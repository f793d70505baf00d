"""`python -m bench.batch`: how fast a batch is checked by one worker and by two, and what
`--sample` saves and costs.

Three parts, each of which `--parts` can leave out:

* batch: generated clips through the command, with 1 and 2 workers. The figures include starting up
  and loading the network.
* stages: where the time of a 1080p film goes.
* sample: long titles with a known offset, drift or jump, each checked whole, heard first and
  sampled. They repeat a minute of generated talking scenes (drawing takes longer than checking) or,
  with `--corpus`, consist of its validation clips.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from avcheck.checker import Checker
from avcheck.eval.speed import measure_speed, speed_table
from avcheck.record.report import Report
from avcheck.settings import CheckSettings
from bench import HERE
from bench.media import clips
from bench.rows import cost_of
from tests.support.long_titles import SHOT_S, Fault, drawn_shots, recorded_shots, write_title

_DRAWN_S = 60.0
PARTS = ("batch", "stages", "sample")
FAULTS = (
    Fault("in sync"),
    Fault("late by 160 ms", (160.0, 160.0)),
    Fault("jump by 240 ms", (0.0, 240.0), jump_at=0.6),
    Fault("drift by 400 ms", (0.0, -400.0)),
    Fault("early by 320 ms", (-320.0, -320.0)),
)


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        if "batch" in options.parts:
            batch(Path(folder), options.files, options.seconds, options.model)
        if "stages" in options.parts:
            print(speed_table(measure_speed(options.model, "cpu", options.film)), flush=True)
        if "sample" in options.parts:
            sample(Path(folder), options)


def batch(folder: Path, files: int, seconds: float, model: Path | None) -> None:
    """Files a minute, and CPU seconds for a minute of video, by the number of workers."""
    media = folder / "clips"
    clips(media, seconds, files)
    print(f"{files} clips of {seconds:g} s, 576 x 432")
    weights = ("--model", str(model.resolve())) if model else ()
    for jobs in (1, 2):
        cost = cost_of(HERE, media, ("--jobs", str(jobs), "--timeout", "600", *weights))
        if len(cost.verdicts) != files:
            raise SystemExit(f"{jobs} workers: {len(cost.verdicts)} results of {files}")
        print(
            f"{jobs} {'worker ' if jobs == 1 else 'workers'}  "
            f"{60 * files / cost.wall_s:6.1f} files a minute  "
            f"{60 * cost.cpu_s / (files * seconds):6.1f} CPU seconds a minute of video  "
            f"{cost.memory_mb:6.0f} MB the largest process",
            flush=True,
        )
    print()


def sample(folder: Path, options: argparse.Namespace) -> None:
    """The same titles whole, heard first and sampled: verdict, offset and seconds."""
    seconds = 60.0 * options.minutes
    checker = Checker(options.model, "cpu")
    ways = {
        "whole": CheckSettings(thorough=True),
        "heard first": CheckSettings(),
        "sampled": CheckSettings(sample=options.probes),
    }
    spent = {name: [0.0, 0.0] for name in ways}  # CPU and wall seconds
    same = dict.fromkeys(ways, 0)
    apart_ms = dict.fromkeys(ways, 0.0)
    source = "generated talking scenes" if options.corpus is None else "validation clips of speech"
    print(
        f"{options.titles} titles of {options.minutes:g} minutes, {source}; --sample --probes "
        f"{options.probes}"
    )
    drawn = list(drawn_shots(_DRAWN_S)) if options.corpus is None else []
    for number in range(options.titles):
        fault = FAULTS[number % len(FAULTS)]
        shots = (
            islice(cycle(drawn), math.ceil(seconds / SHOT_S))
            if options.corpus is None
            else recorded_shots(options.corpus, seconds, 1 + number)
        )
        path = write_title(folder / f"title{number}.mp4", shots, seconds, fault)
        reports: dict[str, Report] = {}
        for name, settings in ways.items():
            began, used = time.perf_counter(), time.process_time()
            reports[name] = report = checker.check(path, settings)
            spent[name][0] += time.process_time() - used
            spent[name][1] += time.perf_counter() - began
            same[name] += report.verdict == reports["whole"].verdict
            if report.offset_ms is not None and reports["whole"].offset_ms is not None:
                apart = abs(report.offset_ms - reports["whole"].offset_ms)
                apart_ms[name] = max(apart_ms[name], apart)
        said = (
            f"{name} {_summary(report)} from {_looked_s(report, seconds):.0f} s"
            for name, report in reports.items()
        )
        print(f"  {fault.name}: {'; '.join(said)}", flush=True)
        path.unlink()
    minutes = options.titles * options.minutes
    for name, (cpu_s, wall_s) in spent.items():
        print(
            f"{name:12} {cpu_s / minutes:6.2f} CPU and {wall_s / minutes:6.2f} wall seconds a "
            f"minute of title, {spent['whole'][0] / cpu_s:.1f} times less CPU; same verdict "
            f"{same[name]} of {options.titles}, offsets apart by {apart_ms[name]:.0f} ms at most"
        )


def _looked_s(report: Report, seconds: float) -> float:
    if report.listened is not None:
        return report.listened.looked_s
    return report.sampled_s or seconds


def _summary(report: Report) -> str:
    parts = [report.verdict]
    if report.offset_ms is not None:
        parts.append(f"{report.offset_ms:+.0f} ms")
    if report.drift_ms_per_min is not None:
        parts.append(f"drift {report.drift_ms_per_min:+.0f} ms a minute")
    if report.jumps_s:
        parts.append(f"jump at {', '.join(f'{at:.0f} s' for at in report.jumps_s)}")
    return " ".join(parts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.batch", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument(
        "--model", type=Path, metavar="FILE", help="weights in place of the shipped ones"
    )
    parser.add_argument("--files", type=int, default=6, help="clips in the batch")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each")
    parser.add_argument(
        "--film", type=int, default=30, metavar="S", help="length of the 1080p film"
    )
    parser.add_argument("--titles", type=int, default=3, help="long titles")
    parser.add_argument("--minutes", type=float, default=6.0, help="length of each")
    parser.add_argument("--probes", type=int, default=3, help="as for the command")
    parser.add_argument(
        "--corpus",
        type=Path,
        metavar="DIR",
        help="make the titles of this corpus's validation clips",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
