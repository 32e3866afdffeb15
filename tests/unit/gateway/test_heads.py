"""The server's half of HTTP/1.1: heads of requests, and of answers."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack_runtime.gateway.heads import (
    FIELDS_LIMIT,
    LINE_LIMIT,
    RequestHead,
    answer_head,
    parse_request_head,
    split_head,
)
from mrpack_runtime.wire.framing import HEAD_LIMIT, Malformed

PLAIN = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5"


def parsed(first: str, *lines: str) -> RequestHead:
    return parse_request_head("\r\n".join([first, *lines]).encode("latin-1"))


def test_a_head_is_found_however_much_of_it_is_there():
    content = PLAIN + b"\r\n\r\nhello"
    for cut in range(len(PLAIN) + 4):
        assert split_head(content[:cut]) is None
    assert split_head(content) == (PLAIN, b"hello")
    assert split_head(b"\r\n" + content) == (PLAIN, b"hello")


class Watched(bytes):
    """Counts the bytes of it that are searched."""

    searched = 0

    def find(self, sub, start=0, end=None):
        found = super().find(sub, start, end)
        self.searched += (min(len(self), end) if found < 0 else found + len(sub)) - start
        return found


def test_a_head_that_drips_is_searched_once():
    content, searched = PLAIN + b"\r\nX: " + b"a" * 5000 + b"\r\n\r\nhello", 0
    for cut in range(1, len(content) - len(b"hello")):
        part = Watched(content[:cut])
        assert split_head(part, cut - 1) is None
        searched += part.searched
    assert split_head(content, len(content) - 6) == (content[:-9], b"hello")
    assert searched < 5 * len(content)


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b": "]), max_size=9), st.data())
def test_how_a_head_comes_makes_no_difference(pieces, data):
    content = b"GET / HTTP/1.1" + b"".join(pieces)

    def outcome(seen: int) -> object:
        try:
            return split_head(content, seen)
        except Malformed as error:
            return str(error)

    seen = data.draw(st.integers(0, len(content)))
    with contextlib.suppress(Malformed):
        if split_head(content[:seen]) is None:
            assert outcome(seen) == outcome(0)


@pytest.mark.parametrize(
    "content",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\r\n\r\n",
        b"get / HTTP/1.1\r\n",
        b"GET / HTTP/1.1\nHost: localhost\n",
        b"GET / HTTP/1.1\r\nHost: localhost\n",
        b"SOMETHING /",
        b"GET /" + b"a" * HEAD_LIMIT,
    ],
)
def test_what_can_never_be_a_head_is_refused_at_once(content):
    with pytest.raises(Malformed):
        split_head(content)


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", ""),
        ("/logs?follow=true", "/logs", "follow=true"),
        ("/logs?a=/b?c", "/logs", "a=/b?c"),
        ("/models/team%2Fx%20y", "/models/team/x y", ""),
        ("/x%3Fy#z?a", "/x?y", ""),
        ("//v1/models", "//v1/models", ""),
        ("/a/../b", "/a/../b", ""),
        ("http://localhost:1/v1/models?a=b", "/v1/models", "a=b"),
        ("http://localhost", "/", ""),
        ("HTTP://localhost?a", "/", "a"),
        ("*", "*", ""),
    ],
)
def test_a_target_is_a_path_and_a_query(target, path, query):
    head = parsed(f"GET {target} HTTP/1.1")
    assert (head.path, head.query_text) == (path, query)


def test_a_target_may_name_the_host_that_the_header_names():
    assert parsed("GET http://LOCALHOST:1/x HTTP/1.1", "Host: localhost:1").path == "/x"


def test_of_a_header_that_comes_twice_the_first_counts_and_a_query_tells_both():
    head = parsed("GET /?a=1&a=2&b= HTTP/1.1", "X-A: 1", "x-a: 2")
    assert head.query == {"a": "1,2", "b": ""}
    assert head.headers["x-A"] == "1"
    assert head.headers.all("X-a") == ["1", "2"]
    assert list(head.headers) == ["x-a"]
    assert "y" not in head.headers


@pytest.mark.parametrize(
    ("lines", "length", "may_stay"),
    [
        ((), 0, True),
        (("Content-Length: 7",), 7, True),
        (("Transfer-Encoding: Chunked",), None, True),
        (("Connection: x, Close",), 0, False),
    ],
)
def test_a_head_tells_how_its_message_ends(lines, length, may_stay):
    head = parsed("GET / HTTP/1.1", *lines)
    assert (head.length, head.may_stay, head.can_chunk) == (length, may_stay, True)


def test_old_clients_get_one_answer_a_connection_and_no_chunks():
    head = parsed("GET / HTTP/1.0", "Connection: keep-alive")
    assert (head.may_stay, head.can_chunk) == (False, False)
    with pytest.raises(Malformed):
        parsed("POST / HTTP/1.0", "Transfer-Encoding: chunked")


@pytest.mark.parametrize(
    "lines",
    [
        ("GET /\xe9 HTTP/1.1",),
        ("GET / x HTTP/1.1",),
        ("GET  / HTTP/1.1",),
        ("BREW / HTTP/1.1",),
        ("GET /%0aforged HTTP/1.1",),
        ("GET / HTTP/1.1", *["A: b"] * (FIELDS_LIMIT + 1)),
        ("GET / HTTP/1.1", "A: " + "b" * LINE_LIMIT),
        ("GET / HTTP/1.1", "A: b\rc"),
        ("GET / HTTP/1.1", "A : b"),
        ("GET / HTTP/1.1", ""),
        ("GET http://evil.example/ HTTP/1.1", "Host: localhost"),
        ("GET http://localhost@evil.example/ HTTP/1.1", "Host: localhost"),
        ("GET http:///x HTTP/1.1", "Host: localhost"),
    ],
)
def test_other_heads_are_refused(lines):
    with pytest.raises(Malformed):
        parsed(*lines)


@given(st.binary(max_size=200), st.sampled_from([b"", PLAIN, PLAIN + b"\r\n", PLAIN[:30]]))
def test_no_bytes_cause_another_error(tail, start):
    with contextlib.suppress(Malformed):
        if found := split_head(start + tail):
            parse_request_head(found[0])


def test_an_answer_begins_with_all_it_has_to_say():
    head = answer_head(404, {"A": "b"}, framing="Content-Length: 3\r\n", stays=False, now=0.5)
    assert head == (
        b"HTTP/1.1 404 Not Found\r\nA: b\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
        b"Content-Length: 3\r\nConnection: close\r\n\r\n"
    )
    assert answer_head(599, {}, framing="", stays=True, now=0).startswith(b"HTTP/1.1 599 \r\nDate: ")


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_no_value_begins_another_header(end):
    with pytest.raises(ValueError, match="end of line"):
        answer_head(200, {"A": f"b{end}Set-Cookie: c"}, framing="", stays=True, now=0)
