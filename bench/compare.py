"""`python -m bench.compare [WORD ...]`: about seventy transcodes with known edits, and how far off
the comparison with the reference is in sound, picture and verdict. With WORDs, only the transcodes
whose name has one of them.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avcheck.compare.align import Piece
from avcheck.compare.comparison import compare_titles, read_title
from avcheck.compare.verdict import to_report
from avcheck.record.report import PRESETS, Verdict
from bench.transcodes import RATES, TRANSCODES, Part, Transcode, reference_times

SOUND_MS = 1.0  # largest error allowed
_EDGE_S = 0.6  # at either end of a piece, which may be taken for the next one's
_LEAST_FOUND = 0.85  # of what the file has of the reference
_STEP_S = 0.1


@dataclass(frozen=True)
class Outcome:
    """How far off a comparison is, and its verdict."""

    sound_ms: float | None  # None: no sound was found in the reference
    picture_ms: float | None  # likewise
    picture_limit_ms: float  # a quarter of a picture of the slower of the two
    share: float  # share of the sound or of the picture that was found, whichever is less
    verdict: Verdict
    expected: Verdict

    @property
    def good(self) -> bool:
        """Whether it is as exact as it should be, with the right verdict."""
        if self.verdict != self.expected:
            return False
        if self.expected == "undecidable":
            return True
        return (
            self.sound_ms is not None
            and self.picture_ms is not None
            and self.sound_ms <= SOUND_MS
            and self.picture_ms <= self.picture_limit_ms
            and self.share >= _LEAST_FOUND
        )


def outcomes(wanted: Sequence[Transcode], folder: Path) -> Iterator[tuple[Transcode, Outcome]]:
    """Each transcode made, compared and removed again."""
    made: dict[tuple[object, ...], Path] = {}
    for transcode in wanted:
        key = (transcode.rate, transcode.reference_look, transcode.bed_level)
        if key not in made:
            made[key] = folder / f"reference-{len(made)}.mkv"
            transcode.make_reference(made[key])
        path = folder / transcode.file
        transcode.make(path)
        with closing(read_title(made[key])) as reference, closing(read_title(path)) as file:
            comparison = compare_titles(reference, file)
        # Some containers start both sound and picture a little later than they were written
        late_s = file.info.first_picture_s or 0.0
        path.unlink()
        sound_ms, sound_share = off(comparison.sound, transcode.sound, late_s, transcode.seconds)
        picture_ms, picture_share = off(
            comparison.picture, transcode.picture, late_s, transcode.seconds
        )
        slower = min(RATES[transcode.rate], RATES[transcode.to])
        yield (
            transcode,
            Outcome(
                sound_ms,
                picture_ms,
                1000 / float(slower) / 4,
                min(sound_share, picture_share),
                to_report(str(path), comparison, PRESETS["ebu-r37"]).verdict,
                transcode.verdict,
            ),
        )


def off(
    pieces: Sequence[Piece], truth: tuple[Part, ...], late_s: float, seconds: float
) -> tuple[float | None, float]:
    """How far off pieces are.

    Args:
        pieces: As the comparison found them.
        truth: What they should be.
        late_s: By how much all of the file is later than it was written.
        seconds: Length of the file.

    Returns:
        The largest error inside a piece, ms, None if there is no piece; and the share of what the
        file has of the reference that the pieces cover.
    """
    times = np.arange(0, seconds, _STEP_S)
    true = reference_times(truth, times)
    before = true < 0  # before the reference begins: no comparison can align that
    edges = [part.start_s for part in truth[1:]]
    near = np.array([any(abs(time - edge) < _EDGE_S for edge in edges) for time in times])
    covered, errors = np.zeros(len(times), bool), [0.0]
    for piece in pieces:
        inside = (times + late_s >= piece.start_s) & (times + late_s <= piece.end_s)
        covered |= inside
        here = inside & ~near & ~before
        said = piece.reference_start_s + piece.pace * (times[here] + late_s - piece.start_s)
        # What the reference does not have must not be found; if it is, the error is infinite.
        apart_s = np.where(np.isnan(true[here]), np.inf, np.abs(said - true[here]))
        if len(apart_s) > 2 * _EDGE_S / _STEP_S:
            errors.append(float(apart_s.max()))
    known = ~np.isnan(true) & ~before
    share = float(covered[known].mean()) if known.any() else 1.0
    return (1000 * max(errors) if pieces else None), share


def main(words: Sequence[str]) -> None:
    chosen = [each for each in TRANSCODES if not words or any(word in each.name for word in words)]
    if not chosen:
        raise SystemExit(f"no transcode has {' or '.join(words)} in its name")
    done: list[Outcome] = []
    print(f"{'transcode':42}{'sound':>9}{'picture':>9}{'limit':>7}{'found':>7}  verdict")
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        for transcode, outcome in outcomes(chosen, Path(folder)):
            done.append(outcome)
            print(f"{transcode.name:42}{_row(outcome)}", flush=True)
    good = sum(outcome.good for outcome in done)
    alarms = sum(each.verdict == "out_of_sync" and each.expected != "out_of_sync" for each in done)
    print(f"{good} of {len(done)} right, {alarms} false alarms")


def _row(outcome: Outcome) -> str:
    sound, picture = (
        f"{'-':>9}" if error_ms is None else f"{error_ms:6.2f} ms"
        for error_ms in (outcome.sound_ms, outcome.picture_ms)
    )
    wrong = "" if outcome.good else f"  MISSED (expected {outcome.expected})"
    return (
        f"{sound}{picture}{outcome.picture_limit_ms:7.1f}{outcome.share:7.2f}  "
        f"{outcome.verdict}{wrong}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="of the names of transcodes")
    main(parser.parse_args().words)
