"""`fake`: the engine declaration that starts tests/fakes/engine.py."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import Installation, Launch, LaunchRequest, ModelBundle, Needs, Operation
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.wire.endpoint import TcpEndpoint, UnixEndpoint

PROGRAM = Path(__file__).with_name("engine.py")


@dataclass(kw_only=True)
class FakeEngine:
    """`mode` is one of tests/fakes/engine.py, to be changed at will; `EngineSettings.own["mode"]`
    wins over it. `arguments` are added to the command line.
    """

    mode: str = "ok"
    name: str = "fake"
    formats: frozenset[str] = frozenset({"gguf"})
    operations: frozenset[Operation] = frozenset(Operation)
    install_hint: str = "pip install fake-engine"
    installed: bool = True
    untested: bool = False
    refusal: str | None = None
    tcp: bool = False
    quirks: str | None = None
    ready_timeout_s: float | None = None
    arguments: tuple[str, ...] = ()
    launches: list[Launch] = field(default_factory=list)

    def let_go(self) -> None:
        """What waits for it in the process that was started last (or is about to be) goes on."""
        endpoint = self.launches[-1].endpoint
        assert isinstance(endpoint, UnixEndpoint)
        endpoint.path.with_name("go").touch()

    def installations(self, host: HostFacts) -> tuple[Installation, ...]:
        return (
            (Installation(launcher="program", version="1.0", where=str(PROGRAM)),) if self.installed else ()
        )

    def unsupported_reason(self, host: HostFacts, config: ModelConfig) -> str | None:
        return self.refusal

    def launch(self, request: LaunchRequest) -> Launch:
        bundle, settings = request.bundle, request.settings
        if settings.operation not in self.operations:
            raise Unsupported(f"{self.name} has no operation {settings.operation}")
        mode = str(settings.own.get("mode", self.mode))
        endpoint = (
            TcpEndpoint(request.free_port()) if self.tcp else UnixEndpoint(request.run_folder / "engine.sock")
        )
        where = (
            ("--port", str(endpoint.port))
            if isinstance(endpoint, TcpEndpoint)
            else ("--socket", str(endpoint.path))
        )
        program = (sys.executable, str(PROGRAM), "--mode", mode, "--alias", bundle.name)
        launch = Launch(
            engine=self.name,
            launcher=request.installation.launcher,
            version=request.installation.version,
            argv=(*program, *where, *self.arguments),
            environment={},
            endpoint=endpoint,
            ready_timeout_s=self.ready_timeout_s or settings.ready_timeout_s,
            quirks=self.quirks,
            why="a test asked for it",
            needs=Needs(read=(PROGRAM,)),
        )
        self.launches.append(launch)
        return launch


def fake_bundle(folder: Path, name: str = "localhost/fake:latest") -> ModelBundle:
    """A bundle whose one weights file holds a few bytes that no engine reads."""
    weights = folder / "model.gguf"
    weights.write_bytes(b"GGUF fake")
    return ModelBundle(
        name=name,
        digest=Digest.of(name.encode()),
        config=ModelConfig(format="gguf"),
        folder=folder,
        weights=(weights,),
    )
