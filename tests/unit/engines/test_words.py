"""Engines in their own words: for the model, for sampling; and engines that were only read about."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from mrpack.digest import Digest
from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack_runtime.engine import (
    EngineSettings,
    Installation,
    Launch,
    LaunchRequest,
    ModelBundle,
    Operation,
    RenamesSampling,
    caveat,
)
from mrpack_runtime.engines import engines, mlx, sglang
from mrpack_runtime.machine.host import Gpu, HostFacts, PythonEnvironment
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import chat_body, gateway

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=2, physical_cores=1, memory=2**33)
HERE = {
    "sglang": replace(HOST, gpus=(Gpu(api="cuda", name="A"),)),
    "mlx": replace(HOST, os="macos", arch="arm64", gpus=(Gpu(api="metal", name="M"),)),
}
SAFETENSORS = ModelConfig(format="safetensors")
ENGINES = {"sglang": sglang.ENGINE, "mlx": mlx.ENGINE}


@dataclass(kw_only=True)
class OwnWords(FakeEngine):
    @property
    def sampling_names(self) -> dict[str, str]:
        return {"repeat_penalty": "repetition_penalty"}

    def launch(self, request: LaunchRequest) -> Launch:
        return replace(super().launch(request), served_name="default_model")


def test_an_engine_is_asked_in_its_own_words_and_answers_in_ours(short_folder):
    async def main() -> None:
        settings = '{"sampling": {"repeat_penalty": 1.1, "top_k": 5}}'
        async with gateway(short_folder, OwnWords(), settings=settings) as g:
            answer = await g.client.chat()
            assert answer.json["model"] == "localhost/fake:latest"
            body = (await g.engine_requests())[-1]["body"]
            assert body == {
                **chat_body(),
                "model": "default_model",
                "repetition_penalty": 1.1,
                "top_k": 5,
            }

    asyncio.run(main())


def test_vllm_has_other_words_for_sampling():
    vllm = engines()["vllm"]
    assert isinstance(vllm, RenamesSampling)
    assert vllm.sampling_names == {"repeat_penalty": "repetition_penalty"}
    assert not isinstance(engines()["llama.cpp"], RenamesSampling)


def test_engines_that_nobody_has_run_come_last():
    untested = [name for name, engine in engines().items() if caveat(engine)]
    assert untested == ["mlx", "sglang"]
    assert list(engines())[-2:] == untested


@pytest.mark.parametrize(("name", "package"), [("sglang", "sglang"), ("mlx", "mlx-lm")])
def test_they_are_found_where_they_can_run(name, package, tmp_path: Path):
    engine = ENGINES[name]
    site = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
    site.mkdir()
    (site / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    host = replace(HERE[name], pythons=(PythonEnvironment(Path("/x/bin/python"), (tmp_path,)),))
    assert [found.launcher for found in engine.installations(host)] == [package]
    assert engine.installations(HOST) == ()
    assert engine.unsupported_reason(host, SAFETENSORS) is None
    assert engine.unsupported_reason(HOST, SAFETENSORS)


@pytest.mark.parametrize("name", ["sglang", "mlx"])
def test_they_listen_on_loopback_and_open_the_folder(name, tmp_path: Path):
    engine = ENGINES[name]
    (tmp_path / "model.safetensors").write_bytes(b"")
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    bundle = ModelBundle(
        name="localhost/tiny:latest",
        digest=Digest.of(b""),
        config=SAFETENSORS,
        folder=tmp_path,
        weights=(tmp_path / "model.safetensors",),
        chat_template=tmp_path / "chat_template.jinja",
    )

    def launch(settings: EngineSettings) -> Launch:
        return engine.launch(
            LaunchRequest(
                installation=Installation(launcher=name, version="1", where="/x/bin/python"),
                bundle=bundle,
                settings=settings,
                host=HERE[name],
                run_folder=tmp_path,
                free_port=lambda: 4711,
            )
        )

    found = launch(EngineSettings(context_size=64, parallel=2))
    assert found.endpoint == TcpEndpoint(4711)
    words = " ".join(found.argv)
    assert f" {tmp_path} --host 127.0.0.1 --port 4711" in words
    assert "trust" not in words
    with pytest.raises(Unsupported):
        launch(EngineSettings(operation=Operation.IMAGE_GENERATION))
