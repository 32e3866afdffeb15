"""The parts of a gateway over the local store, put together."""

from __future__ import annotations

from dataclasses import dataclass, field

from mrpack.version import VERSION
from mrpack.workspace import Workspace
from mrpack_runtime.engines import engines
from mrpack_runtime.gateway.call import Gateway
from mrpack_runtime.gateway.guard import Policy
from mrpack_runtime.gateway.logbook import LogBook
from mrpack_runtime.host import HostFacts
from mrpack_runtime.pool import Pool
from mrpack_runtime.resolver import Resolver
from mrpack_runtime.run_folders import run_base, sweep_run_folders
from mrpack_runtime.scheduling import PoolLimits
from mrpack_runtime.settings import CommandSettings
from mrpack_runtime.store_library import StoreLibrary
from mrpack_runtime.workshop import EngineWorkshop


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayOptions:
    """What a user may choose for a gateway. `pull`: fetch models that are asked for and missing."""

    policy: Policy = field(default_factory=Policy)
    limits: PoolLimits = field(default_factory=PoolLimits)
    tuning: CommandSettings = field(default_factory=CommandSettings)
    backend: str | None = None
    pull: bool = False


def build_workshop(workspace: Workspace, host: HostFacts) -> EngineWorkshop:
    """Logs go below the home."""
    base = run_base()
    sweep_run_folders(base)
    return EngineWorkshop(host, base, workspace.settings.home / "logs")


def build_resolver(workspace: Workspace, host: HostFacts, options: GatewayOptions) -> Resolver:
    return Resolver(
        StoreLibrary(workspace),
        engines(),
        host,
        options.tuning,
        default_engine=options.backend,
        pull=options.pull,
    )


def build_gateway(workspace: Workspace, host: HostFacts, options: GatewayOptions) -> Gateway:
    """Needs no running event loop; what it gives belongs to the one that uses it first."""
    workshop = build_workshop(workspace, host)
    return Gateway(
        library=StoreLibrary(workspace),
        resolver=build_resolver(workspace, host, options),
        pool=Pool(workshop, options.limits),
        engines=engines(),
        host=host,
        policy=options.policy,
        logbook=LogBook(workshop.log_folder),
        version=VERSION,
    )
