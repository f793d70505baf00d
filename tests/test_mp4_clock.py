"""Edit lists of an mp4 are played as a player does, piece by piece."""

from __future__ import annotations

import re
from contextlib import closing
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from avcheck.errors import CannotSeek, DecodeFailed
from avcheck.media import mp4, mp4_track, open_media
from avcheck.media import packets as media_packets
from tests.support.clips import Array, Clip, clicks
from tests.support.mp4_boxes import NOTHING, Row, with_edits
from tests.support.mp4_films import (
    AAC_FRAME_MS,
    B_FRAMES,
    CLICKS_S,
    FPS,
    SECONDS,
    click_times_ms,
    ffmpeg_plays,
    ffmpeg_shows,
    film,
    heard,
    in_empty,
    number_of,
    numbered,
    pictures_of,
    played,
)
from tests.support.reading import whole

# -- edit lists of several pieces ------------------------------------------------------------------

ALL: list[Row] = [(6.0, 0.0)]
LISTS: dict[str, tuple[list[Row], list[Row]]] = {  # of the picture, and of the sound
    "joined": ([(2.0, 0.0), (2.5, 3.0)], [(2.0, 0.0), (2.5, 3.0)]),
    "joined apart": ([(2.0, 0.0), (2.48, 3.48)], [(2.0, 0.0), (2.5, 3.0)]),
    "sound cut": (ALL, [(1.0, 0.0), (4.7, 1.3)]),
    "picture shown twice": ([(0.2, 0.0), (5.8, 0.0)], ALL),
    "played twice": ([(1.0, 0.0), (5.0, 0.0)], [(1.0, 0.0), (5.0, 0.0)]),
    "backwards": ([(2.0, 3.6), (3.0, 0.0)], [(2.0, 3.6), (3.0, 0.0)]),
    "two empty rows": ([(0.3, NOTHING), (0.2, NOTHING), (4.0, 0.0)], [(0.5, NOTHING), (4.0, 0.0)]),
    "an empty row in the middle": (
        [(1.0, 0.0), (0.5, NOTHING), (3.0, 1.0)],
        [(1.0, 0.0), (0.5, NOTHING), (3.0, 1.0)],
    ),
    "an empty row at the end": ([(4.0, 1.0), (1.0, NOTHING)], [(4.0, 1.0), (1.0, NOTHING)]),
    "the end cut off": ([(3.0, 0.0)], [(3.0, 0.0)]),
    "both ends cut off": ([(0.4, NOTHING), (2.0, 2.0)], [(0.4, NOTHING), (2.0, 2.0)]),
}


@pytest.mark.parametrize(
    ("name", "acodec", "version"), [("film.mp4", "aac", 0), ("film.mov", "pcm_s16le", 1)]
)
@pytest.mark.parametrize("case", LISTS)
def test_a_list_of_pieces_is_played_as_a_player_does(
    clip: Clip, case: str, name: str, acodec: str, version: int
) -> None:
    pictures, sounds = LISTS[case]
    path = with_edits(
        film(clip, name, acodec=acodec), {b"vide": pictures, b"soun": sounds}, version=version
    )
    frames_s = [k / FPS for k in range(round(SECONDS * FPS))]
    with open_media(path, short_side=48) as file:
        shown, runs = pictures_of(file), list(file.sounds())
        assert not file.degraded
        info = file.info
    clicked = click_times_ms(*whole(runs))
    assert [time_ms for time_ms, _ in shown] == pytest.approx(
        sorted(played(pictures, frames_s)), abs=0.1
    )
    assert [number for _, number in shown] == [
        round(time_s * FPS) % 32
        for row_s, from_s, *_ in pictures
        for time_s in frames_s
        if from_s != NOTHING and from_s - 1e-9 <= time_s < from_s + row_s - 1e-9
    ]
    assert clicked == pytest.approx(sorted(played(sounds, CLICKS_S, 0.02)), abs=0.3)
    assert all(before.end_s <= after.start_s + 1e-6 for before, after in pairwise(runs))
    assert info.duration_s == pytest.approx(
        max(sum(row[0] for row in rows) for rows in (pictures, sounds)), abs=0.002
    )
    assert info.first_picture_s == pytest.approx(shown[0][0] / 1000, abs=1e-6)
    assert info.first_sound_s == pytest.approx(
        pictures[0][0] if case == "both ends cut off" else runs[0].start_s, abs=1e-3
    )

    # FFmpeg's own decode shows the same pictures, and strays after a cut: its sound by up to a
    # codec frame, its pictures by the two that the decoder puts in order.
    by_ms = AAC_FRAME_MS + 0.3
    assert clicked == pytest.approx(
        [time_ms for time_ms in ffmpeg_plays(path) if not in_empty(sounds, time_ms)], abs=by_ms
    )
    theirs = [item for item in ffmpeg_shows(path) if not in_empty(pictures, item[0])]
    assert [time_ms for time_ms, _ in shown] == pytest.approx(
        [time_ms for time_ms, _ in theirs], abs=2 * 1000 / FPS + 1
    )
    assert [number for _, number in shown] == [number for _, number in theirs]


