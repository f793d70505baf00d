"""How PyTorch is imported, each time in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

OF_A_CHECK = f"from avcheck.cli.app import main; main([{__file__!r}])"
OF_A_WORKER = (
    "import tempfile; from multiprocessing import Pipe; from avcheck.batch import process; "
    "process._serve = process._end_with_parent = lambda *_: None; "
    "process._work(Pipe()[1], None, 1, None, tempfile.mkdtemp() + '/scratch')"
)
OF_TRAINING = "from avcheck.cli.app import main; main(['train', 'nowhere'])"
OF_THE_LIBRARY = f"import avcheck; list(avcheck.check_many([{__file__!r}]))"


@pytest.mark.parametrize(
    ("run", "without"),
    [(OF_A_CHECK, True), (OF_A_WORKER, True), (OF_TRAINING, False), (OF_THE_LIBRARY, False)],
    ids=["check", "worker", "training", "library"],
)
def test_only_a_check_by_avcheck_s_own_programs_goes_without_pytorch_s_compiler(
    run: str, without: bool
) -> None:
    """Whether an empty module stands in for the rules once this has run."""
    code = (
        f"{run}; import sys; rules = sys.modules.get('torch._meta_registrations'); "
        "print(rules is not None and not hasattr(rules, '__file__'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == str(without)


@pytest.mark.slow
def test_a_checker_is_made_without_pytorch_s_compiler() -> None:
    code = (
        "from avcheck.machine.loading import never_compile, while_importing; never_compile()\n"
        "with while_importing(): from avcheck.checker import Checker\n"
        "import sys; Checker(device='cpu'); print('torch._refs' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
