"""Switches in a query, as Go's clients write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mrpack_runtime.protocols.refusal import RequestRefused

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call

# Source: strconv.ParseBool. A name without a value is true.
FLAGS: Final = {
    **dict.fromkeys(("true", "True", "TRUE", "t", "T", "1", ""), True),
    **dict.fromkeys(("false", "False", "FALSE", "f", "F", "0"), False),
}


def read_flag(call: Call, name: str) -> bool:
    """False when it is not there. Raises RequestRefused."""
    text = call.request.query.get(name, "false")
    if text not in FLAGS:
        raise RequestRefused(f"{name} must be true or false", param=name)
    return FLAGS[text]
