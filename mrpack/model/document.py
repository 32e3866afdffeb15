"""JSON documents that lie in model folders: bounded, and else as lenient as the programs that read them."""

from __future__ import annotations

import json
from typing import Any, Final

from mrpack.oci.encoding import as_object, parsing
from mrpack.readable import ReadableFile

# Configs have some KiB; a tokenizer's config with thousands of added tokens has 1 MiB.
DOCUMENT_LIMIT: Final = 4 * 1024 * 1024


def parse_document(raw: bytes, where: str) -> dict[str, Any]:
    """An object. Published models have NaN, Infinity, long numbers and repeated keys (the last wins): taken.

    Raises:
        InvalidArtifact: not UTF-8, not JSON, not an object, or nested too deeply.
    """
    with parsing(where):
        return as_object(json.loads(raw.decode()), where)


def read_document(file: ReadableFile, *, limit: int = DOCUMENT_LIMIT) -> dict[str, Any]:
    """Raises as `parse_document`, and InvalidArtifact above `limit` bytes."""
    return parse_document(file.read(limit=limit), file.where)
