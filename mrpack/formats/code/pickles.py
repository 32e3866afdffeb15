"""Telling pickles by their opcodes; nothing is ever unpickled."""

from __future__ import annotations

import pickletools
from typing import Final

# Enough to see what a pickle is about; one that does nothing in so many bytes is still a pickle by its start.
WINDOW: Final = 64 * 1024

_PROTOCOL: Final = 0x80
_PROTOCOLS: Final = range(2, 6)
# What names a function, and what calls it.
_NAMING: Final = frozenset({"GLOBAL", "INST", "STACK_GLOBAL"})
_CALLING: Final = frozenset({"BUILD", "INST", "NEWOBJ", "NEWOBJ_EX", "OBJ", "REDUCE"})


def is_pickle(start: bytes) -> bool:
    """Whether a content that starts like this is one, of any protocol.

    Newer protocols announce themselves. The first two are text, and are told by a function that is named and
    called before anything that is no opcode: prose never gets so far.
    """
    announced = len(start) > 2 and start[0] == _PROTOCOL and start[1] in _PROTOCOLS
    opcodes: set[str] = set()
    count = 0
    try:
        for opcode, _, _ in pickletools.genops(start[:WINDOW]):
            count += 1
            opcodes.add(opcode.name)
            if announced and count == 2:
                return True
            if opcodes & _NAMING and opcodes & _CALLING:
                return True
    except (ValueError, IndexError):
        # Not an opcode, or the window ended inside one.
        return False
    return False
