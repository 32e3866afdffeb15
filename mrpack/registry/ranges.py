"""Asking for a part of a blob, and holding the answer to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from mrpack.content.ports import NoPartsError
from mrpack.digest import BUFFER_SIZE
from mrpack.errors import IntegrityError
from mrpack.registry.client import Call
from mrpack.registry.response import Response

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes from `start` up to, not including, `stop` of a blob of `size` bytes."""

    start: int
    stop: int
    size: int

    @property
    def is_whole(self) -> bool:
        return self.start == 0 and self.stop == self.size


def asking_for(part: Part, call: Call) -> Call:
    """`call`, for the bytes of `part` alone."""
    if part.is_whole:
        return call
    headers = {**call.headers, "Range": f"bytes={part.start}-{part.stop - 1}"}
    return replace(call, headers=headers, success=frozenset({200, 206, 416}))


def take_part(part: Part, response: Response, doing: str, *, skipping: bool) -> Response:
    """The answer, once its body begins at `part.start`; it may go on after `part.stop`.

    A registry may ignore the range (RFC 9110, 14.2). When `skipping`, it is read from the first byte then,
    and what lies before is thrown away.

    Raises:
        IntegrityError: an encoded body, or another length than the descriptor's is announced.
        NoPartsError: not the range that was asked for.
        Transient: it broke off in what is thrown away.
    """
    try:
        _check(response, doing, part, skipping=skipping)
        if response.status == 200:
            _skip(response, part.start)
    except BaseException:
        response.close()
        raise
    return response


def _check(response: Response, doing: str, part: Part, *, skipping: bool) -> None:
    if response.status == 416 or (response.status == 200 and part.start and not skipping):
        raise _no_part(response, doing)
    encoding = response.header("Content-Encoding")
    if encoding is not None and encoding.strip().lower() not in {"", "identity"}:
        raise IntegrityError(
            f"{doing}: {response.url.origin} sends it encoded as {encoding[:40]!r}, which was not asked for",
            hint="a proxy on the way compresses what it must not",
        )
    expected = part.size
    if response.status == 206:
        match = _CONTENT_RANGE.fullmatch((response.header("Content-Range") or "").strip())
        if match is None or int(match[1]) != part.start or int(match[2]) >= part.stop:
            raise _no_part(response, doing)
        if match[3] != "*" and int(match[3]) != part.size:
            raise _wrong_size(doing, part.size, int(match[3]))
        expected = int(match[2]) + 1 - part.start
    if response.length is not None and response.length != expected:
        raise _wrong_size(doing, expected, response.length)


def _no_part(response: Response, doing: str) -> NoPartsError:
    return NoPartsError(f"{doing}: {response.url.origin} sends another range than was asked for")


def _wrong_size(doing: str, expected: int, actual: int) -> IntegrityError:
    return IntegrityError(
        f"{doing}: the registry has {actual} bytes where the manifest says {expected}",
        expected=str(expected),
        actual=str(actual),
    )


def _skip(response: Response, count: int) -> None:
    buffer = memoryview(bytearray(min(BUFFER_SIZE, count)))
    while count:
        read = response.readinto(buffer[:count])
        if not read:
            return  # the stream finds out that there is nothing more
        count -= read
