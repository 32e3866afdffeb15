"""Opening a connection: name lookup, the address rule, a proxy's tunnel, TLS."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Final

from mrpack.errors import (
    AccessDenied,
    HostRefused,
    MrpackError,
    RegistryUnavailable,
    UsageError,
    from_os_error,
)
from mrpack.registry.endpoints import origin_of
from mrpack.registry.framing import Wire
from mrpack.registry.proxies import Proxy, proxy_for
from mrpack.registry.reach import Reach, reach_of
from mrpack.registry.retry import NobodyThere, Transient
from mrpack.registry.settings import RegistrySettings
from mrpack.registry.url import Origin

# getaddrinfo failures that another try may not have.
_PASSING_LOOKUP_FAILURES: Final = frozenset({socket.EAI_AGAIN, socket.EAI_SYSTEM})
# What OpenSSL says when a server that speaks plain HTTP answers a TLS greeting.
_NOT_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_OUT_OF_HANDLES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


@dataclass(frozen=True, slots=True)
class Line:
    """An open connection. `proxy` is set when requests must be written for one (plain http only)."""

    sock: socket.socket
    reach: Reach
    proxy: Proxy | None = None


class Dialer:
    """Thread-safe."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._settings = settings
        self._unverified = {origin_of(registry, settings).host for registry in settings.skip_verify}
        self._contexts: dict[tuple[bool, bool], ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self._reached: set[tuple[str, int]] = set()

    def dial(self, origin: Origin, *, own: bool, nearest: Reach) -> Line:
        """`own`: it is a registry the user named, so it may see the client certificate.

        Raises:
            AccessDenied: every address lies nearer than `nearest`.
            Transient, RegistryUnavailable: not reached; the second when another try is pointless.
            NobodyThere: not reached, and never before.
        """
        proxy = proxy_for(origin, self._settings.proxies)
        place = (proxy.host, proxy.port) if proxy else (origin.host, origin.port)
        try:
            sock, reach = self._connect(*place, Reach.LOCAL if proxy else nearest)
        except OSError as error:
            raise _connect_failure(origin, proxy, error, known=place in self._reached) from error
        self._reached.add(place)
        reach = Reach.PUBLIC if proxy else reach
        try:
            if origin.scheme == "http":
                return Line(sock, reach, proxy)
            if proxy is not None:
                _open_tunnel(sock, origin, proxy, self._settings)
            return Line(self._secure(sock, origin, own=own), reach)
        except ssl.SSLCertVerificationError as error:
            sock.close()
            raise RegistryUnavailable(
                f"{origin}: its certificate is not trusted: {error.verify_message}",
                hint="give its authority with --ca-file",
            ) from error
        except (OSError, HTTPException) as error:
            sock.close()
            raise _tls_failure(origin, error) from error
        except BaseException:
            sock.close()
            raise

    def _connect(self, host: str, port: int, nearest: Reach) -> tuple[socket.socket, Reach]:
        """The checked address is the dialled one: a second lookup could answer otherwise."""
        refused = ""
        failure: OSError | None = None
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            numeric = str(address[0])
            reach = reach_of(numeric)
            if reach > nearest:
                refused = numeric
                continue
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(self._settings.connect_timeout_s)
                sock.connect(address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                sock.close()
                failure = error
            except BaseException:
                sock.close()
                raise
            else:
                return sock, reach
        if failure is not None:
            raise failure
        raise AccessDenied(
            f"{host} is {refused or 'no address'}, where the registry may not send us",
            hint="a token service can be allowed by token_realms in config.toml",
        )

    def _secure(self, sock: socket.socket, origin: Origin, *, own: bool) -> ssl.SSLSocket:
        context = self._context(verify=origin.host not in self._unverified, identify=own)
        sock.settimeout(self._settings.connect_timeout_s)
        return context.wrap_socket(sock, server_hostname=origin.host)

    def _context(self, *, verify: bool, identify: bool) -> ssl.SSLContext:
        identify = identify and self._settings.client_certificate is not None
        with self._lock:
            context = self._contexts.get((verify, identify))
            if context is None:
                context = _build_context(self._settings, verify=verify, identify=identify)
                self._contexts[verify, identify] = context
            return context


def _build_context(settings: RegistrySettings, *, verify: bool, identify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.ca_file is not None:
        with _reading(settings.ca_file):
            context.load_verify_locations(settings.ca_file)
    if identify and settings.client_certificate is not None:
        with _reading(settings.client_certificate, settings.client_key):
            context.load_cert_chain(settings.client_certificate, settings.client_key)
    return context


@contextmanager
def _reading(*files: Path | None) -> Iterator[None]:
    """The ssl module's errors do not say which file they are about."""
    names = " with ".join(str(file) for file in files if file is not None)
    try:
        yield
    except ssl.SSLError as error:
        raise UsageError(f"{names}: not usable as PEM certificate or key: {error.reason or error}") from error
    except OSError as error:
        raise from_os_error(error, f"read {names}") from error


def _open_tunnel(sock: socket.socket, origin: Origin, proxy: Proxy, settings: RegistrySettings) -> None:
    """CONNECT (RFC 9110, 9.3.6). The far side is silent until we begin TLS: nothing is read too far."""
    target = origin.host_and_port
    head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\nUser-Agent: {settings.user_agent}\r\n"
    if proxy.authorization is not None:
        head += f"Proxy-Authorization: {proxy.authorization.reveal()}\r\n"
    sock.sendall(f"{head}\r\n".encode("ascii"))
    answer = HTTPResponse(Wire(sock, settings.read_timeout_s), method="CONNECT")  # type: ignore[arg-type]
    answer.begin()
    status = answer.status
    answer.close()
    if status == 407:
        raise AccessDenied(f"the proxy {proxy.host}:{proxy.port} wants other credentials")
    if status // 100 != 2:
        raise Transient(f"the proxy {proxy.host}:{proxy.port} did not connect to {target}: status {status}")


def _connect_failure(origin: Origin, proxy: Proxy | None, error: OSError, *, known: bool) -> MrpackError:
    passing = Transient if known else NobodyThere
    place = f"the proxy {proxy.host}:{proxy.port}" if proxy else str(origin)
    if isinstance(error, socket.gaierror):
        kind = passing if error.errno in _PASSING_LOOKUP_FAILURES else RegistryUnavailable
        return kind(
            f"{place}: no address found for this name", hint="is the name right, and is there a network?"
        )
    if error.errno in _OUT_OF_HANDLES:
        return HostRefused(f"{place}: no socket left on this machine: {error.strerror}")
    hint = None if known else "is the address right, and does anything listen there?"
    if isinstance(error, TimeoutError):
        return passing(f"{place}: no connection in time", hint=hint)
    return passing(f"{place}: no connection: {error.strerror or error}", hint=hint)


def _tls_failure(origin: Origin, error: Exception) -> RegistryUnavailable:
    """Two sides that do not understand each other will not next time; a connection that broke may."""
    text = f"{origin}: no TLS connection: {error}"
    if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
        return RegistryUnavailable(text, hint="it may speak plain HTTP: try --plain-http")
    if type(error) is ssl.SSLError:
        return RegistryUnavailable(text)
    return Transient(text)
