"""What clients are told that models can do: which engine, capabilities, modalities, in each list."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mrpack_runtime.engine import Installation, ModelBundle, Operation
from mrpack_runtime.protocols.abilities import describe_abilities
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import Running, gateway


async def told(g: Running, name: str) -> dict[str, object]:
    return (await g.client.get(f"/v1/models/localhost/{name}:latest")).json["mrpack"]


def test_the_list_says_engine_capabilities_and_modalities(short_folder: Path) -> None:
    async def main() -> None:
        names = tuple(f"localhost/{name}:latest" for name in ("plain", "embeds", "sees"))
        async with gateway(short_folder, models=names) as g:
            g.library.add("localhost/foreign:latest", b"other", model_format="onnx")
            (g.library.find("embeds").folder / "mrpack.json").write_text('{"mode": "embedding"}')
            (g.library.find("sees").folder / "mmproj.gguf").write_bytes(b"GGUF")
            found = {
                name: (block["engine"], block["engines"], block["capabilities"], block["modalities"])
                for name in ("plain", "embeds", "sees", "foreign")
                for block in [await told(g, name)]
            }
            text = {"input": ["text"], "output": ["text"]}
            assert found == {
                "plain": ("fake", ["fake"], ["completion"], text),
                "embeds": ("fake", ["fake"], ["embedding"], {"input": ["text"], "output": ["embedding"]}),
                "sees": ("fake", ["fake"], ["completion", "vision"], {**text, "input": ["text", "image"]}),
                "foreign": (None, [], [], {"input": [], "output": []}),
            }
            listed = (await g.client.get("/v1/models")).json["data"]
            assert {model["id"].partition("/")[2].partition(":")[0] for model in listed} == set(found)

    asyncio.run(main())


def test_settings_by_hand_and_of_the_command_decide_what_a_model_is_for(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            assert (await told(g, "fake"))["capabilities"] == ["completion"]
            await g.client.post("/engines/_configure", {"model": "fake", "mode": "reranking"})
            assert (await told(g, "fake"))["capabilities"] == ["reranking"]
        async with gateway(short_folder, settings='{"mode": "embedding"}') as g:
            assert (await told(g, "fake"))["capabilities"] == ["embedding"]

    asyncio.run(main())


def test_a_model_that_no_engine_here_runs_says_so(short_folder: Path) -> None:
    async def main() -> None:
        engine = FakeEngine(installed=False)
        async with gateway(short_folder, engine) as g:
            block = await told(g, "fake")
            assert (block["engine"], block["engines"], block["capabilities"]) == (None, ["fake"], [])

    asyncio.run(main())


class Toolless(FakeEngine):
    def tool_refusal(self, installation: Installation, bundle: ModelBundle) -> str | None:
        return "its template knows no tools"


@pytest.mark.parametrize(
    ("engine", "can"), [(FakeEngine(), ["completion", "tools"]), (Toolless(), ["completion"])]
)
def test_ollamas_clients_are_told_of_tools_that_the_engine_can_call(
    short_folder: Path, engine: FakeEngine, can: list[str]
) -> None:
    async def main() -> None:
        async with gateway(short_folder, engine) as g:
            shown = (await g.client.post("/api/show", {"model": "fake"})).json
            assert shown["capabilities"] == can
            assert shown["model_info"]["general.name"] == "fake"
            assert (await g.client.get("/models/fake")).json["config"]["gguf"] == {"general.name": "fake"}

    asyncio.run(main())


@pytest.mark.parametrize("operation", Operation)
def test_each_operation_gives_something(operation: Operation) -> None:
    assert describe_abilities(operation, sees=False)["modalities"]["output"]
