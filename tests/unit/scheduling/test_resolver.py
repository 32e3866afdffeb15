"""From a name to what has to run: the engine, the settings, and models that have to be pulled first."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from mrpack.errors import InvalidArtifact, NotFound, RegistryUnavailable, Unsupported, UsageError
from mrpack.model.overrides import Overrides, parse_overrides
from mrpack_runtime.engine import Operation
from mrpack_runtime.resolver import EngineMismatch, Resolver
from mrpack_runtime.settings.merged import CommandSettings, model_settings, settings_group
from mrpack_runtime.settings.store import MemorySettings
from mrpack_runtime.want import Want
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.folder_library import FolderLibrary
from tests.fakes.gateway import this_host, until
from tests.waiting import DEADLINE_S

GGUF = FakeEngine(name="llama.cpp")
OTHER = FakeEngine(
    name="other", formats=frozenset({"safetensors"}), operations=frozenset({Operation.EMBEDDING})
)
ENGINES = {engine.name: engine for engine in (GGUF, OTHER)}


@pytest.fixture
def library(tmp_path: Path) -> FolderLibrary:
    library = FolderLibrary(tmp_path)
    library.add("localhost/a:latest", b"a")
    library.add("localhost/b:latest", b"b", model_format="safetensors")
    return library


def resolve(
    library: FolderLibrary,
    name: str,
    engine: str | None = None,
    operation: Operation | None = Operation.COMPLETION,
    **options,
) -> Want:
    command = options.pop("command", CommandSettings())
    resolver = Resolver(library, ENGINES, this_host, command, **options)
    return asyncio.run(resolver.resolve(name, engine, operation))


def test_the_format_chooses_the_engine(library):
    assert resolve(library, "a").key.engine == "llama.cpp"
    assert resolve(library, "b", operation=Operation.EMBEDDING).key.engine == "other"


def test_an_engine_is_taken_or_refused_and_never_replaced(library):
    assert resolve(library, "a", "llama.cpp").key.engine == "llama.cpp"
    assert resolve(library, "a", "llama.cpp/program").key.engine == "llama.cpp"
    assert resolve(library, "a", default_engine="llama.cpp").key.engine == "llama.cpp"
    with pytest.raises(EngineMismatch):
        resolve(library, "a", "other")
    with pytest.raises(EngineMismatch):
        resolve(library, "a", default_engine="other")
    with pytest.raises(NotFound):
        resolve(library, "a", "nope")
    with pytest.raises(Unsupported) as caught:
        resolve(library, "b")
    assert not isinstance(caught.value, EngineMismatch)


def test_an_ambiguous_name_is_an_error(library):
    library.add("localhost/team/a:latest", b"another")
    with pytest.raises(UsageError):
        resolve(library, "a")


def test_without_an_operation_the_model_says_what_it_is_for(library):
    assert resolve(library, "a", operation=None).key.operation is Operation.COMPLETION
    (library.find("a").folder / "mrpack.json").write_text('{"mode": "embedding"}')
    assert resolve(library, "a", operation=None).key.operation is Operation.EMBEDDING


def test_the_command_line_wins_over_the_artifact(library):
    (library.find("a").folder / "mrpack.json").write_text(
        '{"context_size": 100, "keep_alive": "1m", "sampling": {"top_k": 1, "seed": 1},'
        ' "llamacpp": {"keep": 5}}'
    )
    command = CommandSettings(
        overrides=Overrides({"context_size": 200, "sampling.seed": None, "llamacpp.mmap": False}),
        threads=3,
        parallel=2,
        ready_timeout_s=7.0,
    )
    settings = resolve(library, "a", command=command).settings
    engine = settings.engine
    assert (engine.context_size, engine.threads, engine.parallel, engine.ready_timeout_s) == (200, 3, 2, 7.0)
    assert engine.own == {"keep": 5, "mmap": False}
    assert settings.sampling == {"top_k": 1}
    assert settings.keep_alive_s == 60.0


@pytest.mark.parametrize(
    ("text", "seconds"), [("null", 300.0), ('"0"', 0.0), ('"-1"', None), ('"1h30m"', 5400.0), ("90", 90.0)]
)
def test_keep_alive_has_a_default_and_an_end_or_none(library, text, seconds):
    overrides = parse_overrides(f'{{"keep_alive": {text}}}'.encode())
    found = model_settings(
        library.find("a"), GGUF, Operation.COMPLETION, CommandSettings(overrides=overrides)
    )
    assert found.keep_alive_s == seconds


def test_settings_of_other_engines_do_not_count(library):
    command = CommandSettings(overrides=Overrides({"vllm.max_model_len": 5, "llamacpp.keep": 1}))
    found = model_settings(library.find("a"), OTHER, Operation.EMBEDDING, command)
    assert (found.engine.own, found.engine.context_size) == ({}, None)
    assert settings_group(GGUF) == "llamacpp"


def test_malformed_settings_are_the_artifacts_fault(library):
    (library.find("a").folder / "mrpack.json").write_text('{"context_size": "many"}')
    with pytest.raises(InvalidArtifact, match="context_size"):
        resolve(library, "a")


class Halting(MemorySettings):
    """Whoever asks gets what is kept at that moment, when told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.was_asked = threading.Event()
        self.may_end = threading.Event()

    def get(self, name: str) -> Overrides:
        found = super().get(name)
        self.was_asked.set()
        self.may_end.wait(DEADLINE_S)
        return found


