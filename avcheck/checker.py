"""One file: a first look at its pictures and each of its sounds (`first_look`), a closer one if
that shows nothing, and the verdict.

A segment is ten blocks (10 s) in a row, up to fourteen at the end of a run of blocks. Memory holds
one segment and two seconds of sound on either side. Of a long title all of the sound is heard, of a
sampled one some of it, and `listening` chooses the segments to look at. They are the same as in a
check of the whole title, with the same sound around them. A file that stays undecidable may get a
closer look (`closeup`): a few of its segments again, with pictures more than three times the size.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import torch

from avcheck._version import __version__
from avcheck.errors import CannotSeek, MediaError, is_out_of_memory
from avcheck.machine.cores import cores
from avcheck.media import MediaInfo
from avcheck.network.model_config import AttentionKind
from avcheck.network.quantised import make_ready
from avcheck.network.weights import load
from avcheck.reading.blocks import BLOCK_S
from avcheck.reading.choice import Choice, sounds_of
from avcheck.reading.segments import window_over
from avcheck.reading.title import Part, Title, open_title, pictures_in, sounds_in
from avcheck.record.odd_one_out import odd_one_out
from avcheck.record.report import USUAL_REACH_S, Degraded, Report
from avcheck.record.tracks import others
from avcheck.scan import progress
from avcheck.scan.closeup import CloserAtAll, Zoomed, zoom_all
from avcheck.scan.first_look import FirstLook, Opener, look_at_all, look_at_samples
from avcheck.scan.reach import Search, as_in_file, chosen_of, laid, likelihood_of
from avcheck.scan.searching import CLOSER_SIDE, CloserLook, look_closer_for_all
from avcheck.settings import DEFAULTS, CheckSettings, OnProgress
from avcheck.signals.looks import Looks, looks_of
from avcheck.signals.signal import SIGNAL_SIDE, Signal, may_be_signal, recognised_in
from avcheck.signals.stamps import can_read_stamps, stamps_of
from avcheck.signals.verdict import judge_signal, undecided
from avcheck.verdict.detail import detail_of
from avcheck.verdict.judge import Judgement, judge, without_unseen
from avcheck.verdict.posterior import Calibration, Curve
from avcheck.verdict.reporting import report_on, within_title

_STAMPED_S = 3.0  # in which a stamped capture shows its first stamp
_FURTHER = "--reach searches for larger offsets"
_LEFT = "small faces may have been missed (--thorough looks for them)"
# Reasons that may not hold for another sound of the file
_SOUND_IN_DOUBT = {"silent", "too_short", "no_match", "ambiguous"}
# The same for another picture track
_PICTURE_IN_DOUBT = {"blank", "still", "too_short", "no_match", "ambiguous"}


class Checker:
    """Weights loaded once, to check any number of files.

    Args:
        model: A weights file; None: the shipped one.
        device: "auto", "cpu", "cuda" or "mps".
        attention: The kind of head, one of `ATTENTION_KINDS`; None: the file's own.
        threads: For the network, and for the decoder; 0: as PyTorch and `open_media` choose, within
            what this process may use.

    Raises:
        ModelError: As `weights.load` raises it.
        UsageError: The same.
    """

    def __init__(
        self,
        model: Path | None = None,
        device: str = "auto",
        attention: AttentionKind | None = None,
        threads: int = 0,
    ) -> None:
        self._threads = threads
        # PyTorch counts the machine's cores, even if the container has a smaller share.
        torch.set_num_threads(threads or min(torch.get_num_threads(), cores()))
        self.loaded = load(model, device=device, attention=attention)
        make_ready(self.loaded)
        self.calibration = Calibration(**self.loaded.calibration)

    def curves(
        self,
        path: str | Path,
        settings: CheckSettings = DEFAULTS,
        on_progress: OnProgress | None = None,
    ) -> tuple[list[Curve], MediaInfo, Degraded]:
        """The score curves of a file, for the first sound asked for, without a closer look.

        Returns:
            The curve of each segment in order of time, what is known of the file, and what was lost
            of it.

        Raises:
            MediaError: The file cannot be judged.
        """
        choices = sounds_of(path, settings)[:1]
        first = look_at_all(
            self._opener(path, settings), choices, settings, self.loaded, on_progress
        )
        return first.curves[0], first.infos[0], first.degraded[0]

    def check(
        self,
        path: str | Path,
        settings: CheckSettings = DEFAULTS,
        on_progress: OnProgress | None = None,
    ) -> Report:
        """`check_tracks` for settings that ask for one sound. Raises ValueError for others."""
        (report,) = self.check_tracks(path, settings, on_progress)
        return report

    def check_tracks(
        self,
        path: str | Path,
        settings: CheckSettings = DEFAULTS,
        on_progress: OnProgress | None = None,
    ) -> tuple[Report, ...]:
        """Check one file: a report for each sound that `settings` ask for, in that order.

        The pictures are decoded and looked at once for all of them. A sound that cannot be judged
        gets a report of its own that says so.

        Raises:
            MediaError: The file cannot be judged at all (`avcheck.check` turns it into a report).
        """
        if on_progress is not None:
            on_progress = progress.Rising(on_progress)
            on_progress(0.0)  # the weights are loaded
        opener = self._opener(path, settings)
        choices = sounds_of(path, settings)
        every = laid(choices, settings.reach_s)
        first = None
        if settings.sample is not None:
            first = look_at_samples(
                opener, every, settings, settings.sample, self.loaded, on_progress
            )
        if first is None:
            first = look_at_all(
                opener,
                every,
                settings,
                self.loaded,
                on_progress,
                listen_first=not settings.thorough,
            )
        zoomed = self._closer_look(opener, first, settings, on_progress)
        signals = _test_signals(opener, first, zoomed)
        reports = {
            choice.as_it_is: self._error_report(path, choice, error, first.infos[0], settings)
            for choice, error in first.refused.items()
        }
        for choice in choices:
            numbers = [n for n, each in enumerate(first.choices) if each.as_it_is == choice]
            if numbers:
                signal = next((signals[number] for number in numbers if number in signals), None)
                number, looked = self._of_all_searches(first, zoomed, numbers, settings)
                reports[choice] = self._report(path, first, number, looked, signal, settings)
        return _of_one_title([reports[choice] for choice in choices])

    def _of_all_searches(
        self,
        first: FirstLook,
        zoomed: Sequence[Zoomed],
        numbers: Sequence[int],
        settings: CheckSettings,
    ) -> tuple[int, Zoomed]:
        """What the searches of these numbers, all of one sound, say together, and which of them
        says so.
        """
        usual = next(n for n in numbers if first.choices[n].later_frames == 0)
        if len(numbers) == 1 or not zoomed[usual].curves:
            return usual, zoomed[usual]
        searches, curves = [], {}
        for number in numbers:
            later = first.choices[number].later_frames
            curves[later] = as_in_file(zoomed[number].curves, first.choices[number])
            judgement = judge(curves[later], settings.tolerance, self.calibration, first.seams_s)
            likelihood = likelihood_of(curves[later], self.calibration)
            searches.append(Search(later, judgement, likelihood))
        shifts = len(curves[0][0].shifts)
        later, judgement = chosen_of(searches, shifts, settings.reach_s, self.calibration)
        number = next(n for n in numbers if first.choices[n].later_frames == later)
        return number, Zoomed(curves[later], judgement, zoomed[number].cut)

    def _opener(self, path: str | Path, settings: CheckSettings) -> Opener:
        def opener(choices: Sequence[Choice], short_side: int) -> Title:
            return open_title(path, settings, choices, short_side=short_side, threads=self._threads)

        return opener

    def _closer_look(
        self,
        opener: Opener,
        first: FirstLook,
        settings: CheckSettings,
        on_progress: OnProgress | None,
    ) -> list[Zoomed]:
        """The curves and what they say, after a closer look at the title if one is wanted."""
        zoomed = [
            Zoomed(curves, judge(curves, settings.tolerance, self.calibration, first.seams_s))
            for curves in first.curves
        ]
        heard = [number for number, failure in enumerate(first.failures) if failure is None]
        with (
            progress.closer_look(self.loaded.net.visual, on_progress if first.is_whole else None),
            ExitStack() as stack,
            suppress(MediaError),  # it cannot be opened again, or not be read from the middle
        ):
            closer = self._closer(opener, first, heard, stack)
            looked = zoom_all(
                [zoomed[number] for number in heard],
                closer,
                settings.tolerance,
                self.calibration,
                thorough=settings.thorough,
                seams_s=first.seams_s,
            )
            for number, each in zip(heard, looked, strict=True):
                zoomed[number] = each
        return zoomed

    def _closer(
        self, opener: Opener, first: FirstLook, heard: Sequence[int], stack: ExitStack
    ) -> CloserAtAll:
        """A function that looks closer at segments of a file. For the first of them it opens the
        file again, which `stack` closes, and raises CannotSeek if the file cannot be read from the
        middle. heard: the numbers of the sounds to be asked about.
        """
        info, origin_s = first.infos[0], first.origin_s
        opened: list[Title] = []

        def open_again(numbers: Sequence[int]) -> Title:
            if origin_s is None:
                raise CannotSeek(info.path, "there is nothing to look closer at")
            choices = [first.choices[heard[number]] for number in numbers]
            title = opener(choices, CLOSER_SIDE)
            opened.append(stack.enter_context(title))
            if not title.seekable or len(title.choices) < len(choices):
                raise CannotSeek(info.path, "the file cannot be read from the middle")
            return title

        def closer(
            curves: Sequence[Curve], numbers: Sequence[int], budget: float, faces_alone: bool
        ) -> list[CloserLook]:
            title = opened[0] if opened else open_again(numbers)
            try:
                return look_again(title, curves, budget, faces_alone)
            except Exception as error:  # the first look still holds
                if isinstance(error, MediaError) or is_out_of_memory(error):
                    return [CloserLook(curve) for curve in curves]
                raise

        def look_again(
            title: Title, curves: Sequence[Curve], budget: float, faces_alone: bool
        ) -> list[CloserLook]:
            start = round((curves[0].start_s - (origin_s or 0.0)) / BLOCK_S)
            end = start + len(curves[0].block_start_s)
            stretch = window_over(title, start, end, origin_s or 0.0)
            if (
                len(stretch.inside) != end - start
                or len({block.pictures.shape for block in stretch.inside}) > 1
            ):
                # Damaged: decoded from here, it differs from the first look
                return [CloserLook(curve) for curve in curves]
            by_sound = [stretch.with_sound(number) for number in range(len(curves))]
            return look_closer_for_all(curves, by_sound, self.loaded, budget, faces_alone)

        return closer

    def _report(
        self,
        path: str | Path,
        first: FirstLook,
        number: int,
        zoomed: Zoomed,
        signal: Signal | None,
        settings: CheckSettings,
    ) -> Report:
        info, degraded, choice = first.infos[number], first.degraded[number], first.choices[number]
        failure = first.failures[number]
        if failure is not None:
            return self._error_report(path, choice, failure, info, settings)
        judgement, cut, part = zoomed.judgement, zoomed.cut, first.part
        if signal is not None:
            is_signal = signal.is_test_signal
            judged = judge_signal(signal, settings.tolerance) if is_signal else undecided(signal)
            judgement = replace(judged, blocks=judgement.blocks)
            cut = False
        length_s = info.duration_s
        if part is not None:
            length_s, degraded = part.end_s - part.start_s, _within(degraded, part)
        judgement = without_unseen(judgement, degraded.unseen_s, length_s)
        detail = (
            detail_of(zoomed.curves, judgement, self.calibration, info) if settings.detail else None
        )
        report = replace(
            report_on(path, judgement, info, degraded, settings.tolerance),
            reason=_reason(
                judgement,
                info,
                cut,
                chosen=_count(first.choices) > 1,
                is_near=signal is None and settings.reach_s == USUAL_REACH_S,
            ),
            measured_by="network" if signal is None else "test_signal",
            signal=None if signal is None else signal.kind,
            sampled_s=first.sampled_s,
            listened=first.listened,
            part_s=None if part is None else (part.start_s, part.end_s),
            closer_look_cut=cut,
            reach_s=settings.reach_s,
            audio_path=None if choice.audio is None else str(choice.audio),
            program=info.program,
            programs=info.programs,
            detail=detail,
            model_sha256=self.loaded.sha256,
        )
        return within_title(report)

    def _error_report(
        self,
        path: str | Path,
        choice: Choice,
        error: MediaError,
        info: MediaInfo,
        settings: CheckSettings,
    ) -> Report:
        """The report of one of several sounds that cannot be judged."""
        return Report(
            str(path),
            "error",
            reason=error.reason if error.path == str(path) else str(error),
            reason_code=error.code,
            tolerance=settings.tolerance,
            duration_s=info.duration_s,
            audio_track=choice.track,
            audio_path=None if choice.audio is None else str(choice.audio),
            audio_tracks=() if choice.audio is not None else info.audio_tracks,
            model_sha256=self.loaded.sha256,
            avcheck_version=__version__,
        )


def _test_signals(opener: Opener, first: FirstLook, zoomed: Sequence[Zoomed]) -> dict[int, Signal]:
    """For each sound, by its number: the test signal that it makes with the pictures, if that says
    more than the network.
    """
    may_be = [may_be_signal(beeps) for beeps in first.beeps] or [False] * len(first.choices)
    may_be_stamped = first.stamped and can_read_stamps()
    numbers = [
        number
        for number, failure in enumerate(first.failures)
        if failure is None
        and first.choices[number].later_frames == 0
        and (may_be[number] or may_be_stamped)
    ]
    signals: dict[int, Signal] = {}
    if not numbers:
        return signals
    choices = [first.choices[number] for number in numbers]
    with suppress(MediaError), opener(choices, SIGNAL_SIDE) as title:

        @cache  # the same for every sound
        def looks() -> Looks:
            return looks_of(pictures_in(title, first.part))

        for at, choice in enumerate(title.choices):
            number = numbers[choices.index(choice)]
            signal: Signal | None = None
            if may_be_stamped:
                sound = sounds_in(title, first.part)[at]
                signal = stamps_of(pictures_in(title, first.part), sound, within_s=_STAMPED_S)
            if signal is None and may_be[number]:
                signal = recognised_in(looks(), first.beeps[number])
            if signal is not None and _goes_first(signal, zoomed[number].judgement):
                signals[number] = signal
    return signals


def _goes_first(signal: Signal, judgement: Judgement) -> bool:
    """Whether to believe the test signal, and not the network."""
    if judgement.verdict == "undecidable" and judgement.reason_code != "borderline":
        return signal.is_test_signal
    return signal.is_all


def _of_one_title(reports: Sequence[Report]) -> tuple[Report, ...]:
    if len(reports) == 1:
        return tuple(reports)
    summary = odd_one_out(reports)
    return tuple(replace(each, records=len(reports), title_summary=summary) for each in reports)


def _within(degraded: Degraded, part: Part) -> Degraded:
    """What was lost within the part that was looked at."""
    unseen_s = tuple(
        (max(start_s, part.start_s), min(end_s, part.end_s))
        for start_s, end_s in degraded.unseen_s
        if start_s < part.end_s and end_s > part.start_s
    )
    return replace(degraded, unseen_s=unseen_s)


def _count(choices: Sequence[Choice]) -> int:
    """How many sounds these are, wherever they are laid."""
    return len({each.as_it_is for each in choices})


def _reason(
    judgement: Judgement, info: MediaInfo, cut: bool, *, chosen: bool, is_near: bool = False
) -> str | None:
    """Why a file is undecidable, and what was not looked at: other tracks, one of which may be the
    right one, unless several were `chosen`; larger offsets, if the search `is_near`; and what a
    closer look had no budget for, `cut`.
    """
    # A separate sound file replaces the tracks, so none of these can be chosen.
    audio = [track for track in info.audio_tracks if info.audio_track not in (None, track.number)]
    video = [track for track in info.video_tracks if track.number != info.video_track]
    audio = audio if judgement.reason_code in _SOUND_IN_DOUBT and not chosen else []
    video = video if judgement.reason_code in _PICTURE_IN_DOUBT else []
    further = _FURTHER if judgement.reason_code == "no_match" and is_near else None
    parts = (judgement.reason, others(audio, video), further, _LEFT if cut else None)
    return "; ".join(part for part in parts if part) or None
