"""Formats and engines are rows of tables: their names stand nowhere else, and a new one is held to them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from mrpack.cli.package_request import PackageOptions
from mrpack.digest import Digest
from mrpack.model.artifact import HashedLayer, WritableDialect
from mrpack.model.config import ModelConfig
from mrpack.model.dialects import WRITERS
from mrpack.model.layer import FileMetadata, LayerRole
from mrpack.model.weight_formats import WEIGHT_FORMATS, WeightFormat
from mrpack.oci.descriptor import Descriptor
from mrpack.packing.sources import PLANNERS
from mrpack_runtime.engines import engines

ROOT = Path(__file__).parents[2]
SOURCES = {"mrpack": ROOT / "mrpack", "mrpack_runtime": ROOT / "runtime" / "mrpack_runtime"}

# Beginnings of files that may name a format of models or an engine, and why.
PLACES = {
    "mrpack/formats/": "a format's package",
    "mrpack/packing/plan_": "its planner",
    "mrpack/model/weight_formats.py": "the table of weight files",
    "mrpack/packing/sources.py": "the table of what can be packed",
    "mrpack/packing/unpacked.py": "the table of what is looked into when it comes out of archives",
    "mrpack/packing/extras.py": "the table of what goes beside the weights",
    "mrpack/packing/labels.py": "the one format whose header has all labels",
    "mrpack/verbs/code.py": "the one format that holds other files",
    "mrpack/verbs/quantize.py": "the one format that is quantized",
    "mrpack/hub/": "how each format lies at Hugging Face",
    "mrpack/model/dialects/": "the words of others",
    "mrpack/neighbours/ollama.py": "the words of others",
    "mrpack/model/pipeline.py": "a library that is called as a format",
    "mrpack_runtime/engines/": "an engine's declaration",
    "mrpack_runtime/engine/package_server.py": "what engines of a kind open",
    "mrpack_runtime/machine/platforms.py": "the table of platforms",
    "mrpack_runtime/protocols/tokens.py": "the table of routes for tokens",
    "mrpack_runtime/protocols/ignored.py": "the table of fields that are overlooked",
    "mrpack_runtime/protocols/dmr.py": "the words of others",
    "mrpack_runtime/image_server/loading.py": "a library that is called as an engine",
}


def test_names_of_formats_and_engines_stand_in_tables_alone() -> None:
    names = {*PLANNERS, *WEIGHT_FORMATS, *engines()}
    found = {}
    for package, folder in SOURCES.items():
        for path in folder.rglob("*.py"):
            text = path.read_text(encoding="utf-8")
            if not any(f'"{name}"' in text for name in names):
                continue
            texts = {node.value for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant)}
            if said := names.intersection(texts):
                found[f"{package}/{path.relative_to(folder).as_posix()}"] = said
    strangers = {file: said for file, said in found.items() if not file.startswith(tuple(PLACES))}
    assert not strangers, "ask a value or a table, instead of comparing with a name"
    assert not [place for place in PLACES if not any(file.startswith(place) for file in found)]


@pytest.mark.parametrize("kind", sorted(PLANNERS))
def test_a_source_that_can_be_packed_has_an_option(kind: str) -> None:
    assert kind in PackageOptions.__dataclass_fields__


@pytest.mark.parametrize("dialect", WRITERS.values(), ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("row", WEIGHT_FORMATS.values(), ids=lambda row: row.name)
def test_a_format_of_weights_is_packed_and_comes_back(row: WeightFormat, dialect: WritableDialect) -> None:
    assert row.name in PLANNERS
    path = f"model{row.suffix}"
    layer = HashedLayer(
        path=path,
        role=LayerRole.WEIGHTS,
        format=row.name,
        metadata=FileMetadata(name=path, mode=0o644, mtime_ns=0, size=0),
        content=Descriptor(media_type="", digest=Digest.of(b""), size=0),
    )
    raw, manifest = dialect.write(ModelConfig(format=row.name), [layer], folder=row.in_folder)
    (file,) = dialect.read(manifest, raw).files
    assert (file.role, file.format) == (LayerRole.WEIGHTS, row.name)
