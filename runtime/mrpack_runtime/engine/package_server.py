"""Engines that are a Python package with a server of OpenAI's API, which loads a folder of Safetensors."""

from __future__ import annotations

from typing import Protocol

from mrpack.errors import Unsupported
from mrpack_runtime.engine import (
    Installation,
    Launch,
    LaunchRequest,
    Needs,
    Network,
    Operation,
    find_installation,
)
from mrpack_runtime.engine.model_code import refuse_code
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.wire.endpoint import TcpEndpoint


class PackageServer(Protocol):
    """What all of these have in common; a declaration adds its name, and the words of its command."""

    name: str
    operations: frozenset[Operation]
    package: str
    """As it is published: what it is found by."""
    served_name: str | None = None
    """As in `Launch`."""
    formats: frozenset[str] = frozenset({"safetensors"})

    def words(self, request: LaunchRequest, endpoint: TcpEndpoint) -> list[str]:
        """The module to run and what it is told, behind `python -I -m`."""
        ...

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        found = find_installation(host, self.package)
        return (found,) if found else ()

    def launch(self, request: LaunchRequest) -> Launch:
        if request.settings.operation not in self.operations:
            raise Unsupported(f"{self.name} has no {request.settings.operation}")
        refuse_code(request.bundle)
        endpoint = TcpEndpoint(request.free_port())
        installation = request.installation
        return Launch(
            engine=self.name,
            launcher=installation.launcher,
            version=installation.version,
            argv=(installation.where, "-I", "-m", *self.words(request, endpoint)),
            environment={},
            endpoint=endpoint,
            served_name=self.served_name,
            why=f"{installation.launcher} in {installation.where}",
            needs=Needs(network=Network.OPEN),
        )
