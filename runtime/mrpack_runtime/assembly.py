"""The parts of a gateway over the local store, put together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

from mrpack.version import VERSION
from mrpack.workspace import Workspace
from mrpack_runtime.confinement import Sandbox
from mrpack_runtime.engines import engines
from mrpack_runtime.gateway.call import Gateway
from mrpack_runtime.gateway.guard import Policy
from mrpack_runtime.gateway.logbook import LogBook
from mrpack_runtime.machine.host import HostFacts, HostNow
from mrpack_runtime.machine.memory import host_limit
from mrpack_runtime.models.soundness import check_files
from mrpack_runtime.models.store_library import StoreLibrary
from mrpack_runtime.models.store_shelf import StoreShelf
from mrpack_runtime.pool import Pool
from mrpack_runtime.processes.engine_logs import sweep_logs
from mrpack_runtime.processes.run_folders import run_base, sweep_run_folders
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.scheduling import PoolLimits
from mrpack_runtime.select import find_engine
from mrpack_runtime.settings.file import FileSettings
from mrpack_runtime.settings.merged import CommandSettings
from mrpack_runtime.workshop import EngineWorkshop


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What a user may choose for a gateway. `pull`: fetch models that are asked for and missing.

    `memory_limit`: bytes of the machine's memory for all engines, None for all that it has; GPUs always count
    whole. Without `watch_memory` engines are started whatever they are expected to take. `log_prompts`: and
    answers, in the gateway's log. `verify`: hash a model's files each time before it is loaded.
    """

    policy: Policy = field(default_factory=Policy)
    limits: PoolLimits = field(default_factory=PoolLimits)
    tuning: CommandSettings = field(default_factory=CommandSettings)
    backend: str | None = None
    pull: bool = False
    memory_limit: int | None = None
    watch_memory: bool = True
    log_prompts: bool = False
    verify: bool = False


def build_workshop(workspace: Workspace, host: HostNow, sandbox: Sandbox | None = None) -> EngineWorkshop:
    """`sandbox` wins over the settings."""
    base = run_base()
    sweep_run_folders(base)
    settings = workspace.settings
    logs = settings.working_home / "logs"
    sweep_logs(logs)
    return EngineWorkshop(host, base, logs, sandbox or Sandbox(settings.sandbox))


def build_resolver(
    workspace: Workspace,
    host: HostNow,
    options: GatewayOptions,
) -> Resolver:
    """With the settings that `mrpack configure` keeps.

    Raises:
        NotFound: there is no engine of the wanted name.
    """
    if options.backend is not None:
        find_engine(engines(), options.backend)
    return Resolver(
        StoreLibrary(workspace),
        engines(),
        host,
        options.tuning,
        default_engine=options.backend,
        pull=options.pull,
        configured=_configured(workspace),
    )


def _configured(workspace: Workspace) -> FileSettings:
    return FileSettings(workspace.settings.config_home, workspace.settings.references)


def _limits(host: HostFacts, options: GatewayOptions) -> PoolLimits:
    if not options.watch_memory:
        return options.limits
    return replace(options.limits, memory=host_limit(host, options.memory_limit))


def build_gateway(workspace: Workspace, host: HostNow, options: GatewayOptions) -> Gateway:
    """Needs no running event loop; what it gives belongs to the one that uses it first."""
    workshop = build_workshop(workspace, host, options.tuning.sandbox)
    if options.verify:
        workshop = replace(workshop, check=partial(check_files, workspace))
    return Gateway(
        library=StoreLibrary(workspace),
        resolver=build_resolver(workspace, host, options),
        pool=Pool(workshop, _limits(host(), options)),
        engines=engines(),
        host=host,
        policy=options.policy,
        logbook=LogBook(workshop.log_folder),
        version=VERSION,
        configured=_configured(workspace),
        shelf=StoreShelf(workspace),
        log_prompts=options.log_prompts,
    )
