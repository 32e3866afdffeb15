"""What is true of a store after any crash, checked with the standard library alone."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAYOUT = {"imageLayoutVersion": "1.0.0"}
REF_NAME = "org.opencontainers.image.ref.name"
# Everything a store may hold; what a killed process leaves lies in `ingest`.
KNOWN = {
    "oci-layout",
    "index.json",
    "mrpack-store.json",
    "blobs",
    "ingest",
    "linked",
    "damaged",
    ".lock",
    ".gc-lock",
    ".lock.d",
    ".gc-lock.d",
    ".last-index.json",
    ".summaries.json",
}


def check_store(home: Path) -> list[str]:
    """What is wrong, a line each; empty when every promise holds."""
    root = home / "store"
    return check_layout(root) if root.exists() else []


def check_layout(root: Path) -> list[str]:
    """The same of any folder that mrpack wrote as a layout."""
    return [*_blobs(root), *_names(root), *_strays(root)]


def leftovers(home: Path) -> list[Path]:
    folder = home / "store" / "ingest"
    return sorted(folder.iterdir()) if folder.is_dir() else []


def tags(home: Path) -> dict[str, str]:
    """References and the digests they point to."""
    path = home / "store" / "index.json"
    if not path.exists():
        return {}
    entries = json.loads(path.read_bytes())["manifests"]
    return {entry["annotations"][REF_NAME]: entry["digest"] for entry in entries}


def _blobs(root: Path) -> Iterator[str]:
    for path in sorted(root.glob("blobs/*/*")):
        status = path.lstat()
        name = f"{path.parent.name}:{path.name}"
        if not stat.S_ISREG(status.st_mode):
            yield f"{name} is no regular file"
            continue
        actual = _hash(path)
        if actual != path.name:
            yield f"{name} holds {actual} ({status.st_size} bytes)"
        is_linked = (root / "linked" / f"{path.name}.{status.st_ino}.json").exists()
        if stat.S_IMODE(status.st_mode) != 0o444 and not is_linked:
            yield f"{name} has mode {stat.S_IMODE(status.st_mode):o}"


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, path.parent.name).hexdigest()


def _names(root: Path) -> Iterator[str]:
    is_empty = not any(root.glob("blobs/*/*"))
    index = root / "index.json"
    if not index.exists():
        if not is_empty:
            yield "blobs without an index.json"
        return
    layout = root / "oci-layout"
    if not layout.exists() or json.loads(layout.read_bytes()) != LAYOUT:
        yield "no valid oci-layout beside an index.json"
    try:
        entries = json.loads(index.read_bytes())["manifests"]
    except (ValueError, KeyError) as error:
        yield f"index.json does not parse: {error}"
        return
    for entry in entries:
        name = entry.get("annotations", {}).get(REF_NAME, entry["digest"])
        yield from (f"{name}: {problem}" for problem in _closure(root, entry))


def _closure(root: Path, descriptor: dict[str, Any]) -> Iterator[str]:
    path = root / "blobs" / descriptor["digest"].replace(":", "/")
    try:
        size = path.lstat().st_size
    except FileNotFoundError:
        yield f"{descriptor['digest']} is missing"
        return
    if size != descriptor["size"]:
        yield f"{descriptor['digest']} has {size} bytes instead of {descriptor['size']}"
        return
    if "manifest" in descriptor["mediaType"] or "index" in descriptor["mediaType"]:
        document = json.loads(path.read_bytes())
        children = [document.get("config"), *document.get("layers", []), *document.get("manifests", [])]
        # An index may name the same one a thousand times, and so may that one.
        for child in {json.dumps(child): child for child in children if child is not None}.values():
            yield from _closure(root, child)


def _strays(root: Path) -> Iterator[str]:
    for name in sorted(os.listdir(root)):
        if name not in KNOWN:
            yield f"stray {name} in the store"
    for path in sorted(root.glob("blobs/*")):
        if path.name not in {"sha256", "sha512"}:
            yield f"stray {path.name} in blobs"
