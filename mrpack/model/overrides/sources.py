"""Which files of an artifact carry settings, and how they are read: one, or all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from mrpack.model.document import parse_document
from mrpack.model.layer import ArtifactFile, LayerRole
from mrpack.model.overrides.document import OVERRIDES_LIMIT, Overrides, parse_overrides
from mrpack.model.overrides.importers import Imported, from_generation_config, from_ollama_params
from mrpack.model.overrides.merge import Origin
from mrpack.oci.encoding import decode_object


@dataclass(frozen=True, slots=True)
class SettingsSource:
    """`read` takes the bytes of a file, at most `limit` of them. Raises InvalidArtifact."""

    origin: Origin
    read: Callable[[bytes], Imported]
    limit: int = OVERRIDES_LIMIT


def _ollama_params(raw: bytes) -> Imported:
    return from_ollama_params(decode_object(raw, "params", limit=OVERRIDES_LIMIT))


def _generation_config(raw: bytes) -> Imported:
    return from_generation_config(parse_document(raw, "generation_config.json"))


def _ours(raw: bytes) -> Imported:
    return Imported(parse_overrides(raw))


_OURS: Final = SettingsSource(Origin.ARTIFACT, _ours)
_BY_MEDIA_TYPE: Final[Mapping[str, SettingsSource]] = MappingProxyType(
    {
        "application/vnd.ollama.image.params": SettingsSource(Origin.OTHER_TOOL, _ollama_params),
    }
)
_BY_PATH: Final[Mapping[str, SettingsSource]] = MappingProxyType(
    {"generation_config.json": SettingsSource(Origin.MODEL_FILES, _generation_config)}
)

# Part of every request in Ollama; no setting of ours says that.
_NO_SETTING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "application/vnd.ollama.image.system": "a system prompt",
        "application/vnd.ollama.image.messages": "messages in front of each chat",
        "application/vnd.ollama.image.template": "a template in Go's language; the model's own counts",
    }
)


def find_settings_source(file: ArtifactFile) -> SettingsSource | None:
    """How to read settings out of `file`; None when it holds none."""
    if file.role is LayerRole.OVERRIDES:
        return _OURS
    return _BY_MEDIA_TYPE.get(file.descriptor.media_type) or _BY_PATH.get(file.path)


@dataclass(frozen=True, slots=True)
class Carried:
    """Settings of an artifact by their origins, the lowest first, as `merge` takes them.

    `ignored` says for people what was found and has no place among our settings.
    """

    layers: tuple[tuple[Origin, Overrides], ...] = ()
    ignored: tuple[str, ...] = ()

    def of(self, origin: Origin) -> Overrides:
        """Those of one origin; the later counts."""
        result = Overrides()
        for place, settings in self.layers:
            if place is origin:
                result = result.with_settings(settings)
        return result


def read_carried(
    files: Iterable[ArtifactFile],
    own: Imported | None,
    read: Callable[[ArtifactFile, int], bytes],
    origins: Collection[Origin] = tuple(Origin),
) -> Carried:
    """What an artifact with these files says, of these origins.

    `own` is what its config has in another tool's words. `read` gives the content of a file of at most so
    many bytes. Raises InvalidArtifact, and what `read` does.
    """
    found = [(Origin.OTHER_TOOL, "its config", own)] if own else []
    for file in files:
        source = find_settings_source(file)
        if unsaid := _NO_SETTING.get(file.descriptor.media_type):
            found.append((Origin.OTHER_TOOL, file.path, Imported(ignored=(unsaid,))))
        elif source is not None and source.origin in origins:
            found.append((source.origin, file.path, source.read(read(file, source.limit))))
    found.sort(key=lambda item: item[0])
    return Carried(
        tuple((origin, imported.settings) for origin, _, imported in found if imported.settings),
        tuple(f"{name}: {', '.join(imported.ignored)}" for _, name, imported in found if imported.ignored),
    )
