"""A title open for checking: its pictures once, each of its sounds that is checked, and the part to
look at.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from avcheck.errors import CannotSeek, EmptyPart, MediaError
from avcheck.media import Media, MediaInfo, Picture, Sound
from avcheck.media.base import ROUNDING_S, shown_from
from avcheck.rates import FRAME_RATE, SAMPLE_RATE
from avcheck.reading.blocks import BLOCK_S, SOUND_LEAD_S, Block, blocks
from avcheck.reading.choice import Choice, open_sound
from avcheck.reading.segments import MARGIN_BLOCKS
from avcheck.record.markers import TitleClock
from avcheck.record.report import Degraded
from avcheck.settings import LEAST_PART_S, CheckSettings, Time

_Item = TypeVar("_Item", Picture, Sound)


@dataclass(frozen=True)
class Part:
    """The seconds of a title that are looked at: so many blocks from `start_s` on, on its clock."""

    start_s: float
    blocks: int

    @property
    def end_s(self) -> float:
        """Where the last block ends."""
        return self.start_s + self.blocks * BLOCK_S


class Title:
    """One file, opened for each of its sounds; made by `open_title`. Use with `with`.

    choices: the sounds that could be opened; refused: why the others could not; failures: for each
    of `choices` the error that ended it, or None.
    """

    def __init__(
        self,
        files: Sequence[Media],
        choices: Sequence[Choice],
        refused: dict[Choice, MediaError],
    ) -> None:
        self.choices = tuple(choices)
        self.refused = refused
        self.failures: list[MediaError | None] = [None] * len(files)
        self.infos = [file.info for file in files]
        self.seekable = all(file.seekable for file in files)
        self.seams_s = files[0].seams_s
        self._files = files
        # The clock of a transport stream in several sections may depend on which sound is read.
        first_s = self.info.first_picture_s or 0.0
        self._later_s = [
            first_s - (info.first_picture_s or 0.0) + choice.later_frames / FRAME_RATE
            for info, choice in zip(self.infos, choices, strict=True)
        ]

    def __enter__(self) -> Title:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files:
            file.close()

    @property
    def info(self) -> MediaInfo:
        """What is known of the file, as opened for the first of its sounds."""
        return self.infos[0]

    @property
    def degraded(self) -> list[Degraded]:
        """For each sound, how much of it and of the pictures was lost so far, as
        `Media.degraded`.
        """
        return self.degraded_beside(self)

    def degraded_beside(self, shown: Title) -> list[Degraded]:
        """The same, with the pictures of `shown`, the same title opened again."""
        return [file.degraded_with(shown._files[0]) for file in self._files]

    def pictures(self, from_s: float | None = None) -> Generator[Picture, None, None]:
        """As `Media.pictures`."""
        return self._files[0].pictures(from_s)

    def all_sounds(self, from_s: float | None = None) -> list[Generator[Sound, None, None]]:
        """Each of the sounds, as `sound` gives it."""
        return [self.sound(number, from_s) for number in range(len(self._files))]

    def sound(self, number: int, from_s: float | None = None) -> Generator[Sound, None, None]:
        """One of the sounds, by its number, as `Media.sounds` gives it. If one of several fails, it
        ends, and the others go on.
        """
        later_s = self._later_s[number]
        its_from_s = None if from_s is None else max(0.0, from_s - later_s)
        try:
            with closing(self._files[number].sounds(its_from_s)) as sounds:
                for sound in sounds:
                    yield Sound(sound.start_s + later_s, sound.samples) if later_s else sound
        except CannotSeek:
            if not self.choices[number].later_frames:
                raise
            # Laid much earlier, it has ended here
        except MediaError as error:
            if len(self._files) == 1:
                raise
            self.failures[number] = error


def open_title(
    path: str | Path,
    settings: CheckSettings,
    choices: Sequence[Choice],
    *,
    short_side: int,
    threads: int,
) -> Title:
    """Open a file for these of its sounds.

    The other arguments are those of `open_media`, and so is what is raised if it opens for none of
    the sounds.
    """
    files: list[Media] = []
    opened: list[Choice] = []
    refused: dict[Choice, MediaError] = {}
    with ExitStack() as stack:
        for choice in choices:
            try:
                file = open_sound(path, settings, choice, short_side=short_side, threads=threads)
            except MediaError as error:
                refused[choice] = error
            else:
                files.append(stack.enter_context(file))
                opened.append(choice)
        if not files:
            raise next(iter(refused.values()))
        stack.pop_all()
    return Title(files, opened, refused)


def part_of(info: MediaInfo, settings: CheckSettings) -> Part | None:
    """The part of a title to look at; None: all of it. Raises EmptyPart if the title has next to
    nothing there.
    """
    if not settings.has_part:
        return None
    start_s = max(_seconds(settings.start, info) or 0.0, info.first_picture_s or 0.0)
    ends_s = [each for each in (_seconds(settings.end, info), info.duration_s) if each is not None]
    end_s = min(ends_s, default=math.inf)
    if end_s - start_s < LEAST_PART_S - ROUNDING_S:
        raise EmptyPart(info.path, _empty(info, settings))
    if math.isinf(end_s):
        raise EmptyPart(
            info.path, "the file does not say how long it is; give the end of the part as well"
        )
    return Part(start_s, int((end_s - start_s + ROUNDING_S) / BLOCK_S))


def _empty(info: MediaInfo, settings: CheckSettings) -> str:
    end = "on" if settings.end is None else f"to {_in_words(settings.end)}"
    length = "" if info.duration_s is None else f" and it ends at {info.duration_s:.1f} s"
    return (
        f"the file has less than {LEAST_PART_S:g} s in the part from "
        f"{_in_words(settings.start or 0.0)} {end}: its pictures begin at "
        f"{info.first_picture_s or 0.0:.1f} s"
        f"{'' if info.timecode is None else f' ({info.timecode})'}{length}; choose another part"
    )


def _seconds(time: Time | None, info: MediaInfo) -> float | None:
    """A time in a title as seconds on its clock. Raises EmptyPart for a timecode that none of its
    pictures can have.
    """
    if not isinstance(time, str):
        return time
    time_s = TitleClock.of(info.picture_facts).time_s(time)
    if time_s is None:
        raise EmptyPart(info.path, f"the file has no picture that can have the timecode {time}")
    return time_s


def _in_words(time: Time) -> str:
    return time if isinstance(time, str) else f"{time:g} s"


def blocks_of(
    title: Title, part: Part | None, listeners: Sequence[Callable[[Sound], None]] = ()
) -> Iterator[Block]:
    """The blocks of a title with all its sounds.

    Args:
        title: The title.
        part: The part to look at; None: all of it. Its blocks are numbered from its start, and
            those on either side that lend their sound come too.
        listeners: For each sound, what is called with every piece of it (in the part); () for none.
    """

    def overheard(sounds: Sequence[Iterator[Sound]]) -> list[Iterator[Sound]]:
        if not listeners:
            return list(sounds)
        return [_passing(*each, part) for each in zip(sounds, listeners, strict=True)]

    if part is None:
        sounds = overheard(title.all_sounds())
        yield from blocks(title.pictures(), *sounds)
        if listeners:
            for sound in sounds:  # what goes on after the pictures, which the blocks do without
                with suppress(MediaError):
                    deque(sound, maxlen=0)
        return
    room_s = part.start_s - (title.info.first_picture_s or 0.0)
    first = -min(MARGIN_BLOCKS, int((room_s + ROUNDING_S) / BLOCK_S))
    from_s = part.start_s + first * BLOCK_S
    yield from blocks(
        _pictures_from(title, from_s),
        *overheard(_sounds_from(title, from_s - SOUND_LEAD_S)),
        origin_s=part.start_s,
        first=first,
        count=part.blocks + MARGIN_BLOCKS - first,
    )


def pictures_in(title: Title, part: Part | None) -> Iterator[Picture]:
    """The pictures of a title, or those of a part of it."""
    if part is None:
        yield from title.pictures()
        return
    for picture in _pictures_from(title, part.start_s):
        if picture.pts_s >= part.end_s:
            return
        yield picture


def _passing(
    sounds: Iterable[Sound], listener: Callable[[Sound], None], part: Part | None
) -> Iterator[Sound]:
    """The same sounds; `listener` is called with each, as far as it lies in the part."""
    for sound in sounds:
        for each in (sound,) if part is None else _cut((sound,), part):
            listener(each)
        yield sound


def sounds_in(title: Title, part: Part | None) -> list[Iterator[Sound]]:
    """Each of the sounds of a title, or of a part of it."""
    if part is None:
        return [iter(sound) for sound in title.all_sounds()]
    return [_cut(sound, part) for sound in _sounds_from(title, part.start_s)]


def _cut(sounds: Iterable[Sound], part: Part) -> Iterator[Sound]:
    for sound in sounds:
        if sound.start_s >= part.end_s:
            return
        first, last = (
            min(max(0, round((time_s - sound.start_s) * SAMPLE_RATE)), len(sound.samples))
            for time_s in (part.start_s, part.end_s)
        )
        if first < last:
            yield Sound(sound.start_s + first / SAMPLE_RATE, sound.samples[first:last])


def _pictures_from(title: Title, from_s: float) -> Iterator[Picture]:
    """The pictures from the one shown at `from_s` on."""
    return _sought(
        title,
        partial(title.pictures, from_s),
        lambda: shown_from(title.pictures(), from_s),
    )


def _sounds_from(title: Title, from_s: float) -> list[Iterator[Sound]]:
    """The same for the sounds; some sound before `from_s` may come too."""
    return [
        _sought(
            title,
            partial(title.sound, number, max(0.0, from_s)),
            partial(title.sound, number),
        )
        for number in range(len(title.choices))
    ]


def _sought(
    title: Title, seek: Callable[[], Iterator[_Item]], read: Callable[[], Iterator[_Item]]
) -> Iterator[_Item]:
    """What `seek` gives; if the title cannot be sought, what `read` gives, from the beginning."""
    if title.seekable:
        begun = False
        try:
            for item in seek():
                begun = True
                yield item
            return
        except CannotSeek:
            if begun:
                raise
    yield from read()
