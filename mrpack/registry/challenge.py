"""Challenge: what a `WWW-Authenticate` header asks for (RFC 9110, 11.6.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from mrpack.errors import RegistryUnavailable

_LENGTH_LIMIT: Final = 8_192

_TOKEN: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]++"  # noqa: S105  # RFC 9110's word for a name
_QUOTED: Final = r'"(?P<quoted>(?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*+)"'
_PARAMETER: Final = rf"(?P<name>{_TOKEN})[ \t]*+=[ \t]*+(?:{_QUOTED}|(?P<plain>{_TOKEN}))"
# One member of the comma-separated list: a scheme alone, with its first parameter, with a token68; or one
# more parameter of the scheme before. Quantifiers are possessive: the time is linear whatever a server sends.
_MEMBER = re.compile(
    rf"(?:(?P<scheme>{_TOKEN})(?:[ \t]++|(?=[ \t]*+(?:,|\Z))))?"
    rf"(?:{_PARAMETER}|(?P<token68>[0-9A-Za-z._~+/-]++=*+))?"
    r"[ \t]*+(?:,[ \t,]*+|\Z)"
)
_LEADING = re.compile(r"[ \t,]*")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Challenge:
    """Scheme and parameter names are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def parse_challenges(headers: Sequence[str]) -> list[Challenge]:
    """All challenges of an answer, in order.

    Raises RegistryUnavailable: not the grammar, a parameter twice, or a header over 8 KiB. A guess at what
    was meant could send a password to the wrong place.
    """
    return [challenge for header in headers for challenge in _parse(header)]


def _parse(header: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str] | None]] = []
    position = _skip_empty(header)
    while position < len(header):
        member = _MEMBER.match(header, position)
        if member is None or len(header) > _LENGTH_LIMIT:
            raise _malformed()
        position = member.end()
        if member["scheme"]:
            found.append((member["scheme"].lower(), None if member["token68"] else {}))
        elif not member["name"]:
            raise _malformed()
        if member["name"]:
            name = member["name"].lower()
            parameters = found[-1][1] if found else None
            if parameters is None or name in parameters:
                raise _malformed()
            quoted = member["quoted"]
            parameters[name] = member["plain"] if quoted is None else _ESCAPE.sub(r"\1", quoted)
    return [Challenge(scheme, parameters or {}) for scheme, parameters in found]


def _skip_empty(header: str) -> int:
    leading = _LEADING.match(header)
    return leading.end() if leading else 0


def _malformed() -> RegistryUnavailable:
    return RegistryUnavailable("the registry's WWW-Authenticate header is malformed")
