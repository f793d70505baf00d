"""Test signals as they are filmed or broadcast, right to a fraction of a picture: a clapperboard
that somebody holds, leaders that count down; and pictures that are no test signal.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from tests.support.clips import Array, Pictures, Sounds

SIZE = (160, 120)  # width, height
_SWING_S = 0.1  # a stick needs to close
_OPEN = 0.55  # radians
_INSTANTS = 3  # of an exposure
_Y, _X = np.mgrid[: SIZE[1], : SIZE[0]].astype(float)
_BOARD, _FACE = np.s_[15:95, 50:108], np.s_[12:68, 96:140]  # where they are drawn
_ROOM = np.kron(np.random.default_rng(3).integers(50, 150, (6, 8)).astype(float), np.ones((20, 20)))


def slate(claps_s: Sequence[float], exposure_s: float = 0.0, swing_s: float = _SWING_S) -> Pictures:
    """Somebody holds a slate and closes its stick at `claps_s`; it is opened gently after that."""

    shares = (np.arange(_INSTANTS) + 0.5) / _INSTANTS if exposure_s else np.zeros(1)

    def draw(time_s: float) -> Array:
        times_s = (time_s + exposure_s * shares).tolist()
        return _exposed(tuple((each, _angle(each, claps_s, swing_s)) for each in times_s))

    return draw


@lru_cache(maxsize=2000)  # a scene is looked at several times, and most of one is like another
def _exposed(instants: tuple[tuple[float, float], ...]) -> Array:
    """The mean of what is there at some times in seconds, with the stick at some angles."""
    return np.mean([_slate(*each) for each in instants], axis=0).astype(np.uint8)


def _angle(time_s: float, claps_s: Sequence[float], swing_s: float) -> float:
    for clap_s in claps_s:
        since_s = time_s - clap_s
        if -swing_s <= since_s < 0:
            return _OPEN * (1 - max(0.0, since_s / swing_s + 1) ** 1.5)
        if 0 <= since_s < 1.2:
            return _OPEN * (0.5 - 0.5 * np.cos(np.pi * max(0.0, since_s - 0.6) / 0.6))
    return _OPEN


def _slate(time_s: float, angle: float) -> Array:
    # A hand is never still
    at_x = 55 + 0.6 * np.sin(5 * time_s) + 0.3 * np.sin(13 * time_s)
    at_y = 60 + 0.5 * np.sin(6.1 * time_s)
    picture = _ROOM.copy()
    x, y = _X[_FACE], _Y[_FACE]
    radius = np.hypot((x - 118 - 1.5 * np.sin(1.1 * time_s)) / 19, (y - 40) / 25)
    _paint(picture[_FACE], 20 * (1 - radius), 175.0)
    board = picture[_BOARD]
    u, v = _X[_BOARD] - at_x, _Y[_BOARD] - at_y
    _paint(board, _depth(u, 0, 45, v, 0, 30), 50.0)
    # The bar of the board, and the stick above it
    for turn, top in ((0.0, 0.0), (angle, -5.0)):
        along, across = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
        stripes = 125 + 100 * np.clip(3 * np.sin(np.pi * (along + across) / 6), -1, 1)
        _paint(board, _depth(along, 0, 45, across, top - 5, top), stripes)
    return picture


def _depth(u: Array, left: float, right: float, v: Array, top: float, bottom: float) -> Array:
    """How deep inside a rectangle a place is; negative outside."""
    return np.minimum(np.minimum(u - left, right - u), np.minimum(v - top, bottom - v))


def _paint(picture: Array, depth: Array, level: Array | float) -> None:
    """Paint what is inside; an edge covers a part of its pixels, as in any camera's picture."""
    share = np.minimum(np.maximum(depth + 0.5, 0), 1)
    picture += share * (level - picture)


def claps(claps_s: Sequence[float], voice: float = 0.0) -> Sounds:
    """A clap at `claps_s`, noise that dies away in a room; a murmur up to the first one."""
    noise = np.random.default_rng(5).standard_normal(1 << 16)

    def play(times_s: Array) -> Array:
        grain = noise[(times_s * 16_000).astype(int) % len(noise)]
        out = 0.001 * grain
        for clap_s in claps_s:
            since_s = times_s - clap_s
            out += (since_s >= 0) * 0.25 * np.exp(-np.maximum(since_s, 0) / 0.03) * grain
        said = (np.sin(2 * np.pi * 2.3 * times_s) > 0.2) & (times_s < min(claps_s) - 0.4)
        tone = np.sin(2 * np.pi * 130 * times_s) + 0.6 * np.sin(2 * np.pi * 650 * times_s)
        return np.clip(out + voice * said * tone, -1, 1)

    return play


def leader(start_s: float, first: int, last: int, *, hand: bool, flash: bool = False) -> Pictures:
    """Counts down from `first`, a figure a second from `start_s` on, to the end of `last`, and is
    black then. hand: a clock's hand sweeps round in every second. flash: `last` is one picture.
    """

    def draw(time_s: float) -> Array:
        since_s = time_s - start_s + 1e-6
        number = first - int(max(0.0, since_s))
        in_second_s = since_s % 1.0 if since_s > 0 else 0.0
        if number < last or (flash and number == last and in_second_s >= 1 / 26):
            return np.full(SIZE[::-1], 16, np.uint8)
        picture = np.full(SIZE[::-1], 190.0)
        if hand:
            picture[(in_second_s > _DUE_S) & _DIAL] = 90
        picture[40:80, 68:92][_figure(number)] = 20
        return picture.astype(np.uint8)

    return draw


# When in a second the hand has come to a pixel
_U, _V = _X - SIZE[0] / 2, _Y - SIZE[1] / 2
_DUE_S, _DIAL = np.mod(np.arctan2(_U, -_V), 2 * np.pi) / (2 * np.pi), np.hypot(_U, _V) < 50


@lru_cache
def _figure(number: int) -> Array:
    """Which pixels (40, 24) a figure has."""
    rows = np.random.default_rng(number).integers(0, 2, (5, 3)).astype(bool)
    rows[:, number % 3] = True
    return np.kron(rows, np.ones((8, 8), bool))


def pips(times_s: Sequence[float]) -> Sounds:
    """Silence, and 40 ms of a tone of 1 kHz at each of `times_s`."""

    def play(at_s: Array) -> Array:
        out = np.zeros(len(at_s))
        for time_s in times_s:
            inside = (at_s >= time_s) & (at_s < time_s + 0.04)
            out += inside * 0.4 * np.sin(2 * np.pi * 1000 * (at_s - time_s))
        return out

    return play


def cuts(cuts_s: Sequence[float]) -> Pictures:
    """Another still picture from each of `cuts_s` on."""

    def draw(time_s: float) -> Array:
        shot = int(np.searchsorted(cuts_s, time_s + 1e-6, "right"))
        cells = np.random.default_rng(shot).integers(16, 235, (6, 8))
        return np.kron(cells, np.ones((20, 20))).astype(np.uint8)

    return draw
