"""Prints the oldest versions that pyproject.toml allows, one `name==version` a line, as constraints
for pip.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = tomllib.loads(
    (Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8")
)["project"]

for text in PROJECT["dependencies"]:
    requirement = Requirement(text)
    (oldest,) = [each.version for each in requirement.specifier if each.operator == ">="]
    print(f"{requirement.name}=={oldest}")
