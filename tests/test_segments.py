"""Segments: every block in one, and the sound that neighbours lend."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from avcheck.reading import segments as segments_module
from avcheck.reading.segments import Window, ahead
from avcheck.scan.curves import scan
from tests.support.block_source import LEVELS, block, loaded

torch.set_num_threads(1)


def segments(indices: list[int], **options: Any) -> list[tuple[list[int], list[int], list[int]]]:
    windows = segments_module.segments(block(k, size=(2, 2), **options) for k in indices)
    return [parts_of(window) for window in windows]


def parts_of(window: Window) -> tuple[list[int], list[int], list[int]]:
    """The numbers of the blocks before, inside and after."""
    before, inside, after = (
        [item.index for item in part] for part in (window.before, window.inside, window.after)
    )
    return before, inside, after


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11, 14, 15, 16, 24, 25, 29, 30, 61])
def test_every_block_is_in_one_segment(count: int) -> None:
    parts = segments(list(range(count)))
    assert [k for _, inside, _ in parts for k in inside] == list(range(count))
    lengths = [len(inside) for _, inside, _ in parts]
    assert all(length == 10 for length in lengths[:-1])
    assert lengths[-1] <= 14
    # A tail too short to be judged alone is never left over.
    assert len(lengths) == 1 or lengths[-1] >= 5


@pytest.mark.parametrize("count", [1, 10, 14, 15, 25])
def test_a_segment_is_alone_if_no_other_is_looked_at(count: int) -> None:
    windows = list(segments_module.segments(block(k, size=(2, 2)) for k in range(count)))
    assert [window.alone for window in windows] == [count < 15] * len(windows)
    assert windows[0].with_sound(0).alone == windows[0].alone
    # A window in the middle of a title has others beside it
    assert not any(part.alone for window in windows for part in window.segments())


def test_a_segment_with_a_gap_before_it_is_not_alone() -> None:
    windows = segments_module.segments(block(k, size=(2, 2)) for k in (0, 1, 5, 6))
    assert [window.alone for window in windows] == [False, False]


def test_a_wanted_part_may_be_alone() -> None:
    source = (block(k, size=(2, 2)) for k in range(30))
    (window,) = segments_module.segments(source, wanted=range(5, 15))
    assert window.alone


def test_neighbours_lend_two_seconds_of_sound_on_either_side() -> None:
    parts = segments(list(range(28)))
    assert parts == [
        ([], list(range(10)), [10, 11]),
        ([8, 9], list(range(10, 20)), [20, 21]),
        ([18, 19], list(range(20, 28)), []),
    ]


@pytest.mark.parametrize("seed", range(6))
def test_no_segment_spans_a_gap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    indices = np.cumsum(rng.choice([1, 1, 1, 1, 1, 1, 1, 2, 300], 80)).tolist()
    parts = segments(indices)
    assert [k for _, inside, _ in parts for k in inside] == indices
    for before, inside, after in parts:
        run = before + inside + after
        assert run == list(range(run[0], run[-1] + 1))


def test_a_change_of_the_pictures_shape_ends_a_segment_but_sound_goes_on() -> None:
    source = [block(k, size=(48, 64) if k < 4 else (64, 48)) for k in range(12)]
    parts = [parts_of(window) for window in segments_module.segments(source)]
    assert parts == [([], [0, 1, 2, 3], [4]), ([2, 3], list(range(4, 12)), [])]
    curves = list(scan(source, loaded(), levels=LEVELS))
    assert [len(curve.block_start_s) for curve in curves] == [4, 8]
    # The sound of the blocks after the change was used
    assert np.isfinite(curves[0].score).sum() > 51


def test_every_block_is_told_of_as_it_is_read() -> None:
    indices: list[int] = []
    list(
        scan(
            (block(k) for k in range(3)),
            loaded(),
            levels=LEVELS,
            on_block=lambda item: indices.append(item.index),
        )
    )
    assert indices == [0, 1, 2]


def test_blocks_that_are_not_wanted_only_lend_their_sound() -> None:
    blocks = (block(k, size=(2, 2)) for k in range(8))
    (window,) = segments_module.segments(blocks, wanted=range(2, 6))
    assert parts_of(window) == ([0, 1], [2, 3, 4, 5], [6, 7])
    assert not any(len(each.pictures) for each in (*window.before, *window.after))


def test_what_is_made_ahead_is_bounded_and_ends_with_its_reader() -> None:
    """An early end, as of a check that was cancelled, must not wait for the rest of the file."""
    made: list[int] = []

    def source() -> Iterator[int]:
        for k in range(1000):
            made.append(k)
            yield k

    items = ahead(source(), depth=2)
    assert next(items) == 0
    closing = threading.Thread(target=items.close, daemon=True)
    closing.start()
    closing.join(timeout=60)
    assert not closing.is_alive()
    assert len(made) <= 5  # one read, two waiting, one in hand, and one for a race
    count = len(made)
    assert [next(items, None), len(made)] == [None, count]


def test_the_end_is_known_as_soon_as_the_last_one_is_made() -> None:
    ended = threading.Event()
    items = ahead(iter([1, 2, 3]), depth=10, ended=ended)
    assert next(items) == 1
    assert ended.wait(timeout=60)
    assert list(items) == [2, 3]


def test_an_error_in_the_thread_comes_through() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("damaged")

    items = ahead(source())
    assert next(items) == 1
    with pytest.raises(ValueError, match="damaged"):
        next(items)
