"""Every command of the README runs, in the order in which it stands there, and ends as it should.

A stand-in takes the place of the network; the files that the commands name are small ones.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.cli.app import main
from tests.support import fake_scan

Clip = Callable[..., Path]

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SHELL = "\n".join(re.findall(r"```(?:sh)?\n(.*?)```", README, re.DOTALL))
COMMANDS = [
    shlex.join(shlex.split(line, comments=True))
    for line in [
        *re.findall(r"^(?:\$ )?(avcheck .*)$", SHELL, re.MULTILINE),
        *re.findall(r"`(avcheck \S+ .*?)`", README),  # within a sentence
    ]
]
# The others end with 0, as the stand-in finds every film in sync
CODES = {
    "avcheck demo --offset -120": 2,  # the stand-in does not find what was put in
    "avcheck film.mkv --audio-track all": 1,  # one of its three tracks is late
    "avcheck diff old.jsonl new.jsonl": 1,
    "avcheck signal flash.mp4": 1,
}
# It watches until it is stopped, and by a package that may not be here
FURTHER = {"watch": ["--once", "--poll", "--settle", "0.1"]}


@pytest.fixture
def shop(tmp_path: Path, fake: None, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with every file that the README names."""
    fake_scan.stand_in(monkeypatch, in_workers=fake_scan.make_checker)
    monkeypatch.chdir(tmp_path)
    events_s = [1.5, 2.7, 4.4, 7.1, 8.3]
    film = clip("film.mp4", seconds=10, events_s=events_s).read_bytes()
    clip("flash.mp4", seconds=10, events_s=events_s, sound_late_s=0.1)
    clip("dub.wav", seconds=10, events_s=events_s, vcodec=None, acodec="pcm_s16le")
    # Drawing one takes longer than all the rest
    monkeypatch.setattr("avcheck.scenes.demo.make_demo", lambda path, **_: path.write_bytes(film))
    for name in ("film.mkv", "trailer.mov", "master.mov", "late.mp4"):
        Path(name).write_bytes(film)
    for folder in ("rushes", "archive", "masters", "out", "incoming", "library", "media"):
        Path(folder).mkdir()
        Path(folder, "film.mp4").write_bytes(film)
    Path(".git").mkdir()  # ends the search for settings here
    assert main(["film.mp4", "--output", "jsonl=old.jsonl"]) == 0
    assert main(["late.mp4", "--output", "jsonl=late.jsonl"]) == 1
    became_worse = Path("late.jsonl").read_text("utf-8").replace("late.mp4", "film.mp4")
    Path("new.jsonl").write_text(became_worse, "utf-8")
    return tmp_path


def test_every_command_runs(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(COMMANDS) >= 20  # so they are looked for in the right way
    ended = {}
    for command in COMMANDS:
        words = shlex.split(command)[1:]
        ended[command] = main([*words, *FURTHER.get(words[0], [])])
    assert ended == {**dict.fromkeys(COMMANDS, 0), **CODES}, capsys.readouterr().err


def test_the_lines_of_python_run(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})  # noqa: S102 - our own
    assert capsys.readouterr().out == "in_sync sound early by 4 ms (0.1 frames) 0.97\n"
