"""One call of the API: a request that a route has matched, and the answers that several routes give."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

from mrpack.digest import Digest
from mrpack.distribution.connection import Body
from mrpack.distribution.message import Request, Response
from mrpack.distribution.refusal import RefusalError
from mrpack.errors import InvalidArtifact, UsageError
from mrpack.oci.encoding import encode
from mrpack.oci.reference import Reference

# A page of 10,000 tags stays under 2 MiB.
_PAGE_LIMIT: Final = 10_000
_COUNT = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """`repository` is a valid path where the route has one; `ref` its last part: a tag, digest or session."""

    request: Request
    body: Body
    repository: str = ""
    ref: str = ""

    @property
    def base(self) -> str:
        return f"/v2/{self.repository}"

    @property
    def registry(self) -> str | None:
        """The registry that this server stands for to the client (distribution-spec, "Registry Proxying").

        Raises RefusalError NAME_INVALID.
        """
        text = self.request.parameter("ns")
        if text is None:
            return None
        try:
            found = Reference.parse(f"{text}/any/name").registry
        except UsageError:
            found = ""
        if found != text:
            raise RefusalError("NAME_INVALID", "ns is not a registry")
        return text

    def page(self, items: Sequence[str], limit: int = _PAGE_LIMIT) -> tuple[list[str], dict[str, str]]:
        """The part of sorted `items` that `n` and `last` ask for, and a Link header when more follow."""
        count = limit
        text = self.request.parameter("n")
        if text is not None:
            if not _COUNT.fullmatch(text):
                raise RefusalError("UNSUPPORTED", "n is not a number", status=400)
            count = min(count, int(text))
        last = self.request.parameter("last")
        rest = [item for item in items if last is None or item > last]
        page = rest[:count]
        if not page or len(page) == len(rest):
            return page, {}
        following = urlencode({"n": count, "last": page[-1]})
        return page, {"Link": f'<{self.request.path}?{following}>; rel="next"'}


def parse_digest(text: str | None) -> Digest:
    """Raises RefusalError DIGEST_INVALID."""
    try:
        return Digest.parse(text)
    except InvalidArtifact:
        raise RefusalError("DIGEST_INVALID", "not a sha256 or sha512 digest") from None


def json_response(value: object, *, headers: dict[str, str] | None = None) -> Response:
    headers = {"Content-Type": "application/json", **(headers or {})}
    return Response(status=200, headers=headers, body=encode(value))
