"""What a llama.cpp process is to be, whichever launcher starts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mrpack.errors import UsageError
from mrpack.formats.gguf import read_header
from mrpack_runtime.engine import EngineSettings, ModelBundle, Operation
from mrpack_runtime.engines.llamacpp.settings import GROUP
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.settings.own import checked

# Enough for a chat with documents; the whole context of a modern model (131,072 and more) can take more
# memory than the model itself.
DEFAULT_CONTEXT: Final = 8192
# As many as llama-server chooses itself.
DEFAULT_SLOTS: Final = 4
# llama-server's.
_DEFAULT_BATCH: Final = 2048
# Input for embeddings must fit one physical batch. The output layer's buffer grows with it, but for encoders,
# which have none.
_EMBEDDING_BATCH: Final = 2048
_ENCODERS: Final = frozenset(
    {
        *("bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "modern-bert", "neo-bert"),
        *("nomic-bert", "nomic-bert-moe"),
    }
)
# Of prompts that are not in use any more; llama-server would take up to 8 GiB on any machine.
_CACHE_SHARE: Final = 8
_CACHE_LIMIT_MIB: Final = 8192
_MIB: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every launcher says in its own words.

    `context`: tokens that one request may fill, 0 for the model's own. `lora_scale`: of all adapters.
    `own`: the other settings, with our defaults; those in `asked` were set by somebody, and a launcher that
    cannot say them refuses.
    """

    name: str
    model: Path
    operation: Operation
    context: int
    slots: int
    threads: int
    mmproj: Path | None
    chat_template: Path | None
    adapters: tuple[Path, ...]
    lora_scale: float
    own: Mapping[str, Any]
    asked: frozenset[str]

    @property
    def whole_context(self) -> int:
        """Tokens over all slots."""
        return self.context if self.own["kv_unified"] else self.context * self.slots


def plan(bundle: ModelBundle, settings: EngineSettings, host: HostFacts) -> Plan:
    """`settings.context_size` is what one request may fill; -1: as much as the model was trained for.

    A number of `parallel` requests reserves that much for each; without one, four slots share it.

    Raises:
        UsageError: a setting that llama.cpp does not have, a value that it does not take, or a scale of
            adapters where there are none.
        InvalidArtifact: the weights are no GGUF file; they are looked at only when the config tells too
        little.
    """
    own = checked(GROUP, settings.own)
    lora_scale = own.pop("lora_scale", None)
    if lora_scale is not None and not bundle.adapters:
        raise UsageError("llamacpp.lora_scale is for LoRA adapters, and this model has none")
    metadata = metadata_of(bundle)
    trained = _trained_context(metadata)
    match settings.context_size:
        case None:
            context = min(trained or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
        case -1 | 0:
            context = trained
        case wanted:
            context = wanted
    return Plan(
        name=bundle.name,
        model=bundle.weights[0],
        operation=settings.operation,
        context=context,
        slots=settings.parallel or DEFAULT_SLOTS,
        threads=settings.threads or host.physical_cores,
        mmproj=bundle.mmproj,
        chat_template=bundle.chat_template,
        adapters=bundle.adapters,
        lora_scale=1.0 if lora_scale is None else float(lora_scale),
        own={
            "kv_unified": settings.parallel is None,
            "cache_ram": min(host.memory // _MIB // _CACHE_SHARE, _CACHE_LIMIT_MIB),
            **_embedding_defaults(settings.operation, context, metadata),
            **_batch_for(own),
            **own,
        },
        asked=frozenset(own),
    )


def _embedding_defaults(operation: Operation, context: int, metadata: Mapping[str, str]) -> dict[str, Any]:
    own: dict[str, Any] = {}
    told = any(key.endswith(".pooling_type") and value != "0" for key, value in metadata.items())
    if operation is not Operation.RERANKING and not told:
        own["pooling"] = "mean"
    if operation is not Operation.COMPLETION:
        encoder = metadata.get("general.architecture") in _ENCODERS
        batch = context if encoder and context else min(context or _EMBEDDING_BATCH, _EMBEDDING_BATCH)
        own |= {"batch_size": batch, "ubatch_size": batch}
    return own


def _batch_for(own: Mapping[str, Any]) -> dict[str, Any]:
    """What is computed at once is a part of the batch: a user who wants more of it need say so only once."""
    wanted = own.get("ubatch_size", 0)
    return {"batch_size": wanted} if wanted > _DEFAULT_BATCH else {}


def metadata_of(bundle: ModelBundle) -> Mapping[str, str]:
    """Of the GGUF header, as artifacts of the Docker family carry it."""
    found = bundle.config.metadata
    if "general.architecture" in found:
        return found
    return {key: str(value) for key, value in read_header(bundle.weights[0]).values.items()}


def _trained_context(metadata: Mapping[str, str]) -> int:
    """0 when it is not known."""
    text = metadata.get(f"{metadata.get('general.architecture')}.context_length", "")
    return int(text) if text.isdecimal() else 0
