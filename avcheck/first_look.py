"""The first look at a title, at all of it or at parts: blocks -> trunks once -> the classifier at
every candidate shift of each sound -> score curves, segment by segment.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from avcheck import progress
from avcheck.blocks import BLOCK_S, Block
from avcheck.choice import Choice
from avcheck.errors import CannotSeek, EmptyPart, MediaError
from avcheck.listening import LEAST_S, LEAST_VOICE, hear, next_units, units
from avcheck.looking import LEVELS
from avcheck.media import MediaInfo
from avcheck.media.base import ROUNDING_S
from avcheck.posterior import Calibration, Curve
from avcheck.report import Degraded, Listened
from avcheck.sampling import first_probes, more_probes_for_all, stretches
from avcheck.scan import scan_sounds
from avcheck.segments import (
    MARGIN_BLOCKS,
    Window,
    ahead,
    beside_decoding,
    probes,
    segments,
    window_over,
)
from avcheck.settings import PROBE_BLOCKS, CheckSettings
from avcheck.signals.stamps import StampLook
from avcheck.title import Part, Title, blocks_of, part_of
from avcheck.verdict import judge
from avcheck.weights import Loaded

_FIRST_SHARE = 0.8  # of the progress shown, for the probes that are sure to be looked at
_PROBES_AHEAD = 1  # a probe's pictures take some 30 MB

# Opens a title for some of its sounds, with pictures of such a short side, px
Opener = Callable[[Sequence[Choice], int], Title]


@dataclass(frozen=True)
class FirstLook:
    """The first look at a title: for each sound it could be opened for, the curves, what is known
    of the file, what was lost, and the error that ended it, if any.
    """

    choices: tuple[Choice, ...]
    refused: dict[Choice, MediaError]
    curves: list[list[Curve]]
    infos: list[MediaInfo]
    degraded: list[Degraded]
    failures: list[MediaError | None]
    part: Part | None
    is_sampled: bool
    seams_s: tuple[float, ...] = ()  # where recordings were joined
    listened: Listened | None = None
    stamped: bool = True  # it may begin with a test signal's stamped pictures

    @classmethod
    def of(
        cls,
        title: Title,
        by_segment: Sequence[Sequence[Curve]],
        part: Part | None,
        is_sampled: bool,
    ) -> FirstLook:
        """by_segment: the curves of each sound, segment by segment."""
        curves = [list(each) for each in zip(*by_segment, strict=True)] or [
            [] for _ in title.choices
        ]
        failed = [error for error in title.failures if error is not None]
        if len(failed) == len(title.choices):
            raise failed[0]
        return cls(
            title.choices,
            title.refused,
            curves,
            title.infos,
            title.degraded,
            title.failures,
            part,
            is_sampled,
            title.seams_s,
        )

    @property
    def is_whole(self) -> bool:
        """Whether all of the title, or of the part, was looked at."""
        return not self.is_sampled and self.listened is None

    @property
    def sampled_s(self) -> float | None:
        """How many seconds of the title were looked at, if it was sampled."""
        if not self.is_sampled:
            return None
        return BLOCK_S * sum(len(curve.block_start_s) for curve in self.curves[0])

    @property
    def origin_s(self) -> float | None:
        """Where the first block starts."""
        return self.infos[0].first_picture_s if self.part is None else self.part.start_s


def look_at_all(
    opener: Opener,
    choices: Sequence[Choice],
    settings: CheckSettings,
    model: Loaded,
    on_progress: Callable[[float], None] | None,
    *,
    listen_first: bool = False,
) -> FirstLook:
    """The first look at a whole title, or at a whole part of it; with `listen_first`, of a long
    title only at as much as it takes. Raises MediaError.
    """
    with opener(choices, max(LEVELS)) as title:
        if listen_first:
            selective = _listen_then_look(title, opener, settings, model, on_progress)
            if selective is not None:
                return selective
        part = part_of(title.info, settings)
        length_s = title.info.duration_s if part is None else part.blocks * BLOCK_S
        wanted = None if part is None else range(part.blocks)
        stamps, ended = StampLook(), threading.Event()
        with (
            progress.first_look(model.net.visual, length_s or 0.0, on_progress),
            closing(ahead(blocks_of(title, part), ended=ended)) as coming,
            closing(
                beside_decoding(segments(coming, stamps.see, title.seams_s, wanted), ended)
            ) as parts,
        ):
            curves = list(scan_sounds(parts, model, len(title.choices)))
        if part is not None and not curves:
            raise EmptyPart(title.info.path, "the file has no picture in the part to be looked at")
        first = FirstLook.of(title, curves, part, is_sampled=False)
        return replace(first, stamped=stamps.stamped)


def look_at_samples(
    opener: Opener,
    choices: Sequence[Choice],
    settings: CheckSettings,
    probes_first: int,
    model: Loaded,
    on_progress: Callable[[float], None] | None,
) -> FirstLook | None:
    """`look_at_all` for stretches spread over the title, and for more if these leave the verdict
    open.

    None for a title that is too short for `probes_first` of them, or cannot be read from the
    middle: check it whole. Raises MediaError.
    """
    calibration = Calibration(**model.calibration)
    with opener(choices, max(LEVELS)) as title:
        part, end_s = part_of(title.info, settings), title.info.duration_s
        origin_s = title.info.first_picture_s if part is None else part.start_s
        if not title.seekable or origin_s is None or end_s is None:
            return None
        total = stretches((end_s if part is None else part.end_s) - origin_s)
        chosen = first_probes(total, probes_first)
        looked: list[int] = []
        by_segment: list[list[Curve]] = []
        done, share = 0.0, _FIRST_SHARE
        try:
            while chosen:
                tell = _Tell(
                    on_progress,
                    done,
                    (1 - done) * share / (len(chosen) * (PROBE_BLOCKS + 2 * MARGIN_BLOCKS)),
                )
                with closing(_decoded(probes(title, chosen, origin_s, tell))) as coming:
                    for probe in coming:
                        by_segment += scan_sounds(probe.segments(), model, len(title.choices))
                done, share = done + (1 - done) * share, 0.5
                looked += chosen
                by_segment.sort(key=lambda curves: curves[0].start_s)
                judged = [
                    judge(curves, settings.tolerance, calibration, title.seams_s)
                    for curves in map(list, zip(*by_segment, strict=True))
                ]
                chosen = more_probes_for_all(looked, judged, total, probes_first, origin_s)
        except CannotSeek:
            return None
        if by_segment and on_progress is not None:
            on_progress(1.0)
        return FirstLook.of(title, by_segment, part, is_sampled=True) if by_segment else None


def _listen_then_look(
    title: Title,
    opener: Opener,
    settings: CheckSettings,
    model: Loaded,
    on_progress: Callable[[float], None] | None,
) -> FirstLook | None:
    """Hear all of a long title, then look at only as much of it as it takes (`listening`).

    None for a title that has to be looked at whole: with several sounds, joined of several
    recordings, a part, not readable from the middle, or lacking pictures. Raises MediaError.
    """
    origin_s, end_s = title.info.first_picture_s, title.info.duration_s
    if origin_s is None or end_s is None or end_s - origin_s < LEAST_S:
        return None
    if len(title.choices) > 1 or title.seams_s or settings.has_part or not title.seekable:
        return None
    grid = units(math.ceil(end_s - origin_s - ROUNDING_S))
    count = grid[-1].stop
    calibration, looked, done = Calibration(**model.calibration), set[int](), 0.0
    curves: list[list[Curve]] = []
    # Opened again, because what is read from the middle would count as lost
    with opener(title.choices, max(LEVELS)) as listener, closing(listener.sound(0)) as sounds:
        by_block = hear(sounds, origin_s, count)
        voice = [float(by_block[unit.start : unit.stop].mean()) for unit in grid]
        chosen = next_units(voice, looked, None, origin_s)
        try:
            while chosen:
                runs = _runs([grid[unit] for unit in chosen])
                blocks = sum(len(run) + 2 * MARGIN_BLOCKS for run in runs)
                tell = _Tell(on_progress, done, (1 - done) * _FIRST_SHARE / blocks)
                with closing(_decoded(_windows(title, runs, count, origin_s, tell))) as coming:
                    parts = (part for window in coming for part in window.segments())
                    curves += scan_sounds(parts, model, 1)
                done += (1 - done) * _FIRST_SHARE
                looked.update(chosen)
                curves.sort(key=lambda each: each[0].start_s)
                judgement = judge([curve for (curve,) in curves], settings.tolerance, calibration)
                chosen = next_units(voice, looked, judgement, origin_s)
        except CannotSeek:
            return None
        lost = title.degraded[0]
        if not curves or lost.missing_video_s or lost.unseen_s:
            return None
        first = FirstLook.of(title, curves, None, is_sampled=False)
        first = replace(first, degraded=listener.degraded_beside(title))
    if on_progress is not None:
        on_progress(1.0)
    left = [k for k in range(len(grid)) if k not in looked]
    if not left:
        return first
    mute_s = BLOCK_S * sum(len(grid[k]) for k in left if voice[k] < LEAST_VOICE)
    looked_s = BLOCK_S * (count - sum(len(grid[k]) for k in left))
    return replace(first, listened=Listened(looked_s, mute_s))


def _runs(wanted: Sequence[range]) -> list[range]:
    """Consecutive blocks as runs, up to the length of a probe: their pictures take the memory."""
    runs: list[range] = []
    for blocks in wanted:
        if runs and runs[-1].stop == blocks.start and len(runs[-1]) < PROBE_BLOCKS:
            blocks = range(runs.pop().start, blocks.stop)
        runs.append(blocks)
    return runs


def _windows(
    title: Title,
    runs: Sequence[range],
    count: int,
    origin_s: float,
    on_block: Callable[[Block], None],
) -> Iterator[Window]:
    """These runs of a title's `count` blocks. Raises CannotSeek if some are missing."""
    for run in runs:
        window = window_over(title, run.start, run.stop, origin_s, on_block)
        if len(window.inside) < len(run) and run.stop < count:
            raise CannotSeek(title.info.path, "the file has gaps")
        if window.inside:
            yield window


def _decoded(windows: Iterator[Window]) -> Generator[Window, None, None]:
    """The same, decoded while the network is at work."""
    ended = threading.Event()
    with (
        closing(ahead(windows, _PROBES_AHEAD, ended)) as source,
        closing(beside_decoding(source, ended)) as coming,
    ):
        yield from coming


@dataclass
class _Tell:
    """Reports how far a sampled check has come: from `done`, by `step` for every decoded block."""

    on_progress: Callable[[float], None] | None
    done: float
    step: float

    def __call__(self, block: Block) -> None:
        self.done = min(1.0, self.done + self.step)
        if self.on_progress is not None:
            self.on_progress(self.done)
