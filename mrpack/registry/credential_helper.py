"""The programs `docker-credential-NAME`, which keep credentials outside of files."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, cast

from mrpack.errors import HostRefused, InvalidArtifact
from mrpack.oci.encoding import decode_object
from mrpack.registry.credential import Credential
from mrpack.registry.secret import Secret

if TYPE_CHECKING:
    import subprocess

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# A keychain may ask its user for a password.
_TIMEOUT_S: Final = 120.0
_ANSWER_LIMIT: Final = 1024 * 1024
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
    timeout_s: float = _TIMEOUT_S

    def get(self, server: str) -> Credential | None:
        """None when it has nothing for `server`. Raises HostRefused when it is missing or fails."""
        status, output = self._run("get", server.encode())
        if status != 0 and output.strip() == _NOT_FOUND:
            return None
        self._check("get", status)
        try:
            answer = decode_object(output, "answer", limit=_ANSWER_LIMIT)
        except InvalidArtifact:
            answer = {}
        username, secret = answer.get("Username"), answer.get("Secret")
        if not isinstance(username, str) or not isinstance(secret, str):
            raise self._garbled("get")
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
            process = subprocess.Popen(
                [program, verb],
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            raise HostRefused(f"{self._program} does not start: {error.strerror}") from error
        with process:
            try:
                output = _exchange(process, given, self.timeout_s)
            except (TimeoutError, subprocess.TimeoutExpired):
                raise HostRefused(
                    f"{self._program} {verb}: no answer within {self.timeout_s:.0f} s"
                ) from None
            finally:
                process.kill()
        if len(output) > _ANSWER_LIMIT:
            raise self._garbled(verb)
        return process.returncode, output

    def _garbled(self, verb: str) -> HostRefused:
        return HostRefused(f"{self._program}: its answer to {verb} is not understood")

    def _check(self, verb: str, status: int) -> None:
        if status != 0:
            raise HostRefused(f"{self._program} {verb} failed with status {status}")


def _exchange(process: subprocess.Popen[bytes], given: bytes, timeout_s: float) -> bytes:
    """What it answers until it ends, or a little more than may be. Raises TimeoutError, TimeoutExpired."""
    taking, giving = cast("IO[bytes]", process.stdin), cast("IO[bytes]", process.stdout)
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(BrokenPipeError):
        taking.write(given)
    taking.close()
    poll = select.poll()
    poll.register(giving, select.POLLIN)
    output = b""
    while len(output) <= _ANSWER_LIMIT:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        block = os.read(giving.fileno(), 65_536)
        if not block:
            process.wait(max(0.0, deadline - time.monotonic()))
            break
        output += block
    return output
