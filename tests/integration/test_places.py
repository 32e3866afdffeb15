"""Archives between mrpack and skopeo, and what belongs to an artifact in a real registry."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import oras.provider
import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.oci.manifest import Manifest
from mrpack.registry import RegistryTarget
from mrpack.registry.oras_target import OrasTarget
from tests.integration.conftest import PASSWORD, USER, Registry
from tests.integration.skopeo import Skopeo
from tests.program import Mrpack

pytestmark = pytest.mark.registry

TYPE = "application/spdx+json"
_numbers = itertools.count()


@pytest.fixture
def repository() -> str:
    return f"team/places-{os.getpid()}-{next(_numbers)}"


def test_skopeo_reads_what_is_exported(
    mrpack: Mrpack, skopeo: Skopeo, tiny_model: Path, tmp_path: Path
) -> None:
    mrpack("package", tiny_model, "tiny", "-q")
    digest = mrpack("export", "tiny", "tiny.tar").out.strip()
    assert json.loads(skopeo("inspect", "--raw", f"oci-archive:{tmp_path}/tiny.tar"))["layers"]
    skopeo.copy(f"oci-archive:{tmp_path}/tiny.tar:docker.io/ai/tiny:latest", f"oci:{tmp_path}/layout:v1")
    assert mrpack("inspect", "oci:layout:v1", "--json").json["digest"] == digest


def test_what_skopeo_writes_is_imported(
    mrpack: Mrpack,
    skopeo: Skopeo,
    anonymous_registry: Registry,
    repository: str,
    tiny_model: Path,
    tmp_path: Path,
) -> None:
    name = f"{anonymous_registry.name}/{repository}:v1"
    digest = mrpack("package", tiny_model, name, "--push").out.strip()
    for place in (f"oci-archive:{tmp_path}/named.tar:{name}", f"oci-archive:{tmp_path}/nameless.tar"):
        skopeo.copy(f"docker://{name}", place, "--preserve-digests")
    assert mrpack("import", "named.tar").out.split() == [name]
    assert mrpack("import", "nameless.tar", "team/tiny:v2").out.split() == ["docker.io/team/tiny:v2"]
    assert {row["digest"] for row in mrpack("list", "--json").json} == {digest}
    mrpack("copy", "oci-archive:nameless.tar", f"{anonymous_registry.name}/{repository}:v3", "-q")


def test_distribution_without_referrers_keeps_them_under_a_tag(
    mrpack: Mrpack, anonymous_registry: Registry, repository: str, tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "sbom.json").write_text("{}")
    name = f"{anonymous_registry.name}/{repository}:v1"
    subject = mrpack("package", tiny_model, name, "--push").out.strip()
    attached = mrpack("attach", "sbom.json", name, "--type", TYPE).out.strip()
    mrpack("attach", tiny_model, name, "--type", "example/other")
    (found,) = mrpack("referrers", name, "--type", TYPE, "--json").json["referrers"]
    assert found["digest"] == attached
    assert len(mrpack("referrers", name, "--json").json["referrers"]) == 2
    with anonymous_registry.session() as session:
        tags = RegistryTarget(session, anonymous_registry.name, repository).tags()
    assert tags == [subject.replace(":", "-"), "v1"]
    mrpack("pull", name, "--referrers", "-q")
    mrpack("push", name, f"{anonymous_registry.name}/{repository}-2:v1", "--referrers", "-q")
    again = mrpack("referrers", f"{anonymous_registry.name}/{repository}-2:v1", "--json").json
    assert len(again["referrers"]) == 2


@pytest.mark.parametrize("how", ["anonymous", "htpasswd", "token"])
def test_an_oras_client_is_a_target(how: str, request: pytest.FixtureRequest, repository: str) -> None:
    """Its own push would fail at the token registry: one token for all, and no other for another scope."""
    registry: Registry = request.getfixturevalue(f"{how}_registry")
    client = oras.provider.Registry(
        registry.name, insecure=True, auth_backend="basic" if how == "htpasswd" else "token"
    )
    if how != "anonymous":
        client.auth.set_basic_auth(USER, PASSWORD)
    target = OrasTarget(client, f"{registry.name}/{repository}")
    memory = MemoryTarget()
    config = memory.add("application/vnd.oci.empty.v1+json", b"{}")
    manifest = Manifest.build(config=config, layers=[memory.add("a/b", os.urandom(3_000_000))])
    memory.push_manifest(manifest.descriptor, manifest.raw, "v1")
    assert copy(memory, "v1", target, "v1", jobs=1) == manifest.descriptor
    back = MemoryTarget()
    assert copy(target, "v1", back, "v1", jobs=1).digest == manifest.descriptor.digest
    with registry.session() as session:
        ours = RegistryTarget(session, registry.name, repository)
        assert ours.resolve("v1").digest == manifest.descriptor.digest
    client.session.close()
