"""What a gateway tells of its models, its engines and itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.fakes.gateway import Running, exists, gateway, read_events, until
from tests.waiting import DEADLINE_S


def test_models_are_listed_as_openai_and_docker_model_runner_do(short_folder):
    async def main() -> None:
        async with gateway(short_folder, models=("localhost/a:latest", "localhost/b:1")) as g:
            g.library.add("localhost/a:other", b"GGUF 0")
            await g.client.chat("a")
            for prefix in ("/engines/fake/v1", "/engines/v1", "/v1"):
                listed = (await g.client.get(f"{prefix}/models")).json
                assert listed["object"] == "list"
                assert [model["id"] for model in listed["data"]] == ["localhost/a:latest", "localhost/b:1"]
            first, second = listed["data"]
            assert first["object"] == "model"
            assert first["created"] == 1700000000
            assert first["owned_by"]
            assert first["dmr"] == {"parameters": "1K", "size": "9B"}
            assert first["mrpack"]["names"] == ["localhost/a:latest", "localhost/a:other"]
            assert (first["mrpack"]["loaded"], second["mrpack"]["loaded"]) == (["fake"], [])
            for name in ("a", "localhost/a:latest", "localhost/a:other", first["mrpack"]["digest"]):
                own = {"id": name} if name in first["mrpack"]["names"] else {}
                assert (await g.client.get(f"/v1/models/{name}")).json == first | own
            assert (await g.client.request("HEAD", "/v1/models")).status == 200

    asyncio.run(main())


def test_what_runs_can_be_seen_and_unloaded(short_folder):
    async def main() -> None:
        async with gateway(short_folder, models=("localhost/a:latest", "localhost/b:latest")) as g:
            assert (await g.client.get("/engines/ps")).json == []
            assert (await g.client.get("/engines/status")).json == {"fake": "Available: program 1.0"}
            await g.client.chat("a")
            await g.client.chat("b")
            assert (await g.client.get("/engines/status")).json == {"fake": "Running: program 1.0"}
            first, second = (await g.client.get("/engines/ps")).json
            assert first["backend_name"] == "fake"
            assert first["model_name"] == "localhost/a:latest"
            assert first["mode"] == "completion"
            assert (first["in_use"], first["loading"], first["keep_alive"]) == (False, False, "300s")
            assert "command" not in first
            wide = (await g.client.get("/engines/ps?wide=true")).json[0]
            assert wide["command"][1].endswith("engine.py")
            assert wide["why"] == "a test asked for it"
            unknown = await g.client.post("/engines/unload", {"models": ["nope"]})
            assert unknown.status == 404
            gone = await g.client.post("/engines/unload", {"models": ["a"], "backend": "fake"})
            assert gone.json == {"unloaded_runners": 1, "busy": []}
            assert not exists(Path(f"/proc/{first['pid']}"))
            assert [entry["model_name"] for entry in (await g.client.get("/engines/ps")).json] == [
                "localhost/b:latest"
            ]
            assert (await g.client.post("/engines/unload", {"all": True})).json["unloaded_runners"] == 1
            assert not exists(Path(f"/proc/{second['pid']}"))

    asyncio.run(main())


def test_busy_engines_are_unloaded_by_force_only(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.start_stream(chunks=1000, delay=0.05)
            kept = await g.client.post("/engines/unload", {"all": True})
            assert kept.json == {"unloaded_runners": 0, "busy": ["localhost/fake:latest"]}
            forced = await g.client.post("/engines/unload", {"all": True, "force": True})
            assert forced.json == {"unloaded_runners": 1, "busy": []}
            assert "was stopped" in [event async for event in read_events(reader)][-1]["error"]["message"]
            writer.close()

    asyncio.run(main())


async def engine_has_told(g: Running) -> bool:
    return "fake: listening" in (await g.client.get("/logs")).body.decode()


def test_small_control_routes(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            assert (await g.client.get("/")).body == b"mrpack is running\n"
            assert (await g.client.get("/health")).json == {"status": "ok"}
            assert (await g.client.get("/ready")).json == {"status": "ready"}
            assert (await g.client.get("/version")).json == {"version": "0"}
            assert (await g.client.get("/engines/df")).json == {
                "models_disk_usage": 9,
                "default_backend_disk_usage": 0,
            }
            await g.client.chat()
            await until(lambda: engine_has_told(g))
            assert "fake: listening" not in (await g.client.get("/logs?no-engines=true")).body.decode()

    asyncio.run(main())


def test_logs_can_be_followed(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            reader, writer = await g.client.connect()
            writer.write(b"GET /logs?follow=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            await g.client.chat()
            async with asyncio.timeout(DEADLINE_S):
                await reader.readuntil(b"fake: listening")
            writer.close()

    asyncio.run(main())
