"""Generated files that are damaged, oversized or not what their name says, and what each has to end
as.

All are harmless to other software: what is oversized is so by a little, and guards against more are
tested with limits that the test lowers. `python -m tests.support.hostile FOLDER` writes them all.
"""

from __future__ import annotations

import os
import random
import shutil
import socket
import struct
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import Packet

from tests.support.clips import clicks, make_clip

TARGET = "target.dat"  # a video that other files refer to, and that nobody may open

# Ordinary playlists under their own names, of which FFmpeg opens the file that they list.
PLAYLISTS = {
    "list.ffconcat": f"ffconcat version 1.0\nfile {TARGET}\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n"
    f"#EXTINF:2.0,\n{TARGET}\n#EXT-X-ENDLIST\n",
}
# Names with what a terminal, a build server, a spreadsheet, a shell or FFmpeg would read as more
# than a name; each would do no more than print, colour or calculate something.
NAMES = (
    "[bold red]x[blink] [link=x]y :warning:.mp4",
    "\x1b[31mred.mp4",
    "two\nlines\r.mp4",
    "::debug::boo.mp4",
    "##[debug]boo ##vso[task.debug]y.mp4",
    "=1+1.mp4",
    "+1-1.mp4",
    "@SUM(A1).mp4",
    "\t=1+1.mp4",
    "-x.mp4",
    "--help.mp4",
    "%0A%03d.mp4",
    "clip%d.mp4",
    "a\u202eb.mp4",
    "\u2028sep\x85.mp4",
    "<b>bold<b>&amp;.mp4",
    "]]>\ufffe\uffff.mp4",
    'it\'s a "film" & `more` $HOME.mp4',
    "a:b.mp4",
    "http:film.mp4",
    "🎬 ä \u0301.mp4",
    "n" * 240 + ".mp4",
    os.fsdecode(b"\xff\xfe\x80.mp4"),
)


