"""How PyTorch is imported, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

OF_A_CHECK = f"from avcheck.cli.app import main; main([{__file__!r}]); "
OF_TRAINING = "from avcheck.cli.app import main; main(['train', 'nowhere']); "
OF_A_WORKER = (
    "import tempfile; from multiprocessing import Pipe; from avcheck.batch import process; "
    "process._serve = lambda *_: None; "
    "process._end_with_parent = lambda *_: None; "
    "process._work(Pipe()[1], None, 1, None, tempfile.mkdtemp() + '/scratch'); "
)
OF_THE_LIBRARY = "import avcheck.checker; "


@pytest.mark.parametrize(
    ("start", "whole"),
    [(OF_A_CHECK, False), (OF_A_WORKER, False), (OF_TRAINING, True), (OF_THE_LIBRARY, True)],
)
def test_only_a_check_by_avcheck_s_own_programs_goes_without_pytorch_s_compiler(
    start: str, whole: bool
) -> None:
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            start + "import sys, torch; print(hasattr(torch._meta_registrations, '__file__'), "
            "'torch._refs' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines()[-1] == f"{whole} {whole}"
