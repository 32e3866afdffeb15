"""Wish: what a client wants painted, complete and checked, with the model's own defaults filled in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from .fields import ARGUMENTS, read_fields
from .refusal import Refusal
from .sizes import Size, parse_size

_AUTO: Final = "auto"
# Of the steps that would be done else.
_STEPS_OF_QUALITY: Final[Mapping[str, float]] = {"low": 0.5, "high": 1.5, "hd": 1.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Pictures of a request for an edit, as files; where `mask` says so the image is painted anew."""

    image: bytes
    mask: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """`arguments` are the pipeline's; those in `asked` are the client's, the others the model's defaults.

    `size` None: the pipeline's own, or that of the source. Image number i is painted with `seed` + i.
    `compression`: 0 for the smallest file to 100 for the best, None for the format's default.
    """

    prompt: str = field(repr=False)
    count: int = 1
    size: Size | None = None
    seed: int = 0
    arguments: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    asked: frozenset[str] = frozenset()
    steps_factor: float = 1.0
    quality: str = _AUTO
    output_format: str = "png"
    compression: int | None = None
    stream: bool = False
    partial_images: int = 0
    source: Source | None = field(default=None, repr=False)

    def steps(self, default: int | None) -> int | None:
        """Steps of denoising, when the pipeline itself would do `default`; None: it does not count any."""
        base: int | None = self.arguments.get("num_inference_steps", default)
        if base is None or "num_inference_steps" in self.asked:
            return base
        return max(1, math.ceil(base * self.steps_factor))


def parse_wish(
    body: Mapping[str, Any], defaults: Mapping[str, Any], random_seed: int, source: Source | None = None
) -> Wish:
    """`defaults` are the settings of the model, `diffusers.*`; `random_seed` is used when none is asked for.

    Raises:
        Refusal: what is wrong, with its field.
    """
    fields = read_fields(body)
    if "prompt" not in fields:
        raise Refusal("prompt is required", param="prompt")
    asked = _arguments(fields)
    if source is None and "strength" in asked:
        raise Refusal("strength is for edits: how much of the image is painted anew", param="strength")
    count = fields.get("n", 1)
    if count > defaults.get("max_images", 10):
        raise Refusal(f"n: this model paints at most {defaults['max_images']} images a request", param="n")
    quality = fields.get("quality", _AUTO)
    output_format = fields.get("output_format", defaults.get("output_format", "png"))
    if "output_compression" in fields and output_format == "png":
        raise Refusal("output_compression: png loses nothing; jpeg and webp do", param="output_compression")
    return Wish(
        prompt=fields["prompt"],
        count=count,
        size=_size(fields, defaults, source),
        seed=fields.get("seed", random_seed),
        arguments=MappingProxyType(_defaults(defaults) | asked),
        asked=frozenset(asked),
        steps_factor=_STEPS_OF_QUALITY.get(quality, 1.0),
        quality=quality,
        output_format=output_format,
        compression=fields.get("output_compression"),
        stream=fields.get("stream", False),
        partial_images=fields.get("partial_images", 0),
        source=source,
    )


def _arguments(fields: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, argument in ARGUMENTS.items():
        if name not in fields:
            continue
        if found.get(argument, fields[name]) != fields[name]:
            raise Refusal(f"{name} and {argument} say different things", param=name)
        found[argument] = fields[name]
    return found


def _defaults(defaults: Mapping[str, Any]) -> dict[str, Any]:
    return {name: defaults[name] for name in ARGUMENTS.values() if name in defaults}


def _size(fields: Mapping[str, Any], defaults: Mapping[str, Any], source: Source | None) -> Size | None:
    asked = fields.get("size", _AUTO)
    if asked != _AUTO:
        return parse_size(asked)
    return parse_size(defaults["size"]) if "size" in defaults and source is None else None
