"""Pushing one blob: whole in one request, and after a break on from the byte that the registry has."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from mrpack.content.ports import Opener
from mrpack.digest import Verifier
from mrpack.errors import MrpackError, NotFound
from mrpack.oci.descriptor import Descriptor
from mrpack.registry.bodies import FileLike, SourceBody
from mrpack.registry.client import Call, RegistryClient
from mrpack.registry.reach import Reach
from mrpack.registry.response import Response
from mrpack.registry.retry import Transient
from mrpack.registry.url import Url

_RANGE = re.compile(r"(?:bytes=)?0-(\d{1,18})")
_LENGTH = re.compile(r"\d{1,18}")
# What is sent at a time by a push that was broken, and after each refusal of a request as too large (413).
# Proxies in front of registries allow 100 MB and more, storage behind them wants at least 5 MiB.
CHUNKS: Final = (64 * 1024 * 1024, 16 * 1024 * 1024, 5 * 1024 * 1024)
# So many bytes since the last break are progress; with less, a registry could hold us for ever.
_PROGRESS: Final = 64 * 1024
_OCTETS: Final = {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True, slots=True)
class UploadSession:
    """An upload that the registry has opened. `location` is its newest; `reach` where the registry was then.

    `least_chunk`: no chunk but the last may be shorter (`OCI-Chunk-Min-Length`).
    """

    location: Url
    reach: Reach
    least_chunk: int = 0

    @classmethod
    def read(cls, response: Response) -> UploadSession:
        """From a 202. Raises RegistryUnavailable: no Location, or one that leads down to plain http."""
        response.drain()
        least = _LENGTH.fullmatch(response.header("OCI-Chunk-Min-Length") or "")
        location = response.url.follow(response.header("Location"))
        return cls(location, response.reach, int(least[0]) if least else 0)

    def moved(self, response: Response) -> UploadSession:
        """After a chunk, or a question: distribution-spec 1.1 wants the new Location to be used."""
        if response.header("Location") is None:
            return self
        return replace(self, location=response.url.follow(response.header("Location")))


def push_blob(
    client: RegistryClient,
    opening: Call,
    blob: Descriptor,
    open_at: Opener,
    *,
    session: UploadSession | None,
    is_there: Callable[[], bool],
    chunks: tuple[int, ...] = CHUNKS,
) -> str | None:
    """Upload until it is there, or no more progress is made.

    `opening` is the POST that starts a session, `session` one that was started already; `is_there` is asked
    after a failure, since what got lost may be the answer alone. `chunks`: sizes to try, falling.
    Returns the digest that the registry says it stored, None when it says nothing.

    Raises:
        IntegrityError: the source gave other bytes, or the registry got others.
    """
    return _Push(client, opening, blob, open_at, session, chunks).run(is_there)


class _Push:
    """The state of one push: which session, how much the registry has of it, how much to send at a time."""

    def __init__(
        self,
        client: RegistryClient,
        opening: Call,
        blob: Descriptor,
        open_at: Opener,
        session: UploadSession | None,
        chunks: tuple[int, ...],
    ) -> None:
        self._allowed = chunks
        self._client = client
        self._opening = opening
        self._blob = blob
        self._open_at = open_at
        self._session = session
        self._accepted = 0
        self._best = 0
        """The most that any session had."""
        self._chunks: tuple[int, ...] = ()
        """Chunk sizes to try, the present one first; none: everything in one request."""
        self._verifier = Verifier(blob.digest, blob.size)
        """Has seen what was accepted, or less. Not used for files."""
        self._is_file = False
        self._broken: list[MrpackError] = []
        self._retries = client.retries()

    def run(self, is_there: Callable[[], bool]) -> str | None:
        is_sure = True
        while True:
            try:
                if not is_sure:
                    self._ask()
                if self._session is None:
                    self._session = UploadSession.read(self._client.attempt(self._opening))
                    self._accepted = 0
                is_sure = False
                return self._send(self._session)
            except Transient as failure:
                if failure in self._broken:
                    # The source has tried again by itself; the same once more would multiply that.
                    raise
                self._retries.wait(failure)
                if is_there():
                    return str(self._blob.digest)
                self._chunks = self._chunks or self._allowed

    def _ask(self) -> None:
        """How much of the upload the registry has; of one that it does not know any more, nothing."""
        if self._session is None:
            return
        try:
            response = self._attempt("GET", self._session.location, frozenset({204}))
        except Transient:
            raise
        except MrpackError:
            self._session = None
            return
        response.drain()
        self._session = self._session.moved(response)
        self._accept(min(_received(response) or 0, self._blob.size))

    def _send(self, session: UploadSession) -> str | None:
        size = max(self._chunks[0], session.least_chunk) if self._chunks else self._blob.size
        while self._accepted < self._blob.size and (self._accepted or self._blob.size > size):
            session = self._session = self._send_chunk(session, size)
        return self._finish(session)

    def _accept(self, count: int) -> None:
        self._accepted = count
        if count - self._best >= _PROGRESS:
            self._best = count
            self._retries.reset()

    def _send_chunk(self, session: UploadSession, size: int) -> UploadSession:
        start, stop = self._accepted, min(self._accepted + size, self._blob.size)
        headers = {**_OCTETS, "Content-Range": f"{start}-{stop - 1}"}
        response = self._carry("PATCH", session.location, (start, stop), headers, frozenset({202}))
        received = _received(response)
        if received is not None and not start < received <= stop:
            raise self._lost("the registry lost count of the upload")
        self._accept(stop if received is None else received)
        return session.moved(response)

    def _finish(self, session: UploadSession) -> str | None:
        url = session.location.with_query("digest", str(self._blob.digest))
        response = self._carry("PUT", url, (self._accepted, self._blob.size), _OCTETS, frozenset({201}))
        return response.header("Docker-Content-Digest")

    def _carry(
        self,
        method: str,
        url: Url,
        part: tuple[int, int],
        headers: dict[str, str],
        success: frozenset[int],
    ) -> Response:
        """One request with these bytes of the blob. Transient stands for all that a later one may mend."""
        smaller = [size for size in self._allowed if size < part[1] - part[0]][:1]
        verifier = self._verifier_for(part[0])
        source = self._open_at(part[0] if self._is_file else verifier.count)
        try:
            self._is_file = isinstance(source, FileLike)
            response = self._attempt(
                method,
                url,
                success | {416} | ({413} if smaller else set()),
                headers=headers,
                body=SourceBody(source, self._blob, part, verifier, self._broken),
            )
        except NotFound as error:
            if error in self._broken:
                raise
            raise self._lost(f"{error.message} (the upload was lost)") from error
        finally:
            source.close()
        response.drain()
        if response.status == 416:
            raise Transient(f"{self._opening.doing}: the registry lost count of the upload")
        if response.status == 413:
            self._chunks = tuple(size for size in self._allowed if size <= smaller[0])
            raise self._lost("the registry limits the size of one request")
        self._verifier = verifier
        return response

    def _verifier_for(self, start: int) -> Verifier:
        if self._verifier.count > start:
            self._verifier = Verifier(self._blob.digest, self._blob.size)
        return self._verifier.copy()

    def _lost(self, what: str) -> Transient:
        self._session = None
        return Transient(f"{self._opening.doing}: {what}", retry_after_s=0.0)

    def _attempt(
        self,
        method: str,
        url: Url,
        success: frozenset[int],
        *,
        headers: dict[str, str] | None = None,
        body: bytes | SourceBody = b"",
    ) -> Response:
        opening, session = self._opening, self._session
        return self._client.attempt(
            replace(
                opening,
                method=method,
                path=url,
                headers=headers or {},
                body=body,
                success=success,
                nearest=session.reach if session is not None else opening.nearest,
            )
        )


def _received(response: Response) -> int | None:
    """Bytes, from `Range: 0-LAST`. Of none registries say `0-0`, which could be one: that is sent again."""
    match = _RANGE.fullmatch((response.header("Range") or "").strip())
    if match is None:
        return None
    last = int(match[1])
    return last + 1 if last else 0
