"""The programs `docker-credential-NAME`, which keep credentials outside of files."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Final

from mrpack.errors import HostRefused
from mrpack.registry.credential import Credential
from mrpack.registry.secret import Secret

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A keychain may ask its user for a password.
_TIMEOUT_S: Final = 120.0
# The user name under which an identity token is stored.
_TOKEN_USER: Final = "<token>"  # noqa: S105  # a marker
# How the protocol says "nothing stored": these bytes on stdout and a non-zero status
# (docker-credential-helpers, credentials/error.go).
_NOT_FOUND: Final = b"credentials not found in native keychain"


@dataclass(frozen=True, slots=True)
class CredentialHelper:
    """`search_path` is a PATH to look for the program in; None for the process's own."""

    name: str
    search_path: str | None = None

    def get(self, server: str) -> Credential | None:
        """None when it has nothing for `server`. Raises HostRefused when it is missing or fails."""
        status, output = self._run("get", server.encode())
        if status != 0 and output.strip() == _NOT_FOUND:
            return None
        self._check("get", status)
        try:
            answer = json.loads(output)
            username, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError):
            raise HostRefused(f"{self._program}: its answer to get is not understood") from None
        if not secret:
            return None
        if username == _TOKEN_USER:
            return Credential(identity_token=Secret(secret))
        return Credential(username=username, password=Secret(secret))

    def store(self, server: str, credential: Credential) -> None:
        if credential.identity_token:
            username, secret = _TOKEN_USER, credential.identity_token
        else:
            username, secret = credential.username, credential.password
        entry = {"ServerURL": server, "Username": username, "Secret": secret.reveal()}
        self._check("store", self._run("store", json.dumps(entry).encode())[0])

    def erase(self, server: str) -> None:
        """Idempotent."""
        status, output = self._run("erase", server.encode())
        if output.strip() != _NOT_FOUND:
            self._check("erase", status)

    @property
    def _program(self) -> str:
        return f"docker-credential-{self.name}"

    def _run(self, verb: str, given: bytes) -> tuple[int, bytes]:
        import shutil  # noqa: PLC0415  # most users have no helper
        import subprocess  # noqa: PLC0415  # same

        program = shutil.which(self._program, path=self.search_path) if _NAME.fullmatch(self.name) else None
        if program is None:
            raise HostRefused(
                f"the credential helper {self._program[:60]!r} is not installed",
                hint="the Docker config names it under credsStore or credHelpers",
            )
        try:
            done = subprocess.run(
                [program, verb], input=given, capture_output=True, timeout=_TIMEOUT_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise HostRefused(f"{self._program} {verb}: no answer within {_TIMEOUT_S:.0f} s") from None
        except OSError as error:
            raise HostRefused(f"{self._program} does not start: {error.strerror}") from error
        return done.returncode, done.stdout

    def _check(self, verb: str, status: int) -> None:
        if status != 0:
            raise HostRefused(f"{self._program} {verb} failed with status {status}")
