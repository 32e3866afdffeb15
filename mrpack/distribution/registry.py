"""The API of distribution-spec 1.1: which handler answers which request, and who may ask."""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mrpack.distribution.call import Call
from mrpack.distribution.catalog import Catalog
from mrpack.distribution.connection import Body
from mrpack.distribution.deletions import Deletions
from mrpack.distribution.lease import Lease
from mrpack.distribution.message import Request, Response
from mrpack.distribution.names import Naming
from mrpack.distribution.pull import Pull
from mrpack.distribution.push_blobs import BlobPush
from mrpack.distribution.push_manifests import ManifestPush
from mrpack.distribution.refusal import RefusalError, refusal_of, unsupported
from mrpack.distribution.uploads import Uploads
from mrpack.errors import MrpackError, UsageError
from mrpack.store.layout import OciLayout

_LOG = logging.getLogger(__name__)
_READS: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What clients may do here.

    `deletes` needs `writable`. `hosts`: names, in lower case, that a server on loopback answers to beside the
    loopback ones; any other name means that a web page found its way here (DNS rebinding).
    """

    writable: bool = False
    deletes: bool = False
    naming: Naming = field(default_factory=Naming)
    hosts: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class _Route:
    path: re.Pattern[str]
    handlers: Mapping[str, Callable[[Call], Response]]


class Registry:
    """A layout as a registry; `answer` is called by many threads."""

    def __init__(self, layout: OciLayout, rules: Rules, *, check_host: bool) -> None:
        self._rules = rules
        self._check_host = check_host
        self._uploads = Uploads(layout.blobs)
        self._lease = Lease(layout)
        catalog = Catalog(layout, rules.naming)
        pull = Pull(catalog)
        blobs = BlobPush(layout.blobs, self._uploads, self._lease)
        manifests = ManifestPush(catalog, self._lease)
        deletions = Deletions(catalog, self._lease)
        name = "/v2/(?P<repository>.+)"
        self._routes = tuple(
            _Route(re.compile(path), handlers)
            for path, handlers in (
                ("/v2/?", {"GET": pull.version}),
                ("/v2/_catalog", {"GET": pull.repositories}),
                (f"{name}/tags/list", {"GET": pull.tags}),
                (f"{name}/referrers/(?P<ref>[^/]*)", {"GET": pull.referrers}),
                (
                    f"{name}/manifests/(?P<ref>[^/]*)",
                    {"GET": pull.manifest, "PUT": manifests.put, "DELETE": deletions.manifest},
                ),
                (f"{name}/blobs/uploads/?", {"POST": blobs.start}),
                (
                    f"{name}/blobs/uploads/(?P<ref>[^/]+)",
                    {"GET": blobs.status, "PATCH": blobs.add, "PUT": blobs.finish, "DELETE": blobs.cancel},
                ),
                (f"{name}/blobs/(?P<ref>[^/]*)", {"GET": pull.blob, "DELETE": deletions.blob}),
            )
        )

    def answer(self, request: Request, body: Body) -> Response:
        try:
            return self._answer(request, body)
        except RefusalError as refusal:
            return refusal.response
        except MrpackError as error:
            _LOG.warning("%s %r: %s", request.method, request.path, error)
            return refusal_of(error).response

    def _answer(self, request: Request, body: Body) -> Response:
        self._check_origin(request)
        for route in self._routes:
            match = route.path.fullmatch(request.path)
            if match is not None:
                parts = match.groupdict()
                call = Call(
                    request=request,
                    body=body,
                    repository=parts.get("repository", ""),
                    ref=parts.get("ref", ""),
                )
                return self._handler(route, call)(call)
        raise RefusalError("UNSUPPORTED", "no such endpoint", status=404)

    def _check_origin(self, request: Request) -> None:
        """Registry clients are no browsers: whoever sends an Origin, or a foreign Host, is a web page."""
        if "origin" in request.headers or (self._check_host and not self._is_our_host(request.host)):
            raise RefusalError("DENIED", "this registry answers to its own names only, and to no web page")

    def _is_our_host(self, host: str) -> bool:
        if host == "localhost" or host in self._rules.hosts:
            return True
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return False

    def _handler(self, route: _Route, call: Call) -> Callable[[Call], Response]:
        method = "GET" if call.request.method == "HEAD" else call.request.method
        allowed = {name for name in route.handlers if self._allows(name, route)}
        if method not in allowed:
            names = sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))
            raise unsupported(self._why_not(call.request.method, route), allow=", ".join(names))
        if call.repository:
            try:
                self._rules.naming.kept_as(call.repository)
                self._rules.naming.typed(call.repository)
            except UsageError:
                raise RefusalError("NAME_INVALID", "not a repository name") from None
        return route.handlers[method]

    def _allows(self, method: str, route: _Route) -> bool:
        if method in _READS:
            return True
        # Cancelling an upload is a DELETE too, but takes nothing away.
        needs_deletes = method == "DELETE" and "PATCH" not in route.handlers
        return self._rules.writable and (self._rules.deletes or not needs_deletes)

    def _why_not(self, method: str, route: _Route) -> str:
        if method not in route.handlers:
            return "this endpoint has no such method"
        return (
            "this registry does not allow deletions" if self._rules.writable else "this registry is read-only"
        )

    def tick(self) -> None:
        """Called every few seconds."""
        self._uploads.expire()
        self._lease.expire()

    def close(self) -> None:
        """When no call is running any more."""
        self._uploads.close()
        self._lease.close()
