"""The reading half of the API: version, manifests, blobs, tags, repositories, referrers."""

from __future__ import annotations

import re
from typing import Final

from mrpack.content.documents import read_document
from mrpack.digest import Digest
from mrpack.distribution.call import Call, json_response, parse_digest
from mrpack.distribution.catalog import Catalog
from mrpack.distribution.message import FileSlice, Request, Response
from mrpack.distribution.refusal import RefusalError
from mrpack.errors import IntegrityError, InvalidArtifact, NotFound
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import OCI_INDEX, OCTET_STREAM

# RFC 9110, "Range". Of several ranges none is given, which the RFC allows.
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")
# With annotations of a few KiB each, a page stays under the 4 MiB that clients accept.
_REFERRERS_LIMIT: Final = 500
# What a digest names never changes.
_FOREVER: Final = "max-age=31536000, immutable"


class Pull:
    """Answers to GET and HEAD: manifests, blobs and their ranges, tags, referrers."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._blobs = catalog.layout.blobs

    def version(self, call: Call) -> Response:
        del call
        return json_response({})

    def repositories(self, call: Call) -> Response:
        page, headers = call.page(self._catalog.names().repositories())
        return json_response({"repositories": page}, headers=headers)

    def tags(self, call: Call) -> Response:
        tags = self._catalog.names().tags(call.repository, call.registry)
        if tags is None:
            raise RefusalError("NAME_UNKNOWN", f"no repository {call.repository} here")
        page, headers = call.page(tags)
        return json_response({"name": call.repository, "tags": page}, headers=headers)

    def manifest(self, call: Call) -> Response:
        """By tag or digest. There is one form of each manifest, so `Accept` is not looked at."""
        registry = call.registry
        descriptor = self._find(call, registry)
        try:
            raw, document = read_document(self._catalog.layout, descriptor)
        except (NotFound, IntegrityError, InvalidArtifact):
            raise RefusalError("MANIFEST_UNKNOWN", f"manifest {descriptor.digest} is damaged here") from None
        headers = {
            "Content-Type": document.media_type,
            "Docker-Content-Digest": str(descriptor.digest),
            "ETag": f'"{descriptor.digest}"',
        }
        if registry is not None:
            headers["OCI-Namespace"] = registry
        if _is_known(call.request, descriptor.digest):
            return Response(status=304, headers=headers)
        return Response(status=200, headers=headers, body=raw)

    def _find(self, call: Call, registry: str | None) -> Descriptor:
        try:
            if ":" in call.ref:
                return self._catalog.by_digest(Digest.parse(call.ref))
            return self._catalog.by_tag(call.repository, call.ref, registry)
        except InvalidArtifact:
            raise RefusalError("MANIFEST_UNKNOWN", "neither a tag nor a digest") from None
        except NotFound as error:
            known = self._catalog.names().models(call.repository, registry)
            raise RefusalError("MANIFEST_UNKNOWN" if known else "NAME_UNKNOWN", str(error)) from None

    def blob(self, call: Call) -> Response:
        digest = parse_digest(call.ref)
        try:
            size = self._blobs.size(digest)
            source = self._blobs.open(digest, size)
        except (NotFound, IntegrityError):
            raise RefusalError("BLOB_UNKNOWN", f"no blob {digest} here") from None
        try:
            return _blob_response(call.request, digest, FileSlice(source=source, offset=0, size=size))
        except BaseException:
            source.close()
            raise

    def referrers(self, call: Call) -> Response:
        digest = parse_digest(call.ref)
        wanted = call.request.parameter("artifactType")
        found = {
            str(referrer.digest): referrer
            for referrer in self._catalog.referrers(call.repository, digest)
            if wanted is None or referrer.artifact_type == wanted
        }
        page, headers = call.page(list(found), _REFERRERS_LIMIT)
        if wanted is not None:
            headers["OCI-Filters-Applied"] = "artifactType"
        index = Index.build([found[key] for key in page])
        return Response(status=200, headers={"Content-Type": OCI_INDEX, **headers}, body=index.raw)


def _is_known(request: Request, digest: Digest) -> bool:
    """If-None-Match, with weak or strong tags, quoted or (as some clients send it) bare."""
    text = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/").strip('"') for tag in text.split(",")}
    return str(digest) in tags or tags == {"*"}


def _blob_response(request: Request, digest: Digest, whole: FileSlice) -> Response:
    headers = {
        "Content-Type": OCTET_STREAM,
        "Docker-Content-Digest": str(digest),
        "ETag": f'"{digest}"',
        "Accept-Ranges": "bytes",
        "Cache-Control": _FOREVER,
    }
    if _is_known(request, digest):
        whole.source.close()
        return Response(status=304, headers=headers)
    part = _part(request, digest, whole)
    if part is None:
        return Response(status=200, headers=headers, body=whole)
    last = part.offset + part.size - 1
    headers["Content-Range"] = f"bytes {part.offset}-{last}/{whole.size}"
    return Response(status=206, headers=headers, body=part)


def _part(request: Request, digest: Digest, whole: FileSlice) -> FileSlice | None:
    """The part that `Range` asks for; None when all is to be sent. Raises RefusalError 416."""
    match = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if_range = request.headers.get("if-range")
    if match is None or match.groups() == ("", "") or (if_range is not None and if_range != f'"{digest}"'):
        return None
    first, last = match.groups()
    if not first:
        start, end = max(0, whole.size - int(last)), whole.size
    else:
        start, end = int(first), min(int(last) + 1 if last else whole.size, whole.size)
        if last and int(last) < int(first):
            return None
    if start >= end:
        raise RefusalError(
            "BLOB_UNKNOWN",
            f"the blob has {whole.size} bytes",
            status=416,
            headers={"Content-Range": f"bytes */{whole.size}"},
        )
    return FileSlice(source=whole.source, offset=start, size=end - start)
