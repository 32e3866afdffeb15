"""Launcher for `llama_cpp.server` of the package `llama-cpp-python`, with the gateway's quirks in front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.engine import Installation, Launch, LaunchRequest, Operation, find_installation
from mrpack_runtime.engine.child import child_launch
from mrpack_runtime.engines.llamacpp.launcher import ENGINE_NAME, spelled
from mrpack_runtime.engines.llamacpp.plan import Plan
from mrpack_runtime.engines.llamacpp.settings import Option
from mrpack_runtime.machine.host import HostFacts

_PACKAGE: Final = "llama-cpp-python"
# Of its extra `server`: without it there is a library and no engine.
_SERVER_PACKAGE: Final = "uvicorn"
_CHILD: Final = Path(__file__).with_name("run_llama_cpp_server.py")


class LlamaCppServer:
    name = _PACKAGE

    def find(self, host: HostFacts) -> Installation | None:
        return find_installation(host, _PACKAGE, _SERVER_PACKAGE)

    def launch(self, request: LaunchRequest, plan: Plan) -> Launch:
        launch = child_launch(ENGINE_NAME, request, _CHILD, specification(plan, request.socket))
        return replace(launch, quirks="llama_cpp_server")


def specification(plan: Plan, socket: Path) -> dict[str, Any]:
    """What run_llama_cpp_server.py takes: `model` are fields of ModelSettings, `server` of ServerSettings.

    Raises:
        Unsupported: reranking, or more than one adapter.
    """
    if plan.operation is Operation.RERANKING:
        raise Unsupported("llama_cpp.server has no reranking", hint="pip install 'mrpack[llamacpp]'")
    if len(plan.adapters) > 1:
        raise Unsupported(
            f"llama_cpp.server takes one LoRA adapter, and the model has {len(plan.adapters)}",
            hint="pip install 'mrpack[llamacpp]'",
        )
    model: dict[str, Any] = {
        "model": str(plan.model),
        "model_alias": plan.name,
        "n_ctx": plan.context,  # it has no slots: one request at a time
        "n_threads": plan.threads,
        "n_threads_batch": plan.threads,
        "n_gpu_layers": -1,
        "embedding": True,
        "logits_all": False,  # else it reserves context x vocabulary x 4 bytes
        "use_mlock": False,
        "verbose": False,
    }
    if plan.mmproj:
        model |= {"clip_model_path": str(plan.mmproj), "chat_format": "mtmd"}
    if plan.adapters:
        model["lora_path"] = str(plan.adapters[0])
    for option, value in spelled(plan, "setting"):
        model[option.setting] = _value(option, value)
    return {
        "socket": str(socket),
        "chat_template": str(plan.chat_template) if plan.chat_template else None,
        "pooling": model.pop("pooling_type", None),
        "lora_scale": plan.lora_scale,
        "model": model,
        "server": {"interrupt_requests": False},
    }


def _value(option: Option, value: Any) -> Any:
    return option.codes[value] if option.codes else value
