"""Registries with ways of their own: one row each. What a registry tells by itself has no place here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRegistry:
    """All that mrpack does differently for one registry, and where that is written down.

    Attributes:
        hosts: names in references, as patterns. None for software that runs under any name: then only
            docs/registries.md shows the row.
        api_host: the server, when it is not the one in the name.
        token_services: hosts on other sites that may be shown its credentials.
        aliases: other names under which credential files know it; the first is the one to write.
        log_in: with what; for docs/registries.md, and the hint when credentials are missing or refused.
        on_missing: hint when a push finds no such repository.
        on_limit: hint for status 429.
    """

    name: str
    hosts: tuple[str, ...] = ()
    api_host: str | None = None
    token_services: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    log_in: str
    on_missing: str | None = None
    on_limit: str | None = None
    source: str


REGISTRIES: Final[Sequence[KnownRegistry]] = (
    KnownRegistry(
        name="Docker Hub",
        hosts=("docker.io",),
        api_host="registry-1.docker.io",
        token_services=("auth.docker.io",),
        # `docker login` keeps it under the address of an interface that is long gone.
        aliases=("https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"),
        log_in="your user name and a personal access token; the namespace is your user or organization",
        on_limit="anonymous pulls are limited: `mrpack login docker.io`, or set a mirror",
        source="https://docs.docker.com/docker-hub/usage/pulls/",
    ),
    KnownRegistry(
        name="GitHub",
        hosts=("ghcr.io",),
        log_in="a classic token with `write:packages`; in Actions `GITHUB_TOKEN` with `packages: write`",
        source="https://docs.github.com/packages/working-with-a-github-packages-registry/"
        "working-with-the-container-registry",
    ),
    KnownRegistry(
        name="GitLab.com",
        hosts=("registry.gitlab.com",),
        token_services=("gitlab.com",),
        log_in="a personal or deploy token; in CI `$CI_REGISTRY_USER` and `$CI_REGISTRY_PASSWORD`",
        source="https://docs.gitlab.com/user/packages/container_registry/"
        "authenticate_with_container_registry/",
    ),
    KnownRegistry(
        name="GitLab, your own",
        log_in="as GitLab.com; its token service is GitLab itself, which `token_realms` may have to name",
        source="https://docs.gitlab.com/administration/packages/container_registry/",
    ),
    KnownRegistry(
        name="Amazon ECR",
        hosts=("*.dkr.ecr.*.amazonaws.com", "*.dkr.ecr.*.amazonaws.com.cn"),
        log_in="user `AWS` and `aws ecr get-login-password`, good for 12 hours; or the helper `ecr-login`",
        on_missing="`aws ecr create-repository --repository-name NAME` comes before the first push",
        source="https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html",
    ),
    KnownRegistry(
        name="Amazon ECR Public",
        hosts=("public.ecr.aws",),
        log_in="user `AWS` and `aws ecr-public get-login-password --region us-east-1`, good for 12 hours",
        on_missing="`aws ecr-public create-repository --repository-name NAME` comes before the first push",
        source="https://docs.aws.amazon.com/AmazonECR/latest/public/public-registry-auth.html",
    ),
    KnownRegistry(
        name="Google Artifact Registry",
        hosts=("*-docker.pkg.dev", "gcr.io", "*.gcr.io"),
        log_in="user `oauth2accesstoken` and `gcloud auth print-access-token`, good for an hour; "
        "user `_json_key` and a service account's key file; or the helper `gcloud`",
        on_missing="`gcloud artifacts repositories create NAME --repository-format=docker` comes first",
        source="https://cloud.google.com/artifact-registry/docs/docker/authentication",
    ),
    KnownRegistry(
        name="Azure",
        hosts=("*.azurecr.io",),
        log_in="user `00000000-0000-0000-0000-000000000000` and `az acr login --expose-token`, "
        "good for 3 hours; or the helper `acr-env`",
        source="https://learn.microsoft.com/azure/container-registry/container-registry-authentication",
    ),
    KnownRegistry(
        name="Quay",
        hosts=("quay.io",),
        log_in="a robot account `ORG+NAME` and its token, or an encrypted password",
        source="https://docs.quay.io/glossary/robot-accounts.html",
    ),
    KnownRegistry(
        name="DigitalOcean",
        hosts=("registry.digitalocean.com",),
        token_services=("api.digitalocean.com",),
        log_in="an API token as user and as password",
        source="https://docs.digitalocean.com/products/container-registry/how-to/use-registry-docker-kubernetes/",
    ),
    KnownRegistry(
        name="Scaleway",
        hosts=("rg.*.scw.cloud",),
        token_services=("api.scaleway.com",),
        log_in="any user and a secret key",
        source="https://www.scaleway.com/en/docs/container-registry/how-to/connect-docker-cli/",
    ),
    KnownRegistry(
        name="Harbor",
        log_in="a robot account `robot$NAME`, or your CLI secret; the project has to exist",
        source="https://goharbor.io/docs/main/working-with-projects/project-configuration/create-robot-accounts/",
    ),
    KnownRegistry(
        name="Gitea, Zot, Artifactory, Nexus",
        log_in="your user, or a service account, and its token",
        source="https://docs.gitea.com/usage/packages/container",
    ),
)


def known_registry(registry: str) -> KnownRegistry | None:
    """The row of a registry as references name it, or of the server behind it."""
    host = registry.lower()
    for row in REGISTRIES:
        if host == row.api_host or any(fnmatchcase(host, pattern) for pattern in row.hosts):
            return row
    return None


def api_host(host: str) -> str:
    """The server of a registry: the host itself, mostly."""
    row = known_registry(host)
    return row.api_host if row and row.api_host else host


def may_see_credentials(registry_host: str, service_host: str) -> bool:
    """Whether a token service on another site is known to belong to the registry on that host."""
    row = known_registry(registry_host)
    return row is not None and service_host in row.token_services


def credential_keys(registry: str) -> tuple[str, ...]:
    """The names under which credential files may know it; the first is the one to write."""
    row = known_registry(registry)
    return (*row.aliases, registry) if row and registry in row.hosts else (registry,)
