"""llama.cpp's declaration: what it opens, how it is found, and its launchers in order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import EngineSettings, Installation, Launch, LaunchRequest, ModelBundle, Operation
from mrpack_runtime.engines.llamacpp.launcher import ENGINE_NAME, Launcher
from mrpack_runtime.engines.llamacpp.llama_cpp_server import LlamaCppServer
from mrpack_runtime.engines.llamacpp.memory import memory
from mrpack_runtime.engines.llamacpp.native import Native, Wheel
from mrpack_runtime.engines.llamacpp.plan import plan
from mrpack_runtime.engines.llamacpp.requests import explained, ranking_refusal, tool_refusal
from mrpack_runtime.engines.llamacpp.xllamacpp import Xllamacpp
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.memory import Memory

# Best first: what the user put there on purpose, then llama.cpp's own server, then the one in Python.
_LAUNCHERS: Final[tuple[Launcher, ...]] = (Native(), Wheel(), Xllamacpp(), LlamaCppServer())
# GGUF files that hold no language model.
_NOT_TEXT: Final = {
    "diffusion": "it is an image model",
    "imatrix": "it is an importance matrix, not a model",
    "clip": "it is a projector, not a model",
}


class LlamaCpp:
    name = ENGINE_NAME
    formats = frozenset({"gguf"})
    operations = frozenset({Operation.COMPLETION, Operation.EMBEDDING, Operation.RERANKING})
    install_hint = "pip install 'mrpack[llamacpp]'"

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        """A program of the user's own, then Python by Python: whoever made one for engines means it."""
        found: dict[str, Installation] = {}
        for pythons in ((), *((python,) for python in host.pythons)):
            for launcher in _LAUNCHERS:
                if one := launcher.find(replace(host, pythons=pythons)):
                    found.setdefault(one.launcher, one)
        return tuple(found.values())

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del host  # it runs on everything that it is installed on
        return _NOT_TEXT.get(config.architecture)

    def memory(
        self, installation: Installation, bundle: ModelBundle, settings: EngineSettings, host: HostFacts
    ) -> Memory:
        del installation  # all compute the same
        _check_operation(bundle, settings)
        return memory(bundle, settings, host)

    def media_refusal(self, bundle: ModelBundle) -> str | None:
        """Its own answer would be 500."""
        return None if bundle.mmproj is not None else "this model takes text only: it has no projector"

    def tool_refusal(self, installation: Installation, bundle: ModelBundle) -> str | None:
        """llama_cpp.server builds a grammar from the function, whatever the template."""
        return None if installation.launcher == LlamaCppServer.name else tool_refusal(bundle)

    def explained(self, status: int, error: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        return explained(status, error)

    def launch(self, request: LaunchRequest) -> Launch:
        _check_operation(request.bundle, request.settings)
        wanted = plan(request.bundle, request.settings, request.host)
        launcher = next(known for known in _LAUNCHERS if known.name == request.installation.launcher)
        return launcher.launch(request, wanted)


def _check_operation(bundle: ModelBundle, settings: EngineSettings) -> None:
    """Raises Unsupported."""
    if settings.operation not in LlamaCpp.operations:
        raise Unsupported(f"{ENGINE_NAME} has no {settings.operation}")
    if settings.operation is Operation.RERANKING and (why := ranking_refusal(bundle)):
        raise Unsupported(why, hint="ask /v1/embeddings for vectors, and compare these")


ENGINE: Final = LlamaCpp()
