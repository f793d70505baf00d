"""Globs as in .gitignore, for `.avcheckignore`, --include and --exclude; pathspec reads them.

A glob with many wildcards is refused, so that matching stays quick whatever an ignore file holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from avcheck.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

MOST_STARS = 3  # in one name of a glob; and the most "**" in a glob


class Globs:
    """Globs in their order. Paths are posix paths relative to the directory the globs belong to."""

    def __init__(self, globs: Iterable[str]) -> None:
        """Raises ValueError, worded for users, for what is not a glob, or for one with too many
        stars.
        """
        globs = list(globs)
        self._spec: GitIgnoreSpec | None = None
        if globs:
            from pathspec import GitIgnoreSpec  # late: few runs need it

            for glob in globs:
                _check(glob)
            self._spec = GitIgnoreSpec.from_lines(globs)

    def __bool__(self) -> bool:
        return self._spec is not None

    def decide(self, name: str, *, folder: bool = False) -> bool | None:
        """True if a path or a folder above it matches, False if a later `!` takes it back, None if
        no glob says anything.
        """
        return (
            None
            if self._spec is None
            else self._spec.check_file(f"{name}/" if folder else name).include
        )


def of_parameter(name: str, globs: Iterable[str]) -> Globs:
    """The globs of a parameter. Raises UsageError."""
    try:
        # There are no comments here
        return Globs(f"\\{glob}" if glob.startswith("#") else glob for glob in globs)
    except ValueError as error:
        raise UsageError(str(error), name) from error


def of_file(path: Path) -> tuple[Globs, str | None]:
    """The globs of an ignore file, and what is wrong with it. Lines that are not globs are skipped;
    the others hold.

    A file that cannot be read has none: what it would exclude is then checked.
    """
    try:
        # Git skips a byte order mark too
        text = (
            path.read_text(encoding="utf-8-sig", errors="surrogateescape") if path.is_file() else ""
        )
    except OSError:
        return Globs(()), None
    good, problem = [], None
    # Not splitlines(), which also splits a name at U+2028
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.removesuffix("\r")
        if line.startswith("#") or not line.strip().strip("!/"):
            continue
        try:
            Globs([line])
        except ValueError as error:
            problem = problem or f"line {number}: {error}"
        else:
            good.append(line)
    return Globs(good), problem


def _check(glob: str) -> None:
    from pathspec import GitIgnoreSpec

    names = glob.split("/")
    if max(names.count("**"), *(name.count("*") for name in names)) > MOST_STARS:
        raise ValueError(f"{glob!r} has more than {MOST_STARS} stars; write several simpler globs")
    try:
        GitIgnoreSpec.from_lines([glob])
    except (ValueError, re.error) as error:
        raise ValueError(f"{glob!r} is not a glob that .gitignore allows") from error
