"""Writing to a served layout: uploads and manifests, and what is refused."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.distribution import Naming, Rules, serving
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT, encode
from mrpack.oci.manifest import Index
from mrpack.oci.mediatypes import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from mrpack.store.layout import OciLayout
from mrpack.store.store import Store
from tests.fakes.api_client import CONFIG, ApiClient, describe
from tests.waiting import until

Files = Callable[[], list[Path]]
CONTENT = bytes(range(256)) * 4096
DIGEST = describe(CONTENT).digest
OTHER = describe(b"other").digest


def visible(layout: OciLayout) -> set[Digest]:
    return {digest for digest, _ in layout.blobs.digests()}


# Blobs in one request.


def test_a_blob_in_one_post(api: ApiClient, layout: OciLayout, ingested: Files) -> None:
    answer = api("POST", f"/v2/team/m/blobs/uploads/?digest={DIGEST}", CONTENT)
    assert answer.status == 201
    assert answer.headers["location"] == f"/v2/team/m/blobs/{DIGEST}"
    assert answer.headers["docker-content-digest"] == str(DIGEST)
    assert api("GET", answer.headers["location"]).body == CONTENT
    assert ingested() == []


@pytest.mark.parametrize("body", [CONTENT, [CONTENT[:1000], CONTENT[1000:]]], ids=["length", "chunked"])
def test_a_blob_in_post_and_put(api: ApiClient, body: Any) -> None:
    answer = api("PUT", f"{api.start('team/m')}?digest={DIGEST}", body)
    assert answer.status == 201
    assert api("GET", answer.headers["location"]).body == CONTENT


@pytest.mark.parametrize("content", [b"", b"x"])
@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_small_blobs_and_the_other_algorithm(api: ApiClient, content: bytes, algorithm: str) -> None:
    blob = api.push_blob("m", content, algorithm)
    assert api("GET", f"/v2/m/blobs/{blob.digest}").body == content
    digest = describe(content, algorithm=algorithm).digest
    # A session that was not told the algorithm hashes again at its end.
    assert api("PUT", f"{api.start('m')}?digest={digest}", content).status == 201


@pytest.mark.parametrize("sent", [CONTENT[:-1], CONTENT + b"x", b"", b"x" + CONTENT[1:]])
def test_other_bytes_than_the_digest_are_refused_and_leave_nothing(
    api: ApiClient, layout: OciLayout, sent: bytes, ingested: Files
) -> None:
    session = api.start("m")
    for method, path in (
        ("POST", f"/v2/m/blobs/uploads/?digest={DIGEST}"),
        ("PUT", f"{session}?digest={DIGEST}"),
    ):
        answer = api(method, path, sent)
        assert (answer.status, answer.code) == (400, "DIGEST_INVALID")
    assert visible(layout) == set()
    assert ingested() == []
    assert api("GET", session).code == "BLOB_UPLOAD_UNKNOWN"


@pytest.mark.parametrize(
    "digest", ["", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e", "../../x", "sha256:" + "A" * 64]
)
def test_a_malformed_digest_is_refused_and_the_session_stays(api: ApiClient, digest: str) -> None:
    session = api.start("m")
    assert api("PUT", f"{session}?digest={digest}", b"x").code == "DIGEST_INVALID"
    assert api("POST", f"/v2/m/blobs/uploads/?digest={digest}", b"x").code == "DIGEST_INVALID"
    assert api("POST", f"/v2/m/blobs/uploads/?mount={digest}&from=x").code == "DIGEST_INVALID"
    assert api("GET", session).status == 204


# Blobs in pieces.


def test_a_blob_in_pieces(api: ApiClient) -> None:
    session = api.start("m")
    for start in range(0, len(CONTENT), 300_000):
        piece = CONTENT[start : start + 300_000]
        answer = api("PATCH", session, piece, {"Content-Range": f"{start}-{start + len(piece) - 1}"})
        assert answer.status == 202
        assert answer.headers["range"] == f"0-{start + len(piece) - 1}"
        session = answer.headers["location"]
    assert api("PUT", f"{session}?digest={DIGEST}").status == 201
    assert api("GET", f"/v2/m/blobs/{DIGEST}").body == CONTENT


def test_the_last_piece_may_come_with_the_put(api: ApiClient) -> None:
    session = api.start("m")
    assert api("PATCH", session, [CONTENT[:500], CONTENT[500:1000]]).headers["range"] == "0-999"
    rest = {"Content-Range": f"1000-{len(CONTENT) - 1}"}
    assert api("PUT", f"{session}?digest={DIGEST}", CONTENT[1000:], rest).status == 201
    assert api("GET", f"/v2/m/blobs/{DIGEST}").body == CONTENT


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
@pytest.mark.parametrize("start", [0, 999, 1001])
def test_a_piece_out_of_order_is_refused_with_the_place_to_go_on(
    api: ApiClient, method: str, start: int
) -> None:
    session = api.start("m")
    api("PATCH", session, CONTENT[:1000], {"Content-Range": "0-999"})
    piece = CONTENT[start : start + 10]
    answer = api(method, f"{session}?digest={DIGEST}", piece, {"Content-Range": f"{start}-{start + 9}"})
    assert answer.status == 416
    assert answer.headers["range"] == "0-999"
    assert answer.headers["location"] == session
    assert api("PUT", f"{session}?digest={DIGEST}", CONTENT[1000:]).status == 201


@pytest.mark.parametrize(
    ("given", "code"),
    [("0-5", "SIZE_INVALID"), ("bytes 0-9/10", "BLOB_UPLOAD_INVALID"), ("0-", "BLOB_UPLOAD_INVALID")],
)
def test_a_piece_that_contradicts_itself_is_refused(api: ApiClient, given: str, code: str) -> None:
    session = api.start("m")
    answer = api("PATCH", session, b"0123456789", {"Content-Range": given})
    assert (answer.status, answer.code) == (400, code)
    assert api("GET", session).headers["range"] == "0-0"


def test_status_of_an_upload(api: ApiClient) -> None:
    session = api.start("m")
    api("PATCH", session, b"x" * 10)
    answer = api("GET", session)
    assert answer.status == 204
    assert answer.headers["range"] == "0-9"
    assert answer.headers["location"] == session


def test_a_cancelled_upload_is_gone(api: ApiClient, layout: OciLayout, ingested: Files) -> None:
    session = api.start("m")
    api("PATCH", session, b"x")
    assert len(ingested()) == 1
    assert api("DELETE", session).status == 204
    assert ingested() == []
    for method in ("GET", "PATCH", "PUT", "DELETE"):
        answer = api(method, f"{session}?digest={DIGEST}")
        assert (answer.status, answer.code) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(api: ApiClient) -> None:
    session = api.start("m")
    assert api("PATCH", session.replace("/v2/m/", "/v2/n/"), b"x").code == "BLOB_UPLOAD_UNKNOWN"


def test_what_came_before_a_cut_is_kept_and_gone_on_with(api: ApiClient) -> None:
    session = api.start("m")
    head = f"PATCH {session} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(CONTENT)}\r\n\r\n".encode()
    with socket.create_connection(api.endpoint) as sock:
        sock.sendall(head + CONTENT[:70_000])
    until(lambda: api("GET", session).headers["range"] == "0-69999")
    rest = {"Content-Range": f"70000-{len(CONTENT) - 1}"}
    assert api("PATCH", session, CONTENT[70_000:], rest).status == 202
    assert api("PUT", f"{session}?digest={DIGEST}").status == 201


def test_a_cut_upload_in_one_request_leaves_nothing(
    api: ApiClient, layout: OciLayout, ingested: Files
) -> None:
    start = f"POST /v2/m/blobs/uploads/?digest={DIGEST} HTTP/1.1\r\n"
    head = f"{start}Host: localhost\r\nContent-Length: 5000\r\n\r\n"
    with socket.create_connection(api.endpoint) as sock:
        sock.sendall(head.encode() + b"x" * 100)
        until(lambda: len(ingested()) == 1)
    until(lambda: ingested() == [])


def test_two_requests_do_not_write_to_one_upload_at_once(api: ApiClient) -> None:
    session = api.start("m")
    head = f"PATCH {session} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n".encode()
    with socket.create_connection(api.endpoint) as sock:
        sock.sendall(head + b"x" * 50)
        until(lambda: api("GET", session).headers["range"] == "0-49")
        answer = api("PATCH", session, b"y")
        assert (answer.status, answer.code) == (429, "TOOMANYREQUESTS")
        assert int(answer.headers["retry-after"]) > 0
        sock.sendall(b"x" * 50)
        assert sock.recv(100).startswith(b"HTTP/1.1 202 ")
    assert api("PATCH", session, b"y").headers["range"] == "0-100"


def test_many_clients_push_the_same_blob_at_once(api: ApiClient, layout: OciLayout, ingested: Files) -> None:
    with ThreadPoolExecutor(8) as pool:
        blobs = list(pool.map(lambda _: api.push_blob("m", CONTENT), range(16)))
    assert {blob.digest for blob in blobs} == visible(layout) == {DIGEST}
    assert ingested() == []
    assert layout.blobs.path(DIGEST).read_bytes() == CONTENT


def test_two_servers_on_one_layout(layout: OciLayout, api: ApiClient) -> None:
    with serving(OciLayout(layout.root), writable=True) as address:
        second = ApiClient(address)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda n: (api, second)[n % 2].push("m", f"v{n}", b"%d" % n), range(16)))
        for client in (api, second):
            assert len(client("GET", "/v2/m/tags/list").json["tags"]) == 16


# Mounts.


def test_a_blob_that_is_here_is_mounted(api: ApiClient) -> None:
    api.push_blob("a", CONTENT)
    for query in (f"mount={DIGEST}&from=a", f"mount={DIGEST}"):
        answer = api("POST", f"/v2/b/blobs/uploads/?{query}")
        assert answer.status == 201
        assert answer.headers["location"] == f"/v2/b/blobs/{DIGEST}"


def test_a_mount_of_what_is_not_here_is_an_upload(api: ApiClient) -> None:
    answer = api("POST", f"/v2/b/blobs/uploads/?mount={DIGEST}&from=a")
    assert answer.status == 202
    assert api("PUT", f"{answer.headers['location']}?digest={DIGEST}", CONTENT).status == 201


# Manifests.


def test_what_was_pushed_is_listed_and_outlives_the_server(store: Store) -> None:
    with serving(store.layout, writable=True) as address:
        manifest = ApiClient(address).push("team/m", "v1", b"weights")
    assert [str(model.reference) for model in store.models()] == ["localhost/team/m:v1"]
    assert store.find("localhost/team/m:v1").manifest == manifest.descriptor.plain()
    with serving(store.layout) as address:
        api = ApiClient(address)
        assert api("GET", "/v2/team/m/manifests/v1").body == manifest.raw
        assert api("GET", f"/v2/team/m/blobs/{describe(b'weights').digest}").body == b"weights"


def test_pushes_can_be_kept_under_another_name(store: Store) -> None:
    rules = Rules(writable=True, naming=Naming(own="registry.example.com:5000"))
    with serving(store.layout, rules=rules) as address:
        api = ApiClient(address)
        manifest = api.push("team/m", "v1", b"weights")
        assert api("GET", "/v2/team/m/manifests/v1").body == manifest.raw
    assert [str(model.reference) for model in store.models()] == ["registry.example.com:5000/team/m:v1"]


def test_a_push_never_changes_a_name_of_another_registry(api: ApiClient, store: Store) -> None:
    mine = api.push("seed", "v1", b"mine").descriptor.plain()
    store.layout.tag(mine, "docker.io/ai/m:v1")
    for path in ("ai/m", "docker.io/ai/m"):
        theirs = api.push(path, "v1", path.encode())
        assert api("GET", f"/v2/{path}/manifests/v1").body == theirs.raw
    assert store.find("docker.io/ai/m:v1").manifest == mine


def test_a_manifest_by_digest_has_tags_when_it_asks_for_them(api: ApiClient, store: Store) -> None:
    manifest = api.push("m", "first", b"weights")
    digest = manifest.descriptor.digest
    answer = api(
        "PUT", f"/v2/n/manifests/{digest}?tag=v1&tag=v2", manifest.raw, {"Content-Type": manifest.media_type}
    )
    assert answer.status == 201
    assert answer.headers["oci-tag"] == "v1, v2"
    assert answer.headers["location"] == f"/v2/n/manifests/{digest}"
    assert api("GET", "/v2/n/tags/list").json["tags"] == ["v1", "v2"]


def test_a_manifest_by_digest_alone_is_kept_until_a_tag_covers_it(store: Store) -> None:
    with serving(store.layout, writable=True) as address:
        api = ApiClient(address)
        child = api.push("m", "", b"weights").descriptor
        assert [str(model.reference) for model in store.models()] == [f"localhost/m@{child.digest}"]
        assert api("GET", "/v2/m/tags/list").json["tags"] == []
        index = Index.build([child])
        assert api.put_manifest("m", "v1", index).status == 201
        assert [str(model.reference) for model in store.models()] == ["localhost/m:v1"]
        assert api("GET", f"/v2/m/manifests/{child.digest}").status == 200
        assert api("GET", "/v2/m/manifests/v1").headers["content-type"] == OCI_INDEX
    assert store.collect().digests == ()


def test_a_referrer_is_no_model_but_survives_gc(layout: OciLayout, store: Store) -> None:
    with serving(layout, writable=True) as address:
        api = ApiClient(address)
        # Its subject may come later.
        model = describe(b"not here yet")
        subject = Descriptor(media_type=OCI_MANIFEST, digest=model.digest, size=model.size)
        answer = api.push("m", "", b"signature", subject=subject)
        put = api.put_manifest("m", str(answer.descriptor.digest), answer)
        assert put.headers["oci-subject"] == str(subject.digest)
    assert store.models() == []
    assert store.collect().digests == ()


def test_a_manifest_under_sha512(api: ApiClient) -> None:
    manifest = api.push("m", "v1", b"weights")
    digest = describe(manifest.raw, algorithm="sha512").digest
    assert api.put_manifest("m", str(digest), manifest).status == 201
    assert api("GET", f"/v2/m/manifests/{digest}").body == manifest.raw


def document(**fields: Any) -> bytes:
    config = {"mediaType": "application/json", "size": len(CONFIG), "digest": str(Digest.of(CONFIG))}
    return encode({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [], **fields})


def layer(digest: Digest, size: int) -> dict[str, object]:
    return {"mediaType": "application/octet-stream", "size": size, "digest": str(digest)}


@pytest.mark.parametrize(
    ("raw", "kind", "status", "code"),
    [
        (document(layers=[layer(OTHER, 5)]), OCI_MANIFEST, 400, "MANIFEST_BLOB_UNKNOWN"),
        (document(config=layer(Digest.of(CONFIG), 3)), OCI_MANIFEST, 400, "SIZE_INVALID"),
        (document(layers=[layer(Digest.of(CONFIG), 3)]), OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (
            document(config=layer(Digest.of(CONFIG), 3), layers=[layer(Digest.of(CONFIG), 2)]),
            OCI_MANIFEST,
            400,
            "MANIFEST_INVALID",
        ),
        (document(layers=[layer(Digest.of(CONFIG), -1)]), OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (document(config=layer(OTHER, 5)), OCI_MANIFEST, 400, "MANIFEST_BLOB_UNKNOWN"),
        (document(config=None), OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (document(manifests=[]), OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (document(), DOCKER_MANIFEST, 400, "MANIFEST_INVALID"),
        (document(), OCI_INDEX, 400, "MANIFEST_INVALID"),
        (document(), "application/json", 400, "MANIFEST_INVALID"),
        (document(), "application/vnd.oci.artifact.manifest.v1+json", 400, "MANIFEST_INVALID"),
        (document(schemaVersion=1), OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (b'{"schemaVersion":2,"schemaVersion":2}', OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (b"[" * 100_000, OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (b"", OCI_MANIFEST, 400, "MANIFEST_INVALID"),
        (document(annotations={"a": "b" * MANIFEST_LIMIT}), OCI_MANIFEST, 413, "MANIFEST_INVALID"),
        (
            encode({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [layer(OTHER, 5)]}),
            OCI_INDEX,
            400,
            "MANIFEST_BLOB_UNKNOWN",
        ),
        # A child that is no manifest would stop every later `gc`.
        (
            encode(
                {
                    "schemaVersion": 2,
                    "manifests": [{**layer(Digest.of(CONFIG), 2), "mediaType": OCI_MANIFEST}],
                }
            ),
            OCI_INDEX,
            400,
            "MANIFEST_INVALID",
        ),
        (
            encode({"schemaVersion": 2, "manifests": [layer(Digest.of(CONFIG), 2)]}),
            OCI_INDEX,
            400,
            "MANIFEST_INVALID",
        ),
    ],
)
def test_a_manifest_that_cannot_be_right_is_refused(
    api: ApiClient, store: Store, raw: bytes, kind: str, status: int, code: str
) -> None:
    api.push_blob("m", CONFIG)
    answer = api("PUT", "/v2/m/manifests/v1", raw, {"Content-Type": kind})
    assert (answer.status, answer.code) == (status, code), answer.body
    chunked = api("PUT", "/v2/m/manifests/v1", [raw], {"Content-Type": kind}) if raw else answer
    assert chunked.status == status
    assert store.models() == []
    assert api("GET", f"/v2/m/manifests/{Digest.of(raw)}").status == 404


def test_every_missing_blob_is_named(api: ApiClient) -> None:
    api.push_blob("m", CONFIG)
    raw = document(layers=[layer(OTHER, 5), layer(DIGEST, 5)])
    answer = api("PUT", "/v2/m/manifests/v1", raw, {"Content-Type": OCI_MANIFEST})
    assert [error["detail"]["digest"] for error in answer.json["errors"]] == [str(OTHER), str(DIGEST)]


def test_indexes_nested_too_deeply_are_refused(api: ApiClient) -> None:
    child = api.push("m", "v1", b"weights").descriptor
    answers = []
    for _ in range(7):
        index = Index.build([child])
        answers.append(api.put_manifest("m", str(index.descriptor.digest), index).status)
        child = index.descriptor
        api.push_blob("m", index.raw)
    assert answers == [201] * 4 + [400] * 3


def test_indexes_that_multiply_are_looked_into_once(api: ApiClient) -> None:
    """Each names the one within a thousand times."""
    child = api.push("m", "v1", b"weights").descriptor
    for _ in range(4):
        index = Index.build([child] * 1_000)
        assert api.put_manifest("m", str(index.descriptor.digest), index).status == 201
        child = index.descriptor
        api.push_blob("m", index.raw)


@pytest.mark.parametrize("ref", [str(OTHER), "sha256:abc"])
def test_a_manifest_under_another_digest_is_refused(api: ApiClient, ref: str) -> None:
    api.push_blob("m", CONFIG)
    answer = api("PUT", f"/v2/m/manifests/{ref}", document(), {"Content-Type": OCI_MANIFEST})
    assert answer.code == "DIGEST_INVALID"


@pytest.mark.parametrize("tag", [".hidden", "a" * 129, "a%20b", "-x", "%C3%A4"])
def test_a_malformed_tag_is_refused(api: ApiClient, tag: str) -> None:
    api.push_blob("m", CONFIG)
    answer = api("PUT", f"/v2/m/manifests/{tag}", document(), {"Content-Type": OCI_MANIFEST})
    assert answer.code == "MANIFEST_INVALID"


def test_the_content_type_of_a_manifest_may_be_missing_or_have_parameters(api: ApiClient) -> None:
    api.push_blob("m", CONFIG)
    for headers in ({}, {"Content-Type": f"{OCI_MANIFEST}; charset=utf-8"}):
        assert api("PUT", "/v2/m/manifests/v1", document(), headers).status == 201
    assert api("GET", "/v2/m/manifests/v1").headers["content-type"] == OCI_MANIFEST


def test_many_tags_are_pushed_at_once(api: ApiClient) -> None:
    manifest = api.push("m", "v0", b"weights")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: api.put_manifest("m", f"v{n}", manifest).status, range(32)))
    assert set(answers) == {201}
    assert len(api("GET", "/v2/m/tags/list").json["tags"]) == 32


def test_errors_are_json_of_the_specification(api: ApiClient) -> None:
    answer = api("GET", "/v2/m/manifests/v1")
    assert answer.headers["content-type"] == "application/json"
    [error] = json.loads(answer.body)["errors"]
    assert set(error) == {"code", "message"}
