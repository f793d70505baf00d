"""One file: blocks -> trunks once -> the classifier at every candidate shift -> a score curve per
segment.

A segment is ten blocks (10 s) in a row, and up to fourteen where a run of blocks ends. Memory holds
one segment and the two seconds of sound on either side of it. A title that is sampled is looked at
in probes of two segments (`sampling` says where). They are the segments that the whole title has
there, with the same sound around them. A file that stays undecidable may get a closer look
(`closeup`): a few of its segments again, their pictures more than three times the size.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from avcheck import progress
from avcheck.blocks import BLOCK_S, Block, blocks
from avcheck.closeup import CLOSER_SIDE, LEAST_SIDE, Closer, Seen, Zoomed, look_closer, zoom
from avcheck.cores import cores
from avcheck.detail import detail_of
from avcheck.errors import CannotSeek, MediaError, is_out_of_memory
from avcheck.looking import LEVELS
from avcheck.media import Media, MediaInfo, open_media
from avcheck.model import fuse
from avcheck.model_config import AttentionKind
from avcheck.posterior import Calibration, Curve
from avcheck.report import DEFAULT_PRESET, PRESETS, Degraded, Report, Tolerance
from avcheck.reporting import report_on
from avcheck.sampling import PROBE_BLOCKS, first_probes, more_probes, stretches
from avcheck.scan import scan_segments
from avcheck.segments import MARGIN_BLOCKS, ahead, beside_decoding, probes, segments, window_over
from avcheck.signals.signal import SIGNAL_SIDE, as_test_signal
from avcheck.signals.verdict import judge_signal
from avcheck.tracks import others
from avcheck.verdict import Judgement, judge, without_unseen
from avcheck.weights import load

_LEFT = "small faces may not have been looked at (--thorough does)"
_FIRST_SHARE = 0.8  # of the progress shown, for the probes that are sure to be looked at
_PROBES_AHEAD = 1  # a probe's pictures take some 30 MB
# Reasons that another sound may not have
_SOUND_IN_DOUBT = {
    "silent",
    "too_short",
    "no_match",
    "ambiguous",
}
_PICTURE_IN_DOUBT = {"blank", "still", "too_short", "no_match", "ambiguous"}  # the same of pictures


# Opens a file on the tracks to check, its pictures with such a short side, px
_Opener = Callable[[int], Media]


@dataclass
class _Tell:
    """Tells how far a sampled check has come: from `done`, by `step` with every block that is
    decoded.
    """

    on_progress: Callable[[float], None] | None
    done: float
    step: float

    def __call__(self, block: Block) -> None:
        self.done = min(1.0, self.done + self.step)
        if self.on_progress is not None:
            self.on_progress(self.done)


class Checker:
    """Weights loaded once, to check any number of files.

    `model`: a weights file, or None for the shipped one; `device`: "auto", "cpu", "cuda" or "mps";
    `attention`: one of `ATTENTION_KINDS`, or None for the file's own; `threads`: for the network
    and for the decoder, 0 = as PyTorch and `open_media` choose, within what this process may use.
    Raises ModelError or UsageError as `weights.load` does.
    """

    def __init__(
        self,
        model: Path | None = None,
        device: str = "auto",
        attention: AttentionKind | None = None,
        threads: int = 0,
    ) -> None:
        self._threads = threads
        # PyTorch counts the machine's cores, whatever a container's share of them is.
        torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
        self.loaded = load(model, device=device, attention=attention)
        fuse(self.loaded.net)
        self.calibration = Calibration(**self.loaded.calibration)

    def curves(
        self,
        path: str | Path,
        *,
        audio_track: int | None = None,
        video_track: int | None = None,
        program: int | None = None,
        audio: str | Path | None = None,
        on_progress: Callable[[float], None] | None = None,
    ) -> tuple[list[Curve], MediaInfo, Degraded]:
        """The score curves of a file, with what is known of it and what was lost on the way. Raises
        MediaError.
        """
        return self._curves(
            self._opener(path, audio_track, video_track, program, audio), on_progress
        )

    def _opener(
        self,
        path: str | Path,
        audio_track: int | None,
        video_track: int | None,
        program: int | None,
        audio: str | Path | None,
    ) -> _Opener:
        def opener(short_side: int) -> Media:
            return open_media(
                path,
                audio_track=audio_track,
                video_track=video_track,
                program=program,
                audio_path=audio,
                short_side=short_side,
                threads=self._threads,
            )

        return opener

    def _curves(
        self, opener: _Opener, on_progress: Callable[[float], None] | None
    ) -> tuple[list[Curve], MediaInfo, Degraded]:
        with opener(max(LEVELS)) as media:
            info = media.info
            ended = threading.Event()
            with (
                progress.first_look(self.loaded.net.visual, info.duration_s or 0.0, on_progress),
                closing(ahead(blocks(media.pictures(), media.sounds()), ended=ended)) as coming,
                closing(beside_decoding(segments(coming, seams_s=media.seams_s), ended)) as found,
            ):
                curves = list(scan_segments(found, self.loaded))
            return curves, media.info, media.degraded

    def _sampled_curves(
        self,
        opener: _Opener,
        probes_first: int,
        tolerance: Tolerance,
        on_progress: Callable[[float], None] | None,
    ) -> tuple[list[Curve], MediaInfo, Degraded] | None:
        """As `_curves`, of stretches spread over the title only, and of more where those leave the
        verdict open.

        None for a title that is too short for `probes_first` of them, or cannot be read from the
        middle: check it whole. Raises MediaError.
        """
        with opener(max(LEVELS)) as media:
            origin_s = media.info.first_picture_s
            if not media.seekable or origin_s is None or media.info.duration_s is None:
                return None
            total = stretches(media.info.duration_s - origin_s)
            where = first_probes(total, probes_first)
            looked: list[int] = []
            curves: list[Curve] = []
            done, share = 0.0, _FIRST_SHARE
            try:
                while where:
                    tell = _Tell(
                        on_progress,
                        done,
                        (1 - done) * share / (len(where) * (PROBE_BLOCKS + 2 * MARGIN_BLOCKS)),
                    )
                    ended = threading.Event()
                    with (
                        closing(
                            ahead(probes(media, where, origin_s, tell), _PROBES_AHEAD, ended)
                        ) as source,
                        closing(beside_decoding(source, ended)) as coming,
                    ):
                        for probe in coming:
                            curves += scan_segments(probe.segments(), self.loaded)
                    done, share = done + (1 - done) * share, 0.5
                    looked += where
                    curves.sort(key=lambda curve: curve.start_s)
                    found = judge(curves, tolerance, self.calibration)
                    where = more_probes(looked, found, total, probes_first, origin_s)
            except CannotSeek:
                return None
            if curves and on_progress is not None:
                on_progress(1.0)
            return (curves, media.info, media.degraded) if curves else None

    def _closer(self, opener: _Opener, info: MediaInfo, stack: ExitStack) -> Closer:
        """Looks closer at segments of a file, which is opened again, until `stack` is closed, when
        the first is asked for.

        A file whose pictures are too small for that, or that cannot be read from the middle, raises
        CannotSeek then.
        """
        opened: list[Media] = []

        def open_again() -> Media:
            if info.first_picture_s is None or min(info.width, info.height) < LEAST_SIDE:
                raise CannotSeek(info.path, "there is nothing to look closer at")
            media = opener(CLOSER_SIDE)
            opened.append(stack.enter_context(media))
            if not media.seekable:
                raise CannotSeek(info.path, "cannot be read from the middle")
            return media

        def closer(curve: Curve, budget: float) -> Seen:
            media = opened[0] if opened else open_again()
            try:
                return look_again(media, curve, budget)
            except Exception as error:  # what was seen at first still holds
                if isinstance(error, MediaError) or is_out_of_memory(error):
                    return Seen(curve)
                raise

        def look_again(media: Media, curve: Curve, budget: float) -> Seen:
            origin_s = info.first_picture_s or 0.0
            start = round((curve.start_s - origin_s) / BLOCK_S)
            end = start + len(curve.block_start_s)
            stretch = window_over(media, start, end, origin_s)
            if (
                len(stretch.inside) != end - start
                or len({block.pictures.shape for block in stretch.inside}) > 1
            ):
                return Seen(curve)  # damaged: decoded from here, it is not what was looked at first
            return look_closer(curve, stretch, self.loaded, budget)

        return closer

    def check(
        self,
        path: str | Path,
        *,
        audio_track: int | None = None,
        video_track: int | None = None,
        program: int | None = None,
        audio: str | Path | None = None,
        tolerance: Tolerance = PRESETS[DEFAULT_PRESET],
        sample: int | None = None,
        detail: bool = False,
        thorough: bool = False,
        on_progress: Callable[[float], None] | None = None,
    ) -> Report:
        """Check one file, or with `sample` only that many stretches of it at first, if it is long
        enough for that.

        `thorough`: a closer look, where there is one, may cost what it will. `detail`: whether the
        report has its `Detail`. Raises MediaError for a file that cannot be judged (`avcheck.check`
        turns it into a report).
        """
        opener = self._opener(path, audio_track, video_track, program, audio)
        sampled = (
            None if sample is None else self._sampled_curves(opener, sample, tolerance, on_progress)
        )
        curves, info, degraded = sampled or self._curves(opener, on_progress)
        zoomed = Zoomed(curves, judge(curves, tolerance, self.calibration))
        with (
            progress.closer_look(self.loaded.net.visual, None if sampled else on_progress),
            ExitStack() as stack,
            suppress(MediaError),  # it cannot be opened again, or not be read from the middle
        ):
            closer = self._closer(opener, info, stack)
            zoomed = zoom(
                curves, zoomed.found, closer, tolerance, self.calibration, thorough=thorough
            )
        found, cut, signal = zoomed.found, zoomed.cut, None
        if sampled is None and found.verdict == "undecidable" and found.reason_code != "borderline":
            with suppress(MediaError), opener(SIGNAL_SIDE) as media:
                signal = as_test_signal(media)
        if signal is not None:
            found, cut = replace(judge_signal(signal, tolerance), blocks=found.blocks), False
        found = without_unseen(found, degraded.unseen_s, info.duration_s)
        return replace(
            report_on(path, found, info, degraded, tolerance),
            reason=_reason(found, info, cut),
            measured_by="network" if signal is None else "test_signal",
            sampled_s=None
            if sampled is None
            else BLOCK_S * sum(len(curve.block_start_s) for curve in curves),
            closer_look_cut=cut,
            program=info.program,
            programs=info.programs,
            detail=detail_of(zoomed.curves, found, self.calibration, info) if detail else None,
            model_sha256=self.loaded.sha256,
        )


def _reason(found: Judgement, info: MediaInfo, cut: bool) -> str | None:
    """Why a file is undecidable, with what was not looked at: tracks, of which one may be the one
    that was meant, and what a closer look left, `cut`.
    """
    # A separate sound file stands in place of the tracks, so none of its own can be chosen.
    audio = [track for track in info.audio_tracks if info.audio_track not in (None, track.number)]
    video = [track for track in info.video_tracks if track.number != info.video_track]
    audio = audio if found.reason_code in _SOUND_IN_DOUBT else []
    video = video if found.reason_code in _PICTURE_IN_DOUBT else []
    parts = (found.reason, others(audio, video), _LEFT if cut else None)
    return "; ".join(part for part in parts if part) or None