def test_right_values_in_ms_of_joins_and_cuts(clip: Clip) -> None:
    """When picture 95 is shown, and the click that belongs to it is heard: a list can put them
    apart.
    """
    right = {
        "joined": (2800, 2800),
        "sound cut": (3800, 3500),
        "picture shown twice": (4000, 3800),
        "two empty rows": (4300, 4300),
    }
    for case, (shown_ms, heard_ms) in right.items():
        pictures, sounds = LISTS[case]
        with open_media(
            with_edits(film(clip), {b"vide": pictures, b"soun": sounds}), short_side=48
        ) as file:
            assert [
                number for time_ms, number in pictures_of(file) if abs(time_ms - shown_ms) < 0.1
            ] == [95 % 32], case
            assert min(abs(time_ms - heard_ms) for time_ms in heard(file)) < 0.3, case


def test_a_picture_that_is_on_as_a_piece_starts_is_cut_to_its_start(clip: Clip) -> None:
    """Pieces that begin 30 ms into picture 25, and end 15 ms into picture 50; then one inside of
    picture 75.
    """
    path = with_edits(
        film(clip), {b"vide": [(0.985, 1.03), (0.02, 3.01), (0.1, NOTHING), (0.5, 4.0)]}
    )
    with open_media(path, short_side=48) as file:
        shown = pictures_of(file)
    first = [(0.0, 25), *((10.0 + 40 * k, 26 + k) for k in range(25))]
    last = [(1105.0 + 40 * k, 100 + k) for k in range(13)]
    assert [time_ms for time_ms, _ in shown] == pytest.approx(
        [time for time, _ in [*first, (985.0, 75), *last]], abs=0.1
    )
    assert [number for _, number in shown] == [
        number % 32 for _, number in [*first, (985.0, 75), *last]
    ]


def test_sound_is_cut_to_the_sample(clip: Clip) -> None:
    """A tone that grows with time tells the place of every sample."""
    path = film(clip, "film.mov", acodec="pcm_f32le", play=lambda times_s: times_s / 10)
    with_edits(path, {b"soun": [(1.234, 0.0), (2.0, 2.5005), (0.5, 1.0)]})
    with open_media(path, short_side=48) as file:
        sounds = list(file.sounds())
    for start_s, length_s, from_s in ((0.0, 1.234, 0.0), (1.234, 2.0, 2.5005), (3.234, 0.5, 1.0)):
        inside = [
            sound for sound in sounds if start_s - 1e-6 <= sound.start_s < start_s + length_s - 1e-6
        ]
        at_s = np.concatenate(
            [sound.start_s + np.arange(len(sound.samples)) / 16000 for sound in inside]
        )
        samples = np.concatenate([sound.samples for sound in inside])
        assert at_s[0] == pytest.approx(start_s, abs=1.2 / 16000)
        assert at_s[-1] == pytest.approx(start_s + length_s, abs=2.2 / 16000)
        # Of so many samples at once, as `approx` looks at each by itself
        off = samples - (at_s - start_s + from_s) / 10
        assert np.abs(off[20:-20]).max() <= 1e-5


