"""Deleting what was pushed: names, manifests with all their names, and blobs that nothing names."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from mrpack.digest import Digest
from mrpack.distribution.call import Call, parse_digest
from mrpack.distribution.catalog import Catalog
from mrpack.distribution.lease import Lease
from mrpack.distribution.message import Response
from mrpack.distribution.names import Names, without_digest, without_tag
from mrpack.distribution.refusal import RefusalError, busy
from mrpack.errors import HostRefused, NotFound, UsageError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference


class Deletions:
    """Names of other registries than the server's own are the user's, and stay."""

    def __init__(self, catalog: Catalog, lease: Lease) -> None:
        self._catalog = catalog
        self._layout = catalog.layout
        self._lease = lease

    def manifest(self, call: Call) -> Response:
        """A tag; or a digest with all its names here, and the manifest itself when nothing else names it.

        Blobs go with the next `gc`.
        """
        kept = self._catalog.naming.kept_as(call.repository)
        if ":" in call.ref:
            with self._alone():
                self._delete_digest(call, kept, parse_digest(call.ref))
        else:
            self._delete_tag(call, kept)
        return Response(status=202)

    def _delete_tag(self, call: Call, kept: Reference) -> None:
        def change(entries: tuple[Descriptor, ...]) -> list[Descriptor]:
            left = without_tag(entries, kept.with_tag(call.ref))
            if len(left) == len(entries):
                Names(left, self._catalog.naming).find(call.repository, call.ref)
                raise self._not_ours()
            return left

        try:
            with self._lease.writing():
                self._layout.update(change)
        except (NotFound, UsageError):
            raise _unknown(call) from None

    def _delete_digest(self, call: Call, kept: Reference, digest: Digest) -> None:
        removed = False

        def change(entries: tuple[Descriptor, ...]) -> list[Descriptor]:
            nonlocal removed
            left = without_digest(entries, kept, digest)
            removed = len(left) < len(entries)
            return left

        self._layout.update(change)
        try:
            self._catalog.by_digest(digest)
        except NotFound:
            if not removed:
                raise _unknown(call) from None
            return
        if digest not in self._catalog.needed():
            self._layout.blobs.remove(digest)
        elif not removed:
            raise self._not_ours()

    def _not_ours(self) -> RefusalError:
        own = self._catalog.naming.own
        return RefusalError(
            "DENIED", f"an index, or a name that was not pushed here (under {own}/), leads to it"
        )

    def blob(self, call: Call) -> Response:
        """A blob that no manifest names."""
        digest = parse_digest(call.ref)
        with self._alone():
            try:
                self._layout.blobs.size(digest)
            except NotFound:
                raise RefusalError("BLOB_UNKNOWN", f"no blob {digest} here") from None
            if digest in self._catalog.needed():
                raise RefusalError("DENIED", "a manifest names it")
            self._layout.blobs.remove(digest)
        return Response(status=202)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Bracket for removing content: nobody else writes meanwhile."""
        try:
            with self._lease.alone():
                yield
        except HostRefused:
            raise busy("content is being written") from None
        except OSError as error:
            raise from_os_error(error, "delete content") from error


def _unknown(call: Call) -> RefusalError:
    return RefusalError("MANIFEST_UNKNOWN", f"no {call.ref} in {call.repository}")
