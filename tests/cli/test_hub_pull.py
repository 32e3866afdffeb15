"""Pulling from Hugging Face repositories as typed; the hub is a fake, huggingface_hub is real."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.hub import FakeHub
from tests.fakes.tiny_gguf import write_markov, write_mmproj, write_sharded
from tests.fakes.tiny_safetensors import write_llama, write_stable_diffusion
from tests.program import Done, Mrpack, empty_environment

Pull = Callable[..., Done]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    with FakeHub(page_size=5) as server:
        yield server


@pytest.fixture
def pull(mrpack: Mrpack, hub: FakeHub, tmp_path: Path) -> Pull:
    def run(*arguments: str, fails: int = 0, **more: str) -> Done:
        environment = {**hub.environment(str(tmp_path / "hf")), **more}
        return mrpack("pull", *arguments, fails=fails, **environment)

    return run


@pytest.fixture
def quantized(hub: FakeHub, tiny_model: Path, tmp_path: Path) -> dict[str, bytes]:
    """A repository of three models, one of them in shards, with all that lies around."""
    files = {
        "Tiny-Q8_0.gguf": write_markov(tmp_path, dtype="q8_0").read_bytes(),
        "Tiny-F16.gguf": tiny_model.read_bytes(),
        "README.md": b"# Tiny\n",
        "LICENSE": b"free\n",
        ".gitattributes": b"*.gguf lfs\n",
        "imatrix.gguf": b"not a model",
        "mmproj-BF16.gguf": b"not this one",
        "mmproj-F16.gguf": write_mmproj(tmp_path).read_bytes(),
    }
    for number, shard in enumerate(write_sharded(tmp_path), start=1):
        files[f"UD-Q4_K_XL/Tiny-UD-Q4_K_XL-{number:05}-of-00002.gguf"] = shard.read_bytes()
    hub.add("Org/Tiny-GGUF", files)
    return files


def inspected(mrpack: Mrpack, name: str) -> Any:
    return mrpack("inspect", name, "--json").json


def test_a_quantization_is_pulled_kept_and_found_under_the_name_that_was_typed(
    mrpack: Mrpack, hub: FakeHub, pull: Pull, quantized: Mapping[str, bytes]
) -> None:
    done = pull("hf.co/Org/Tiny-GGUF:F16", "--json")
    assert done.json["reference"] == "huggingface.co/org/tiny-gguf:F16"
    shown = inspected(mrpack, "hf.co/Org/Tiny-GGUF:F16")
    assert shown["digest"] == done.json["digest"]
    assert [(file["path"], file["role"]) for file in shown["files"]] == [
        ("Tiny-F16.gguf", "weights"),
        ("LICENSE", "license"),
        ("mmproj-F16.gguf", "mmproj"),
    ]
    (commit,) = {request.target.split("/tree/")[1][:40] for request in hub.seen("GET", "/tree/")}
    assert shown["annotations"] == {
        "org.opencontainers.image.source": "https://huggingface.co/Org/Tiny-GGUF",
        "org.opencontainers.image.revision": commit,
    }
    path = Path(mrpack("resolve", "huggingface.co/org/tiny-gguf:F16").out.strip())
    assert path.read_bytes() == quantized["Tiny-F16.gguf"]
    assert not hub.seen("GET", "Q8_0")
    assert "damaged" not in mrpack("verify").out


def test_all_shards_of_one_set_are_pulled(mrpack: Mrpack, pull: Pull, quantized: Mapping[str, bytes]) -> None:
    pull("hf.co/Org/Tiny-GGUF:ud-q4_k_xl")
    first = Path(mrpack("resolve", "hf.co/Org/Tiny-GGUF:ud-q4_k_xl").out.strip())
    assert first.name == "Tiny-UD-Q4_K_XL-00001-of-00002.gguf"
    for shard in first.parent.glob("*-of-00002.gguf"):
        assert shard.read_bytes() == quantized[f"UD-Q4_K_XL/{shard.name}"]


def test_a_commit_has_one_digest_on_every_machine_and_whatever_lies_in_the_cache(
    hub: FakeHub, pull: Pull, tmp_path: Path
) -> None:
    model = files_in(write_llama(tmp_path / "llama"))
    left_out = {"pytorch_model.bin": b"\x80\x02.", "onnx/model.onnx": b"x", ".gitattributes": b"x"}
    hub.add("Org/Llama", {**model, **left_out})
    first = pull("hf.co/Org/Llama").out
    (snapshot,) = (tmp_path / "hf").glob("hub/models--Org--Llama/snapshots/*")
    assert set(files_in(snapshot)) == set(model)
    (snapshot / "stray.json").write_text("{}")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = Mrpack(empty_environment(elsewhere), elsewhere)
    assert second("pull", "hf.co/Org/Llama", **hub.environment(str(tmp_path / "hf"))).out == first
    third = tmp_path / "third"
    third.mkdir()
    fresh = Mrpack(empty_environment(third), third)
    assert fresh("pull", "hf.co/Org/Llama", **hub.environment(str(third))).out == first
    folder = Path(fresh("resolve", "hf.co/Org/Llama").out.strip())
    assert files_in(folder) == model


def test_a_pipeline_is_pulled_with_its_folders(
    mrpack: Mrpack, hub: FakeHub, pull: Pull, tmp_path: Path
) -> None:
    pipeline = files_in(write_stable_diffusion(tmp_path / "sd"))
    hub.add("Org/Draw", {**pipeline, "draw-v1.ckpt": b"\x80\x02.", "draw-v1.safetensors": b"x" * 9000})
    pull("hf.co/Org/Draw")
    assert inspected(mrpack, "hf.co/Org/Draw")["format"] == "diffusers"
    assert files_in(Path(mrpack("resolve", "hf.co/Org/Draw").out.strip())) == pipeline


def test_what_is_stored_is_not_fetched_again_but_a_new_commit_is(
    mrpack: Mrpack, hub: FakeHub, pull: Pull, quantized: dict[str, bytes], tmp_path: Path
) -> None:
    first = pull("hf.co/Org/Tiny-GGUF:Q8_0").out
    before = len(hub.requests)
    assert pull("hf.co/Org/Tiny-GGUF:Q8_0", HF_HOME=str(tmp_path / "empty")).out == first
    assert all("/api/models/" in request.target for request in hub.requests[before:])
    old = inspected(mrpack, "tiny-gguf")["annotations"]["org.opencontainers.image.revision"]
    hub.add("Org/Tiny-GGUF", {**quantized, "Tiny-Q8_0.gguf": quantized["Tiny-F16.gguf"]})
    second = pull("hf.co/Org/Tiny-GGUF:Q8_0").out
    assert second != first
    assert pull(f"hf.co/Org/Tiny-GGUF:Q8_0@{old}").out == first


def test_a_token_opens_what_is_private(
    hub: FakeHub, pull: Pull, quantized: Mapping[str, bytes], tmp_path: Path
) -> None:
    hub.protect("Org/Tiny-GGUF", "hf_secret")
    assert "HF_TOKEN" in pull("hf.co/Org/Tiny-GGUF:F16", fails=4).last_line
    assert "not there" in pull("hf.co/Org/Tiny-GGUF:F16", fails=3, HF_TOKEN="hf_wrong").last_line
    pull("hf.co/Org/Tiny-GGUF:F16", HF_TOKEN="hf_secret")
    (tmp_path / "hf").mkdir(exist_ok=True)
    (tmp_path / "hf/token").write_text("hf_secret\n")
    pull("hf.co/Org/Tiny-GGUF:Q8_0")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["hf.co/Org/Tiny-GGUF"], 2, "several GGUF models: F16, Q8_0, UD-Q4_K_XL"),
        (["hf.co/Org/Tiny-GGUF:Q4_K_M"], 3, "it has F16, Q8_0, UD-Q4_K_XL"),
        (["hf.co/Org/Tiny-GGUF:Q4_K_XL"], 3, "UD-Q4_K_XL"),
        (["hf.co/Org/Tiny-GGUF:F16@v9"], 3, "no such revision"),
        (["hf.co/Org/Nothing:F16"], 4, "Org/Nothing:F16"),
        (["hf.co/Tiny-GGUF"], 2, "hf.co/ORG/REPO"),
        (["hf.co/Org/Tiny-GGUF:F16", "--plain-http"], 2, "for registries"),
    ],
)
def test_what_cannot_be_pulled_is_said_in_one_line_and_nothing_is_fetched(
    hub: FakeHub,
    pull: Pull,
    quantized: Mapping[str, bytes],
    home: Path,
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    done = pull(*arguments, fails=code)
    assert says in done.last_line
    assert done.out == ""
    assert not hub.seen("HEAD", "/resolve/")
    assert not list(home.rglob("blobs/*/*"))


def test_a_gated_repository_and_a_rate_limit(
    hub: FakeHub, pull: Pull, quantized: Mapping[str, bytes]
) -> None:
    hub.refuse("Org/Tiny-GGUF", 403, X_Error_Code="GatedRepo")
    assert (
        "give it at https://huggingface.co/Org/Tiny-GGUF"
        in pull("hf.co/Org/Tiny-GGUF:F16", fails=4).last_line
    )
    hub.refuse("Org/Tiny-GGUF", 429, Retry_After="17")
    assert "17 s" in pull("hf.co/Org/Tiny-GGUF:F16", fails=5).last_line


def test_offline_asks_nobody(hub: FakeHub, pull: Pull, quantized: Mapping[str, bytes]) -> None:
    assert "HF_HUB_OFFLINE" in pull("hf.co/Org/Tiny-GGUF:F16", fails=5, HF_HUB_OFFLINE="1").last_line
    assert not hub.requests


def test_code_in_a_repository_is_refused(hub: FakeHub, pull: Pull, tmp_path: Path) -> None:
    hub.add("Org/Llama", {**files_in(write_llama(tmp_path / "llama")), "modeling.py": b"import os\n"})
    assert "modeling.py" in pull("hf.co/Org/Llama", fails=7).last_line


def test_a_damaged_file_of_the_cache_is_named_and_not_packed(
    hub: FakeHub, pull: Pull, quantized: Mapping[str, bytes], home: Path, tmp_path: Path
) -> None:
    pull("hf.co/Org/Tiny-GGUF:F16", MRPACK_HOME=str(tmp_path / "other"))
    (path,) = (tmp_path / "hf").rglob("Tiny-F16.gguf")
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.resolve().write_bytes(content)
    done = pull("hf.co/Org/Tiny-GGUF:F16", fails=6)
    assert str(path) in done.last_line
    assert not list(home.rglob("index.json"))


def test_progress_tells_each_weight_once(pull: Pull, quantized: Mapping[str, bytes]) -> None:
    done = pull("hf.co/Org/Tiny-GGUF:F16", "--progress", "json")
    events = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    finished = [event["digest"] for event in events if event["event"] == "finished"]
    assert len(finished) == len(set(finished)) == 4  # model, projector, licence and config
    assert done.out.count("\n") == 1


def test_an_interrupted_pull_ends_at_once_and_can_be_repeated(
    mrpack: Mrpack, hub: FakeHub, pull: Pull, quantized: Mapping[str, bytes], home: Path, tmp_path: Path
) -> None:
    hub.stalls = True
    process = mrpack.start("pull", "hf.co/Org/Tiny-GGUF:F16", **hub.environment(str(tmp_path / "hf")))
    try:
        assert hub.asked_for_content.wait(60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    assert err.endswith("mrpack: interrupted\n")
    assert not list(home.rglob("index.json"))
    hub.stalls = False
    pull("hf.co/Org/Tiny-GGUF:F16")


def test_without_the_extra_the_way_to_it_is_named(mrpack: Mrpack, tmp_path: Path) -> None:
    package = tmp_path / "missing/huggingface_hub"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named huggingface_hub', name='huggingface_hub')\n"
    )
    done = mrpack("pull", "hf.co/org/repo", fails=8, PYTHONPATH=str(package.parent))
    assert "pip install 'mrpack[hub]'" in done.last_line


def test_a_repository_is_packaged_under_another_name(
    mrpack: Mrpack, hub: FakeHub, quantized: Mapping[str, bytes], tmp_path: Path
) -> None:
    environment = hub.environment(str(tmp_path / "hf"))
    done = mrpack("package", "hf.co/Org/Tiny-GGUF:Q8_0", "tiny:q8", "--json", **environment).json
    assert done["quantization"] == "MOSTLY_Q8_0"
    shown = inspected(mrpack, "tiny:q8")
    assert "org.opencontainers.image.revision" in shown["annotations"]
    refused = mrpack("package", "hf.co/Org/Tiny-GGUF:Q2_K", "tiny:q2", fails=3, **environment)
    assert "Q2_K" in refused.last_line
