"""What `avcheck fix` did, as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from avcheck.fix.repair import Outcome, StreamResult
from avcheck.record.report import Report
from avcheck.render.text import change_of, printable, verdict_text
from avcheck.render.text import outcome as outcome_text
from avcheck.text.counted import counted

_SURE = 0.9  # confidence of a segment whose offset is given
_DONE = {
    "copied": "copied",
    "moved": "moved, packets copied",
    "rewritten": "moved, samples copied",
    "encoded": "played at another pace and encoded again",
    "rebuilt": "made anew by the container",
    "dropped": "not kept",
}


def fixed_text(result: Outcome) -> str:
    """A few lines, the last one saying how it ended."""
    rows = [*_before(result), *_done(result), *_after(result)]
    width = max((len(name) for name, _ in rows), default=0)
    lines = [f"{name:<{width}}  {printable(text)}" for name, text in rows]
    return "\n".join([*lines, f"{printable(_subject(result))}: {printable(_end(result))}"]) + "\n"


def _subject(result: Outcome) -> str:
    return result.output if result.status == "fixed" else result.input


def _end(result: Outcome) -> str:
    reason = result.reason or ""
    before = result.before
    if result.status == "undecidable" and before is not None and before.reason_code == "borderline":
        said = ", ".join(filter(None, (reason, _range(before))))
        return (
            f"not fixed, as it is borderline: {said}; narrower limits (--early, --late) decide it"
        )
    return {
        "fixed": f"fixed, from {result.input}",
        "in_sync": "in sync already; nothing was written",
        "undecidable": f"not fixed, as it is not known whether it is in sync: {reason}",
        "refused": f"not fixed: {reason}",
        "failed": f"not fixed: {reason}",
        "planned": "nothing was written; the command above does it",
        "error": f"not fixed: {reason}",
    }[result.status]


def _before(result: Outcome) -> Iterator[tuple[str, str]]:
    if result.before is not None and result.before.verdict in ("in_sync", "out_of_sync"):
        yield "before", _verdict(result.before)


def _after(result: Outcome) -> Iterator[tuple[str, str]]:
    if result.clock is not None:
        sound = result.clock.sound_ms
        heard = (
            ""
            if sound is None
            else f", decoded sound within {sound:.2f} ms at {result.clock.sound_places} places"
        )
        yield (
            "clock",
            f"packets within {result.clock.packet_ms:.2f} ms of where they should be{heard}",
        )
    if result.after is not None:
        yield "after", _verdict(result.after)
    elif result.status == "fixed":
        yield "after", "not checked, as the offset was given"


def _verdict(report: Report) -> str:
    said = [outcome_text(report), _range(report)]
    return ": ".join([verdict_text(report), ", ".join(each for each in said if each)])


def _range(report: Report) -> str:
    """The offsets between which the segments of a file of one offset lie: they show a drift that is
    too small to be taken for one. "" if there is nothing to say.
    """
    offsets_ms = [
        each.offset_ms
        for each in report.segments
        if each.offset_ms is not None and each.confidence >= _SURE
    ]
    changes = len(report.stretches) > 1 or report.drift_ms_per_min is not None
    if changes or not report.by_network or len(offsets_ms) < 2:
        return ""
    return f"its segments {change_of(min(offsets_ms), max(offsets_ms))}"


def _done(result: Outcome) -> Iterator[tuple[str, str]]:
    for from_s, until_s, later_ms, pace in result.moves:
        place = (
            "the sound"
            if from_s is None and until_s is None
            else f"the sound {_span(from_s, until_s)}"
        )
        way = f"{abs(later_ms):.1f} ms {'later' if later_ms >= 0 else 'earlier'}"
        yield (
            "move",
            f"{place} {way}" if pace == 1.0 else f"{place} at {pace:.6f} x its times, then {way}",
        )
    for stream in result.streams:
        yield "stream", _stream(stream)
    if result.lost:
        yield "lost", ", ".join(result.lost)
    for note in result.notes:
        yield "note", note


def _stream(stream: StreamResult) -> str:
    words = [
        f"{stream.track} {stream.kind}",
        stream.codec,
        "" if stream.language == "und" else stream.language,  # mp4 names no language so
        f'"{stream.title}"' if stream.title else "",
    ]
    done = _DONE[stream.action] + (f" ({stream.why})" if stream.why else "")
    if stream.packets is not None:
        same = ", bit by bit the same" if stream.identical else ""
        done += f", {counted(stream.packets, 'packet')}{same}"
    return f"{' '.join(word for word in words if word)}: {done}"


def _span(from_s: float | None, until_s: float | None) -> str:
    if from_s is None:
        return f"up to {until_s:.2f} s"
    return f"from {from_s:.2f} s on" if until_s is None else f"from {from_s:.2f} to {until_s:.2f} s"
