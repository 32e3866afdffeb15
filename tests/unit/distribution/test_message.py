"""Requests that two programs could read in two ways are refused."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.distribution.message import BadRequestError, Response, parse_head, render_head


def head(*lines: str, start: str = "GET /v2/ HTTP/1.1") -> bytes:
    return "\r\n".join([start, "Host: localhost:5000", *lines]).encode("latin-1")


def test_a_request_is_read() -> None:
    request = parse_head(head("X-A: 1", "x-a:\t2 ", start="GET /v2/a%2Fb/tags/list?n=2&last=v%201 HTTP/1.1"))
    assert request.method == "GET"
    assert request.path == "/v2/a/b/tags/list"
    assert request.parameter("n") == "2"
    assert request.parameter("last") == "v 1"
    assert request.headers["x-a"] == "1, 2"
    assert request.host == "localhost"
    assert request.length == 0
    assert request.keep_alive


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (["Content-Length: 3", "Transfer-Encoding: chunked"], 400),
        (["Content-Length: 3", "Content-Length: 3"], 400),
        (["Content-Length: 3, 3"], 400),
        (["Content-Length: +3"], 400),
        (["Content-Length: -1"], 400),
        (["Content-Length: 0x3"], 400),
        (["Content-Length: ٣".encode().decode("latin-1")], 400),
        (["Content-Length: " + "9" * 30], 400),
        (["Transfer-Encoding: gzip, chunked"], 501),
        (["Transfer-Encoding: chunked, identity"], 501),
        (["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], 400),
        (["Transfer-Encoding : chunked"], 400),
        (["X: a", " folded"], 400),
        (["X: a\nContent-Length: 3"], 400),
        (["X: a\rContent-Length: 3"], 400),
        (["X: a\0"], 400),
        (["no colon"], 400),
        ([": nameless"], 400),
        (["Host: localhost"], 400),
        ([f"X-{number}: 1" for number in range(101)], 431),
    ],
)
def test_ambiguous_and_malformed_headers_are_refused(lines: list[str], status: int) -> None:
    with pytest.raises(BadRequestError) as caught:
        parse_head(head(*lines))
    assert caught.value.status == status


@pytest.mark.parametrize(
    "start",
    [
        "GET  /v2/ HTTP/1.1",
        "GET /v2/ HTTP/2.0",
        "GET /v2/",
        "GET http://localhost/v2/ HTTP/1.1",
        "GET v2 HTTP/1.1",
        "GET /v2/ä HTTP/1.1",
        "GET /v2/\t HTTP/1.1",
        "GET /v2/%ff HTTP/1.1",
        "G ET /v2/ HTTP/1.1",
        " GET /v2/ HTTP/1.1",
    ],
)
def test_malformed_request_lines_are_refused(start: str) -> None:
    with pytest.raises(BadRequestError):
        parse_head(head(start=start))


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "[::1", "a:b", "a:123456"])
def test_a_malformed_host_is_refused(host: str) -> None:
    with pytest.raises(BadRequestError):
        parse_head(f"GET /v2/ HTTP/1.1\r\nHost: {host}".encode())


def test_http_1_0_has_neither_host_nor_chunks_nor_a_second_request() -> None:
    request = parse_head(b"GET /v2/ HTTP/1.0")
    assert not request.keep_alive
    assert request.host == ""
    with pytest.raises(BadRequestError):
        parse_head(b"POST /v2/ HTTP/1.0\r\nTransfer-Encoding: chunked")


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    for content in (raw, b"GET /v2/ HTTP/1.1\r\nHost: a\r\n" + raw, b"GET /" + raw + b" HTTP/1.1\r\nHost: a"):
        with contextlib.suppress(BadRequestError):
            parse_head(content)


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nb", "a\0"])
def test_a_header_that_would_split_the_answer_is_a_bug_and_not_sent(value: str) -> None:
    with pytest.raises(ValueError, match="control character"):
        render_head(Response(status=200, headers={"X": value}), date="", close=False)


def test_an_answer_without_body_has_no_length() -> None:
    assert b"Content-Length" not in render_head(Response(status=204), date="now", close=True)
    assert b"Content-Length: 0\r\n" in render_head(Response(status=202), date="now", close=True)
