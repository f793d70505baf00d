"""The times that the boxes of a fragmented mp4 tell hold, signed composition offsets too; and how
its index is read.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from avcheck.errors import DecodeFailed, LimitExceeded
from avcheck.media import mp4, mp4_track, open_media
from tests.support.clips import Clip
from tests.support.clock_media import copied
from tests.support.mp4_boxes import NOTHING, Row, defaults_first, with_edits, without
from tests.support.mp4_films import (
    AAC_FRAME_MS,
    B_FRAMES,
    CLICKS_S,
    FPS,
    SECONDS,
    film,
    heard,
    pictures_of,
)

BOXES = (b"trun", b"tfhd", b"tfdt", b"uuid", b"stts", b"mdhd", b"mvhd", b"tkhd", b"trex")


# -- fragments -------------------------------------------------------------------------------------


def late_ms(path: Path) -> list[float]:
    """How late each click is against the picture that was drawn for its time, in ms."""
    with open_media(path, short_side=48) as file:
        shown, clicked = pictures_of(file), heard(file)
    assert [number for _, number in shown] == [k % 32 for k in range(round(SECONDS * FPS))], (
        "none is lost or moved"
    )
    due_ms = [
        shown[int(time_s * FPS)][0] + 1000 * (time_s - int(time_s * FPS) / FPS)
        for time_s in CLICKS_S
    ]
    return [time_ms - picture_ms for time_ms, picture_ms in zip(clicked, due_ms, strict=True)]


# How the muxer is told, and how late the sound is by the boxes: AAC priming is heard where no list
# hides it
FRAGMENTS = {
    "frag_keyframe+empty_moov": 0.0,
    "frag_keyframe+delay_moov": 0.0,
    "cmaf+frag_keyframe": AAC_FRAME_MS,
    "cmaf+frag_keyframe+delay_moov": 0.0,
    "dash+frag_keyframe+delay_moov": 0.0,
    "frag_keyframe+empty_moov+negative_cts_offsets": AAC_FRAME_MS,
    "frag_keyframe+delay_moov+negative_cts_offsets": 0.0,
    "frag_keyframe+empty_moov+negative_cts_offsets+omit_tfhd_offset": AAC_FRAME_MS,
}


@pytest.mark.parametrize("movflags", FRAGMENTS)
def test_fragments_are_shown_when_their_boxes_say(clip: Clip, movflags: str) -> None:
    path = film(clip, container_options={"movflags": movflags})
    assert late_ms(path) == pytest.approx([FRAGMENTS[movflags]] * len(CLICKS_S), abs=1)


def test_smooth_streaming_is_shown_when_its_own_box_says(clip: Clip) -> None:
    """FFmpeg passes the box over: its pictures come 80 ms late, and the sound of its first codec
    frame is not before zero.
    """
    path = film(clip, "film.ismv", format="ismv")
    assert late_ms(path) == pytest.approx([0.0] * len(CLICKS_S), abs=1)
    with open_media(path, short_side=48) as file:
        assert file.info.first_picture_s == 0


@pytest.mark.parametrize("movflags", ["cmaf+frag_keyframe", "cmaf+frag_keyframe+delay_moov"])
def test_what_holds_for_all_fragments_may_come_before_the_tracks(clip: Clip, movflags: str) -> None:
    path = film(clip, container_options={"movflags": movflags})
    boxes = path.read_bytes().replace(b"tfdt", b"free")
    path.write_bytes(boxes)
    assert defaults_first(path).read_bytes() != boxes
    assert late_ms(path) == pytest.approx([FRAGMENTS[movflags]] * len(CLICKS_S), abs=1)


def test_a_fragment_without_a_decoding_time_follows_the_one_before(clip: Clip) -> None:
    path = film(clip, container_options={"movflags": "cmaf+frag_keyframe"})
    data = path.read_bytes()
    path.write_bytes(data.replace(b"tfdt", b"free"))
    assert late_ms(path) == pytest.approx([AAC_FRAME_MS] * len(CLICKS_S), abs=1)


@pytest.mark.parametrize(
    "movflags", ["frag_keyframe+delay_moov+default_base_moof", "cmaf+frag_keyframe"]
)
def test_what_follows_lost_fragments_keeps_its_time(clip: Clip, movflags: str) -> None:
    path = film(clip, container_options={"movflags": movflags})
    with open_media(path, short_side=48) as file:
        whole = pictures_of(file), heard(file)
    without(path, lambda kind, number: kind in (b"moof", b"mdat") and number in (2, 3))
    with open_media(path, short_side=48) as file:
        assert pictures_of(file) == whole[0][:50] + whole[0][100:]
        assert heard(file) == pytest.approx(whole[1][:2] + whole[1][4:], abs=0.1)
        assert file.degraded.missing_video_s == pytest.approx(1.04, abs=0.01)


def test_an_edit_list_of_a_fragmented_file_is_followed(clip: Clip) -> None:
    """Two rows that show nothing, and one without an end: FFmpeg knows the first of the three
    only.
    """
    rows: list[Row] = [(0.3, NOTHING), (0.2, NOTHING), (0.0, 0.0)]
    path = film(
        clip,
        container_options={"movflags": "frag_keyframe+delay_moov+default_base_moof+skip_trailer"},
    )
    with_edits(path, {b"vide": rows, b"soun": [(0.5, NOTHING), (0.0, 0.0)]})
    assert late_ms(path) == pytest.approx([0.0] * len(CLICKS_S), abs=1)
    with open_media(path, short_side=48) as file:
        assert file.info.first_picture_s == pytest.approx(0.5, abs=1e-6)
        first_ms, first = pictures_of(file)[0]
        assert first_ms == pytest.approx(500, abs=0.1)
        assert first == 0


def test_fragments_cut_by_stream_copy_last_as_long_as_they_show(clip: Clip) -> None:
    """FFmpeg counts what the edit list hides, too; nothing is cut short."""
    path = film(
        clip,
        container_options={"movflags": "frag_keyframe+delay_moov+default_base_moof+skip_trailer"},
    )
    with_edits(path, {b"vide": [(0.0, 1.3)], b"soun": [(0.0, 1.3)]})
    with open_media(path, short_side=48) as file:
        shown, clicked = pictures_of(file), heard(file)
        assert file.info.duration_s == pytest.approx(4.7, abs=0.03)
        assert not file.degraded
    first_ms, first = shown[0]
    assert first_ms == pytest.approx(20.0, abs=0.1)
    assert first == 33 % 32
    assert clicked == pytest.approx([120, 1200, 2500, 3720], abs=0.3)


@pytest.mark.parametrize(
    "movflags", ["cmaf+frag_keyframe+frag_discont", "frag_keyframe+delay_moov"]
)
@pytest.mark.parametrize("later_s", [(0.0, 3.0), (3.0, 0.0)], ids=["sound", "picture"])
def test_a_track_that_begins_late_is_not_counted_as_longer(
    clip: Clip, tmp_path: Path, later_s: tuple[float, float], movflags: str
) -> None:
    """FFmpeg adds the time at which it begins to its length once more; nothing is cut short."""
    path = tmp_path / "late.mp4"
    copied(film(clip), path, later_s=later_s, options={"movflags": movflags})
    with open_media(path, short_side=48) as file:
        shown, sounds = pictures_of(file), list(file.sounds())
        assert shown[0][0] == pytest.approx(1000 * later_s[0], abs=1)
        assert max(shown[-1][0] / 1000, sounds[-1].end_s) == pytest.approx(SECONDS + 3, abs=0.05)
        assert file.info.duration_s == pytest.approx(SECONDS + 3, abs=0.03)
        assert not file.degraded.truncated


def test_an_edit_list_of_several_pieces_that_says_nothing_of_the_fragments_is_an_error(
    clip: Clip,
) -> None:
    path = film(
        clip,
        container_options={"movflags": "frag_keyframe+delay_moov+default_base_moof+skip_trailer"},
    )
    with_edits(path, {b"soun": [(1.0, 0.0), (1.0, 2.0)]})
    with pytest.raises(
        DecodeFailed, match="its edit list does not go together with its fragments; export it again"
    ):
        open_media(path)
    with_edits(path, {b"soun": [(1.0, 0.0), (0.0, 2.0)]})  # the last piece goes on to the end
    with open_media(path, short_side=48) as file:
        assert heard(file) == pytest.approx([600, 1500, 2800, 4020], abs=0.3)


def test_a_file_is_read_from_the_middle_where_offsets_are_signed(clip: Clip) -> None:
    path = clip(
        "long.mp4",
        seconds=40.0,
        fps=5,
        size=(64, 48),
        draw=lambda time_s: np.full((48, 64), 30 + 6 * (round(time_s * 5) % 32), np.uint8),
        video_options=B_FRAMES | {"g": "10"},
        container_options={"movflags": "cmaf+frag_keyframe"},
    )
    with open_media(path, short_side=48) as file:
        whole = pictures_of(file)
        assert [at_ms for at_ms, _ in whole] == pytest.approx(
            [200 * k for k in range(200)], abs=0.1
        )
        assert [number for _, number in whole] == [k % 32 for k in range(200)]
        for from_s in (26.0, 31.3):
            assert pictures_of(file, from_s) == whole[int(5 * from_s) :]


# -- encryption ------------------------------------------------------------------------------------


@pytest.mark.parametrize("movflags", ["", "frag_keyframe+empty_moov"])
def test_an_encrypted_file_says_so(clip: Clip, movflags: str) -> None:
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "00" * 16,
        "encryption_kid": "11" * 16,
    }
    path = film(clip, container_options=options | ({"movflags": movflags} if movflags else {}))
    expected = (
        r"film\.mp4: its pictures are encrypted \(Common Encryption, cenc\); "
        r"decrypt it first, with its key"
    )
    with pytest.raises(DecodeFailed, match=expected):
        open_media(path)
    with pytest.raises(DecodeFailed, match="its sound is encrypted"):
        open_media(clip("clear.mkv", seconds=1.0), audio_path=path)


# -- the index is read once, and within limits -----------------------------------------------------


def test_an_index_is_read_again_when_the_file_has_changed(clip: Clip) -> None:
    path = film(clip, seconds=1.0)
    first = mp4.index_of(path)
    assert mp4.index_of(path) is first
    with_edits(path, {b"vide": [(0.2, 0.0), (0.8, 0.0)]})
    assert mp4.index_of(path) is not first
    assert mp4.index_of(path).track(1).timeline is not None
    assert mp4.index_of(path.with_name("none.mp4")).track(1) == mp4_track.TrackBoxes()


def test_an_index_of_which_not_all_was_looked_at_gives_no_times(
    clip: Clip, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg's would be wrong from some fragment on. Where those are right, there is nothing to
    look up.
    """
    signed = film(clip, "signed.mp4", container_options={"movflags": "cmaf+frag_keyframe"})
    plain = film(clip, "plain.mp4", container_options={"movflags": "frag_keyframe+delay_moov"})
    monkeypatch.setattr(mp4, "MAX_BOXES", 70)
    with pytest.raises(
        LimitExceeded, match="is in too many fragments to tell when its pictures are due; remux it"
    ):
        open_media(signed)
    assert late_ms(plain) == pytest.approx([0.0] * len(CLICKS_S), abs=1)


def test_a_damaged_index_is_read_as_far_as_it_goes(clip: Clip) -> None:
    """Cut off anywhere, and with any of its bytes changed: what cannot be read is left to the
    demuxer to say.
    """
    for name, options in (("film.mp4", {"movflags": "cmaf+frag_keyframe"}), ("film.ismv", {})):
        path = clip(
            name, seconds=0.4, size=(64, 48), video_options=B_FRAMES, container_options=options
        )
        data = path.read_bytes()
        assert mp4.Index(path).retimes
        rng = np.random.default_rng(1)
        inside = [
            match.start() + k for match in re.finditer(b"|".join(BOXES), data) for k in range(40)
        ]
        for number in range(120):
            at = int(rng.choice(inside))
            path.write_bytes(
                data[:at]
                if number % 3 == 0
                else data[:at] + bytes([rng.integers(256)]) + data[at + 1 :]
            )
            index = mp4.Index(path)
            # A larger one is refused before anything else is asked of it
            if index.samples < 1 << 16:
                tracks = [index.track(k) for k in (1, 2)]
                assert all(track.timeline is None or track.timeline.pieces for track in tracks)
                assert index.retimes == any(track.times is not None for track in tracks)
