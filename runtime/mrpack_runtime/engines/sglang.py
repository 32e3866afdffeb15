"""SGLang's declaration. Its server has not been run by us: flags are those of its documentation (0.5)."""

from __future__ import annotations

from typing import Final

from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import LaunchRequest, Operation
from mrpack_runtime.engine.package_server import PackageServer
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.wire.endpoint import TcpEndpoint

_POOLING: Final = frozenset({Operation.EMBEDDING, Operation.RERANKING})


class Sglang(PackageServer):
    name = "sglang"
    package = "sglang"
    operations = frozenset({Operation.COMPLETION, *_POOLING})
    untested = True
    install_hint = "make an environment with sglang in MRPACK_HOME/engines/sglang"

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        del config
        if host.os != "linux" or not (host.gpus_of("cuda") or host.gpus_of("rocm")):
            return "SGLang runs on Linux with a GPU of NVIDIA or AMD"
        return None

    def words(self, request: LaunchRequest, endpoint: TcpEndpoint) -> list[str]:
        words = ["sglang.launch_server", "--model-path", str(request.bundle.folder)]
        words += ["--host", endpoint.host, "--port", str(endpoint.port), "--load-format", "safetensors"]
        words += ["--served-model-name", request.bundle.name]
        if request.settings.context_size is not None and request.settings.context_size > 0:
            words += ["--context-length", str(request.settings.context_size)]
        if request.settings.parallel:
            words += ["--max-running-requests", str(request.settings.parallel)]
        if request.bundle.chat_template:
            words += ["--chat-template", str(request.bundle.chat_template)]
        if request.settings.operation in _POOLING:
            words += ["--is-embedding"]
        return words


ENGINE: Final = Sglang()
