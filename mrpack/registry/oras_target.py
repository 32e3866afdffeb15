"""OrasTarget: a client of oras-py as a target of the content port, for its ways to log in (extra `oras`).

What oras-py leaves to chance is done here: bytes are verified on their way in and out, uploads stream, and
names of manifests are digests of the very bytes.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import closing
from typing import Final, Protocol
from urllib.parse import quote, urljoin

from requests import RequestException, Response

from mrpack.content.ports import Opener
from mrpack.content.referrers import describe_referrer, of_type
from mrpack.digest import ByteSource, BytesSource, Digest, read_verified
from mrpack.errors import AccessDenied, NotFound, RegistryUnavailable
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT
from mrpack.oci.manifest import Index, parse_document
from mrpack.oci.mediatypes import ACCEPT_MANIFESTS, INDEXES, MANIFESTS
from mrpack.registry.oras_bodies import ResponseSource, UploadBody, read_body, read_refusal, skip
from mrpack.registry.referrers import Fallback, add_to_fallback, fallback_tag
from mrpack.registry.retry import Clock, Retries, RetryPolicy, Transient

_DOCUMENTS: Final = MANIFESTS | INDEXES


class OrasClient(Protocol):
    """What is used of `oras.provider.Registry`, and so of `oras.client.OrasClient`."""

    prefix: str

    def get_container(self, name: str) -> OrasContainer: ...

    def do_request(
        self,
        url: str,
        method: str = ...,
        data: object = ...,
        headers: dict[str, str] | None = ...,
        json: dict[str, object] | None = ...,
        stream: bool = ...,  # noqa: FBT001  # their signature
    ) -> Response: ...


class OrasContainer(Protocol):
    registry: str

    @property
    def api_prefix(self) -> str: ...


class OrasTarget:
    """One repository as `client` reaches it; `name` is `registry/repository`.

    The client logs in and speaks TLS in its own way, and has no time-outs. Use it from one thread at a time,
    as `copy(…, jobs=1)` does.
    """

    def __init__(self, client: OrasClient, name: str, *, policy: RetryPolicy | None = None) -> None:
        self._client = client
        container = client.get_container(name)
        self.name = f"{container.registry}/{container.api_prefix}"
        self._base = f"{client.prefix}://{container.registry}/v2/{container.api_prefix}"
        load = getattr(getattr(client, "auth", None), "load_configs", None)
        if load is not None:
            load(container)
        self._policy = policy or RetryPolicy()

    def resolve(self, ref: str) -> Descriptor:
        doing = f"resolve {self.name}:{ref}"
        response = self._send(doing, "GET", f"/manifests/{quote(ref, safe=':')}", accept=ACCEPT_MANIFESTS)
        raw = read_body(response, MANIFEST_LIMIT, doing)
        digest = Digest.parse(ref) if ":" in ref else Digest.of(raw)
        read_verified(BytesSource(raw), digest, len(raw), limit=MANIFEST_LIMIT, name=doing)
        media_type = (response.headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        artifact_type = parse_document(raw, media_type, doing).artifact_type
        return Descriptor(media_type=media_type, digest=digest, size=len(raw), artifact_type=artifact_type)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        doing = f"fetch {descriptor.digest.short} from {self.name}"
        if descriptor.media_type in _DOCUMENTS:
            path, accept = f"/manifests/{descriptor.digest}", ACCEPT_MANIFESTS
            raw = read_body(self._send(doing, "GET", path, accept=accept), MANIFEST_LIMIT, doing)
            return BytesSource(raw[offset:])
        if offset >= descriptor.size > 0:
            return BytesSource(b"")
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        response = self._send(
            doing, "GET", f"/blobs/{descriptor.digest}", headers=headers, success={200, 206}
        )
        stream = ResponseSource(response, doing)
        if offset and response.status_code == 200:
            skip(stream, offset)
        return stream

    def exists(self, descriptor: Descriptor) -> bool:
        kind = "manifests" if descriptor.media_type in _DOCUMENTS else "blobs"
        response = self._send(
            f"look for {descriptor.digest.short} in {self.name}",
            "HEAD",
            f"/{kind}/{descriptor.digest}",
            accept=ACCEPT_MANIFESTS,
            success={200, 404},
        )
        response.close()
        length = response.headers.get("Content-Length")
        return response.status_code == 200 and length in {None, str(descriptor.size)}

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        if self.exists(descriptor):
            return
        doing = f"push blob {descriptor.digest.short} to {self.name}"
        opened = self._send(doing, "POST", "/blobs/uploads/", success={202})
        opened.close()
        location = urljoin(opened.url, opened.headers.get("Location", ""))
        joint = "&" if "?" in location else "?"
        body = UploadBody(descriptor, open_at)
        try:
            response = self._request(
                f"{location}{joint}digest={quote(str(descriptor.digest))}",
                "PUT",
                {"Content-Type": "application/octet-stream"},
                body,
            )
        except RequestException as error:
            raise RegistryUnavailable(f"{doing}: {type(error).__name__}") from error
        if response.status_code != 201:
            raise read_refusal(response).error(doing, self.name)
        response.close()

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        target = ref or str(descriptor.digest)
        doing = f"push manifest {self.name}:{target}"
        response = self._send(
            doing,
            "PUT",
            f"/manifests/{quote(target, safe=':')}",
            headers={"Content-Type": descriptor.media_type},
            data=raw,
            success={201},
        )
        response.close()
        document = parse_document(raw, descriptor.media_type, doing)
        if document.subject is not None and "OCI-Subject" not in response.headers:
            tag = fallback_tag(document.subject.digest)
            add_to_fallback(
                lambda: Fallback(self._entries(tag)),
                lambda index, _state: self.push_manifest(index.descriptor, index.raw, tag),
                describe_referrer(document, descriptor),
            )

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        with closing(self.fetch(descriptor)) as stream:
            raw = read_verified(stream, descriptor.digest, descriptor.size, limit=MANIFEST_LIMIT)
        self.push_manifest(descriptor, raw, ref)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """The first page of the API, or the tag that stands for it."""
        doing = f"list what belongs to {subject.digest.short} in {self.name}"
        try:
            response = self._send(doing, "GET", f"/referrers/{subject.digest}")
            found = Index.parse(read_body(response, MANIFEST_LIMIT, doing), doing).manifests
        except NotFound:
            found = self._entries(fallback_tag(subject.digest))
        return of_type(found, artifact_type)

    def _entries(self, tag: str) -> tuple[Descriptor, ...]:
        try:
            descriptor = self.resolve(tag)
        except NotFound:
            return ()
        with closing(self.fetch(descriptor)) as stream:
            raw = read_verified(stream, descriptor.digest, descriptor.size, limit=MANIFEST_LIMIT)
        document = parse_document(raw, descriptor.media_type, tag)
        return document.manifests if isinstance(document, Index) else ()

    def _send(
        self,
        doing: str,
        method: str,
        path: str,
        *,
        accept: str = "",
        headers: dict[str, str] | None = None,
        data: bytes | None = None,
        success: set[int] | None = None,
    ) -> Response:
        retries = Retries(self._policy, Clock())
        sent = {**(headers or {}), **({"Accept": accept} if accept else {})}
        while True:
            try:
                response = self._request(f"{self._base}{path}", method, sent, data)
                if response.status_code in (success or {200}):
                    return response
                raise read_refusal(response).error(doing, self.name)
            except RequestException as error:
                retries.wait(Transient(f"{doing}: {type(error).__name__}"))
            except Transient as failure:
                retries.wait(failure)

    def _request(self, url: str, method: str, headers: dict[str, str], data: object) -> Response:
        """Past its own retries, which repeat any failure for two minutes."""
        try:
            response = self._once(url, method, headers, data)
            auth = getattr(self._client, "auth", None)
            if auth is not None and response.status_code == 401 and getattr(auth, "token", None):
                # It keeps one token for everything: this operation wants another scope.
                response.close()
                auth.token = None
                response = self._once(url, method, headers, data)
        except ValueError as error:
            if isinstance(error, RequestException):
                raise
            raise AccessDenied(
                f"{self.name}: the oras client cannot log in", hint="call its login()"
            ) from error
        return response

    def _once(self, url: str, method: str, headers: dict[str, str], data: object) -> Response:
        request: Callable[..., Response] = inspect.unwrap(type(self._client).do_request)
        return request(self._client, url, method, data=data, headers=dict(headers), stream=True)
