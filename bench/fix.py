"""`python -m bench.fix [WORD ...]`: sixty files, each out of sync by a known amount, are fixed by
`avcheck fix` and measured again: by the check, and by correlation with the original sound
(`truth`). With WORDs, only the files whose name has one of them. An offset of 40 ms is within the
tolerance, so it is given to the command.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from avcheck.checker import Checker
from avcheck.errors import MediaError
from avcheck.fix.repair import FixSettings, Outcome, fix_file
from avcheck.media import open_media
from avcheck.rates import SAMPLE_RATE
from avcheck.record.report import Report
from avcheck.settings import CheckSettings, only_track
from bench.fixfilms import FILMS, Film, Head, make_film
from tests.support.fixing import packets

WITHIN_MS = 15.0  # of zero, measured again
TRUE_MS = 25.0  # the same by correlation: the network is off by some 16 ms on drawn heads
FORCED_MS = 1.0  # the same if the offset was given
_ALIKE = 0.7  # least correlation of a window and the original sound at its place
_WINDOW_S, _STEP_S = 1.5, 3.0
_REACH_S = 0.1  # how far the sound is looked for on either side
_JUMP_S = 4.0  # around a jump, whose place is known to the second
_KEPT = {"copied", "moved"}


@dataclass(frozen=True)
class Row:
    """What became of a film."""

    status: str  # as in `Outcome`
    reason: str | None  # likewise
    forced: bool  # whether the offset was given
    before_ms: float | None  # the offset measured before, or given
    after_ms: float | None  # measured again
    true_ms: float | None  # at the worst place of the fixed file, by correlation
    actions: tuple[str, ...]  # on each stream
    streams: tuple[int, int, int]  # how many there are before, in the record, and after
    identical: bool  # every copied packet, as PyAV reads it; at a jump some are cut

    @property
    def good(self) -> bool:
        """Whether it is fixed as exactly as it should be, with every stream."""
        again = self.forced or (self.after_ms is not None and abs(self.after_ms) <= WITHIN_MS)
        limit_ms = FORCED_MS if self.forced else TRUE_MS
        return (
            self.status == "fixed"
            and again
            and self.true_ms is not None
            and abs(self.true_ms) <= limit_ms
            and len(set(self.streams)) == 1
            and self.identical
        )


def rows(films: Sequence[Film], folder: Path, checker: Checker) -> Iterator[tuple[Film, Row]]:
    """Each film made, fixed, measured and removed again."""
    heads: dict[float, Head] = {}
    for film in films:
        head = heads.setdefault(film.seconds, Head(film.seconds, folder))
        source = make_film(film, head, folder / f"film{film.suffix}")
        target = folder / f"fixed{film.suffix}"
        wanted = FixSettings(audio_track=0, force_offset_ms=film.forced_ms)
        outcome = fix_file(source, target, wanted, partial(check_by, checker))
        yield film, row_of(film, head, source, target, outcome)
        source.unlink()
        target.unlink(missing_ok=True)


def check_by(
    checker: Checker, path: Path, audio_track: int | None, video_track: int | None
) -> Report:
    """What the check of the command says of a file."""
    settings = CheckSettings(audio_tracks=only_track(audio_track), video_track=video_track)
    try:
        return checker.check(path, settings)
    except MediaError as error:
        return Report(str(path), "error", error.reason, error.code)


def row_of(film: Film, head: Head, source: Path, target: Path, outcome: Outcome) -> Row:
    """What became of a film, including what is read from the files themselves."""
    old = packets(source)
    new = packets(target) if target.is_file() else {}
    return Row(
        outcome.status,
        outcome.reason,
        film.forced_ms is not None,
        film.forced_ms if outcome.before is None else outcome.before.offset_ms,
        None if outcome.after is None else outcome.after.offset_ms,
        worst_ms(target, head, film.jump_s) if target.is_file() else None,
        tuple(each.action for each in outcome.streams),
        (len(old), len(outcome.streams), len(new)),
        all(
            new.get(each.track) == old[each.track]
            if film.jump_s is None or each.action == "copied"
            else set(new.get(each.track, [b""])) <= set(old[each.track])  # some are cut out
            for each in outcome.streams
            if each.action in _KEPT
        ),
    )


def worst_ms(path: Path, head: Head, jump_s: float | None = None) -> float | None:
    """How early the sound of a head is against its pictures, at the worst place; None if nothing is
    heard.
    """
    with open_media(path, audio_track=0) as media:
        first_s = media.info.first_picture_s or 0.0
        sounds = list(media.sounds())
    heard = np.zeros(round((sounds[-1].end_s - first_s) * SAMPLE_RATE) + 1)
    for sound in sounds:
        at = round((sound.start_s - first_s) * SAMPLE_RATE)
        skipped = max(0, -at)
        samples = sound.samples[skipped:]
        heard[at + skipped : at + skipped + len(samples)] = samples
    offsets_ms = []
    for start_s in np.arange(_REACH_S, head.seconds - _WINDOW_S - _REACH_S, _STEP_S):
        if jump_s is not None and abs(start_s + _WINDOW_S / 2 - jump_s) < _JUMP_S:
            continue
        known = head.sound(start_s + np.arange(round(_WINDOW_S * SAMPLE_RATE)) / SAMPLE_RATE)
        first = round((start_s - _REACH_S) * SAMPLE_RATE)
        here = heard[first : first + len(known) + round(2 * _REACH_S * SAMPLE_RATE)]
        if len(here) < len(known) or not np.any(known):
            continue
        energy = np.convolve(here**2, np.ones(len(known)), "valid") * (known**2).sum()
        alike = np.correlate(here, known, "valid") / np.sqrt(energy + 1e-9)
        if alike.max() >= _ALIKE:  # the end of a sound that was moved earlier is silent
            offsets_ms.append(1000 * (_REACH_S - float(alike.argmax()) / SAMPLE_RATE))
    return max(offsets_ms, key=abs) if offsets_ms else None


def main(words: Sequence[str]) -> None:
    chosen = [each for each in FILMS if not words or any(word in each.name for word in words)]
    if not chosen:
        raise SystemExit(f"no file has {' or '.join(words)} in its name")
    done: list[Row] = []
    print(f"{'file':24}{'before':>9}{'after':>8}{'truth':>8}  streams")
    with tempfile.TemporaryDirectory(prefix="avcheck-bench-") as folder:
        for film, row in rows(chosen, Path(folder), Checker()):
            done.append(row)
            print(f"{film.name:24}{_line(row)}", flush=True)
    good = sum(row.good for row in done)
    print(f"{good} of {len(done)} within {WITHIN_MS:g} ms, all streams kept")
    for name in ("after_ms", "true_ms"):
        values_ms = [value for row in done if (value := getattr(row, name)) is not None]
        if values_ms:
            print(f"worst {name[:-3]:6}{max(values_ms, key=abs):+7.1f} ms")


def _line(row: Row) -> str:
    before, after, true = (
        "-" if value is None else f"{value:+.1f}"
        for value in (row.before_ms, row.after_ms, row.true_ms)
    )
    before = "given" if row.forced else before
    kept = ", ".join(row.actions) + (", bit by bit the same" if row.identical else ", NOT the same")
    missed = "" if row.good else f"  MISSED: {row.status}: {row.reason}"
    return f"{before:>9}{after:>8}{true:>8}  {kept}{missed}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*", metavar="WORD", help="of the names of files")
    main(parser.parse_args().words)
