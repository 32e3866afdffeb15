"""Telling code by the first bytes of a content, whatever the file is called."""

from __future__ import annotations

from typing import Final

from mrpack.formats.code.pickles import WINDOW, is_pickle

HEAD: Final = WINDOW

_EXECUTABLES: Final = (
    (b"\x7fELF", "an executable or shared library (ELF)"),
    (b"\xfe\xed\xfa\xce", "an executable or shared library (Mach-O)"),
    (b"\xfe\xed\xfa\xcf", "an executable or shared library (Mach-O)"),
    (b"\xce\xfa\xed\xfe", "an executable or shared library (Mach-O)"),
    (b"\xcf\xfa\xed\xfe", "an executable or shared library (Mach-O)"),
    (b"#!", "a script"),
)
_NUMPY: Final = b"\x93NUMPY"
# The data type of arrays whose elements are pickled.
_NUMPY_OBJECTS: Final = (b"'|O'", b'"|O"', b"'O'")
# Where the header of a Windows program has the offset of its signature.
_PE_OFFSET: Final = slice(0x3C, 0x40)


def reason_by_content(head: bytes) -> str:
    """What code a content of which these are the first HEAD bytes is; empty for none."""
    for magic, reason in _EXECUTABLES:
        if head.startswith(magic):
            return reason
    if head.startswith(b"MZ"):
        at = int.from_bytes(head[_PE_OFFSET], "little")
        if head[at : at + 4] == b"PE\0\0":
            return "an executable or shared library (Windows)"
    if head.startswith(_NUMPY) and any(mark in head[:256] for mark in _NUMPY_OBJECTS):
        return "a NumPy array of pickled objects"
    return "a pickle" if is_pickle(head) else ""
