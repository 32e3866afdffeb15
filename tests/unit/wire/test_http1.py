"""The client's half of HTTP/1.1."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mrpack_runtime.wire.framing import HEAD_LIMIT
from mrpack_runtime.wire.http1 import BrokenAnswer, ResponseReader

PLAIN = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n"
)
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\nA: b\r\n\r\n" + PLAIN
OPEN_END = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end"


def read(*pieces: bytes, end: bool = False) -> tuple[ResponseReader, bytes]:
    reader = ResponseReader()
    body = b"".join(reader.feed(piece) for piece in pieces)
    if end:
        reader.end()
    return reader, body


@pytest.mark.parametrize(
    ("content", "body"), [(PLAIN, b"hello"), (CHUNKED, b"abc0123456789"), (INTERIM, b"hello")]
)
def test_an_answer_is_the_same_however_it_is_cut(content, body):
    for cut in range(len(content) + 1):
        reader, found = read(content[:cut], content[cut:])
        assert reader.done
        assert found == body
    reader, found = read(*(content[i : i + 1] for i in range(len(content))))
    assert (reader.done, found) == (True, body)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_chunks_carry_any_bytes(chunks, step):
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks if chunk)
    content = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + b"0\r\n\r\n"
    reader, body = read(*(content[i : i + step] for i in range(0, len(content), step)))
    assert reader.done
    assert body == b"".join(chunks)


def test_a_body_without_length_ends_with_the_connection():
    reader, body = read(OPEN_END, b", really", end=True)
    assert reader.done
    assert body == b"until the end, really"
    assert reader.head is not None
    assert not reader.head.keep_alive


@pytest.mark.parametrize("cut", [0, 3, 20, len(CHUNKED) - 1, len(CHUNKED) - 20])
def test_an_early_end_is_an_error(cut):
    with pytest.raises(BrokenAnswer):
        read(CHUNKED[:cut], end=True)


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\x01 this is not HTTP \xff\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nBad Name: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nSet-Cookie: c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"5" * 5000,
        PLAIN + b"more",
        CHUNKED + b"more",
        b"HTTP/1.1 204 No Content\r\n\r\nmore",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * HEAD_LIMIT,
    ],
)
def test_garbage_is_refused(content):
    with pytest.raises(BrokenAnswer):
        read(content)


@settings(deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", PLAIN[:17], PLAIN[:-5], CHUNKED[:47], CHUNKED[:60]]))
@example(b"\r\n\r\n", b"HTTP/1.1 200 OK")
def test_no_bytes_cause_another_error(tail, start):
    with contextlib.suppress(BrokenAnswer):
        read(start + tail, end=True)


@pytest.mark.parametrize(
    ("head", "kept"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n", True),
    ],
)
def test_whether_a_connection_can_be_used_again(head, kept):
    reader, _ = read(head + b"\r\n")
    assert reader.done
    assert reader.head is not None
    assert reader.head.keep_alive is kept
