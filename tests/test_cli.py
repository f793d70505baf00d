"""The command: a line a file, exit codes, options. The network is replaced by `fake_scan`."""

from __future__ import annotations

from pathlib import Path

import pytest

from avcheck.cli.app import main
from avcheck.cli.gate import ExitCode
from avcheck.record.report import PRESETS, Tolerance
from tests.support import fake_scan
from tests.support.commands import rows

pytestmark = pytest.mark.usefixtures("fake")


@pytest.mark.parametrize(
    ("name", "code", "out", "err"),
    [
        (
            "good.mp4",
            0,
            "good.mp4: in sync: sound early by 4 ms (0.1 frames), confidence 0.97\n",
            "",
        ),
        (
            "late.mp4",
            1,
            "late.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97\n",
            "",
        ),
        ("unsure.mkv", 0, "unsure.mkv: undecidable: the picture does not show what sounds\n", ""),
        ("broken.mov", 2, "", "broken.mov: error: not a media file avcheck reads\n"),
        (
            "gone.mp4",
            2,
            "",
            "gone.mp4: error: there is no such file or directory; check the path\n",
        ),
    ],
)
def test_one_plain_line_a_file(
    clips: Path, capsys: pytest.CaptureFixture[str], name: str, code: int, out: str, err: str
) -> None:
    assert main([name]) == code
    assert tuple(capsys.readouterr()) == (out, err)


def test_check_is_the_default_and_can_be_named(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(["late.mp4"])
        == main(["check", "late.mp4"])
        == main(["-q", "late.mp4"])
        == main(["--", "late.mp4"])
        == 1
    )
    assert len(set(capsys.readouterr().out.splitlines())) == 1


def test_a_file_named_like_a_command(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "demo").write_bytes(b"x")
    assert main(["./demo"]) == 0
    assert capsys.readouterr().out.startswith("demo: in sync")


def test_a_bad_file_never_stops_the_others(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "raises.mp4").write_bytes(b"x")
    (clips / "huge.mp4").write_bytes(b"x")
    assert main(["gone.mp4", "broken.mov", "raises.mp4", "huge.mp4", "late.mp4", "good.mp4"]) == 2
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        "late.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97",
        "good.mp4: in sync: sound early by 4 ms (0.1 frames), confidence 0.97",
        "",
        "Failed: 5 of 6 files",
        "  out of sync  late.mp4: sound late by 120 ms (3.0 frames), confidence 0.97",
        "  error        broken.mov: not a media file avcheck reads",
        "  error        gone.mp4: there is no such file or directory; check the path",
        "  error        huge.mp4: memory ran out; check fewer files at a time, with --jobs",
        "  error        raises.mp4: no audio stream",
    ]
    assert err.splitlines() == [
        "gone.mp4: error: there is no such file or directory; check the path",
        "broken.mov: error: not a media file avcheck reads",
        "raises.mp4: error: no audio stream",
        "huge.mp4: error: memory ran out; check fewer files at a time, with --jobs",
        "6 files: 1 in sync, 1 out of sync, 4 errors",
    ]


def test_a_directory_is_searched_and_the_model_loaded_once(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["lib", "late.mp4"]) == 1
    out, err = capsys.readouterr()
    assert rows(out) == ["lib/a good.mp4", "lib/deep/late.webm", "late.mp4"]
    assert err == "3 files: 1 in sync, 2 out of sync\n"
    assert len(fake_scan.MADE) == 1


