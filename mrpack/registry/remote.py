"""RegistryTarget: one repository of a registry as a target of the content port."""

from __future__ import annotations

import logging
import threading
from typing import Final
from urllib.parse import quote

from mrpack.content.ports import Opener, Source
from mrpack.digest import ByteSource, BytesSource, Digest, read_verified
from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    NotFound,
    RegistryUnavailable,
    Unsupported,
)
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import parse_document
from mrpack.oci.mediatypes import ACCEPT_MANIFESTS, INDEXES, MANIFESTS
from mrpack.registry.client import Call
from mrpack.registry.documents import KeptDocuments, read_document
from mrpack.registry.paging import list_tags
from mrpack.registry.ranges import Part, open_part
from mrpack.registry.session import RegistrySession
from mrpack.registry.streams import BlobStream
from mrpack.registry.transport import Response
from mrpack.registry.uploads import UploadSession, push_blob

_log = logging.getLogger(__name__)

_DOCUMENTS: Final = MANIFESTS | INDEXES


class RegistryTarget:
    """The whole port over one repository; `ref` is a tag or a digest. Thread-safe."""

    def __init__(self, session: RegistrySession, registry: str, repository: str) -> None:
        """`registry` and `repository` as `Reference.parse` gives them."""
        self.registry = registry
        self.repository = repository
        self.name = f"{registry}/{repository}"
        self._client = session.client(registry)
        self._mirrors = session.mirrors(registry)
        self._commit_s = session.settings.commit_timeout_s
        self._base = f"/v2/{quote(repository)}"
        self.pull_scopes = (f"repository:{repository}:pull",)
        self._push = (f"repository:{repository}:pull,push",)
        self._documents = KeptDocuments()
        self._lock = threading.Lock()
        self._sessions: dict[Digest, UploadSession] = {}

    def resolve(self, ref: str) -> Descriptor:
        """One request; the document is kept for the `fetch` that follows.

        Raises:
            IntegrityError: asked by digest, the registry gave something else.
            InvalidArtifact: over 4 MiB, no manifest or index, or not of the type it came with.
        """
        asked = Digest.parse(ref, "reference") if ":" in ref else None
        name = f"manifest {self.name}{'@' if asked else ':'}{ref}"
        response = self._read(self._document_call(f"resolve {name}", ref))
        media_type = (response.header("Content-Type") or "").partition(";")[0].strip().lower()
        raw = read_document(response, name)
        digest = asked or Digest.of(raw)
        self._accept(raw, digest, len(raw), name)
        artifact_type = parse_document(raw, media_type, name).artifact_type
        return Descriptor(media_type=media_type, digest=digest, size=len(raw), artifact_type=artifact_type)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        """A blob's stream goes on by itself after a broken connection: its reader need not try again.

        Documents come verified.
        """
        if descriptor.media_type in _DOCUMENTS:
            return BytesSource(self._document(descriptor)[offset:])
        return self.fetch_range(descriptor, offset, descriptor.size)

    def fetch_range(self, descriptor: Descriptor, start: int, stop: int) -> ByteSource:
        """The bytes of a blob from `start` up to `stop`, exclusive; for readers with several connections."""
        if start >= stop > 0:
            return BytesSource(b"")
        name = f"blob {descriptor.digest.short} of {self.name}"
        call = Call(
            doing=f"fetch {name}",
            path=f"{self._base}/blobs/{descriptor.digest}",
            repository=self.repository,
            scopes=self.pull_scopes,
        )
        return BlobStream(
            lambda part: open_part(self._read, call, part),
            Part(start, stop, descriptor.size),
            self._client.retries(),
            name,
        )

    def exists(self, descriptor: Descriptor) -> bool:
        """Asked with the rights of a push. Content of another size than the descriptor's counts as absent."""
        is_document = descriptor.media_type in _DOCUMENTS
        response = self._client.send(
            Call(
                doing=f"look for {descriptor.digest.short} in {self.name}",
                method="HEAD",
                path=f"{self._base}/{'manifests' if is_document else 'blobs'}/{descriptor.digest}",
                repository=self.repository,
                scopes=self._push,
                headers={"Accept": ACCEPT_MANIFESTS} if is_document else {},
                success=frozenset({200, 404}),
            )
        )
        response.drain()
        return response.status == 200 and response.length in {None, descriptor.size}

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        doing = f"push blob {descriptor.digest.short} to {self.name}"
        with self._lock:
            session = self._sessions.pop(descriptor.digest, None)
        stored = push_blob(
            self._client,
            self._opening(doing, self._push),
            descriptor,
            open_at,
            session=session,
            is_there=lambda: self.exists(descriptor),
        )
        if stored == str(descriptor.digest):
            return
        if stored is not None and stored.startswith(f"{descriptor.digest.algorithm}:"):
            raise _stored_other(doing, descriptor, stored)
        if not self.exists(descriptor):
            if stored is not None:
                raise Unsupported(
                    f"{doing}: {self.registry} does not keep {descriptor.digest.algorithm} digests"
                )
            raise RegistryUnavailable(f"{doing}: {self.registry} took it but does not have it")

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        """Raises NotFound when the registry misses something that the manifest names."""
        target = ref or str(descriptor.digest)
        doing = f"push manifest {self.name}{'@' if ':' in target else ':'}{target}"
        if len(raw) > MANIFEST_LIMIT:
            raise InvalidArtifact(f"{len(raw)} bytes, more than the limit of {MANIFEST_LIMIT}", where=doing)
        response = self._client.send(
            Call(
                doing=doing,
                method="PUT",
                path=f"{self._base}/manifests/{quote(target, safe=':')}",
                repository=self.repository,
                scopes=self._push,
                headers={"Content-Type": descriptor.media_type},
                body=raw,
                success=frozenset({201}),
                patience_s=self._commit_s,
            )
        )
        response.drain()
        stored = response.header("Docker-Content-Digest")
        if stored is not None and stored != str(descriptor.digest):
            raise _stored_other(doing, descriptor, stored)
        self._documents.keep(descriptor.digest, raw)

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        self.push_manifest(descriptor, self._document(descriptor), ref)

    def tags(self) -> list[str]:
        return list_tags(self._client, self.repository, self.pull_scopes)

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """Within one registry. What may not be read there is pushed instead, in the upload opened here."""
        if not isinstance(source, RegistryTarget) or source.registry != self.registry:
            return False
        call = self._opening(
            f"mount blob {descriptor.digest.short} into {self.name}",
            (*self._push, *source.pull_scopes),
            query=f"?mount={quote(str(descriptor.digest))}&from={quote(source.repository, safe='')}",
            success=frozenset({201, 202}),
        )
        try:
            response = self._client.send(call)
        except (AccessDenied, NotFound, Unsupported):
            return False
        if response.status == 201:
            response.drain()
            return True
        session = UploadSession.read(response)
        with self._lock:
            self._sessions[descriptor.digest] = session
        return False

    def _opening(
        self,
        doing: str,
        scopes: tuple[str, ...],
        *,
        query: str = "",
        success: frozenset[int] = frozenset({202}),
    ) -> Call:
        return Call(
            doing=doing,
            method="POST",
            path=f"{self._base}/blobs/uploads/{query}",
            repository=self.repository,
            scopes=scopes,
            success=success,
            patience_s=self._commit_s,
        )

    def _document_call(self, doing: str, ref: str) -> Call:
        return Call(
            doing=doing,
            path=f"{self._base}/manifests/{quote(ref, safe=':')}",
            repository=self.repository,
            scopes=self.pull_scopes,
            headers={"Accept": ACCEPT_MANIFESTS},
        )

    def _document(self, descriptor: Descriptor) -> bytes:
        raw = self._documents.find(descriptor.digest)
        if raw is None:
            name = f"manifest {self.name}@{descriptor.digest}"
            response = self._read(self._document_call(f"fetch {name}", str(descriptor.digest)))
            raw = read_document(response, name)
            self._accept(raw, descriptor.digest, descriptor.size, name)
        return raw

    def _accept(self, raw: bytes, digest: Digest, size: int, name: str) -> None:
        read_verified(BytesSource(raw), digest, size, limit=MANIFEST_LIMIT, name=name)
        self._documents.keep(digest, raw)

    def _read(self, call: Call) -> Response:
        """From the first mirror that can, else from the registry itself."""
        for mirror in self._mirrors:
            try:
                return mirror.send(call)
            except (NotFound, AccessDenied, RegistryUnavailable) as error:
                _log.info("%s; going on without this mirror", error)
        return self._client.send(call)


def _stored_other(doing: str, descriptor: Descriptor, stored: str) -> IntegrityError:
    return IntegrityError(
        f"{doing}: the registry stored {stored[:80]!r}", expected=str(descriptor.digest), actual=stored[:160]
    )
