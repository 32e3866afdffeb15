"""A store on a read-only disk: what reads works, what writes says so in one line."""

from __future__ import annotations

from collections.abc import Iterator

from tests.crash.namespace import mount
from tests.crash.world import World, environment_of
from tests.crash.zygote import Zygote
from tests.fakes.llama_server import FakeLlamaServer
from tests.program import Mrpack

_OLD = "team/old:v1"
# HostRefused.
_FAILED = 8


def use_read_only(world: World, zygote: Zygote) -> Iterator[tuple[str, list[str]]]:
    """Each command and what was wrong with it."""
    world.reset("used")
    assert zygote.mrpack("resolve", _OLD).code == 0
    llama = FakeLlamaServer.install(world.folder / "bin")
    environment = environment_of(world)
    environment["PATH"] = f"{llama.folder}:{environment['PATH']}"
    program = Mrpack(environment, world.folder)
    mount("--bind", str(world.home), str(world.home))
    mount("-o", "remount,bind,ro", str(world.home))
    works = (
        ("list",),
        ("inspect", _OLD),
        ("verify",),
        ("df",),
        ("resolve", _OLD),
        ("gc", "--dry-run"),
        ("repair", "--dry-run"),
        ("push", _OLD, f"{world.registry}/team/pushed:v1"),
        ("copy", f"oci:{world.home}/store:docker.io/{_OLD}", f"oci:{world.folder}/elsewhere"),
        ("export", _OLD, f"{world.out}/m.tar"),
        ("pull", f"oci:{world.home}/store:docker.io/{_OLD}", "--output", f"{world.out}/m"),
        ("package", "--from", _OLD, "--set", "context_size=64", f"{world.registry}/team/set:v1", "--push"),
    )
    fails = (
        ("pull", world.remote),
        ("package", str(world.model("new")), "team/new:v1"),
        ("tag", _OLD, "team/alias:v1"),
        ("rm", _OLD),
        ("gc",),
    )
    for arguments in works:
        yield arguments[0], list(_check(zygote, arguments, 0))
    for arguments in (("serve", _OLD, "--dry-run"), ("run", _OLD, "Hello")):
        yield arguments[0], _check_served(program, arguments)
    for arguments in fails:
        yield arguments[0], list(_check(zygote, arguments, _FAILED))


def _check_served(program: Mrpack, arguments: tuple[str, ...]) -> list[str]:
    """In a process of its own, which may have threads. Logs are not for the store's disk."""
    try:
        program(*arguments)
    except AssertionError as error:
        return [str(error)]
    return []


def _check(zygote: Zygote, arguments: tuple[str, ...], code: int) -> Iterator[str]:
    ended = zygote.mrpack(*arguments)
    if ended.code != code:
        yield f"exit code {ended.code}: {ended.err}"
    elif code and "no permission" not in ended.err.splitlines()[-1]:
        yield f"says {ended.err}"
