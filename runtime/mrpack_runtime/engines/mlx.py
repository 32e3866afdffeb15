"""MLX's declaration, for Apple's processors. Its server has not been run by us: flags of mlx-lm 0.28."""

from __future__ import annotations

from typing import Final

from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import LaunchRequest, Operation
from mrpack_runtime.engine.package_server import PackageServer
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.wire.endpoint import TcpEndpoint


class Mlx(PackageServer):
    name = "mlx"
    package = "mlx-lm"
    operations = frozenset({Operation.COMPLETION})
    untested = True
    install_hint = "make an environment with mlx-lm in MRPACK_HOME/engines/mlx"
    served_name = "default_model"  # it takes any other name in a request for a model to load

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del config
        return None if host.gpus_of("metal") else "MLX runs on Macs with Apple's processors"

    def words(self, request: LaunchRequest, endpoint: TcpEndpoint) -> list[str]:
        words = ["mlx_lm.server", "--model", str(request.bundle.folder)]
        words += ["--host", endpoint.host, "--port", str(endpoint.port)]
        if request.bundle.chat_template:
            words += ["--chat-template", request.bundle.chat_template.read_text(encoding="utf-8")]
        return words


ENGINE: Final = Mlx()
