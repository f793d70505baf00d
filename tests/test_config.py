"""Settings from a file and the environment: where they are looked for, what they may be, which is
the stronger.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from avcheck.cli import config
from avcheck.cli.app import app
from avcheck.errors import UsageError

# Options of `avcheck check` that belong to one run and so are no settings.
OF_ONE_RUN = {
    "audio",
    "json",
    "output",
    "force",
    "exit-zero",
    "config",
    "no-config",
    "quiet",
    "verbose",
    "version",
}
OF_ONE_RUN |= {"start", "end", "detail", "engine", "files-from", "resume", "retry-errors", "shard"}
EVERYTHING = """
preset = "film"
early = 10
late = 20.5
audio-track = 1
language = "fr"
video-track = 2
program = 101
sample = true
thorough = true
probes = 5
reach = 8
device = "cpu"
model = "weights/mine.safetensors"
format = "jsonl"
fail-on = ["out-of-sync", "undecidable"]
include = ["*.mxf"]
exclude = ["tmp/", "*.part.mp4"]
jobs = 4
threads = 2
timeout = 900
memory-limit = 4096
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_every_option_is_a_setting_or_belongs_to_one_run() -> None:
    check = typer.main.get_group(app).commands["check"]
    options = {name[2:] for each in check.params for name in each.opts if name.startswith("--")}
    assert options - {"help"} == set(config.KEYS) | OF_ONE_RUN
    assert not set(config.KEYS) & OF_ONE_RUN


def test_every_setting_can_stand_in_a_file(tmp_path: Path) -> None:
    expected: dict[str, Any] = {
        "preset": "film",
        "early": 10,
        "late": 20.5,
        "audio-track": ["1"],
        "language": ["fr"],
        "video-track": 2,
        "program": 101,
        "sample": True,
        "thorough": True,
        "probes": 5,
        "reach": 8,
        "device": "cpu",
        "model": str(tmp_path / "weights/mine.safetensors"),
        "format": "jsonl",
        "fail-on": ["out-of-sync", "undecidable"],
        "include": ["*.mxf"],
        "exclude": ["tmp/", "*.part.mp4"],
        "jobs": 4,
        "threads": 2,
        "timeout": 900,
        "memory-limit": 4096,
    }
    assert set(expected) == set(config.KEYS)
    assert config.read(write(tmp_path / "avcheck.toml", EVERYTHING)) == expected
    assert config.read(write(tmp_path / "other.toml", EVERYTHING)) == expected
    assert (
        config.read(
            write(tmp_path / "pyproject.toml", "[project]\nname='x'\n[tool.avcheck]" + EVERYTHING)
        )
        == expected
    )


def test_every_setting_can_stand_in_the_environment() -> None:
    environment = {
        "AVCHECK_PRESET": "film",
        "AVCHECK_EARLY": "10",
        "AVCHECK_LATE": "20.5",
        "AVCHECK_AUDIO_TRACK": "1",
        "AVCHECK_LANGUAGE": "fr",
        "AVCHECK_VIDEO_TRACK": "2",
        "AVCHECK_PROGRAM": "101",
        "AVCHECK_SAMPLE": "true",
        "AVCHECK_PROBES": "5",
        "AVCHECK_REACH": "8",
        "AVCHECK_DEVICE": "cpu",
        "AVCHECK_THOROUGH": "true",
        "AVCHECK_MODEL": "mine.safetensors",
        "AVCHECK_FORMAT": "jsonl",
        "AVCHECK_FAIL_ON": "out-of-sync, undecidable",
        "AVCHECK_INCLUDE": "*.mxf",
        "AVCHECK_EXCLUDE": "tmp/, *.part.mp4",
        "AVCHECK_JOBS": "4",
        "AVCHECK_THREADS": "2",
        "AVCHECK_TIMEOUT": "900",
        "AVCHECK_MEMORY_LIMIT": "4096",
        "AVCHECK_DEBUG": "1",
    }
    assert config.load(environment) == {
        "preset": "film",
        "early": 10.0,
        "late": 20.5,
        "audio-track": ["1"],
        "language": ["fr"],
        "video-track": 2,
        "program": 101,
        "sample": True,
        "thorough": True,
        "probes": 5,
        "reach": 8,
        "device": "cpu",
        "model": "mine.safetensors",
        "format": "jsonl",
        "fail-on": ["out-of-sync", "undecidable"],
        "include": ["*.mxf"],
        "exclude": ["tmp/", "*.part.mp4"],
        "jobs": 4,
        "threads": 2,
        "timeout": 900.0,
        "memory-limit": 4096,
    }
    assert {config.variable(key) for key in config.KEYS} == set(environment) - {"AVCHECK_DEBUG"}
    assert config.load(dict.fromkeys(environment, "")) == {}


