"""What earlier responses said and were asked: bounded, in memory, gone with the gateway."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from mrpack_runtime.protocols import JsonObject
from mrpack_runtime.protocols.refusal import RequestRefused

_COUNT_LIMIT: Final = 1024
_SIZE_LIMIT: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, weakref_slot=True, kw_only=True, eq=False)
class Turn:
    """One response that was stored. `items` are its own input with its output behind; `size`: bytes of both.

    `before` is the turn it goes on from: several may go on from one, and each keeps its own way back.
    """

    response: JsonObject
    input: tuple[JsonObject, ...]
    before: Turn | None
    size: int

    @property
    def items(self) -> tuple[JsonObject, ...]:
        return (*self.input, *self.response["output"])

    def conversation(self) -> list[JsonObject]:
        """All items from the first turn to this one."""
        turns = []
        turn: Turn | None = self
        while turn is not None:
            turns.append(turn)
            turn = turn.before
        return [item for turn in reversed(turns) for item in turn.items]


class History:
    """The turns by the id of their response; the oldest goes first when there are too many or too large.

    A turn that was forgotten or deleted stays a part of those that go on from it, and counts until they go.
    """

    def __init__(self, count_limit: int = _COUNT_LIMIT, size_limit: int = _SIZE_LIMIT) -> None:
        self._turns: OrderedDict[str, Turn] = OrderedDict()
        self._count_limit = count_limit
        self._size_limit = size_limit
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes of all turns that are alive, also of those that only others keep alive."""
        return self._size

    def put(self, turn: Turn) -> None:
        self._turns[turn.response["id"]] = turn
        self._size += turn.size
        weakref.finalize(turn, self._free, turn.size).atexit = False
        while len(self._turns) > self._count_limit or (self._size > self._size_limit and self._turns):
            self._turns.popitem(last=False)

    def find(self, response_id: str) -> Turn | None:
        return self._turns.get(response_id)

    def get_previous(self, response_id: str) -> Turn:
        """Raises RequestRefused, as OpenAI does."""
        turn = self.find(response_id)
        if turn is None:
            raise PreviousNotFound(
                f"previous response with id {response_id[:80]!r} not found",
                param="previous_response_id",
                hint="responses are kept in memory, and with store false not at all",
            )
        return turn

    def delete(self, response_id: str) -> bool:
        """Whether it was there."""
        return self._turns.pop(response_id, None) is not None

    def _free(self, size: int) -> None:
        self._size -= size


class PreviousNotFound(RequestRefused):
    """The response that a request wants to go on from is not kept, or not any more."""

    code = "previous_response_not_found"
