"""The clock of the reader measured by somebody else's instrument, container by container and codec
by codec.

av-drift-detector draws pictures that carry their number as a barcode, and sound that carries the
number of its picture as tones. From the pictures and samples of a reader, with their times, it says
how late the sound is at every picture, to a fraction of a millisecond. All media are
written by PyAV with the sound `LATE_MS` late; no ffmpeg executable is needed.

`python -m tests.support.clock_table` prints the table as Markdown. `--rows FILE` keeps the figures,
`--from FILE FILE` prints those of several runs (of several PyAVs) side by side, and `--into` puts
them into a document.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import av_drift_detector as instrument
import numpy as np

from avcheck.errors import MediaError
from avcheck.media import open_media
from avcheck.rates import SAMPLE_RATE
from tests.support.clock_cases import CASES
from tests.support.clock_media import Case, write

MARKS = "<!-- table -->", "<!-- end -->"
UNWRITABLE = "this PyAV cannot write it"
NEAR_MS, SPREAD_MS = 3.0, 6.0  # what counts as right: the median, and the range over all pictures


@dataclass(frozen=True)
class Row:
    """What was measured of a case: median, least and most lateness in ms, and how many pictures
    came and were read.
    """

    name: str
    pyav: str
    late_ms: float | None = None
    least_ms: float | None = None
    most_ms: float | None = None
    pictures: int = 0
    error: str = ""

    def fault(self, case: Case) -> str:
        """What is wrong with it; "" if it is right."""
        if self.error.startswith(UNWRITABLE) and case.only not in ("", self.pyav.partition(".")[0]):
            return ""
        if self.late_ms is None or self.least_ms is None or self.most_ms is None:
            return self.error or "nothing could be measured"
        if abs(self.late_ms - case.late_ms) >= NEAR_MS:
            return f"{self.late_ms:.2f} ms late, not {case.late_ms:.2f}"
        if self.most_ms - self.least_ms >= SPREAD_MS:
            return f"from {self.least_ms:.2f} to {self.most_ms:.2f} ms late"
        if self.pictures != case.pictures:
            return f"{self.pictures} pictures of {case.pictures}"
        return ""


# -- measuring -------------------------------------------------------------------------------------


def measure(case: Case, folder: Path) -> Row:
    """Write a case, read it by `open_media`, and measure how late its sound is."""
    try:
        path = write(case, folder)
    except (av.error.FFmpegError, ValueError, OSError) as error:
        steps = traceback.extract_tb(error.__traceback__)
        ours = [step.line for step in steps if Path(step.filename).parent == Path(__file__).parent]
        why = f"{getattr(error, 'strerror', None) or error} at `{ours[-1]}`"
        return Row(case.name, av.__version__, error=f"{UNWRITABLE}: {why}")
    try:
        return measured(case.name, path)
    except MediaError as error:
        return Row(case.name, av.__version__, error=str(error).removeprefix(f"{path}: "))


def measured(name: str, path: Path) -> Row:
    """What the instrument says of a file. Raises MediaError."""
    reader = instrument.StampReader(try_qr=False)
    count = 0
    with open_media(path, short_side=2000, threads=1) as media:
        for picture in media.pictures():
            height, width = picture.luma.shape
            reader.read(picture.luma.tobytes(), width, height, picture.pts_s)
            count += 1
        sounds = list(media.sounds())
    start_s = sounds[0].start_s
    samples = np.zeros(round((sounds[-1].end_s - start_s) * SAMPLE_RATE) + 1, np.float32)
    for sound in sounds:
        at = round((sound.start_s - start_s) * SAMPLE_RATE)
        samples[at : at + len(sound.samples)] = sound.samples[: len(samples) - at]
    heard: instrument.CapturedAudio = {
        "sample_rate": SAMPLE_RATE,
        "start_time": start_s,
        "samples": samples,
    }
    analysis = instrument.analyze_frames(reader.finish(), heard, width=width, height=height)
    summary = analysis["summary"]
    return Row(
        name, av.__version__, summary["median_ms"], summary["min_ms"], summary["max_ms"], count
    )


# -- the table -------------------------------------------------------------------------------------


def table(runs: Sequence[Sequence[Row]]) -> str:
    """Markdown: a row a case, what each run measured, and why where that is not `LATE_MS`."""
    by_name = [{row.name: row for row in rows} for rows in runs]
    versions = [f"PyAV {rows[0].pyav}" for rows in runs]
    lines = [f"| file | truth | {' | '.join(versions)} | |", f"|{' --- |' * (len(runs) + 3)}"]
    for case in CASES:
        case_rows = [rows.get(case.name) for rows in by_name]
        if not any(case_rows):
            continue
        said = [_cell(case, row) for row in case_rows]
        faults = [
            f"{version}: {row.fault(case)}"
            for version, row in zip(versions, case_rows, strict=True)
            if row is not None and row.fault(case)
        ]
        why = [case.why] if case.why else []
        why += [f"**not right: {case.wrong or ', '.join(faults)}**"] if faults else []
        lines.append(
            f"| {case.name} | {case.late_ms:.2f} | {' | '.join(said)} | {'; '.join(why)} |"
        )
    return "\n".join(lines) + "\n"


def _cell(case: Case, row: Row | None) -> str:
    if row is None:
        return ""
    if row.late_ms is None or row.least_ms is None or row.most_ms is None:
        return "cannot be written" if row.error.startswith(UNWRITABLE) else "refused"
    spread = (
        "" if row.most_ms - row.least_ms < 1 else (f" ({row.least_ms:.0f} to {row.most_ms:.0f})")
    )
    lost = (
        "" if row.pictures == case.pictures else (f", {row.pictures} of {case.pictures} pictures")
    )
    return f"{row.late_ms:.2f}{spread}{lost}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.support.clock_table", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("match", nargs="?", default="", help="only cases whose name holds this")
    parser.add_argument("--rows", type=Path, help="write what was measured to this file")
    parser.add_argument(
        "--from",
        dest="files",
        nargs="+",
        type=Path,
        help="measure nothing: the table of these files",
    )
    parser.add_argument(
        "--into", type=Path, help="put the table of --from between the marks in this document"
    )
    options = parser.parse_args(argv)
    if options.files:
        text = table(
            [[Row(**row) for row in json.loads(path.read_text())] for path in options.files]
        )
        if options.into:
            before, _, rest = options.into.read_text(encoding="utf-8").partition(MARKS[0])
            after = rest.partition(MARKS[1])[2]
            options.into.write_text(
                f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}", encoding="utf-8"
            )
        else:
            print(text, end="")
        return 0
    rows = []
    for case in CASES:
        if options.match in case.name:
            with tempfile.TemporaryDirectory(prefix="avcheck-clock-") as folder:
                rows.append(measure(case, Path(folder)))
    if options.rows:
        options.rows.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    print(table([rows]), end="")
    by_name = {case.name: case for case in CASES}
    return int(any(row.fault(by_name[row.name]) and not by_name[row.name].wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
