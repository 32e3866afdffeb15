"""The rule for file names in artifacts: rejected when in doubt, never repaired.

A path is made of segments joined by `/`. A segment holds letters, marks and digits of any script and the
signs in `_SIGNS`: no separator, drive, control, format or bidirectional character. What is left means the
same on Linux, macOS and Windows.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from typing import Final

from mrpack.errors import InvalidArtifact

_SIGNS: Final = frozenset(" ._-+=@,()[]{}&'!#~")
# Unicode general categories: letters, marks, decimal digits and other numbers.
_CATEGORIES: Final = frozenset("LMN")
# NAME_MAX of every common file system; UTF-8.
SEGMENT_LIMIT: Final = 255
DEPTH_LIMIT: Final = 16
# Leaves room for the folder in front within PATH_MAX.
PATH_LIMIT: Final = 1024
# Windows: with or without an extension.
_RESERVED: Final = frozenset(
    {"con", "prn", "aux", "nul", "conin$", "conout$"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in "0123456789¹²³"}
)


def check_path(text: str, where: str) -> str:
    """`text` itself, when it is a relative path that is safe to create; `where` names its origin in errors.

    Raises:
        InvalidArtifact: says which rule it breaks.
    """
    reason = _reason_against(text)
    if reason:
        raise InvalidArtifact(f"bad file name {text[:120]!r}: {reason}", where=where)
    return text


def check_tree(paths: Iterable[str], where: str = "") -> None:
    """Check each path, and that all of them can lie in one folder on any file system.

    Raises:
        InvalidArtifact: names the two paths that are one file to some system (case, Unicode form), or of
            which one needs the other to be a folder.
    """
    files: dict[str, str] = {}
    for path in paths:
        key = _fold(check_path(path, where))
        if key in files:
            raise InvalidArtifact(f"two files would share one name: {files[key]!r} and {path!r}", where=where)
        files[key] = path
    for key, path in files.items():
        parent = key.rpartition("/")[0]
        while parent:
            if parent in files:
                raise InvalidArtifact(f"{files[parent]!r} is a file, but {path!r} lies in it", where=where)
            parent = parent.rpartition("/")[0]


def _reason_against(text: str) -> str:
    """Why `text` is refused; empty when it is fine."""
    if not text:
        return "it is empty"
    if len(text.encode(errors="surrogatepass")) > PATH_LIMIT:
        return f"longer than {PATH_LIMIT} bytes"
    segments = text.split("/")
    if len(segments) > DEPTH_LIMIT:
        return f"more than {DEPTH_LIMIT} levels"
    for segment in segments:
        if reason := _reason_against_segment(segment):
            return reason
    return ""


def _reason_against_segment(segment: str) -> str:
    if not segment:
        return "it is absolute, ends in / or has an empty part"
    if segment in {".", ".."}:
        return "it has a . or .. part"
    for char in segment:
        if char not in _SIGNS and unicodedata.category(char)[0] not in _CATEGORIES:
            return f"the character {char!r} is not allowed"
    if segment[-1] in " .":
        return "a part ends in a space or dot"
    if len(segment.encode()) > SEGMENT_LIMIT:
        return f"a part is longer than {SEGMENT_LIMIT} bytes"
    if segment.partition(".")[0].rstrip().casefold() in _RESERVED:
        return "a device name on Windows"
    return ""


def _fold(path: str) -> str:
    """The same for paths that a file system which ignores case or Unicode form takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
