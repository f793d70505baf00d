"""Scenes of things that strike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from avcheck.rates import SAMPLE_RATE
from avcheck.scenes.base import (
    SETTLE_S,
    Doubles,
    Floats,
    KeyFrames,
    Reals,
    Scene,
    SceneSetup,
    Thing,
)
from avcheck.scenes.drawing import Camera, Pen
from avcheck.scenes.recording import add_at, recorded


class _Striker:
    """One thing that strikes again and again at irregular times: how it looks and sounds."""

    def __init__(
        self,
        rng: np.random.Generator,
        thing: Thing,
        slot: tuple[float, float],
        size: tuple[int, int],
        begin_s: float,
        end_s: float,
    ) -> None:
        self.thing = thing
        self.height, self.width = size
        self.left, self.right = slot  # pixel columns that belong to it
        short_s, long_s = (0.3, 1.0) if thing in ("ball", "pendulum") else (0.2, 1.4)
        lengths = np.exp(
            rng.uniform(math.log(short_s), math.log(long_s), 2 + int((end_s - begin_s) / short_s))
        )
        times = begin_s + rng.uniform(0, short_s) + np.cumsum(lengths)
        self.contacts_s = times[: int(np.searchsorted(times, end_s)) + 2]
        self.flights_s = np.diff(self.contacts_s)
        self.longest_s = long_s
        self.tone, self.body = float(rng.uniform(10, 245)), float(rng.uniform(15, 240))
        self.light = float(rng.uniform(0.1, 0.5))
        self.room = self.right - self.left
        self.places = rng.uniform(0.2, 0.8, len(self.contacts_s))
        self.spin = rng.uniform(-6, 6, len(self.contacts_s))
        self.floor = float(rng.uniform(0.72, 0.93)) * self.height
        self.unit = min(self.room, self.height)
        self.size = float(rng.uniform(0.09, 0.18)) * self.unit
        self.reach = float(rng.uniform(0.7, 1.3))  # rad
        # A narrow slot takes a smaller swing rather than a short arm
        if thing in ("pendulum", "clapper"):
            self.reach = min(
                self.reach, max(0.35, math.asin(min(1.0, self._side() / (0.42 * self.height))))
            )
        self.mirror = int(rng.choice([-1, 1]))
        self.strength = np.concatenate([[0.7], 0.4 + 0.6 * self.flights_s / long_s])
        self.angle = self._angles(rng)

    def _angles(self, rng: np.random.Generator) -> KeyFrames:
        track = KeyFrames(0.0)
        for i in range(len(self.flights_s)):
            t, flight = float(self.contacts_s[i]), float(self.flights_s[i])
            if self.thing == "clapper":
                track.key(t, self.reach * (1 - 2 * (i % 2)), KeyFrames.LINEAR)
            else:
                raised = self.reach * min(1.0, 0.4 + flight)
                down_s = min(float(rng.uniform(0.1, 0.16)), 0.4 * flight)
                track.key(t, 0.0, KeyFrames.FAST_START)
                track.key(t + 0.4 * flight, 0.85 * raised)
                track.key(t + flight - down_s, raised, KeyFrames.FAST_END)
        return track

    def still(self, backdrop: Floats, margin: int) -> None:
        """Draw what does not move onto the background: the thing that is struck."""
        pen = Pen(backdrop, margin, margin, 1.0)
        behind = float(backdrop[:, margin + int(self.left) : margin + int(self.right)].mean())
        if abs(self.tone - behind) < 50:
            self.tone = behind + 60 if behind < 128 else behind - 60
        if abs(self.body - behind) < 30:
            self.body = behind + 45 if behind < 128 else behind - 45
        middle = (self.left + self.right) / 2
        if self.thing == "ball":
            pen.box(
                middle,
                self.floor + 0.1 * self.height,
                0.48 * self.room,
                0.1 * self.height,
                self.body,
            )
        elif self.thing == "hammer":
            x, y = self._pivot()
            arm = 0.62 * self.unit
            pen.box(
                x + self.mirror * arm,
                y + self.size + 0.12 * self.unit,
                0.13 * self.unit,
                0.12 * self.unit,
                self.body,
            )
        else:
            x, y = self._pivot()
            arm = self._arm()
            thick = 0.05 * self.unit
            sides = (-1, 1) if self.thing == "clapper" else (self.mirror,)
            for side in sides:
                angle = self.reach * side if self.thing == "clapper" else 0.0
                bob_x, bob_y = x + arm * math.sin(angle), y + arm * math.cos(angle)
                pen.box(
                    bob_x + side * (self.size + thick), bob_y, thick, 1.6 * self.size, self.body
                )

    def _pivot(self) -> tuple[float, float]:
        if self.thing == "hammer":
            return (
                self.left + self.right
            ) / 2 - self.mirror * 0.32 * self.unit, self.floor - self.size - 0.05 * self.height
        return (self.left + self.right) / 2, 0.1 * self.height

    def _arm(self) -> float:
        return min(0.6 * self.height, self._side() / math.sin(self.reach))

    def _side(self) -> float:
        return 0.5 * self.room - self.size - 0.1 * self.unit

    def draw(self, canvas: Reals, t: float, sx: float, sy: float) -> None:
        i = int(
            np.clip(np.searchsorted(self.contacts_s, t, "right") - 1, 0, len(self.flights_s) - 1)
        )
        flight = float(self.flights_s[i])
        u = float(np.clip((t - self.contacts_s[i]) / flight, 0, 1))
        if self.thing == "ball":
            top = min(0.9, 0.85 * (flight / self.longest_s) ** 2 + 0.04) * (
                self.floor - 2 * self.size
            )
            near = min(u, 1 - u) * flight
            squash = 1 - 0.22 * max(0.0, 1 - near / 0.03)
            x = self.left + self.room * float(
                self.places[i] + (self.places[i + 1] - self.places[i]) * u
            )
            y = self.floor - self.size * squash - 4 * top * u * (1 - u)
            self._bob(
                canvas,
                x + sx,
                y + sy,
                squash,
                float(self.spin[i]) * (t - float(self.contacts_s[i])),
            )
            return
        x, y = self._pivot()
        if self.thing == "hammer":
            angle = float(self.angle.at(np.array([t]))[0])
            arm = 0.62 * self.unit
            pen = Pen(canvas, x + sx, y + sy, 1.0, -self.mirror * angle)
            pen.box(self.mirror * arm / 2, 0, arm / 2, max(1.0, 0.022 * self.unit), 0.6 * self.tone)
            pen.box(self.mirror * arm, 0, 0.06 * self.unit, self.size, self.tone)
            return
        if self.thing == "pendulum":
            angle = -self.mirror * self.reach * min(1.0, flight / 0.8) * math.sin(math.pi * u)
        else:
            angle = float(self.angle.at(np.array([t]))[0])
        arm = self._arm()
        pen = Pen(canvas, x + sx, y + sy, 1.0, -angle)
        pen.box(0, arm / 2, max(0.8, 0.012 * self.unit), arm / 2, 0.6 * self.tone)
        self._bob(canvas, *pen.pixel(0, arm), 1.0, angle)

    def _bob(self, canvas: Reals, x: float, y: float, squash: float, turned: float) -> None:
        r = self.size
        Pen(canvas, x, y, 1.0).ellipse(
            0, 0, r / math.sqrt(squash), r * squash, self.tone, light=self.light
        )
        Pen(canvas, x, y, 1.0, turned).ellipse(
            0.45 * r, 0, 0.3 * r, 0.3 * r, 255 - self.tone, ink=0.7
        )

    def sound(self, rng: np.random.Generator, samples: Doubles, begin_s: float) -> None:
        """Add the sound of every contact to `samples`, in place: modes of one body, struck harder
        or softer; each begins at its contact.
        """
        n = SAMPLE_RATE * 6 // 10
        t = np.arange(n) / SAMPLE_RATE
        modes = int(rng.integers(3, 7))
        lowest_hz = float(np.exp(rng.uniform(math.log(110), math.log(1200))))
        hz = np.minimum(
            lowest_hz * np.cumsum(np.concatenate([[1.0], rng.uniform(0.4, 1.7, modes - 1)])), 7400
        )
        decay_s = np.exp(rng.uniform(math.log(0.015), math.log(0.14))) / np.sqrt(hz / hz[0])
        weight = rng.uniform(0.3, 1.0, modes) / np.sqrt(np.arange(1, modes + 1))
        click = float(rng.uniform(0.2, 1.0))
        for at_s, strength in zip(self.contacts_s, self.strength, strict=True):
            detune = 1 + 0.01 * rng.standard_normal()
            ring = (
                weight[:, None]
                * np.exp(-t / decay_s[:, None])
                * np.cos(2 * np.pi * detune * hz[:, None] * t)
            ).sum(0)
            ring += click * rng.standard_normal(n) * np.exp(-t / 0.002)
            add_at(samples, (float(at_s) - begin_s) * SAMPLE_RATE, 0.25 * float(strength) * ring)


def impacts(setup: SceneSetup, things: Sequence[Thing] | None) -> Scene:
    """A scene of things that strike; `things` as for `make_scene`."""
    rng = setup.rng_for("things")
    every: tuple[Thing, ...] = ("ball", "ball", "hammer", "pendulum", "clapper")
    if things is None:
        things = [
            every[int(rng.integers(len(every)))] for _ in range(int(rng.choice([1, 1, 2, 2, 3])))
        ]
    room = setup.size[1] / len(things)
    begin_s, end_s = setup.begin_s - SETTLE_S, setup.end_s + SETTLE_S
    strikers = [
        _Striker(rng, thing, (i * room, (i + 1) * room), setup.size, begin_s, end_s)
        for i, thing in enumerate(things)
    ]
    camera = Camera(setup)
    dry = np.zeros(setup.samples_n)
    for striker in strikers:
        striker.still(camera.backdrop, camera.MARGIN)
        striker.sound(rng, dry, setup.begin_s)
    frames = np.empty((len(setup.times_s), *setup.size), np.uint8)
    for k, t in enumerate(setup.times_s):
        canvas, sx, sy = camera.canvas(k)
        for striker in strikers:
            striker.draw(canvas, float(t), sx, sy)
        camera.expose(canvas, k, frames[k])
    contacts = np.sort(np.concatenate([striker.contacts_s for striker in strikers]))
    return Scene(
        frames=frames,
        frame_rate=setup.frame_rate,
        samples=recorded(setup.rng_for("room"), dry, setup.studio),
        sound_start_s=setup.begin_s,
        contacts_s=contacts[(contacts >= setup.begin_s) & (contacts < setup.end_s)],
    )