def test_a_directory_without_media(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (clips / "notes").mkdir()
    (clips / "notes" / "a.txt").write_text("nothing")
    assert main(["notes"]) == 2
    assert tuple(capsys.readouterr()) == (
        "",
        "notes: error: this directory holds no media files; check the path\n",
    )
    assert fake_scan.MADE == []


def test_an_empty_argument_is_not_the_working_directory(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([""]) == 2
    assert tuple(capsys.readouterr()) == (
        "",
        "(empty path): error: there is no such file or directory; check the path\n",
    )


def test_quiet_says_only_what_is_wrong(clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-q", "good.mp4", "late.mp4", "unsure.mkv", "broken.mov"]) == 2
    out, err = capsys.readouterr()
    assert out == "late.mp4: out of sync: sound late by 120 ms (3.0 frames), confidence 0.97\n"
    assert err == "broken.mov: error: not a media file avcheck reads\n"


def test_exit_zero_forgives_findings_and_not_errors(clips: Path) -> None:
    assert main(["--exit-zero", "late.mp4"]) == 0
    assert main(["--exit-zero", "late.mp4", "broken.mov"]) == 2


def test_the_exit_codes_are_the_documented_ones() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0,
        "OUT_OF_SYNC": 1,
        "NOT_JUDGED": 2,
        "BUG": 3,
        "INTERRUPTED": 130,
        "BROKEN_PIPE": 141,
    }


@pytest.mark.parametrize(
    ("options", "names", "code"),
    [
        (["--fail-on", "out-of-sync"], ["good.mp4", "late.mp4"], 1),
        (["--fail-on", "out-of-sync"], ["good.mp4", "unsure.mkv"], 0),
        (["--fail-on", "out-of-sync"], ["good.mp4", "broken.mov"], 0),
        (["--fail-on", "out-of-sync"], ["broken.mov"], 2),  # nothing was judged
        (["--fail-on", "out-of-sync"], ["gone.mp4"], 2),
        (["--fail-on", "undecidable"], ["unsure.mkv"], 1),
        (["--fail-on", "undecidable"], ["late.mp4"], 0),
        (["--fail-on", "undecidable"], ["late.mp4", "unsure.mkv", "broken.mov"], 1),
        (
            ["--fail-on", "undecidable", "--fail-on", "error"],
            ["late.mp4", "unsure.mkv", "broken.mov"],
            2,
        ),
        (["--fail-on", "error"], ["late.mp4"], 0),
        (["--fail-on", "undecidable", "--exit-zero"], ["unsure.mkv"], 0),
        (["--fail-on", "undecidable"], ["bug.mp4", "good.mp4"], 3),
        (["--exit-zero"], ["bug.mp4", "good.mp4"], 3),
        (["--fail-on", "out-of-sync"], ["ctrlc.mp4"], 130),
    ],
)
def test_fail_on(clips: Path, options: list[str], names: list[str], code: int) -> None:
    for name in ("bug.mp4", "ctrlc.mp4"):
        (clips / name).write_bytes(b"x")
    assert main([*options, *names]) == code


def test_quiet_shows_undecidable_where_it_fails_the_run(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-q", "--fail-on", "undecidable", "good.mp4", "unsure.mkv"]) == 1
    assert (
        capsys.readouterr().out
        == "unsure.mkv: undecidable: the picture does not show what sounds\n"
    )


def test_options_reach_the_check(clips: Path) -> None:
    (clips / "w.safetensors").write_bytes(b"x")
    (clips / "dub.wav").write_bytes(b"x")
    chosen = ["--audio-track", "2", "--video-track", "1", "--program", "101"]
    assert main(["good.mp4", *chosen, "--device", "cpu", "--model", "w.safetensors"]) == 0
    assert main(["good.mp4", "--audio", "dub.wav"]) == 0
    first, second = fake_scan.MADE
    assert (first.device, first.model, first.calls[0]["settings"].audio_tracks) == (
        "cpu",
        Path("w.safetensors"),
        (2,),
    )
    assert (first.calls[0]["settings"].video_track, first.calls[0]["settings"].program) == (1, 101)
    assert (second.device, second.model, second.calls[0]["settings"].audio) == (
        "auto",
        None,
        (Path("dub.wav"),),
    )


def test_sampling_is_asked_for_by_option_or_setting(
    clips: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--sample"], ["--sample", "--probes", "12"]):
        assert main(["good.mp4", *options]) == 0
    (clips / "avcheck.toml").write_text("sample = true\nprobes = 5\n")
    for options in ([], ["--probes", "6"], ["--no-sample"]):
        assert main(["good.mp4", *options]) == 0
    assert [made.calls[0]["settings"].sample for made in fake_scan.MADE] == [
        None,
        8,
        12,
        5,
        6,
        None,
    ]
    assert "[sampled 0:01 of 0:02]" in capsys.readouterr().out
    assert (
        main(["good.mp4", "--no-sample", "--probes", "6"])
        == main(["good.mp4", "--probes", "2"])
        == 2
    )
    errors = capsys.readouterr().err
    assert "--probes goes with --sample" in errors
    assert "--probes must be at least 3" in errors


@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        ([], PRESETS["ebu-r37"]),
        (["--preset", "film"], PRESETS["film"]),
        (["--early", "10", "--late", "20"], Tolerance(10, 20)),
        (["--early", "10"], Tolerance(10, 60)),
        (["--preset", "atsc", "--late", "0"], Tolerance(15, 0)),
    ],
)
def test_tolerance(clips: Path, options: list[str], tolerance: Tolerance) -> None:
    assert main(["good.mp4", *options]) == 0
    assert fake_scan.MADE[0].calls[0]["settings"].tolerance == tolerance


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["good.mp4", "--preset", "bbc"], "there is no preset 'bbc'"),
        (["good.mp4", "--early", "-5"], "--early must be a number of milliseconds of at least 0"),
        (["good.mp4", "--late", "nan"], "--late must be a number of milliseconds of at least 0"),
        (["good.mp4", "--late", "soon"], "--late must be a number"),
        (["good.mp4", "--audio-track", "-1"], "--audio-track"),
        (["good.mp4", "--video-track", "-1"], "--video-track"),
        (["good.mp4", "--program", "0"], "--program"),
        (
            ["good.mp4", "--audio", "gone.wav"],
            "--audio: cannot read gone.wav: No such file or directory",
        ),
        (["good.mp4", "--audio", "lib"], "--audio: lib is not a regular file"),
        (
            ["good.mp4", "late.mp4", "--audio", "late.mp4"],
            "--audio goes with exactly one file, not 2",
        ),
        (["lib", "--audio", "late.mp4"], "--audio goes with exactly one file, not 2"),
        (
            ["good.mp4", "--audio", "late.mp4", "--audio-track", "1"],
            "--audio and --audio-track exclude each other",
        ),
        (["good.mp4", "--model", "gone.safetensors"], "--model: cannot read gone.safetensors"),
        (["good.mp4", "--device", "tpu"], "tpu"),
        (
            ["good.mp4", "--json", "--format", "jsonl"],
            "--json and --format jsonl contradict each other",
        ),
        (["good.mp4", "--bogus"], "--bogus"),
        (["--bogus", "good.mp4"], "(see avcheck check --help)"),
        (["demo", "--bogus"], "(see avcheck demo --help)"),
        (["good.mp4", "--fail-on", "late"], "late"),
        (["good.mp4", "--format", "xml"], "xml"),
        (["good.mp4", "--output", "report.xml"], "--output takes FORMAT=FILE"),
        (["good.mp4", "--output", "json=late.mp4"], "late.mp4 exists already"),
        (
            ["good.mp4", "--config", "gone.toml"],
            "--config: cannot read gone.toml: No such file or directory",
        ),
        (["good.mp4", "--config", "lib"], "--config: lib is not a regular file"),
        (
            ["good.mp4", "--config", "wrong.toml"],
            "wrong.toml: there is no setting presset; did you mean preset?",
        ),
        (
            ["good.mp4", "--config", "right.toml", "--no-config"],
            "--config and --no-config contradict each other",
        ),
        (["check"], "PATH"),
        (["eval", "gone"], "gone: no such file or directory"),
        (["eval"], "give a CORPUS to measure, or --from FILE"),
        (["eval", "--from", "gone.jsonl"], "--from: cannot read gone.jsonl"),
        (
            ["eval", "lib", "--from", "right.toml"],
            "--from measures nothing, so only --plots goes with it",
        ),
        (["eval", "lib", "--faces", "gone.json"], "--faces: cannot read gone.json"),
        (["eval", "--from", "right.toml"], "right.toml: not written by `avcheck eval --rows`"),
        (["eval", "lib", "--plots", "good.mp4"], "good.mp4 is not a directory"),
        (["ablate", "good.mp4"], "good.mp4 is not a directory"),
        (["train", "good.mp4"], "good.mp4 is not a directory"),
        (["train", "lib", "--scale", "inf"], "--scale must be a number of at least 0.001, not inf"),
        (["signal", "gone.mp4"], "FILE: cannot read gone.mp4: No such file or directory"),
        (["signal", "good.mp4", "--audio", "lib"], "--audio: lib is not a regular file"),
        (["train", "lib", "--seed", "-1"], "--seed must be at least 0"),
        (["ablate", "lib", "--seed", "-1"], "--seed must be at least 0"),
        (["demo", "--offset", "nan"], "--offset must lie between -1500 and 1500 ms"),
        (["demo", "--offset", "-9000"], "--offset must lie between -1500 and 1500 ms"),
        (["demo", "--keep", "new.avi"], "must end in .mp4"),
        (["demo", "--keep", "good.mp4"], "good.mp4 exists already"),
        (["demo", "--keep", "nowhere/x.mp4"], "there is no directory"),
    ],
)
def test_wrong_usage_is_one_line_and_2(
    clips: Path, capsys: pytest.CaptureFixture[str], args: list[str], says: str
) -> None:
    (clips / "wrong.toml").write_text("presset = 'film'\n")
    (clips / "right.toml").write_text("preset = 'film'\n")
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("avcheck: ")
    assert err.count("\n") == 1
    assert says in err
    assert fake_scan.MADE == []