def test_settings_that_change_while_a_model_is_looked_up_count_from_the_next_request(library):
    async def main() -> None:
        kept = Halting()
        resolver = Resolver(library, ENGINES, this_host, CommandSettings(), configured=kept)
        first = asyncio.create_task(resolver.resolve("a", None, None))
        await until(kept.was_asked.is_set)
        kept.set("localhost/a:latest", Overrides({"context_size": 5}))
        await resolver.expect(())  # another request notices the change
        kept.may_end.set()
        assert (await first).settings.engine.context_size is None
        assert (await resolver.resolve("a", None, None)).settings.engine.context_size == 5

    asyncio.run(main())


class Pulling(FolderLibrary):
    """Fetches any model whose name begins with `remote`, when told to go on."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        object.__setattr__(self, "may_end", threading.Event())
        object.__setattr__(self, "pulls", [])
        object.__setattr__(self, "adding", threading.Lock())

    def pull(self, name: str) -> None:
        self.pulls.append(name)
        self.may_end.wait(DEADLINE_S)
        if not name.startswith("localhost/remote"):
            raise RegistryUnavailable(f"no registry has {name}")
        with self.adding:
            self.add(name, name.encode())


def test_a_missing_model_is_pulled_once_for_all_and_to_the_end(tmp_path):
    async def main() -> None:
        library = Pulling(tmp_path)
        resolver = Resolver(library, ENGINES, this_host, CommandSettings(), pull=True)
        name = "localhost/remote:latest"
        asked = [asyncio.create_task(resolver.resolve(name, None, Operation.COMPLETION)) for _ in range(5)]
        await until(lambda: library.pulls)
        for task in asked[1:]:
            task.cancel()
        library.may_end.set()
        assert (await asked[0]).bundle.name == name
        assert library.pulls == [name]
        with pytest.raises(RegistryUnavailable):
            await resolver.resolve("localhost/nope:latest", None, Operation.COMPLETION)

    asyncio.run(main())


def test_models_that_are_here_do_not_wait_for_pulls(tmp_path):
    async def main() -> None:
        library = Pulling(tmp_path)
        library.add("localhost/here:latest", b"GGUF")
        resolver = Resolver(library, ENGINES, this_host, CommandSettings(), pull=True)
        names = [f"localhost/remote-{number}:latest" for number in range(40)]
        asked = [asyncio.create_task(resolver.resolve(name, None, Operation.COMPLETION)) for name in names]
        await until(lambda: len(library.pulls) > 3)
        async with asyncio.timeout(DEADLINE_S):
            assert (await resolver.resolve("localhost/here:latest", None, None)).bundle.name
        library.may_end.set()
        assert [want.bundle.name for want in await asyncio.gather(*asked)] == names

    asyncio.run(main())


def test_nothing_is_pulled_unless_asked_for(tmp_path):
    library = Pulling(tmp_path)
    with pytest.raises(NotFound):
        resolve(library, "localhost/remote:latest")
    assert library.pulls == []
