"""Which files of an artifact carry settings, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mrpack.model.document import parse_document
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.overrides.document import OVERRIDES_LIMIT, Overrides, parse_overrides
from mrpack.model.overrides.importers import from_generation_config, from_ollama_params
from mrpack.model.overrides.merge import Origin
from mrpack.oci.encoding import decode_object


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """`read` takes the bytes of a file, at most `limit` of them. Raises InvalidArtifact."""

    origin: Origin
    read: Callable[[bytes], Overrides]
    limit: int = OVERRIDES_LIMIT


def _ollama_params(raw: bytes) -> Overrides:
    return from_ollama_params(decode_object(raw, "params", limit=OVERRIDES_LIMIT))


def _generation_config(raw: bytes) -> Overrides:
    return from_generation_config(parse_document(raw, "generation_config.json"))


_OURS: Final = SettingsSource(Origin.ARTIFACT, parse_overrides)
_BY_MEDIA_TYPE: Final[Mapping[str, SettingsSource]] = MappingProxyType(
    {"application/vnd.ollama.image.params": SettingsSource(Origin.OTHER_TOOL, _ollama_params)}
)
_BY_PATH: Final[Mapping[str, SettingsSource]] = MappingProxyType(
    {"generation_config.json": SettingsSource(Origin.MODEL_FILES, _generation_config)}
)


def find_settings_source(file: ArtifactFile) -> SettingsSource | None:
    """How to read settings out of `file`; None when it holds none."""
    if file.role is LayerRole.OVERRIDES:
        return _OURS
    return _BY_MEDIA_TYPE.get(file.descriptor.media_type) or _BY_PATH.get(file.path)
