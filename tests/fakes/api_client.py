"""A client of the distribution API that checks nothing: it sends what a test wants and shows the answer."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from mrpack.digest import Digest
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import OCI_EMPTY
from tests.fakes.http_answer import HttpAnswer
from tests.waiting import DEADLINE_S

CONFIG = b"{}"


class Answer(HttpAnswer):
    @property
    def code(self) -> str:
        """The first OCI error code, if any."""
        if self.headers.get("content-type") != "application/json":
            return ""
        return json.loads(self.body).get("errors", [{"code": ""}])[0]["code"]


class ApiClient:
    def __init__(self, address: str) -> None:
        self.address = address
        host, _, port = address.rpartition(":")
        self.endpoint = (host.strip("[]"), int(port))

    def __call__(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """An iterable body goes out in chunks."""
        connection = http.client.HTTPConnection(*self.endpoint, timeout=DEADLINE_S)
        try:
            connection.request(method, path, body, dict(headers or {}), encode_chunked=True)
            response = connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, headers, response.read())
        finally:
            connection.close()

    def raw(self, content: bytes, *, until_close: bool = True) -> bytes:
        """What comes back for these very bytes, until the server closes (or the first piece)."""
        with socket.create_connection(self.endpoint, timeout=DEADLINE_S) as sock:
            sock.sendall(content)
            received = b""
            while chunk := sock.recv(65536):
                received += chunk
                if not until_close:
                    break
            return received

    # What tests need all the time; each asserts that it worked.

    def push_blob(self, repository: str, content: bytes, algorithm: str = "sha256") -> Descriptor:
        blob = describe(content, algorithm=algorithm)
        answer = self("POST", f"/v2/{repository}/blobs/uploads/?digest={blob.digest}", content)
        assert answer.status == 201, answer
        return blob

    def push(self, repository: str, ref: str, *contents: bytes, **fields: Any) -> Manifest:
        """A small artifact of `contents` under a tag, or with an empty `ref` under its digest."""
        config = self.push_blob(repository, CONFIG)
        layers = [self.push_blob(repository, content) for content in contents]
        manifest = Manifest.build(
            config=Descriptor(media_type=OCI_EMPTY, digest=config.digest, size=config.size),
            layers=layers,
            **fields,
        )
        answer = self.put_manifest(repository, ref or str(manifest.descriptor.digest), manifest)
        assert answer.status == 201, answer
        return manifest

    def put_manifest(self, repository: str, ref: str, document: Manifest | Index) -> Answer:
        headers = {"Content-Type": document.media_type}
        return self("PUT", f"/v2/{repository}/manifests/{ref}", document.raw, headers)

    def start(self, repository: str) -> str:
        """A new upload session: its path."""
        answer = self("POST", f"/v2/{repository}/blobs/uploads/")
        assert answer.status == 202, answer
        return answer.headers["location"]


def describe(content: bytes, *, algorithm: str = "sha256") -> Descriptor:
    digest = Digest(algorithm, hashlib.new(algorithm, content).hexdigest())
    return Descriptor(media_type="application/octet-stream", digest=digest, size=len(content))
