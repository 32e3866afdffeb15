"""Pipelines that carry code: packed with --allow-code, sent, and served by Diffusers; none of it ever runs.

Each kind of code makes a file, the canary, when somebody runs it. The engine is not confined here.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fakes.canaries import LYING_ABOUT, edit_json, pickled, python
from tests.fakes.made_by_engines import models_made_by
from tests.integration.conftest import Registry
from tests.integration.engines import link_engines, made_engines
from tests.integration.travel import sent
from tests.program import Done, Mrpack

pytestmark = [
    pytest.mark.engine,
    pytest.mark.registry,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("torch"),
    pytest.mark.skipif(sys.platform == "win32", reason="serving"),
]

PAINT = (
    *("a fox", "--set", "diffusers.num_inference_steps=2", "--size", "32x32"),
    *("--sandbox", "off", "--output"),
)
INDEX = "model_index.json"
TEXT, UNET = "text_encoder/config.json", "unet/config.json"


@dataclass(frozen=True)
class Evil:
    """What changes in a good pipeline: keys of documents, files of code or pickles, files that go.

    `says`: a part of the one line that refuses it.
    """

    says: str
    documents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    pickles: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()

    def lay(self, folder: Path, canary: Path) -> None:
        for name, keys in self.documents.items():
            edit_json(folder / name, **keys)
        for name in self.gone:
            (folder / name).unlink()
        for name in self.code:
            (folder / name).write_bytes(python(canary))
        for name in self.pickles:
            (folder / name).write_bytes(pickled(canary))


# The launcher refuses these, and no engine is started.
REFUSED = {
    "a pipeline of its own": Evil(
        "code of a model is never run", {INDEX: {"_class_name": ["pipeline", "Model"]}}, ("pipeline.py",)
    ),
    "a pipeline of its own, without the file": Evil(
        "is code of the model", {INDEX: {"_class_name": ["pipeline", "Model"]}}
    ),
    "a custom pipeline": Evil("custom_pipeline", {INDEX: {"custom_pipeline": "pipeline"}}, ("pipeline.py",)),
    "a component of its own": Evil("own", {INDEX: {"unet": ["own", "Model"]}}, ("unet/own.py",)),
    "a component of the standard library": Evil("system of os", {INDEX: {"unet": ["os", "system"]}}),
    "a component of Python": Evil("eval of builtins", {INDEX: {"unet": ["builtins", "eval"]}}),
    "a component by a dotted path": Evil(
        "transformers.dynamic_module_utils",
        {INDEX: {"unet": ["transformers.dynamic_module_utils", "get_class_from_dynamic_module"]}},
    ),
    "a text encoder of its own": Evil(
        "auto_map", {TEXT: {"auto_map": {"AutoModel": "own.Model"}}}, ("text_encoder/own.py",)
    ),
    "a file that calls itself Diffusers": Evil("place of diffusers", code=("vae/diffusers.py",)),
    "a scheduler of its own": Evil(
        "auto_map",
        {"scheduler/scheduler_config.json": {"auto_map": {"Scheduler": "own.Model"}}},
        ("scheduler/own.py",),
    ),
}
# The engine refuses these.
FAILING = {
    "a module as pipeline": Evil("no pipeline os", {INDEX: {"_class_name": "os"}}),
    "Python as pipeline": Evil("no pipeline builtins.eval", {INDEX: {"_class_name": "builtins.eval"}}),
    "any pipeline": Evil("no pipeline DiffusionPipeline", {INDEX: {"_class_name": "DiffusionPipeline"}}),
    "a class that is no pipeline": Evil("no pipeline UNet2DModel", {INDEX: {"_class_name": "UNet2DModel"}}),
    "a scheduler that is a module": Evil(
        "diffusers.logging, which is no class", {INDEX: {"scheduler": ["diffusers", "logging"]}}
    ),
    "a component that is a function": Evil(
        "transformers.pipeline, which is no class", {INDEX: {"text_encoder": ["transformers", "pipeline"]}}
    ),
    "code of another repository": Evil(
        "AutoModel",
        {
            INDEX: {"text_encoder": ["transformers", "AutoModel"]},
            TEXT: {"model_type": "own", "auto_map": {"AutoConfig": "a/b--own.C", "AutoModel": "a/b--own.M"}},
        },
    ),
    "pickled weights of Diffusers": Evil(
        "safetensors",
        pickles=("unet/diffusion_pytorch_model.bin",),
        gone=("unet/diffusion_pytorch_model.safetensors",),
    ),
    "pickled weights of Transformers": Evil(
        "safetensors", pickles=("text_encoder/pytorch_model.bin",), gone=("text_encoder/model.safetensors",)
    ),
}
# Nobody asks for these, or what asks is not listened to: the pipeline paints.
HARMLESS = {
    "what lies about": Evil(
        "",
        {INDEX: {"trust_remote_code": True}},
        code=("sitecustomize.py", "unet/usercustomize.py", "vae/torch.py", "diffusers.py"),
        pickles=(
            "learned_embeds.bin",
            "model.ckpt",
            "unet/diffusion_pytorch_model.bin",
            "text_encoder/pytorch_model.bin",
            "vae/diffusion_pytorch_model.ckpt",
            "scheduler/scheduler.pkl",
        ),
    ),
    "what asks in vain": Evil(
        "",
        {
            INDEX: {"custom_pipeline": "pipeline", "trust_remote_code": True},
            TEXT: {"auto_map": {"AutoModel": "own.Model"}, "architectures": ["os.system"]},
            UNET: {"auto_map": {"AutoModel": "own.Model"}, "_class_name": "os"},
            "scheduler/scheduler_config.json": {"_class_name": "builtins.eval"},
            "tokenizer/tokenizer_config.json": {"auto_map": {"AutoTokenizer": ["own.Model", None]}},
        },
    ),
}


@pytest.fixture
def source(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good pipeline to spoil."""
    python_of_engine = made_engines() / "diffusers" / "bin" / "python"
    made = models_made_by(python_of_engine, "tiny_pipelines", tmp_path_factory.getbasetemp().parent)
    return Path(shutil.copytree(made / "stable-diffusion", tmp_path / "pipeline"))


