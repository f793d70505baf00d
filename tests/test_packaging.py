"""What the distribution says of itself, and that no text leads to the stranger's package called
`avcheck`.
"""

from __future__ import annotations

import re
import subprocess
import tomllib
from contextlib import suppress
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# An installer, its options, and the stranger's name or ours, which is on no index, so that anybody
# may take it; with extras, a version or neither. A path is another thing.
INSTALL = re.compile(
    r"""(?:pip3?|pipx|uv|poetry)\s+(?:[\w-]+\s+)*?(?:install|add|run|tool)\b[^\n|;&]*?(?<![\w./@-])avcheck(?:-sync)?(?![\w./:-])"""
)
REQUIREMENT = re.compile(r"""["']avcheck(?:\[|\s*[=<>~!]=?)""")


def listed() -> list[str]:
    """The files of the checkout; none where there is no checkout or no git."""
    with suppress(FileNotFoundError):
        return subprocess.run(
            ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
        ).stdout.splitlines()
    return []


def texts() -> list[Path]:
    files = [ROOT / name for name in listed()] or [
        path for path in ROOT.rglob("*") if not {".venv", "__pycache__"} & {*path.parts}
    ]
    return [
        path
        for path in files
        if path.is_file() and path.suffix != ".safetensors" and path != Path(__file__)
    ]


def test_the_name_is_not_the_stranger_s() -> None:
    assert PROJECT["name"] == "avcheck-sync"
    assert PROJECT["license"] == "MIT"
    assert PROJECT["scripts"] == {"avcheck": "avcheck.cli.app:main"}


@pytest.mark.parametrize(
    "text",
    [
        "pip install avcheck",
        "pip install -U 'avcheck[ray]'",
        "uv tool install avcheck==0.1",
        "pipx run avcheck film.mp4",
        "pip install 'avcheck-sync[ray]'",
    ],
)
def test_the_search_finds_what_it_is_for(text: str) -> None:
    assert INSTALL.search(text)


@pytest.mark.parametrize(
    "text",
    [
        "pip install .",
        "pip install '.[ray]' # avcheck",
        "pip install /opt/avcheck/x",
    ],
)
def test_the_search_passes_over_what_is_harmless(text: str) -> None:
    assert not INSTALL.search(text.partition("#")[0])


def test_no_text_names_an_install_that_could_fetch_the_stranger_s() -> None:
    installs = []
    for path in texts():
        text = path.read_text(encoding="utf-8", errors="replace")
        installs += [f"{path.relative_to(ROOT)}: {match[0]}" for match in INSTALL.finditer(text)]
        if path.suffix in (".toml", ".txt", ".cfg", ".yml", ".yaml"):
            installs += [
                f"{path.relative_to(ROOT)}: {match[0]}" for match in REQUIREMENT.finditer(text)
            ]
    assert installs == []


def test_every_dependency_has_a_lower_and_an_upper_bound() -> None:
    for text in PROJECT["dependencies"]:
        operators = {each.operator for each in Requirement(text).specifier}
        assert operators == {">=", "<"}, text


def test_the_classifiers_name_the_pythons_that_ci_looks_for() -> None:
    named = [
        each.rpartition(" ")[2] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)
    ]
    assert named == sorted(named, key=Version)
    assert named[0] == PROJECT["requires-python"].removeprefix(">=")
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    looked_for = re.search(r'^PYTHONS="([\d. ]+)"$', script, re.MULTILINE)
    assert looked_for is not None
    assert looked_for[1].split() == named


def test_the_sdist_holds_all_that_its_tests_read() -> None:
    """LICENSE, pyproject.toml and .gitignore are in every one."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    included = tomllib.loads(text)["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    files = listed()
    if not files:
        pytest.skip("no checkout")
    left_out = {name.partition("/")[0] for name in files} - {each[1:] for each in included}
    assert left_out == {"LICENSE", "pyproject.toml", ".gitignore"}
