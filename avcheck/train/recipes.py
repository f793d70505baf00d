"""How training looks at clips: crops of faces, whole frames, and frames of sound without speech."""

from __future__ import annotations

from dataclasses import replace

from avcheck.scan.looking import LEVELS
from avcheck.train.sampling import Recipe

CROP = Recipe("crop", (80, 80))
FRAME = Recipe("frame", (112, 144), face_px=(22.0, 100.0), speed=0.12)
# For trunks that were trained before: half the cost of `FRAME`
SMALL_FRAME = replace(FRAME, size=(80, 96), face_px=(12.0, 60.0))
# Sounds of things are rare, so the windows are long; the clips' own offsets are unknown, so the
# target is wide.
GENERIC = Recipe("frame", (112, 144), frames=75, margin=20, speed=0.15, sigma=1.5)
# Whole pictures at the largest size of a check, for measuring
WHOLE = Recipe("frame", (LEVELS[-1], LEVELS[-1]))
