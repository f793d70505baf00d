"""What the process asks of its C library about freed memory."""

from __future__ import annotations

import ctypes
import sys

import pytest

from avcheck.machine.memory import keep_few_kernels, keep_memory


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """(option, value) of every call of mallopt."""
    calls: list[tuple[int, int]] = []

    class Library:
        def __init__(self, name: str) -> None:
            assert name == "libc.so.6"

        def mallopt(self, option: int, value: int) -> int:
            calls.append((option, value))
            return 1

    for name in (
        "MALLOC_TRIM_THRESHOLD_",
        "MALLOC_TOP_PAD_",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_ARENA_MAX",
        "GLIBC_TUNABLES",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", Library)
    monkeypatch.setattr(sys, "platform", "linux")
    return calls


def test_a_check_keeps_what_is_small_and_training_everything(asked: list[tuple[int, int]]) -> None:
    keep_memory()
    assert asked == [(-1, 2**31 - 1), (-3, 32 * 2**20)]
    asked.clear()
    keep_memory(all_sizes=True)
    assert dict(asked) == {-1: 2**31 - 1, -2: 256 * 2**20, -4: 0}


@pytest.mark.parametrize("name", ["MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES"])
def test_who_has_set_it_up_is_left_alone(
    asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "glibc.malloc.mmap_threshold=1")
    keep_memory()
    assert not asked


def test_elsewhere_nothing_is_asked(
    asked: list[tuple[int, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    keep_memory()
    monkeypatch.setattr(sys, "platform", "linux")

    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    keep_memory()
    assert not asked


def test_few_kernels_are_kept_unless_the_user_says_how_many() -> None:
    name, old_name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"
    for given in ({}, {name: ""}):
        environment = dict(given)
        keep_few_kernels(environment)
        assert environment == {name: "256"}
    for set_up in ({name: "5"}, {old_name: "5"}):
        environment = dict(set_up)
        keep_few_kernels(environment)
        assert environment == set_up
