"""Where the gateway is: options that `serve` and the commands which talk to it share."""

from __future__ import annotations

import functools
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from mrpack.cli.sections import section
from mrpack.cli.values import FILE
from mrpack.errors import NotFound, UsageError, from_os_error
from mrpack_runtime.wire.endpoint import DEFAULT_PORT, Endpoint, TcpEndpoint, UnixEndpoint

_GATEWAY: Final = "Gateway"
_options = section(
    _GATEWAY,
    click.option(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        show_default=True,
        envvar="MRPACK_HOST",
        show_envvar=True,
        help="The gateway's; commands that ask one take https://ADDRESS:PORT, too.",
    ),
    click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=DEFAULT_PORT,
        show_default=True,
        metavar="N",
        envvar="MRPACK_PORT",
        show_envvar=True,
        help="The gateway's port.",
    ),
    click.option(
        "--socket",
        type=FILE,
        metavar="PATH",
        envvar="MRPACK_SOCKET",
        show_envvar=True,
        help="A Unix socket, in place of address and port.",
    ),
    click.option(
        "--api-key-file",
        type=FILE,
        metavar="FILE",
        help="A file with API keys, one a line; nobody else may read it.",
    ),
)
# A name, or an address: of IPv6 with its zone, such as fe80::1%eth0.
_HOST: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\]|([\w.-]+|[0-9A-Fa-f:.]+(?:%\w+)?)")
_ca_file = section(
    _GATEWAY,
    click.option(
        "--ca-file", type=FILE, metavar="FILE", help="Trust this PEM file of certificates, and speak TLS."
    ),
)


def address_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function gets them as `endpoint` and `api_keys`."""

    @functools.wraps(function)
    def run(
        *args: Any, host: str, port: int, socket: Path | None, api_key_file: Path | None, **rest: Any
    ) -> None:
        endpoint: Endpoint = UnixEndpoint(socket.absolute()) if socket else TcpEndpoint(port, _host(host))
        keys = read_api_keys(api_key_file) if api_key_file else ()
        function(*args, endpoint=endpoint, api_keys=keys, **rest)

    return _options(run)


def _host(text: str) -> str:
    """Without the brackets that an IPv6 address has in URLs; a whole URL stays as it is."""
    if "://" in text:
        return text
    found = _HOST.fullmatch(text)
    if found is None:
        raise _no_address(text)
    return found[1] or found[2]


def client_options(function: Callable[..., None]) -> Callable[..., None]:
    """The function gets a `client` of the gateway; the first key is the one that is sent."""

    @address_options
    @_ca_file
    @functools.wraps(function)
    def run(
        *args: Any, endpoint: Endpoint, api_keys: tuple[str, ...], ca_file: Path | None, **rest: Any
    ) -> None:
        from mrpack_runtime.wire.client import GatewayClient, Tls  # noqa: PLC0415  # --help speaks no HTTP

        if ca_file is not None and not ca_file.is_file():
            raise NotFound(f"there is no file {ca_file}")
        tls = None
        if isinstance(endpoint, TcpEndpoint):
            scheme, endpoint = _split_url(endpoint)
            tls = Tls(ca_file) if scheme == "https" or ca_file else None
        function(*args, client=GatewayClient(endpoint, api_keys[0] if api_keys else None, tls=tls), **rest)

    return run


def _split_url(given: TcpEndpoint) -> tuple[str, TcpEndpoint]:
    """Scheme and address of what may be a URL; its port comes before the one that was given beside it."""
    if "://" not in given.host:
        return "", given
    try:
        url = urlsplit(given.host)
        port = given.port if url.port is None else url.port
    except ValueError as error:  # of the port, or of brackets
        raise _no_address(given.host) from error
    is_bare = url.path in {"", "/"} and not (url.query or url.fragment or url.username)
    name = url.hostname or ""
    if url.scheme not in {"http", "https"} or not _HOST.fullmatch(name) or not is_bare:
        raise _no_address(given.host)
    return url.scheme, TcpEndpoint(port, name)


def _no_address(text: str) -> UsageError:
    return UsageError(f"{text!r} is no address", hint="write NAME, https://NAME or https://NAME:PORT")


def read_api_keys(path: Path) -> tuple[str, ...]:
    """Keys of a file; empty lines and those that begin with # do not count.

    Raises:
        UsageError: others may read it, or it holds no key.
    """
    try:
        mode = path.stat().st_mode
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise from_os_error(error, "read the API keys") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not a text file") from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(f"others may read {path}", hint=f"chmod 600 {path}")
    keys = tuple(line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not keys:
        raise UsageError(f"{path} holds no key")
    return keys
