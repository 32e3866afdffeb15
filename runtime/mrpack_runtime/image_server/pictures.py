"""Pictures as files: what comes in is opened with care, what goes out is written in the wanted format."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from .refusal import Refusal
from .sizes import SIDE_LIMIT, Size

if TYPE_CHECKING:
    from PIL.Image import Image

# Nothing that runs programs (EPS) or that few read; Pillow tries no other.
_TAKEN: Final = ("PNG", "JPEG", "WEBP")
# Where the client does not say: good, and much smaller than lossless.
_QUALITY: Final = 90
# Level 6 takes several times as long for one percent.
_PNG_LEVEL: Final = 4


def encode(image: Image, output_format: str, compression: int | None, notes: Mapping[str, str]) -> bytes:
    """`notes` go into PNG files as text, for people who look for how an image was made."""
    options: dict[str, Any] = {"quality": _QUALITY if compression is None else compression}
    if output_format == "png":
        from PIL.PngImagePlugin import PngInfo  # noqa: PLC0415  # where PIL is, in the engine's Python

        text = PngInfo()
        for name, value in notes.items():
            text.add_text(name, value)
        options = {"pnginfo": text, "compress_level": _PNG_LEVEL}
    file = io.BytesIO()
    image.convert("RGB").save(file, output_format, **options)
    return file.getvalue()


def open_picture(content: bytes, param: str) -> Image:
    """A picture from outside, as RGB or RGBA; its size is checked before its pixels are touched.

    Raises:
        Refusal: not a picture, or a huge one.
    """
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415  # as above

    try:
        image = Image.open(io.BytesIO(content), formats=_TAKEN)
        if max(image.size) > SIDE_LIMIT:
            raise Refusal(
                f"{param}: larger than {SIDE_LIMIT}x{SIDE_LIMIT}", param=param, code="invalid_image"
            )
        has_alpha = image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info
        return image.convert("RGBA" if has_alpha else "RGB")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Refusal(
            f"{param}: not a PNG, JPEG or WebP picture", param=param, code="invalid_image"
        ) from error


def fit(image: Image, size: Size) -> Image:
    """Without transparency, in this size."""
    from PIL.Image import Resampling  # noqa: PLC0415  # as above

    wanted = (size.width, size.height)
    picture = image.convert("RGB")
    return picture if picture.size == wanted else picture.resize(wanted, Resampling.LANCZOS)


def mask_of(image: Image, size: Size) -> Image:
    """White where is painted anew: where it is transparent (OpenAI's way), else where it is white."""
    from PIL import ImageOps  # noqa: PLC0415  # as above
    from PIL.Image import Resampling  # noqa: PLC0415

    mask = ImageOps.invert(image.getchannel("A")) if image.mode == "RGBA" else image.convert("L")
    return mask.resize((size.width, size.height), Resampling.NEAREST)


def size_of(image: Image) -> Size:
    return Size(*image.size)
