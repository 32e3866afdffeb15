"""ModelConfig: what an artifact says about its model, in the one form that all dialects are read into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

# Docker Model Runner keeps it in an int32.
CONTEXT_SIZE_LIMIT: Final = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Labels as artifacts carry them (`parameters` "361.82M", `size` "256.35MiB"); empty: not known.

    `metadata` are the format's own header values as text; `context_size` in tokens; `created` RFC 3339;
    `extra` the keys that this version does not know, kept for re-writing.
    """

    format: str
    quantization: str = ""
    parameters: str = ""
    architecture: str = ""
    size: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    context_size: int | None = None
    created: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
