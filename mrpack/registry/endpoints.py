"""Where the registry of a reference is really reached."""

from __future__ import annotations

from mrpack.errors import UsageError
from mrpack.registry.known import api_host
from mrpack.registry.settings import RegistrySettings
from mrpack.registry.url import Origin, is_loopback_name


def origin_of(registry: str, settings: RegistrySettings) -> Origin:
    """Raises UsageError on a name that is no `host[:port]`."""
    host, colon, port_text = registry.rpartition(":")
    if not colon or port_text.endswith("]"):
        host, port_text = registry, ""
    host = host.strip("[]").lower()
    if not host or (port_text and not port_text.isdigit()):
        raise UsageError(f"not a registry: {registry[:80]!r}", hint="write host or host:port")
    scheme = "http" if _speaks_plain_http(registry, host, settings) else "https"
    return Origin(scheme, api_host(host), int(port_text or (80 if scheme == "http" else 443)))


def _speaks_plain_http(registry: str, host: str, settings: RegistrySettings) -> bool:
    if registry in settings.plain_http:
        return True
    wants_tls = registry in settings.tls or registry in settings.skip_verify or settings.ca_file is not None
    return is_loopback_name(host) and not wants_tls
