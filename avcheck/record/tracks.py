"""The tracks of a file in words: which there are to choose from, and that another may be the right
one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from avcheck.record.report import Track

_MOST_NAMED = 6  # tracks or programmes; the rest are counted
_MOST_TITLE = 40  # characters of a title: a sentence must stay one
_LANGUAGE = re.compile(r"[A-Za-z0-9-]{2,12}")


def escaped(text: str) -> str:
    """Other people's text on one printable line: what a terminal would act on becomes an escape."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def named(tracks: Sequence[Track]) -> str:
    """The numbers of tracks, each with its language and title, as in `0 (eng), 1 (eng,
    "Commentary") and 2`.
    """
    return _enumerated([_name(track) for track in tracks], "and")


def sound_named(number: int | None, tracks: Sequence[Track], path: str | None) -> str:
    """One sound of a title with several to check, as in `track 1 (fra, "Commentary")`.

    Args:
        number: Of the audio track.
        tracks: The audio tracks that the file lists.
        path: Of the separate file that the sound is from, which is then named as it was given, as
            dubs may have one name in folders of their own; None: a track.
    """
    if path is not None:
        return escaped(path)
    track = next((each for each in tracks if each.number == number), None)
    return f"track {number if track is None else _name(track)}"


def available(tracks: Sequence[Track], kind: str) -> str:
    """What there is to choose from, as in `1 audio track, number 0`; `kind` is "audio" or
    "picture".
    """
    if len(tracks) == 1:
        return f"1 {kind} track, number {named(tracks)}"
    return f"{len(tracks)} {kind} tracks, numbers {named(tracks)}"


def others(audio: Sequence[Track], video: Sequence[Track]) -> str:
    """Which tracks there are besides those that were checked, and the options that choose them.

    Args:
        audio: The other audio tracks.
        video: The other picture tracks.

    Returns:
        A sentence; "" if there are none.
    """
    more = [(kind, tracks) for kind, tracks in (("audio", audio), ("picture", video)) if tracks]
    if not more:
        return ""
    options = {"audio": "--audio-track", "picture": "--video-track"}
    has = " and ".join(_other(kind, tracks) for kind, tracks in more)
    choice = " or ".join(
        f"{options[kind]} {tracks[0].number if len(tracks) == 1 else 'N'}" for kind, tracks in more
    )
    return f"the file has {has}: try {choice}"


def programme(number: int, numbers: Sequence[int]) -> str:
    """Which programme of several was checked, as in "101; --program chooses 102"; "" if it is the
    only one.
    """
    if len(numbers) < 2:
        return ""
    others = [other for other in numbers if other != number]
    return f"{number}; --program chooses {listed(others, 'or')}"


def listed(numbers: Sequence[int], word: str = "and") -> str:
    """Numbers of programmes in words, not all of them: a transponder carries dozens. `word` joins
    the last two.
    """
    return _enumerated([str(number) for number in numbers], word)


def _enumerated(names: Sequence[str], word: str) -> str:
    left = len(names) - _MOST_NAMED
    shown = [*names[:_MOST_NAMED], *([f"{left} more"] if left > 0 else [])]
    return f" {word} ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def _other(kind: str, tracks: Sequence[Track]) -> str:
    if len(tracks) == 1:
        return f"another {kind} track, number {named(tracks)}"
    return f"{len(tracks)} other {kind} tracks, numbers {named(tracks)}"


def _name(track: Track) -> str:
    language = track.language if _LANGUAGE.fullmatch(track.language) else ""
    title = track.title if len(track.title) <= _MOST_TITLE else f"{track.title[: _MOST_TITLE - 1]}…"
    title = escaped(title).replace('"', "'")
    words = ", ".join([*([language] if language else []), *([f'"{title}"'] if title else [])])
    return f"{track.number} ({words})" if words else f"{track.number}"
