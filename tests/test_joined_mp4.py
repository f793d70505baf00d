"""mp4, mov and AVI files that were joined end to end: of some, players show the first alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from avcheck.errors import NoAudio
from avcheck.fix.moves import Refused, by
from avcheck.fix.plan import make_plan
from avcheck.media import open_media
from avcheck.media.mp4 import Index
from avcheck.record.report import Degraded, Report
from tests.support.clips import click_time_s
from tests.support.mp4_boxes import box, boxes, without
from tests.support.reading import flash_s, whole

Clip = Callable[..., Path]
LATE_S = 0.2
KINDS = {
    "index behind": {},
    "index first": {"container_options": {"movflags": "faststart"}},
    "fragments": {
        "container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
        "video_options": {"g": "25"},
    },
    "fragments placed from the start of the file": {
        "container_options": {"movflags": "frag_keyframe+delay_moov"}
    },
}
NOTHING_ELSE = Degraded()


def moved_by(path: Path) -> float:
    """How late the click is against the flash, in ms, whatever else is said of the file."""
    with open_media(path) as file:
        return 1000 * (click_time_s(*whole(list(file.sounds()))) - flash_s(file))


@pytest.mark.parametrize("second", ["index behind", "fragments"])
@pytest.mark.parametrize("first", KINDS)
def test_the_first_film_alone_is_checked_and_the_rest_named(
    clip: Clip, tmp_path: Path, first: str, second: str
) -> None:
    alone = clip("first.mp4", seconds=2, **KINDS[first])
    late_ms = moved_by(alone)
    rest = clip("second.mp4", seconds=4, sound_late_s=LATE_S, **KINDS[second]).read_bytes()
    path = tmp_path / "joined.mp4"
    path.write_bytes(alone.read_bytes() + rest)
    assert Index(path).joined_at == alone.stat().st_size
    assert moved_by(path) == pytest.approx(late_ms, abs=0.1)
    with open_media(path) as file, open_media(alone) as like:
        assert len(list(file.pictures())) == len(list(like.pictures())) == 50
        assert list(file.sounds())[-1].end_s == list(like.sounds())[-1].end_s
        assert file.info.duration_s == like.info.duration_s
        assert file.degraded == Degraded(
            notes=(
                "another file was joined to its end: players show the first alone, and the last "
                f"{len(rest):,} bytes were not looked at",
            ),
            unseen_bytes=len(rest),
        )
        assert like.degraded == NOTHING_ELSE


def test_a_quicktime_without_a_file_type(clip: Clip, tmp_path: Path) -> None:
    part = without(clip("part.mov", acodec="pcm_s16le"), lambda kind, _: kind == b"wide")
    bare = b"".join(box(*each) for each in boxes(part.read_bytes()) if each[0] != b"ftyp")
    path = tmp_path / "joined.mov"
    path.write_bytes(bare * 2)
    assert Index(path).joined_at == len(bare)


@pytest.mark.parametrize(
    "tail",
    [
        box(b"free", bytes(4000)),
        box(b"skip", bytes(4000)) + box(b"uuid", bytes(40)),
        bytes(5000),
        box(b"udta", bytes(40)) + box(b"mdat", bytes(4000)),
        box(b"meta", bytes(40)) + box(b"free", b"ftypmoov" * 10),
    ],
    ids=["free", "uuid", "zeros", "more media", "text that looks like boxes"],
)
@pytest.mark.parametrize("kind", ["index first", "fragments"])
def test_what_ordinarily_follows_a_film_is_no_other(clip: Clip, kind: str, tail: bytes) -> None:
    path = clip("film.mp4", **KINDS[kind])
    path.write_bytes(path.read_bytes() + tail)
    assert Index(path).joined_at is None
    with open_media(path) as file:
        assert len(list(file.pictures())) == 50
        assert list(file.sounds())
        assert file.degraded == NOTHING_ELSE


def test_an_index_that_is_said_once_more_is_the_same_film(clip: Clip) -> None:
    """As a live stream does whose segments of HLS or DASH were all joined."""
    path = without(
        clip("film.mp4", seconds=4, **KINDS["fragments"]), lambda kind, _: kind == b"mfra"
    )
    film = list(boxes(path.read_bytes()))
    start = b"".join(box(*each) for each in film if each[0] in (b"ftyp", b"moov"))
    assert sum(kind == b"moof" for kind, _ in film) == 4
    path.write_bytes(
        b"".join(
            (start if kind == b"moof" else b"") + box(kind, body)
            for kind, body in film
            if kind not in (b"ftyp", b"moov")
        )
    )
    assert Index(path).joined_at is None
    with open_media(path) as file:
        assert len(list(file.pictures())) == 100
        assert list(file.sounds())[-1].end_s == pytest.approx(4, abs=0.05)
        assert file.degraded == NOTHING_ELSE


def test_pictures_and_sound_in_files_of_their_own_are_not_joined_by_cat(
    clip: Clip, tmp_path: Path
) -> None:
    """A picture file of DASH, and behind it the one of its sound: a player shows pictures."""
    picture = clip("picture.mp4", acodec=None, **KINDS["fragments"])
    sound = clip("sound.mp4", vcodec=None, **KINDS["fragments"])
    path = tmp_path / "joined.mp4"
    path.write_bytes(picture.read_bytes() + sound.read_bytes())
    with pytest.raises(NoAudio):
        open_media(path)
    path.write_bytes(picture.read_bytes())
    with open_media(path, audio_path=sound) as file:
        assert file.degraded.unseen_bytes == 0


def test_a_joined_sound_file_is_heard_to_the_end_of_its_first(clip: Clip, tmp_path: Path) -> None:
    film = clip("film.mp4")
    part = clip("sound.mp4", vcodec=None)
    path = tmp_path / "joined.m4a"
    path.write_bytes(2 * part.read_bytes())
    size = part.stat().st_size
    with open_media(film, audio_path=path) as file:
        assert list(file.sounds())[-1].end_s == pytest.approx(2, abs=0.05)
        assert file.degraded.unseen_bytes == size
        assert file.degraded.notes == (
            "another file was joined to the end of its sound file: players play the first alone, "
            f"and the last {size:,} bytes were not listened to",
        )


def test_text_and_record_tell_of_the_rest() -> None:
    degraded = Degraded(notes=("another file was joined to its end",), unseen_bytes=1234)
    assert degraded
    report = Report("film.mp4", "undecidable", degraded=degraded)
    assert report.to_record()["degraded"]["unseen_bytes"] == 1234
    record = json.loads(json.dumps(report.to_record()))
    assert Report.from_record(record).degraded == degraded


@pytest.fixture
def joined_avi(clip: Clip, tmp_path: Path) -> Path:
    options = {"vcodec": "mpeg4", "acodec": "pcm_s16le", "seconds": 2}
    parts = [clip("part.avi", sound_late_s=late_s, **options) for late_s in (0.0, LATE_S)]
    path = tmp_path / "joined.avi"
    data = clip("part.avi", **options).read_bytes()
    path.write_bytes(data + parts[1].read_bytes())
    return path


def test_a_joined_avi_is_read_on_and_its_seam_told(joined_avi: Path) -> None:
    with open_media(joined_avi) as file:
        shown = [picture.pts_s for picture in file.pictures()]
        sounds = list(file.sounds())
        assert len(shown) == 100
        assert shown[-1] == pytest.approx(3.96)
        assert sounds[-1].end_s == pytest.approx(4.0)
        assert file.info.duration_s == pytest.approx(4.0)
        assert file.seams_s == pytest.approx((2.0,))
        assert file.degraded.notes == (
            "files were joined in it at 2.0 s; they were checked as one, as FFmpeg and mpv play "
            "them, but other players show the first alone",
        )


@pytest.mark.parametrize("kind", ["mp4", "avi", "flv"])
def test_fix_names_joined_files_and_what_to_do(
    clip: Clip, tmp_path: Path, joined_avi: Path, kind: str
) -> None:
    path = joined_avi
    if kind != "avi":
        part = clip(f"part.{kind}", sample_rate=44100).read_bytes()
        path = tmp_path / f"joined.{kind}"
        path.write_bytes(part * 2)
    with pytest.raises(Refused) as refused:
        make_plan(path, tmp_path / "fixed.mkv", by(100.0))
    assert str(refused.value) == (
        "it is several files joined end to end; fix each of them, then join them with mkvmerge or "
        "ffmpeg"
    )


def in_pieces(path: Path) -> list[bytes]:
    """The boxes of a film in fragments: what comes before them, then each with its media."""
    pieces = [b""]
    for kind, body in boxes(path.read_bytes()):
        pieces += [b""] if kind == b"moof" else []
        if kind != b"mfra":
            pieces[-1] += box(kind, body)
    return pieces


@pytest.mark.parametrize("flags", ["empty_moov+default_base_moof", "cmaf"])
def test_fragments_that_go_back_are_named(clip: Clip, tmp_path: Path, flags: str) -> None:
    """Segments of HLS behind one map, joined across a break at which the clock starts again."""
    options = {"movflags": f"frag_keyframe+{flags}"}
    first = in_pieces(clip("first.mp4", seconds=3, container_options=options))
    rest = in_pieces(clip("rest.mp4", seconds=3, sound_late_s=LATE_S, container_options=options))
    path = tmp_path / "joined.mp4"
    path.write_bytes(b"".join([*first, *rest[1:]]))
    with open_media(path) as file:
        assert len(list(file.pictures())) == 75
        assert list(file.sounds())[-1].end_s == pytest.approx(3, abs=0.05)
        notes, unseen_s = file.degraded.notes, file.degraded.unseen_s
    assert [note.partition(";")[0] for note in notes] == 2 * ["timestamps jump back"]
    assert sum(end_s - start_s for start_s, end_s in unseen_s) == pytest.approx(2, abs=0.2)


def test_a_fragment_that_comes_twice_costs_nothing(clip: Clip, tmp_path: Path) -> None:
    """As a recorder that asked for it again leaves it."""
    film = clip("film.mp4", seconds=3, events_s=(2.6,), **KINDS["fragments"])
    head, first, second, third = in_pieces(film)
    path = tmp_path / "twice.mp4"
    path.write_bytes(head + first + second + second + third)
    with open_media(path) as file:
        assert len(list(file.pictures())) == 75
        assert file.degraded == NOTHING_ELSE
    assert moved_by(path) == pytest.approx(moved_by(film), abs=0.1)
