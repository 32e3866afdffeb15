"""Telling pickles by their opcodes; nothing is ever unpickled."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

# Enough to see what a pickle is about; one that does nothing in so many bytes is still told by its start.
WINDOW: Final = 64 * 1024

_PROTOCOL: Final = 0x80
_PROTOCOLS: Final = range(2, 6)
# The opcodes of protocols 0 to 5, by what follows: so many bytes, or a length in so many, or a line. As in
# `pickletools`, which takes 4 ms to import; a test compares.
_FIXED: Final = {
    opcode: size
    for size, opcodes in {
        0: b"().012NQR]abdelostu}\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94\x97\x98",
        1: b"Khq\x80\x82",
        2: b"M\x83",
        4: b"Jjr\x84",
        8: b"G\x95",
    }.items()
    for opcode in opcodes
}
_COUNTED: Final = {
    opcode: size
    for size, opcodes in {1: b"CU\x8a\x8c", 4: b"BTX\x8b", 8: b"\x8d\x8e\x96"}.items()
    for opcode in opcodes
}
# Without control characters in numbers and the like, or nothing could load them.
_LINE: Final = re.compile(rb"[^\x00-\x08\x0b-\x1f\n]*\n")
_ANY_LINE: Final = re.compile(rb"[^\n]*\n")
_MODULE_AND_NAME: Final = re.compile(rb"[A-Za-z_][A-Za-z0-9_.]*\n[A-Za-z_][A-Za-z0-9_.]*\n")
_LINES: Final[Mapping[int, re.Pattern[bytes]]] = {
    **dict.fromkeys(b"FILPgp", _LINE),
    **dict.fromkeys(b"SV", _ANY_LINE),
    **dict.fromkeys(b"ci", _MODULE_AND_NAME),
}
# GLOBAL, INST and STACK_GLOBAL name a function; REDUCE, BUILD, INST, OBJ, NEWOBJ and NEWOBJ_EX call it.
_NAMING: Final = frozenset(b"ci\x93")
_CALLING: Final = frozenset(b"Rbio\x81\x92")


def is_pickle(start: bytes) -> bool:
    """Whether a content that starts like this is one, of any protocol.

    Newer protocols announce themselves. The first two are text, and are told by a function that is named and
    called before anything that is no opcode: prose never gets so far.
    """
    opcodes: set[int] = set()
    announced = len(start) > 2 and start[0] == _PROTOCOL and start[1] in _PROTOCOLS
    for count, opcode in enumerate(_opcodes(start[:WINDOW]), start=1):
        opcodes.add(opcode)
        if announced and count == 2:
            return True
        if opcodes & _NAMING and opcodes & _CALLING:
            return True
    return False


def _opcodes(content: bytes) -> Iterator[int]:
    """Up to the first byte that is none; the argument of the last may reach behind the end."""
    at = 0
    while at < len(content):
        opcode = content[at]
        at += 1
        if opcode in _FIXED:
            at += _FIXED[opcode]
        elif opcode in _COUNTED:
            start = at + _COUNTED[opcode]
            at = start + int.from_bytes(content[at:start], "little")
        elif opcode in _LINES and (match := _LINES[opcode].match(content, at)):
            at = match.end()
        else:
            return
        yield opcode
