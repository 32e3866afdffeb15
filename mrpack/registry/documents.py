"""Manifests and indexes of a repository: bounded, and known by the digest of their own bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from typing import Final
from urllib.parse import quote

from mrpack.content.referrers import describe_referrer, of_type
from mrpack.digest import BytesSource, Digest, read_verified
from mrpack.errors import IntegrityError, InvalidArtifact, NotFound
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Index, parse_document
from mrpack.oci.mediatypes import ACCEPT_MANIFESTS
from mrpack.registry.client import Call
from mrpack.registry.referrers import Fallback, add_to_fallback, fallback_tag, list_referrers
from mrpack.registry.repository import Repository, stored_other
from mrpack.registry.response import Response
from mrpack.registry.retry import Transient

# Enough for an index and what `resolve` has just seen.
_KEPT: Final = 4


class Documents:
    """Thread-safe. The last few are kept: a fetch after `resolve` costs no second request."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._kept = _Kept()

    def resolve(self, ref: str) -> Descriptor:
        asked = Digest.parse(ref, "reference") if ":" in ref else None
        name = f"manifest {self._named(ref)}"

        def take(response: Response) -> Descriptor:
            media_type = (response.header("Content-Type") or "").partition(";")[0].strip().lower()
            raw = _read(response, name)
            digest = asked or Digest.of(raw)
            self._accepted(raw, digest, len(raw), name)
            artifact_type = parse_document(raw, media_type, name).artifact_type
            return Descriptor(
                media_type=media_type, digest=digest, size=len(raw), artifact_type=artifact_type
            )

        return self._repository.read(self._call(f"resolve {name}", ref), take)

    def fetch(self, descriptor: Descriptor) -> bytes:
        """Verified."""
        kept = self._kept.find(descriptor.digest)
        if kept is not None:
            return kept
        ref = str(descriptor.digest)
        name = f"manifest {self._named(ref)}"
        return self._repository.read(
            self._call(f"fetch {name}", ref),
            lambda response: self._accepted(_read(response, name), descriptor.digest, descriptor.size, name),
        )

    def has(self, descriptor: Descriptor) -> bool:
        headers = {"Accept": ACCEPT_MANIFESTS}
        return self._repository.has(descriptor, _path(str(descriptor.digest)), headers=headers)

    def push(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        target = ref or str(descriptor.digest)
        doing = f"push manifest {self._named(target)}"
        if len(raw) > MANIFEST_LIMIT:
            raise InvalidArtifact(f"{len(raw)} bytes, more than the limit of {MANIFEST_LIMIT}", where=doing)
        response = self._put(doing, target, descriptor.media_type, raw)
        stored = response.header("Docker-Content-Digest")
        if stored is not None and stored != str(descriptor.digest):
            raise stored_other(doing, descriptor, stored)
        self._kept.keep(descriptor.digest, raw)
        document = parse_document(raw, descriptor.media_type, doing)
        if document.subject is not None and response.header("OCI-Subject") is None:
            # distribution-spec 1.1, "Pushing Manifests with Subject": this registry keeps no list itself.
            tag = fallback_tag(document.subject.digest)
            add_to_fallback(
                lambda: self._read_fallback(tag),
                lambda index, state: self._replace_fallback(tag, index, state),
                describe_referrer(document, descriptor),
            )

    def referrers(self, subject: Descriptor, artifact_type: str | None) -> list[Descriptor]:
        found = list_referrers(self._repository, subject.digest, artifact_type)
        if found is None:
            found = of_type(self._read_fallback(fallback_tag(subject.digest)).entries, artifact_type)
        return found

    def _put(
        self,
        doing: str,
        target: str,
        media_type: str,
        raw: bytes,
        *,
        condition: Mapping[str, str] | None = None,
        success: frozenset[int] = frozenset({201}),
    ) -> Response:
        client = self._repository.client
        headers = {"Content-Type": media_type, **(condition or {})}
        call = self._repository.writing(doing, "PUT", _path(target), success, headers=headers, body=raw)
        try:
            response = client.send(call)
        except (NotFound, IntegrityError) as refused:
            # Distribution 2.8 empties the link of a blob before it writes it anew: who pushes that blob just
            # then makes it look missing or wrong. Once more tells.
            with suppress(Transient):
                client.retries().wait(Transient(refused.message))
            response = client.send(call)
        response.drain()
        return response

    def _read_fallback(self, tag: str) -> Fallback:
        name = f"index {self._named(tag)}"
        try:
            response = self._repository.client.send(self._call(f"fetch {name}", tag))
        except NotFound:
            return Fallback((), {"If-None-Match": "*"})
        etag = response.header("ETag")
        document = parse_document(_read(response, name), response.header("Content-Type") or "", name)
        entries = document.manifests if isinstance(document, Index) else ()
        return Fallback(entries, {"If-Match": etag} if etag else {})

    def _replace_fallback(self, tag: str, index: Index, state: Fallback) -> None:
        """412: somebody was faster, in a registry that looks at conditions."""
        self._put(
            f"push index {self._named(tag)}",
            tag,
            index.media_type,
            index.raw,
            condition=state.condition,
            success=frozenset({201, 412}),
        )

    def _call(self, doing: str, ref: str) -> Call:
        return self._repository.reading(doing, _path(ref), headers={"Accept": ACCEPT_MANIFESTS})

    def _named(self, ref: str) -> str:
        return f"{self._repository.name}{'@' if ':' in ref else ':'}{ref}"

    def _accepted(self, raw: bytes, digest: Digest, size: int, name: str) -> bytes:
        read_verified(BytesSource(raw), digest, size, limit=MANIFEST_LIMIT, name=name)
        self._kept.keep(digest, raw)
        return raw


class _Kept:
    """Documents by their digests, which the caller has checked. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._documents: OrderedDict[Digest, bytes] = OrderedDict()

    def find(self, digest: Digest) -> bytes | None:
        with self._lock:
            return self._documents.get(digest)

    def keep(self, digest: Digest, raw: bytes) -> None:
        with self._lock:
            self._documents[digest] = raw
            self._documents.move_to_end(digest)
            while len(self._documents) > _KEPT:
                self._documents.popitem(last=False)


def _path(ref: str) -> str:
    return f"/manifests/{quote(ref, safe=':')}"


def _read(response: Response, name: str) -> bytes:
    """The body; raises InvalidArtifact when more than 4 MiB are announced. Closes the answer."""
    if response.length is not None and response.length > MANIFEST_LIMIT:
        response.close()
        raise InvalidArtifact(f"{response.length} bytes, more than the limit of {MANIFEST_LIMIT}", where=name)
    return response.read(MANIFEST_LIMIT)
