"""Watches what a check does to the machine, from outside Python: FFmpeg opens files and sockets on
its own. Linux only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

_SYSCALLS = {"x86_64": (41, 42, 59), "aarch64": (198, 203, 221)}  # socket, connect, execve
_IN_OPEN, _IN_ISDIR, _IN_Q_OVERFLOW = 0x20, 0x40000000, 0x4000
AVAILABLE = sys.platform == "linux" and platform.machine() in _SYSCALLS


def forbid_network() -> None:
    """Have the kernel kill this process (SIGSYS) from now on, and for good, if it opens a socket,
    connects, or runs another program.
    """
    forbidden = _SYSCALLS[platform.machine()]

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    # Load the number of the call; jump to the end on a match; allow; kill the process.
    program = step(0x20, 0)
    for left, number in enumerate(reversed(forbidden)):
        program = program[:8] + step(0x15, number, yes=left + 1) + program[8:]
    program += step(0x06, 0x7FFF0000) + step(0x06, 0x80000000)
    code = ctypes.create_string_buffer(program)

    class Filter(ctypes.Structure):
        _fields_ = (("count", ctypes.c_ushort), ("code", ctypes.c_void_p))

    libc = ctypes.CDLL(None, use_errno=True)
    rule = Filter(len(program) // 8, ctypes.addressof(code))
    # PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP
    if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(rule), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp is not available")


class Opened:
    """Which files of a folder any process opens. Use with `with`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._handle = -1

    def __enter__(self) -> Opened:
        libc = ctypes.CDLL(None, use_errno=True)
        self._handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if (
            self._handle < 0
            or libc.inotify_add_watch(self._handle, os.fsencode(self._folder), _IN_OPEN) < 0
        ):
            raise OSError(ctypes.get_errno(), "inotify is not available")
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def names(self) -> set[bytes]:
        """The names of the files opened since the last call."""
        opened: set[bytes] = set()
        while True:
            try:
                data = os.read(self._handle, 1 << 16)
            except BlockingIOError:
                return opened
            while data:
                _, mask, _, length = struct.unpack_from("iIII", data)
                if mask & _IN_Q_OVERFLOW:
                    raise OSError("more files were opened than inotify keeps")
                if not mask & _IN_ISDIR:
                    opened.add(data[16 : 16 + length].rstrip(b"\0"))
                data = data[16 + length :]
