"""RegistryTarget: one repository of a registry as a target of the content port."""

from __future__ import annotations

from typing import Final

from mrpack.content.ports import Opener, Sighted, Source
from mrpack.digest import ByteSource, BytesSource
from mrpack.errors import MrpackError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.mediatypes import INDEXES, MANIFESTS
from mrpack.registry.blobs import Blobs
from mrpack.registry.documents import Documents
from mrpack.registry.mirrors import Mirrors
from mrpack.registry.paging import list_tags
from mrpack.registry.ranges import Part
from mrpack.registry.repository import Repository
from mrpack.registry.session import RegistrySession
from mrpack.registry.uploads import CHUNKS

_DOCUMENTS: Final = MANIFESTS | INDEXES


class RegistryTarget:
    """The whole port over one repository; `ref` is a tag or a digest. Thread-safe."""

    def __init__(
        self,
        session: RegistrySession,
        registry: str,
        repository: str,
        *,
        chunks: tuple[int, ...] = CHUNKS,
    ) -> None:
        """`registry` and `repository` as `Reference.parse` gives them; `chunks` as in `push_blob`."""
        self.registry = registry
        self.repository = repository
        self._place = Repository(
            registry,
            repository,
            session.client(registry),
            Mirrors(session.mirrors(registry)),
            session.settings.commit_timeout_s,
        )
        self.name = self._place.name
        self._documents = Documents(self._place)
        self._blobs = Blobs(self._place, session.rate, chunks)

    def resolve(self, ref: str) -> Descriptor:
        """One request; the document is kept for the `fetch` that follows.

        Raises:
            IntegrityError: asked by digest, the registry gave something else.
            InvalidArtifact: over 4 MiB, no manifest or index, or not of the type it came with.
        """
        return self._documents.resolve(ref)

    def fetch(self, descriptor: Descriptor, offset: int = 0) -> ByteSource:
        """A blob's stream goes on by itself after a broken connection: its reader need not try again.

        Documents come verified.
        """
        if descriptor.media_type in _DOCUMENTS:
            return BytesSource(self._documents.fetch(descriptor)[offset:])
        whole = Part(offset, descriptor.size, descriptor.size)
        return self._blobs.open(descriptor.digest, whole, skipping=True)

    def fetch_range(
        self, descriptor: Descriptor, start: int, stop: int, *, patient: bool = True
    ) -> ByteSource:
        """Of a blob. A stream that is not `patient` fails at the first break, and when it is refused."""
        part = Part(start, stop, descriptor.size)
        return self._blobs.open(descriptor.digest, part, patient=patient)

    def pass_over(self, descriptor: Descriptor, failure: MrpackError) -> bool:
        """Of mirrors; documents are checked before they are given."""
        return self._blobs.pass_over(descriptor.digest, failure)

    def exists(self, descriptor: Descriptor) -> bool:
        """Asked with the rights of a push. Content of another size than the descriptor's counts as absent."""
        holder = self._documents if descriptor.media_type in _DOCUMENTS else self._blobs
        return holder.has(descriptor)

    def push(self, descriptor: Descriptor, open_at: Opener) -> None:
        """Raises Unsupported: this registry keeps nothing under a digest of that algorithm."""
        self._blobs.push(descriptor, open_at)

    def push_manifest(self, descriptor: Descriptor, raw: bytes, ref: str | None) -> None:
        """Raises NotFound when the registry misses something that the manifest names."""
        self._documents.push(descriptor, raw, ref)

    def referrers(self, subject: Descriptor, artifact_type: str | None = None) -> list[Descriptor]:
        """Asked of the registry itself, never of a mirror; by its API, else by the tag that stands for it."""
        return self._documents.referrers(subject, artifact_type)

    def tag(self, descriptor: Descriptor, ref: str) -> None:
        self._documents.push(descriptor, self._documents.fetch(descriptor), ref)

    def tags(self) -> list[str]:
        return list_tags(self._place)

    def mount(self, descriptor: Descriptor, source: Source) -> bool:
        """Within one registry. What may not be read there is pushed instead, in the upload opened here."""
        neighbour = self._seen(descriptor, source)
        return neighbour is not None and self._blobs.mount(descriptor, neighbour)

    def _seen(self, descriptor: Descriptor, source: Source) -> str | None:
        """The repository here that has the blob, or should."""
        if isinstance(source, RegistryTarget):
            return source.repository if source.registry == self.registry else None
        repository = source.seen_in(descriptor, self.registry) if isinstance(source, Sighted) else None
        return repository if repository != self.repository else None
