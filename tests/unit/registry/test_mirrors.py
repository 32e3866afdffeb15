"""Mirrors and upstreams over TLS, each with settings of its own, as config.toml gives them."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.digest import Digest
from mrpack.environment import Proxies, load_settings
from mrpack.errors import RegistryUnavailable, TransferError
from mrpack.store.layout import OciLayout
from mrpack.verbs.inspect import inspect_remote
from mrpack.verbs.package import PackageRequest, package
from mrpack.verbs.transfer import copy, pull, push
from mrpack.workspace import Access, Workspace
from tests.fakes import registry_faults as faults
from tests.fakes.certificates import Authority, make_authority
from tests.fakes.other_tools import write_artifact
from tests.fakes.proxy import ForwardProxy
from tests.fakes.registry import FakeRegistry, Fault, Reply, Request
from tests.fakes.tiny_gguf import write_markov

REPOSITORY = "team/tiny"


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Authority]:
    return {name: make_authority(tmp_path_factory.mktemp(name)) for name in ("upstream", "mirror")}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_markov(tmp_path_factory.mktemp("model")).read_bytes()


@contextmanager
def workspace(folder: Path, config: str) -> Iterator[Workspace]:
    (folder / "config.toml").write_text(config)
    environ = {"MRPACK_CONFIG_HOME": str(folder), "MRPACK_HOME": str(folder / "home")}
    with Workspace(load_settings(environ)) as opened:
        yield opened


def test_a_mirror_has_its_own_authority_and_the_upstream_its_client_certificate(
    tmp_path: Path, authorities: dict[str, Authority], model: bytes
) -> None:
    """The mirror has the manifest alone: the weights come from the registry itself."""
    ours, theirs = authorities["upstream"], authorities["mirror"]
    with (
        FakeRegistry(ours.server_context(ssl.CERT_REQUIRED)) as upstream,
        FakeRegistry(theirs.server_context()) as mirror,
        workspace(
            tmp_path,
            f"""
            [registries."{upstream.address}"]
            mirrors = ["{mirror.address}"]
            ca_file = "{ours.ca_file}"
            client_cert = "{ours.certificate}"
            client_key = "{ours.key}"

            [registries."{mirror.address}"]
            ca_file = "{theirs.ca_file}"
            """,
        ) as opened,
    ):
        manifest = upstream.add(REPOSITORY, "v1", b"{}", model)
        mirror.add(REPOSITORY, "v1", b"{}", model)
        del mirror.blobs[REPOSITORY, str(manifest.layers[0].digest)]
        moved = pull(opened, f"{upstream.address}/{REPOSITORY}:v1")
        assert moved.digest == manifest.descriptor.digest
        assert mirror.seen("GET", "manifests")
        assert not upstream.seen("GET", "manifests")
        assert [request.name for request in upstream.seen("GET", "blobs")] == [str(manifest.layers[0].digest)]
        assert upstream.client_certificates > 0
        assert mirror.client_certificates == 0


def test_an_authority_of_the_upstream_is_not_one_of_its_mirror(
    tmp_path: Path, authorities: dict[str, Authority], model: bytes
) -> None:
    """The mirror is passed over, as any that fails."""
    ours, theirs = authorities["upstream"], authorities["mirror"]
    config = """
        [registries."{upstream}"]
        mirrors = ["{mirror}"]
        ca_file = "{ours}"
        [registries."{mirror}"]
        ca_file = "{ours}"
        """
    with FakeRegistry(ours.server_context()) as upstream, FakeRegistry(theirs.server_context()) as mirror:
        mirror.add(REPOSITORY, "v1", b"{}", model)
        manifest = upstream.add(REPOSITORY, "v1", b"{}", model)
        text = config.format(upstream=upstream.address, mirror=mirror.address, ours=ours.ca_file)
        with workspace(tmp_path, text) as opened:
            assert pull(opened, f"{upstream.address}/{REPOSITORY}:v1").digest == manifest.descriptor.digest
        assert not mirror.seen()
        assert upstream.seen("GET", "blobs")


def test_a_mirror_on_plain_http_stands_before_a_registry_with_tls(
    tmp_path: Path, authorities: dict[str, Authority], model: bytes
) -> None:
    """As pull-through caches and peer-to-peer proxies run beside their client."""
    ours = authorities["upstream"]
    with FakeRegistry(ours.server_context()) as upstream, FakeRegistry() as mirror:
        mirror.add(REPOSITORY, "v1", b"{}", model)
        text = (
            f'[registries."{upstream.address}"]\nmirrors = ["{mirror.address}"]\nca_file = "{ours.ca_file}"\n'
        )
        with workspace(tmp_path, text) as opened:
            pull(opened, f"{upstream.address}/{REPOSITORY}:v1")
            assert not upstream.seen()
            # What is said of the registry on the command line holds for no mirror.
            pull(opened, f"{upstream.address}/{REPOSITORY}:v1", access=Access(ca_file=ours.ca_file))
        assert not upstream.seen()


def test_a_registry_with_an_unknown_authority_is_refused(
    tmp_path: Path, authorities: dict[str, Authority]
) -> None:
    with FakeRegistry(authorities["upstream"].server_context()) as upstream:
        text = f'[registries."{upstream.address}"]\nca_file = "{authorities["mirror"].ca_file}"\n'
        with workspace(tmp_path, text) as opened, pytest.raises(TransferError) as caught:
            pull(opened, f"{upstream.address}/{REPOSITORY}:v1")
    assert isinstance(caught.value.cause, RegistryUnavailable)
    assert "certificate is not trusted" in str(caught.value)


@pytest.mark.parametrize("no_proxy", ["", "registry.test"])
def test_a_proxy_of_the_environment_leads_to_a_registry_with_its_own_authority(
    tmp_path: Path, authorities: dict[str, Authority], model: bytes, no_proxy: str
) -> None:
    ours = authorities["upstream"]
    with FakeRegistry(ours.server_context()) as upstream, ForwardProxy() as proxy:
        name = f"registry.test:{upstream.port}"
        manifest = upstream.add(REPOSITORY, "v1", b"{}", model)
        with workspace(tmp_path, f'[registries."{name}"]\nca_file = "{ours.ca_file}"\n') as opened:
            proxies = Proxies(https=f"http://{proxy.address}", no_proxy=no_proxy)
            with Workspace(replace(opened.settings, proxies=proxies)) as through:
                if no_proxy:
                    with pytest.raises(TransferError):
                        pull(through, f"{name}/{REPOSITORY}:v1")
                else:
                    assert pull(through, f"{name}/{REPOSITORY}:v1").digest == manifest.descriptor.digest
        assert bool(proxy.heads) == (not no_proxy)


def test_what_is_written_anew_comes_from_the_registry_when_its_mirror_is_wrong(
    tmp_path: Path, model: bytes
) -> None:
    def flip_weights(request: Request, reply: Reply) -> Reply:
        is_whole = reply.status == 200 and request.name == str(Digest.of(model))
        return faults.flip_last_byte(request, reply) if is_whole else reply

    with FakeRegistry() as upstream, FakeRegistry() as mirror:
        config = f'[registries."{upstream.address}"]\nmirrors = ["{mirror.address}"]\n'
        (source := tmp_path / "model.gguf").write_bytes(model)
        with workspace(tmp_path, config) as opened:
            package(opened, PackageRequest(source=source), "m")
            for place in (upstream, mirror):
                push(opened, "m", f"{place.address}/{REPOSITORY}:v1")
            mirror.fault(REPOSITORY, faults.on_blobs(flip_weights))
            anew = f"oci:{tmp_path / 'anew'}:v1"
            copied = copy(opened, f"{upstream.address}/{REPOSITORY}:v1", anew, dialect="cncf")
        assert upstream.seen("GET", "blobs")
    assert OciLayout(tmp_path / "anew").resolve("v1").digest == copied.digest


@pytest.mark.parametrize("tool", ["modelpack raw", "modelpack tar+gzip"])
@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(faults.flip_last_byte, id="other bytes"),
        pytest.param(faults.body(b"<html>"), id="a page"),
        pytest.param(faults.cut(100), id="cut"),
        pytest.param(faults.cut(0, "reset"), id="reset"),
    ],
)
def test_so_it_is_with_what_lies_in_archives(tmp_path: Path, model: bytes, tool: str, fault: Fault) -> None:
    write_artifact(tool, {"tiny.gguf": model}, tmp_path / "theirs", "v1")
    with FakeRegistry() as upstream, FakeRegistry() as mirror:
        config = f'[registries."{upstream.address}"]\nmirrors = ["{mirror.address}"]\n'
        with workspace(tmp_path, config) as opened:
            for place in (upstream, mirror):
                copy(opened, f"oci:{tmp_path}/theirs:v1", f"{place.address}/{REPOSITORY}:v1")
            # The first blob that is asked for is the config: the mirror is right about it.
            small = min(mirror.blobs, key=lambda key: len(mirror.blobs[key]))[1]
            mirror.fault(
                REPOSITORY,
                faults.on_blobs(
                    lambda request, reply: reply if request.name == small else fault(request, reply)
                ),
            )
            anew = f"oci:{tmp_path / 'anew'}:v1"
            copied = copy(opened, f"{upstream.address}/{REPOSITORY}:v1", anew, dialect="docker")
            assert inspect_remote(opened, anew).artifact.archives == ()
        assert upstream.seen("GET", "blobs")
    assert OciLayout(tmp_path / "anew").resolve("v1").digest == copied.digest
