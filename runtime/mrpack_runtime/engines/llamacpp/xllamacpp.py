"""Launcher for the package `xllamacpp`: llama.cpp's own HTTP server inside a Python extension."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from mrpack_runtime.engine import Installation, Launch, LaunchRequest, Operation, find_installation
from mrpack_runtime.engine.child import child_launch
from mrpack_runtime.engines.llamacpp.launcher import ENGINE_NAME, spelled
from mrpack_runtime.engines.llamacpp.plan import Plan
from mrpack_runtime.engines.llamacpp.settings import Option
from mrpack_runtime.machine.host import HostFacts

_PACKAGE: Final = "xllamacpp"
_CHILD: Final = Path(__file__).with_name("run_xllamacpp.py")


class Xllamacpp:
    name = _PACKAGE

    def find(self, host: HostFacts) -> Installation | None:
        return find_installation(host, _PACKAGE)

    def launch(self, request: LaunchRequest, plan: Plan) -> Launch:
        return child_launch(ENGINE_NAME, request, _CHILD, attributes(plan, request.socket))


def attributes(plan: Plan, socket: Path) -> dict[str, Any]:
    """What run_xllamacpp.py sets, by its path in CommonParams."""
    found: dict[str, Any] = {
        "model.path": str(plan.model),
        "model_alias": [plan.name],
        "hostnames": [str(socket)],
        "n_ctx": plan.whole_context,
        "n_parallel": plan.slots,
        "cpuparams.n_threads": plan.threads,
        "cpuparams_batch.n_threads": plan.threads,
        "embedding": True,
        "endpoint_metrics": True,
        "offline": True,
        "ui": False,
    }
    if plan.operation is Operation.RERANKING:
        found["pooling_type"] = "RANK"
    if plan.mmproj:
        found["mmproj.path"] = str(plan.mmproj)
    if plan.chat_template:
        found["chat_template"] = {"file": str(plan.chat_template)}
    if plan.adapters:
        found["lora_adapters"] = [
            {"path": str(adapter), "scale": plan.lora_scale} for adapter in plan.adapters
        ]
    for option, value in spelled(plan, "attribute"):
        found[option.attribute.removeprefix("!")] = _value(option, value)
    return found


def _value(option: Option, value: Any) -> Any:
    if value in option.words if isinstance(value, str | bool) else False:
        return option.words[value]
    match value:
        case bool():
            return value is not option.attribute.startswith("!")
        case str():
            return value.upper().replace("-", "_")
        case Mapping():
            return {name: json.dumps(item) for name, item in value.items()}
        case _:
            return value
