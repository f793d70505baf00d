"""Small good files of every kind, and random damage to them, the same again from the same seed."""

from __future__ import annotations

import os
import random
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("SVT_LOG", "1")  # else its AV1 encoder prints on stderr

from avcheck.batch.discovery import MEDIA_SUFFIXES
from tests.support import hostile
from tests.support.clips import make_clip

# (suffix, options of make_clip)
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mp4", {}),
    ("mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}),
    ("mp4", {"container_options": {"movflags": "faststart"}, "vcodec": "libx265", "acodec": "ac3"}),
    (
        "mp4",
        {
            "vcodec": "mpeg4",
            "acodec": "libmp3lame",
            "sample_rate": 44100,
            "rotation": 90,
            "cover_art": True,
        },
    ),
    (
        "mov",
        {
            "vcodec": "prores_ks",
            "pix_fmt": "yuv422p10le",
            "acodec": "pcm_s16le",
            "layout": "stereo",
        },
    ),
    ("mov", {"vcodec": "mjpeg", "pix_fmt": "yuvj420p", "full_range": True, "acodec": "alac"}),
    ("mkv", {}),
    ("mkv", {"vcodec": "ffv1", "acodec": "flac"}),
    ("mkv", {"vcodec": "mpeg2video", "acodec": "ac3"}),
    (
        "mkv",
        {
            "vcodec": "libx264",
            "acodec": "pcm_f32le",
            "picture_times_s": [0.0, 0.03, 0.2, 0.21, 0.6],
        },
    ),
    ("webm", {"vcodec": "libvpx", "acodec": "libopus"}),
    ("webm", {"vcodec": "libvpx-vp9", "acodec": "libopus"}),
    ("webm", {"vcodec": "libsvtav1", "acodec": "libopus"}),
    ("ts", {}),
    ("ts", {"vcodec": "mpeg2video", "acodec": "mp2"}),
    ("avi", {"acodec": "ac3"}),
    ("avi", {"vcodec": "mpeg4", "acodec": "libmp3lame", "sample_rate": 44100}),
    ("avi", {"vcodec": "rawvideo", "acodec": "pcm_u8"}),
    ("flv", {"sample_rate": 44100}),
    ("flv", {"vcodec": "flv", "acodec": "libmp3lame", "sample_rate": 44100}),
    ("mxf", {"vcodec": "mpeg2video", "acodec": "pcm_s16le"}),
    ("mpg", {"vcodec": "mpeg2video", "acodec": "mp2"}),
    ("ogv", {"vcodec": "libvpx", "acodec": "libopus"}),
    ("wmv", {"vcodec": "wmv2", "acodec": "wmav2"}),
    ("wav", {"vcodec": None, "acodec": "pcm_s16le"}),
    ("flac", {"vcodec": None, "acodec": "flac"}),
    ("mp3", {"vcodec": None, "acodec": "libmp3lame", "sample_rate": 44100}),
    ("aiff", {"vcodec": None, "acodec": "pcm_s16be"}),
)


ODD_NUMBERS = (
    0,
    1,
    2,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFE,
    0xFFFFFFFF,
)
_TABLES = {
    b"stts",
    b"ctts",
    b"stsc",
    b"stsz",
    b"stco",
    b"elst",
    b"mdhd",
    b"mvhd",
    b"tkhd",
    b"trun",
    b"tfdt",
    b"tfhd",
    b"hdlr",
}
# Matroska elements with a size worth changing: segment, cluster, block, tracks, codec private,
# timestamps, rates, sizes.
_EBML = re.compile(
    rb"\x18\x53\x80\x67|\x1f\x43\xb6\x75|\x16\x54\xae\x6b|\x63\xa2|\xe7|\xa3|\xa0|\xa1|\x9b|\x2a\xd7\xb1|\x44\x89|\xb5|\xb0|\xba|\x9f"
)

Mutation = Callable[[bytearray, random.Random], None]


def make_seeds(folder: Path) -> list[tuple[str, bytes]]:
    """(suffix, content) of small good files of every kind."""
    seeds = []
    for number, (suffix, options) in enumerate(KINDS):
        path = folder / f"{number}.{suffix}"
        size = (96, 64) if options.get("vcodec") == "libsvtav1" else (64, 48)
        make_clip(
            path, **{"seconds": 0.64, "size": size, "draw": hostile.noise(number, size), **options}
        )
        seeds.append((suffix, path.read_bytes()))
    return seeds


# -- mutations -------------------------------------------------------------------------------------


