"""Which file is compared with which: two files, many files with one, or a folder with a folder by
name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from avcheck.batch.discovery import Discovery, Selection, discover
from avcheck.batch.failed import error_report
from avcheck.batch.remote import Location, is_url, shown
from avcheck.errors import UsageError
from avcheck.record.report import Report, Tolerance


@dataclass
class Pairs(Discovery):
    """The files to compare, and a report for each that cannot be compared; `references` by the path
    of the file.
    """

    references: Mapping[str, Path] = field(default_factory=dict)


def pair(
    reference: str | Path,
    file: str | Path,
    tolerance: Tolerance,
    selection: Selection,
    on_read: Callable[[Path], None] | None = None,
) -> Pairs:
    """Find which file is compared with which.

    Of two folders, a file is compared with the reference that is in the same place and has the same
    name except for the suffix. Several files may be versions of one reference.

    Args:
        reference: A file or a folder; a file is the reference of every file below `file`.
        file: A file or a folder.
        tolerance: That of the run, for the reports of errors.
        selection: `exclude` applies to both sides, `shard` to the pairs; `include` is ignored.
        on_read: Called with every file on either side.

    Returns:
        The pairs. A file without a reference, a reference without a file, and a file with several
        references are errors.

    Raises:
        UsageError: One of the two is a URL, a folder is the reference of a file or of nothing, or
            the only reference cannot be read.
    """
    for each in (reference, file):
        if is_url(each):
            raise UsageError(f"{shown(each)} is a URL; compare reads files and directories")
    reference, file = Path(reference), Path(file)
    if reference.is_dir() and file.is_file():
        raise UsageError(
            f"{reference} is a directory and {file} is a file; give two files or two directories"
        )
    if reference.is_dir() and not file.exists():  # else every reference would lack its file
        raise UsageError(f"{file}: there is no such file or directory; check the path")
    everything = Selection(exclude=selection.exclude)
    masters = discover([reference], tolerance, None, everything, on_read)
    versions = discover([file], tolerance, None, everything, on_read)
    if not reference.is_dir():
        pairs = _with_one(reference, versions, masters)
    else:
        pairs = _by_name(reference, masters, file, versions, tolerance)
    if selection.shard is None:
        return pairs
    takes = selection.shard.takes
    root = file if file.is_dir() else None
    return Pairs(
        [each for each in pairs.files if takes(_name(Path(each), root))],
        [each for each in pairs.errors if takes(PurePath(each.path).as_posix())],
        pairs.references,
    )


def _with_one(reference: Path, versions: Discovery, masters: Discovery) -> Pairs:
    if masters.errors:
        raise UsageError(f"{reference}: {masters.errors[0].reason}")
    return Pairs(versions.files, versions.errors, {str(each): reference for each in versions.files})


def _by_name(
    reference: Path, masters: Discovery, file: Path, versions: Discovery, tolerance: Tolerance
) -> Pairs:
    ours, theirs = _named(versions.files, file), _named(masters.files, reference)

    def alone(path: Path, reason: str) -> Report:
        return error_report(path, reason, tolerance, code="unpaired")

    files: list[Location] = []
    references: dict[str, Path] = {}
    errors = [*masters.errors, *versions.errors]
    for name, paths in ours.items():
        candidates = theirs.get(name, [])
        if len(candidates) == 1:
            files += paths
            references |= {str(path): candidates[0] for path in paths}
            continue
        reason = f"there is no reference of its name in {reference}"
        if candidates:
            reason = (
                f"there are several references of its name: {', '.join(map(str, candidates))}; "
                "keep one"
            )
        errors += [alone(path, reason) for path in paths]
    for name, paths in theirs.items():
        if name not in ours:
            errors += [
                alone(path, f"this is a reference, and {file} has no file of its name")
                for path in paths
            ]
    return Pairs(files, errors, references)


def _named(files: Iterable[Location], root: Path) -> dict[str, list[Path]]:
    """The files below a folder by their path there without its suffix."""
    named: dict[str, list[Path]] = {}
    for each in files:
        path = Path(each)
        named.setdefault(PurePath(_name(path, root)).with_suffix("").as_posix(), []).append(path)
    return named


def _name(path: Path, root: Path | None) -> str:
    return (path.relative_to(root) if root is not None else path).as_posix()
