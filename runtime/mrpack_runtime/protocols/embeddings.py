"""Vectors of as many dimensions as a client wants, also from engines that overlook the wish."""

from __future__ import annotations

import base64
import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mrpack_runtime.protocols import NAMED_EVENTS, Asked, JsonObject
from mrpack_runtime.protocols.openai import EMBEDDING


@dataclass(frozen=True, slots=True)
class ShortVectors:
    """Of an answer in OpenAI's words, those that are longer than asked. There are no streams of them."""

    model: str
    dimensions: int

    def answer(self, body: JsonObject) -> JsonObject:
        return {**shortened(body, self.dimensions), "model": self.model}

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (event,)

    def end(self) -> tuple[JsonObject, ...]:
        return ()

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        return ({"error": error},)


def parse_short_embedding(body: JsonObject) -> Asked:
    """A request with `dimensions`, which engines that know them answer, or refuse."""
    return Asked(
        path=EMBEDDING,
        body=body,
        answering=lambda served: ShortVectors(served.model, body["dimensions"]),
        framing=NAMED_EVENTS,
    )


def shortened(body: JsonObject, dimensions: int) -> JsonObject:
    """An engine's answer with vectors that are cut, and one long again: what OpenAI and Ollama do."""
    rows = body.get("data")
    if not isinstance(rows, list):
        return body
    return {**body, "data": [_short_row(row, dimensions) if isinstance(row, dict) else row for row in rows]}


def _short_row(row: JsonObject, dimensions: int) -> JsonObject:
    """What is no vector stays."""
    try:
        return {**row, "embedding": _short(row.get("embedding"), dimensions)}
    except (ValueError, TypeError, OverflowError):
        return row


def _short(vector: Any, dimensions: int) -> Any:
    """A list of numbers, or floats of 32 bits in base64."""
    if isinstance(vector, str):
        values = array("f", base64.b64decode(vector))
        if len(values) > dimensions:
            return base64.b64encode(array("f", _unit(values[:dimensions])).tobytes()).decode()
    elif isinstance(vector, list) and len(vector) > dimensions:
        return _unit(vector[:dimensions])
    return vector


def _unit(vector: Sequence[float]) -> list[float]:
    length = math.hypot(*vector)
    return [value / length if length else value for value in vector]
