"""The command line of `vllm serve` for a model: what it is, how it is used, and what it may take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.formats.safetensors.configuration import CONFIG_NAME, language_config, trained_context
from mrpack.model.document import read_document
from mrpack.readable import open_file
from mrpack_runtime.engine import EngineSettings, ModelBundle, Operation
from mrpack_runtime.engines.vllm.adapters import adapter_arguments
from mrpack_runtime.engines.vllm.device import Device, check_devices
from mrpack_runtime.engines.vllm.reserve import reserve
from mrpack_runtime.engines.vllm.settings import checked, command_line, flags
from mrpack_runtime.machine.host import HostFacts

_RUNNERS: Final[Mapping[Operation, str]] = {
    Operation.COMPLETION: "generate",
    Operation.EMBEDDING: "pooling",
    Operation.RERANKING: "pooling",
}
# Weights are never unpickled; pages that explain the API load scripts from elsewhere, and the gateway has a
# log of requests of its own.
_ALWAYS: Final = ("--load-format", "safetensors", "--disable-fastapi-docs", "--disable-uvicorn-access-log")
# The context that fits, at most the model's own.
_LONGEST: Final = "auto"


def arguments(
    bundle: ModelBundle, settings: EngineSettings, device: Device, host: HostFacts, socket: Path
) -> list[str]:
    """Arguments of the program `vllm`.

    Raises:
        Unsupported: an operation, a setting or a size that this model, this host or vLLM does not have.
        UsageError: a malformed setting.
        InvalidArtifact: the model's config is malformed.
    """
    runner = _RUNNERS.get(settings.operation)
    if runner is None:
        raise Unsupported(f"vLLM has no {settings.operation}")
    own = checked(settings.own)
    config = model_config(bundle, own)
    check_devices(own, config, device, host)
    words = ["serve", str(bundle.folder), "--uds", str(socket), *adapter_arguments(bundle)]
    words += ["--runner", runner, *_ALWAYS]
    if bundle.chat_template and settings.operation is Operation.COMPLETION:
        words += ["--chat-template", str(bundle.chat_template)]
    if settings.parallel:
        own = {"max_num_seqs": settings.parallel, **own}
    if device is Device.CPU:
        words += _on_cpu(bundle, config, settings, own, host)
    elif settings.context_size is None:
        words += ["--max-model-len", _LONGEST]
    elif settings.context_size > 0:
        words += flags("max_model_len", settings.context_size)
    return words + command_line(own, writes=settings.operation is Operation.COMPLETION)


def _on_cpu(
    bundle: ModelBundle,
    config: Mapping[str, Any],
    settings: EngineSettings,
    own: Mapping[str, Any],
    host: HostFacts,
) -> list[str]:
    words = []
    if "gpu_memory_utilization" in own or "kv_cache_memory_bytes" in own:
        context = settings.context_size if settings.context_size != 0 else None
        if context is None:
            words += ["--max-model-len", _LONGEST]
        elif context > 0:
            words += flags("max_model_len", context)
    else:
        found = reserve(bundle, config, trained_context(config), settings, own, host)
        if found.context:
            words += flags("max_model_len", found.context)
        words += flags("kv_cache_memory_bytes", found.cache)
    if "enforce_eager" not in own and "optimization_level" not in own:
        # Compiling takes as long again as starting, at every start, and wants a C++ compiler.
        words += flags("enforce_eager", value=True)
    return words


def model_config(bundle: ModelBundle, own: Mapping[str, Any]) -> Mapping[str, Any]:
    """The language model's, with what overrides replace.

    Nearly empty when the model brings none: then vLLM says what it misses.
    """
    path = bundle.folder / CONFIG_NAME
    config = read_document(open_file(path)) if path.is_file() else {}
    return {**language_config(config), **own.get("hf_overrides", {})}
