"""The command on a terminal; its demo, help, version and start-up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.core import TyperArgument, TyperOption
from typer.testing import CliRunner

import avcheck
from avcheck.cli.app import app, main
from avcheck.record.report import Report
from tests.support import fake_scan
from tests.support.commands import ENVIRONMENT, FAKE_MAIN, ROOT, command

pytestmark = pytest.mark.usefixtures("fake")


def on_a_terminal(*args: str, columns: int = 100) -> tuple[int, str]:
    """Exit code and everything shown when both stdout and stderr are a terminal."""
    pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")
    ours, theirs = pty.openpty()
    environment = {
        **ENVIRONMENT,
        "TERM": "xterm",
        "COLUMNS": str(columns),
        "PYTHONUTF8": "1",
        "NO_COLOR": "",
    }
    process = subprocess.Popen(
        [sys.executable, "-c", FAKE_MAIN, *args], stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux reports the far end's close so
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return process.wait(timeout=60), shown.decode()


def test_a_single_file_on_a_terminal_gets_the_table(clips: Path) -> None:
    code, shown = on_a_terminal("late.mp4")
    assert code == 1
    assert "Attention" in shown and "Local offset" in shown
    assert "75.0 %" in shown and "118 ms late" in shown and "█" in shown
    assert "sound late by 120 ms (3.0 frames)" in shown
    assert "early by at most 40 ms, late by at most 60 ms (ebu-r37)" in shown
    assert "the sound starts 23 ms after the picture" in shown
    assert "%" in shown and "late.mp4" in shown


def test_several_files_on_a_terminal_get_a_line_each(clips: Path) -> None:
    code, shown = on_a_terminal("late.mp4", "good.mp4")
    assert code == 1
    assert "Attention" not in shown
    assert "2 files: 1 in sync, 1 out of sync" in shown


def test_quiet_on_a_terminal_shows_no_bar(clips: Path) -> None:
    assert on_a_terminal("-q", "good.mp4") == (0, "")


def test_verbose_gives_the_table_when_piped(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-v", "late.mp4", "good.mp4"]) == 1
    out = capsys.readouterr().out
    assert out.count("Local offset") == 2
    assert "\x1b" not in out


def with_demo(monkeypatch: pytest.MonkeyPatch, made: list[tuple[Path, float]]) -> None:
    def make_demo(path: Path, *, offset_ms: float, seconds: float = 12.0, seed: int = 1) -> None:
        path.write_bytes(b"clip")
        made.append((path, offset_ms))

    module = ModuleType("avcheck.scenes.demo")
    module.make_demo = make_demo  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "avcheck.scenes.demo", module)


def test_demo_agrees_within_a_frame(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[tuple[Path, float]] = []
    with_demo(monkeypatch, made)
    # The stand-in finds 4 ms in it
    assert main(["demo", "--offset", "-20", "--keep", "kept.mp4"]) == 0
    out = capsys.readouterr().out
    assert "made:  sound late by 20 ms (0.5 frames), kept as kept.mp4" in out
    assert (
        "found: sound early by 4 ms (0.1 frames), 24 ms from what was put in: right to within one "
        "frame" in out
    )
    assert (clips / "kept.mp4").read_bytes() == b"clip"
    assert made[0][1] == -20
    assert not made[0][0].exists()


def test_demo_that_finds_another_offset_is_2(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_demo(monkeypatch, [])
    assert main(["demo", "--offset=-120"]) == 2
    assert "124 ms from what was put in: wrong by more than one frame" in capsys.readouterr().out


def test_demo_that_finds_nothing_is_2(
    clips: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_demo(monkeypatch, [])
    monkeypatch.setattr(
        fake_scan.FakeChecker,
        "check_tracks",
        lambda _, path, *__: (Report(str(path), "undecidable", "silence"),),
    )
    assert main(["demo"]) == 2
    assert "found: no offset that avcheck is sure of" in capsys.readouterr().out


def test_version_everywhere(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["--version"], ["check", "--version"], ["film.mp4", "--version"]):
        assert main(args) == 0
        assert tuple(capsys.readouterr()) == (f"avcheck {avcheck.__version__}\n", "")


@pytest.mark.parametrize(
    "args",
    [
        ["-h"],
        *([name, "--help"] for name in ("check", "demo", "train", "eval", "ablate")),
        ["--help"],
    ],
)
def test_help(args: list[str]) -> None:
    shown = CliRunner().invoke(app, args, prog_name="avcheck")
    assert shown.exit_code == 0
    assert f"Usage: avcheck {'' if args[0].startswith('-') else args[0]}".strip() in shown.stdout


def test_nothing_given_shows_the_help_and_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Usage: avcheck" in capsys.readouterr().out


def test_every_command_and_option_has_help() -> None:
    commands = typer.main.get_group(app).commands
    assert set(commands) == {
        *("check", "compare", "demo", "evidence", "fix", "help", "signal", "watch"),
        *("merge", "show", "diff"),
        *("train", "eval", "ablate"),
    }
    for name, each in commands.items():
        assert each.help, name
        for parameter in each.params:
            assert isinstance(parameter, TyperArgument | TyperOption)
            assert parameter.help or parameter.hidden, (name, parameter.name)


def test_what_needs_no_network_loads_none() -> None:
    """Of one process, as what is loaded stays so."""
    calls = {"--help": 0, "--version": 0, "check --help": 0, "gone.mp4": 2, "gone.mp4 --json": 2}
    program = (
        "import sys; from avcheck.cli.app import main\n"
        "heavy = {'torch', 'av', 'numpy', 'soundfile', 'safetensors', 'cv2'}\n"
        "for args in sys.argv[1:]:\n"
        "    code = main(args.split())\n"
        "    print(args, 'ends with', code, 'and loads', heavy & set(sys.modules), file=sys.stderr)"
    )
    done = command(*calls, program=program)
    ends = [line for line in done.stderr.decode().splitlines() if " ends with " in line]
    assert ends == [f"{args} ends with {code} and loads set()" for args, code in calls.items()]


def test_python_m_avcheck() -> None:
    line = [sys.executable, "-m", "avcheck", "--version"]
    done = subprocess.run(line, capture_output=True, env=ENVIRONMENT, timeout=60, check=False)
    assert (done.returncode, done.stdout.decode()) == (0, f"avcheck {avcheck.__version__}\n")


def test_the_version_is_the_package_s() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == avcheck.__version__
