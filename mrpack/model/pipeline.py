"""A Diffusers pipeline as its `model_index.json` declares it; folders and DDUF files both have one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import InvalidArtifact
from mrpack.model.filepath import check_path
from mrpack.oci.encoding import decode_object

INDEX_NAME: Final = "model_index.json"
# Published ones have 1 KiB.
INDEX_LIMIT: Final = 1024 * 1024
COMPONENTS_LIMIT: Final = 64

_CLASS_KEY: Final = "_class_name"
# Python names, with dots for packages.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,127}")
# Installed packages whose classes a pipeline may name.
_LIBRARIES: Final = frozenset({"diffusers", "transformers"})
# A bare name is a package below `diffusers.pipelines`: those up to 0.42 that have components of their own.
_PIPELINE_PACKAGES: Final = frozenset(
    {
        "ace_step",
        "alt_diffusion",
        "audioldm2",
        "blip_diffusion",
        "deepfloyd_if",
        "flux",
        "ideogram4",
        "kandinsky",
        "kolors",
        "latent_diffusion",
        "ltx",
        "ltx2",
        "paint_by_example",
        "shap_e",
        "spectrogram_diffusion",
        "stable_audio",
        "stable_audio_3",
        "stable_diffusion",
        "stable_diffusion_safe",
        "unclip",
        "unidiffuser",
        "versatile_diffusion",
        "vq_diffusion",
        "wuerstchen",
    }
)


@dataclass(frozen=True, slots=True)
class Component:
    """A part of a pipeline; its files lie in the folder `name`."""

    name: str
    library: str
    class_name: str

    @property
    def is_foreign(self) -> bool:
        """Whether its class is neither of Diffusers nor of Transformers: code that nobody knows."""
        return self.library not in _LIBRARIES | _PIPELINE_PACKAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """`module`: the Python file of a class that the model brings along, empty for those of Diffusers.

    `names` are all that the index gives a value, also components that are left out (`[null, null]`).
    """

    class_name: str
    module: str
    components: tuple[Component, ...]
    names: frozenset[str]

    def to_metadata(self) -> dict[str, str]:
        """Class and components as artifacts carry them."""
        components = {
            f"component.{component.name}": f"{component.library}.{component.class_name}"
            for component in self.components
        }
        return {"pipeline": self.class_name, **components}


def parse_pipeline(raw: bytes, where: str) -> Pipeline:
    """Raises InvalidArtifact, with the key of what is wrong."""
    index = decode_object(raw, where, limit=INDEX_LIMIT)
    class_name, module = _class(index, where)
    found = (_component(key, value, where) for key, value in index.items() if _is_component(key, value))
    components = tuple(component for component in found if component)
    if not components:
        raise InvalidArtifact("names no component", where=where)
    if len(components) > COMPONENTS_LIMIT:
        raise InvalidArtifact(
            f"names {len(components)} components; at most {COMPONENTS_LIMIT} are allowed", where=where
        )
    names = frozenset(key for key in index if not key.startswith("_"))
    return Pipeline(class_name=class_name, module=module, components=components, names=names)


def _class(index: Mapping[str, Any], where: str) -> tuple[str, str]:
    """Name and module; `[module, name]` is a class in a file of the model."""
    value: Any = index.get(_CLASS_KEY)
    if _is_name(value):
        return value, ""
    if isinstance(value, list) and len(value) == 2 and all(map(_is_name, value)):
        return value[1], value[0]
    raise InvalidArtifact("missing" if value is None else "not a class name", where=f"{where}.{_CLASS_KEY}")


def _is_component(key: str, value: Any) -> bool:
    """Diffusers takes every list for one; the rest are settings of the pipeline."""
    return isinstance(value, list) and not key.startswith("_")


def _component(name: str, value: list[Any], where: str) -> Component | None:
    """None: the pipeline goes without it."""
    where = f"{where}.{name[:80]}"
    if value == [None, None]:
        return None
    if len(value) != 2 or not all(map(_is_name, value)):
        raise InvalidArtifact("not a pair of library and class", where=where)
    if "/" in check_path(name, where):
        raise InvalidArtifact("not the name of a folder", where=where)
    return Component(name, value[0], value[1])


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
