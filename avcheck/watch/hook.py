"""The user's own command, which `avcheck watch` runs for each file."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from avcheck.machine.ends import signal_in_words

SLOW_S = 60.0  # after which a hook that has not ended is named
_SLOW = "the hook still runs for {}; nothing else is moved until it ends"


def why_not_a_command(word: str) -> str | None:
    """Why a hook cannot begin with this word, and what to do; None if it can."""
    if shutil.which(word) is not None:
        return None
    if not Path(word).is_file():
        return f"there is no command {word}"
    if Path(word).name == word:  # without a folder it is looked for on the PATH alone
        return f"there is no command {word} on the PATH; for the file here give ./{word}"
    return f"{word} may not be executed; chmod +x {word}"


def run_hook(
    command: tuple[str, ...], record: bytes, path: Path, on_step: Callable[[str], None]
) -> None:
    """Run a hook to its end.

    Args:
        command: Its words; no shell reads them.
        record: What it gets on stdin.
        path: Where the file is now, for `AVCHECK_FILE`.
        on_step: Called with what is wrong with it, in words, and when it takes long.
    """
    slow = threading.Timer(SLOW_S, on_step, [_SLOW.format(path)])
    slow.daemon = True
    slow.start()
    try:
        done = subprocess.run(  # noqa: S603 - the user's own command, without a shell
            command,
            input=record,
            env={**os.environ, "AVCHECK_FILE": str(path)},
            stdout=2,  # stdout carries our results
            check=False,
        )
    except OSError as error:
        on_step(f"the hook cannot be run for {path}: {_why_not_run(command[0], error)}")
        return
    finally:
        slow.cancel()
    if done.returncode < 0:
        on_step(f"the hook was killed by {signal_in_words(-done.returncode)} for {path}")
    elif done.returncode:
        on_step(f"the hook exited with {done.returncode} for {path}")


def _why_not_run(word: str, error: OSError) -> str:
    """Why the system does not run a command, and what to do."""
    script = shutil.which(word)
    if error.errno == errno.ENOEXEC:
        return f"{word} is no program; begin it with #!/bin/sh, or give --hook 'sh {script}'"
    if error.errno == errno.ENOENT and script is not None:  # so it is not the script that lacks
        return f"the program that the first line of {word} names is not there"
    return f"{error.strerror} ({word})"