@dataclass(frozen=True)
class Case:
    """A file, whether it can be judged at all, and what the reason must hold if it cannot."""

    path: Path
    judged: bool
    words: tuple[str, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """`given` are the paths for the command: the folder, and what is only looked at when it is
    named.
    """

    given: tuple[Path, ...]
    folder: Path
    cases: tuple[Case, ...]


def write_corpus(root: Path) -> Corpus:
    """Write every case below `root`, which has to be there and empty."""
    folder, apart, bases = root / "scanned", root / "apart", root / "bases"
    for each in (folder, apart, bases):
        each.mkdir()
    make_clip(folder / TARGET, format="mpegts")
    cases: list[Case] = []

    def put(name: str, data: bytes, judged: bool, *words: str) -> None:
        (folder / name).write_bytes(data)
        cases.append(Case(folder / name, judged, words))

    mp4 = make_clip(bases / "base.mp4", seconds=0.6).read_bytes()
    for name in NAMES:
        put(name, mp4, True)
        put(f"{name[:-4][:230]} junk.mp4", b"x" * 5000, False, "not a video file")
    not_media = {
        "empty": (b"", "is empty"),
        "noise": (random.Random(1).randbytes(50_000), "not a video file"),
        "zeros": (bytes(100_000), "not a video file"),
        "html": (b"<!DOCTYPE html><title>404</title>" * 50, "not a video file"),
        "elf": (b"\x7fELF" + bytes(9000), "not a video file"),
        "jpeg": (b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(5000), "not a video file"),
    }
    for name, (data, reason) in not_media.items():
        put(f"{name}.mp4", data, False, reason)
    for name, text in PLAYLISTS.items():
        put(name, text.encode(), False, "is a playlist")
    put("tail.mp4", mp4[:-2000], False, "cut off or damaged", "export it again")
    for name, (path, judged, words) in _made(bases).items():
        put(f"{name}{path.suffix}", path.read_bytes(), judged, *words)

    os.mkfifo(apart / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(apart)  # the path of a socket may be 108 bytes long
        try:
            unix.bind("socket.mp4")
        finally:
            os.chdir(here)
    (apart / "folder.mp4").mkdir()
    (apart / "broken.mp4").symlink_to("nowhere")
    (apart / "loop.mp4").symlink_to("loop.mp4")
    (apart / "link.mp4").symlink_to(folder / "-x.mp4")
    odd = {
        "pipe.mp4": "not a regular file",
        "socket.mp4": "not a regular file",
        "folder.mp4": "no media files",
        "broken.mp4": "this link leads to nothing",
        "loop.mp4": "symbolic links",
        "gone.mp4": "no such file",
    }
    cases += [Case(apart / name, False, (words,)) for name, words in odd.items()]
    cases += [
        Case(apart / "link.mp4", True),
        Case(Path("/dev/zero"), False, ("not a regular file",)),
    ]
    shutil.rmtree(bases)
    named = tuple(
        case.path for case in cases if case.path.parent != folder or case.path.name in PLAYLISTS
    )
    return Corpus((folder, *named), folder, tuple(cases))


def _made(bases: Path) -> dict[str, tuple[Path, bool, tuple[str, ...]]]:
    """Cases that FFmpeg has to write, or that patch what it wrote."""

    def clip(name: str, **options: Any) -> Path:
        return make_clip(bases / name, **{"seconds": 0.6, **options})

    made: dict[str, tuple[Path, bool, tuple[str, ...]]] = {
        "mute": (clip("mute.mp4", acodec=None), False, ("has no audio track", "--audio FILE")),
        "song": (clip("song.mov", vcodec=None), False, ("has no video stream",)),
        "no-sound": (
            clip("no-sound.mkv", audio_gaps_s=[(0, 9)]),
            False,
            ("no sound that decodes",),
        ),
        "day": (
            clip("day.mkv", picture_times_s=[0.0, 108000.0], acodec="libopus"),
            False,
            ("30 hours after the first",),
        ),
        "tracks": (
            clip("tracks.mkv", play=[clicks([])] * 70, seconds=0.1),
            False,
            ("at least 64 streams",),
        ),
        "cover": (clip("cover.mp4", vcodec=None, cover_art=True), False, ("only cover art",)),
        "thin": (clip("thin.mkv", vcodec="ffv1", size=(16, 2000)), True, ()),
        "dot": (clip("dot.mkv", vcodec="ffv1", size=(1, 1)), True, ()),
    }
    pcm = clip("pcm.mkv", acodec="pcm_s16le").read_bytes()
    rate = pcm.index(b"\xb5\x88") + 2  # SamplingFrequency, 8 bytes
    for name, value, reason in (
        ("slow", 1e3, "claims 1000 samples a second"),
        ("fast", 1e6, "claims 1000000 samples a second"),
    ):
        made[name] = (
            _put(bases / f"{name}.mkv", pcm[:rate] + struct.pack(">d", value) + pcm[rate + 8 :]),
            False,
            (reason,),
        )
    mkv = clip("base.mkv").read_bytes()
    size = mkv.index(b"\x18\x53\x80\x67") + 4
    open_ended = mkv[:size] + b"\x01" + b"\xff" * 7 + mkv[size + 8 :]  # a segment of unknown length
    at = open_ended.index(b"\x1f\x43\xb6\x75")
    for name, element in (
        ("attachments", _attachments(70)),
        ("chapters", _chapters(70)),
        ("tags", _tags(70)),
    ):
        made[name] = (
            _put(bases / f"{name}.mkv", open_ended[:at] + element + open_ended[at:]),
            True,
            (),
        )
    made["tiny-packets"] = (_tiny_packets(bases / "tiny-packets.mkv", 300), True, ())
    for suffix in ("mkv", "ts", "avi", "flv"):
        path = clip(f"half.{suffix}", seconds=2, acodec="ac3" if suffix == "avi" else "aac")
        made[f"half-{suffix}"] = (
            _put(path, path.read_bytes()[: path.stat().st_size // 2]),
            True,
            (),
        )
        path = clip(f"flips.{suffix}", seconds=2, acodec="ac3" if suffix == "avi" else "aac")
        data, rng = bytearray(path.read_bytes()), random.Random(2)
        for _ in range(100):
            data[rng.randrange(len(data) // 3, len(data))] ^= 1 << rng.randrange(8)
        made[f"flips-{suffix}"] = (_put(path, bytes(data)), True, ())
    return made


def _put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _tiny_packets(path: Path, count: int) -> Path:
    """Sound in packets of one sample each."""
    base = make_clip(path.with_name("tiny-base.mkv"), seconds=0.6)
    with av.open(str(base)) as source, av.open(str(path), "w") as container:
        video: Any = container.add_stream_from_template(source.streams.video[0])
        sound: Any = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        container.start_encoding()
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = video
                container.mux(packet)
        for number in range(count):
            one = Packet(b"\1\2")
            one.stream, one.time_base = sound, Fraction(1, 1000)
            one.pts = one.dts = number // 16
            container.mux(one)
    return path


# -- matroska --------------------------------------------------------------------------------------


def _element(name: bytes, content: bytes) -> bytes:
    return name + b"\x01" + len(content).to_bytes(7, "big") + content


def _attachments(count: int) -> bytes:
    def one(number: int) -> bytes:
        parts = (
            (b"\x46\x6e", b"a"),
            (b"\x46\x60", b"text/x"),
            (b"\x46\x5c", b"x"),
            (b"\x46\xae", number.to_bytes(4, "big")),
        )
        return _element(b"\x61\xa7", b"".join(_element(*part) for part in parts))

    return _element(b"\x19\x41\xa4\x69", b"".join(one(number + 1) for number in range(count)))


def _chapters(count: int) -> bytes:
    def one(number: int) -> bytes:
        parts = ((b"\x73\xc4", number + 1), (b"\x91", number), (b"\x92", number + 1))
        return _element(
            b"\xb6", b"".join(_element(name, value.to_bytes(4, "big")) for name, value in parts)
        )

    return _element(b"\x10\x43\xa7\x70", _element(b"\x45\xb9", b"".join(map(one, range(count)))))


def _tags(count: int) -> bytes:
    def one(number: int) -> bytes:
        return _element(
            b"\x67\xc8", _element(b"\x45\xa3", b"T%d" % number) + _element(b"\x44\x87", b"v")
        )

    return _element(
        b"\x12\x54\xc3\x67",
        _element(b"\x73\x73", _element(b"\x63\xc0", b"") + b"".join(map(one, range(count)))),
    )


# -- mp4 -------------------------------------------------------------------------------------------

_PARENTS = frozenset(
    {
        b"moov",
        b"trak",
        b"mdia",
        b"minf",
        b"stbl",
        b"dinf",
        b"moof",
        b"traf",
        b"edts",
        b"mvex",
        b"udta",
    }
)


def mp4_boxes(
    data: bytes | bytearray,
    start: int = 0,
    end: int | None = None,
    parents: frozenset[bytes] = _PARENTS,
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of every box, parents before their children."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        yield kind, start, start + size
        if kind in parents:
            yield from mp4_boxes(data, start + 8, start + size)
        start += size


def with_packed_index(data: bytes) -> bytes:
    """The same mp4 with its index compressed, as QuickTime may write it."""
    boxes = [data[start:end] for _, start, end in mp4_boxes(data, parents=frozenset())]
    moov = next(box for box in boxes if box[4:8] == b"moov")
    packed = struct.pack(">I", len(moov)) + zlib.compress(moov)
    cmov = _box(b"cmov", _box(b"dcom", b"zlib") + _box(b"cmvd", packed))
    return b"".join(box for box in boxes if box is not moov) + _box(b"moov", cmov)


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def noise(
    seed: int = 0, size: tuple[int, int] = (64, 48)
) -> Callable[[float], np.ndarray[Any, Any]]:
    """A pattern that moves, so that every picture has data worth damaging."""
    pattern = np.random.default_rng(seed).integers(40, 200, (size[1], size[0]), np.uint8)
    return lambda time_s: np.roll(pattern, round(time_s * 50), 1)


def main(argv: Sequence[str]) -> None:
    root = Path(argv[0])
    root.mkdir(parents=True)
    print(f"{len(write_corpus(root).cases)} cases in {root}")


if __name__ == "__main__":
    main(sys.argv[1:])
