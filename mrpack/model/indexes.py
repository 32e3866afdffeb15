"""Which manifest of an image index is the model: other tools put several under one tag."""

from __future__ import annotations

from typing import Final

from mrpack.errors import Unsupported
from mrpack.oci.descriptor import Descriptor
from mrpack.oci.manifest import Index

# olot adds a ModelPack manifest to the index of its images; it shares their layers without the base image.
_OLOT_KIND: Final = "io.opendatahub.modelcar.manifest.type"
_MODELPACK_TYPES: Final = frozenset(
    {"application/vnd.cncf.model.manifest.v1+json", "application/vnd.cnai.model.manifest.v1+json"}
)
# Docker BuildKit: provenance of another manifest in the index.
_REFERENCE_TYPE: Final = "vnd.docker.reference.type"
# A model is the same on every platform; images of models are made for this one first.
_PLATFORM: Final = ("linux", "amd64")


def choose_manifest(index: Index, name: str) -> Descriptor:
    """The model among the manifests of `index`; `name` is the reference, for errors.

    An artifact before images, and of images that for Linux on x86-64 or the only one.

    Raises:
        Unsupported: none, or several with nothing to choose by.
    """
    models = [item for item in index.manifests if _REFERENCE_TYPE not in item.annotations]
    artifacts = [item for item in models if _is_modelpack(item)]
    images = [item for item in models if _platform(item) == _PLATFORM]
    for found in (artifacts, images, models):
        if len({item.digest for item in found}) == 1:
            return found[0]
        if found:
            break
    raise Unsupported(
        f"{name} is an index of {len(models)} manifests, and nothing tells which is the model",
        hint="name one by its digest: NAME@sha256:…" if models else None,
    )


def _is_modelpack(item: Descriptor) -> bool:
    return item.artifact_type in _MODELPACK_TYPES or item.annotations.get(_OLOT_KIND) == "modelpack"


def _platform(item: Descriptor) -> tuple[str, str] | None:
    platform = item.extra.get("platform")
    if not isinstance(platform, dict):
        return None
    return str(platform.get("os")), str(platform.get("architecture"))
