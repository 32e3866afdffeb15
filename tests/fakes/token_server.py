"""A token service as Distribution expects one: RS256 tokens for the scopes that were asked for."""

from __future__ import annotations

import base64
import datetime as dt
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

ISSUER = "mrpack test tokens"
SERVICE = "test registry"


@dataclass(frozen=True)
class Grant:
    """One request for a token, as the server saw it."""

    method: str
    user: str | None
    scopes: tuple[str, ...]


@dataclass
class TokenServer:
    """Gives everybody `pull`, and known users what they ask for. Refresh token: `refresh-USER`."""

    users: Mapping[str, str]
    life_s: int = 300
    grants: list[Grant] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.certificate = _self_signed(self._key)
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                user, password = _basic(self.headers.get("Authorization"))
                query = parse_qs(urlsplit(self.path).query)
                allowed = user is None or server.users.get(user) == password
                self._reply("GET", user, allowed, query)

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                user = form.get("refresh_token", [""])[0].removeprefix("refresh-")
                allowed = form.get("grant_type") == ["refresh_token"] and user in server.users
                form["scope"] = form.get("scope", [""])[0].split()
                self._reply("POST", user, allowed, form)

            def _reply(
                self, method: str, user: str | None, allowed: bool, asked: dict[str, list[str]]
            ) -> None:
                scopes = tuple(asked.get("scope", []))
                server.grants.append(Grant(method, user, scopes))
                if not allowed or asked.get("service") != [SERVICE]:
                    status, answer = 401, {"details": "no"}
                else:
                    token = server.token(user, scopes)
                    name = "token" if method == "GET" else "access_token"
                    status, answer = 200, {name: token, "expires_in": server.life_s}
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self.realm = f"http://127.0.0.1:{self.port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def token(self, user: str | None, scopes: tuple[str, ...]) -> str:
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":", 2)
            granted = [action for action in actions.split(",") if user is not None or action == "pull"]
            access.append({"type": kind, "name": name, "actions": granted})
        claims = {
            "iss": ISSUER,
            "aud": SERVICE,
            "sub": user or "",
            "iat": now,
            "nbf": now - 10,
            "exp": now + self.life_s,
            "jti": str(len(self.grants)),
            "access": access,
        }
        der = self.certificate.public_bytes(serialization.Encoding.DER)
        return jwt.encode(claims, self._key, "RS256", headers={"x5c": [base64.b64encode(der).decode()]})

    def write_certificate(self, path: Path) -> Path:
        path.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return path

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


def _basic(header: str | None) -> tuple[str | None, str]:
    if header is None:
        return None, ""
    user, _, password = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
    return user, password


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
