"""llama.cpp's declaration: what it opens, how it is found, and its launchers in order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import EngineSettings, Installation, Launch, ModelBundle, Operation
from mrpack_runtime.engines.llamacpp.launcher import ENGINE_NAME, Launcher
from mrpack_runtime.engines.llamacpp.llama_cpp_server import LlamaCppServer
from mrpack_runtime.engines.llamacpp.memory import memory
from mrpack_runtime.engines.llamacpp.native import Native, Wheel
from mrpack_runtime.engines.llamacpp.plan import plan
from mrpack_runtime.engines.llamacpp.xllamacpp import Xllamacpp
from mrpack_runtime.host import HostFacts
from mrpack_runtime.memory import Memory

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
        found = (launcher.find(host) for launcher in _LAUNCHERS)
        return tuple(installation for installation in found if installation)

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del host  # it runs on everything that it is installed on
        return _NOT_TEXT.get(config.architecture)

    def memory(
        self, installation: Installation, bundle: ModelBundle, settings: EngineSettings, host: HostFacts
    ) -> Memory:
        del installation  # all compute the same
        return memory(bundle, settings, host)

    def media_refusal(self, bundle: ModelBundle) -> str | None:
        """Its own answer would be 500."""
        return None if bundle.mmproj is not None else "this model takes text only: it has no projector"

    def launch(
        self,
        installation: Installation,
        bundle: ModelBundle,
        settings: EngineSettings,
        *,
        host: HostFacts,
        run_folder: Path,
        free_port: Callable[[], int],
    ) -> Launch:
        del free_port  # all launchers listen on a socket
        if settings.operation not in self.operations:
            raise Unsupported(f"{self.name} has no {settings.operation}")
        wanted = plan(bundle, settings, host)
        launcher = next(known for known in _LAUNCHERS if known.name == installation.launcher)
        return launcher.launch(installation, wanted, host, run_folder)


ENGINE: Final = LlamaCpp()
