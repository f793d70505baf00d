"""Generated files that are damaged, are not what their name says, or mean harm, and what each has to end as.

`python -m tests.hostile FOLDER` writes them all.
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

sys.path.insert(0, str(Path(__file__).parent))

import av
import numpy as np
from av.packet import Packet
from conftest import clicks, make_clip

TARGET = "target.dat"  # a video that other files refer to, and that nobody may open

# What FFmpeg, or another player, follows to other files and hosts.
REFERENCES = {
    "ffconcat": f"ffconcat version 1.0\nfile {TARGET}\n",
    "m3u8": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.0,\n{TARGET}\n#EXT-X-ENDLIST\n",
    "m3u8-http": "#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:2.0,\nhttp://127.0.0.1:9/a.ts\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT2S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1">'
    f"<BaseURL>{TARGET}</BaseURL></Representation></AdaptationSet></Period></MPD>",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "asx": f'<ASX version="3.0"><Entry><Ref href="{TARGET}"/></Entry></ASX>',
    "xspf": f'<?xml version="1.0"?><playlist version="1"><trackList><track><location>{TARGET}</location></track></trackList>'
    "</playlist>",
    "cue": f'FILE "{TARGET}" WAVE\n  TRACK 01 AUDIO\n    INDEX 01 00:00:00\n',
    "lavfi": f"movie={TARGET}",
    "imf": '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"/>',
}
NAMES = (
    "[bold red]x[blink] [link=x]y :warning:.mp4",
    "\x1b[31m\x1b]0;title\x07red.mp4",
    "two\nlines\r.mp4",
    "::error file=app.py,line=1::boo.mp4",
    "##[error]boo ##vso[task.setvariable variable=x]y.mp4",
    "=HYPERLINK(1).mp4",
    "+1-1.mp4",
    "@SUM(A1).mp4",
    "\t=1+1.mp4",
    "-rf.mp4",
    "--help.mp4",
    "%0A%03d.mp4",
    "clip%d.mp4",
    "\u202egpj.4pm.mp4",
    "\u2028sep\x85.mp4",
    "<script>alert(1)&amp;.mp4",
    "]]>\ufffe\uffff.mp4",
    "'\"`$(id);|&.mp4",
    "a:b.mp4",
    "http:127.0.0.1.mp4",
    f"concat:{TARGET}|{TARGET}.mp4",
    f"subfile,,start,0,end,0,,:{TARGET}.mp4",
    "data:video,AAAA.mp4",
    "pipe:0.mp4",
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
    """`given` are the paths for the command: the folder, and what is only looked at when it is named."""

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
    for name, (data, words) in not_media.items():
        put(f"{name}.mp4", data, False, words)
    for name, text in REFERENCES.items():
        for suffix in ("mp4", "mkv", "mxf"):
            put(f"{name}.{suffix}", text.encode(), False, "not a video file")
    put("tail.mp4", mp4[:-2000], False, "cut off or damaged", "export it again")
    put("reference.mov", refer_elsewhere(mp4), False, "none of its pictures decodes")
    for name, (data, words) in mp4_bombs(bases, mp4).items():
        put(f"{name}.mp4", data, False, *words)
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
    (apart / "link.mp4").symlink_to(folder / "-rf.mp4")
    odd = {
        "pipe.mp4": "not a regular file",
        "socket.mp4": "not a regular file",
        "folder.mp4": "no media files",
        "broken.mp4": "broken link",
        "loop.mp4": "symbolic links",
        "gone.mp4": "no such file",
    }
    cases += [Case(apart / name, False, (words,)) for name, words in odd.items()]
    cases += [Case(apart / "link.mp4", True), Case(Path("/dev/zero"), False, ("not a regular file",))]
    shutil.rmtree(bases)
    named = tuple(case.path for case in cases if case.path.parent != folder)
    return Corpus((folder, *named), folder, tuple(cases))


def _made(bases: Path) -> dict[str, tuple[Path, bool, tuple[str, ...]]]:
    """Cases that FFmpeg has to write, or that patch what it wrote."""

    def clip(name: str, **options: Any) -> Path:
        return make_clip(bases / name, **{"seconds": 0.6, **options})

    found: dict[str, tuple[Path, bool, tuple[str, ...]]] = {
        "mute": (clip("mute.mp4", acodec=None), False, ("has no audio track", "--audio FILE")),
        "song": (clip("song.mov", vcodec=None), False, ("has no video stream",)),
        "no-sound": (clip("no-sound.mkv", audio_gaps_s=[(0, 9)]), False, ("no sound that decodes",)),
        "day": (clip("day.mkv", picture_times_s=[0.0, 108000.0], acodec="libopus"), False, ("30 hours after the first",)),
        "tracks": (clip("tracks.mkv", play=[clicks([])] * 70, seconds=0.1), False, ("at least 64 streams",)),
        "cover": (clip("cover.mp4", vcodec=None, cover_art=True), False, ("only cover art",)),
        "png": (_with_video_packets(bases / "png.mov", "png", _png(16000, 12000)), False, ("over 38 megapixels",)),
        "thin": (clip("thin.mkv", vcodec="ffv1", size=(16, 20000)), True, ()),
        "dot": (clip("dot.mkv", vcodec="ffv1", size=(1, 1)), True, ()),
    }
    pcm = clip("pcm.mkv", acodec="pcm_s16le").read_bytes()
    rate = pcm.index(b"\xb5\x88") + 2  # SamplingFrequency, 8 bytes
    for name, value, words in (("1Hz", 1.0, "claims 1 samples a second"), ("2GHz", 2e9, "claims 2000000000 samples")):
        found[name] = (_put(bases / f"{name}.mkv", pcm[:rate] + struct.pack(">d", value) + pcm[rate + 8 :]), False, (words,))
    mkv = clip("base.mkv").read_bytes()
    size = mkv.index(b"\x18\x53\x80\x67") + 4
    open_ended = mkv[:size] + b"\x01" + b"\xff" * 7 + mkv[size + 8 :]  # a segment of unknown length
    at = open_ended.index(b"\x1f\x43\xb6\x75")
    for name, element, judged, words in (
        ("attachments", _attachments(3000), False, ("at least 64 streams",)),
        ("chapters", _chapters(3000), True, ()),
        ("tags", _tags(3000), True, ()),
        ("nested", _element(b"\x12\x54\xc3\x67", b"") * 20000, True, ()),
    ):
        found[name] = (_put(bases / f"{name}.mkv", open_ended[:at] + element + open_ended[at:]), judged, words)
    found["tiny-packets"] = (_tiny_packets(bases / "tiny-packets.mkv", 3000), True, ())
    for suffix in ("mkv", "ts", "avi", "flv"):
        path = clip(f"half.{suffix}", seconds=2, acodec="ac3" if suffix == "avi" else "aac")
        found[f"half-{suffix}"] = (_put(path, path.read_bytes()[: path.stat().st_size // 2]), True, ())
        path = clip(f"flips.{suffix}", seconds=2, acodec="ac3" if suffix == "avi" else "aac")
        data, rng = bytearray(path.read_bytes()), random.Random(2)
        for _ in range(100):
            data[rng.randrange(len(data) // 3, len(data))] ^= 1 << rng.randrange(8)
        found[f"flips-{suffix}"] = (_put(path, bytes(data)), True, ())
    return found


def _put(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _png(width: int, height: int) -> bytes:
    """A grey picture: 190 kB that are 190 MB once decoded."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(1 + width) * 100) for _ in range(height // 100)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def _with_video_packets(path: Path, codec: str, packet: bytes) -> Path:
    """Three pictures that are all this packet, whatever it is, with silence."""
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "gray"
        sound: Any = container.add_stream("pcm_s16le", rate=16000, layout="mono")
        container.start_encoding()
        for number in range(3):
            for stream, data, pts, tick in ((video, packet, number, 25), (sound, bytes(1280), number * 640, 16000)):
                one = Packet(data)
                one.stream, one.pts, one.dts, one.time_base, one.is_keyframe = stream, pts, pts, Fraction(1, tick), True
                container.mux(one)
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


