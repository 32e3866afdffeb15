"""Switches in a query, as Go's clients write them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mrpack_runtime.refusal import RequestRefused

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call

_TRUTH: Final = {"0": False, "f": False, "false": False, "1": True, "t": True, "true": True, "": True}


def read_flag(call: Call, name: str) -> bool:
    """False when it is not there; a name without a value is true. Raises RequestRefused."""
    text = call.request.query.get(name, "false").lower()
    if text not in _TRUTH:
        raise RequestRefused(f"{name} must be true or false", param=name)
    return _TRUTH[text]
