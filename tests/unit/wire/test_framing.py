"""HTTP/1.1 as both sides write it: chunks however they are torn, and what ends none of them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack_runtime.wire.framing import HEAD_LIMIT, ChunkReader, Malformed

END = b"0\r\n\r\n"


def read(reader: ChunkReader, content: bytes, places: list[int]) -> bytes:
    cuts = [0, *sorted(places), len(content)]
    return b"".join(reader.feed(content[begin:end]) for begin, end in pairwise(cuts) if not reader.done)


@given(
    parts=st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    trailer=st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nZ:\r\n"]),
    cuts=st.lists(st.floats(0, 1), max_size=8),
)
def test_chunks_are_read_however_they_are_torn(parts, trailer, cuts):
    content = (
        b"".join(b"%x;a=b\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n" + trailer + b"\r\n"
    )
    reader = ChunkReader()
    assert read(reader, content, [int(cut * len(content)) for cut in cuts]) == b"".join(parts)
    assert reader.done


def test_what_follows_the_last_chunk_is_of_another_message():
    reader = ChunkReader()
    assert reader.feed(b"1\r\na\r\n" + END + b"GET /") == b"a"
    assert (reader.done, reader.rest) == (True, b"GET /")


@pytest.mark.parametrize(
    "line", [b"A: b\r\n", b"A: " + b"b" * 4000 + b"\r\n", b"A"], ids=["short", "long", "one"]
)
@pytest.mark.parametrize("at_once", [1, 100])
def test_a_trailer_has_an_end(line, at_once):
    reader = ChunkReader()
    reader.feed(b"0\r\n")

    def go_on() -> None:
        for _ in range(2 * HEAD_LIMIT // len(line)):
            reader.feed(line * at_once)

    with pytest.raises(Malformed, match="trailer"):
        go_on()
