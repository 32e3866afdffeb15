"""Telling pickles by their opcodes; nothing is ever unpickled."""

from __future__ import annotations

import pickletools
import re
from collections.abc import Iterator, Mapping
from typing import Final

# Enough to see what a pickle is about; one that does nothing in so many bytes is still told by its start.
WINDOW: Final = 64 * 1024

_PROTOCOL: Final = 0x80
_PROTOCOLS: Final = range(2, 6)
# What names a function, and what calls it.
_NAMING: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_CALLING: Final = frozenset({"BUILD", "INST", "NEWOBJ", "NEWOBJ_EX", "OBJ", "REDUCE"})
# Arguments that are lines: without control characters in numbers and the like, or nothing could load them.
_LINE: Final = re.compile(rb"[^\x00-\x08\x0b-\x1f\n]*\n")
_ANY_LINE: Final = re.compile(rb"[^\n]*\n")
_MODULE_AND_NAME: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]*\n[A-Za-z_][A-Za-z0-9_.]*\n")
_LINES: Final[Mapping[str, re.Pattern[bytes]]] = {
    "GLOBAL": _MODULE_AND_NAME,
    "INST": _MODULE_AND_NAME,
    "STRING": _ANY_LINE,
    "UNICODE": _ANY_LINE,
}
_OPCODES: Final = {ord(opcode.code): opcode for opcode in pickletools.opcodes}
# Arguments that start with their own length, in so many bytes.
_LENGTH_BYTES: Final[Mapping[int, int]] = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}


def is_pickle(start: bytes) -> bool:
    """Whether a content that starts like this is one, of any protocol.

    Newer protocols announce themselves. The first two are text, and are told by a function that is named and
    called before anything that is no opcode: prose never gets so far.
    """
    opcodes: set[str] = set()
    announced = len(start) > 2 and start[0] == _PROTOCOL and start[1] in _PROTOCOLS
    for count, opcode in enumerate(_opcodes(start[:WINDOW]), start=1):
        opcodes.add(opcode)
        if announced and count == 2:
            return True
        if opcodes & _NAMING and opcodes & _CALLING:
            return True
    return False


def _opcodes(content: bytes) -> Iterator[str]:
    """Names, up to the first byte that is none; the argument of the last may reach behind the end."""
    at = 0
    while at < len(content):
        opcode = _OPCODES.get(content[at])
        if opcode is None:
            return
        at += 1
        size = opcode.arg.n if opcode.arg else 0
        if size == pickletools.UP_TO_NEWLINE:
            match = _LINES.get(opcode.name, _LINE).match(content, at)
            if match is None:
                return
            at = match.end()
        elif size in _LENGTH_BYTES:
            start = at + _LENGTH_BYTES[size]
            at = start + int.from_bytes(content[at:start], "little")
        else:
            at += size
        yield opcode.name
