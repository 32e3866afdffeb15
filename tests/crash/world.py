"""A small world for operations to crash in: model files, a registry with a model, a store with another."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.crash.zygote import MRPACK, Ended, Running, Zygote
from tests.fakes import raw_gguf
from tests.fakes.registry import FakeRegistry
from tests.program import empty_environment

# More than two buffers, so that a blob takes several writes.
LARGE = 600_000
SMALL = 3_000
# Several parts, and several pipes full.
LARGE_PARTS = 5 * 1024 * 1024
QUIET = ("--quiet", "--progress", "none")


@dataclass(frozen=True)
class Operation:
    """`arguments` of mrpack; `start` names the store it begins with, `end` the references there are after it.

    `again`: exit codes that a repetition may have. `function`: what a zygote calls instead of mrpack.
    """

    name: str
    arguments: tuple[str, ...]
    start: str
    end: frozenset[str]
    again: frozenset[int] = frozenset({0})
    function: str = MRPACK

    def begin(self, zygote: Zygote) -> Running:
        return zygote.begin([*self.arguments, *QUIET], function=self.function)


@dataclass(frozen=True)
class World:
    folder: Path
    registry: str

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def log(self) -> Path:
        """What strace writes down."""
        return self.folder / "strace.log"

    def model(self, name: str) -> Path:
        return self.folder / f"{name}.gguf"

    @property
    def remote(self) -> str:
        return f"{self.registry}/team/remote:v1"

    @property
    def shared(self) -> str:
        """A model of the registry with the weights of `gone`."""
        return f"{self.registry}/team/shared:v1"

    @property
    def large(self) -> str:
        """A model that is pulled in parts."""
        return f"{self.registry}/team/large:v1"

    @property
    def out(self) -> Path:
        """The user's folder, for what leaves the store."""
        return self.folder / "out"

    @property
    def archive(self) -> Path:
        """`gone`, exported."""
        return self.folder / "gone.tar"

    @property
    def layout(self) -> str:
        """`gone` in a layout that is no store."""
        return f"oci:{self.folder}/layout:v1"

    def reset(self, start: str) -> None:
        """Nothing is in the store (`empty`), or a model and the remains of another (`used`); nor in `out`."""
        shutil.rmtree(self.home, ignore_errors=True)
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(exist_ok=True)
        self.refill(start)

    def refill(self, start: str) -> None:
        source = self.folder / start
        if source.exists():
            shutil.copytree(source, self.home, copy_function=_copy, dirs_exist_ok=True)

    def operations(self) -> dict[str, Operation]:
        old, new, alias, warm, gone, copied = (
            f"docker.io/team/{name}:v1" for name in ("old", "new", "alias", "warm", "gone", "copied")
        )
        file = str(self.model("new"))
        setting = ("--set", "sampling.temperature=0.5")
        in_store = f"oci:{self.home}/store:{copied}"
        pushed, built = (f"{self.registry}/team/{name}:v1" for name in ("pushed", "built"))
        found = (
            Operation("pull", ("pull", self.remote, "--jobs", "1"), "empty", frozenset({self.remote})),
            Operation("package", ("package", file, new, "--jobs", "1"), "empty", frozenset({new})),
            Operation("tag", ("tag", old, alias), "used", frozenset({old, alias})),
            Operation("rm", ("rm", old), "used", frozenset(), frozenset({0, 3})),
            Operation("gc", ("gc",), "used", frozenset({old})),
            Operation("resolve", ("resolve", old), "used", frozenset({old})),
            Operation("set", ("package", "--from", old, warm, *setting), "used", frozenset({old, warm})),
            Operation("import", ("import", str(self.archive)), "used", frozenset({old, gone})),
            Operation("copy", ("copy", self.layout, in_store), "used", frozenset({old, copied})),
            Operation("export", ("export", old, f"{self.out}/m.tar"), "used", frozenset({old})),
            Operation("extract", ("pull", self.remote, "--output", f"{self.out}/m"), "empty", frozenset()),
            Operation("push", ("push", old, pushed), "used", frozenset({old})),
            Operation("build", ("package", file, built, "--push"), "empty", frozenset()),
            Operation(
                "parts",
                (self.large, str(self.home)),
                "empty",
                frozenset({self.large}),
                function="tests.crash.parts:pull",
            ),
        )
        return {operation.name: operation for operation in found}


def _copy(source: str, target: str) -> None:
    """Blobs stay links to the files that they were packaged from, where that is possible."""
    is_blob = "/blobs/" in source
    try:
        if is_blob:
            os.link(source, target)
    except OSError:
        is_blob = False
    if not is_blob:
        shutil.copy2(source, target)
        if "/blobs/" in target:
            os.chmod(target, 0o444)


def write_model(path: Path, seed: int, size: int) -> Path:
    """A GGUF file that holds `size` random bytes of weights."""
    keys = [
        raw_gguf.pair("general.architecture", raw_gguf.STRING, "llama"),
        raw_gguf.pair("general.name", raw_gguf.STRING, f"model {seed}"),
    ]
    weights = random.Random(seed).randbytes(size // 4 * 4)
    path.write_bytes(raw_gguf.gguf(keys, [raw_gguf.tensor("token_embd.weight", [size // 4])], weights))
    return path


@contextmanager
def open_world(folder: Path) -> Iterator[tuple[World, Zygote, FakeRegistry]]:
    """The zygote runs one thread a process."""
    with FakeRegistry() as registry:
        world = World(folder, registry.address)
        with Zygote(folder / "zygote", environment_of(world), one_thread=True) as zygote:
            _furnish(world, zygote)
            yield world, zygote, registry


def environment_of(world: World) -> dict[str, str]:
    folder = world.folder / "user"
    folder.mkdir(parents=True, exist_ok=True)
    return {**empty_environment(folder), "MRPACK_HOME": str(world.home), "PYTHONDONTWRITEBYTECODE": "1"}


def _furnish(world: World, zygote: Zygote) -> None:
    write_model(world.model("new"), 1, LARGE)
    write_model(world.model("old"), 2, SMALL)
    write_model(world.model("gone"), 3, SMALL)

    def run(*arguments: str | Path) -> Ended:
        done = zygote.mrpack(*arguments)
        assert done.code == 0, done
        return done

    run("package", world.model("new"), world.remote, "--push")
    run("package", world.model("old"), "team/old:v1")
    run("package", world.model("gone"), "team/gone:v1")
    run("package", world.model("gone"), world.shared, "--push")
    run("package", write_model(world.folder / "large.bin", 9, LARGE_PARTS), world.large, "--push")
    run("export", "team/gone:v1", world.archive)
    run("copy", f"oci:{world.home}/store:docker.io/team/gone:v1", world.layout)
    run("list")  # keeps what it shows, for gc to forget
    run("rm", "--keep-blobs", "team/gone:v1")
    world.home.rename(world.folder / "used")
