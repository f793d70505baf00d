"""The first look at a title, at all of it or at parts: blocks -> trunks once -> the classifier at
every candidate shift of each sound -> score curves, segment by segment.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace

from avcheck.errors import CannotSeek, EmptyPart, MediaError
from avcheck.media import MediaInfo
from avcheck.media.base import ROUNDING_S
from avcheck.network.weights import Loaded
from avcheck.reading.blocks import BLOCK_S, SOUND_LEAD_S, Block
from avcheck.reading.choice import Choice
from avcheck.reading.segments import (
    MARGIN_BLOCKS,
    Window,
    ahead,
    beside_decoding,
    segments,
    window_over,
)
from avcheck.reading.title import Part, Title, blocks_of, part_of
from avcheck.record.report import Degraded, Listened
from avcheck.scan import progress
from avcheck.scan.curves import scan_sounds
from avcheck.scan.listening import (
    HEARD_BLOCKS,
    LEAST_S,
    LEAST_VOICE,
    LookPlan,
    hear,
    mean_voice,
    next_units,
    units,
    units_to_hear,
)
from avcheck.scan.looking import LEVELS
from avcheck.scan.reach import foremost
from avcheck.settings import CheckSettings, OnProgress
from avcheck.signals.beeps import BeepFinder, Beeps
from avcheck.signals.stamps import StampLook
from avcheck.verdict.judge import Judgement, judge
from avcheck.verdict.posterior import Calibration, Curve

_HEARD_SHARE = 0.2  # of the progress, for hearing before anything is looked at
_FIRST_SHARE = 0.8  # of the progress still to come, for what is sure to be looked at
_RUN_BLOCKS = 20  # decoded at a time
_RUNS_AHEAD = 1  # the pictures of a run take some 30 MB

# Opens a title for some of its sounds, with pictures of such a short side, px
Opener = Callable[[Sequence[Choice], int], Title]


@dataclass(frozen=True)
class FirstLook:
    """The first look at a title: for each sound it could be opened for, the curves, what is known
    of the file, what was lost, and the error that ended it, if any.
    """

    choices: tuple[Choice, ...]  # the sounds it could be opened for
    refused: dict[Choice, MediaError]  # the others, and why
    curves: list[list[Curve]]
    infos: list[MediaInfo]  # of each sound
    degraded: list[Degraded]  # of each sound
    failures: list[MediaError | None]  # of each sound; None: read to its end
    part: Part | None  # the part looked at; None: all
    is_sampled: bool  # only stretches were looked at
    seams_s: tuple[float, ...] = ()  # where recordings were joined
    listened: Listened | None = None  # None unless it was heard first
    stamped: bool = True  # it may begin with a test signal's stamped pictures
    beeps: tuple[Beeps, ...] = ()  # of each sound, where all of it was read

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
    on_progress: OnProgress | None,
    *,
    listen_first: bool = False,
) -> FirstLook:
    """The first look at a whole title, or at all of the part that `settings` ask for.

    Args:
        opener: Opens the title.
        choices: The sounds to check.
        settings: How the title is checked.
        model: The network.
        on_progress: Called with the fraction that is done; None: nobody asks.
        listen_first: Hear a long title first, and look only at as much of it as the verdict takes.

    Raises:
        MediaError: The title cannot be judged for any of the sounds.
    """
    with opener(choices, max(LEVELS)) as title:
        if listen_first:
            selective = _listen_then_look(title, opener, settings, model, on_progress)
            if selective is not None:
                _report_end(on_progress)
                return selective
        part = part_of(title.info, settings)
        length_s = title.info.duration_s if part is None else part.blocks * BLOCK_S
        wanted = None if part is None else range(part.blocks)
        stamps, ended = StampLook(), threading.Event()
        finders = [BeepFinder() for _ in title.choices]
        reading = blocks_of(title, part, [finder.take for finder in finders])
        with (
            progress.first_look(model.net.visual, length_s or 0.0, on_progress) as end_segment,
            closing(ahead(reading, ended=ended)) as coming,
            closing(
                beside_decoding(segments(coming, stamps.see, title.seams_s, wanted), ended)
            ) as parts,
        ):
            curves = []
            for of_segment in scan_sounds(parts, model, len(title.choices)):
                curves.append(of_segment)
                end_segment()
        if part is not None and not curves:
            raise EmptyPart(title.info.path, "the file has no picture in the part to be looked at")
        first = FirstLook.of(title, curves, part, is_sampled=False)
        beeps = tuple(finder.beeps() for finder in finders)
        return replace(first, stamped=stamps.stamped, beeps=beeps)


def look_at_samples(
    opener: Opener,
    choices: Sequence[Choice],
    settings: CheckSettings,
    probes_first: int,
    model: Loaded,
    on_progress: OnProgress | None,
) -> FirstLook | None:
    """`look_at_all` for a few segments of the title, and for more if these leave the verdict open.

    Args:
        opener, choices, settings, model, on_progress: As for `look_at_all`.
        probes_first: How many segments to begin with.

    Returns:
        The look; None for a title that is too short for so many, or that cannot be read from the
        middle: check it whole.

    Raises:
        MediaError: As for `look_at_all`.
    """
    with opener(choices, max(LEVELS)) as title:
        part = part_of(title.info, settings)
        extent = _extent(title, part)
        if extent is None:
            return None
        origin_s, blocks = extent
        grid = units(blocks)
        plan = LookPlan.of_samples(len(grid), probes_first)
        if plan is None:
            return None
        with opener(_heard(title), max(LEVELS)) as listener:
            look = _SelectiveLook(title, listener, plan, grid, origin_s)
            if not look.run(settings, model, on_progress) or not look.curves:
                return None
        _report_end(on_progress)
        return FirstLook.of(title, look.curves, part, is_sampled=True)


def _heard(title: Title) -> list[Choice]:
    """Each of its sounds once, wherever it is laid."""
    return list(dict.fromkeys(choice.as_it_is for choice in title.choices))


def _report_end(on_progress: OnProgress | None) -> None:
    """The end of a look at parts of a title. A closer look after it is not counted."""
    if on_progress is not None:
        on_progress(1.0)


def _extent(title: Title, part: Part | None) -> tuple[float, int] | None:
    """Where the blocks of a title, or of a part of it, begin (s), and how many there are, of which
    the last may be shorter; None if it cannot be read from the middle, or does not say.
    """
    origin_s, end_s = title.info.first_picture_s, title.info.duration_s
    if not title.seekable or end_s is None:
        return None
    if part is not None:
        return part.start_s, part.blocks
    return None if origin_s is None else (origin_s, math.ceil(end_s - origin_s - ROUNDING_S))


def _listen_then_look(
    title: Title,
    opener: Opener,
    settings: CheckSettings,
    model: Loaded,
    on_progress: OnProgress | None,
) -> FirstLook | None:
    """Hear all of a long title, or of a long part of one, then look at only as much of it as it
    takes (`listening`).

    None for a title that has to be looked at whole: joined of several recordings, not readable from
    the middle, or lacking pictures or one of its sounds. Raises MediaError.
    """
    part = part_of(title.info, settings)
    extent = _extent(title, part)
    if extent is None or title.seams_s:
        return None
    origin_s, blocks = extent
    if blocks * BLOCK_S < LEAST_S:
        return None
    grid = units(blocks)
    # Opened again, because what is read from the middle would count as lost
    with opener(_heard(title), max(LEVELS)) as listener:
        # A whole title is heard from its first sample, so that all that was lost of it is counted
        from_s = None if part is None else max(0.0, origin_s - SOUND_LEAD_S)
        look = _SelectiveLook(title, listener, LookPlan.of_all(len(grid)), grid, origin_s, from_s)
        if not look.run(settings, model, on_progress):
            return None
        lost = title.degraded[0]
        if not look.curves or lost.missing_video_s or lost.unseen_s or any(listener.failures):
            return None
        first = FirstLook.of(title, look.curves, part, is_sampled=False)
        degraded = dict(zip(listener.choices, listener.degraded_beside(title), strict=True))
        by_sound = [degraded[choice.as_it_is] for choice in title.choices]
        first = replace(first, degraded=by_sound)
    left = [unit for unit in range(len(grid)) if unit not in look.looked]
    if not left:
        return first
    mute_s = BLOCK_S * sum(len(grid[unit]) for unit in left if look.voice[unit] < LEAST_VOICE)
    looked_s = BLOCK_S * sum(len(grid[unit]) for unit in look.looked)
    return replace(first, listened=Listened(looked_s, mute_s))


@dataclass
class _SelectiveLook:
    """A look at some units of a title, chosen by what `listener`, the same title opened again,
    hears in them.

    grid: the blocks of each unit; origin_s: where the first begins; heard_from_s: where a plan that
    hears all begins to read the sound, None for its beginning; voice: of each unit heard so far;
    looked: the units looked at so far; curves: theirs, in order of time.
    """

    title: Title
    listener: Title
    plan: LookPlan
    grid: Sequence[range]
    origin_s: float
    heard_from_s: float | None = None
    voice: dict[int, float] = field(default_factory=dict)
    looked: set[int] = field(default_factory=set)
    curves: list[list[Curve]] = field(default_factory=list)

    def run(self, settings: CheckSettings, model: Loaded, on_progress: OnProgress | None) -> bool:
        """Look until it is enough; False if the title cannot be read from the middle."""
        calibration, done = Calibration(**model.calibration), _HEARD_SHARE
        judgements: list[Judgement] = []

        def on_heard(share: float) -> None:
            if on_progress is not None:
                on_progress(_HEARD_SHARE * share)

        try:
            if self.plan.hears_all:
                self._hear_all(on_heard)
            while chosen := self._choose(judgements, on_heard):
                runs = _runs([self.grid[unit] for unit in chosen])
                blocks = sum(len(run) + 2 * MARGIN_BLOCKS for run in runs)
                counter = _BlockCounter(on_progress, done, (1 - done) * _FIRST_SHARE / blocks)
                with closing(_decoded(self._windows(runs, counter))) as coming:
                    parts = (part for window in coming for part in window.segments())
                    self.curves += scan_sounds(parts, model, len(self.title.choices))
                if not self.curves:
                    break
                done += (1 - done) * _FIRST_SHARE
                self.looked.update(chosen)
                self.curves.sort(key=lambda each: each[0].start_s)
                each_judged = [
                    judge(curves, settings.tolerance, calibration, self.title.seams_s)
                    for curves in map(list, zip(*self.curves, strict=True))
                ]
                judgements = foremost(self.title.choices, each_judged)
        except CannotSeek:
            return False
        return True

    def _choose(self, judgements: Sequence[Judgement], on_heard: OnProgress) -> tuple[int, ...]:
        """The units to look at next, after hearing what that takes; at first it may take long."""
        state = self.looked, judgements, self.origin_s
        wanted = units_to_hear(self.plan, self.voice, *state)
        for number, unit in enumerate(wanted, 1):
            self.voice[unit] = self._hear(self.grid[unit])
            if not judgements:
                on_heard(number / len(wanted))
        return next_units(self.plan, self.voice, *state)

    def _hear_all(self, on_heard: OnProgress) -> None:
        by_sound, total = [], self.grid[-1].stop
        sounds = self.listener.all_sounds(self.heard_from_s)
        for number, sound in enumerate(sounds):

            def on_block(heard: int, before: int = number) -> None:
                on_heard((before + heard / total) / len(sounds))

            with closing(sound):
                by_sound.append(hear(sound, self.origin_s, total, on_block))
        for unit, blocks in enumerate(self.grid):
            each = [float(voice[blocks.start : blocks.stop].mean()) for voice in by_sound]
            self.voice[unit] = mean_voice(each)

    def _hear(self, unit: range) -> float:
        """How much the middle of a unit sounds like a voice, 0..1; 0 where there is no sound."""
        start_s = self.origin_s + BLOCK_S * (unit.start + (len(unit) - HEARD_BLOCKS) // 2)
        each = []
        for sound in self.listener.all_sounds(max(0.0, start_s - SOUND_LEAD_S)):
            with closing(sound), suppress(CannotSeek):
                each.append(float(hear(sound, start_s, HEARD_BLOCKS).mean()))
        return mean_voice(each)

    def _windows(
        self, runs: Sequence[range], on_block: Callable[[Block], None]
    ) -> Iterator[Window]:
        """These runs of blocks. Raises CannotSeek if a title that is not sampled lacks some."""
        for run in runs:
            window = window_over(self.title, run.start, run.stop, self.origin_s, on_block)
            is_short = len(window.inside) < len(run) and run.stop < self.grid[-1].stop
            if is_short and self.plan.hears_all:
                raise CannotSeek(self.title.info.path, "the file has gaps")
            if window.inside:
                yield window


def _runs(wanted: Sequence[range]) -> list[range]:
    """Consecutive blocks as runs of some `_RUN_BLOCKS`, whose pictures fit into memory."""
    runs: list[range] = []
    for blocks in wanted:
        if runs and runs[-1].stop == blocks.start and len(runs[-1]) < _RUN_BLOCKS:
            blocks = range(runs.pop().start, blocks.stop)
        runs.append(blocks)
    return runs


def _decoded(windows: Iterator[Window]) -> Generator[Window, None, None]:
    """The same, decoded while the network is at work."""
    ended = threading.Event()
    with (
        closing(ahead(windows, _RUNS_AHEAD, ended)) as source,
        closing(beside_decoding(source, ended)) as coming,
    ):
        yield from coming


@dataclass
class _BlockCounter:
    """Reports to `on_progress`, if there is one, how far such a look has come: from `done` on, by
    `step` for every decoded block.
    """

    on_progress: OnProgress | None
    done: float
    step: float

    def __call__(self, block: Block) -> None:
        self.done = min(1.0, self.done + self.step)
        if self.on_progress is not None:
            self.on_progress(self.done)
