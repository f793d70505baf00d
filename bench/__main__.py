"""`python -m bench [ROW ...] [--against CHECKOUT]`: what checks cost here, and in another checkout.

    python -m bench clip undecidable --against ../before --runs 3 --seconds 20

`ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2` in the environment
stands in for an ordinary processor, except for the decoder, which uses whatever the machine has.
`python -m bench.batch` and `python -m bench.scale` measure long titles and large batches.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from bench import HERE
from bench.rows import ROWS, Cost, Row, decoding_s, measured, processor


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    checkouts = [HERE] if options.against is None else [HERE, options.against.resolve()]
    for checkout in checkouts:
        if not (checkout / "avcheck" / "__main__.py").is_file():
            raise SystemExit(f"{checkout}: no checkout of avcheck")
    print(f"{processor()}; medians of {options.runs}, {options.seconds:g} s")
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        for name in options.rows:
            path = made(ROWS[name], options.keep or Path(folder), options.seconds)
            here, *others = measured(ROWS[name], path, checkouts, options.runs)
            print(f"{name:12} here   {_line(here)}", flush=True)
            if ROWS[name].has_pictures:
                alone_s = statistics.median(decoding_s(path) for _ in range(options.runs))
                print(
                    f"{'':12} decoding alone {alone_s:9.2f} s CPU, the check "
                    f"{here.cpu_s / alone_s:.2f} times that"
                )
            for other in others:
                print(f"{'':12} there  {_line(other)}")
                print(f"{'':12} ratio  {_ratios(here, other)}", flush=True)


def made(row: Row, folder: Path, seconds: float) -> Path:
    """The media that a row checks, made in `folder` if it is not there yet."""
    path = folder / f"{seconds:g}" / row.name
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"partial-{row.name}")
        row.make(partial, seconds)
        partial.rename(path)
    return path


def _line(cost: Cost) -> str:
    verdicts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(cost.verdicts).items())
    return (
        f"{cost.wall_s:7.2f} s wall  {cost.cpu_s:7.2f} s CPU  {cost.memory_mb:6.0f} MB  {verdicts}"
    )


def _ratios(here: Cost, other: Cost) -> str:
    same = "same verdicts" if here.verdicts == other.verdicts else "OTHER verdicts"
    return (
        f"{other.wall_s / here.wall_s:7.2f}         {other.cpu_s / here.cpu_s:7.2f}        "
        f"{other.memory_mb / here.memory_mb:6.2f}     {same}"
    )


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument(
        "rows", nargs="*", metavar="ROW", help=f"any of {', '.join(ROWS)}; all if none is given"
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="measure this checkout too, in turn with this one",
    )
    parser.add_argument("--runs", type=int, default=3, help="of each row and checkout")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each file")
    parser.add_argument(
        "--keep",
        type=Path,
        metavar="FOLDER",
        help="keep what is made in this folder, and use what is there: a long title takes longer "
        "to make than to check",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"there is no row {unknown[0]}; there are {', '.join(ROWS)}")
    options.rows = options.rows or list(ROWS)
    return options


if __name__ == "__main__":
    main(sys.argv[1:])
