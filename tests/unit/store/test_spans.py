"""What a part file says of itself."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.store.spans import Span, SpanList, merged, missing

SIZE = 10_000
EXTENTS = st.lists(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)).map(sorted).map(tuple), max_size=8)


@pytest.fixture
def handle(tmp_path: Path) -> Iterator[int]:
    handle = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    yield handle
    os.close(handle)


def bytes_of(extents: list[tuple[int, int]]) -> set[int]:
    return {byte for start, stop in extents for byte in range(start, stop)}


@given(EXTENTS, st.integers(100, SIZE))
def test_what_is_there_and_what_is_missing_are_all(extents: list[tuple[int, int]], longest: int) -> None:
    there = merged([(start, stop) for start, stop in extents if start < stop])
    lacking = missing(there, SIZE, longest)
    assert bytes_of(there) == bytes_of(extents)
    assert bytes_of(there) | bytes_of(lacking) == set(range(SIZE))
    assert sum(stop - start for start, stop in (*there, *lacking)) == SIZE
    assert all(0 < stop - start <= longest for start, stop in lacking)


@pytest.mark.parametrize("length", [0, 1, SIZE - 1, SIZE])
def test_a_file_without_a_list_has_its_first_bytes(handle: int, length: int) -> None:
    os.ftruncate(handle, length)
    assert SpanList(handle, SIZE).read() == ([(0, length)] if length else [], 0)


def test_a_list_says_what_each_connection_has_written(handle: int) -> None:
    spans = SpanList(handle, SIZE)
    spans.begin(300)
    for slot, (start, position) in enumerate([(300, 500), (5_000, 5_000), (8_000, 9_000)], 1):
        spans.write(Span(start, SIZE, position, slot))
    assert spans.read() == ([(0, 500), (8_000, 9_000)], 4)
    spans.write(Span(5_000, SIZE, 8_000, 2))
    assert spans.read()[0] == [(0, 500), (5_000, 9_000)]


@pytest.mark.parametrize("cut", range(1, 17))
def test_a_record_that_was_torn_is_none(handle: int, cut: int) -> None:
    spans = SpanList(handle, SIZE)
    spans.begin(300)
    spans.write(Span(400, 500, 450, 1))
    os.ftruncate(handle, os.fstat(handle).st_size - cut)
    assert spans.read() == ([(0, 300)], 1)


@pytest.mark.parametrize(
    "rest", [b"x", b"\0" * 64, random.Random(5).randbytes(5_000)], ids=["short", "zeros", "noise"]
)
def test_what_is_no_list_says_that_nothing_is_there(handle: int, rest: bytes) -> None:
    os.pwrite(handle, rest, SIZE)
    assert SpanList(handle, SIZE).read()[0] == []


@given(st.binary(max_size=200))
def test_any_records_name_bytes_of_the_content_alone(tmp_path_factory, records: bytes) -> None:
    path = tmp_path_factory.mktemp("spans") / "part"
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        spans = SpanList(handle, SIZE)
        spans.begin(0)
        os.pwrite(handle, records, os.fstat(handle).st_size)
        assert all(0 <= start < stop <= SIZE for start, stop in spans.read()[0])
    finally:
        os.close(handle)
