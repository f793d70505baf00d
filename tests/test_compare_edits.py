"""What was done to a title since its reference, by the pieces that were aligned."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from avcheck.compare.align import Piece
from avcheck.compare.conform import TimeSpan, edits
from avcheck.record.edits import Edit, describe_edit
from avcheck.record.markers import marked
from avcheck.record.report import Degraded, PictureFacts, Report, Stretch
from avcheck.render.page import words
from avcheck.render.text import details
from tests.support.page_reports import page

FILE, FILE_24 = TimeSpan(0.0, 28.0), TimeSpan(0.0, 24.0)


def whole(start_s: float = 0.0, end_s: float = 28.0, reference_s: float = 0.0) -> Piece:
    return Piece(start_s, end_s, reference_s, 1.0)


def of(
    sound: Sequence[Piece],
    picture: Sequence[Piece] | None = None,
    file: TimeSpan = FILE,
    reference: TimeSpan = FILE,
) -> list[tuple[str, str, float, float, float, float]]:
    return [
        (
            each.kind,
            each.stream,
            round(each.start_s, 3),
            round(each.end_s, 3),
            round(each.reference_start_s, 3),
            round(each.reference_end_s, 3),
        )
        for each in edits(sound, sound if picture is None else picture, file, reference)
    ]


def test_what_is_as_it_was_has_no_edits() -> None:
    assert of([whole()]) == []
    # Nor has sound that was moved as a whole: that is an offset
    assert of([whole(0.15, 28.0, 0.0)], [whole()]) == []


def test_what_was_put_in_is_told_once_though_its_edges_are_uncertain() -> None:
    """7 s at 12 s: how long is exact, even where some frames of either side were not found."""
    sound = [whole(0.0, 11.9), Piece(19.1, 28.0, 12.1, 1.0)]
    picture = [whole(0.0, 12.0), Piece(19.0, 28.0, 12.0, 1.0)]
    reference = TimeSpan(0.0, 21.0)
    assert of(sound, picture, reference=reference) == [("inserted", "both", 12, 19, 12, 12)]


def test_silence_put_in_is_no_other_sound() -> None:
    """It changes what is heard up to a second around it, which then is not found on either side."""
    sound = [whole(0.0, 11.4), Piece(13.8, 28.0, 12.8, 1.0)]
    picture = [whole(0.0, 12.0), Piece(13.0, 28.0, 12.0, 1.0)]
    reference = TimeSpan(0.0, 27.0)
    assert of(sound, picture, reference=reference) == [("inserted", "both", 12, 13, 12, 12)]
    alone = of(sound, [whole()], reference=reference)
    assert alone[0] == ("inserted", "sound", 12.1, 13.1, 12.1, 12.1)


@pytest.mark.parametrize(
    ("part", "edit"),
    [
        (Piece(1.7, 28.0, 0.7, 1.0), ("inserted", "sound", 0, 1, 0, 0)),
        (Piece(0.7, 27.0, 1.7, 1.0), ("removed", "sound", 0, 0, 0, 1)),
        (Piece(0.0, 26.3, 0.7, 1.0), ("removed", "sound", 0, 0, 0, 0.7)),
    ],
)
def test_what_was_done_at_the_start_lies_at_the_start(
    part: Piece, edit: tuple[str, str, float, float, float, float]
) -> None:
    assert of([part], [whole()])[0] == edit


def test_what_was_put_in_at_the_end_lies_at_the_end() -> None:
    listed = of([whole(0.0, 24.3)], [whole(0.0, 25.0)], reference=TimeSpan(0.0, 25.0))
    assert listed == [("inserted", "both", 25, 28, 25, 25)]


def test_what_was_left_out_is_told_by_its_times_in_the_reference() -> None:
    parts = [whole(0.0, 13.0), Piece(13.0, 28.0, 18.0, 1.0)]
    assert of(parts, reference=TimeSpan(0.0, 33.0)) == [("removed", "both", 13, 13, 13, 18)]


@pytest.mark.parametrize(
    ("sound", "picture", "reference_s", "edit"),
    [
        (
            [Piece(5.2, 28.0, 0.2, 1.0)],
            [Piece(5.7, 28.0, 0.7, 1.0)],
            23.0,
            ("inserted", "both", 0, 5, 0, 0),
        ),
        (
            [whole(0.0, 12.0), Piece(19.0, 28.0, 12.0, 1.0)],
            [whole(0.0, 11.1), Piece(19.8, 28.0, 12.8, 1.0)],
            21.0,
            ("inserted", "both", 12, 19, 12, 12),
        ),
        (
            [whole(0.0, 13.0), Piece(13.0, 28.0, 18.0, 1.0)],
            [whole(0.0, 12.6), Piece(13.8, 28.0, 18.8, 1.0)],
            33.0,
            ("removed", "both", 13, 13, 13, 18),
        ),
        (
            [whole(0.0, 24.0)],
            [whole(0.0, 23.1)],
            24.0,
            ("inserted", "both", 24, 28, 24, 24),
        ),
    ],
    ids=["in front", "in between", "left out", "behind"],
)
def test_pictures_beside_a_cut_that_were_not_found_do_not_make_two_edits_of_one(
    sound: list[Piece],
    picture: list[Piece],
    reference_s: float,
    edit: tuple[str, str, float, float, float, float],
) -> None:
    """Up to a second of a slowly moving picture is not found on either side of a cut."""
    assert of(sound, picture, reference=TimeSpan(0.0, reference_s)) == [edit]


def test_another_picture_over_a_cut_of_the_sound_is_told_of_each() -> None:
    sound = [whole(0.0, 12.0), Piece(15.0, 28.0, 12.0, 1.0)]
    picture = [whole(0.0, 10.0), Piece(17.0, 28.0, 14.0, 1.0)]
    assert of(sound, picture, reference=TimeSpan(0.0, 25.0)) == [
        ("replaced", "picture", 10, 17, 10, 14),
        ("inserted", "sound", 12, 15, 12, 12),
    ]


def test_what_was_done_to_one_stream_alone_is_told_of_that_one() -> None:
    cut = [whole(0.0, 14.0), Piece(14.0, 28.0, 14.2, 1.0)]
    assert of(cut, [whole()], reference=TimeSpan(0.0, 28.2)) == [
        ("removed", "sound", 14, 14, 14, 14.2)
    ]


def test_a_cut_of_another_length_in_the_sound_is_told_of_each() -> None:
    """What a 'cut of both' would hide is that sound is late from there on."""
    picture = [whole(0.0, 13.0), Piece(13.0, 28.0, 15.0, 1.0)]
    sound = [whole(0.0, 13.0), Piece(13.0, 28.0, 14.8, 1.0)]
    assert of(sound, picture, reference=TimeSpan(0.0, 30.0)) == [
        ("removed", "picture", 13, 13, 13, 15),
        ("removed", "sound", 13, 13, 13, 14.8),
    ]


def test_what_is_put_in_for_another_time_in_the_sound_is_told_of_each() -> None:
    picture = [whole(0.0, 13.0), Piece(15.0, 28.0, 13.0, 1.0)]
    sound = [whole(0.0, 13.0), Piece(14.8, 28.0, 13.0, 1.0)]
    assert of(sound, picture, reference=TimeSpan(0.0, 26.2)) == [
        ("inserted", "picture", 13, 15, 13, 13),
        ("inserted", "sound", 13, 14.8, 13, 13),
    ]


def test_a_step_that_may_be_noise_is_no_edit() -> None:
    picture = [whole(0.0, 14.0), Piece(14.0, 28.0, 14.015, 1.0)]
    assert of([whole()], picture) == []


def test_something_else_in_its_place_is_one_edit() -> None:
    parts = [whole(0.0, 10.0), Piece(14.0, 28.0, 15.0, 1.0)]
    assert of(parts, reference=TimeSpan(0.0, 29.0)) == [("replaced", "both", 10, 14, 10, 15)]


def test_both_ends_of_the_title_are_looked_at() -> None:
    parts = [Piece(0.0, 22.0, 5.0, 1.0)]
    assert of(parts, reference=TimeSpan(0.0, 27.0)) == [
        ("removed", "both", 0, 0, 0, 5),
        ("inserted", "both", 22, 28, 27, 27),
    ]


def test_parts_in_another_order_are_not_left_out() -> None:
    parts = [Piece(0.0, 14.0, 14.0, 1.0), Piece(14.0, 28.0, 0.0, 1.0)]
    assert of(parts) == [("reordered", "both", 14, 14, 28, 0)]


def test_pictures_that_were_not_found_where_the_order_changes_were_not_put_in() -> None:
    sound = [Piece(0.0, 14.0, 14.0, 1.0), Piece(14.0, 28.0, 0.0, 1.0)]
    picture = [Piece(0.0, 13.7, 14.0, 1.0), Piece(14.4, 28.0, 0.4, 1.0)]
    assert of(sound, picture) == [("reordered", "both", 14.4, 14.4, 27.7, 0.4)]


@pytest.mark.parametrize(
    ("starts_s", "put_in"),
    [
        ((5, 19), ("inserted", "both", 0, 5, 14, 14)),
        ((0, 14), ("inserted", "both", 28, 33, 14, 14)),
    ],
    ids=["before", "behind"],
)
def test_what_was_put_in_at_an_end_is_told_beside_another_order(
    starts_s: tuple[float, float], put_in: tuple[str, str, float, float, float, float]
) -> None:
    first_s, second_s = starts_s
    parts = [Piece(first_s, second_s, 14.0, 1.0), Piece(second_s, second_s + 14, 0.0, 1.0)]
    listed = of(parts, file=TimeSpan(0.0, 33.0))
    assert sorted(listed) == [put_in, ("reordered", "both", second_s, second_s, 28, 0)]


@pytest.mark.parametrize(
    ("more_s", "sound_s", "wanted"),
    [
        (
            -5.0,
            -5.2,
            [("removed", "picture", 12, 12, 12, 17), ("removed", "sound", 12, 12, 12, 17.2)],
        ),
        (
            5.0,
            5.2,
            [("inserted", "picture", 12, 17, 12, 12), ("inserted", "sound", 12, 17.2, 12, 12)],
        ),
        # At a cut of the sound that goes the other way, it is another shot
        (
            -5.0,
            5.2,
            [("inserted", "sound", 12, 17.2, 12, 12), ("replaced", "picture", 11, 12, 11, 17)],
        ),
    ],
)
def test_a_cut_that_put_the_title_out_of_sync_is_a_cut_of_both(
    more_s: float, sound_s: float, wanted: list[tuple[str, str, float, float, float, float]]
) -> None:
    """Though the last second of the picture before it was not found."""

    def cut(longer_s: float, found_until_s: float) -> list[Piece]:
        ours_s, theirs_s = max(longer_s, 0.0), max(-longer_s, 0.0)
        return [
            Piece(0.0, found_until_s, 0.0, 1.0),
            Piece(12 + ours_s, 28.0, 12 + theirs_s, 1.0),
        ]

    sound, picture = cut(sound_s, 12.0), cut(more_s, 11.0)
    end_s = 28 - max(more_s, sound_s)
    assert sorted(of(sound, picture, reference=TimeSpan(0.0, end_s))) == wanted


def test_sound_that_begins_before_the_picture_was_not_left_out() -> None:
    listed = of([whole()], [whole(1.0, 28.0, 1.0)], file=TimeSpan(1.0, 28.0))
    assert listed == [("removed", "picture", 1, 1, 0, 1)]
    listed = of([whole()], [whole(0.0, 27.0)], file=TimeSpan(0.0, 27.0))
    assert listed == [("removed", "picture", 27, 27, 27, 28)]


def test_a_length_is_exact_at_another_speed_too() -> None:
    """Though 0.4 s of the file were not found behind the cut."""
    pace = 25 / 24
    shorter = [Piece(0.0, 12.0, 0.0, pace), Piece(12.4, 24.0, 12.4 * pace + 2, pace)]
    longer = [Piece(0.0, 12.0, 0.0, pace), Piece(19.4, 24.0, 12.4 * pace, pace)]
    for parts, kind in ((shorter, "removed"), (longer, "inserted")):
        reference = TimeSpan(0.0, parts[1].reference_s(24.0))
        (cut,) = (each for each in edits(parts, parts, FILE_24, reference) if each.kind == kind)
        assert cut.length_s == pytest.approx(2.0 if kind == "removed" else 7.0)


def test_another_speed_is_told_with_how_much() -> None:
    parts = [Piece(0.0, 24.0, 0.0, 25 / 24)]
    (edit,) = edits(parts, parts, TimeSpan(0.0, 24.0), TimeSpan(0.0, 25.0))
    assert (edit.kind, edit.stream) == ("speed", "both")
    assert describe_edit(edit) == "plays 4.17 % faster than the reference"


@pytest.mark.parametrize(
    ("edit", "text"),
    [
        (
            Edit("inserted", "both", 12.0, 19.0, 12.0, 12.0),
            "7.00 s inserted, not in the reference",
        ),
        (
            Edit("removed", "sound", 14.0, 14.0, 14.0, 14.2),
            "sound alone: 200 ms removed: 0:14.00 to 0:14.20 of the reference",
        ),
        (
            Edit("replaced", "picture", 10.0, 14.0, 10.0, 15.0),
            "picture alone: 4.00 s in place of the reference's 0:10.00 to 0:15.00",
        ),
        (
            Edit("reordered", "both", 14.0, 14.0, 28.0, 0.0),
            "goes on with the reference's 0:00.00, not with 0:28.00",
        ),
    ],
)
def test_an_edit_is_said_in_words(edit: Edit, text: str) -> None:
    assert describe_edit(edit) == text


def test_a_record_of_a_speed_without_a_length_is_none_of_avcheck() -> None:
    record = compared(Edit("speed", "both", 0.0, 24.0, 0.0, 25.0)).to_record()
    record["edits"][0]["end_s"] = 0.0
    with pytest.raises(ValueError, match="not a record of avcheck"):
        Report.from_record(record)


def compared(*done: Edit) -> Report:
    return Report(
        "film.mov",
        "in_sync",
        offset_ms=0.0,
        measured_by="reference",
        duration_s=28.0,
        picture=PictureFacts(1920, 1080, "30000/1001", 0.0, "01:00:00;00"),
        edits=done,
    )


def test_edits_stand_in_text_page_record_and_markers() -> None:
    report = compared(Edit("removed", "both", 13.0, 13.0, 13.0, 18.0))
    said = "5.00 s removed: 0:13.00 to 0:18.00 of the reference"
    assert ("edit", f"at 0:13.00: {said}") in details(report)
    assert words.edits(report) == [("0:13.00 01:00:13;00", said)]
    assert Report.from_record(report.to_record()) == report
    (marker,) = (each for each in marked(report).markers if each.kind == "edit")
    assert (marker.start, marker.text) == (390, said)


def test_the_page_of_a_comparison_draws_its_stretches_and_edits() -> None:
    report = dataclasses.replace(
        compared(Edit("inserted", "both", 10.0, 17.0, 10.0, 10.0)),
        stretches=(Stretch(0.0, 10.0, 0.0, 0.0), Stretch(17.0, 28.0, -20.0, -20.0)),
    )
    text = page([report])
    assert "The offset over the length of the file, in 2 stretches." in text
    one = dataclasses.replace(report, stretches=report.stretches[:1])
    assert "The offset over the length of the file, in one stretch." in page([one])
    assert "What was done since the reference" in text
    assert 'class="chart"' in text
    assert '<path class="edit"' in text
    assert "The segments as a table" not in text
    assert "There are no stills" not in text
    assert "(the share of the file that was aligned)" in text
    rows = page([report, report])
    assert rows.count('<path class="segments" d="M') == 2
    assert "0:10.00 01:00:10;00: 7.00 s inserted" in rows


def test_what_the_reference_does_not_have_is_not_called_lost_or_not_looked_at() -> None:
    report = dataclasses.replace(
        compared(Edit("inserted", "both", 10.0, 17.0, 10.0, 10.0)),
        stretches=(Stretch(0.0, 10.0, 0.0, 0.0), Stretch(17.0, 28.0, 0.0, 0.0)),
        degraded=Degraded(unseen_s=((10.0, 17.0),)),
    )
    said = "sound or picture not found in the reference"
    assert ("notes", f"{said}: 10.0 s to 17.0 s") in details(report)
    assert words.unseen(report) == [("10.0 s to 17.0 s", f"{said.capitalize()}.")]
    assert said in [marker.text for marker in marked(report).markers]
    text = page([report])
    assert 'class="unmatched" x=' in text
    assert "What could not be compared" in text
    for other in ("lost or damaged", "not looked at", "Left out or damaged"):
        assert other not in text


def test_a_picture_without_a_rate_has_no_timecode() -> None:
    report = dataclasses.replace(compared(), picture=PictureFacts(1920, 1080, None, None))
    assert words.when(report)(3.0) == "0:03.00"


def test_a_long_list_is_cut_in_text_and_whole_in_the_record() -> None:
    done = [Edit("removed", "both", at, at, at, at + 1.0) for at in range(30)]
    rows = [text for name, text in details(compared(*done)) if name == "edit"]
    assert len(rows) == 21
    assert rows[-1] == "and 10 more"
