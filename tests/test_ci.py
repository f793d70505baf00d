"""The hook, the action, the snippets and the image: well formed, up to date with the command, and
their scripts run.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from avcheck import __version__
from avcheck.batch.discovery import MEDIA_SUFFIXES
from avcheck.cli.app import app

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CHECK = typer.main.get_group(app).commands["check"]
OPTIONS = {option for parameter in CHECK.params for option in parameter.opts}
WITH_TORCH = ("README.md", "action.yml", "ci/gitlab-ci.yml", "Dockerfile")
BASH = shutil.which("bash")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


@pytest.fixture
def media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with clips, and the command `avcheck` with a stand-in for the network on
    the PATH.
    """
    for name in ("good.mp4", "late one.mp4", "unsure.mkv", "-odd.mp4"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / ".git").mkdir()  # ends the search for settings here
    program = tmp_path / "bin" / "avcheck"
    program.parent.mkdir()
    code = "from tests.support import fake_scan; fake_scan.command()"
    program.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{code}" "$@"\n', encoding="utf-8"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bash(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The script as a runner of GitHub or GitLab starts it."""
    assert BASH is not None
    return subprocess.run(
        [BASH, "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


needs_bash = pytest.mark.skipif(BASH is None, reason="no bash here")


# ---- pre-commit


def test_the_hook_has_what_pre_commit_needs() -> None:
    (hook,) = load(".pre-commit-hooks.yaml")
    assert {"id", "name", "entry", "language"} <= set(hook)
    assert set(hook) <= {
        "id",
        "name",
        "description",
        "entry",
        "language",
        "files",
        "types",
        "require_serial",
        "args",
    }
    assert hook["language"] == "python" and hook["require_serial"] is True
    pattern = re.compile(hook["files"])
    expected = MEDIA_SUFFIXES - {".ts", ".mts"}
    for suffix in MEDIA_SUFFIXES:
        assert bool(pattern.search(f"a/film{suffix}")) == (suffix in expected), suffix
        assert bool(pattern.search(f"a/film{suffix.upper()}")) == (suffix in expected), suffix
    for name in ("a.py", "mp4", "a.mp4.txt", "a.ts"):
        assert not pattern.search(name)


@needs_bash
def test_the_hook_s_entry_runs(media: Path) -> None:
    (hook,) = load(".pre-commit-hooks.yaml")
    example = load("ci/pre-commit-config.yaml")["repos"][0]
    (used,) = example["hooks"]
    assert used["id"] == hook["id"]
    entry = shlex.split(hook["entry"])
    for args in (hook["args"], used["args"]):
        done = bash(shlex.join([*entry, *args, "-odd.mp4", "late one.mp4"]))
        assert (done.returncode, len(done.stdout.partition("\n\n")[0].splitlines())) == (1, 2)
        assert bash(shlex.join([*entry, *args, "good.mp4"])).returncode == 0
    assert shlex.split(hook["entry"])[0] in PROJECT["scripts"]


# ---- GitHub


def test_the_action_has_what_github_needs() -> None:
    action = load("action.yml")
    assert {"name", "description", "inputs", "runs"} <= set(action)
    assert action["runs"]["using"] == "composite"
    for step in action["runs"]["steps"]:
        assert ("uses" in step) != ("run" in step)
        if "run" in step:
            assert step["shell"] == "bash"
            assert "${{" not in step["run"]  # an input in the script would be code
    for name, each in action["inputs"].items():
        assert each["description"] and isinstance(each["default"], str), name
    used = re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8"))
    assert set(used) == set(action["inputs"])
    written = action_script().split("} >>")[0]
    for name, each in action["outputs"].items():
        assert each["description"]
        assert each["value"] == f"${{{{ steps.check.outputs.{name} }}}}"
        assert f"{name}=" in written or name.replace("-", "_") in written


@pytest.mark.parametrize("name", ["action.yml", "ci/github-workflow.yml"])
def test_what_others_made_is_pinned_by_its_digest(name: str) -> None:
    used = [
        row
        for row in (ROOT / name).read_text(encoding="utf-8").splitlines()
        if "uses:" in row and "OWNER/" not in row
    ]
    assert used
    for row in used:
        assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", row), row


def test_the_workflow_uses_inputs_the_action_has() -> None:
    workflow = load("ci/github-workflow.yml")
    assert workflow[True] == ["pull_request"]  # YAML 1.1 reads "on" as true
    steps = workflow["jobs"]["avcheck"]["steps"]
    (ours,) = [step for step in steps if step.get("uses", "").startswith("OWNER/avcheck")]
    assert set(ours["with"]) <= set(load("action.yml")["inputs"])
    assert ours["uses"].endswith(f"@v{__version__}")
    assert steps[-1]["with"]["path"] == ours["with"]["junit"]


def action_script() -> str:
    script: str = load("action.yml")["runs"]["steps"][-1]["run"]
    return script


@needs_bash
def test_the_action_runs(media: Path) -> None:
    summary, outputs = media / "summary.md", media / "outputs"
    done = bash(
        action_script(),
        INPUT_PATHS="good.mp4\nlate one.mp4\n-odd.mp4\n",
        INPUT_ARGS="--early\n10\n",
        INPUT_JUNIT="avcheck.xml",
        INPUT_PRESET="film",
        INPUT_FAIL_ON="out-of-sync, error",
        GITHUB_STEP_SUMMARY=str(summary),
        GITHUB_OUTPUT=str(outputs),
        RUNNER_TEMP=str(media),
    )
    assert done.returncode == 1, done.stderr
    assert "::error file=late one.mp4,title=avcheck%3A out of sync::" in done.stdout
    assert "<code>late one.mp4</code>" in summary.read_text(encoding="utf-8")
    assert ElementTree.parse(media / "avcheck.xml").getroot().get("tests") == "3"
    values = dict(row.split("=", 1) for row in outputs.read_text(encoding="utf-8").splitlines())
    records = [
        json.loads(row)
        for row in Path(values.pop("results")).read_text(encoding="utf-8").splitlines()
    ]
    assert [record["path"] for record in records] == ["good.mp4", "late one.mp4", "-odd.mp4"]
    assert values == {
        "exit-code": "1",
        "in-sync": "2",
        "out-of-sync": "1",
        "undecidable": "0",
        "error": "0",
    }


@pytest.mark.slow
@needs_bash
def test_the_action_with_its_defaults(media: Path) -> None:
    inputs = {
        key.upper().replace("-", "_"): each["default"]
        for key, each in load("action.yml")["inputs"].items()
    }
    environment = {f"INPUT_{key}": value for key, value in inputs.items()}
    assert bash(action_script(), **environment).returncode == 1
    assert bash(action_script(), **environment | {"INPUT_FAIL_ON": "undecidable"}).returncode == 1
    assert bash(action_script(), **environment | {"INPUT_FAIL_ON": "error"}).returncode == 0
    assert bash(action_script(), **environment | {"INPUT_PATHS": "$(touch pwned)"}).returncode == 2
    assert not (media / "pwned").exists()
    outputs = media / "outputs"
    wrong = environment | {"INPUT_PRESET": "bbc", "GITHUB_OUTPUT": str(outputs)}
    assert bash(action_script(), **wrong).returncode == 2  # and no file of results
    assert "exit-code=2\n" in outputs.read_text(encoding="utf-8")


# ---- GitLab


@needs_bash
def test_the_gitlab_job_runs_and_keeps_its_report(media: Path) -> None:
    job = load("ci/gitlab-ci.yml")["avcheck"]
    assert set(job) <= {
        "stage",
        "image",
        "variables",
        "cache",
        "before_script",
        "script",
        "artifacts",
    }
    done = bash("\n".join(job["script"]), **{**job["variables"], "MEDIA": "."})
    assert done.returncode == 1, done.stderr
    report = media / job["artifacts"]["reports"]["junit"]
    assert ElementTree.parse(report).getroot().get("tests") == "4"
    records = [
        json.loads(row)
        for row in (media / job["artifacts"]["paths"][0]).read_text(encoding="utf-8").splitlines()
    ]
    assert len(records) == 4
    assert job["artifacts"]["when"] == "always"  # a report of what failed is the point
    package, image = job["variables"]["AVCHECK_PACKAGE"], job["image"]
    assert package.endswith(f"@v{__version__}")
    assert package.startswith("git+") and "slim" not in image  # slim images have no git


# ---- the image


def test_the_image_is_pinned_and_has_no_root() -> None:
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    rows = [row for row in text.splitlines() if row and not row.startswith("#")]
    bases = [row.split()[1] for row in rows if row.startswith("FROM ")]
    assert all(re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", base) for base in bases)
    last = rows[rows.index(next(row for row in reversed(rows) if row.startswith("FROM "))) :]
    (user,) = [row for row in last if row.startswith("USER ")]
    assert user == "USER 10001:10001"
    (entry,) = [row for row in last if row.startswith("ENTRYPOINT ")]
    assert json.loads(entry.removeprefix("ENTRYPOINT "))[0] in PROJECT["scripts"]
    copied = {name for row in rows if row.startswith("COPY ") for name in row.split()[1:-1]}
    assert {"avcheck", "models", "LICENSE", "README.md"} <= copied  # what the wheel is built of
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for row in rows:
        if row.startswith("COPY ") and "--from" not in row:
            for name in row.split()[1:-1]:
                assert (ROOT / name).exists() and f"!{name}" in ignored


# ---- the audit of the packages


WEAK = {
    "name": "numpy",
    "version": "2.0.0",
    "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["2.0.1", "2.1.0"], "description": "text"}],
}
SOUND = {"name": "av", "version": "18.1.0", "vulns": []}
UNKNOWN = {"name": "avcheck-sync", "skip_reason": "not found on PyPI"}


@pytest.mark.parametrize(
    ("packages", "code", "says"),
    [
        (
            [WEAK, SOUND, UNKNOWN],
            1,
            "2 of 3 packages audited\nnumpy 2.0.0: PYSEC-2026-1, fixed in: 2.0.1, 2.1.0\n",
        ),
        (
            [{**WEAK, "vulns": [{"id": "PYSEC-2026-2", "fix_versions": []}]}],
            1,
            "1 of 1 packages audited\nnumpy 2.0.0: PYSEC-2026-2, fixed in: none yet\n",
        ),
        ([SOUND, UNKNOWN], 0, "1 of 2 packages audited\n"),
        ([UNKNOWN], 0, "0 of 1 packages audited\nSKIPPED: the service knows none of them\n"),
        (None, 0, "SKIPPED: pip-audit: no route to host\n"),
    ],
)
def test_the_audit_fails_where_a_package_has_a_known_weakness(
    tmp_path: Path, packages: list[dict[str, Any]] | None, code: int, says: str
) -> None:
    """A stand-in for pip-audit gives the answer, as its JSON has it, and ends as pip-audit does."""
    answer = "" if packages is None else json.dumps({"dependencies": packages, "fixes": []})
    weak = packages is None or any(each.get("vulns") for each in packages)
    (tmp_path / "pip_audit.py").write_text(
        "import sys\n"
        "assert sys.argv[1:] == ['--progress-spinner', 'off', '--format', 'json']\n"
        f"print({answer!r})\n"
        "print('asking\\nno route to host', file=sys.stderr)\n"
        f"sys.exit({int(weak)})\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, ROOT / ".ci" / "audit.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (code, says), done.stderr


# ---- all of them


@pytest.mark.parametrize("name", WITH_TORCH)
def test_the_torch_they_install_is_the_one_avcheck_wants(name: str) -> None:
    (wanted,) = [each for each in PROJECT["dependencies"] if each.startswith("torch")]
    assert f"'{wanted}'" in (ROOT / name).read_text(encoding="utf-8")
    assert "https://download.pytorch.org/whl/cpu" in (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [".pre-commit-hooks.yaml", "action.yml", "ci/gitlab-ci.yml", "ci/pre-commit-config.yaml"],
)
def test_they_name_options_that_exist(name: str) -> None:
    text = re.sub(
        r"^.*\bpip\b.*$|^.*-m venv.*$",
        "",
        (ROOT / name).read_text(encoding="utf-8"),
        flags=re.MULTILINE,
    )
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) <= OPTIONS
