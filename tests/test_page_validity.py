"""Every kind of page is valid HTML: the Nu HTML Checker says nothing about it.

Needs Java, and the path of a `vnu.jar` of 2026 or later (npm's package `vnu-jar`) in
AVCHECK_TEST_VNU; skipped without them.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from avcheck.record.report import Stretch
from tests.support.page_reports import HOSTILE, compared, hostile, page, run, stills, title

VNU = os.environ.get("AVCHECK_TEST_VNU")
JAVA = shutil.which("java")
pytestmark = pytest.mark.skipif(
    not (VNU and JAVA), reason="needs Java, and a vnu.jar named by AVCHECK_TEST_VNU"
)


def test_the_nu_html_checker_has_nothing_to_say(tmp_path: Path) -> None:
    assert JAVA
    assert VNU
    film = title(60)
    drift = dataclasses.replace(film, stretches=(Stretch(0.0, 60.0, 0.0, 300.0),))
    undecidable = dataclasses.replace(
        film, verdict="undecidable", offset_ms=None, stretches=(), reason="the sound is silent"
    )
    failed = dataclasses.replace(
        undecidable, verdict="error", reason="no video stream", segments=(), detail=None
    )
    reports = [film, drift, compared(), undecidable, failed, *map(hostile, HOSTILE)]
    pages = [page([report], stills) for report in reports]
    pages += [page(reports), page(run(40, seconds=60)), page([])]
    for number, text in enumerate(pages):
        (tmp_path / f"{number}.html").write_text(text, encoding="utf-8")
    command = [JAVA, "-jar", VNU, "--format", "gnu", *map(str, tmp_path.glob("*.html"))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
