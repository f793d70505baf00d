"""Links PyTorch, and the libraries that come with it, from one environment into another whose
Python can load them: `link.py FROM TO`. pip would take half a minute to unpack their gigabytes.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from pathlib import Path

source, target = (next(Path(each).glob("lib/python*/site-packages")) for each in sys.argv[1:])
built_for = "cp" + target.parent.name.removeprefix("python").replace(".", "")

for info in source.glob("*.dist-info"):
    package = info.name.partition("-")[0]
    wanted = re.fullmatch(r"torch|triton|nvidia_\w+", package)
    if not wanted or any(target.glob(f"{package}-*.dist-info")):  # another one had it
        continue
    pythons = re.findall(r"^Tag: ([^-]+)-", (info / "WHEEL").read_text(encoding="utf-8"), re.M)
    if not {"py3", built_for} & set(".".join(pythons).split(".")):
        continue
    with (info / "RECORD").open(encoding="utf-8", newline="") as record:
        files = [Path(row[0]) for row in csv.reader(record)]
    # Scripts name the Python of their environment. What describes the package comes last: without
    # it, pip takes the package for not installed.
    for file in sorted(files, key=lambda file: file.parts[0] == info.name):
        if file.parts[0] != ".." and "__pycache__" not in file.parts:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            os.link(source / file, target / file)