# -- matroska ---------------------------------------------------------------------------------------------------------


def _element(name: bytes, content: bytes) -> bytes:
    return name + b"\x01" + len(content).to_bytes(7, "big") + content


def _attachments(count: int) -> bytes:
    def one(number: int) -> bytes:
        parts = ((b"\x46\x6e", b"a"), (b"\x46\x60", b"text/x"), (b"\x46\x5c", b"x"), (b"\x46\xae", number.to_bytes(4, "big")))
        return _element(b"\x61\xa7", b"".join(_element(*part) for part in parts))

    return _element(b"\x19\x41\xa4\x69", b"".join(one(number + 1) for number in range(count)))


def _chapters(count: int) -> bytes:
    def one(number: int) -> bytes:
        parts = ((b"\x73\xc4", number + 1), (b"\x91", number), (b"\x92", number + 1))
        return _element(b"\xb6", b"".join(_element(name, value.to_bytes(4, "big")) for name, value in parts))

    return _element(b"\x10\x43\xa7\x70", _element(b"\x45\xb9", b"".join(map(one, range(count)))))


def _tags(count: int) -> bytes:
    def one(number: int) -> bytes:
        return _element(b"\x67\xc8", _element(b"\x45\xa3", b"T%d" % number) + _element(b"\x44\x87", b"v"))

    return _element(b"\x12\x54\xc3\x67", _element(b"\x73\x73", _element(b"\x63\xc0", b"") + b"".join(map(one, range(count)))))


