"""The gateway over one model and benchmarks/fast_engine.py; prints its port and the engine's socket.

python benchmarks/fast_gateway.py FOLDER [CERTIFICATE KEY]
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from mrpack.digest import Digest
from mrpack.model.config import ModelConfig
from mrpack_runtime.confinement import Sandbox
from mrpack_runtime.engine import Installation, Launch, ModelBundle, Operation
from mrpack_runtime.gateway.app import run_loop, serve
from mrpack_runtime.gateway.call import Gateway
from mrpack_runtime.gateway.guard import Policy
from mrpack_runtime.gateway.logbook import LogBook
from mrpack_runtime.gateway.tls import server_context
from mrpack_runtime.machine.host import probe_host
from mrpack_runtime.pool import Pool
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.settings.merged import CommandSettings
from mrpack_runtime.wire.endpoint import TcpEndpoint, UnixEndpoint
from mrpack_runtime.workshop import EngineWorkshop

ENGINE_PROGRAM = Path(__file__).with_name("fast_engine.py")
MODEL = "localhost/bench:latest"


class OneModel:
    """A library whose stamp costs what that of the store costs."""

    def __init__(self, folder):
        self.weights = folder / "model.gguf"
        self.weights.write_bytes(b"GGUF")
        self.bundle = ModelBundle(
            name=MODEL,
            digest=Digest.of(b"bench"),
            config=ModelConfig(format="gguf"),
            folder=folder,
            weights=(self.weights,),
        )

    def find(self, _):
        return self.bundle

    def list(self):
        return ()

    def stamp(self):
        return self.weights.stat().st_mtime_ns


class FastEngine:
    name = "bench"
    formats = frozenset({"gguf"})
    operations = frozenset(Operation)
    install_hint = ""

    def installations(self, _):
        return (Installation(launcher="program", version="1", where=str(ENGINE_PROGRAM)),)

    def unsupported_reason(self, *_):
        return None

    def launch(self, request):
        path = request.run_folder / "engine.sock"
        return Launch(
            engine="bench",
            launcher="program",
            version="1",
            argv=(sys.executable, str(ENGINE_PROGRAM), str(path)),
            environment={},
            endpoint=UnixEndpoint(path),
        )


async def main(folder, *tls):
    host = probe_host(os.environ)
    engines = {"bench": FastEngine()}
    library = OneModel(folder)
    gateway = Gateway(
        library=library,
        resolver=Resolver(library, engines, lambda: host, CommandSettings()),
        pool=Pool(EngineWorkshop(lambda: host, folder, folder, Sandbox.OFF)),
        engines=engines,
        host=lambda: host,
        policy=Policy(),
        logbook=LogBook(folder),
        version="bench",
    )
    ports = []

    def loaded(_):
        launch = gateway.pool.snapshot()[0].launch
        print(json.dumps({"port": ports[0], "socket": str(launch.endpoint.path)}), flush=True)

    return await serve(
        gateway,
        TcpEndpoint(0),
        preload=(MODEL,),
        tls=server_context(*tls) if tls else None,
        on_listening=lambda bound: ports.append(bound.port),
        on_loaded=loaded,
    )


if __name__ == "__main__":
    run_loop(main(*map(Path, sys.argv[1:])))
