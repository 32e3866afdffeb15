"""RegistryTarget: one repository of a registry as a target of the content port."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from mrpack.content.ports import Opener, Sighted, Source
from mrpack.content.referrers import describe_referrer, of_type
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
from mrpack.oci.manifest import Index, parse_document
from mrpack.oci.mediatypes import ACCEPT_MANIFESTS, INDEXES, MANIFESTS
from mrpack.registry.client import Call
from mrpack.registry.documents import KeptDocuments, read_document
from mrpack.registry.paging import list_tags
from mrpack.registry.ranges import Part, open_part
from mrpack.registry.rate import LimitedSource, limited
from mrpack.registry.referrers import Fallback, add_to_fallback, fallback_tag, list_referrers
from mrpack.registry.response import Response
from mrpack.registry.retry import Transient
from mrpack.registry.session import RegistrySession
from mrpack.registry.streams import BlobStream
from mrpack.registry.uploads import CHUNKS, UploadSession, push_blob

_log = logging.getLogger(__name__)

_DOCUMENTS: Final = MANIFESTS | INDEXES


class RegistryTarget:
    """The whole port over one repository; `ref` is a tag or a digest. Thread-safe."""

    def __init__(
        self,
        session: RegistrySession,
        registry: str,
        repository: str,
        *,
        chunks: tuple[int, ...] = CHUNKS,
    ) -> None:
        """`registry` and `repository` as `Reference.parse` gives them; `chunks` as in `push_blob`."""
        self._chunks = chunks
        self.registry = registry
        self.repository = repository
        self.name = f"{registry}/{repository}"
        self._client = session.client(registry)
        self._mirrors = session.mirrors(registry)
        self._rate = session.rate
        self._commit_s = session.settings.commit_timeout_s
        self._base = f"/v2/{quote(repository)}"
        self.pull_scopes = (f"repository:{repository}:pull",)
        self._push = (f"repository:{repository}:pull,push",)
        self._documents = KeptDocuments()
        self._lock = threading.Lock()
        self._sessions: dict[Digest, UploadSession] = {}
        self._unreadable: set[str] = set()

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
        return self._stream(descriptor, Part(offset, descriptor.size, descriptor.size), skipping=True)

    def fetch_range(
        self, descriptor: Descriptor, start: int, stop: int, *, patient: bool = True
    ) -> ByteSource:
        """Of a blob. A stream that is not `patient` fails at the first break, and when it is refused."""
        return self._stream(descriptor, Part(start, stop, descriptor.size), patient=patient)

    def _stream(
        self, descriptor: Descriptor, part: Part, *, skipping: bool = False, patient: bool = True
    ) -> ByteSource:
        if part.start >= part.stop > 0:
            return BytesSource(b"")
        name = f"blob {descriptor.digest.short} of {self.name}"
        call = Call(
            doing=f"fetch {name}",
            path=f"{self._base}/blobs/{descriptor.digest}",
            repository=self.repository,
            scopes=self.pull_scopes,
        )
        read = self._read if patient else self._read_once
        stream = BlobStream(
            lambda wanted: open_part(read, call, wanted, skipping=skipping),
            part,
            self._client.retries() if patient else self._client.no_retries(),
            name,
        )
        return stream if self._rate is None else LimitedSource(stream, self._rate)

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
            open_at if self._rate is None else limited(open_at, self._rate),
            session=session,
            is_there=lambda: self.exists(descriptor),
            chunks=self._chunks,
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
        response = self._put_document(doing, target, descriptor.media_type, raw)
        stored = response.header("Docker-Content-Digest")
        if stored is not None and stored != str(descriptor.digest):
            raise _stored_other(doing, descriptor, stored)
        self._documents.keep(descriptor.digest, raw)
        document = parse_document(raw, descriptor.media_type, doing)
        if document.subject is not None and response.header("OCI-Subject") is None:
            # distribution-spec 1.1, "Pushing Manifests with Subject": this registry keeps no list itself.
            tag = fallback_tag(document.subject.digest)
            add_to_fallback(
                lambda: self._fallback(tag),
                lambda index, state: self._replace_fallback(tag, index, state),
                describe_referrer(document, descriptor),
            )

    def _put_document(
        self,
        doing: str,
        target: str,
        media_type: str,
        raw: bytes,
        *,
        condition: Mapping[str, str] | None = None,
        success: frozenset[int] = frozenset({201}),
    ) -> Response:
        call = Call(
            doing=doing,
            method="PUT",
            path=f"{self._base}/manifests/{quote(target, safe=':')}",
            repository=self.repository,
            scopes=self._push,
            headers={"Content-Type": media_type, **(condition or {})},
            body=raw,
            success=success,
            patience_s=self._commit_s,
        )
        try:
            response = self._client.send(call)
        except (NotFound, IntegrityError) as refused:
            # Distribution 2.8 empties the link of a blob before it writes it anew: who pushes that blob just
            # then makes it look missing or wrong. Once more tells.
            with suppress(Transient):
                self._client.retries().wait(Transient(refused.message))
            response = self._client.send(call)
        response.drain()
        return response

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """Asked of the registry itself, never of a mirror; by its API, else by the tag that stands for it."""
        found = list_referrers(self._client, self.repository, self.pull_scopes, subject.digest, artifact_type)
        if found is None:
            found = of_type(self._fallback(fallback_tag(subject.digest)).entries, artifact_type)
        return found

    def _fallback(self, tag: str) -> Fallback:
        name = f"index {self.name}:{tag}"
        try:
            response = self._client.send(self._document_call(f"fetch {name}", tag))
        except NotFound:
            return Fallback((), {"If-None-Match": "*"})
        etag = response.header("ETag")
        document = parse_document(read_document(response, name), response.header("Content-Type") or "", name)
        entries = document.manifests if isinstance(document, Index) else ()
        return Fallback(entries, {"If-Match": etag} if etag else {})

    def _replace_fallback(self, tag: str, index: Index, state: Fallback) -> None:
        """412: somebody was faster, in a registry that looks at conditions."""
        self._put_document(
            f"push index {self.name}:{tag}",
            tag,
            index.media_type,
            index.raw,
            condition=state.condition,
            success=frozenset({201, 412}),
        )

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        self.push_manifest(descriptor, self._document(descriptor), ref)

    def tags(self) -> list[str]:
        return list_tags(self._client, self.repository, self.pull_scopes)

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """Within one registry. What may not be read there is pushed instead, in the upload opened here."""
        repository = self._seen(descriptor, source)
        if repository is None or repository in self._unreadable:
            return False
        call = self._opening(
            f"mount blob {descriptor.digest.short} into {self.name}",
            (*self._push, f"repository:{repository}:pull"),
            query=f"?mount={quote(str(descriptor.digest))}&from={quote(repository, safe='')}",
            success=frozenset({201, 202}),
        )
        try:
            response = self._client.send(call)
        except (AccessDenied, NotFound, Unsupported):
            self._unreadable.add(repository)
            return False
        if response.status == 201:
            response.drain()
            return True
        session = UploadSession.read(response)
        with self._lock:
            self._sessions[descriptor.digest] = session
        return False

    def _seen(self, descriptor: Descriptor, source: Source) -> str | None:
        """The repository here that has the blob, or should."""
        if isinstance(source, RegistryTarget):
            return source.repository if source.registry == self.registry else None
        repository = source.seen_in(descriptor, self.registry) if isinstance(source, Sighted) else None
        return repository if repository != self.repository else None

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
        return self._read_mirrored(call) or self._client.send(call)

    def _read_once(self, call: Call) -> Response:
        return self._read_mirrored(call) or self._client.attempt(call)

    def _read_mirrored(self, call: Call) -> Response | None:
        for mirror in self._mirrors:
            try:
                return mirror.send(call)
            except (NotFound, AccessDenied, RegistryUnavailable) as error:
                _log.info("%s; going on without this mirror", error)
        return None


def _stored_other(doing: str, descriptor: Descriptor, stored: str) -> IntegrityError:
    return IntegrityError(
        f"{doing}: the registry stored {stored[:80]!r}", expected=str(descriptor.digest), actual=stored[:160]
    )
