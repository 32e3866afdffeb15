"""Verbs on credentials: login and logout."""

from __future__ import annotations

from mrpack.errors import UsageError
from mrpack.oci.reference import Reference
from mrpack.registry import RegistrySession
from mrpack.registry.credential import Credential, FixedCredentials
from mrpack.registry.secret import Secret
from mrpack.workspace import Access, Workspace


def login(
    workspace: Workspace, registry: str, username: str, password: str, access: Access | None = None
) -> str:
    """Try the credentials at the registry, then keep them; returns where, for people.

    Raises:
        AccessDenied: the registry refuses them; nothing was kept.
    """
    name = _registry_name(registry)
    credential = Credential(username=username, password=Secret(password))
    settings = workspace.session(name, access).settings
    with RegistrySession(settings, FixedCredentials({name: credential})) as session:
        session.check(name)
    return workspace.credentials.put(name, credential)


def logout(workspace: Workspace, registry: str) -> bool:
    """False when nothing was known. Idempotent."""
    return workspace.credentials.erase(_registry_name(registry))


def _registry_name(text: str) -> str:
    """The registry alone, as references write it."""
    name = text.removeprefix("https://").removeprefix("http://").rstrip("/")
    if "/" in name or Reference.parse(f"{name}/x").registry != name:
        raise UsageError(f"bad registry {text!r}", hint="write HOST or HOST:PORT")
    return name
