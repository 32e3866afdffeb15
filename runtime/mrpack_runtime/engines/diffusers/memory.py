"""How much memory an image server will take: its process, the weights, and one image while it is decoded."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from mrpack.errors import MrpackError
from mrpack.model.document import read_document
from mrpack.readable import open_file
from mrpack_runtime.engine import ModelBundle
from mrpack_runtime.engine.memory_needs import file_sizes, on_first_gpu
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory

# 366 MiB measured with Diffusers 0.42.1, torch 2.13 and 1 MiB of weights.
_PROCESS: Final = 512 * 2**20
# Of a pixel's values in the widest layer of the decoder, as image_server/painter.py counts them.
_COPIES: Final = 5
_WIDTH: Final = 4
# Stable Diffusion's, and of most others.
_CHANNELS: Final = 256
# Newer pipelines are made for as many; U-Nets say so themselves, in points of 8 pixels.
_PIXELS: Final = 1024 * 1024
_UNET: Final = "unet/config.json"
_VAE: Final = "vae/config.json"
_POINT: Final = 8


def memory(bundle: ModelBundle, own: Mapping[str, Any], host: HostFacts, *, widened: bool) -> Memory:
    """`widened`: halves become singles, on processors that do not compute with them."""
    weights = file_sizes((*bundle.weights, *bundle.adapters))
    painting = _pixels(bundle, own) * _channels(bundle) * _COPIES * _WIDTH
    if host.gpus:
        return on_first_gpu(weights + painting, host)
    return Memory(weights * (2 if widened else 1) + painting + _PROCESS)


def _pixels(bundle: ModelBundle, own: Mapping[str, Any]) -> int:
    """Of an image when a request says nothing; one that asks for more is held against the memory then."""
    if "size" in own:
        width, _, height = own["size"].partition("x")
        return int(width) * int(height)
    points = _read(bundle, _UNET).get("sample_size")
    return (points * _POINT) ** 2 if isinstance(points, int) and points > 0 else _PIXELS


def _channels(bundle: ModelBundle) -> int:
    """The last block of a decoder begins with those of the one before."""
    match _read(bundle, _VAE).get("block_out_channels"):
        case [_, int(channels), *_] | [int(channels)] if channels > 0:
            return channels
    return _CHANNELS


def _read(bundle: ModelBundle, name: str) -> Mapping[str, Any]:
    """Nothing where it is missing or malformed: whoever loads it says that better."""
    with suppress(MrpackError):
        return read_document(open_file(bundle.folder / name))
    return {}
