"""CredentialStore: Docker's config.json with its helper programs, and podman's auth.json."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from mrpack.errors import HostRefused, UsageError, from_os_error
from mrpack.registry.credential import Credential
from mrpack.registry.credential_helper import CredentialHelper
from mrpack.registry.known import credential_keys
from mrpack.registry.secret import Secret
from mrpack.store.durable import make_folder, sync_folder

_log = logging.getLogger(__name__)


class CredentialStore:
    """The credentials that Docker, podman and mrpack share on this machine.

    Looked up in this order: `given`, then Docker's config and the podman files; in each `credHelpers`, then
    `credsStore`, then `auths`. Files are read anew each time; nothing is kept here.
    """

    def __init__(
        self,
        docker_config: Path,
        *,
        podman_files: Sequence[Path] = (),
        search_path: str | None = None,
        given: Secret | None = None,
    ) -> None:
        """`docker_config` is the folder (`DOCKER_CONFIG`), `search_path` where helper programs are.

        `given` is what such a config would hold (`DOCKER_AUTH_CONFIG`); it is only read.
        """
        self._given = given
        self._file = docker_config / "config.json"
        self._podman_files = tuple(podman_files)
        self._search_path = search_path

    def get(self, registry: str, repository: str = "") -> Credential | None:
        """A helper that is missing or fails counts as empty, with a warning: public content needs none.

        Raises UsageError: a file that is not JSON.
        """
        given = _parse(self._given.reveal().encode(), "DOCKER_AUTH_CONFIG") if self._given else {}
        return _from_auths(given, registry, repository) or self._find_kept(registry, repository)

    def _find_kept(self, registry: str, repository: str) -> Credential | None:
        for document in self._documents():
            found = self._from_helper(document, registry) or _from_auths(document, registry, repository)
            if found is not None:
                return found
        return None

    def _documents(self) -> Iterator[dict[str, Any]]:
        yield _load(self._file)
        for file in self._podman_files:
            try:
                yield _load(file)
            except HostRefused as error:
                _log.warning("%s; going on without its credentials", error)

    def _from_helper(self, document: dict[str, Any], registry: str) -> Credential | None:
        helper = self._helper(document, registry)
        if helper is None:
            return None
        try:
            return helper.get(_server_key(registry))
        except HostRefused as error:
            _log.warning("%s; going on without its credentials", error)
            return None

    def put(self, registry: str, credential: Credential) -> str:
        """Store for all tools that share the config; returns where it went, for people.

        Atomic; keeps what it does not know; the file is 0600 afterwards.
        """
        helper = self._helper(_load(self._file), registry)
        if helper is not None:
            helper.store(_server_key(registry), credential)
            # docker login leaves an empty entry too: it shows which registries the helper knows.
            self._change(lambda auths: auths.update({_server_key(registry): {}}))
            return f"the credential helper {helper.name}"
        pair = f"{credential.username}:{credential.password.reveal()}".encode()
        entry = {"auth": base64.b64encode(pair).decode("ascii")}
        if credential.identity_token:
            entry["identitytoken"] = credential.identity_token.reveal()
        self._change(lambda auths: auths.update({_server_key(registry): entry}))
        return str(self._file)

    def erase(self, registry: str) -> bool:
        """Forget what Docker's config and helper have; False when there was nothing. Idempotent."""
        config = _load(self._file)
        known = self._find_kept(registry, "") is not None
        helper = self._helper(config, registry)
        if helper is not None:
            helper.erase(_server_key(registry))
        doomed = set(_keys(registry, "")) & set(_auths(config))
        if doomed:
            self._change(lambda auths: [auths.pop(key, None) for key in doomed])
        return known

    def _helper(self, config: dict[str, Any], registry: str) -> CredentialHelper | None:
        by_registry = config.get("credHelpers")
        name = None
        if isinstance(by_registry, dict):
            name = next((by_registry[key] for key in _keys(registry, "") if key in by_registry), None)
        name = name or config.get("credsStore")
        return CredentialHelper(name, self._search_path) if isinstance(name, str) and name else None

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        config = _load(self._file)
        auths = config.setdefault("auths", {})
        if not isinstance(auths, dict):
            raise UsageError(f"{self._file}: auths is not an object", hint="repair or remove it")
        change(auths)
        try:
            # A link, as dotfile collections make it, stays one.
            _write_private(self._file.resolve(), json.dumps(config, indent="\t", ensure_ascii=False) + "\n")
        except OSError as error:
            raise from_os_error(error, f"write {self._file}") from error


def _load(path: Path) -> dict[str, Any]:
    try:
        return _parse(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise from_os_error(error, f"read {path}") from error


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    try:
        content = json.loads(raw or b"{}")
    except (ValueError, RecursionError):
        raise UsageError(f"{where} is not JSON", hint="repair or remove it") from None
    if not isinstance(content, dict):
        raise UsageError(f"{where} is not a JSON object", hint="repair or remove it")
    return content


def _write_private(path: Path, text: str) -> None:
    make_folder(path.parent)
    aside = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(handle)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _server_key(registry: str) -> str:
    return credential_keys(registry)[0]


def _keys(registry: str, repository: str) -> Iterator[str]:
    """Under which a file may name `registry`: podman's `registry/namespace` first, then all spellings."""
    parts = repository.split("/") if repository else []
    for count in range(len(parts), 0, -1):
        yield "/".join([registry, *parts[:count]])
    for name in credential_keys(registry):
        yield name
        if "://" in name:
            continue
        for scheme in ("https", "http"):
            for path in ("", "/", "/v1/", "/v2/", "/v1", "/v2"):
                yield f"{scheme}://{name}{path}"


def _auths(document: dict[str, Any]) -> dict[str, Any]:
    auths = document.get("auths")
    return auths if isinstance(auths, dict) else {}


def _from_auths(document: dict[str, Any], registry: str, repository: str) -> Credential | None:
    auths = _auths(document)
    for key in _keys(registry, repository):
        entry = auths.get(key)
        found = _from_entry(entry, key) if isinstance(entry, dict) else None
        if found is not None:
            return found
    return None


def _from_entry(entry: dict[str, Any], key: str) -> Credential | None:
    def text(key: str) -> str:
        value = entry.get(key)
        return value if isinstance(value, str) else ""

    username, password = text("username"), text("password")
    if text("auth"):
        try:
            # Docker pads with NUL where it once encrypted.
            pair = base64.b64decode(text("auth"), validate=True).decode().rstrip("\0")
        except (binascii.Error, UnicodeDecodeError):
            raise UsageError(
                f"auths of the Docker config: the auth of {key} is not base64", hint="log in again"
            ) from None
        username, _, password = pair.partition(":")
    credential = Credential(
        username=username,
        password=Secret(password),
        identity_token=Secret(text("identitytoken")),
        registry_token=Secret(text("registrytoken")),
    )
    return credential if password or credential.identity_token or credential.registry_token else None