def _near(data: bytearray, rng: random.Random) -> int:
    """A place in the file; every second time in its head or tail, where the structure is."""
    draw = rng.random()
    if draw < 0.4:
        return rng.randrange(min(len(data), 1500))
    if draw < 0.5:
        return rng.randrange(max(0, len(data) - 3000), len(data))
    return rng.randrange(len(data))


def flip_bits(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 10, 100))):
        data[_near(data, rng)] ^= 1 << rng.randrange(8)


def set_bytes(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice((1, 1, 3, 10, 100))):
        data[_near(data, rng)] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))


def set_number(data: bytearray, rng: random.Random) -> None:
    form = rng.choice((">H", "<H", ">I", "<I", ">Q", "<Q"))
    at = _near(data, rng)
    size = struct.calcsize(form)
    if at + size <= len(data):
        value = rng.choice(
            (*ODD_NUMBERS, rng.getrandbits(8 * size), len(data), 2**63 - 1, 2**64 - 1)
        )
        struct.pack_into(form, data, at, value % (1 << (8 * size)))


def truncate(data: bytearray, rng: random.Random) -> None:
    del data[_near(data, rng) :]


def remove(data: bytearray, rng: random.Random) -> None:
    at = _near(data, rng)
    del data[at : at + rng.choice((1, 4, 188, rng.randrange(1, 2000)))]


def repeat(data: bytearray, rng: random.Random) -> None:
    at = _near(data, rng)
    part = data[at : at + rng.choice((1, 8, 188, rng.randrange(1, 4000)))]
    to = rng.choice((at, _near(data, rng)))
    data[to:to] = part * rng.choice((1, 2, 20))


def swap(data: bytearray, rng: random.Random) -> None:
    one, other = sorted((_near(data, rng), _near(data, rng)))
    size = rng.randrange(1, 500)
    data[one : one + size], data[other : other + size] = (
        data[other : other + size],
        data[one : one + size],
    )


def mp4_size(data: bytearray, rng: random.Random) -> None:
    boxes = list(hostile.mp4_boxes(data))
    if boxes:
        _, start, end = rng.choice(boxes)
        size = rng.choice(
            (*ODD_NUMBERS, 7, 8, 9, end - start - 1, end - start + 1, 2 * (end - start), len(data))
        )
        struct.pack_into(">I", data, start, size % 2**32)


def mp4_table(data: bytearray, rng: random.Random) -> None:
    """Counts, times, sizes and places in the tables of an mp4."""
    boxes = [box for box in hostile.mp4_boxes(data) if box[0] in _TABLES and box[2] - box[1] >= 16]
    if boxes:
        _, start, end = rng.choice(boxes)
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.randrange(start + 8, end - 3, 4)
            struct.pack_into(
                ">I", data, at, rng.choice((*ODD_NUMBERS, rng.getrandbits(32), rng.randrange(5000)))
            )


def ebml(data: bytearray, rng: random.Random) -> None:
    """Sizes, and the first bytes (often a timestamp), of the elements of a matroska file."""
    elements = list(_EBML.finditer(data))
    if elements:
        for _ in range(rng.choice((1, 1, 4))):
            at = rng.choice(elements).end() + rng.choice((0, 0, 1, 2, 3, 4, 8))
            if at < len(data):
                data[at] = rng.choice((0, 1, 0x10, 0x40, 0x80, 0x81, 0xFF, rng.randrange(256)))


def ts_clock(data: bytearray, rng: random.Random) -> None:
    """The timestamps of a transport or program stream."""
    headers = [match.end() for match in re.finditer(rb"\x00\x00\x01[\xbd\xc0-\xef]", data)]
    if headers:
        for _ in range(rng.choice((1, 3))):
            at = rng.choice(headers) + rng.randrange(2, 16)
            if at < len(data):
                data[at] = rng.randrange(256)


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    flip_bits,
    set_bytes,
    set_number,
    set_number,
    truncate,
    remove,
    repeat,
    swap,
    mp4_size,
    mp4_table,
    ebml,
    ts_clock,
)


def mutant(seeds: Sequence[tuple[str, bytes]], seed: int, number: int) -> tuple[str, bytes]:
    """Suffix and content of a case."""
    rng = random.Random(f"{seed}:{number}")
    suffix, content = rng.choice(seeds)
    if rng.random() < 0.05:  # the head of one file, the rest of another
        content = content[: rng.randrange(1, len(content))] + rng.choice(seeds)[1]
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if data:
            rng.choice(MUTATIONS)(data, rng)
    if rng.random() < 0.1:
        suffix = rng.choice(sorted(MEDIA_SUFFIXES)).removeprefix(".")
    return suffix, bytes(data)
