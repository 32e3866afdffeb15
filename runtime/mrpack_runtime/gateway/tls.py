"""TLS on the listening side, with a certificate that the user gives."""

from __future__ import annotations

import ssl
import stat
from pathlib import Path

from mrpack.errors import HostRefused, UsageError, from_os_error


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For PEM files; `certificate` may hold the chain, too. TLS 1.2 and later, HTTP/1.1 alone.

    Raises:
        UsageError: everybody may read the key, or the files are none of these or do not belong together.
        NotFound, HostRefused: a file is not there, or may not be read.
    """
    try:
        if key.stat().st_mode & stat.S_IRWXO:
            raise UsageError(f"others may read {key}", hint=f"chmod 600 {key}")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise UsageError(
            f"{certificate} and {key} are no certificate with its key: {error.reason or error}",
            hint="both are PEM files; the key has no password",
        ) from error
    except OSError as error:
        raise from_os_error(error, "read the certificate") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise HostRefused("the key of the certificate has a password", hint="give one without")
