"""Makes engine processes: a private run folder, the engine's launch, and a log that outlives both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from mrpack.errors import MrpackError, from_os_error
from mrpack.store.verifying import StillWanted
from mrpack_runtime.confinement import Kernel, Sandbox, confine, probe_kernel
from mrpack_runtime.engine import Launch, LaunchRequest, ModelBundle
from mrpack_runtime.machine.host import HostNow
from mrpack_runtime.processes.engine_logs import LogName
from mrpack_runtime.processes.process import EngineProcess, free_port
from mrpack_runtime.processes.run_folders import make_run_folder, remove_run_folder
from mrpack_runtime.want import Want


@dataclass(frozen=True, slots=True)
class EngineWorkshop:
    """`run_base` holds the run folders: its path must be short, since sockets lie in them.

    Logs go to `log_folder`, one file (and its predecessor) for each model and engine. `kernel` is asked what
    it can hold engines to, when one is confined. `check` looks at a model's files before an engine may; it
    raises when they are not to be opened, and calls what it is given as `make` does.
    """

    host: HostNow
    run_base: Path
    log_folder: Path
    sandbox: Sandbox = Sandbox.AUTO
    kernel: Callable[[], Kernel] = probe_kernel
    check: Callable[[ModelBundle, StillWanted], None] | None = None
    _folders: dict[EngineProcess, Path] = field(default_factory=dict)

    def make(self, want: Want, still_wanted: StillWanted) -> EngineProcess:
        if self.check is not None:
            self.check(want.bundle, still_wanted)
        folder = self._make_folder()
        try:
            launch = self._launch(want, folder)
        except MrpackError:
            remove_run_folder(folder)
            raise
        process = EngineProcess(launch, self.host(), folder, log_path=self.log_folder / log_name(want))
        self._folders[process] = folder
        return process

    def clear(self, process: EngineProcess) -> None:
        remove_run_folder(self._folders.pop(process))

    def preview(self, want: Want) -> Launch:
        """What `make` would start; for `serve --dry-run`."""
        folder = self._make_folder()
        try:
            return self._launch(want, folder)
        finally:
            remove_run_folder(folder)

    def _launch(self, want: Want, folder: Path) -> Launch:
        settings = want.settings.engine
        launch = want.choice.engine.launch(
            LaunchRequest(
                installation=want.choice.installation,
                bundle=want.bundle,
                settings=settings,
                host=self.host(),
                run_folder=folder,
                free_port=free_port,
            )
        )
        launch = replace(launch, ready_timeout_s=settings.ready_timeout_s)
        return confine(launch, want.bundle, self.host().environment, folder, self.sandbox, self.kernel())

    def _make_folder(self) -> Path:
        try:
            self.log_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise from_os_error(error, "make the folder for logs") from error
        return make_run_folder(self.run_base)


def log_name(want: Want) -> str:
    key = want.key
    return str(
        LogName(
            model=want.bundle.name,
            digest=key.digest.short,
            engine=key.engine,
            operation=str(key.operation),
        )
    )