def test_the_least_values_are_taken(tmp_path: Path) -> None:
    least = {"early": 0, "late": 0, "audio-track": 0, "video-track": 0, "program": 1, "probes": 3}
    least |= {"jobs": 0, "threads": 0, "memory-limit": 1}
    lines = [f"{key} = {value}" for key, value in least.items()]
    read = config.read(write(tmp_path / "avcheck.toml", "\n".join(lines)))
    assert read == least | {"audio-track": ["0"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("presset = 'film'", "there is no setting presset; did you mean preset?"),
        ("Audio_Track = 1", "there is no setting Audio_Track; did you mean audio-track?"),
        ("fail_on = ['error']", "there is no setting fail_on; did you mean fail-on?"),
        ("zzz = 1", "there is no setting zzz; there are preset, early, late"),
        ("early = '10'", "early must be a number of milliseconds of at least 0, not '10'"),
        ("early = true", "early must be a number of milliseconds of at least 0, not true"),
        ("late = -1", "late must be a number of milliseconds of at least 0, not -1"),
        ("late = inf", "late must be a number of milliseconds of at least 0, not inf"),
        ("late = nan", "late must be a number of milliseconds of at least 0, not nan"),
        (
            "audio-track = 1.0",
            "audio-track must be a number from 0, a list of them, or all, not 1.0",
        ),
        ("sample = 1", "sample must be true or false, not 1"),
        ("probes = 2", "probes must be a whole number of at least 3, not 2"),
        ("language = 3", "language must be a language, or a list of them, not 3"),
        (
            "audio-track = true",
            "audio-track must be a number from 0, a list of them, or all, not true",
        ),
        (
            "preset = 'bbc'",
            "preset must be one of ebu-r37, itu-detect, itu-accept, atsc, film, not 'bbc'",
        ),
        ("device = ['cpu']", "device must be one of auto, cpu, cuda, mps, not ['cpu']"),
        ("model = ''", "model must be the name of a file, not ''"),
        (
            "fail-on = 'error'",
            "fail-on must be a list out of out-of-sync, undecidable, error, not 'error'",
        ),
        ("fail-on = []", "fail-on must be a list out of out-of-sync, undecidable, error, not []"),
        ("fail-on = ['errors']", "fail-on must be a list out of"),
        ("program = 0", "program must be a whole number of at least 1, not 0"),
        ("timeout = 0", "timeout must be a number of seconds above 0, not 0"),
        ("memory-limit = 0", "memory-limit must be a whole number of megabytes above 0, not 0"),
        ("include = '*.mxf'", "include must be a list of globs, not '*.mxf'"),
        ("early = ", "not a TOML file"),
        (f"jobs = {'1' * 5000}", "not a TOML file: it has a number of too many digits"),
        (f"early = {'1' * 400}", "early must be a number of milliseconds of at least 0, not 111"),
    ],
)
@pytest.mark.parametrize("name", ["avcheck.toml", "pyproject.toml"])
def test_what_is_wrong_is_told_in_one_line_with_file_and_key(
    tmp_path: Path, name: str, text: str, says: str
) -> None:
    path = write(tmp_path / name, ("[tool.avcheck]\n" if name == "pyproject.toml" else "") + text)
    with pytest.raises(UsageError) as caught:
        config.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    if name == "pyproject.toml" and "TOML" not in says:
        says = says.replace("no setting ", "no setting tool.avcheck.").replace(
            says.split(" ")[0] + " must", "must", 1
        )
    assert says in message


