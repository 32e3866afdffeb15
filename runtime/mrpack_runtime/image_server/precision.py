"""Which numbers a pipeline computes with: by the device, and by what its weights are."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

# The largest header that the format allows.
_HEADER_LIMIT: Final = 100_000_000
# diffusion_pytorch_model.fp16.safetensors, model.fp16-00001-of-00002.safetensors
_VARIANT = re.compile(r"(.+)\.(fp16|bf16|fp32)(-[0-9]{5}-of-[0-9]{5})?\.safetensors")


def choose_dtype(device: str, weights: str, *, fast_bfloat16: bool) -> str:
    """A name of torch's. `weights`: as in Safetensors headers, such as BF16; empty when not known.

    `fast_bfloat16`: the device computes with it in hardware. Half precision on a processor is slower than
    single precision; weights in bfloat16 overflow in float16.
    """
    if device == "cpu":
        return "bfloat16" if weights == "BF16" and fast_bfloat16 else "float32"
    if weights == "F16":
        return "float16"
    if fast_bfloat16:
        return "bfloat16"
    return "float32" if weights == "BF16" else "float16"


def weights_dtype(folder: Path) -> str:
    """That of most bytes of a pipeline's weights; empty when there are none."""
    sizes: Counter[str] = Counter()
    for path in folder.glob("*/*.safetensors"):
        sizes += _dtypes(path)
    return sizes.most_common(1)[0][0] if sizes else ""


def _dtypes(path: Path) -> Counter[str]:
    sizes: Counter[str] = Counter()
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, _HEADER_LIMIT)))
    for name, tensor in header.items():
        if name != "__metadata__":
            first, end = tensor["data_offsets"]
            sizes[tensor["dtype"]] += end - first
    return sizes


def find_variant(names: Iterable[str]) -> str | None:
    """The variant to ask for, when some weights are there in that variant alone. `names`: `folder/file`."""
    known = frozenset(names)
    for name in sorted(known):
        match = _VARIANT.fullmatch(name)
        if match and f"{match[1]}{match[3] or ''}.safetensors" not in known:
            return match[2]
    return None
