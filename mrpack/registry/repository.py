"""One repository of a registry: where its requests go, with which rights, and which mirrors come first."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote

from mrpack.content.ports import NoPartsError
from mrpack.digest import Digest
from mrpack.errors import (
    AccessDenied,
    IntegrityError,
    InvalidArtifact,
    NotFound,
    RegistryUnavailable,
    Unsupported,
)
from mrpack.oci.descriptor import Descriptor
from mrpack.registry.client import Call, RegistryClient
from mrpack.registry.mirrors import Mirrors
from mrpack.registry.response import Response
from mrpack.registry.transport import Body

_log = logging.getLogger(__name__)

_Taken = TypeVar("_Taken")


@dataclass(frozen=True, slots=True)
class Repository:
    """`commit_s`: longest wait for the answer to a write. Thread-safe."""

    registry: str
    path: str
    client: RegistryClient
    mirrors: Mirrors
    commit_s: float

    @property
    def name(self) -> str:
        """As in references."""
        return f"{self.registry}/{self.path}"

    @property
    def _push_scopes(self) -> tuple[str, ...]:
        return (f"repository:{self.path}:pull,push",)

    def reading(self, doing: str, below: str, *, headers: Mapping[str, str] | None = None) -> Call:
        """A request for what is `below` the repository's own path."""
        return Call(
            doing=doing,
            path=f"/v2/{quote(self.path)}{below}",
            repository=self.path,
            scopes=(f"repository:{self.path}:pull",),
            headers=headers or {},
        )

    def writing(
        self,
        doing: str,
        method: str,
        below: str,
        success: frozenset[int],
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | Body = b"",
        more_scopes: tuple[str, ...] = (),
    ) -> Call:
        """As `reading`, with the rights of a push."""
        return replace(
            self.reading(doing, below, headers=headers),
            method=method,
            scopes=(*self._push_scopes, *more_scopes),
            body=body,
            success=success,
            patience_s=self.commit_s,
        )

    def read(
        self,
        call: Call,
        take: Callable[[Response], _Taken],
        *,
        of: Digest | None = None,
        patient: bool = True,
    ) -> _Taken:
        """From the first mirror that can, else from the registry itself; as `RegistryClient.read`.

        A mirror whose answer is wrong is given up. `of`: the content whose bytes are verified later.
        """
        for mirror in self.mirrors.asked:
            try:
                taken = mirror.read(call, take)
            except NoPartsError:
                raise
            except IntegrityError as error:
                self.mirrors.give_up(mirror, error)
            except (NotFound, AccessDenied, InvalidArtifact, RegistryUnavailable, Unsupported) as error:
                _log.info("%s; going on without this mirror", error)
            else:
                if of is not None:
                    self.mirrors.gave(mirror, of)
                return taken
        return self.client.read(call, take, patient=patient)

    def has(self, descriptor: Descriptor, below: str, *, headers: Mapping[str, str] | None = None) -> bool:
        """Asked with the rights of a push. Content of another size than the descriptor's counts as absent."""
        doing = f"look for {descriptor.digest.short} in {self.name}"
        call = self.reading(doing, below, headers=headers)
        response = self.client.send(
            replace(call, method="HEAD", scopes=self._push_scopes, success=frozenset({200, 404}))
        )
        response.drain()
        return response.status == 200 and response.length in {None, descriptor.size}


def stored_other(doing: str, descriptor: Descriptor, stored: str) -> IntegrityError:
    return IntegrityError(
        f"{doing}: the registry stored {stored[:80]!r}", expected=str(descriptor.digest), actual=stored[:160]
    )
