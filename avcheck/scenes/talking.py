"""Scenes of a face that talks."""

from __future__ import annotations

import numpy as np

from avcheck.scenes.base import SETTLE_S, KeyFrames, Scene, SceneSetup, wander
from avcheck.scenes.drawing import Camera, texture
from avcheck.scenes.face import Pose, draw_face, random_face
from avcheck.scenes.recording import recorded
from avcheck.scenes.speech import Speech


def talking(setup: SceneSetup, head_share: float | None) -> Scene:
    """A scene of a talking face; `head_share` as for `make_scene`."""
    rng_for, times_s, studio = setup.rng_for, setup.times_s, setup.studio
    height, width = setup.size
    speech = Speech(rng_for("speech"), setup.begin_s - SETTLE_S, setup.end_s + SETTLE_S)
    samples = recorded(
        rng_for("room"), speech.sound(rng_for("voice"), setup.begin_s, setup.samples_n), studio
    )

    rng = rng_for("look")
    face = random_face(rng, studio)
    short = min(height, width)
    head = (float(rng.uniform(0.25, 0.6)) if head_share is None else head_share) * short / 2
    side, above, below = 1.15 * head, (face.long + 0.1) * head, (face.long + 0.25) * head
    # How much of the free room round the head its place is drawn from
    free = 0.25 if studio else 1.0
    x0 = width / 2 + free * float(rng.uniform(-1, 1)) * max(0.0, width / 2 - side)
    y0 = (above + height - below) / 2 + free * float(rng.uniform(-1, 1)) * max(
        0.0, (height - above - below) / 2
    )
    lively = float(rng.uniform(0.2, 1.0)) * (0.7 if studio else 1.0)
    sway_x, sway_y = (wander(rng, times_s, 0.1, 0.9) for _ in range(2))
    grow = 1 + 0.04 * lively * wander(rng, times_s, 0.05, 0.4)
    turn, yaw, nod = (wander(rng, times_s, 0.15, 1.3) for _ in range(3))
    brows = wander(rng, times_s, 0.2, 1.5)
    lids, glance = _eyes(rng, float(times_s[-1]))
    grain = texture(rng, 256, 256, (10, 40, 90))
    camera = Camera(setup)

    courses = [
        track.at(times_s)
        for track in (speech.opening, speech.width, speech.tuck, speech.tongue, lids, *glance)
    ]
    opening, spread, tuck, tongue, eyes, look_x, look_y = courses
    frames = np.empty((len(times_s), height, width), np.uint8)
    faces, mouths = np.empty((len(times_s), 3), np.float32), np.empty((len(times_s), 2), np.float32)
    for k in range(len(times_s)):
        canvas, sx, sy = camera.canvas(k)
        scale = head * float(grow[k])
        move_x, move_y = (
            0.22 * lively * head * float(sway_x[k]),
            0.12 * lively * head * float(sway_y[k]),
        )
        pose = Pose(
            x=x0 + sx + move_x,
            y=y0 + sy + move_y,
            scale=scale,
            body_x=x0 + sx + 0.4 * move_x,
            body_y=y0 + sy + 0.3 * move_y,
            roll=0.16 * lively * float(turn[k]),
            yaw=0.2 * lively * float(yaw[k]),
            nod=0.12 * lively * float(nod[k]),
            lids=float(eyes[k]),
            gaze_x=float(look_x[k]),
            gaze_y=float(look_y[k]),
            brows=0.05 * float(brows[k]),
            opening=float(opening[k]),
            width=float(spread[k]),
            tuck=float(tuck[k]),
            tongue=float(tongue[k]),
        )
        mouths[k] = draw_face(canvas, face, pose, grain)
        faces[k] = pose.x, pose.y, 2 * scale
        camera.expose(canvas, k, frames[k])
    return Scene(
        frames=frames,
        frame_rate=setup.frame_rate,
        samples=samples,
        sound_start_s=setup.begin_s,
        faces=faces,
        mouths=mouths,
        opening=opening.astype(np.float32),
    )


def _eyes(rng: np.random.Generator, end_s: float) -> tuple[KeyFrames, tuple[KeyFrames, KeyFrames]]:
    """How the lids blink, and where the eyes look at the same time, right and down."""
    glance = KeyFrames(0.0), KeyFrames(0.0)
    lids = KeyFrames(1.0)
    t = -SETTLE_S
    while t < end_s + SETTLE_S:
        t += float(rng.uniform(0.8, 4.5))
        lids.key(t, 1.0)
        lids.key(t + 0.07, 0.0)
        lids.key(t + 0.1, 0.0)
        lids.key(t + 0.22, 1.0)
        for axis, reach in zip(glance, (0.05, 0.02), strict=True):
            axis.key(t, axis.last)
            axis.key(t + 0.05, float(rng.uniform(-reach, reach)))
    return lids, glance
