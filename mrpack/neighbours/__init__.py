"""The local stores of other tools, as sources to copy from: `ollama:NAME`, `dmr:NAME`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from mrpack.neighbours.dmr import DOCKER_MODEL_RUNNER
from mrpack.neighbours.ollama import OLLAMA
from mrpack.neighbours.store import Neighbour, NeighbourStore

_ALL: Final = (OLLAMA, DOCKER_MODEL_RUNNER)
NEIGHBOURS: Final[Mapping[str, Neighbour]] = MappingProxyType({each.prefix: each for each in _ALL})

__all__ = ["NEIGHBOURS", "Neighbour", "NeighbourStore"]
