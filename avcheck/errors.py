"""Every error avcheck raises on purpose. A message says what is wrong, in which file, and what to
do about it.
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import ClassVar, TypeGuard

from avcheck.record.report import ErrorCode
from avcheck.record.tracks import escaped


class AvcheckError(Exception):
    """Base of all errors that are the input's or the caller's, never a bug of avcheck.

    `code` is the `reason_code` in the report of the file.
    """

    code: ClassVar[ErrorCode] = "other"


class UsageError(AvcheckError):
    """The call itself is wrong: a value, a tolerance, a path that does not exist.

    `parameter` names the parameter that is wrong, if it is one. From Python the message begins with
    it; the command names its option instead.
    """

    def __init__(self, problem: str, parameter: str = "") -> None:
        super().__init__(problem, parameter)
        self.problem = problem
        self.parameter = parameter

    def __str__(self) -> str:
        return self.about(self.parameter)

    def about(self, name: str) -> str:
        """The message, with this name for the parameter."""
        between = " " if self.problem.startswith("must ") else ": "
        return f"{name}{between}{self.problem}" if name else self.problem


class Cancelled(AvcheckError):
    """The caller cancelled the check."""


class MediaError(AvcheckError):
    """A file could not be judged. One file's `MediaError` never stops the others."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = str(path)  # as it was opened; for a URL, what may be shown of it
        self.reason = reason  # what is wrong and what to do about it, without the path

    def __str__(self) -> str:
        return f"{escaped(self.path)}: {self.reason}"


class NotMedia(MediaError):
    """The file is not a media file avcheck reads (wrong content, playlist, empty, not a regular
    file).
    """

    code: ClassVar[ErrorCode] = "not_media"


class Unreadable(NotMedia):
    """The system does not let the file be read (permissions, a broken disk), so what it is remains
    unknown.
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


def without_audio_option(reason: str) -> str:
    """The reason of a `NoAudio`, for a command that takes no --audio."""
    missing, _, remedy = reason.partition("; ")
    if "--audio FILE" in remedy:
        return f"{missing}; put the pictures and their sound into one file first"
    return reason.removesuffix(" or --audio")


class DecodeFailed(MediaError):
    """The streams are there but nothing in them decodes, or they carry no timestamps."""

    code: ClassVar[ErrorCode] = "decode_failed"


class Encrypted(DecodeFailed):
    """The pictures or the sound are encrypted."""

    code: ClassVar[ErrorCode] = "encrypted"


class CannotSeek(MediaError):
    """The file cannot be read from the middle, or not faster than from its beginning."""


class LimitExceeded(MediaError):
    """The file asks for more than a limit allows (pixels, streams)."""

    code: ClassVar[ErrorCode] = "limit"


class EmptyPart(MediaError):
    """The part that was asked for holds nothing of the file."""

    code: ClassVar[ErrorCode] = "empty_part"


class ModelError(AvcheckError):
    """The weights are missing, damaged, of another version, or not the ones the code knows."""

    code: ClassVar[ErrorCode] = "model"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: PyTorch, oneDNN (in its own words) and Python's threads raise a
    RuntimeError for that.
    """
    if isinstance(error, RuntimeError):
        text = str(error)
        known = "could not create a primitive", "can't start new thread"
        return "allocate memory" in text or "out of memory" in text or text in known
    return isinstance(error, MemoryError)


_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
_REMEDIES = {
    **dict.fromkeys(_FULL, "make room there, or write to another disk"),
    errno.EFBIG: "files may not become that large there (ulimit -f); write to another disk",
    errno.EROFS: "write to another folder",
    errno.EACCES: "write to another folder",
    errno.EPERM: "write to another folder",
    errno.ENOENT: "its folder is gone; make it again",
    errno.EIO: "see to the disk, or write to another",
}


def is_disk_full(error: BaseException) -> TypeGuard[OSError]:
    """Whether there is no room to write: a disk is full, a quota is used up, or files may not
    become that large.
    """
    return isinstance(error, OSError) and error.errno in (*_FULL, errno.EFBIG)


def why_not_written(error: OSError) -> str:
    """Why a file could not be written, and what to do, to follow a colon."""
    said = error.strerror or str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{said}; {remedy}" if remedy else said
