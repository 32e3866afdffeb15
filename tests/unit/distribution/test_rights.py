"""Deleting from a served layout, who may write to it at all, and how it gets along with `gc`."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mrpack.distribution import Limits, Rules, serving
from mrpack.errors import HostRefused
from mrpack.oci.manifest import Index
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store
from tests.fakes.api_client import ApiClient, describe
from tests.waiting import until

Files = Callable[[], list[Path]]
CONTENT = bytes(range(256)) * 4096
DIGEST = describe(CONTENT).digest


# Deletions.


def test_a_deleted_tag_is_gone_and_its_manifest_stays(api: ApiClient) -> None:
    manifest = api.push("m", "v1", b"weights")
    assert api.put_manifest("m", "v2", manifest).status == 201
    assert api("DELETE", "/v2/m/manifests/v1").status == 202
    assert api("GET", "/v2/m/manifests/v1").status == 404
    assert api("GET", f"/v2/m/manifests/{manifest.descriptor.digest}").status == 200
    assert api("DELETE", "/v2/m/manifests/v1").code == "MANIFEST_UNKNOWN"


def test_a_deleted_manifest_takes_its_tags_with_it_and_frees_its_blobs(api: ApiClient) -> None:
    manifest = api.push("m", "v1", CONTENT)
    digest = manifest.descriptor.digest
    assert api.put_manifest("m", "v2", manifest).status == 201
    blob = api("DELETE", f"/v2/m/blobs/{DIGEST}")
    assert (blob.status, blob.code) == (403, "DENIED")
    assert api("DELETE", f"/v2/m/manifests/{digest}").status == 202
    for ref in ("v1", "v2", digest):
        assert api("GET", f"/v2/m/manifests/{ref}").status == 404
    assert api("DELETE", f"/v2/m/manifests/{digest}").status == 404
    assert api("DELETE", f"/v2/m/blobs/{DIGEST}").status == 202
    assert api("GET", f"/v2/m/blobs/{DIGEST}").status == 404
    assert api("DELETE", f"/v2/m/blobs/{DIGEST}").code == "BLOB_UNKNOWN"


def test_a_manifest_whose_tag_moved_on_stays_by_digest_until_gc(store: Store) -> None:
    with serving(store.layout, writable=True) as address:
        api = ApiClient(address)
        old = api.push("m", "v1", b"old")
        api.push("m", "v1", b"new")
        path = f"/v2/m/manifests/{old.descriptor.digest}"
        assert api("GET", path).body == old.raw
    store.collect()
    with serving(store.layout) as address:
        assert ApiClient(address)("GET", path).status == 404


def test_a_manifest_that_another_repository_names_loses_its_names_here_alone(api: ApiClient) -> None:
    manifest = api.push("m", "v1", b"weights")
    assert api.put_manifest("n", "v1", manifest).status == 201
    assert api("DELETE", f"/v2/m/manifests/{manifest.descriptor.digest}").status == 202
    assert api("GET", "/v2/m/manifests/v1").status == 404
    assert api("GET", "/v2/n/manifests/v1").status == 200
    assert api("DELETE", f"/v2/m/manifests/{manifest.descriptor.digest}").code == "DENIED"


def test_a_blob_is_not_deleted_as_a_manifest(api: ApiClient) -> None:
    api.push_blob("m", CONTENT)
    assert api("DELETE", f"/v2/m/manifests/{DIGEST}").code == "MANIFEST_UNKNOWN"
    assert api("GET", f"/v2/m/manifests/{DIGEST}").status == 404
    assert api("GET", f"/v2/m/blobs/{DIGEST}").status == 200


def test_a_deleted_referrer_is_no_longer_listed(api: ApiClient) -> None:
    model = api.push("m", "v1", b"weights").descriptor
    signature = api.push("m", "", b"signature", subject=model).descriptor
    assert api("DELETE", f"/v2/m/manifests/{signature.digest}").status == 202
    assert Index.parse(api("GET", f"/v2/m/referrers/{model.digest}").body).manifests == ()


def test_names_that_were_not_pushed_here_are_not_deleted(api: ApiClient, store: Store) -> None:
    manifest = api.push("seed", "v1", b"mine").descriptor.plain()
    store.layout.tag(manifest, "docker.io/ai/m:v1")
    for ref in ("v1", manifest.digest):
        answer = api("DELETE", f"/v2/ai/m/manifests/{ref}")
        assert (answer.status, answer.code) == (403, "DENIED")
    assert store.find("docker.io/ai/m:v1").manifest == manifest


def test_part_of_an_index_is_not_deleted(api: ApiClient) -> None:
    child = api.push("m", "", b"weights").descriptor
    assert api.put_manifest("m", "v1", Index.build([child])).status == 201
    assert api("DELETE", f"/v2/m/manifests/{child.digest}").code == "DENIED"


@pytest.mark.parametrize("ref", [".bad", "%2e%2e"])
def test_a_malformed_tag_deletes_nothing(api: ApiClient, ref: str) -> None:
    api.push("m", "latest", b"weights")
    assert api("DELETE", f"/v2/m/manifests/{ref}").code == "MANIFEST_UNKNOWN"
    assert api("GET", "/v2/m/manifests/latest").status == 200


def test_a_blob_is_not_deleted_while_somebody_writes(api: ApiClient, layout: OciLayout) -> None:
    api.push_blob("m", CONTENT)
    with layout.operation():
        answer = api("DELETE", f"/v2/m/blobs/{DIGEST}")
    assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
    assert api("DELETE", f"/v2/m/blobs/{DIGEST}").status == 202


# Who may write.


WRITES = [
    ("POST", "/v2/m/blobs/uploads/"),
    ("PATCH", "/v2/m/blobs/uploads/x"),
    ("PUT", "/v2/m/blobs/uploads/x"),
    ("DELETE", "/v2/m/blobs/uploads/x"),
    ("PUT", "/v2/m/manifests/v1"),
    ("DELETE", "/v2/m/manifests/v1"),
    ("DELETE", f"/v2/m/blobs/{DIGEST}"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
def test_a_read_only_server_takes_nothing(layout: OciLayout, method: str, path: str) -> None:
    with serving(layout) as address:
        answer = ApiClient(address)(method, path, b"" if method == "DELETE" else CONTENT)
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert set(answer.headers["allow"].split(", ")) <= {"GET", "HEAD", ""}
    assert not layout.root.exists()


@pytest.mark.parametrize("path", ["/v2/m/manifests/v1", f"/v2/m/blobs/{DIGEST}"])
def test_deletions_are_allowed_on_their_own(layout: OciLayout, path: str) -> None:
    with serving(layout, rules=Rules(writable=True)) as address:
        api = ApiClient(address)
        api.push("m", "v1", CONTENT)
        assert (api("DELETE", path).status, api("DELETE", path).code) == (405, "UNSUPPORTED")
        assert api("DELETE", api.start("m")).status == 204


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/v2/"), ("PUT", "/v2/_catalog"), ("BREW", "/v2/m/manifests/v1"), ("OPTIONS", "/v2/")],
)
def test_methods_that_an_endpoint_does_not_have(api: ApiClient, method: str, path: str) -> None:
    answer = api(method, path)
    assert (answer.status, answer.code) == (405, "UNSUPPORTED")
    assert "GET" in answer.headers["allow"]


# Together with `gc`.


def test_gc_waits_for_a_push_that_is_under_way(layout: OciLayout, store: Store) -> None:
    with serving(layout, writable=True) as address:
        api = ApiClient(address)
        api.push_blob("m", CONTENT)
        with pytest.raises(HostRefused):
            store.collect()
        assert api("HEAD", f"/v2/m/blobs/{DIGEST}").status == 200
    assert store.collect().digests == (DIGEST,)


def test_unfinished_uploads_are_gone_with_the_server(layout: OciLayout, ingested: Files) -> None:
    with serving(layout, writable=True) as address:
        api = ApiClient(address)
        api("PATCH", api.start("m"), CONTENT)
        assert len(ingested()) == 1
    assert ingested() == []


def test_a_request_under_way_ends_when_the_server_stops(layout: OciLayout, ingested: Files) -> None:
    with serving(layout, writable=True, limits=Limits(grace_s=0.1)) as address:
        api = ApiClient(address)
        session = api.start("m")
        sock = socket.create_connection(api.endpoint)
        sock.sendall(f"PATCH {session} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx".encode())
        until(lambda: len(ingested()) == 1 and ingested()[0].stat().st_size == 1)
    with sock:
        assert sock.recv(100) == b""
    assert ingested() == []
    assert [thread for thread in threading.enumerate() if thread.name.startswith("registry")] == []
