"""A drawn face and its poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from avcheck.scenes.base import Floats, Reals
from avcheck.scenes.drawing import Pen


@dataclass(frozen=True)
class _Face:
    """How a head looks. Lengths in half head widths from its centre, tones 0..255."""

    long: float  # half height of the head
    taper: float  # narrowing towards the chin
    skin: float  # tone
    hair: float  # tone
    hair_style: int  # 0 none, 1 short, 2 long
    hairline: float  # how far above the centre, as a share of `long`
    fringe: float  # slope of the hairline
    cloth: float  # tone
    neck: float  # half width
    shoulders: float  # half width
    eye_x: float  # from the middle to either eye
    eye_y: float  # below the centre (> 0) or above
    eye_w: float  # half width
    eye_h: float  # about half the height of the open eye
    iris: float  # radius
    iris_tone: float  # around the pupil
    brow_tone: float  # no lighter than the hair, and darker than the skin
    brow_thick: float  # half thickness
    brow_tilt: float  # outer ends down (> 0) or up, radians
    nose: float  # from the eyes down to its tip
    nose_w: float  # from nostril to nostril
    mouth_y: float  # below the centre
    mouth_w: float  # half width at rest
    mouth_open: float  # inner height of the fully open mouth
    lip_up: float  # height of the upper lip
    lip_low: float  # height of the lower lip
    lip_tone: float  # share of the skin's tone
    inside: float  # tone of the open mouth
    teeth: float  # how far the upper teeth reach down; 0: they do not show
    teeth_tone: float  # of those in the middle
    curl: float  # corners up (> 0) or down
    light_x: float  # how much brighter to the right, share of the skin's tone
    light_y: float  # the same downwards
    rough: float  # strength of the grain of the skin, in tones
    glasses: bool  # frames around the eyes
    beard: float  # 0 none; share of hair tone over the lower face


def random_face(rng: np.random.Generator, studio: bool) -> _Face:
    """A face at random; `studio`: one that shows its mouth well."""

    def pick(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    skin = pick(150, 200) if studio else pick(85, 220)
    long = pick(1.22, 1.45)
    hair = pick(15, 70) if rng.random() < 0.7 else pick(110, 215)
    if abs(hair - skin) < 30:
        hair = max(10.0, skin - 50)
    return _Face(
        long=long,
        taper=pick(0.03, 0.14),
        skin=skin,
        hair=hair,
        hair_style=int(rng.choice([0, 1, 1, 1, 2, 2])) if not studio else int(rng.choice([1, 2])),
        hairline=pick(0.5, 0.72),
        fringe=pick(-0.25, 0.35),
        cloth=pick(25, 220),
        neck=pick(0.42, 0.6),
        shoulders=pick(1.9, 2.6),
        eye_x=pick(0.36, 0.45),
        eye_y=pick(-0.2, -0.02),
        eye_w=pick(0.15, 0.2),
        eye_h=pick(0.075, 0.12),
        iris=pick(0.07, 0.095),
        iris_tone=pick(20, 110),
        brow_tone=max(8.0, min(hair, skin - 40) * pick(0.7, 1.0)),
        brow_thick=pick(0.025, 0.06),
        brow_tilt=pick(0.0, 0.15) if studio else pick(-0.15, 0.25),
        nose=pick(0.36, 0.5),
        nose_w=pick(0.13, 0.2),
        mouth_y=long * pick(0.5, 0.58),
        mouth_w=pick(0.36, 0.46),
        mouth_open=pick(0.44, 0.54) if studio else pick(0.34, 0.54),
        lip_up=pick(0.06, 0.1),
        lip_low=pick(0.08, 0.13),
        lip_tone=pick(0.55, 0.8),
        inside=min(pick(8, 40), 0.2 * skin),
        teeth=pick(0.04, 0.09) if rng.random() < 0.75 else 0.0,
        teeth_tone=pick(170, 240),
        curl=pick(0.02, 0.07) if studio else pick(-0.03, 0.07),
        light_x=pick(-0.2, 0.2),
        light_y=pick(-0.12, 0.05),
        rough=pick(1, 3) if studio else pick(1, 7),
        glasses=bool(rng.random() < 0.2) and not studio,
        beard=pick(0.25, 0.6) if rng.random() < 0.15 and not studio else 0.0,
    )


@dataclass(frozen=True)
class Pose:
    """Everything that moves, at one instant. x and y: the centre of the head, px; body_x and
    body_y: that of the body, px; scale: half the width of the head, px, in which all other lengths
    are counted.
    """

    x: float
    y: float
    scale: float
    body_x: float
    body_y: float
    roll: float  # of the head, radians
    yaw: float  # how far turning moves the face to the right
    nod: float  # how far nodding moves it down
    lids: float  # 0 shut, 1 open
    gaze_x: float  # of both irises, from the middle of the eye to the right
    gaze_y: float  # the same downwards
    brows: float  # how far they are raised
    opening: float  # of the mouth, share of `mouth_open`
    width: float  # of the mouth, 1 at rest
    tuck: float  # 0..1, lower lip drawn under the upper teeth
    tongue: float  # 0..1, how high it lies


def draw_face(canvas: Reals, face: _Face, pose: Pose, grain: Floats) -> tuple[float, float]:
    """Draw one head; grain: noise (256, 256) fixed to the skin. Returns the pixel place (x, y) of
    the mouth.
    """
    scale = pose.scale
    edge = max(1.0, scale / 40)  # no edge in a face is sharper than this many pixels
    body = Pen(canvas, pose.body_x, pose.body_y, scale)
    pen = Pen(canvas, pose.x, pose.y, scale, pose.roll)
    tall = face.long

    if face.hair_style == 2:
        pen.ellipse(0, 0.25, 1.22, tall * 1.2, face.hair * 0.8, soft=2 * edge)
    body.box(0, tall * 0.95, face.neck, 0.6, face.skin * 0.72, soft=2 * edge)
    body.ellipse(0, tall + 1.55, face.shoulders, 1.2, face.cloth, soft=edge, light=0.15)
    body.ellipse(0, tall + 0.42, face.neck * 1.05, 0.2, face.skin * 0.78, soft=2 * edge)
    if face.hair_style:
        pen.ellipse(0, -0.18, 1.1, tall * 1.0, face.hair, soft=2 * edge, light=0.25)
    for side in (-1, 1):
        pen.ellipse(side * 1.0, -0.02, 0.13, 0.24, face.skin * 0.84, soft=edge)

    _draw_skin(pen, face, pose, grain, edge)
    # Features ride on the front of the head: turning moves them further than the outline.
    face_x, face_y = pen.pixel(pose.yaw, pose.nod)
    front = Pen(canvas, face_x, face_y, scale, pose.roll)
    _draw_eyes(front, face, pose, edge)
    _draw_nose(front, face, edge)
    _draw_mouth(front, face, pose, edge)
    return front.pixel(0, face.mouth_y)


def _draw_skin(pen: Pen, face: _Face, pose: Pose, grain: Floats, edge: float) -> None:
    """The head without its features; `edge`: the width of its outline, px."""
    tall, drop = face.long, pose.opening * face.mouth_open
    part = pen.grid(0, 0, 1.1, tall + drop)
    if part is None:
        return
    skin, u, v = part
    low = (tall + 0.62 * drop) ** -2
    upright = v * v * np.where(v > 0, np.float32(low), np.float32(tall**-2))
    narrow = 1 + face.taper * np.maximum(v, 0)
    around = (u * narrow) ** 2 + upright
    share = pen.cover(np.sqrt(around) - 1, edge)
    iu = np.clip((u - 0.6 * pose.yaw) * 60 + 128, 0, 255).astype(np.int32)
    iv = np.clip((v - 0.6 * pose.nod) * 60 + 128, 0, 255).astype(np.int32)
    noise = grain.ravel().take(iv * 256 + iu)
    tone = (
        face.skin * (1.06 - 0.24 * around + face.light_x * u + face.light_y * v)
        + face.rough * noise
    )
    if face.beard:
        hairy = np.clip((v - 0.3 - 0.5 * (1 - u * u)) * 5 + 0.5, 0, 1) * face.beard
        tone += hairy * (face.hair + 4 * face.rough * noise - tone)
    if face.hair_style:
        line = -tall * face.hairline + 0.35 * u * u + face.fringe * u
        tone += np.clip((line - v) * (pen.scale / (2 * edge)) + 0.5, 0, 1) * (
            face.hair * (1 - 0.11 * u - 0.125 / tall * (v + 0.18)) + noise - tone
        )
    skin += share * (tone - skin)


def _draw_eyes(front: Pen, face: _Face, pose: Pose, edge: float) -> None:
    scale = front.scale
    line_soft = max(edge, 0.03 * scale)
    for side in (-1, 1):
        x = side * face.eye_x
        front.ellipse(
            x,
            face.eye_y,
            face.eye_w * 1.5,
            face.eye_h * 2.2,
            face.skin * 0.8,
            soft=0.16 * scale,
            ink=0.5,
        )
        brow_y = face.eye_y - face.eye_h - 0.13 - pose.brows
        brow_x, brow_row = front.pixel(x, brow_y)
        brow = Pen(front.canvas, brow_x, brow_row, scale, pose.roll + side * face.brow_tilt)
        brow.ellipse(
            0, 0, face.eye_w * 1.35, face.brow_thick, face.brow_tone, soft=line_soft, ink=0.9
        )
        _draw_eye(front, face, pose, x, edge)
        if face.glasses:
            part = front.grid(x, face.eye_y, 0.33, 0.26)
            if part is not None:
                skin, u, v = part
                ring = np.abs(np.sqrt((u / 0.3) ** 2 + (v / 0.23) ** 2) - 1) * 0.25
                skin -= front.cover(ring - 0.018, edge) * (skin - 25)


def _draw_nose(front: Pen, face: _Face, edge: float) -> None:
    scale = front.scale
    line_soft = max(edge, 0.03 * scale)
    tip = face.eye_y + face.nose
    side = 1 if face.light_x >= 0 else -1
    front.ellipse(
        -side * 0.09,
        (face.eye_y + tip) / 2,
        0.05,
        0.24,
        face.skin * 0.82,
        soft=0.1 * scale,
        ink=0.6,
    )
    front.ellipse(
        0,
        tip - 0.03,
        face.nose_w * 0.8,
        0.09,
        min(250.0, face.skin * 1.1),
        soft=0.12 * scale,
        ink=0.6,
    )
    front.ellipse(
        0, tip + 0.06, face.nose_w * 1.1, 0.05, face.skin * 0.74, soft=0.08 * scale, ink=0.7
    )
    for side in (-1, 1):
        front.ellipse(
            side * face.nose_w * 0.5,
            tip + 0.045,
            0.04,
            0.025,
            face.skin * 0.3,
            soft=line_soft,
            ink=0.9,
        )


def _draw_eye(pen: Pen, face: _Face, pose: Pose, x: float, edge: float) -> None:
    part = pen.grid(x, face.eye_y, face.eye_w * 1.2, face.eye_h * 1.8)
    if part is None:
        return
    eye, u, v = part
    arch = 1 - (u / face.eye_w) ** 2
    # From shut at 0 to the open lid at 1
    upper = -face.eye_h * (2.0 * pose.lids - 0.9) * arch
    lower = 0.9 * face.eye_h * arch
    inside = pen.cover(np.maximum(upper - v, v - lower), edge)
    away = np.sqrt((u - pose.gaze_x) ** 2 + (v - pose.gaze_y) ** 2)
    tone = np.float32(min(245.0, face.skin * 0.5 + 130)) * (1 - 0.25 * np.abs(u) / face.eye_w)
    tone += pen.cover(away - face.iris, edge) * (face.iris_tone - tone)
    tone += pen.cover(away - face.iris * 0.45, edge) * (8 - tone)
    eye += inside * (tone - eye)
    lash = pen.cover(np.abs(v - upper) - 0.014, max(edge, 0.025 * pen.scale)) * (arch > -0.15)
    eye -= 0.85 * lash * (eye - 15)


def _draw_mouth(pen: Pen, face: _Face, pose: Pose, edge: float) -> None:
    gap = max(0.0, pose.opening) * face.mouth_open
    half = face.mouth_w * pose.width
    full = 1 + 0.5 * max(0.0, 1 - pose.width)  # rounded lips are thicker
    up, low = face.lip_up * full, face.lip_low * full * (1 - 0.6 * pose.tuck)
    part = pen.grid(0, face.mouth_y + 0.35 * gap, half * 1.25, 0.6 * gap + up + low + 0.2)
    if part is None:
        return
    mouth, u, v = part
    v = v + np.float32(0.35 * gap)  # 0 where the closed lips meet
    x = u / half
    x2 = x * x
    v = v + face.curl * (np.minimum(x2, 1.5) - 0.4)
    outer = np.maximum(1 - x2, -0.5)
    inner = np.maximum(1 - 1.2 * x2, -0.5)
    inner_top, inner_low = -0.28 * gap * inner, 0.72 * gap * inner
    bow = 1 - 0.3 * np.exp(-((x / 0.16) ** 2))
    top = -0.28 * gap * outer - 1.1 * up * outer * bow
    low_edge = 0.72 * gap * outer + 1.1 * low * outer
    # Soft shade below the lower lip, and round the corners.
    shade = np.exp(-(((v - low_edge - 0.07) / 0.06) ** 2) - (x / 0.7) ** 2)
    mouth *= 1 - 0.16 * shade
    lips = pen.cover(np.maximum(top - v, v - low_edge), 1.3 * edge)
    tone = face.skin * face.lip_tone * np.where(v < inner_top, np.float32(0.88), np.float32(1.08))
    tone += (
        0.16
        * face.skin
        * np.exp(-(((v - inner_low - 0.5 * low) / (0.35 * low + 1e-3)) ** 2) - (x / 0.45) ** 2)
    )
    mouth += lips * (tone - mouth)
    hole = pen.cover(np.maximum(inner_top - v, v - inner_low) - 0.006, edge) * (x2 < 1)
    tone = np.full_like(v, face.inside)
    if pose.tongue > 0.05 and gap > 0.05:
        flesh = pen.cover(
            inner_low - (0.2 + 0.35 * pose.tongue) * gap * inner - v, 0.08 * pen.scale
        )
        tone += flesh * (face.skin * face.lip_tone * 0.62 - tone)
    if face.teeth:
        # Teeth stay with the skull: a narrow opening shows them less.
        rim = np.minimum(-0.2 * gap + face.teeth, inner_top + face.teeth)
        cover = pen.cover(v - rim, edge) * np.clip(2.4 - 2.6 * np.abs(x), 0, 1) * min(1.0, 6 * gap)
        tone += cover * (face.teeth_tone * (1 - 0.4 * x2) - tone)
    mouth += hole * (tone - mouth)
