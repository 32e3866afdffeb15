"""Blobs of a repository: streamed whole or in part, pushed, or taken from the repository next door."""

from __future__ import annotations

import threading
from urllib.parse import quote

from mrpack.content.ports import Opener
from mrpack.digest import ByteSource, BytesSource, Digest
from mrpack.errors import AccessDenied, MrpackError, NotFound, RegistryUnavailable, Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack.registry.ranges import Part, asking_for, take_part
from mrpack.registry.rate import LimitedSource, RateLimit, limited
from mrpack.registry.repository import Repository, stored_other
from mrpack.registry.response import Response
from mrpack.registry.streams import BlobStream
from mrpack.registry.uploads import UploadSession, push_blob


class Blobs:
    """Thread-safe. `rate` limits all bytes, both ways; `chunks` as in `push_blob`."""

    def __init__(self, repository: Repository, rate: RateLimit | None, chunks: tuple[int, ...]) -> None:
        self._repository = repository
        self._rate = rate
        self._chunks = chunks
        self._lock = threading.Lock()
        self._sessions: dict[Digest, UploadSession] = {}
        self._unreadable: set[str] = set()

    def open(self, digest: Digest, part: Part, *, skipping: bool = False, patient: bool = True) -> ByteSource:
        """`skipping` as in `take_part`. One that is not `patient` fails at the first break, or refusal."""
        if part.start >= part.stop > 0:
            return BytesSource(b"")
        repository = self._repository
        name = f"blob {digest.short} of {repository.name}"
        call = repository.reading(f"fetch {name}", f"/blobs/{digest}")

        def open_part(wanted: Part) -> Response:
            return repository.read(
                asking_for(wanted, call),
                lambda response: take_part(wanted, response, call.doing, skipping=skipping),
                of=digest,
                patient=patient,
            )

        retries = repository.client.retries() if patient else repository.client.no_retries()
        stream = BlobStream(
            open_part, part, retries, name, is_spare=lambda: repository.mirrors.have_given(digest)
        )
        return stream if self._rate is None else LimitedSource(stream, self._rate)

    def pass_over(self, digest: Digest, failure: MrpackError) -> bool:
        """As `Mirrored` says it."""
        return self._repository.mirrors.give_up_givers(digest, failure)

    def has(self, blob: Descriptor) -> bool:
        return self._repository.has(blob, f"/blobs/{blob.digest}")

    def push(self, blob: Descriptor, open_at: Opener) -> None:
        doing = f"push blob {blob.digest.short} to {self._repository.name}"
        with self._lock:
            session = self._sessions.pop(blob.digest, None)
        stored = push_blob(
            self._repository.client,
            self._repository.writing(doing, "POST", "/blobs/uploads/", frozenset({202})),
            blob,
            open_at if self._rate is None else limited(open_at, self._rate),
            session=session,
            is_there=lambda: self.has(blob),
            chunks=self._chunks,
        )
        if stored == str(blob.digest):
            return
        if stored is not None and stored.startswith(f"{blob.digest.algorithm}:"):
            raise stored_other(doing, blob, stored)
        if not self.has(blob):
            registry = self._repository.registry
            if stored is not None:
                raise Unsupported(f"{doing}: {registry} does not keep {blob.digest.algorithm} digests")
            raise RegistryUnavailable(f"{doing}: {registry} took it but does not have it")

    def mount(self, blob: Descriptor, neighbour: str) -> bool:
        """From `neighbour`, in the same registry; False when that may not be read, or its blob is gone.

        An upload that the registry opens instead is the one that `push` goes on with.
        """
        if neighbour in self._unreadable:
            return False
        repository = self._repository
        call = repository.writing(
            f"mount blob {blob.digest.short} into {repository.name}",
            "POST",
            f"/blobs/uploads/?mount={quote(str(blob.digest))}&from={quote(neighbour, safe='')}",
            frozenset({201, 202}),
            more_scopes=(f"repository:{neighbour}:pull",),
        )
        try:
            response = repository.client.send(call)
        except (AccessDenied, NotFound, Unsupported):
            self._unreadable.add(neighbour)
            return False
        if response.status == 201:
            response.drain()
            return True
        session = UploadSession.read(response)
        with self._lock:
            self._sessions[blob.digest] = session
        return False
