"""HTTP/1.1 messages: a request head read strictly (RFC 9112), and a response as a value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl, unquote

from mrpack.readable import FileSource

# Requests of registry clients take 1 KiB; a token alone may take 8.
HEAD_LIMIT: Final = 32 * 1024
_FIELDS_LIMIT: Final = 100
_QUERY_LIMIT: Final = 64

# RFC 9110, "Tokens".
_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # a grammar, not a password
_REQUEST_LINE = re.compile(rf"({_TOKEN}) (/[!-~]*) HTTP/1\.([01])")
_FIELD = re.compile(rf"({_TOKEN}):[ \t]*([\t -~\x80-\xff]*?)[ \t]*")
_LENGTH = re.compile(r"[0-9]{1,18}")
# RFC 9110, "Host": a name, an IPv4 address or an IPv6 address in brackets, and a port.
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")


class BadRequestError(Exception):
    """What a client sent is no HTTP that we speak; the connection is closed after the answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The head of a request. Names of `headers` are lower-case; a repeated header is joined with commas.

    `path` is decoded, and of no use as a file name: it is matched against routes and nothing else. `length`
    is in bytes; None means a chunked body.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...]
    headers: Mapping[str, str]
    host: str
    length: int | None
    keep_alive: bool

    def parameter(self, name: str) -> str | None:
        """The first query parameter of that name."""
        return next((value for key, value in self.query if key == name), None)

    def parameters(self, name: str) -> list[str]:
        return [value for key, value in self.query if key == name]


def parse_head(raw: bytes) -> Request:
    """A request head without its closing empty line.

    Raises BadRequestError; also for everything that two programs could read in two ways (request smuggling):
    two lengths, a length and chunks, folded lines, bare line feeds, blanks before a colon.
    """
    first, *lines = raw.decode("latin-1").split("\r\n")
    start = _REQUEST_LINE.fullmatch(first)
    if start is None:
        raise BadRequestError(400, "not an HTTP/1.1 request line")
    method, target, minor = start.groups()
    headers = _fields(lines)
    host = _host(headers, required=minor == "1")
    length = _length(headers, chunks_allowed=minor == "1")
    path, _, query = target.partition("?")
    try:
        return Request(
            method=method,
            path=unquote(path, errors="strict"),
            query=tuple(
                parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_QUERY_LIMIT)
            ),
            headers=headers,
            host=host,
            length=length,
            keep_alive=minor == "1" and "close" not in headers.get("connection", "").lower(),
        )
    except ValueError:  # UnicodeDecodeError is one, and so is a query with too many fields
        raise BadRequestError(400, "the request target is not UTF-8, or too long") from None


def _fields(lines: list[str]) -> dict[str, str]:
    if len(lines) > _FIELDS_LIMIT:
        raise BadRequestError(431, f"more than {_FIELDS_LIMIT} headers")
    headers: dict[str, str] = {}
    for line in lines:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise BadRequestError(400, "a malformed header")
        name, value = match[1].lower(), match[2]
        if name in headers:
            if name in {"host", "content-length", "transfer-encoding"}:
                raise BadRequestError(400, f"{name} is given twice")
            value = f"{headers[name]}, {value}"
        headers[name] = value
    return headers


def _host(headers: Mapping[str, str], *, required: bool) -> str:
    """The host's name without its port."""
    value = headers.get("host", "")
    match = _HOST.fullmatch(value)
    if match is None:
        if value or required:
            raise BadRequestError(400, "no Host, or a malformed one")
        return ""
    return match[1].lower()


def _length(headers: Mapping[str, str], *, chunks_allowed: bool) -> int | None:
    encoding = headers.get("transfer-encoding")
    length = headers.get("content-length")
    if encoding is not None:
        if length is not None or not chunks_allowed:
            raise BadRequestError(400, "chunks together with a length, or in HTTP/1.0")
        if encoding.lower() != "chunked":
            raise BadRequestError(501, "transfer encodings other than chunked are not spoken here")
        return None
    if length is None:
        return 0
    if not _LENGTH.fullmatch(length):
        raise BadRequestError(400, "a malformed Content-Length")
    return int(length)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSlice:
    """`size` bytes of an open file from `offset` on. Whoever sends or drops the response closes it."""

    source: FileSource
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """`close`: end the connection after it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileSlice = b""
    close: bool = False

    @property
    def size(self) -> int:
        return self.body.size if isinstance(self.body, FileSlice) else len(self.body)

    def discard(self) -> None:
        if isinstance(self.body, FileSlice):
            self.body.source.close()


# RFC 9110: these never have a body, nor a length.
_BODILESS: Final = frozenset({204, 304})


def render_head(response: Response, *, date: str, close: bool) -> bytes:
    """Status line and headers. `date` as RFC 9110 writes it.

    Raises ValueError when a header would end its line: text of others was let through unchecked.
    """
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        f"Date: {date}",
        "Docker-Distribution-Api-Version: registry/2.0",
        "X-Content-Type-Options: nosniff",
        *(f"{name}: {value}" for name, value in response.headers.items()),
    ]
    if response.status not in _BODILESS:
        lines.append(f"Content-Length: {response.size}")
    if close:
        lines.append("Connection: close")
    text = "\r\n".join(lines)
    # Values are digests, names and numbers that were checked; this is the last line of defence.
    if not text.replace("\r\n", "").isprintable() or text.count("\r\n") != len(lines) - 1:
        raise ValueError("a control character in a response header")
    return text.encode("latin-1") + b"\r\n\r\n"
