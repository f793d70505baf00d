"""What was done to a title since its reference, as data and in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from avcheck.text.times import moment

EditKind = Literal["inserted", "removed", "replaced", "reordered", "speed"]
Stream = Literal["sound", "picture", "both"]
TIMES = ("start_s", "end_s", "reference_start_s", "reference_end_s")  # the fields of an edit


@dataclass(frozen=True)
class Edit:
    """One thing that was done to a title. The first two times (s) are on the clock of the file, the
    other two on that of the reference.

    inserted: the reference does not have what the file has from `start_s` to `end_s`. removed: at
    `start_s` the file leaves out what the reference has from `reference_start_s` to
    `reference_end_s`. replaced: both. reordered: at `start_s` the file jumps from
    `reference_start_s` to `reference_end_s`. speed: the file plays from `start_s` to `end_s` what
    the reference plays from `reference_start_s` to `reference_end_s`.
    """

    kind: EditKind  # one of these
    stream: Stream  # that was edited
    start_s: float
    end_s: float
    reference_start_s: float
    reference_end_s: float

    def __post_init__(self) -> None:
        if self.kind == "speed" and not self.start_s < self.end_s:
            raise TypeError("a speed takes time")

    @property
    def length_s(self) -> float:
        """The length of what was inserted, or else of what was removed."""
        return (self.end_s - self.start_s) or (self.reference_end_s - self.reference_start_s)

    @property
    def faster(self) -> float:
        """How much faster than the reference the file plays, as a share; negative = slower."""
        return (self.reference_end_s - self.reference_start_s) / (self.end_s - self.start_s) - 1


def describe_edit(edit: Edit) -> str:
    """An edit in words, such as "5.00 s removed: 0:13.00 to 0:18.00 of the reference"."""
    from_, to = moment(edit.reference_start_s), moment(edit.reference_end_s)
    if edit.kind == "speed":
        pace = f"{100 * abs(edit.faster):.2f} % {'faster' if edit.faster > 0 else 'slower'}"
        text = f"plays {pace} than the reference"
    elif edit.kind == "inserted":
        text = f"{_seconds(edit.length_s)} inserted, not in the reference"
    elif edit.kind == "removed":
        text = f"{_seconds(edit.length_s)} removed: {from_} to {to} of the reference"
    elif edit.kind == "replaced":
        text = f"{_seconds(edit.length_s)} in place of the reference's {from_} to {to}"
    else:
        text = f"goes on with the reference's {to}, not with {from_}"
    return text if edit.stream == "both" else f"{edit.stream} alone: {text}"


def _seconds(length_s: float) -> str:
    return f"{1000 * length_s:.0f} ms" if length_s < 1 else f"{length_s:.2f} s"