@pytest.mark.parametrize("table", ["tool.avcheck", "avcheck"])
def test_an_avcheck_toml_has_no_table(tmp_path: Path, table: str) -> None:
    path = write(tmp_path / "avcheck.toml", f"[{table}]\npreset = 'film'\n")
    with pytest.raises(UsageError, match="settings stand in no table here"):
        config.read(path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "not a TOML file"),
        (b"[project]\n", "there is no table [tool.avcheck]"),
        (b"tool = 1\n", "there is no table [tool.avcheck]"),
        (b"[tool]\navcheck = 1\n", "tool.avcheck must be a table"),
    ],
)
def test_a_pyproject_without_a_table(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        config.read(path)
    assert says in str(caught.value)


def test_settings_too_deep_for_the_parser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_deep(_: str) -> None:
        raise RecursionError("maximum recursion depth exceeded")

    monkeypatch.setattr("tomllib.loads", too_deep)
    with pytest.raises(UsageError, match="not a TOML file: it is nested too deeply"):
        config.read(write(tmp_path / "avcheck.toml", ""))


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (
            "AVCHECK_EARLY",
            "soon",
            "AVCHECK_EARLY must be a number of milliseconds of at least 0, not 'soon'",
        ),
        (
            "AVCHECK_LATE",
            "nan",
            "AVCHECK_LATE must be a number of milliseconds of at least 0, not 'nan'",
        ),
        (
            "AVCHECK_AUDIO_TRACK",
            "-1",
            "AVCHECK_AUDIO_TRACK must be a number from 0, a list of them, or all, not '-1'",
        ),
        ("AVCHECK_FORMAT", "xml", "AVCHECK_FORMAT must be one of text, json"),
        ("AVCHECK_FAIL_ON", "error;undecidable", "AVCHECK_FAIL_ON must be a list out of"),
        ("AVCHECK_FAIL_ON", ",", "AVCHECK_FAIL_ON must be a list out of"),
    ],
)
def test_a_wrong_variable(name: str, value: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        config.load({name: value})
    assert says in str(caught.value)


# ---- where


def test_the_nearest_file_upwards_counts(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    assert config.find(deep) is None
    top = write(tmp_path / "pyproject.toml", "[tool.avcheck]\nearly = 1\n")
    assert config.find(deep) == top
    write(tmp_path / "a" / "pyproject.toml", "[project]\n")  # says nothing of avcheck
    assert config.find(deep) == top
    near = write(tmp_path / "a" / "pyproject.toml", "[tool.avcheck]\n")
    assert config.find(deep) == near
    own = write(tmp_path / "a" / "avcheck.toml", "")
    assert config.find(deep) == own
    assert config.find(tmp_path) == top


def test_the_search_ends_at_the_repository(tmp_path: Path) -> None:
    write(tmp_path / "avcheck.toml", "early = 1\n")
    inner = tmp_path / "repository" / "films"
    inner.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert config.find(inner) == tmp_path / "avcheck.toml"
    write(tmp_path / "repository" / ".git", "gitdir: elsewhere\n")
    assert config.find(inner) is None


def test_outside_a_repository_only_the_directory_itself_is_searched(tmp_path: Path) -> None:
    """What lies above it, /tmp say, may belong to somebody else."""
    written = write(tmp_path / "avcheck.toml", "early = 1\n")
    (tmp_path / "films").mkdir()
    assert config.find(tmp_path) == written
    assert config.find(tmp_path / "films") is None


def test_a_directory_that_is_gone_has_no_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert config.find(Path()) is None


# ---- which is the stronger


def test_the_environment_is_stronger_than_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "avcheck.toml", "early = 1\nlate = 2\ndevice = 'cpu'\n")
    assert config.load({"AVCHECK_EARLY": "7"}, path) == {"early": 7.0, "late": 2, "device": "cpu"}
    assert config.load({"AVCHECK_EARLY": "7"}) == {"early": 7.0}


def test_a_stronger_choice_of_tracks_drops_a_weaker_one_of_another_kind() -> None:
    by_number, by_language = {"audio-track": ["1"]}, {"language": ["fr"]}
    assert config.overlay(by_number, by_language) == by_language
    assert config.overlay(by_language, by_number) == by_number


def test_a_stronger_preset_also_drops_weaker_limits() -> None:
    weak = {"preset": "film", "early": 1, "device": "cpu"}
    assert config.overlay(weak, {"preset": "atsc"}) == {"preset": "atsc", "device": "cpu"}
    assert config.overlay(weak, {"late": 5}) == {
        "preset": "film",
        "early": 1,
        "late": 5,
        "device": "cpu",
    }
    assert config.overlay(weak, {"preset": "atsc", "late": 5}) == {
        "preset": "atsc",
        "late": 5,
        "device": "cpu",
    }
