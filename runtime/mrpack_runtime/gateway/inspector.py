"""The last exchanges of each model, as Docker Model Runner shows them: where `--log-prompts` wants it."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from mrpack_runtime.protocols import JsonObject

# Docker Model Runner's, of each model; its text is bounded where it is written down.
_RECORDS: Final = 10
_MODELS: Final = 64
# Of who follows and does not take: further ones are lost to him.
_BEHIND: Final = 100


@dataclass(slots=True)
class _Model:
    count: int = 0
    records: deque[JsonObject] = field(default_factory=lambda: deque(maxlen=_RECORDS))


class Inspector:
    """Belongs to one event loop."""

    def __init__(self) -> None:
        self._models: OrderedDict[str, _Model] = OrderedDict()
        self._followers: set[asyncio.Queue[JsonObject]] = set()

    def keep(self, record: JsonObject) -> None:
        """A finished exchange; its `model` says of which. The model that was asked last stays longest."""
        name = record["model"]
        model = self._models.setdefault(name, _Model())
        self._models.move_to_end(name)
        model.count += 1
        model.records.append(record)
        if len(self._models) > _MODELS:
            self._models.popitem(last=False)
        for queue in self._followers:
            if not queue.full():
                queue.put_nowait(record)

    def kept(self, only: str | None = None) -> list[JsonObject]:
        """Of each model, or of one, the oldest record first."""
        return [
            by_model(name, model.count, list(model.records))
            for name, model in self._models.items()
            if only in {None, name}
        ]

    @contextmanager
    def following(self) -> Iterator[asyncio.Queue[JsonObject]]:
        """What is kept from now on."""
        queue: asyncio.Queue[JsonObject] = asyncio.Queue(_BEHIND)
        self._followers.add(queue)
        try:
            yield queue
        finally:
            self._followers.discard(queue)


def by_model(name: str, count: int, records: list[JsonObject]) -> JsonObject:
    """As Docker Model Runner groups them; of its settings, another route tells."""
    return {"count": count, "model": name, "config": {}, "records": records}
