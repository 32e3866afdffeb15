"""MLX's declaration, for Apple's processors. Its server has not been run by us: flags of mlx-lm 0.28."""

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

_NAME: Final = "mlx"
_PACKAGE: Final = "mlx-lm"
# It takes any other name in a request for a model to load.
_OWN_MODEL: Final = "default_model"


class Mlx:
    name = _NAME
    formats = frozenset({"safetensors"})
    operations = frozenset({Operation.COMPLETION})
    untested = True
    install_hint = "make an environment with mlx-lm in MRPACK_HOME/engines/mlx"

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        for python in host.pythons:
            if distribution := python.find_distribution(_PACKAGE):
                return (
                    Installation(
                        launcher=_PACKAGE, version=distribution.version, where=str(python.executable)
                    ),
                )
        return ()

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del config
        return None if host.gpus_of("metal") else "MLX runs on Macs with Apple's processors"

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
        words = ["-I", "-m", "mlx_lm.server", "--model", str(bundle.folder)]
        words += ["--host", endpoint.host, "--port", str(endpoint.port)]
        if bundle.chat_template:
            words += ["--chat-template", bundle.chat_template.read_text(encoding="utf-8")]
        return Launch(
            engine=self.name,
            launcher=installation.launcher,
            version=installation.version,
            argv=(installation.where, *words),
            environment={},
            endpoint=endpoint,
            served_name=_OWN_MODEL,
            why=f"{installation.launcher} in {installation.where}",
            needs=Needs(network=Network.OPEN),
        )


ENGINE: Final = Mlx()