# -- mp4 --------------------------------------------------------------------------------------------------------------

_PARENTS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"dinf", b"moof", b"traf", b"edts", b"mvex", b"udta"}


def mp4_boxes(data: bytes | bytearray, start: int = 0, end: int | None = None) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of every box, parents before their children."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        if size < 8 or start + size > end:
            return
        yield kind, start, start + size
        if kind in _PARENTS:
            yield from mp4_boxes(data, start + 8, start + size)
        start += size


def replaced(data: bytes, wanted: bytes, content: bytes) -> bytes:
    """With the first box of this kind holding `content`; what holds it grows along. The index has to lie at the end."""
    at, end = next((start, stop) for kind, start, stop in mp4_boxes(data) if kind == wanted)
    grown = bytearray(data[:at] + struct.pack(">I", 8 + len(content)) + wanted + content + data[end:])
    for kind, start, stop in mp4_boxes(data):
        if kind in _PARENTS and start < at and stop >= end:
            struct.pack_into(">I", grown, start, stop - start + 8 + len(content) - (end - at))
    return bytes(grown)


def refer_elsewhere(data: bytes) -> bytes:
    """A QuickTime file whose picture is, by its data reference, in another file (an alias of the Macintosh)."""
    path = TARGET.encode()
    alias = bytearray(150)
    alias[10:11], alias[50:51] = b"\1", bytes([len(path)])
    alias[51 : 51 + len(path)] = path
    struct.pack_into(">hh", alias, 130, 1, 1)
    alias += struct.pack(">hh", 2, len(path)) + path + b"\0" * (len(path) % 2) + struct.pack(">hh", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + bytes(alias)
    return replaced(data, b"dref", struct.pack(">II", 0, 1) + entry)


def mp4_bombs(bases: Path, whole: bytes) -> dict[str, tuple[bytes, tuple[str, ...]]]:
    """Files of a few kB whose index counts millions of pictures."""
    claims = ("its index claims", "pictures or packets")
    equal = replaced(whole, b"stsz", struct.pack(">III", 0, 1, 90_000_000))
    equal = replaced(equal, b"stsc", struct.pack(">IIIII", 0, 1, 1, 90_000_000, 1))
    times = replaced(equal, b"stts", struct.pack(">IIII", 0, 1, 90_000_000, 1))
    options = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
    pieces = make_clip(bases / "pieces.mp4", seconds=0.6, container_options=options).read_bytes()
    moov = next(pieces_of for pieces_of in _top(equal) if pieces_of[4:8] == b"moov")
    packed = struct.pack(">I", len(moov)) + zlib.compress(moov)
    cmov = _box(b"cmov", _box(b"dcom", b"zlib") + _box(b"cmvd", packed))
    rest = b"".join(part for part in _top(equal) if part[4:8] != b"moov")
    return {
        "samples": (equal, claims),
        "samples-and-times": (times, claims),
        "fragments": (replaced(pieces, b"trun", struct.pack(">III", 1, 90_000_000, 1000)), claims),
        "compressed": (rest + _box(b"moov", cmov), claims),
    }


def _top(data: bytes) -> Iterator[bytes]:
    at = 0
    while at + 8 <= len(data):
        size = struct.unpack_from(">I", data, at)[0]
        yield data[at : at + size]
        at += size


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", 8 + len(content)) + kind + content


def noise(seed: int = 0, size: tuple[int, int] = (64, 48)) -> Callable[[float], np.ndarray[Any, Any]]:
    """A pattern that moves, so that every picture has data worth damaging."""
    pattern = np.random.default_rng(seed).integers(40, 200, (size[1], size[0]), np.uint8)
    return lambda time_s: np.roll(pattern, round(time_s * 50), 1)


def main(argv: Sequence[str]) -> None:
    root = Path(argv[0])
    root.mkdir(parents=True)
    print(f"{len(write_corpus(root).cases)} cases in {root}")


if __name__ == "__main__":
    main(sys.argv[1:])
