"""The documents keep up with the command: every command, option, setting, field and exit code is in
them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from avcheck.cli import config
from avcheck.cli.gate import ExitCode, FailOn, Gate
from avcheck.record.report import PRESETS, Report
from avcheck.render import FORMATS
from tests.support.option_tables import COMMANDS, MAN_PAGE, man_page, page

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / name for name in ("bench/WAYS.md", "findings/README.md")),
    *sorted((ROOT / "models").glob("*.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_option_tables_are_those_of_the_command() -> None:
    assert text_of("docs/cli.md") == page()  # python -m tests.support.option_tables
    assert MAN_PAGE.read_text(encoding="utf-8") == man_page()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_documents(name: str) -> None:
    assert re.search(rf"\bavcheck {name}\b", text_of("docs/cli.md"))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=str)
def test_every_preset_stands_with_its_limits(preset: object) -> None:
    name, early_ms, late_ms = preset.preset, preset.early_ms, preset.late_ms  # type: ignore[attr-defined]
    assert re.search(
        rf"\| `{name}`[^|]*\| {early_ms:g} / {late_ms:g} \|", text_of("docs/verdict.md")
    )


@pytest.mark.parametrize("code", [code for code in ExitCode if code is not ExitCode.BROKEN_PIPE])
def test_every_exit_code_is_in_the_documents(code: ExitCode) -> None:
    assert re.search(rf"(?m)^\| {int(code)} \|", text_of("docs/ci.md"))


@pytest.mark.parametrize("name", [*FORMATS, *Report("a.mp4", "in_sync").to_record()])
def test_every_format_and_field_is_in_the_documents(name: str) -> None:
    assert f"`{name}`" in text_of("docs/formats.md")


@pytest.mark.parametrize("key", config.KEYS)
def test_every_setting_is_in_the_documents(key: str) -> None:
    rows = [
        row
        for row in text_of("docs/settings.md").splitlines()
        if row.startswith("|") and f"`{config.variable(key)}`" in row
    ]
    (row,) = rows
    assert f"`{key}`" in row.split("|")[1]


def test_the_example_settings_are_settings(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", text_of("docs/settings.md"), re.DOTALL)
    (tmp_path / "pyproject.toml").write_text(example, encoding="utf-8")
    assert set(config.read(tmp_path / "pyproject.toml")) == {"preset", "fail-on"}


def test_the_table_of_fail_on_is_true() -> None:
    rows = re.findall(
        r"^\| ([^|]*(?:--fail-on|all three)[^|]*) \| (\d) \| (\d) \| (\d) \|$",
        text_of("docs/ci.md"),
        re.MULTILINE,
    )
    assert len(rows) == 7  # every choice; the default is out-of-sync with error
    for words, *codes in rows:
        if words == "without `--fail-on`":
            gate = Gate()
        elif words == "all three":
            gate = Gate(frozenset(FailOn))
        else:
            gate = Gate(
                frozenset(FailOn(word) for word in re.findall(r"--fail-on ([\w-]+)", words))
            )
        exit_codes = [gate.exit_code({"in_sync": 1, kind.verdict: 1}) for kind in FailOn]
        assert exit_codes == [int(code) for code in codes], words


LINKS = [
    (page, link)
    for page in PAGES
    for link in re.findall(r"\]\(([^):]+)\)", page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(
    ("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS]
)
def test_every_linked_file_and_heading_is_there(page: Path, link: str) -> None:
    name, _, heading = link.partition("#")
    target = page.parent / name if name else page
    assert target.is_file()
    assert not heading or heading in headings(target)


def headings(path: Path) -> set[str]:
    """The headings of a document as links name them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }


def test_every_test_and_finding_that_a_document_names_is_there() -> None:
    tests = [file.read_text(encoding="utf-8") for file in (ROOT / "tests").rglob("*.py")]
    existing = set(re.findall(r"def (test_\w+)", "\n".join(tests)))
    existing |= {file.name for file in [*ROOT.glob("tests/*.py"), *ROOT.glob("findings/*.sh")]}
    named = {
        name
        for page in PAGES
        for name in re.findall(
            r"\btest_\w+\.py|\btest_[a-z]+_\w+\b(?!\.py)|(?<=findings/)[a-z][\w.-]+\.sh",
            page.read_text(encoding="utf-8"),
        )
    }
    assert len(named) > 40
    assert named <= existing


def test_the_readme_is_short_and_shows_both_set_up_commands() -> None:
    readme = text_of("README.md")
    assert len(readme.split()) < 1300
    assert (
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/avcheck demo --offset -120"
        in readme
    )
    assert (
        "python3 -m venv .venv && .venv/bin/pip install -e '.[dev]' && .venv/bin/python -m pytest"
        in readme
    )


@pytest.mark.skipif(shutil.which("groff") is None, reason="no groff here")
def test_the_man_page_is_one() -> None:
    shown = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", str(MAN_PAGE)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in COMMANDS:
        # Bold is a letter struck twice
        assert f"AVCHECK {command.upper()}" in re.sub(".\b", "", shown.stdout)
