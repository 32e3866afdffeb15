"""The program against real registries: as a user types it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import PASSWORD, USER, Registry
from tests.integration.skopeo import Skopeo
from tests.ports import closed_port
from tests.program import Mrpack

pytestmark = pytest.mark.registry


def docker_login(home: Path, registry: str) -> None:
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (home / ".docker").mkdir()
    (home / ".docker" / "config.json").write_text(json.dumps({"auths": {registry: {"auth": auth}}}))


def test_push_pull_and_straight_from_the_file(
    mrpack: Mrpack, tiny_model: Path, anonymous_registry: Registry, tmp_path: Path
) -> None:
    name = f"{anonymous_registry.name}/cli/tiny:v1"
    digest = mrpack("package", tiny_model, "tiny").out
    assert mrpack("push", "tiny", name).out == digest
    assert mrpack("package", tiny_model, name, "--push").out == digest
    assert mrpack("inspect", "--remote", name, "--json").json["digest"] == digest.strip()
    other = {"MRPACK_HOME": str(tmp_path / "other")}
    assert mrpack("pull", name, **other).out == digest
    again = mrpack("pull", name, "--progress", "plain", **other)
    assert again.out == digest
    assert again.err.count("existing") == 2
    assert mrpack("verify", **other).code == 0
    path = mrpack("resolve", "tiny", **other).out.strip()
    assert Path(path).read_bytes() == tiny_model.read_bytes()
    by_digest = f"{anonymous_registry.name}/cli/tiny@{digest.strip()}"
    assert mrpack("pull", by_digest, MRPACK_HOME=str(tmp_path / "third")).out == digest


def test_skopeo_carries_our_artifact_out_and_in_again(
    mrpack: Mrpack, skopeo: Skopeo, tiny_model: Path, anonymous_registry: Registry, tmp_path: Path
) -> None:
    digest = mrpack("package", tiny_model, "tiny:v1").out.strip()
    store = tmp_path / "home" / ".local" / "share" / "mrpack" / "store"
    name = f"{anonymous_registry.name}/skopeo/tiny:v1"
    skopeo.copy(f"oci:{store}:docker.io/ai/tiny:v1", f"docker://{name}")
    skopeo.copy(f"docker://{name}", f"oci:{tmp_path}/out:v1")
    assert mrpack("inspect", f"oci:{tmp_path}/out:v1", "--json").json["digest"] == digest
    assert mrpack("pull", name, MRPACK_HOME=str(tmp_path / "other")).out.strip() == digest
    assert (
        mrpack("copy", f"oci:{tmp_path}/out:v1", f"{anonymous_registry.name}/skopeo/back:v1").out.strip()
        == digest
    )


def test_what_oras_pushed_is_pulled(
    mrpack: Mrpack,
    tiny_model: Path,
    anonymous_registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import oras.client

    monkeypatch.chdir(tiny_model.parent)
    name = f"{anonymous_registry.name}/oras/tiny:v1"
    config = tmp_path / "config.json"
    config.write_text('{"config":{"format":"gguf"},"descriptor":{},"rootfs":{"type":"rootfs","diff_ids":[]}}')
    oras.client.OrasClient(insecure=True).push(
        target=name,
        files=[f"{tiny_model.name}:application/vnd.docker.ai.gguf.v3"],
        manifest_config=f"{config}:application/vnd.docker.ai.model.config.v0.1+json",
        disable_path_validation=True,
    )
    mrpack("pull", name)
    path = Path(mrpack("resolve", "tiny").out.strip())
    assert path.name == tiny_model.name
    assert path.read_bytes() == tiny_model.read_bytes()


def test_login_checks_keeps_and_forgets(
    mrpack: Mrpack, tiny_model: Path, htpasswd_registry: Registry, home: Path
) -> None:
    registry = htpasswd_registry.name
    name = f"{registry}/cli/tiny:v1"
    mrpack("package", tiny_model, "tiny")
    denied = mrpack("push", "tiny", name, fails=4)
    assert f"mrpack login {registry}" in denied.last_line
    wrong = mrpack("login", registry, "-u", USER, "--password-stdin", stdin="wrong\n", fails=4)
    assert "wrong" not in wrong.err.replace("wrong\n", "", 0).replace("or the name is wrong", "")
    assert not (home / ".docker" / "config.json").exists()
    mrpack("login", registry, "-u", USER, "--password-stdin", stdin=f"{PASSWORD}\n")
    config = home / ".docker" / "config.json"
    assert config.stat().st_mode & 0o777 == 0o600
    mrpack("push", "tiny", name)
    mrpack("pull", name)
    mrpack("logout", registry)
    assert mrpack("pull", name, fails=4).out == ""


def test_tokens_of_a_server_the_user_trusts(
    mrpack: Mrpack, tiny_model: Path, token_registry: Registry, home: Path
) -> None:
    registry = token_registry.name
    docker_login(home, registry)
    realms = sorted(token_registry.settings.trusted_realms[registry])
    (home / "config.toml").write_text(f'[registries."{registry}"]\ntoken_realms = {json.dumps(realms)}\n')
    settings = {"MRPACK_CONFIG_HOME": str(home)}
    digest = mrpack("package", tiny_model, "tiny").out
    mrpack("push", "tiny", f"{registry}/cli/tiny:v1", **settings)
    assert mrpack("pull", f"{registry}/cli/tiny:v1", **settings).out == digest


def test_a_private_authority_is_named_by_flag_or_settings(
    mrpack: Mrpack, tiny_model: Path, tls_registry: Registry, home: Path
) -> None:
    registry = tls_registry.name
    ca_file = str(tls_registry.settings.ca_file)
    mrpack("package", tiny_model, "tiny")
    mrpack("push", "tiny", f"{registry}/cli/tiny:v1", "--ca-file", ca_file)
    (home / "config.toml").write_text(f'[registries."{registry}"]\nca_file = "{ca_file}"\n')
    mrpack("pull", f"{registry}/cli/tiny:v1", MRPACK_CONFIG_HOME=str(home))
    assert mrpack("pull", f"{registry}/cli/tiny:v1", fails=5).out == ""


def test_a_pull_through_registry_is_a_mirror(
    mrpack: Mrpack, tiny_model: Path, anonymous_registry: Registry, pull_through_registry: Registry
) -> None:
    digest = mrpack("package", tiny_model, f"{anonymous_registry.name}/mirrored/tiny:v1", "--push").out
    assert mrpack("pull", f"{pull_through_registry.name}/mirrored/tiny:v1").out == digest
    refused = mrpack(
        "package", tiny_model, f"{pull_through_registry.name}/mirrored/tiny:v2", "--push", fails=8
    )
    assert pull_through_registry.name in refused.last_line


def test_what_is_not_there_is_said_in_one_line(
    mrpack: Mrpack, tiny_model: Path, anonymous_registry: Registry
) -> None:
    mrpack("package", tiny_model, "tiny")
    name = f"{anonymous_registry.name}/cli/no-such-model:v9"
    assert name.rpartition(":")[0] in mrpack("pull", name, fails=3).last_line
    with closed_port() as port:
        unreachable = mrpack("push", "tiny", f"127.0.0.1:{port}/x/y:v1", fails=5)
    assert f"127.0.0.1:{port}" in unreachable.last_line


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 256 KiB in a mount namespace of its own would hide it from us, so it is mounted for real."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a small tmpfs needs root")
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no tmpfs here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_is_said_and_leaves_nothing_half(
    mrpack: Mrpack, tiny_model: Path, anonymous_registry: Registry, small_disk: Path
) -> None:
    name = f"{anonymous_registry.name}/full/tiny:v1"
    mrpack("package", tiny_model, name, "--push")
    done = mrpack("pull", name, fails=8, MRPACK_HOME=str(small_disk))
    assert "free" in done.last_line
    assert mrpack("package", tiny_model, "tiny", fails=8, MRPACK_HOME=str(small_disk)).out == ""
    assert mrpack("list", "--json", MRPACK_HOME=str(small_disk)).json == []
