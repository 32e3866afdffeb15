"""JSON Schemas (draft 2020-12) of the documents that mrpack writes; each stands for itself."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any, Final

NAMES: Final = (
    "docker-config",
    "file-metadata",
    "modelpack-config",
    "oci-index",
    "oci-manifest",
    "overrides",
)


@cache
def load(name: str) -> dict[str, Any]:
    """The schema of that name, of `NAMES`. It is shared: do not change it. Raises KeyError."""
    if name not in NAMES:
        raise KeyError(name)
    return json.loads(files(__name__).joinpath(f"{name}.schema.json").read_bytes())  # type: ignore[no-any-return]
