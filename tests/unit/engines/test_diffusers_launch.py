"""What Diffusers is started with: the folder of a pipeline, its settings, and what is refused before."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.digest import Digest
from mrpack.errors import InvalidArtifact, MrpackError, Unsupported, UsageError
from mrpack.model.config import ModelConfig
from mrpack.model.overrides import SETTINGS
from mrpack_runtime.engine import EngineSettings, Installation, Launch, LaunchRequest, ModelBundle, Operation
from mrpack_runtime.engines.diffusers import ENGINE
from mrpack_runtime.machine.host import Gpu, HostFacts, PythonEnvironment
from mrpack_runtime.processes.process import free_port
from mrpack_runtime.wire.endpoint import UnixEndpoint
from tests.fakes.raw_dduf import FILES, INDEX, archive, entries, index

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=8, physical_cores=4, memory=2**34)
FOUND = Installation(launcher="diffusers", version="0.42.1", where="/envs/diffusers/bin/python")
PAINT = EngineSettings(operation=Operation.IMAGE_GENERATION)
RUN = Path("/run/e")


def make_bundle(folder: Path, model_format: str, weights: Path, **parts: Any) -> ModelBundle:
    return ModelBundle(
        name="example.com/team/sd:v1",
        digest=Digest.of(b""),
        config=ModelConfig(format=model_format),
        folder=folder,
        weights=(weights,),
        **parts,
    )


def folder_bundle(folder: Path, files: Mapping[str, bytes] = FILES, **parts: Any) -> ModelBundle:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return make_bundle(folder, "diffusers", folder / "vae" / "diffusion_pytorch_model.safetensors", **parts)


def dduf_bundle(folder: Path, content: bytes | None = None) -> ModelBundle:
    folder.mkdir(exist_ok=True)
    path = folder / "model.dduf"
    path.write_bytes(archive(entries()) if content is None else content)
    return make_bundle(folder, "dduf", path)


def launch(model: ModelBundle, settings: EngineSettings = PAINT, host: HostFacts = HOST) -> Launch:
    return ENGINE.launch(
        LaunchRequest(
            installation=FOUND,
            bundle=model,
            settings=settings,
            host=host,
            run_folder=RUN,
            free_port=free_port,
        )
    )


def wanted(model: ModelBundle, settings: EngineSettings = PAINT) -> dict[str, Any]:
    return json.loads(launch(model, settings).argv[-1])


def test_a_folder_is_opened_where_it_lies(tmp_path: Path) -> None:
    model = folder_bundle(tmp_path)
    found = launch(model)
    assert found.argv[:2] == (FOUND.where, "-I")
    assert found.endpoint == UnixEndpoint(RUN / "engine.sock")
    specification = wanted(model)
    assert specification["folder"] == str(tmp_path)
    assert specification["pipeline"] == "TinyPipeline"
    assert (specification["threads"], specification["memory"]) == (4, 2**34)


def test_a_dduf_is_unpacked_once_and_again_when_something_is_gone(tmp_path: Path) -> None:
    model = dduf_bundle(tmp_path)
    folder = Path(wanted(model)["folder"])
    assert {name: (folder / name).read_bytes() for name in FILES} == dict(FILES)
    first = folder.stat().st_ino
    assert Path(wanted(model)["folder"]).stat().st_ino == first
    (folder / "vae" / "config.json").unlink()
    wanted(model)
    assert (folder / "vae" / "config.json").is_file()
    assert sorted(os.listdir(tmp_path)) == ["model.dduf", "model.dduf%unpacked"]


def test_a_damaged_dduf_leaves_nothing(tmp_path: Path) -> None:
    content = bytearray(archive(entries()))
    content[content.index(b"vae/diffusion_pytorch_model.safetensors") + 60] ^= 1
    with pytest.raises(MrpackError):
        launch(dduf_bundle(tmp_path, bytes(content)))
    assert os.listdir(tmp_path) == ["model.dduf"]


@pytest.mark.parametrize(
    "change",
    [
        {"_class_name": ["evil", "EvilPipeline"]},
        {"vae": ["evil", "Evil"]},
        {"vae": ["os", "system"]},
        {"vae": ["diffusers_modules.local.evil", "Evil"]},
    ],
)
def test_classes_that_nobody_knows_are_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    document = json.dumps({**INDEX, **change}).encode()
    with pytest.raises(Unsupported):
        launch(folder_bundle(tmp_path / "folder", {**FILES, "model_index.json": document}))
    with pytest.raises(Unsupported):
        launch(dduf_bundle(tmp_path / "dduf", archive(entries(model_index=index(**change)))))


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"_class_name": "os.system\\n"}'])
def test_a_malformed_index_is_refused(tmp_path: Path, document: bytes) -> None:
    with pytest.raises(InvalidArtifact):
        launch(folder_bundle(tmp_path, {**FILES, "model_index.json": document}))


def test_every_setting_of_the_table_reaches_the_server(tmp_path: Path) -> None:
    values = {"size": "64x64", "max_size": "128x128", "negative_prompt": "rain"}
    for setting in SETTINGS:
        if setting.group == "diffusers":
            schema = setting.kind.schema()
            plain = {"integer": 4, "number": 1, "boolean": True}.get(schema["type"], "")
            values.setdefault(setting.name, schema.get("enum", [plain])[0])
    settings = EngineSettings(operation=Operation.IMAGE_GENERATION, own=values)
    assert wanted(folder_bundle(tmp_path), settings)["settings"] == values


@pytest.mark.parametrize("own", [{"custom_pipeline": "x"}, {"dtype": "int3"}, {"max_images": 99}])
def test_other_settings_are_refused(tmp_path: Path, own: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        launch(folder_bundle(tmp_path), EngineSettings(operation=Operation.IMAGE_GENERATION, own=own))


def test_it_paints_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(Unsupported):
        launch(folder_bundle(tmp_path), EngineSettings())


def environment(folder: Path, *packages: str) -> PythonEnvironment:
    for package in packages:
        info = folder / f"{package}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    return PythonEnvironment(Path(FOUND.where), (folder,))


def host_with(*pythons: PythonEnvironment) -> HostFacts:
    return HostFacts(os="linux", arch="x86_64", cpu_count=8, physical_cores=4, memory=2**34, pythons=pythons)


def test_it_is_found_by_all_that_it_needs(tmp_path: Path) -> None:
    half = environment(tmp_path / "half", "diffusers", "transformers", "pillow")
    whole = environment(tmp_path / "whole", "diffusers", "torch", "transformers", "pillow")
    assert ENGINE.installations(host_with(half)) == ()
    reason = ENGINE.unsupported_reason(host_with(half), ModelConfig(format="dduf"))
    assert reason is not None
    assert "no torch" in reason
    (found,) = ENGINE.installations(host_with(half, whole))
    assert (found.launcher, found.version) == ("diffusers", "1.0")
    assert ENGINE.unsupported_reason(host_with(half, whole), ModelConfig(format="dduf")) is None


def test_adapters_need_their_package_and_format(tmp_path: Path) -> None:
    without = host_with(environment(tmp_path / "a", "diffusers"))
    model = folder_bundle(tmp_path / "m", adapters=(tmp_path / "m" / "style.safetensors",))
    with pytest.raises(Unsupported, match="peft"):
        launch(model, host=without)
    launch(model, host=host_with(environment(tmp_path / "b", "diffusers", "peft")))
    odd = folder_bundle(tmp_path / "m", adapters=(tmp_path / "m" / "style.bin",))
    with pytest.raises(Unsupported, match=r"\.safetensors"):
        launch(odd)


@pytest.mark.parametrize(
    ("unet", "channels", "own", "pixels", "widest"),
    [
        ({"sample_size": 64}, [128, 256, 512], {}, 512 * 512, 256),
        ({"sample_size": 64}, [32], {"size": "256x128"}, 256 * 128, 32),
        ({"sample_size": [1, 2]}, [], {}, 1024 * 1024, 256),
        ({"sample_size": "large"}, "many", {}, 1024 * 1024, 256),
    ],
)
def test_memory_is_for_an_image_of_the_pipelines_size(
    tmp_path: Path, unet: dict[str, Any], channels: Any, own: dict[str, Any], pixels: int, widest: int
) -> None:
    documents = {"unet/config.json": unet, "vae/config.json": {"block_out_channels": channels}}
    files = {name: json.dumps(document).encode() for name, document in documents.items()}
    model = folder_bundle(tmp_path, {**FILES, **files})
    settings = EngineSettings(operation=Operation.IMAGE_GENERATION, own=own)
    painting = pixels * widest * 5 * 4
    found = ENGINE.memory(FOUND, model, settings, HOST)
    assert found.host == model.weights[0].stat().st_size + painting + 2**29
    card = replace(HOST, gpus=(Gpu(api="cuda", name="card", memory=2**33),))
    assert ENGINE.memory(FOUND, model, settings, card).gpus[0] > painting
