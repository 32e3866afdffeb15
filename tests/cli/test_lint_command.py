"""`lint` as typed: local models, layouts, registries, files."""

from __future__ import annotations

import json
from pathlib import Path

from mrpack.oci.encoding import encode
from mrpack.oci.manifest import Index, Manifest
from mrpack.store.layout import OciLayout
from tests.fakes.registry import FakeRegistry
from tests.fakes.tiny_safetensors import write_llama
from tests.program import Mrpack


def test_what_was_packaged_is_clean_wherever_it_lies(
    mrpack: Mrpack, tiny_model: Path, tmp_path: Path
) -> None:
    digest = mrpack("package", tiny_model, "m").out.strip()
    done = mrpack("lint", "m")
    assert (done.out, done.err) == ("", "docker.io/ai/m:latest: nothing found\n")
    assert mrpack("lint", "m", "--json").json == {
        "name": "docker.io/ai/m:latest",
        "digest": digest,
        "findings": [],
    }
    with FakeRegistry() as registry:
        name = f"{registry.address}/team/m:v1"
        mrpack("push", "m", name)
        before = len(registry.seen("GET", "blobs"))
        assert mrpack("lint", "--remote", name, "--json").json["digest"] == digest
        assert len(registry.seen("GET", "blobs")) == before + 1  # the config
        mrpack("copy", name, f"oci:{tmp_path}/layout:v1")
    assert mrpack("lint", f"oci:{tmp_path}/layout:v1").out == ""


def test_findings_name_document_key_and_rule(mrpack: Mrpack, tiny_model: Path, tmp_path: Path) -> None:
    mrpack("package", tiny_model, "m")
    mrpack("push", "m", f"oci:{tmp_path}/layout:good")
    layout = OciLayout(tmp_path / "layout")
    good = layout.resolve("good")
    document = json.loads(layout.blobs.path(good.digest).read_bytes())
    document["layers"][0]["mediaType"] = "application/vnd.docker.ai.license"
    bad = Manifest.parse(encode(document))
    layout.push_manifest(bad.descriptor, bad.raw, "bad")
    done = mrpack("lint", f"oci:{tmp_path}/layout:bad", "--json", fails=7)
    findings = done.json["findings"]
    assert [(item["document"], item["where"], item["rule"]) for item in findings] == [
        ("manifest", "layers", "weights")
    ]
    assert done.last_line == f"mrpack: oci:{tmp_path}/layout:bad: 1 finding"
    assert mrpack("lint", f"oci:{tmp_path}/layout:bad", fails=7).out.endswith("[weights]\n")
    index = Index.build([good, bad.descriptor])
    layout.push_manifest(index.descriptor, index.raw, "both")
    (line,) = mrpack("lint", f"oci:{tmp_path}/layout:both", fails=7).out.splitlines()
    assert line.startswith("manifests[1] manifest layers: ")


def test_files_are_checked_before_they_are_packaged(mrpack: Mrpack, tiny_model: Path, tmp_path: Path) -> None:
    assert mrpack("lint", tiny_model, "--json").json == {
        "name": str(tiny_model),
        "digest": None,
        "findings": [],
    }
    folder = write_llama(tmp_path / "llama")
    (folder / "modeling.py").write_text("import os\n")
    assert mrpack("lint", folder, fails=7).out == "modeling.py: Python code [code]\n"
    (tmp_path / "garbage.gguf").write_bytes(bytes(range(256)))
    assert "[package]" in mrpack("lint", "garbage.gguf", fails=7).out


def test_what_is_not_there_is_no_finding(mrpack: Mrpack) -> None:
    assert "nothing" in mrpack("lint", "nothing", fails=3).last_line
    assert "oci:nowhere" not in mrpack("lint", "oci:nowhere", fails=3).out
    mrpack("lint", "--remote", "127.0.0.1:1/x/y", fails=5)
    mrpack("lint", fails=2)
