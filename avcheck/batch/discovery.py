"""Which files a run checks: given paths, lists, globs, ignore files and the shard, taken together.

Nothing here imports torch, av or numpy, and nothing opens a media file: a wrong path is reported at
once.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from avcheck.batch import globs
from avcheck.batch.failed import error_report
from avcheck.batch.remote import Location, as_sent, is_url, shown, url_problem
from avcheck.errors import UsageError
from avcheck.record.report import DEFAULT_PRESET, PRESETS, ErrorCode, Report, Tolerance
from avcheck.text.plain_text import ANNEX_POINTER, NOT_REGULAR, is_annex_link, stand_in

# What a directory is searched for. A file given by name is checked whatever its suffix.
MEDIA_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".m4v", ".mj2", ".mov", ".mp4", ".qt"}
    | {".mkv", ".webm"}
    | {".m2t", ".m2ts", ".mpeg", ".mpg", ".mts", ".ts", ".vob"}
    | {".avi", ".asf", ".f4v", ".flv", ".gxf", ".mxf", ".nut", ".ogm", ".ogv", ".wmv", ".wtv"}
    | {".dif", ".dv", ".rm", ".rmvb"}
)
IGNORE_FILE = ".avcheckignore"
# They may lead to one file (signed twice), or to two (a token that names a file)
_SAME_BUT_SECRETS = (
    "two URLs differ only in their secrets, so both are recorded as {}; if they lead to the same "
    "file, give one of them, else check them in separate runs, each with a results file of its own"
)
_ALSO_TYPESCRIPT = frozenset({".ts", ".mts"})


class _Problem(NamedTuple):
    """Why a path cannot be checked."""

    reason: str  # with what to do about it
    code: ErrorCode  # the kind of reason


_MISSING = _Problem("there is no such file or directory; check the path", "missing")
_OUTSIDE = _Problem(
    "this link leads out of the directory searched and is not followed; give the file by name",
    "outside_link",
)


@dataclass(frozen=True)
class Shard:
    """The `index`-th of `count` parts of the files, counted from 1. Raises ValueError for
    impossible values.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ValueError(f"a shard is I/N with I from 1 to N, not {self.index}/{self.count}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def takes(self, name: str) -> bool:
        """Whether this part takes a file, by its path relative to its root: adding files moves no
        other file to another part.
        """
        digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
        return int.from_bytes(digest, "big") % self.count == self.index - 1


@dataclass(frozen=True)
class Selection:
    """Which files under a directory are wanted; globs as in `.avcheckignore`. A path given by name
    is never left out.

    `include` replaces `MEDIA_SUFFIXES`; `shard` applies to everything, named paths too.
    """

    include: tuple[str, ...] = ()  # (): what has a suffix of media
    exclude: tuple[str, ...] = ()  # files and whole directories
    shard: Shard | None = None  # None: everything


@dataclass
class Discovery:
    """What the given paths come to: files to check in order, and a report for each path that cannot
    be checked.
    """

    files: list[Location] = field(default_factory=list)  # in the order of checking
    errors: list[Report] = field(default_factory=list)  # for paths that cannot be checked

    @property
    def total(self) -> int:
        """The number of paths, those that cannot be checked included."""
        return len(self.files) + len(self.errors)


def discover(
    paths: Iterable[str | Path],
    tolerance: Tolerance = PRESETS[DEFAULT_PRESET],
    model: Path | None = None,
    selection: Selection = Selection(),
    on_read: Callable[[Path], None] | None = None,
) -> Discovery:
    """Turn files, URLs and directories into the files to check, each once, in a stable order.

    A file given by name is always taken, and so is a URL that `url_problem` allows. A directory is
    searched all the way down for what `selection` wants, names sorted; hidden entries, linked
    directories, what `.avcheckignore` names and anything that is not a regular file are skipped.

    Args:
        paths: Files, URLs and directories.
        tolerance: That of the run, for the reports of errors.
        model: The weights of the run, for the same; None: those that came with avcheck.
        selection: Which files under a directory are wanted, and which part of all files.
        on_read: Called with every local file that any shard reads, ignore files included.

    Returns:
        The files. A path that is missing, unreadable, not a regular file or a link out of its
        directory is a report with the verdict "error", and so is a directory without media.

    Raises:
        UsageError: Two URLs differ only in what is not shown, so nobody could tell their results
            apart. Or a glob of `selection` is not one.
    """
    discovery = Discovery()
    taken: set[str] = set()
    urls: dict[str, str] = {}  # as shown -> as sent

    def wanted(key: str, name: str) -> bool:
        if key in taken:
            return False
        # Before the shard: another shard might take the same file under another name
        taken.add(key)
        return selection.shard is None or selection.shard.takes(name)

    def take(path: Location, name: str) -> None:
        if on_read and isinstance(path, Path):
            on_read(path)
        # abspath, because Path.absolute() keeps "..", and a file could come twice
        if wanted(name if isinstance(path, str) else os.path.abspath(path), name):  # noqa: PTH100
            discovery.files.append(path)

    def refuse(path: str | Path, name: str, problem: _Problem) -> None:
        if wanted(f"{shown(path)}\0error", name):
            reason, code = problem
            discovery.errors.append(error_report(path, reason, tolerance, model, code=code))

    for given in paths:
        if is_url(given):
            reason = url_problem(given)
            if reason:
                refuse(given, shown(given), _Problem(reason, "bad_url"))
            elif urls.setdefault(shown(given), as_sent(given)) != as_sent(given):
                raise UsageError(_SAME_BUT_SECRETS.format(shown(given)))
            else:
                take(given, shown(given))
            continue
        path = Path(given)
        name = path.as_posix()
        # Path("") is the working directory, which an empty shell variable does not mean
        mode = _mode_of(path) if str(given) else _MISSING
        if isinstance(mode, _Problem):
            refuse(given, name, mode)
        elif stat.S_ISDIR(mode):
            if not _search(path, selection, take, refuse, on_read):
                why = f"this directory holds no media files{_narrowed(path, selection)}"
                refuse(given, name, _Problem(f"{why}; check the path", "no_media"))
        elif stat.S_ISREG(mode):
            take(path, name)
        else:
            refuse(given, name, _Problem(NOT_REGULAR, "not_media"))
    return discovery


def read_list(data: bytes) -> list[str]:
    """The paths of a list, one a line; if it holds NULs, separated by these alone, as `find
    -print0` writes them.
    """
    separator = b"\0" if b"\0" in data else b"\n"
    lines = data.removeprefix(b"\xef\xbb\xbf").split(separator)
    if separator == b"\n":
        lines = [line.removesuffix(b"\r") for line in lines]
    return [os.fsdecode(line) for line in lines if line]


def parse_shard(text: str) -> Shard:
    """A shard as written on the command line, for example "3/10". Raises UsageError."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    try:
        if match is None:
            raise ValueError(f"a shard is written I/N, as in 3/10, not {text!r}")
        return Shard(int(match[1]), int(match[2]))
    except ValueError as error:
        raise UsageError(str(error), "shard") from None


def _narrowed(root: Path, selection: Selection) -> str:
    """What may have excluded files that the caller expects."""
    options = [
        name
        for name, globs in (("--include", selection.include), ("--exclude", selection.exclude))
        if globs
    ]
    if (root / IGNORE_FILE).is_file():
        options.append(IGNORE_FILE)
    return f" that {' and '.join(options)} let through" if options else ""


def _search(
    root: Path,
    selection: Selection,
    take: Callable[[Path, str], None],
    refuse: Callable[[str | Path, str, _Problem], None],
    on_read: Callable[[Path], None] | None,
) -> int:
    """Take or refuse what lies under `root`, and return how many that were (before duplicates and
    other shards are dropped).
    """
    count = 0
    inside = os.path.realpath(root)
    include = globs.of_parameter("include", selection.include)
    exclude = globs.of_parameter("exclude", selection.exclude)
    # By folder of the ignore file: "" or "a/b/"
    ignored: dict[str, globs.Globs] = {}

    def unreadable(error: OSError) -> None:
        nonlocal count
        count += 1
        name = Path(error.filename).relative_to(root).as_posix()
        why = f"this directory cannot be read ({error.strerror}); check its permissions"
        refuse(error.filename, name, _Problem(why, "unreadable"))

    def left_out(name: str, *, folder: bool) -> bool:
        if exclude.decide(name, folder=folder):
            return True
        said = [
            patterns.decide(name.removeprefix(base), folder=folder)
            for base, patterns in ignored.items()
            if name.startswith(base)
        ]
        # The nearest ignore file has the last word
        return next((out for out in reversed(said) if out is not None), False)

    for folder, folders, names in os.walk(root, onerror=unreadable):
        here = Path(folder)
        prefix = "" if here == root else f"{here.relative_to(root).as_posix()}/"
        if IGNORE_FILE in names:
            ignored[prefix], wrong = globs.of_file(here / IGNORE_FILE)
            if wrong is not None:
                refuse(here / IGNORE_FILE, prefix + IGNORE_FILE, _Problem(wrong, "other"))
            if on_read:
                on_read(here / IGNORE_FILE)
        folders[:] = sorted(
            n for n in folders if not n.startswith(".") and not left_out(prefix + n, folder=True)
        )
        for leaf in sorted(names):
            path, name = here / leaf, prefix + leaf
            if leaf.startswith("."):
                continue
            if not (include.decide(name) if include else path.suffix.lower() in MEDIA_SUFFIXES):
                continue
            if left_out(name, folder=False):
                continue
            mode = _mode_of(path)
            # A broken link: somebody expects a file here, and silence would mean "all well"
            if isinstance(mode, _Problem):
                refuse(path, name, mode)
            elif not stat.S_ISREG(mode) or (
                path.suffix.lower() in _ALSO_TYPESCRIPT and _is_typescript(path)
            ):
                continue
            elif path.is_symlink() and not _lies_in(path, inside):
                refuse(path, name, _OUTSIDE)
            else:
                take(path, name)
            count += 1
    return count


def _lies_in(path: Path, folder: str) -> bool:
    try:
        return os.path.commonpath((os.path.realpath(path), folder)) == folder
    except ValueError:  # another drive
        return False


def _mode_of(path: Path) -> int | _Problem:
    """A path's mode, or what is wrong with it. Opens nothing: open() would hang on a FIFO."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        if not path.is_symlink():
            return _MISSING
        if is_annex_link(path):
            return _Problem(ANNEX_POINTER, "missing")
        return _Problem("this link leads to nothing; mend or remove it", "missing")
    except OSError as error:
        why = error.strerror or str(error)
        said = f"the file cannot be read ({why}); check its name and permissions"
        return _Problem(said, "unreadable")
    except ValueError:
        return _Problem("no file can have this name: it holds a NUL", "missing")


def _is_typescript(path: Path) -> bool:
    """Whether a file with a suffix of MPEG transport streams is a program: text, and none that
    stands in the place of a video.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1024)
    except OSError:
        return False  # the check itself will say what is wrong
    is_text = bool(head) and all(8 < byte < 0xF8 for byte in head)
    return is_text and stand_in(head) is None
