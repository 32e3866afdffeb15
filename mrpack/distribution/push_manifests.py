"""Pushing manifests: kept as the very bytes, when all that they name is here with the sizes they say."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from mrpack.content.documents import NESTING_LIMIT, read_document
from mrpack.digest import BytesSource, Digest
from mrpack.distribution.call import Call, parse_digest
from mrpack.distribution.catalog import Catalog
from mrpack.distribution.lease import Lease
from mrpack.distribution.message import BadRequestError, Response
from mrpack.distribution.names import with_names, with_unnamed
from mrpack.distribution.refusal import RefusalError
from mrpack.errors import IntegrityError, InvalidArtifact, NotFound, UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT, decode_object
from mrpack.oci.manifest import Index, Manifest, parse_document
from mrpack.oci.mediatypes import OCI_MANIFEST
from mrpack.oci.reference import Reference

# So many missing blobs are named in one answer.
_DETAILS_LIMIT: Final = 100


class ManifestPush:
    """Answers to PUT of manifests: refused while something that they name is missing."""

    def __init__(self, catalog: Catalog, lease: Lease) -> None:
        self._catalog = catalog
        self._layout = catalog.layout
        self._lease = lease

    def put(self, call: Call) -> Response:
        kept = self._catalog.naming.kept_as(call.repository)
        tags, digest = self._targets(call, kept)
        raw = _read_manifest(call)
        document = _parse_manifest(call, raw)
        actual = (
            Digest(digest.algorithm, hashlib.new(digest.algorithm, raw).hexdigest())
            if digest
            else Digest.of(raw)
        )
        if digest is not None and actual != digest:
            raise RefusalError("DIGEST_INVALID", f"the manifest has digest {actual}")
        manifest = Descriptor(media_type=document.media_type, digest=actual, size=len(raw))
        headers = {"Docker-Content-Digest": str(actual), "Location": f"{call.base}/manifests/{actual}"}
        if document.subject is not None:
            headers["OCI-Subject"] = str(document.subject.digest)
        if digest is not None and tags:
            headers["OCI-Tag"] = ", ".join(str(name.tag) for name in tags)
        names = tags or ([] if document.subject else [replace(kept, tag=None, digest=actual)])
        with self._lease.writing():
            self._check_closure(document)
            if not self._layout.exists(manifest):
                self._layout.push(manifest, lambda offset: BytesSource(raw[offset:]))
            self._point(names, manifest, document)
        return Response(status=201, headers=headers)

    def _targets(self, call: Call, kept: Reference) -> tuple[list[Reference], Digest | None]:
        """The tags to set, and the digest when the manifest is addressed by one."""
        try:
            if ":" not in call.ref:
                return [kept.with_tag(call.ref)], None
            return [kept.with_tag(tag) for tag in call.request.parameters("tag")], parse_digest(call.ref)
        except UsageError as error:
            raise RefusalError("MANIFEST_INVALID", error.message) from None

    def _check_closure(self, document: Manifest | Index) -> None:
        """Raises RefusalError: something that `document` leads to is missing, or not as it says."""
        missing: dict[Digest, Descriptor] = {}
        try:
            self._find_missing(document, missing, set(), depth=0)
        except (InvalidArtifact, IntegrityError) as error:
            raise RefusalError("MANIFEST_INVALID", error.message) from None
        if missing:
            raise RefusalError(
                "MANIFEST_BLOB_UNKNOWN",
                "push what the manifest names first",
                details=[{"digest": str(blob.digest)} for blob in [*missing.values()][:_DETAILS_LIMIT]],
            )

    def _find_missing(
        self, document: Manifest | Index, missing: dict[Digest, Descriptor], read: set[Digest], depth: int
    ) -> None:
        """`read`: documents that were looked into already, however often they are named."""
        if depth > NESTING_LIMIT:
            raise InvalidArtifact("indexes nested too deeply")
        for blob in document.blobs if isinstance(document, Manifest) else document.manifests:
            try:
                size = self._layout.blobs.size(blob.digest)
            except NotFound:
                missing[blob.digest] = blob
                continue
            if size != blob.size:
                raise RefusalError(
                    "SIZE_INVALID",
                    f"{blob.digest} has {size} bytes and not {blob.size}",
                    details=[str(blob.digest)],
                )
            if isinstance(document, Index) and blob.digest not in read:
                read.add(blob.digest)
                _, child = read_document(self._layout, blob)
                self._find_missing(child, missing, read, depth + 1)

    def _point(self, names: Sequence[Reference], manifest: Descriptor, document: Manifest | Index) -> None:
        covered = {manifest.digest}
        if isinstance(document, Index):
            covered |= {child.digest for child in document.manifests}
        if names:
            self._layout.update(lambda entries: with_names(entries, manifest, names, covered))
        else:
            self._layout.update(lambda entries: with_unnamed(entries, manifest))


def _read_manifest(call: Call) -> bytes:
    try:
        return call.body.read_all(MANIFEST_LIMIT)
    except BadRequestError as error:
        if error.status != 413:
            raise
        message = f"a manifest may have {MANIFEST_LIMIT} bytes"
        raise RefusalError("MANIFEST_INVALID", message, status=413) from None


def _parse_manifest(call: Call, raw: bytes) -> Manifest | Index:
    """Raises RefusalError MANIFEST_INVALID, also when Content-Type and `mediaType` disagree."""
    try:
        kind = call.request.headers.get("content-type")
        if kind is None:
            kind = str(decode_object(raw, "manifest").get("mediaType") or OCI_MANIFEST)
        return parse_document(raw, kind, "manifest")
    except InvalidArtifact as error:
        raise RefusalError("MANIFEST_INVALID", error.message) from None
