"""Globs as in .gitignore, of `.avcheckignore`, --include and --exclude: what they mean is left to
pathspec.

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

MOST_STARS = 3  # of one name in a glob, and as many "**" in all


class Globs:
    """Some globs in their order. Paths are posix paths relative to the directory that they belong
    to.
    """

    def __init__(self, globs: Iterable[str]) -> None:
        """Raises ValueError, in words, for what is no glob, or one of too many stars."""
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
        """Whether a path, or a folder above it, matches: False where a later `!` takes it back,
        None where nothing is said.
        """
        return (
            None
            if self._spec is None
            else self._spec.check_file(f"{name}/" if folder else name).include
        )


def of_option(option: str, globs: Iterable[str]) -> Globs:
    """The globs of an option. Raises UsageError."""
    try:
        # Where there are no comments
        return Globs(f"\\{glob}" if glob.startswith("#") else glob for glob in globs)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from error


def of_file(path: Path) -> tuple[Globs, str | None]:
    """The globs of an ignore file, and what is wrong with it; lines that are no glob are passed
    over, the others hold.

    A file that cannot be read has none: what it would leave out is then checked.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.is_file() else ""
    except OSError:
        return Globs(()), None
    good, problem = [], None
    for number, line in enumerate(text.splitlines(), start=1):
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
    if (
        max(name.count("*") for name in names if name != "**" or len(names) == 1) > MOST_STARS
        or names.count("**") > MOST_STARS
    ):
        raise ValueError(f"{glob!r} has more than {MOST_STARS} stars; write several simpler globs")
    try:
        GitIgnoreSpec.from_lines([glob])
    except (ValueError, re.error) as error:
        raise ValueError(f"{glob!r} is no glob as in .gitignore") from error
