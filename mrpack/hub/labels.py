"""Quantizations in the names of files and folders, as publishers write them."""

from __future__ import annotations

import re
from typing import Final

from mrpack.model.quantization import QUANTIZATIONS, find_quantization

# First words of quantizations: `Q4` of Q4_K_M, `BF16`; the `ALL` of ALL_F32 is a word of many models.
_STARTS: Final = frozenset(
    name.partition("_")[0] for row in QUANTIZATIONS for name in (row.name, *row.aliases)
) - {"ALL"}
# Unsloth's dynamic quantizations have the labels of plain ones behind this word, and other content.
_QUALIFIERS: Final = frozenset({"UD"})
_SEPARATORS = re.compile(r"[-. ]+")


def find_label(path: str) -> str:
    """The quantization that a path without suffix and shard number names; empty for none.

    Upper case and whole: `Q4_K_M`, `UD-Q4_K_XL`, never a part of a longer one. The last in the name of the
    file counts, else that of the nearest folder.
    """
    for part in reversed(path.upper().split("/")):
        segments = _SEPARATORS.split(part)
        for number in range(len(segments) - 1, -1, -1):
            qualifier, label = _label_in(segments[number])
            if label:
                qualifier = qualifier or (segments[number - 1] if number else "")
                return f"{qualifier}-{label}" if qualifier in _QUALIFIERS else label
    return ""


def _label_in(segment: str) -> tuple[str, str]:
    """The word before a label, and the label: everything from its first word on."""
    words = segment.split("_")
    for number, word in enumerate(words):
        if word in _STARTS:
            return words[number - 1] if number else "", "_".join(words[number:])
    return "", ""


def is_alias(label: str, wish: str) -> bool:
    """Whether both are names of one quantization, such as `F16` and `FP16`."""
    found = find_quantization(label)
    return found is not None and found == find_quantization(wish)
