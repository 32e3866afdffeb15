"""The table of registries with ways of their own, and what hangs on it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from mrpack.registry import CredentialStore, RegistrySettings
from mrpack.registry.endpoints import origin_of
from mrpack.registry.known import REGISTRIES, known_registry
from mrpack.registry.reach import Reach
from mrpack.registry.realms import judge_realm
from mrpack.registry.url import Url

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize(
    ("registry", "name"),
    [
        ("docker.io", "Docker Hub"),
        ("registry-1.docker.io", "Docker Hub"),
        ("ghcr.io", "GitHub"),
        ("123456789012.dkr.ecr.eu-central-1.amazonaws.com", "Amazon ECR"),
        ("europe-docker.pkg.dev", "Google Artifact Registry"),
        ("eu.gcr.io", "Google Artifact Registry"),
        ("team.azurecr.io", "Azure"),
        ("rg.fr-par.scw.cloud", "Scaleway"),
    ],
)
def test_a_registry_is_known_by_its_host(registry: str, name: str) -> None:
    row = known_registry(registry)
    assert row is not None
    assert row.name == name


@pytest.mark.parametrize(
    "registry",
    [
        "registry.example.com",
        "evil-ghcr.io",
        "ghcr.io.example.com",
        "docker.io:5000",
        "amazonaws.com",
        "127.0.0.1:5000",
    ],
)
def test_others_have_no_row(registry: str) -> None:
    assert known_registry(registry) is None


def test_the_documentation_has_the_table() -> None:
    rows = [f"| [{row.name}]({row.source}) | {row.log_in} |" for row in REGISTRIES]
    table = "\n".join(["| registry | log in with |", "|---|---|", *rows]) + "\n"
    assert table in (DOCS / "registries.md").read_text(), f"docs/registries.md has to hold\n{table}"


def test_every_row_says_where_that_is_written_down() -> None:
    assert all(row.source.startswith("https://") for row in REGISTRIES)
    patterns = [pattern for row in REGISTRIES for pattern in row.hosts]
    assert len(patterns) == len(set(patterns))


def test_the_name_of_docker_hub_is_not_that_of_its_server() -> None:
    assert str(origin_of("docker.io", RegistrySettings())) == "https://registry-1.docker.io"
    assert str(origin_of("ghcr.io", RegistrySettings())) == "https://ghcr.io"


@pytest.mark.parametrize("row", [row for row in REGISTRIES if row.token_services], ids=lambda row: row.name)
def test_credentials_go_to_the_token_services_of_the_table_and_to_no_other(row) -> None:
    registry = origin_of(row.hosts[0].replace("*", "x"), RegistrySettings())
    for service in row.token_services:
        assert judge_realm(Url.parse(f"https://{service}/token"), registry, Reach.PUBLIC, ()).credentials
    stranger = Url.parse("https://auth.example.net/token")
    assert not judge_realm(stranger, registry, Reach.PUBLIC, ()).credentials


@pytest.mark.parametrize(
    "key", ["https://index.docker.io/v1/", "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/"]
)
def test_docker_hub_is_found_under_any_of_its_names(tmp_path: Path, key: str) -> None:
    auth = base64.b64encode(b"me:secret").decode()
    (tmp_path / "config.json").write_text(json.dumps({"auths": {key: {"auth": auth}}}))
    found = CredentialStore(tmp_path).get("docker.io")
    assert found is not None
    assert found.username == "me"