def long_picture(time_s: float) -> Array:
    return np.full((48, 64), 30 + 6 * (round(time_s * 5) % 32), np.uint8)


def long_sound(times_s: Array) -> Array:
    return 0.5 * np.sin(2 * np.pi * (300 + 20 * times_s) * times_s)


def long_film(clip: Clip) -> Path:
    """A minute and a half at 5 pictures a second, so that there is something to seek."""
    return clip(
        "long.mp4",
        seconds=90.0,
        fps=5,
        sample_rate=16000,
        size=(64, 48),
        draw=long_picture,
        play=long_sound,
        video_options=B_FRAMES | {"g": "10"},
    )


LONG: list[Row] = [(40.0, 30.0), (0.5, NOTHING), (20.0, 5.0), (10.3, 2.2), (15.0, 75.0)]


def test_what_is_read_from_the_middle_is_what_the_whole_has_there(clip: Clip) -> None:
    path = with_edits(long_film(clip), {b"vide": LONG, b"soun": LONG})
    with open_media(path, short_side=48) as file:
        shown, (start_s, samples) = pictures_of(file), whole(list(file.sounds()))
        for from_s in (3.21, 39.96, 40.2, 40.5, 47.77, 60.5, 85.0):
            before = sum(time_ms <= 1000 * from_s for time_ms, _ in shown)
            with closing(file.pictures(from_s)) as pictures:
                from_middle = [
                    (1000 * picture.pts_s, number_of(picture.luma))
                    for picture in islice(pictures, 30)
                ]
            assert from_middle == shown[before - 1 :][:30]
            with closing(file.sounds(from_s)) as sounds:
                again_s, again = whole(list(islice(sounds, 4)))
            assert again_s == pytest.approx(
                max(from_s, 40.5) if 40 <= from_s < 40.5 else from_s, abs=1.2 / 16000
            )
            first, again = round((again_s - start_s) * 16000), again[:-1]
            assert again.tobytes() == samples[first : first + len(again)].tobytes()
        assert not file.degraded
        assert pictures_of(file, 200.0) == shown[-1:]
        assert list(file.sounds(200.0)) == []


