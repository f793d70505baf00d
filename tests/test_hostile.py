"""All of `tests.support.hostile` in one run of the command: every file ends as it has to, in every
format, and opens no other.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from avcheck.cli.app import main
from tests.support import guard, hostile
from tests.support.formats import SEVERAL

ROOT = Path(__file__).parent.parent
COMMAND = "from tests.support import decode_scan; decode_scan.command()"
LOCKED = (
    f"from tests.support import guard; guard.forbid_network(); {COMMAND}"
    if guard.AVAILABLE
    else COMMAND
)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
ENVIRONMENT.pop("GITHUB_STEP_SUMMARY", None)


@dataclass(frozen=True)
class Run:
    corpus: hostile.Corpus
    code: int
    outputs: dict[str, str]  # by format
    stdout: str
    stderr: str
    opened: set[bytes]

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.outputs["jsonl"].splitlines()]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> hostile.Corpus:
    return hostile.write_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((), id="in-process"),
        pytest.param(("--jobs", "2", "--timeout", "60"), id="workers", marks=pytest.mark.slow),
    ],
)
def run(
    request: pytest.FixtureRequest, corpus: hostile.Corpus, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Run]:
    results = tmp_path_factory.mktemp("results")
    targets = [f"--output={form}={results / form}" for form in SEVERAL]
    line = [
        sys.executable,
        "-c",
        LOCKED if not request.param else COMMAND,
        "check",
        *request.param,
        *targets,
        "--",
    ]
    environment = {**ENVIRONMENT, "TMPDIR": str(results)}
    with guard.Opened(corpus.folder) as watch:
        done = subprocess.run(
            [*line, *map(str, corpus.given)],
            env=environment,
            cwd=results,
            capture_output=True,
            timeout=300,
            check=False,
        )
        opened = watch.names()
    outputs: dict[str, str] = {
        form: (results / form).read_bytes().decode()
        for form in SEVERAL
        if (results / form).exists()
    }
    yield Run(corpus, done.returncode, outputs, done.stdout.decode(), done.stderr.decode(), opened)


pytestmark = pytest.mark.skipif(not guard.AVAILABLE, reason="watching what is opened needs Linux")


def test_every_case_ends_as_it_has_to(run: Run) -> None:
    assert run.code == 2, run.stderr
    records = {record["path"]: record for record in run.records}
    assert Counter(record["path"] for record in run.records) == Counter(
        str(case.path) for case in run.corpus.cases
    )
    wrong = []
    for case in run.corpus.cases:
        record = records[str(case.path)]
        reason = record["reason"] or ""
        verdict = "in_sync" if case.judged else "error"
        if (
            record["verdict"] != verdict
            or any(word not in reason for word in case.words)
            or "\n" in reason
        ):
            wrong.append((str(case.path), record["verdict"], reason))
        if (
            not case.judged
            and case.path.parent == run.corpus.folder
            and not any(mark in reason for mark in (";", "use mp4"))
        ):
            wrong.append((str(case.path), "no remedy", reason))
    assert not wrong


def test_nothing_but_the_files_named_is_opened(run: Run) -> None:
    assert hostile.TARGET.encode() not in run.opened
    assert {os.fsencode(case.path.name) for case in run.corpus.cases if case.judged} - {
        b"link.mp4"
    } <= run.opened


def test_a_file_that_is_followed_would_be_noticed(corpus: hostile.Corpus) -> None:
    import av

    with (
        guard.Opened(corpus.folder) as watch,
        av.open(str(corpus.folder / "list.ffconcat")) as container,
    ):
        assert len(list(container.decode(video=0))) == 50
        assert hostile.TARGET.encode() in watch.names()


def test_a_socket_would_be_noticed() -> None:
    code = "import socket; from tests.support import guard; guard.forbid_network(); socket.socket()"
    # SIGSYS
    assert (
        subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, check=False).returncode == -31
    )


@pytest.mark.parametrize("form", SEVERAL)
def test_every_format_has_every_file_once(run: Run, form: str) -> None:
    text = run.outputs[form]
    judged = sum(case.judged for case in run.corpus.cases)
    total = len(run.corpus.cases)
    if form == "text":
        assert len(text.splitlines()) in (total, judged)
    elif form == "json":
        assert len(json.loads(text)) == total
    elif form == "jsonl":
        assert len(run.records) == total
    elif form == "csv":
        rows = list(csv.reader(io.StringIO(text, newline="")))
        assert len(rows) == 1 + total and len({len(row) for row in rows}) == 1
    elif form == "junit":
        suite = ElementTree.fromstring(text)[0]
        assert len(suite.findall("testcase")) == total
        assert len(suite.findall("testcase/error")) == total - judged
    elif form == "otio":
        assert len(json.loads(text)["children"]) == total
    elif form == "fcpxml":
        assert len(ElementTree.fromstring(text).findall(".//project")) == judged
    elif form == "html":
        assert len(re.findall(r"<tr class=.?(?:in_sync|error)\b", text)) == total
    else:
        assert len([line for line in text.splitlines() if line.startswith("::")]) == 10


@pytest.mark.parametrize("form", SEVERAL)
def test_stdout_says_what_a_file_would(
    run: Run,
    form: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    (tmp_path / "results.jsonl").write_text(run.outputs["jsonl"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    assert main(["merge", "results.jsonl", "--format", form]) == 2
    stdout = capfdbinary.readouterr().out
    written = run.outputs[form]
    if form == "text":  # errors go to stderr there
        written = "".join(
            line for line in written.splitlines(keepends=True) if ": error: " not in line
        )
    lines, _, failed = stdout.decode().partition("\nFailed: ")
    assert lines == written
    assert bool(failed) == (form == "text")


def test_no_name_acts_on_a_terminal_or_a_build_server(run: Run) -> None:
    for text in (run.stdout, run.stderr, *run.outputs.values()):
        assert not {char for char in text if not char.isprintable()} - {
            "\n",
            "\r",
            "\ufffe",
            "\uffff",
        }
        assert "##[" not in text and "##vso[" not in text
    commands = [
        line for form, text in run.outputs.items() if form != "github" for line in text.splitlines()
    ]
    assert not [
        line for line in commands + run.stderr.splitlines() if line.lstrip().startswith("::")
    ]
    assert not [
        line
        for line in run.outputs["csv"].splitlines()
        if line.lstrip('"').startswith(("=", "+", "-", "@"))
    ]


def test_stderr_says_each_error_in_one_line(run: Run) -> None:
    errors = len(run.corpus.cases) - sum(case.judged for case in run.corpus.cases)
    lines = run.stderr.splitlines()
    assert len(lines) == errors + 1, lines
    assert (
        lines[-1]
        == f"{len(run.corpus.cases)} files: {len(run.corpus.cases) - errors} in sync, {errors} "
        "errors"
    )
