"""Fit the calibration of weights anew, to clips that they never saw; nothing else is changed.

    python -m avcheck.train.recalibrate CORPUS OUT.safetensors --added 2 --added 3

A network is surer on what it learnt from than on anything else, so its scores are turned into
probabilities on other clips: the training groups of later rounds, with a known offset or without.
The network's bias and measuring error stay as they are, because in these rounds the same weights
estimated most of the offsets.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from avcheck.errors import AvcheckError, UsageError
from avcheck.network.weights import load, load_heads, save
from avcheck.train.calibrate import fit_chances, left_out, trials
from avcheck.train.corpus import cache_clip, find_clips
from avcheck.train.store import require_writable
from avcheck.verdict.posterior import Calibration


def recalibrate(
    corpus: Path, out: Path, start: Path | None, added: Sequence[int], cache: Path
) -> dict[str, object]:
    """Write weights anew with a calibration fitted to other clips.

    Args:
        corpus: A folder with an `index.jsonl`.
        out: The file to write.
        start: The weights; None: the shipped ones.
        added: The rounds whose training clips of speech it is fitted to; none: all.
        cache: The folder for decoded clips.

    Returns:
        `sha256` of the file, its `calibration`, and how well that does on groups left out of its
        fit (`left_out`).

    Raises:
        UsageError: The corpus has no such clip that decodes, or the file cannot be written.
        ModelError: As `weights.load`.
    """
    require_writable(out)
    before = load(start, device="cpu")
    clips = [
        clip
        for clip in find_clips(corpus, split="train")
        if clip.kind == "speech" and clip.added in (added or (clip.added,))
    ]
    cached = [cache_clip(clip, cache, with_faces=False) for clip in clips]
    measured = trials(
        before,
        [item for item in cached if item is not None],
        on_clip=lambda done, total: print(f"{done} of {total} clips", file=sys.stderr),
    )
    if not measured:
        raise UsageError(
            f"{corpus}: no clip of speech of these rounds decodes and is long enough to calibrate "
            "on"
        )
    calibration = asdict(fit_chances(measured, Calibration(**before.calibration)))
    digest = save(
        out,
        before.net,
        {kind: each.net.head for kind, each in load_heads(before, start, device="cpu").items()},
        calibration=calibration,
        training={**before.training, "calibrated_on_rounds": sorted(set(added))},
    )
    return {"sha256": digest, "calibration": calibration, "left_out": left_out(measured)}


def main(arguments: Sequence[str]) -> int:
    """`CORPUS OUT`: recalibrate, and print the result as JSON."""
    parser = argparse.ArgumentParser(prog="python -m avcheck.train.recalibrate")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--from", dest="start", type=Path, help="weights; default: the shipped")
    parser.add_argument("--added", type=int, action="append", default=[], help="a round; all")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    options = parser.parse_args(arguments)
    try:
        fitted = recalibrate(
            options.corpus, options.out, options.start, options.added, options.cache
        )
    except AvcheckError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps(fitted, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
