"""Finding code among the files of a model, by name, by content and by what configs ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from mrpack.formats.code.contents import HEAD, reason_by_content
from mrpack.formats.code.documents import reasons_by_document
from mrpack.formats.code.names import reason_by_name
from mrpack.readable import ReadableFile

# By its start, as torch and NumPy tell a zip archive; what stands behind something else, they do not open.
_ZIP: Final = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Finding:
    """`path` as in the model; `reason` completes "it is …" or "it …"."""

    path: str
    reason: str


def find_code(files: Iterable[ReadableFile]) -> tuple[Finding, ...]:
    """What in these files would run code when the model is loaded, in the order of the files.

    A few reads a file, however large; nothing is unpickled, imported or unpacked.
    """
    return tuple(Finding(file.name, reason) for file in files for reason in _reasons(file))


def _reasons(file: ReadableFile) -> Iterator[str]:
    reason = reason_by_name(file.name)
    if not reason:
        head = file.read_at(0, min(file.size, HEAD))
        reason = reason_by_content(head) or _reason_in_zip(file, head)
    if reason:
        yield reason
    yield from reasons_by_document(file)


def _reason_in_zip(file: ReadableFile, head: bytes) -> str:
    if not head.startswith(_ZIP):
        return ""
    from mrpack.formats.code.archives import reason_in_archive  # noqa: PLC0415  # zipfile, for few models

    return reason_in_archive(file)
