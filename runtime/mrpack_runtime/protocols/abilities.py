"""What a model can do, in the words that clients choose by: capabilities and modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mrpack_runtime.engine import Operation
from mrpack_runtime.protocols import JsonObject

_ANSWERS: Final[Mapping[Operation, str]] = {
    Operation.COMPLETION: "text",
    Operation.EMBEDDING: "embedding",
    Operation.RERANKING: "score",
    Operation.IMAGE_GENERATION: "image",
}
# The operation whose models may take pictures as well.
_SEEING: Final = frozenset({Operation.COMPLETION, Operation.EMBEDDING})


def capabilities(operation: Operation, *, sees: bool) -> list[str]:
    """Ollama's words where it has some."""
    return [str(operation), *(("vision",) if sees and operation in _SEEING else ())]


def describe_abilities(operation: Operation | None, *, sees: bool) -> JsonObject:
    """None of them where no engine runs the model."""
    if operation is None:
        return {"capabilities": [], "modalities": {"input": [], "output": []}}
    found = capabilities(operation, sees=sees)
    taken = ["text", *(("image",) if "vision" in found else ())]
    return {"capabilities": found, "modalities": {"input": taken, "output": [_ANSWERS[operation]]}}
