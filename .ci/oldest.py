"""The oldest versions that pyproject.toml allows, one `name==version` a line, as constraints for pip."""

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
for text in project["dependencies"]:
    requirement = Requirement(text)
    (oldest,) = [each.version for each in requirement.specifier if each.operator == ">="]
    print(f"{requirement.name}=={oldest}")
