"""The size of an image: parsed, and checked before any work is done for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from .refusal import Refusal

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
# Above it no pipeline was trained.
SIDE_LIMIT: Final = 4096
# Work grows with the square of the pixels, and a step cannot be broken off: a request may ask for so many
# times the pixels that a pipeline paints by default, and of every pipeline for this many.
_MORE_THAN_DEFAULT: Final = 4
_ALWAYS: Final = 1024 * 1024
_GIB: Final = 2**30


@dataclass(frozen=True, slots=True)
class Size:
    """In pixels."""

    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"

    def down_to(self, unit: int) -> Size:
        """The next smaller one whose sides are multiples of `unit`."""
        return Size(max(unit, self.width // unit * unit), max(unit, self.height // unit * unit))


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRules:
    """What a pipeline can paint.

    Sides are multiples of `unit`; `pixels`: of the largest image. `pixel_bytes`: memory that decoding takes
    for a pixel, 0 when it does not grow with the image.
    """

    unit: int
    pixels: int = _ALWAYS
    pixel_bytes: int = 0

    def check(self, size: Size, free_memory: int) -> None:
        """`free_memory` in bytes, where the image is computed. Raises Refusal."""
        if max(size.width, size.height) > SIDE_LIMIT:
            raise _refusal(f"{size}: neither side may have more than {SIDE_LIMIT} pixels")
        if size.width * size.height > self.pixels:
            raise _refusal(
                f"{size} has more than {self.pixels} pixels, the most for this model (diffusers.max_size)"
            )
        if size.width % self.unit or size.height % self.unit:
            raise _refusal(f"{size}: width and height must be multiples of {self.unit}", size, self.unit)
        needed = size.width * size.height * self.pixel_bytes
        if needed > free_memory:
            raise _refusal(
                f"{size} takes about {needed / _GIB:.1f} GiB of memory to decode, and "
                f"{free_memory / _GIB:.1f} GiB are free: ask for a smaller one, or set diffusers.vae_tiling"
            )


def most_pixels(default: Size | None, largest: Size | None) -> int:
    """Of one image. `default`: the pipeline's own size, if it says; `largest`: what the settings allow."""
    if largest is not None:
        return largest.width * largest.height
    return max(_ALWAYS, _MORE_THAN_DEFAULT * default.width * default.height if default else 0)


def parse_size(text: str) -> Size:
    """Raises Refusal."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise _refusal("must be WIDTHxHEIGHT in pixels, such as 1024x768, or auto")
    return Size(int(match[1]), int(match[2]))


def _refusal(message: str, size: Size | None = None, unit: int = 0) -> Refusal:
    near = f", such as {size.down_to(unit)}" if size else ""
    return Refusal(f"size: {message}{near}", param="size", code="invalid_size")
