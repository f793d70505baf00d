"""What the documents print as the output of a command is what it prints, with the shipped weights.

Figures may differ by as much as one kind of processor differs from another.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from avcheck.cli.app import main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"\d+(?:\.\d+)?")
WITHIN = 3.0  # ms, or per cent of the attention


def printed_in(page: str, beginning: str) -> list[str]:
    """The lines of the block of a page that begins so; without the command, and "..."."""
    blocks = re.split(r"^```.*\n", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    (block,) = (block for block in blocks if block.startswith(beginning))
    return [line for line in block.splitlines() if line.strip(" .─") and line[0] != "$"]


def is_like(example: str, line: str) -> bool:
    """Whether two lines are the same but for bars, spaces, and figures that are nearly the same."""
    plain = [" ".join(re.sub("[\u2588-\u258f]", "", each).split()) for each in (example, line)]
    words = [NUMBER.sub("#", each) for each in plain]
    ours, theirs = ([float(each) for each in NUMBER.findall(text)] for text in plain)
    return words[0] == words[1] and ours == pytest.approx(theirs, abs=WITHIN)


def not_printed(page: str, beginning: str, said: str) -> list[str]:
    lines = said.splitlines()
    return [
        example
        for example in printed_in(page, beginning)
        if not any(is_like(example, line) for line in lines)
    ]


def test_the_demo_of_the_readme(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--offset", "-120"]) == 0
    assert not_printed("README.md", "$ avcheck demo --offset -120", capsys.readouterr().out) == []


def test_the_fix_of_its_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--offset", "-180", "--keep", "film.mp4"]) == 0
    capsys.readouterr()
    assert main(["fix", "film.mp4", "fixed.mp4"]) == 0
    assert not_printed("docs/fix.md", "before  out of sync", capsys.readouterr().out) == []
