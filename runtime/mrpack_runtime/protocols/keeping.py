"""`keep_alive` of a request, in any API: how long its engine stays after it. Engines are not told."""

from __future__ import annotations

import re
from math import ceil
from typing import Final

from mrpack.model.overrides import BY_KEY
from mrpack.model.overrides.kinds import INT32_MAX, is_number
from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.refusal import RequestRefused

FIELD: Final = "keep_alive"
_KIND: Final = BY_KEY[FIELD].kind
_BELOW_ZERO: Final = r"^-[0-9]"
# Of forms, which have no numbers.
_SECONDS: Final = r"^[0-9]{1,9}$"
# As Ollama has it: a number is seconds, and what is negative means for ever.
SCHEMA: Final[JsonObject] = {
    "anyOf": [
        _KIND.schema(),
        {"type": "string", "anyOf": [{"pattern": _BELOW_ZERO}, {"pattern": _SECONDS}]},
        {"type": "number", "maximum": INT32_MAX},
        {"type": "null"},
    ],
    "description": "how long the engine stays after this request: 5m, seconds, 0, or -1 for ever",
}


def take_keep_alive(body: JsonObject) -> str | None:
    """Takes it out of a request: a duration as settings have it; None: as the settings say.

    Raises RequestRefused.
    """
    value = body.pop(FIELD, None)
    if value is None:
        return None
    if isinstance(value, str) and re.match(_BELOW_ZERO, value):
        return "-1"
    if isinstance(value, str) and re.match(_SECONDS, value):
        value = int(value)
    if is_number(value):
        value = -1 if value < 0 else ceil(value)
    if wanted := _KIND.refusal(value):
        raise RequestRefused(f"{FIELD} must be {wanted}", param=FIELD)
    return str(_KIND.canonical(value))
