"""Verbs on what belongs to an artifact: attach files to it, list what there is."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrpack.content.ports import Keeper, Referring, Target
from mrpack.digest import BytesSource, Digest
from mrpack.errors import InvalidArtifact, Unsupported, UsageError, from_os_error
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Manifest
from mrpack.oci.mediatypes import OCI_EMPTY
from mrpack.readable import open_at, open_file
from mrpack.targets import hinting_at_local, open_existing, open_source
from mrpack.workspace import Access, Workspace

# image-spec, "Pre-Defined Annotation Keys": the name of a layer's file.
_TITLE: Final = "org.opencontainers.image.title"
_EMPTY_CONTENT: Final = b"{}"
_EMPTY: Final = Descriptor(media_type=OCI_EMPTY, digest=Digest.of(_EMPTY_CONTENT), size=len(_EMPTY_CONTENT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """`manifest` is new, and names `subject`, which stays as it is."""

    subject: Descriptor
    manifest: Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class Referrers:
    """What belongs to `subject`, the artifact called `name`."""

    name: str
    subject: Descriptor
    referrers: tuple[Descriptor, ...]

    def to_json(self) -> dict[str, Any]:
        """Stable keys; sizes in bytes, of the manifests."""
        return {
            "reference": self.name,
            "digest": str(self.subject.digest),
            "referrers": [
                {
                    "digest": str(item.digest),
                    "artifact_type": item.artifact_type,
                    "media_type": item.media_type,
                    "size": item.size,
                    "annotations": dict(item.annotations),
                }
                for item in self.referrers
            ],
        }


def attach(
    workspace: Workspace,
    files: Sequence[Path],
    reference: str,
    *,
    artifact_type: str,
    annotations: Mapping[str, str] | None = None,
    access: Access | None = None,
) -> Attached:
    """Push `files` as an artifact of their own that belongs to `reference`. The same files: the same digest.

    Raises:
        UsageError: `artifact_type` is no media type.
        NotFound: no such artifact or file.
        InvalidArtifact: not a regular file.
        Unsupported: a place that nothing can be added to.
    """
    kind, slash, rest = artifact_type.partition("/")
    if not (kind and slash and rest) or not artifact_type.isascii() or not artifact_type.isprintable():
        raise UsageError(
            f"not a media type: {artifact_type!r}", hint="write one such as application/spdx+json"
        )
    for file in files:
        open_file(file)
    place = open_existing(workspace, reference, access)
    keeping = place.target.operation() if isinstance(place.target, Keeper) else nullcontext()
    with keeping:
        subject = place.target.resolve(place.ref)
        layers = [_push_file(place.target, file, artifact_type) for file in files]
        if not place.target.exists(_EMPTY):
            place.target.push(_EMPTY, lambda offset: BytesSource(_EMPTY_CONTENT[offset:]))
        manifest = Manifest.build(
            config=_EMPTY,
            layers=layers or [_EMPTY],
            artifact_type=artifact_type,
            annotations=annotations,
            subject=subject.plain(),
        )
        place.target.push_manifest(manifest.descriptor, manifest.raw, None)
    return Attached(subject=subject, manifest=manifest.descriptor)


def list_referrers(
    workspace: Workspace,
    reference: str,
    *,
    artifact_type: str | None = None,
    access: Access | None = None,
) -> Referrers:
    """What belongs to an artifact in a registry or another place. Raises NotFound: no such artifact."""
    origin = open_source(workspace, reference, access)
    if not isinstance(origin.source, Referring):
        raise Unsupported(f"{origin.name} cannot tell what belongs to an artifact")
    with hinting_at_local(workspace, reference, "push it, or name the registry where it is"):
        subject = origin.source.resolve(origin.ref)
        found = origin.source.referrers(subject, artifact_type)
    return Referrers(name=origin.name, subject=subject, referrers=tuple(found))


def _push_file(target: Target, file: Path, media_type: str) -> Descriptor:
    try:
        with file.open("rb") as opened:
            digest = Digest("sha256", hashlib.file_digest(opened, "sha256").hexdigest())
            size = os.fstat(opened.fileno()).st_size
    except IsADirectoryError:
        raise InvalidArtifact("is a folder", where=str(file)) from None
    except OSError as error:
        raise from_os_error(error, f"attach {file}") from error
    blob = Descriptor(media_type=media_type, digest=digest, size=size)

    if not target.exists(blob):
        target.push(blob, lambda offset: open_at(file, offset, "attach"))
    return blob.with_annotations({_TITLE: file.name})
