"""Foreign text that is fit to be shown."""

from __future__ import annotations

import unicodedata
from typing import Final

_LIMIT: Final = 240  # characters


def printable(text: str) -> str:
    """One line without control, direction and other invisible characters, for a terminal; capped."""
    shown = "".join(
        char if char == " " or unicodedata.category(char)[0] not in "CZ" else f"\\x{ord(char):02x}"
        for char in text[:_LIMIT]
    )
    return f"{shown}…" if len(text) > _LIMIT else shown
