"""Numbers of things in words."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun, which takes an s: "1 frame", "2 frames"."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
