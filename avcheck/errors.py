"""Every error avcheck raises on purpose. Messages say what was found, in which file, and what to do
about it.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from avcheck.report import ErrorCode
from avcheck.tracks import escaped


class AvcheckError(Exception):
    """Base of all errors that are the input's or the caller's, never a bug of avcheck.

    `code` is the `reason_code` of the report of a file that raised it.
    """

    code: ClassVar[ErrorCode] = "other"


class UsageError(AvcheckError):
    """The call itself is wrong: an option, a tolerance, a path that does not exist."""


class Cancelled(AvcheckError):
    """Whoever called for a check has called it off."""


class MediaError(AvcheckError):
    """A file could not be judged. One file's `MediaError` never stops the others."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = str(path)  # as it was opened; of a URL, what may be shown of it
        self.reason = reason  # what is wrong and what to do about it, without the path

    def __str__(self) -> str:
        return f"{escaped(self.path)}: {self.reason}"


class NotMedia(MediaError):
    """The file is not a media file avcheck reads (wrong content, playlist, empty, not a regular
    file).
    """

    code: ClassVar[ErrorCode] = "not_media"


class Unreadable(NotMedia):
    """The system does not let the file be read, so nobody knows what it is (permissions, a broken
    disk).
    """

    code: ClassVar[ErrorCode] = "unreadable"


class FetchFailed(MediaError):
    """The file cannot be fetched from its URL."""

    code: ClassVar[ErrorCode] = "fetch_failed"


class Missing(MediaError):
    """There is no such file."""

    code: ClassVar[ErrorCode] = "missing"


class NoVideo(MediaError):
    """The file has no video stream (cover art does not count)."""

    code: ClassVar[ErrorCode] = "no_video"


class NoAudio(MediaError):
    """The file has no audio stream, or not the audio track asked for."""

    code: ClassVar[ErrorCode] = "no_audio"


class DecodeFailed(MediaError):
    """The streams are there but nothing in them decodes, or they carry no timestamps."""

    code: ClassVar[ErrorCode] = "decode_failed"


class Encrypted(DecodeFailed):
    """The pictures or the sound are encrypted."""

    code: ClassVar[ErrorCode] = "encrypted"


class CannotSeek(MediaError):
    """The file cannot be read from the middle, or not at less cost than from its beginning."""


class LimitExceeded(MediaError):
    """The file asks for more than a limit allows (pixels, streams)."""

    code: ClassVar[ErrorCode] = "limit"


class EmptyPart(MediaError):
    """There is nothing of the file in the part of it that was to be looked at."""

    code: ClassVar[ErrorCode] = "empty_part"


class ModelError(AvcheckError):
    """The weights are missing, damaged, of another version, or not the ones the code knows."""

    code: ClassVar[ErrorCode] = "model"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: PyTorch, oneDNN (in its own words) and Python's threads say so in a
    RuntimeError.
    """
    if isinstance(error, RuntimeError):
        text = str(error)
        known = "could not create a primitive", "can't start new thread"
        return "allocate memory" in text or "out of memory" in text or text in known
    return isinstance(error, MemoryError)