def test_a_file_that_cannot_be_sought_is_decoded_anew_for_each_piece(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = with_edits(long_film(clip), {b"vide": LONG, b"soun": LONG})
    with open_media(path, short_side=48) as file:
        whole = pictures_of(file)
        sounds = [(sound.start_s, len(sound.samples)) for sound in file.sounds()]

    def refuse(container: object, *_: object) -> None:
        raise CannotSeek("film.mp4", "no")

    monkeypatch.setattr(media_packets, "seek", refuse)
    with open_media(path, short_side=48) as file:
        assert pictures_of(file) == whole
        lengths = [(sound.start_s, len(sound.samples)) for sound in file.sounds()]
        assert sum(length for _, length in lengths) == pytest.approx(
            sum(length for _, length in sounds), abs=8
        )
        assert not file.degraded
        with pytest.raises(CannotSeek):
            next(file.pictures(10.0))


def test_what_is_missing_inside_a_piece_counts_and_what_lies_between_does_not(clip: Clip) -> None:
    """Half a second of sound is missing at 2 s, and again at 4 s; the second hole is not played."""
    path = film(clip, acodec="ac3", audio_gaps_s=[(2.0, 2.5), (4.0, 4.5)])
    with_edits(path, {b"vide": [(3.5, 0.0), (1.0, 5.0)], b"soun": [(3.5, 0.0), (1.0, 5.0)]})
    with open_media(path, short_side=48) as file:
        assert len(pictures_of(file)) == 113
        list(file.sounds())
        assert file.degraded.missing_audio_s == pytest.approx(0.5, abs=0.035)
        assert not file.degraded.truncated


def test_a_file_that_ends_before_its_list_does_is_cut_short(clip: Clip) -> None:
    path = film(
        clip,
        container_options={"movflags": "faststart"},
        play=lambda times_s: np.sin(9999 * times_s),
    )
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    path.write_bytes(data[: data.index(b"mdat") + 4 * (len(data) - data.index(b"mdat")) // 10])
    with open_media(path, short_side=48) as file:
        assert len(pictures_of(file)) > 20
        list(file.sounds())
        assert file.degraded.truncated


def test_a_cut_by_stream_copy_lasts_as_long_as_it_shows(clip: Clip) -> None:
    """It begins with pictures that only the decoder needs: they are no part of its length, and
    nothing is cut short.
    """
    path = with_edits(film(clip), {b"vide": [(4.7, 1.3)], b"soun": [(4.7, 1.3)]})
    with open_media(path, short_side=48) as file:
        shown, clicked = pictures_of(file), heard(file)
        assert file.info.duration_s == pytest.approx(4.7, abs=0.001)
        assert not file.degraded
    first_ms, first = shown[0]
    assert first_ms == pytest.approx(20.0, abs=0.1)
    assert first == 33 % 32
    assert clicked == pytest.approx([120, 1200, 2500, 3720], abs=0.3)


def test_a_plain_list_is_left_to_ffmpeg(clip: Clip) -> None:
    for rows in ([(6.0, 0.0)], [(0.3, NOTHING), (6.0, 0.0)], [(5.5, 0.5)]):
        path = with_edits(film(clip), {b"vide": rows, b"soun": rows})
        index = mp4.Index(path)
        assert [index.track(number).timeline for number in (1, 2)] == [None, None]
        with open_media(path, short_side=48) as file:
            assert heard(file) == pytest.approx(played(rows, CLICKS_S), abs=0.3)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([(2.0, 0.0, 0.5), (2.0, 2.0, 2.0)], "its edit list plays all of it at another speed"),
        ([(6.0, NOTHING)], "its edit list shows nothing of it"),
        ([(2.0, 0.0), (2.0, -7.0)], "its edit list is damaged"),
        ([(0.5, 0.5)] * 6, r"its edit list has 6 pieces, over the limit of 5"),
    ],
)
@pytest.mark.parametrize(("handler", "kind"), [(b"vide", "pictures are"), (b"soun", "sound is")])
def test_a_list_that_cannot_be_followed_is_an_error(
    clip: Clip,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[Row],
    reason: str,
    handler: bytes,
    kind: str,
) -> None:
    monkeypatch.setattr(mp4_track, "MAX_PIECES", 5)
    path = with_edits(film(clip), {handler: rows})
    with pytest.raises(
        DecodeFailed, match=rf"film\.mp4: when its {kind} due is unknown: {reason}; export it again"
    ):
        open_media(path)


@pytest.mark.parametrize(
    ("handlers", "rate"),
    [
        *(((b"vide", b"soun"), rate) for rate in (1.5, 0.5, 0.0)),
        ((b"vide",), 0.5),
        ((b"soun",), 0.5),
    ],
)
def test_what_is_played_at_another_speed_is_not_looked_at(
    clip: Clip, handlers: tuple[bytes, ...], rate: float
) -> None:
    """What comes before and after it is where a player has it; the seconds in between are named."""
    ends = 2.5 + 2.0 * rate
    plain: list[Row] = [(2.5, 0.0), (2.0, 2.5), (6.0 - ends, ends)]
    sped: list[Row] = [(2.5, 0.0), (2.0, 2.5, rate), (6.0 - ends, ends)]
    lists = {kind: sped if kind in handlers else plain for kind in (b"vide", b"soun")}
    path = with_edits(film(clip), lists)
    with open_media(path, short_side=48) as file:
        shown, clicked = pictures_of(file), heard(file)
        assert file.degraded.unseen_s == ((2.5, 4.5),)
        assert not file.degraded.truncated
        assert file.degraded.notes == (
            "its edit list plays some of it at another speed, which is not looked at",
        )
    parts = [(2.5, 0.0), (2.0, NOTHING), (6.0 - ends, ends)]
    sounding = parts if b"soun" in handlers else plain
    assert clicked == pytest.approx(played(sounding, CLICKS_S), abs=0.3)
    if b"vide" in handlers:
        assert not any(2500 <= time_ms < 4499 for time_ms, _ in shown)
    assert next(time_ms for time_ms, _ in shown if time_ms >= 4499) == pytest.approx(4500, abs=1)


def test_the_list_of_a_track_that_is_not_checked_does_not_matter(clip: Clip) -> None:
    path = with_edits(film(clip), {b"soun": [(6.0, 0.0, 2.0)]})
    beside = clip(
        "beside.wav", vcodec=None, acodec="pcm_s16le", seconds=SECONDS, play=clicks(CLICKS_S)
    )
    with pytest.raises(DecodeFailed, match="its edit list plays all of it at another speed"):
        open_media(path)
    with open_media(path, audio_path=beside, short_side=48) as file:
        assert heard(file) == pytest.approx([1000 * time_s for time_s in CLICKS_S], abs=0.3)


def test_a_separate_sound_file_has_a_list_of_its_own(clip: Clip) -> None:
    sound = clip("sound.m4a", vcodec=None, format="mp4", seconds=SECONDS, play=clicks(CLICKS_S))
    with_edits(sound, {b"soun": [(1.0, 0.0), (3.0, 2.0)]})
    picture = clip("film.mkv", seconds=4.0, acodec=None, draw=numbered, size=(64, 48))
    with open_media(picture, audio_path=sound, short_side=48) as file:
        assert heard(file) == pytest.approx([600, 1500, 2800], abs=0.3)
        assert file.info.first_sound_s == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ({b"vide": [(1.4, 1.0)], b"soun": [(1.4, 1.0)]}, "1.4 s of the 6.0 s of pictures"),
        ({b"vide": [(1 / 15, 0.0)], b"soun": [(1 / 15, 0.0)]}, "0.1 s of the 6.0 s of pictures"),
        ({b"soun": [(0.5, 0.0), (0.8, 2.0)]}, "1.3 s of the 6.0 s of sound"),
        ({b"vide": [(2.0, 1.0)], b"soun": [(2.0, 1.0)]}, ""),
        ({b"vide": [(1.0, 0.0), (1.0, 3.0), (1.0, 1.0), (2.0, 4.0)]}, ""),
    ],
    ids=["a trim", "a length in other ticks", "sound alone", "most of it", "pieces"],
)
def test_a_list_that_hides_most_is_mentioned(
    clip: Clip, lists: dict[bytes, list[Row]], said: str
) -> None:
    """A trimmed clip can be whole within, and a list that counts wrongly shows next to nothing."""
    with open_media(with_edits(film(clip), lists)) as file:
        list(file.pictures())
        notes = [note for note in file.degraded.notes if "edit list" in note]
    assert bool(notes) == bool(said)
    assert all(said in note for note in notes)


def test_a_length_that_is_unknown_is_not_stated(clip: Clip) -> None:
    """All ones: a header may say that it does not know how long its media is."""
    path = with_edits(film(clip), {b"vide": [(1.4, 1.0)], b"soun": [(1.4, 1.0)]})
    data = path.read_bytes()
    for header in re.finditer(b"mdhd", data):
        at = header.end() + 16
        data = data[:at] + b"\xff" * 4 + data[at + 4 :]
    path.write_bytes(data)
    with open_media(path) as file:
        assert "1.4 s of the 6.0 s of pictures" in " ".join(file.degraded.notes)
