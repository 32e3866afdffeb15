"""SGLang's declaration. Its server has not been run by us: flags are those of its documentation (0.5)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import (
    EngineSettings,
    Installation,
    Launch,
    ModelBundle,
    Needs,
    Network,
    Operation,
    TcpEndpoint,
)
from mrpack_runtime.host import HostFacts
from mrpack_runtime.model_code import refuse_code

_NAME: Final = "sglang"
_POOLING: Final = frozenset({Operation.EMBEDDING, Operation.RERANKING})


class Sglang:
    name = _NAME
    formats = frozenset({"safetensors"})
    operations = frozenset({Operation.COMPLETION, *_POOLING})
    untested = True
    install_hint = "make an environment with sglang in MRPACK_HOME/engines/sglang"

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        for python in host.pythons:
            if distribution := python.find_distribution(_NAME):
                return (
                    Installation(launcher=_NAME, version=distribution.version, where=str(python.executable)),
                )
        return ()

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del config
        if host.os != "linux" or not (host.gpus_of("cuda") or host.gpus_of("rocm")):
            return "SGLang runs on Linux with a GPU of NVIDIA or AMD"
        return None

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
        del host, run_folder
        if settings.operation not in self.operations:
            raise Unsupported(f"{self.name} has no {settings.operation}")
        refuse_code(bundle)
        endpoint = TcpEndpoint(free_port())
        words = ["-I", "-m", "sglang.launch_server", "--model-path", str(bundle.folder)]
        words += ["--host", endpoint.host, "--port", str(endpoint.port), "--load-format", "safetensors"]
        words += ["--served-model-name", bundle.name]
        if settings.context_size is not None and settings.context_size > 0:
            words += ["--context-length", str(settings.context_size)]
        if settings.parallel:
            words += ["--max-running-requests", str(settings.parallel)]
        if bundle.chat_template:
            words += ["--chat-template", str(bundle.chat_template)]
        if settings.operation in _POOLING:
            words += ["--is-embedding"]
        return Launch(
            engine=self.name,
            launcher=installation.launcher,
            version=installation.version,
            argv=(installation.where, *words),
            environment={},
            endpoint=endpoint,
            why=f"{installation.launcher} in {installation.where}",
            needs=Needs(network=Network.OPEN),
        )


ENGINE: Final = Sglang()
