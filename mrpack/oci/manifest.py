"""Image manifest and image index, with the very bytes they were read from or will be pushed as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final, Self

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.encoding import MANIFEST_LIMIT, decode_object, encode, string_map
from mrpack.oci.mediatypes import INDEXES, MANIFESTS, OCI_INDEX, OCI_MANIFEST

# Far above the 200 to 2,000 files of the largest published folders.
LAYER_LIMIT: Final = 20_000


def _list(obj: dict[str, Any], key: str, where: str) -> list[Any]:
    value = obj.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise InvalidArtifact("not a list", where=f"{where}.{key}")
    if len(value) > LAYER_LIMIT:
        raise InvalidArtifact(f"more than {LAYER_LIMIT} entries", where=f"{where}.{key}")
    return value


def _subject(obj: dict[str, Any], where: str) -> Descriptor | None:
    value = obj.get("subject")
    return None if value is None else Descriptor.from_json(value, f"{where}.subject")


def _optional_text(obj: dict[str, Any], key: str, where: str) -> str | None:
    value = obj.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidArtifact("not a string", where=f"{where}.{key}")
    return value or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One artifact. `raw` is the identity: its digest is never computed from anything else (ADR 1)."""

    raw: bytes
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: Descriptor | None

    @classmethod
    def parse(cls, raw: bytes, where: str = "manifest") -> Self:
        """Raises InvalidArtifact; also when it has `manifests` too (the confusion of CVE-2021-41190)."""
        obj = decode_object(raw, where)
        if "manifests" in obj or "fsLayers" in obj:
            raise InvalidArtifact("an index or a schema 1 document where a manifest is expected", where=where)
        media_type = _optional_text(obj, "mediaType", where) or OCI_MANIFEST
        if obj.get("schemaVersion") != 2 or media_type not in MANIFESTS:
            raise InvalidArtifact(f"not an OCI image manifest: {media_type[:80]}", where=where)
        config = Descriptor.from_json(obj.get("config"), f"{where}.config")
        layers = tuple(
            Descriptor.from_json(item, f"{where}.layers[{number}]")
            for number, item in enumerate(_list(obj, "layers", where))
        )
        if len({config.digest, *(layer.digest for layer in layers)}) != len(
            {(config.digest, config.size), *((layer.digest, layer.size) for layer in layers)}
        ):
            raise InvalidArtifact("one digest with two sizes", where=where)
        return cls(
            raw=raw,
            media_type=media_type,
            config=config,
            layers=layers,
            annotations=string_map(obj.get("annotations"), f"{where}.annotations"),
            artifact_type=_optional_text(obj, "artifactType", where),
            subject=_subject(obj, where),
        )

    @classmethod
    def build(
        cls,
        *,
        config: Descriptor,
        layers: Sequence[Descriptor],
        artifact_type: str | None = None,
        annotations: Mapping[str, str] | None = None,
        subject: Descriptor | None = None,
    ) -> Self:
        """A new manifest in the key order of Go's image-spec types; annotations sorted by key.

        Raises InvalidArtifact when it has more bytes than registries take (MANIFEST_LIMIT).
        """
        head: dict[str, Any] = {"schemaVersion": 2, "mediaType": OCI_MANIFEST}
        if artifact_type:
            head["artifactType"] = artifact_type
        head["config"] = config.to_json()
        tail: dict[str, Any] = {}
        if annotations:
            tail["annotations"] = dict(sorted(annotations.items()))
        if subject is not None:
            tail["subject"] = subject.to_json()
        # One layer after the other: ten thousand as one JSON value take 10 MB, and 4 MB more in a bytearray.
        text = BytesIO()
        text.write(encode(head)[:-1] + b',"layers":[')
        for number, layer in enumerate(layers):
            text.write((b"," if number else b"") + encode(layer.to_json()))
        text.write(b"]" + (b"," + encode(tail)[1:] if tail else b"}"))
        raw = text.getvalue()
        if len(raw) > MANIFEST_LIMIT:
            raise InvalidArtifact(
                f"{len(layers)} layers make a manifest of {len(raw)} bytes, and registries take "
                f"{MANIFEST_LIMIT}",
                hint="leave files out with --exclude",
            )
        # Not parsed again: ten thousand layers would be in memory twice.
        return cls(
            raw=raw,
            media_type=OCI_MANIFEST,
            config=config,
            layers=tuple(layers),
            annotations=dict(annotations or {}),
            artifact_type=artifact_type or None,
            subject=subject,
        )

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(
            media_type=self.media_type,
            digest=Digest.of(self.raw),
            size=len(self.raw),
            artifact_type=self.artifact_type,
        )

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config first, then the layers, each digest once."""
        return tuple({item.digest: item for item in (self.config, *self.layers)}.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """A list of manifests: of an OCI layout, of the referrers of a subject, or under one tag."""

    raw: bytes
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str]
    artifact_type: str | None
    subject: Descriptor | None

    @classmethod
    def parse(cls, raw: bytes, where: str = "index", *, limit: int | None = None) -> Self:
        obj = decode_object(raw, where) if limit is None else decode_object(raw, where, limit=limit)
        if "layers" in obj or "config" in obj or "fsLayers" in obj:
            raise InvalidArtifact("a manifest where an index is expected", where=where)
        media_type = _optional_text(obj, "mediaType", where) or OCI_INDEX
        if obj.get("schemaVersion") != 2 or media_type not in INDEXES:
            raise InvalidArtifact(f"not an OCI image index: {media_type[:80]}", where=where)
        manifests = obj.get("manifests")
        if manifests is not None and not isinstance(manifests, list):
            raise InvalidArtifact("not a list", where=f"{where}.manifests")
        return cls(
            raw=raw,
            media_type=media_type,
            manifests=tuple(
                Descriptor.from_json(item, f"{where}.manifests[{number}]")
                for number, item in enumerate(manifests or ())
            ),
            annotations=string_map(obj.get("annotations"), f"{where}.annotations"),
            artifact_type=_optional_text(obj, "artifactType", where),
            subject=_subject(obj, where),
        )

    @classmethod
    def build(cls, manifests: Sequence[Descriptor], annotations: Mapping[str, str] | None = None) -> Self:
        obj: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [item.to_json() for item in manifests],
        }
        if annotations:
            obj["annotations"] = dict(sorted(annotations.items()))
        raw = encode(obj)
        return cls.parse(raw, limit=len(raw))

    @property
    def descriptor(self) -> Descriptor:
        return Descriptor(media_type=self.media_type, digest=Digest.of(self.raw), size=len(self.raw))


def parse_document(raw: bytes, media_type: str, where: str) -> Manifest | Index:
    """A manifest or an index, by the media type that came with the bytes; parameters of it are ignored.

    Raises InvalidArtifact when the document says something else than `media_type`
    (distribution-spec 1.1, "Pulling manifests").
    """
    plain = media_type.partition(";")[0].strip()
    if plain in INDEXES:
        document: Manifest | Index = Index.parse(raw, where)
    elif plain in MANIFESTS:
        document = Manifest.parse(raw, where)
    else:
        raise InvalidArtifact(f"neither a manifest nor an index: {plain[:80]!r}", where=where)
    if document.media_type != plain:
        raise InvalidArtifact(f"is {document.media_type} but was announced as {plain}", where=where)
    return document


def parse_unannounced(raw: bytes, where: str) -> Manifest | Index:
    """A document of which nobody said the media type: by its own, or where it has none, by its fields.

    image-spec lets it be absent, "Image Manifest Property Descriptions". Raises InvalidArtifact.
    """
    fields = decode_object(raw, where)
    media_type = fields.get("mediaType") or (OCI_INDEX if "manifests" in fields else OCI_MANIFEST)
    return parse_document(raw, str(media_type), where)
