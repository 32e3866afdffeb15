"""Real registries: one process each of Distribution, in the five set-ups that people run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
import pytest

from mrpack.registry import (
    Credential,
    FixedCredentials,
    RegistrySession,
    RegistrySettings,
    Secret,
)
from tests.demands import demand
from tests.fakes.certificates import make_authority
from tests.fakes.distribution import PROGRAM, Distribution
from tests.fakes.token_server import ISSUER, SERVICE, TokenServer
from tests.integration.skopeo import Skopeo

USER, PASSWORD = "mallory", "correct horse: battery"


@dataclass(frozen=True)
class Registry:
    """A running registry, and how a user would have to talk to it."""

    name: str
    settings: RegistrySettings
    credentials: FixedCredentials
    process: Distribution

    def session(self) -> RegistrySession:
        return RegistrySession(self.settings, self.credentials)

    def anonymous(self) -> RegistrySession:
        return RegistrySession(self.settings)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """The file that exists once code of a model has run."""
    return tmp_path / "canary"


@pytest.fixture(scope="session")
def docker_registry() -> None:
    """Every test on a real registry asks for this: absent programs are loud, and fatal in CI."""
    demand("" if PROGRAM else "docker-registry is not installed")


@pytest.fixture
def skopeo(tmp_path: Path) -> Skopeo:
    return Skopeo(tmp_path / "skopeo")


@pytest.fixture(scope="session")
def anonymous_registry(docker_registry: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Distribution(tmp_path_factory.mktemp("anonymous")) as process:
        yield Registry(process.name, RegistrySettings(), FixedCredentials(), process)


@pytest.fixture(scope="session")
def htpasswd_registry(docker_registry: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("htpasswd")
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    (folder / "users").write_text(f"{USER}:{hashed}\n")
    auth = {"htpasswd": {"realm": "basic-realm", "path": str(folder / "users")}}
    with Distribution(folder, {"auth": auth}) as process:
        yield Registry(process.name, RegistrySettings(), _credentials(process), process)


@pytest.fixture(scope="session")
def token_server() -> Iterator[TokenServer]:
    with TokenServer({USER: PASSWORD}) as server:
        yield server


@pytest.fixture(scope="session")
def token_registry(
    docker_registry: None, token_server: TokenServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("token")
    auth = {
        "token": {
            "realm": token_server.realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(token_server.write_certificate(folder / "tokens.pem")),
        }
    }
    with Distribution(folder, {"auth": auth}) as process:
        trusted = {process.name: frozenset({f"127.0.0.1:{token_server.port}"})}
        settings = RegistrySettings(trusted_realms=trusted)
        yield Registry(process.name, settings, _credentials(process), process)


@pytest.fixture(scope="session")
def tls_registry(docker_registry: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    folder = tmp_path_factory.mktemp("tls")
    authority = make_authority(folder)
    tls = {"certificate": str(authority.certificate), "key": str(authority.key)}
    with Distribution(folder, {"http": {"tls": tls}}) as process:
        settings = RegistrySettings(ca_file=authority.ca_file)
        yield Registry(process.name, settings, FixedCredentials(), process)


@pytest.fixture(scope="session")
def pull_through_registry(
    anonymous_registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registry]:
    """Started after its upstream, which it asks at once."""
    proxy = {"remoteurl": f"http://{anonymous_registry.name}"}
    with Distribution(tmp_path_factory.mktemp("proxy"), {"proxy": proxy}) as process:
        yield Registry(process.name, RegistrySettings(), FixedCredentials(), process)


def _credentials(process: Distribution) -> FixedCredentials:
    return FixedCredentials({process.name: Credential(username=USER, password=Secret(PASSWORD))})
