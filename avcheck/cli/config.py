"""Settings from a file and from the environment, for the options of `avcheck check` that belong to
a project.

From weak to strong: the table [tool.avcheck] of a pyproject.toml, or an avcheck.toml; variables
AVCHECK_*; the command line. What belongs to a single run (the paths, --audio, --start, --end,
--output, --force, --exit-zero, -q, -v) is an option only.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avcheck.cli.gate import FailOn
from avcheck.cli.usage import nearest
from avcheck.errors import UsageError
from avcheck.record.report import PRESETS, USUAL_REACH_S
from avcheck.render import FORMATS
from avcheck.settings import DEVICES, LEAST_PROBES, MOST_REACH_S
from avcheck.text.languages import is_language

FILE_NAMES = ("avcheck.toml", "pyproject.toml")  # the first one in a directory counts
_REPOSITORY_MARKS = (".git", ".hg")
# Settings that override others of a weaker place
_OVERRIDES = {
    "preset": {"early", "late"},
    "audio-track": {"language"},
    "language": {"audio-track"},
}


@dataclass(frozen=True)
class ValueKind:
    """A kind of value: its name in errors, how it is read from text, and which values are right.

    `parse` turns the text of a variable into a value and may raise ValueError; `accepts` judges a
    value from a TOML file or from `parse`.
    """

    wanted: str  # in an error, as "a number"
    parse: Callable[[str], Any]
    accepts: Callable[[Any], bool]
    is_path: bool = False  # relative to the settings file
    # the form that the option itself would hold
    as_option: Callable[[Any], Any] = lambda value: value


def _is_number(value: Any) -> bool:
    """Whether it is a number that a float can hold, and no NaN: TOML has integers of any size."""
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and abs(value) <= sys.float_info.max
    )


def _is_track(value: Any) -> bool:
    return _is_count(value, 0)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _choice(names: tuple[str, ...]) -> ValueKind:
    return ValueKind(
        f"one of {', '.join(names)}", str, lambda value: isinstance(value, str) and value in names
    )


def _choices(names: tuple[str, ...]) -> ValueKind:
    return ValueKind(
        f"a list out of {', '.join(names)}",
        lambda text: text.replace(",", " ").split(),
        lambda value: (
            isinstance(value, list) and bool(value) and all(item in names for item in value)
        ),
    )


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


MILLISECONDS = ValueKind(
    "a number of milliseconds of at least 0",
    float,
    lambda value: _is_number(value) and value >= 0,
)
SECONDS = ValueKind(
    "a number of seconds above 0",
    float,
    lambda value: _is_number(value) and value > 0,
)
FLAG = ValueKind(
    "true or false",
    lambda text: {"true": True, "1": True, "false": False, "0": False}.get(text.lower()),
    lambda value: isinstance(value, bool),
)
COUNT = ValueKind("a whole number of at least 0", int, lambda value: _is_count(value, 0))
NUMBER = ValueKind("a whole number of at least 1", int, lambda value: _is_count(value, 1))
PROBE_COUNT = ValueKind(
    f"a whole number of at least {LEAST_PROBES}", int, lambda value: _is_count(value, LEAST_PROBES)
)
REACH = ValueKind(
    f"a number of seconds from {USUAL_REACH_S:g} to {MOST_REACH_S:g}",
    float,
    lambda value: _is_number(value) and USUAL_REACH_S <= value <= MOST_REACH_S,
)
MEGABYTES = ValueKind("a whole number of megabytes above 0", int, lambda value: _is_count(value, 1))
GLOBS = ValueKind(
    "a list of globs",
    lambda text: [glob.strip() for glob in text.split(",") if glob.strip()],
    lambda value: (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(item, str) and item for item in value)
    ),
)
TRACKS = ValueKind(
    "a number from 0, a list of them, or all",
    lambda text: "all" if text == "all" else [int(part) for part in text.split(",")],
    lambda value: value == "all" or (bool(_listed(value)) and all(map(_is_track, _listed(value)))),
    as_option=lambda value: [str(each) for each in _listed(value)],
)
LANGUAGES = ValueKind(
    "a language, or a list of them",
    lambda text: text.replace(",", " ").split(),
    lambda value: bool(_listed(value)) and all(map(is_language, _listed(value))),
    as_option=lambda value: _listed(value),
)
FILE = ValueKind(
    "the name of a file", str, lambda value: isinstance(value, str) and value != "", is_path=True
)

# Each option of `avcheck check` without its dashes, and its kind. The variable of "audio-track" is
# AVCHECK_AUDIO_TRACK.
KEYS: dict[str, ValueKind] = {
    "preset": _choice(tuple(PRESETS)),
    "early": MILLISECONDS,
    "late": MILLISECONDS,
    "audio-track": TRACKS,
    "language": LANGUAGES,
    "video-track": COUNT,
    "program": NUMBER,
    "sample": FLAG,
    "thorough": FLAG,
    "probes": PROBE_COUNT,
    "reach": REACH,
    "device": _choice(DEVICES),
    "model": FILE,
    "format": _choice(FORMATS),
    "fail-on": _choices(tuple(FailOn)),
    "include": GLOBS,
    "exclude": GLOBS,
    "jobs": COUNT,
    "threads": COUNT,
    "timeout": SECONDS,
    "memory-limit": MEGABYTES,
}


def variable(key: str) -> str:
    """The environment variable of a key: AVCHECK_AUDIO_TRACK for "audio-track"."""
    return f"AVCHECK_{key.upper().replace('-', '_')}"


def place_of(key: str, environment: Mapping[str, str], file: Path | None) -> str:
    """Where a setting that `load` gave was made, as errors name it."""
    if file is None or environment.get(variable(key)):
        return variable(key)
    return f"{file}: {_prefix(file)}{key}"


def load(environment: Mapping[str, str], file: Path | None = None) -> dict[str, Any]:
    """Key -> value of everything that is set; the environment overrides the file.

    Raises UsageError for anything wrong, in one line that names the file or variable and the key.
    """
    return overlay({} if file is None else read(file), _from_environment(environment))


def _prefix(path: Path) -> str:
    return "tool.avcheck." if path.name == "pyproject.toml" else ""


def overlay(weak: Mapping[str, Any], strong: Mapping[str, Any]) -> dict[str, Any]:
    """Both together; the stronger wins. A stronger preset also replaces weaker limits, and a
    stronger `audio-track` a weaker `language`, or the other way round.
    """
    overridden = {key for name in strong for key in _OVERRIDES.get(name, ())}
    return {**{key: value for key, value in weak.items() if key not in overridden}, **strong}


def find(start: Path) -> Path | None:
    """The settings file for directory `start`: the first on the way up to the root of its
    repository, if it is in one.

    A pyproject.toml without a table [tool.avcheck] is skipped. Raises UsageError for a file that is
    not TOML.
    """
    try:
        start = start.resolve()
        folders = [start, *start.parents]
        # Outside a repository only the directory itself counts: those above may be somebody else's.
        root = next(
            (
                k
                for k, each in enumerate(folders)
                if any((each / mark).exists() for mark in _REPOSITORY_MARKS)
            ),
            0,
        )
        for folder in folders[: root + 1]:
            for name in FILE_NAMES:
                path = folder / name
                if path.is_file() and (name != "pyproject.toml" or _table(path) is not None):
                    return path
    except OSError:  # a directory that is gone or closed to us has no settings
        pass
    return None


def read(path: Path) -> dict[str, Any]:
    """Key -> value of a file: the table [tool.avcheck] of a pyproject.toml, all of any other TOML
    file.

    File names in it are relative to it. Raises UsageError.
    """
    table = _table(path)
    if table is None:
        raise UsageError(f"{path}: there is no table [tool.avcheck]")
    prefix = _prefix(path)
    settings = {}
    for key, value in table.items():
        kind = KEYS.get(key)
        if kind is None and isinstance(value, dict) and not prefix:
            raise UsageError(
                f"{path}: settings stand in no table here, so leave out its line [{key}...]; only "
                "in a pyproject.toml is it [tool.avcheck]"
            )
        if kind is None:
            raise UsageError(f"{path}: there is no setting {prefix}{key}{_meant(key)}")
        if not kind.accepts(value):
            written = str(value).lower() if isinstance(value, bool) else repr(value)
            raise UsageError(f"{path}: {prefix}{key} must be {kind.wanted}, not {written}")
        settings[key] = kind.as_option(str(path.parent / value) if kind.is_path else value)
    return settings


def _table(path: Path) -> dict[str, Any] | None:
    """The settings as written in the file; None for a pyproject.toml without any."""
    import tomllib

    try:
        content: Any = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot read the settings: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not a TOML file: it is not UTF-8 text") from error
    except RecursionError as error:
        raise UsageError(f"{path}: not a TOML file: it is nested too deeply") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not a TOML file: {error}") from error
    except ValueError as error:  # of Python itself
        raise UsageError(f"{path}: not a TOML file: it has a number of too many digits") from error
    if path.name == "pyproject.toml":
        tool = content.get("tool", {})
        content = tool.get("avcheck") if isinstance(tool, dict) else None
    if content is not None and not isinstance(content, dict):
        raise UsageError(f"{path}: tool.avcheck must be a table")
    return content


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    settings = {}
    for key, kind in KEYS.items():
        text = environment.get(variable(key), "")
        if text == "":  # how shells and build servers unset a variable
            continue
        try:
            value = kind.parse(text)
        except ValueError:
            value = None
        if not kind.accepts(value):
            raise UsageError(f"{variable(key)} must be {kind.wanted}, not {text!r}")
        settings[key] = kind.as_option(value)
    return settings


def _meant(key: str) -> str:
    """The known key that was probably meant, or else all of them."""
    return nearest(key.lower().replace("_", "-"), KEYS) or f"; there are {', '.join(KEYS)}"
