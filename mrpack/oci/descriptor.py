"""Descriptor: media type, digest and size of content that lies elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact
from mrpack.oci.encoding import size_field, string_map, text_field

# One for all: ten thousand layers have neither.
_NOTHING: Mapping[str, Any] = {}
_KNOWN = frozenset({"mediaType", "size", "digest", "annotations", "artifactType"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """`size` in bytes. Keys this class does not know (`urls`, `platform`, `data`) survive in `extra`."""

    media_type: str
    digest: Digest
    size: int
    annotations: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    artifact_type: str | None = None
    extra: Mapping[str, Any] = field(default_factory=lambda: _NOTHING)

    @classmethod
    def from_json(cls, value: Any, where: str) -> Self:
        if not isinstance(value, dict):
            raise InvalidArtifact("not a descriptor", where=where)
        artifact_type = value.get("artifactType")
        if artifact_type is not None and not isinstance(artifact_type, str):
            raise InvalidArtifact("not a string", where=f"{where}.artifactType")
        extra = _NOTHING
        if not _KNOWN.issuperset(value):
            extra = {key: item for key, item in value.items() if key not in _KNOWN}
        return cls(
            # The same few in all of ten thousand layers.
            media_type=sys.intern(text_field(value, "mediaType", where)),
            digest=Digest.parse(value.get("digest"), f"{where}.digest"),
            size=size_field(value, "size", where),
            annotations=string_map(value.get("annotations"), f"{where}.annotations"),
            artifact_type=artifact_type,
            extra=extra,
        )

    def to_json(self) -> dict[str, Any]:
        """Keys in the order Docker Model Runner writes them: size before digest."""
        result: dict[str, Any] = {
            "mediaType": self.media_type,
            "size": self.size,
            "digest": str(self.digest),
        }
        result.update((key, self.extra[key]) for key in ("data", "urls") if key in self.extra)
        if self.annotations:
            result["annotations"] = dict(sorted(self.annotations.items()))
        if "platform" in self.extra:
            result["platform"] = self.extra["platform"]
        if self.artifact_type is not None:
            result["artifactType"] = self.artifact_type
        result.update((key, item) for key, item in self.extra.items() if key not in result)
        return result

    def with_annotations(self, annotations: Mapping[str, str]) -> Self:
        return replace(self, annotations=dict(annotations))

    def plain(self) -> Descriptor:
        """Media type, digest and size alone: what names a blob."""
        return Descriptor(media_type=self.media_type, digest=self.digest, size=self.size)