@pytest.fixture
def diffusers(mrpack: Mrpack, home: Path) -> Mrpack:
    """A home that has Diffusers."""
    mrpack.environment["MRPACK_HOME"] = str(home / "mrpack")
    link_engines(home / "mrpack", "diffusers")
    return mrpack


@pytest.fixture
def served(
    diffusers: Mrpack, anonymous_registry: Registry, source: Path, tmp_path: Path, canary: Path
) -> Callable[..., Done]:
    """Lays what is evil into the pipeline, sends it, and starts a command with its name."""

    def run(evil: Evil, command: str, *options: str | Path, fails: int = 0) -> Done:
        evil.lay(source, canary)
        name = sent(anonymous_registry, diffusers, tmp_path, "--diffusers", source, "--allow-code")
        done = diffusers(command, name, *options, fails=fails)
        assert not fails or evil.says in done.last_line
        assert not canary.exists()
        return done

    return run


@pytest.mark.parametrize("kind", REFUSED)
def test_no_engine_is_started_for_a_pipeline_that_asks_for_code(
    served: Callable[..., Done], kind: str
) -> None:
    served(REFUSED[kind], "serve", "--dry-run", fails=8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FAILING)
def test_the_real_diffusers_says_in_one_line_what_it_does_not_load(
    served: Callable[..., Done], tmp_path: Path, kind: str
) -> None:
    served(FAILING[kind], "run", *PAINT, tmp_path / "fox.png", fails=9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", HARMLESS)
def test_the_real_diffusers_runs_none_of_what_nobody_asks_for(
    served: Callable[..., Done], source: Path, tmp_path: Path, canary: Path, kind: str
) -> None:
    if kind == "what lies about":
        for name, make in LYING_ABOUT.items():
            (source / name).write_bytes(make(canary))
    served(HARMLESS[kind], "run", *PAINT, tmp_path / "fox.png")
    with Image.open(tmp_path / "fox.png") as image:
        assert image.size == (32, 32)


def test_what_lies_outside_is_not_packed(mrpack: Mrpack, source: Path, tmp_path: Path, canary: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.json").write_text(json.dumps({"secret": "aubergine"}))
    (source / "unet" / "secret.json").symlink_to(outside / "secret.json")
    (source / "outside").symlink_to(outside, target_is_directory=True)
    mrpack("package", "--diffusers", source, "evil", "--allow-code", fails=7)
