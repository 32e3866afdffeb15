"""Points in time as RFC 3339 with nanoseconds, in the form of Go's `time.RFC3339Nano`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from mrpack.errors import InvalidArtifact

_SECOND: Final = 1_000_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,40}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def format_ns(ns: int) -> str:
    """UTC, with the fraction as long as needed: `2025-01-02T03:04:05.6789Z`.

    `ns` are nanoseconds since the epoch. Raises InvalidArtifact outside the years 1 to 9999.
    """
    seconds, fraction = divmod(ns, _SECOND)
    try:
        moment = _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        raise InvalidArtifact(f"{ns} ns since 1970 is not a time in the years 1 to 9999") from None
    text = moment.replace(tzinfo=None).isoformat()
    if fraction:
        text += f".{fraction:09}".rstrip("0")
    return f"{text}Z"


def parse_rfc3339(text: str, where: str = "time") -> int:
    """Nanoseconds since the epoch; digits behind the ninth of a fraction are dropped, as Go does.

    Raises InvalidArtifact.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise InvalidArtifact(f"not an RFC 3339 time: {text[:40]!r}", where=where)
    fraction, sign, hours, minutes = match[7] or "", match[8], int(match[9] or 0), int(match[10] or 0)
    try:
        moment = datetime(*(int(part) for part in match.groups()[:6]), tzinfo=UTC)  # type: ignore[arg-type,misc]
    except ValueError:
        raise InvalidArtifact(f"no such time: {text[:40]!r}", where=where) from None
    if hours > 23 or minutes > 59:
        raise InvalidArtifact(f"no such time zone: {text[:40]!r}", where=where)
    offset = timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)
    seconds = (moment - _EPOCH - offset) // timedelta(seconds=1)
    return seconds * _SECOND + int(fraction[:9].ljust(9, "0"))
