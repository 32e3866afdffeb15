"""The heads of requests and answers: strict reading of the one, writing of the other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
from typing import Final, NamedTuple, TypeVar, overload
from urllib.parse import parse_qsl, unquote

from mrpack_runtime.wire.framing import HEAD_LIMIT, SHORT_LINE, Fields, Malformed, framing_of, parse_fields

JSON_TYPE: Final = "application/json"
FIELDS_LIMIT: Final = 100
LINE_LIMIT: Final = 16 * 1024
_SHOWN: Final = 80
_T = TypeVar("_T")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE", "QUERY")
_REQUEST_LINE = re.compile(rb"(%s) ([!-~]+) HTTP/1\.([01])" % "|".join(_METHODS).encode())
_OPENING = re.compile(rb"[A-Z]{1,7}(?: |$)")
_OPENING_SIZE: Final = 8
_NOTHING: Final = (b"", b"\r")
_EMPTY_LINE: Final = b"\r\n\r\n"
_BARE_END = re.compile(rb"(?<!\r)\n")
# As proxies are asked: RFC 9112, 3.2.2 wants everybody to understand it.
_ABSOLUTE = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)
_ONE_LINE = re.compile(r"[^\r\n]*")
_STATUSES: Final = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class Headers(Mapping[str, str]):
    """Of a request, by names in any case; of a name that comes twice, the first value."""

    __slots__ = ("_fields", "_first")

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._first = dict(reversed(fields))

    def __getitem__(self, name: str) -> str:
        return self._first[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: str | _T) -> str | _T: ...
    def get(self, name: str, /, default: str | _T | None = None) -> str | _T | None:
        """As of any mapping, without the detour over KeyError: most requests lack most headers."""
        return self._first.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._first)

    def __len__(self) -> int:
        return len(self._first)

    def all(self, name: str) -> list[str]:
        """Every value of a name."""
        wanted = name.lower()
        return [value for field, value in self._fields if field == wanted]


class RequestHead(NamedTuple):
    """`path` is unescaped, `query_text` as it came; `length` of the body: 0 without one, None in chunks."""

    method: str
    path: str
    query_text: str
    headers: Headers
    length: int | None
    may_stay: bool
    can_chunk: bool
    """Whether the client understands an answer in chunks."""

    @property
    def query(self) -> Mapping[str, str]:
        """Of a name that comes twice, all values with commas between: who asks for one value refuses them."""
        found: dict[str, str] = {}
        for name, value in parse_qsl(self.query_text, keep_blank_values=True):
            found[name] = f"{found[name]},{value}" if name in found else value
        return found

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits to be told before it sends its body."""
        return self.can_chunk and self.headers.get("expect", "").lower() == "100-continue"


def split_head(content: bytes, seen: int = 0) -> tuple[bytes, bytes] | None:
    """A head without its empty line, and what follows; None: there is more to come.

    `seen` bytes of `content` were there at an earlier call, in vain: they are not searched again, so that a
    head that drips costs no more than its bytes.

    Raises:
        Malformed: this will never be a head.
    """
    # RFC 9112, 2.2: some end a body with a line end too many
    start = 2 if content.startswith(b"\r\n") else 0
    end = content.find(_EMPTY_LINE, max(start, seen - len(_EMPTY_LINE) + 1), start + HEAD_LIMIT)
    if end >= 0:
        return content[start:end], content[end + len(_EMPTY_LINE) :]
    if len(content) - start >= HEAD_LIMIT:
        raise Malformed(f"a head of more than {HEAD_LIMIT} bytes")
    opening = content[start : start + _OPENING_SIZE]
    if opening not in _NOTHING and not _OPENING.match(opening):
        raise Malformed("no request line")
    if _BARE_END.search(content, max(start, seen)):
        raise Malformed("a line end without carriage return")
    return None


def parse_request_head(content: bytes) -> RequestHead:
    """`content` without its empty line.

    Raises:
        Malformed: not HTTP/1, of unclear length, or over the limits.
    """
    first, *lines = content.split(b"\r\n")
    if len(lines) > FIELDS_LIMIT:
        raise Malformed(f"more than {FIELDS_LIMIT} headers")
    if len(content) > LINE_LIMIT and max(map(len, (first, *lines))) > LINE_LIMIT:
        raise Malformed(f"a line of more than {LINE_LIMIT} bytes")
    line = _known_line(first) if len(first) <= SHORT_LINE else _parse_line(first)
    fields = parse_fields(lines)
    framing = framing_of(fields)
    if framing.chunked and not line.is_modern:
        raise Malformed("chunks in HTTP/1.0")
    headers = Headers(fields)
    if line.host is not None and line.host != headers.get("host", line.host).lower():
        raise Malformed("two hosts")
    return RequestHead(
        line.method,
        line.path,
        line.query_text,
        headers,
        length=None if framing.chunked else framing.length or 0,
        may_stay=line.is_modern and "close" not in framing.connection,
        can_chunk=line.is_modern,
    )


def path_of(content: bytes) -> str:
    """Of what is no request, as far as its first line is one; else empty. It may hold any characters."""
    match = _REQUEST_LINE.fullmatch(content.partition(b"\r\n")[0])
    target = _ABSOLUTE.sub("", match[2].decode("ascii"), count=1) if match is not None else ""
    return unquote(target.partition("?")[0])


class _Line(NamedTuple):
    method: str
    path: str
    query_text: str
    is_modern: bool
    host: str | None
    """Where the target names one."""


def _parse_line(content: bytes) -> _Line:
    match = _REQUEST_LINE.fullmatch(content)
    if match is None:
        raise Malformed("no request line of HTTP/1, or an unknown method")
    target = match[2].decode("ascii")
    host = None
    if absolute := _ABSOLUTE.match(target):
        host = absolute[1].lower()
        target = target[absolute.end() :]
    escaped, _, query = target.partition("#")[0].partition("?")
    path = unquote(escaped) if "%" in escaped else escaped or "/"
    if not path.isprintable():  # it would forge lines of a log
        raise Malformed(f"a path with a control character: {escaped[:_SHOWN]}")
    return _Line(match[1].decode("ascii"), path, query, match[3] == b"1", host)


# Clients ask for the same again and again.
_known_line = lru_cache(maxsize=256)(_parse_line)


def answer_head(status: int, headers: Mapping[str, str], *, framing: str, stays: bool, now: float) -> bytes:
    """`framing` is the line that tells where the body ends, if there is one; `now` in Unix seconds.

    Raises:
        ValueError: a header would end its line.
    """
    start = _answer_start(status, tuple(headers.items()), int(now))
    end = "" if stays else "Connection: close\r\n"
    return f"{start}{framing}{end}\r\n".encode()


@lru_cache(maxsize=256)
def _answer_start(status: int, headers: tuple[tuple[str, str], ...], second: int) -> str:
    """All answers of an engine begin in the same words."""
    lines = [
        f"HTTP/1.1 {_STATUSES.get(status) or f'{status} '}",
        *(f"{name}: {value}" for name, value in headers),
        f"Date: {formatdate(second, usegmt=True)}",
    ]
    if not all(map(_ONE_LINE.fullmatch, lines)):
        raise ValueError("a header with an end of line in it")
    return "\r\n".join([*lines, ""])
