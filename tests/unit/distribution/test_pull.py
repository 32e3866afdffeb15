"""Reading from a served layout, request by request as distribution-spec 1.1 has it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.distribution import serving
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index, Manifest
from mrpack.oci.mediatypes import OCI_INDEX, OCI_MANIFEST
from mrpack.store.layout import OciLayout
from tests.fakes.api_client import ApiClient, describe

BLOB = bytes(range(256)) * 8
UNKNOWN = describe(b"nobody has this").digest


@pytest.fixture
def layout(tmp_path: Path) -> OciLayout:
    return OciLayout(tmp_path / "store")


@pytest.fixture
def manifest(layout: OciLayout) -> Manifest:
    """`docker.io/ai/smollm2` with the tags `latest`, `a`, `b` and `c`."""
    memory = MemoryTarget()
    config = memory.add("application/vnd.docker.ai.model.config.v0.1+json", b"{}")
    made = Manifest.build(config=config, layers=[memory.add("application/vnd.docker.ai.gguf.v3", BLOB)])
    memory.push_manifest(made.descriptor, made.raw, "m")
    for tag in ("latest", "c", "b", "a"):
        copy(memory, "m", layout, f"docker.io/ai/smollm2:{tag}")
    return made


@pytest.fixture
def api(layout: OciLayout) -> Iterator[ApiClient]:
    with serving(layout) as address:
        yield ApiClient(address)


@pytest.fixture
def writer(layout: OciLayout) -> Iterator[ApiClient]:
    with serving(layout, writable=True) as address:
        yield ApiClient(address)


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_the_api_says_that_it_is_there(api: ApiClient, path: str) -> None:
    answer = api("GET", path)
    assert answer.status == 200
    assert answer.headers["docker-distribution-api-version"] == "registry/2.0"


def test_a_manifest_comes_by_tag_and_by_digest_as_its_very_bytes(api: ApiClient, manifest: Manifest) -> None:
    digest = manifest.descriptor.digest
    for ref in ("latest", str(digest), str(digest).replace(":", "%3A")):
        for headers in ({}, {"Accept": "application/json"}, {"Accept": OCI_MANIFEST}):
            answer = api("GET", f"/v2/ai/smollm2/manifests/{ref}", headers=headers)
            assert answer.status == 200
            assert answer.body == manifest.raw
            assert answer.headers["content-type"] == OCI_MANIFEST
            assert answer.headers["docker-content-digest"] == str(digest)


def test_head_says_what_get_gives(api: ApiClient, manifest: Manifest) -> None:
    for path in ("/v2/ai/smollm2/manifests/latest", f"/v2/x/blobs/{manifest.layers[0].digest}"):
        got, said = api("GET", path), api("HEAD", path)
        assert said.status == 200
        assert said.body == b""
        assert dict(said.headers, date="") == dict(got.headers, date="")
        assert said.headers["content-length"] == str(len(got.body))


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/ai/smollm2/manifests/nope", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/ai/smollm2/manifests/{UNKNOWN}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/ai/smollm2/manifests/.bad-tag", 404, "MANIFEST_UNKNOWN"),
        ("/v2/ai/smollm2/manifests/sha256:short", 404, "MANIFEST_UNKNOWN"),
        ("/v2/nobody/knows/manifests/latest", 404, "NAME_UNKNOWN"),
        (f"/v2/nobody/knows/manifests/{UNKNOWN}", 404, "NAME_UNKNOWN"),
        ("/v2/nobody/knows/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/ai/smollm2/blobs/{UNKNOWN}", 404, "BLOB_UNKNOWN"),
        ("/v2/ai/smollm2/blobs/sha256:short", 400, "DIGEST_INVALID"),
        (f"/v2/ai/smollm2/blobs/{str(UNKNOWN).upper()}", 400, "DIGEST_INVALID"),
        ("/v2/ai/smollm2/blobs/md5:d41d8cd98f00b204e9800998ecf8427e", 400, "DIGEST_INVALID"),
        ("/v2/ai/smollm2/referrers/sha256:short", 400, "DIGEST_INVALID"),
        ("/v2/AI/smollm2/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/ai//smollm2/manifests/latest", 400, "NAME_INVALID"),
        ("/v2/ai/smollm2/tags/list?n=many", 400, "UNSUPPORTED"),
        ("/v2/ai/smollm2/tags/list?n=-1", 400, "UNSUPPORTED"),
        ("/v2/ai/smollm2/manifests/latest?ns=a/b", 400, "NAME_INVALID"),
        ("/v2/ai/smollm2/manifests/latest?ns=a%0d%0ab", 400, "NAME_INVALID"),
        ("/v2/ai/smollm2/manifests/latest?ns=other.example.com", 404, "NAME_UNKNOWN"),
        ("/v2/ai/smollm2/nothing", 404, "UNSUPPORTED"),
        ("/", 404, "UNSUPPORTED"),
        ("/v1/", 404, "UNSUPPORTED"),
    ],
)
def test_what_is_not_there_has_its_code(
    api: ApiClient, manifest: Manifest, path: str, status: int, code: str
) -> None:
    answer = api("GET", path)
    assert (answer.status, answer.code) == (status, code), answer


@pytest.mark.parametrize(
    "path",
    [
        "/v2/../../etc/passwd",
        "/v2/..%2f..%2f..%2fetc/manifests/passwd",
        "/v2/a/../../../blobs/sha256:../../../../etc/passwd",
        "/v2/a/blobs/sha256:..%2f..%2f..%2findex.json",
        "/v2/a/blobs/..%2f..%2foci-layout",
        "/v2/a/manifests/..%2f..%2findex.json",
        "/v2/a/manifests/%2fetc%2fpasswd",
        "/v2/a/blobs/sha256:%00",
        "/v2/a%00b/tags/list",
        "/v2/a/blobs/uploads/..%2f..%2findex.json",
        "/oci-layout",
        "/v2/%2e%2e/%2e%2e/tags/list",
    ],
)
def test_hostile_paths_lead_nowhere(writer: ApiClient, manifest: Manifest, path: str) -> None:
    for method in ("GET", "HEAD", "DELETE", "PUT", "PATCH"):
        answer = writer(method, path)
        assert 400 <= answer.status < 500
        assert b"imageLayoutVersion" not in answer.body
        assert b"root:" not in answer.body


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-0", 206, 0, 1),
        ("bytes=0-99", 206, 0, 100),
        ("bytes=100-", 206, 100, 2048),
        ("bytes=-5", 206, 2043, 2048),
        ("bytes=-9999", 206, 0, 2048),
        ("bytes=2000-9999", 206, 2000, 2048),
        ("bytes=2047-2047", 206, 2047, 2048),
        ("bytes=0-2047", 206, 0, 2048),
        ("bytes=2048-", 416, 0, 0),
        ("bytes=9999-99999", 416, 0, 0),
        ("bytes=-0", 416, 0, 0),
        # What is malformed, or more than one range, is passed over, as RFC 9110 has it.
        ("bytes=5-4", 200, 0, 2048),
        ("bytes=-", 200, 0, 2048),
        ("bytes=a-b", 200, 0, 2048),
        ("bytes=0-1,5-6", 200, 0, 2048),
        ("lines=0-1", 200, 0, 2048),
        ("bytes=" + "9" * 5000 + "-", 200, 0, 2048),
    ],
)
def test_parts_of_a_blob(
    api: ApiClient, manifest: Manifest, asked: str, status: int, start: int, end: int
) -> None:
    answer = api("GET", f"/v2/ai/smollm2/blobs/{manifest.layers[0].digest}", headers={"Range": asked})
    assert answer.status == status
    if status == 416:
        assert answer.headers["content-range"] == "bytes */2048"
        return
    assert answer.body == BLOB[start:end]
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/2048"


def test_a_client_that_has_the_content_gets_no_body(api: ApiClient, manifest: Manifest) -> None:
    for path in ("/v2/ai/smollm2/manifests/latest", f"/v2/x/blobs/{manifest.layers[0].digest}"):
        tag = api("HEAD", path).headers["etag"]
        for given in (tag, f'"other", W/{tag}', "*"):
            answer = api("GET", path, headers={"If-None-Match": given})
            assert (answer.status, answer.body) == (304, b"")
            assert answer.headers["etag"] == tag
        assert api("GET", path, headers={"If-None-Match": '"other"'}).status == 200


def test_a_range_of_another_version_is_not_given(api: ApiClient, manifest: Manifest) -> None:
    digest = manifest.layers[0].digest
    path = f"/v2/x/blobs/{digest}"
    assert api("GET", path, headers={"Range": "bytes=1-2", "If-Range": f'"{digest}"'}).status == 206
    assert api("GET", path, headers={"Range": "bytes=1-2", "If-Range": '"old"'}).body == BLOB


def test_tags_come_in_pages(api: ApiClient, manifest: Manifest) -> None:
    path = "/v2/ai/smollm2/tags/list"
    assert api("GET", path).json == {"name": "ai/smollm2", "tags": ["a", "b", "c", "latest"]}
    first = api("GET", f"{path}?n=2")
    assert first.json["tags"] == ["a", "b"]
    assert first.headers["link"] == '</v2/ai/smollm2/tags/list?n=2&last=b>; rel="next"'
    second = api("GET", f"{path}?n=2&last=b")
    assert second.json["tags"] == ["c", "latest"]
    assert "link" not in second.headers
    assert api("GET", f"{path}?last=c").json["tags"] == ["latest"]
    empty = api("GET", f"{path}?n=0")
    assert empty.json["tags"] == []
    assert "link" not in empty.headers


def test_repositories_come_in_pages(writer: ApiClient) -> None:
    for name in ("b/m", "a/m", "c"):
        writer.push(name, "v1")
    assert writer("GET", "/v2/_catalog").json == {"repositories": ["a/m", "b/m", "c"]}
    page = writer("GET", "/v2/_catalog?n=1&last=a/m")
    assert page.json == {"repositories": ["b/m"]}
    assert page.headers["link"] == '</v2/_catalog?n=1&last=b%2Fm>; rel="next"'


def test_an_empty_store_that_does_not_exist_yet_is_served(tmp_path: Path) -> None:
    with serving(OciLayout(tmp_path / "nothing")) as address:
        assert ApiClient(address)("GET", "/v2/_catalog").json == {"repositories": []}
    assert not (tmp_path / "nothing").exists()


def test_what_another_process_adds_is_seen_at_once(
    layout: OciLayout, api: ApiClient, manifest: Manifest
) -> None:
    assert api("HEAD", "/v2/ai/smollm2/manifests/new").status == 404
    OciLayout(layout.root).tag(manifest.descriptor, "docker.io/ai/smollm2:new")
    assert api("HEAD", "/v2/ai/smollm2/manifests/new").status == 200


def test_damaged_content_is_as_good_as_gone(layout: OciLayout, api: ApiClient, manifest: Manifest) -> None:
    path = layout.blobs.path(manifest.descriptor.digest)
    path.chmod(0o644)
    path.write_bytes(manifest.raw.replace(b"1", b"2", 1))
    assert api("GET", "/v2/ai/smollm2/manifests/latest").code == "MANIFEST_UNKNOWN"


def test_a_symbolic_link_among_the_blobs_is_not_followed(
    layout: OciLayout, api: ApiClient, manifest: Manifest, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    os.symlink(tmp_path / "secret", layout.blobs.path(UNKNOWN))
    assert api("GET", f"/v2/x/blobs/{UNKNOWN}").code == "BLOB_UNKNOWN"


# Referrers.


def test_referrers_of_a_manifest_are_listed_with_type_and_annotations(writer: ApiClient) -> None:
    model = writer.push("team/m", "v1", b"weights").descriptor
    signature = writer.push(
        "team/m",
        "",
        b"signature",
        subject=model,
        artifact_type="application/vnd.sig",
        annotations={"by": "me"},
    )
    bill = writer.push("team/m", "bill", b"sbom", subject=model)
    answer = writer("GET", f"/v2/team/m/referrers/{model.digest}")
    assert answer.status == 200
    assert answer.headers["content-type"] == OCI_INDEX
    assert "oci-filters-applied" not in answer.headers
    found = {item.digest: item for item in Index.parse(answer.body).manifests}
    assert found.keys() == {signature.descriptor.digest, bill.descriptor.digest}
    one = found[signature.descriptor.digest]
    assert (one.artifact_type, dict(one.annotations)) == ("application/vnd.sig", {"by": "me"})
    assert found[bill.descriptor.digest].artifact_type == bill.config.media_type


def test_referrers_are_filtered_and_paged(writer: ApiClient) -> None:
    model = writer.push("team/m", "v1", b"weights").descriptor
    for number in range(3):
        kind = "application/vnd.a" if number else "application/vnd.b"
        writer.push("team/m", "", b"%d" % number, subject=model, artifact_type=kind)
    path = f"/v2/team/m/referrers/{model.digest}"
    filtered = writer("GET", f"{path}?artifactType=application/vnd.a")
    assert filtered.headers["oci-filters-applied"] == "artifactType"
    assert len(Index.parse(filtered.body).manifests) == 2
    seen: list[Descriptor] = []
    following = f"{path}?n=2"
    while following:
        answer = writer("GET", following)
        seen += Index.parse(answer.body).manifests
        following = answer.headers.get("link", "").partition(">")[0].removeprefix("<")
    assert len({item.digest for item in seen}) == len(seen) == 3


@pytest.mark.parametrize("repository", ["team/m", "nobody/knows"])
def test_no_referrers_are_an_empty_list_and_not_404(writer: ApiClient, repository: str) -> None:
    writer.push("team/m", "v1", b"weights")
    answer = writer("GET", f"/v2/{repository}/referrers/{UNKNOWN}")
    assert answer.status == 200
    assert Index.parse(answer.body).manifests == ()


def test_referrers_under_the_fallback_tag_are_listed_too(writer: ApiClient) -> None:
    model = writer.push("team/m", "v1", b"weights").descriptor
    signature = writer.push("team/m", "", b"signature", subject=model).descriptor
    index = Index.build([signature])
    assert writer.put_manifest("team/m", str(model.digest).replace(":", "-"), index).status == 201
    answer = writer("GET", f"/v2/team/m/referrers/{model.digest}")
    assert [item.digest for item in Index.parse(answer.body).manifests] == [signature.digest]
