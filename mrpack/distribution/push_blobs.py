"""Uploads of blobs, in one request or in sessions. Nothing is visible before its digest was verified."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from mrpack.digest import Digest
from mrpack.distribution.call import Call, parse_digest
from mrpack.distribution.lease import Lease
from mrpack.distribution.message import Response
from mrpack.distribution.refusal import RefusalError, busy
from mrpack.distribution.uploads import BusyError, Upload, Uploads
from mrpack.errors import IntegrityError, NotFound
from mrpack.store.blobs import BlobFolder

# distribution-spec 1.1, "Pushing a blob in chunks".
_CONTENT_RANGE = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


class BlobPush:
    """Answers to uploads. A blob appears when all of it is here and has its digest, never before."""

    def __init__(self, blobs: BlobFolder, uploads: Uploads, lease: Lease) -> None:
        self._blobs = blobs
        self._uploads = uploads
        self._lease = lease

    def start(self, call: Call) -> Response:
        """A mount, a whole blob, or a new session: `mount`, `digest` or neither (POST)."""
        mount, digest = call.request.parameter("mount"), call.request.parameter("digest")
        with self._lease.writing(), _explained():
            if mount is not None:
                wanted = parse_digest(mount)
                if self._has(wanted):
                    return _created(call, wanted)
            elif digest is not None:
                return self._take_whole(call, parse_digest(digest))
            algorithm = call.request.parameter("digest-algorithm") or "sha256"
            if algorithm not in {"sha256", "sha512"}:
                raise RefusalError("DIGEST_INVALID", "digest algorithms: sha256, sha512")
            return _accepted(call, self._uploads.open(call.repository, algorithm), 202)

    def _has(self, digest: Digest) -> bool:
        try:
            self._blobs.size(digest)
        except NotFound:
            return False
        return True

    def _take_whole(self, call: Call, digest: Digest) -> Response:
        upload = self._uploads.open(call.repository, digest.algorithm)
        try:
            return self._take_last(call, upload, digest)
        finally:
            self._uploads.discard(upload)

    def _take_last(self, call: Call, upload: Upload, digest: Digest) -> Response:
        with self._uploads.writing(upload):
            self._receive(call, upload)
            self._uploads.finish(upload, digest)
        return _created(call, digest)

    def _receive(self, call: Call, upload: Upload) -> None:
        self._check_range(call, upload)
        if call.request.length:
            self._blobs.check_space(call.request.length, "an upload")
        upload.receive(call.body)

    def _check_range(self, call: Call, upload: Upload) -> None:
        text = call.request.headers.get("content-range")
        if text is None:
            return
        match = _CONTENT_RANGE.fullmatch(text)
        if match is None:
            raise RefusalError("BLOB_UPLOAD_INVALID", "Content-Range is not FIRST-LAST")
        first, last = int(match[1]), int(match[2])
        if first != upload.count:
            raise RefusalError(
                "BLOB_UPLOAD_INVALID",
                f"the next byte to send is {upload.count}",
                status=416,
                headers=_place(call, upload),
            )
        if call.request.length is not None and call.request.length != last - first + 1:
            raise RefusalError("SIZE_INVALID", "Content-Range and Content-Length disagree")

    def add(self, call: Call) -> Response:
        """PATCH. In order only: another start than the end of what is here is a 416 that names that end."""
        with self._lease.writing(), _explained():
            upload = self._uploads.find(call.repository, call.ref)
            with self._uploads.writing(upload):
                self._receive(call, upload)
            return _accepted(call, upload, 202)

    def finish(self, call: Call) -> Response:
        """PUT, with or without the last bytes. A wrong digest ends the session."""
        with self._lease.writing(), _explained():
            digest = parse_digest(call.request.parameter("digest"))
            upload = self._uploads.find(call.repository, call.ref)
            return self._take_last(call, upload, digest)

    def status(self, call: Call) -> Response:
        with _explained():
            return _accepted(call, self._uploads.find(call.repository, call.ref), 204)

    def cancel(self, call: Call) -> Response:
        with _explained():
            self._uploads.cancel(self._uploads.find(call.repository, call.ref))
        return Response(status=204)


def _place(call: Call, upload: Upload) -> dict[str, str]:
    """Where an upload goes on, and after which byte. Nothing received is `0-0`, as Distribution writes it."""
    return {
        "Location": f"{call.base}/blobs/uploads/{upload.id}",
        "Range": f"0-{max(0, upload.count - 1)}",
        "Docker-Upload-UUID": upload.id,
    }


def _accepted(call: Call, upload: Upload, status: int) -> Response:
    return Response(status=status, headers=_place(call, upload))


def _created(call: Call, digest: Digest) -> Response:
    headers = {"Location": f"{call.base}/blobs/{digest}", "Docker-Content-Digest": str(digest)}
    return Response(status=201, headers=headers)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Failures of an upload in the terms of the API."""
    try:
        yield
    except BusyError:
        raise busy("too many uploads, or another request of this one is running") from None
    except NotFound as error:
        raise RefusalError("BLOB_UPLOAD_UNKNOWN", error.message) from None
    except IntegrityError as error:
        raise RefusalError("DIGEST_INVALID", error.message) from None
