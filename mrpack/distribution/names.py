"""Which entry of the store a repository path means, and where a push is kept.

The store knows full references (`docker.io/ai/smollm2:latest`), a client asks this server for a repository
path (`ai/smollm2`) and a tag. A path means, in this order:

1. what was pushed here: `<name>/<path>`, where `<name>` is the server's own name, `localhost` if none is set;
2. what the path means on mrpack's command line: `ai/smollm2` and `smollm2` are `docker.io/ai/smollm2`, and
   `registry.example.com/team/m` is just that;
3. the model of that path under any other registry, if all of them that have the tag agree on its content.

Clients write only under the server's own name: a push never changes what a name of another registry means to
the user. The name is independent of host and port, so a push is found again after a restart on another port.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from mrpack.digest import Digest
from mrpack.errors import MrpackError, NotFound, UsageError
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.reference import Reference, ReferenceDefaults
from mrpack.store.entries import REF_NAME
from mrpack.store.names import StoredModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Naming:
    """`own`: the registry part of what is pushed here."""

    own: str = "localhost"
    defaults: ReferenceDefaults = field(default_factory=ReferenceDefaults)

    def kept_as(self, repository: str) -> Reference:
        """Where a push to `repository` is kept. Raises UsageError when the path is malformed."""
        reference = Reference.parse(f"{self.own}/{repository}", self.defaults)
        # Case folding, or a part of the path that was read as a tag.
        if reference.registry != self.own or not reference.repository.endswith(repository):
            raise UsageError(f"not a repository name: {repository[:80]!r}")
        return reference

    def typed(self, repository: str) -> Reference:
        return Reference.parse(repository, self.defaults)


class Names:
    """The entries of one state of the index, seen through a Naming. Immutable."""

    def __init__(self, entries: Iterable[Descriptor], naming: Naming) -> None:
        self._naming = naming
        self._by_repository: dict[str, list[StoredModel]] = {}
        self.unnamed: list[Descriptor] = []
        """Manifests that were pushed by digest and say what they belong to: referrers."""
        for entry in entries:
            name = entry.annotations.get(REF_NAME)
            if name is None:
                self.unnamed.append(entry.plain())
                continue
            try:
                reference = Reference.parse(name)
            except MrpackError:
                continue  # other tools may write what is no reference
            model = StoredModel(reference=reference, manifest=entry.plain())
            self._by_repository.setdefault(reference.repository, []).append(model)

    def models(self, repository: str, registry: str | None = None) -> list[StoredModel]:
        """All that `repository` may mean, best first; with `registry`, only what is of that one."""
        if registry is not None:
            return [model for model in self._of(repository) if model.reference.registry == registry]
        own, typed = self._naming.kept_as(repository), self._naming.typed(repository)
        ranks = {typed.name: 1, own.name: 0}
        candidates = {
            id(model): model
            for path in (own.repository, typed.repository, repository)
            for model in self._of(path)
            if model.reference.name in ranks or model.reference.repository == repository
        }
        # Stable, so that of `m:v1` and `m:v1@sha256:…` the plain one comes first.
        return sorted(
            candidates.values(),
            key=lambda model: (ranks.get(model.reference.name, 2), model.reference.digest is not None),
        )

    def _of(self, repository: str) -> list[StoredModel]:
        return self._by_repository.get(repository, [])

    def find(self, repository: str, tag: str, registry: str | None = None) -> Descriptor:
        """Raises NotFound; also when registries disagree about it, with their names in the message."""
        models = [model for model in self.models(repository, registry) if model.reference.tag == tag]
        if not models:
            raise NotFound(f"no tag {tag} in {repository}")
        first = models[0]
        if registry is None and not self._is_ranked(first.reference, repository):
            meant = {model.manifest.digest: model.reference for model in models}
            if len(meant) > 1:
                names = ", ".join(sorted(str(reference) for reference in meant.values()))
                raise NotFound(f"{repository}:{tag} could be any of {names}", hint="ask for the full name")
        return first.manifest

    def _is_ranked(self, reference: Reference, repository: str) -> bool:
        naming = self._naming
        return reference.name in {naming.kept_as(repository).name, naming.typed(repository).name}

    def tags(self, repository: str, registry: str | None = None) -> list[str] | None:
        """Sorted, without those that are ambiguous; None when no such repository is known."""
        models = self.models(repository, registry)
        if not models:
            return None
        tags = {model.reference.tag for model in models if model.reference.tag is not None}
        return sorted(tag for tag in tags if self._has(repository, tag, registry))

    def _has(self, repository: str, tag: str, registry: str | None = None) -> bool:
        try:
            self.find(repository, tag, registry)
        except NotFound:
            return False
        return True

    def repositories(self) -> list[str]:
        """Sorted. A model behind another of the same path is listed with its registry in front."""
        found: set[str] = set()
        for repository, models in self._by_repository.items():
            for model in models:
                if model.reference.tag is None or self._shows(repository, model):
                    found.add(repository)
                elif ":" not in model.reference.registry:
                    found.add(model.reference.name)
        return sorted(found)

    def _shows(self, repository: str, model: StoredModel) -> bool:
        tag = model.reference.tag or ""
        return self._has(repository, tag) and self.find(repository, tag).digest == model.manifest.digest


# Changes of the index, as functions from entries to entries.


def with_names(
    entries: Sequence[Descriptor], manifest: Descriptor, names: Sequence[Reference], covered: set[Digest]
) -> list[Descriptor]:
    """Point `names` at `manifest`.

    What was pushed by digest before goes when a tag of the same repository covers it now: names of the form
    `repository@digest` for a digest in `covered`, which is the manifest and, of an index, its children.
    """
    added = {str(name) for name in names}
    if any(name.tag for name in names):
        added |= {f"{name.name}@{digest}" for name in names for digest in covered}
    kept = [entry for entry in entries if entry.annotations.get(REF_NAME) not in added]
    return kept + [manifest.plain().with_annotations({REF_NAME: str(name)}) for name in names]


def with_unnamed(entries: Sequence[Descriptor], manifest: Descriptor) -> list[Descriptor]:
    """Keep `manifest` without a name, unless an entry does already."""
    if any(entry.digest == manifest.digest for entry in entries):
        return list(entries)
    return [*entries, manifest.plain()]


def without_tag(entries: Sequence[Descriptor], name: Reference) -> list[Descriptor]:
    return [entry for entry in entries if not _is_named(entry, name, tag=name.tag)]


def without_digest(entries: Sequence[Descriptor], name: Reference, digest: Digest) -> list[Descriptor]:
    """Take away all names of `digest` in the repository of `name`, and the entry without a name."""
    return [
        entry
        for entry in entries
        if entry.digest != digest or not (REF_NAME not in entry.annotations or _is_named(entry, name))
    ]


def _is_named(entry: Descriptor, name: Reference, tag: str | None = None) -> bool:
    try:
        reference = Reference.parse(entry.annotations.get(REF_NAME, ""))
    except MrpackError:
        return False
    return reference.name == name.name and (tag is None or reference.tag == tag)
