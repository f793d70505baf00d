"""How processes end."""

from __future__ import annotations

import signal


def signal_in_words(number: int) -> str:
    """A signal by its number and its name here: "signal 11 (SIGSEGV)"."""
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"
