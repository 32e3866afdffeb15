"""What a downloaded model adds to the wishes of who packages it, and how its content is checked."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from mrpack.digest import Digest
from mrpack.errors import IntegrityError, NotFound
from mrpack.hub.listing import HubFile, HubListing
from mrpack.hub.reference import HubReference
from mrpack.hub.select import select
from mrpack.model.dialects import WRITERS
from mrpack.packing.pack import PackedArtifact, pack
from mrpack.packing.plan import Extras, Plan, Wishes
from mrpack.packing.sources import PLANNERS
from mrpack.packing.walk import Choice
from mrpack.verbs.hub import HubModel
from tests.fakes.tiny_gguf import write_markov, write_mmproj
from tests.fakes.tiny_safetensors import write_llama


def downloaded(folder: Path) -> HubModel:
    """As if all that is in `folder` was the repository; every file counts as a large one."""
    files = tuple(
        HubFile(
            path=str(path.relative_to(folder)),
            size=path.stat().st_size,
            blob_id="0" * 40,
            digest=Digest("sha256", hashlib.sha256(path.read_bytes()).hexdigest()),
        )
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )
    listing = HubListing(repository="Org/Repo", revision="c" * 40, files=files)
    return HubModel(
        reference=HubReference(repository="Org/Repo"),
        listing=listing,
        selection=select(listing, None),
        folder=folder,
    )


def packed(model: HubModel, wishes: Wishes | None = None) -> tuple[Plan, PackedArtifact]:
    planned = PLANNERS[model.kind](model.source, model.wishes(wishes or Wishes()))
    return planned, pack(planned, WRITERS["docker"])


def test_only_what_was_chosen_is_packed_and_the_users_patterns_choose_among_it(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "llama")
    odd = folder / "odd [name]! #1.txt"
    odd.write_text("x")
    model = downloaded(folder)
    (folder / "stray.json").write_text("{}")
    everything = {layer.path for layer in packed(model)[0].layers}
    assert odd.name in everything
    assert "stray.json" not in everything
    wishes = Wishes(choice=Choice(include=("*.safetensors", "config.json", "stray.json")))
    assert {layer.path for layer in packed(model, wishes)[0].layers} == {"config.json", "model.safetensors"}
    with pytest.raises(NotFound, match=r"\*\.onnx"):
        model.wishes(Wishes(choice=Choice(include=("*.onnx",))))


def test_the_users_projector_and_annotations_come_first(tmp_path: Path) -> None:
    folder = tmp_path / "repository"
    folder.mkdir()
    write_markov(folder)
    write_mmproj(folder).rename(folder / "mmproj-F16.gguf")
    (folder / "LICENSE").write_text("theirs")
    own = write_mmproj(tmp_path)
    licence = tmp_path / "NOTICE"
    licence.write_text("mine")
    model = downloaded(folder)
    wishes = Wishes(
        extras=Extras(mmproj=own, licenses=(licence,)), annotations={"org.opencontainers.image.source": "x"}
    )
    planned, artifact = packed(model, wishes)
    assert [layer.path for layer in planned.layers] == ["markov-f16.gguf", "LICENSE", "NOTICE", own.name]
    assert artifact.manifest.annotations == {
        "org.opencontainers.image.source": "x",
        "org.opencontainers.image.revision": "c" * 40,
    }
    model.check(planned.layers, artifact.manifest)
    assert [layer.path for layer in packed(model)[0].layers][2] == "mmproj-F16.gguf"


def test_a_file_that_is_not_what_the_hub_lists_is_named(tmp_path: Path) -> None:
    folder = write_llama(tmp_path / "llama")
    model = downloaded(folder)
    (folder / "tokenizer_config.json").write_text("{ }")
    planned, artifact = packed(model)
    with pytest.raises(IntegrityError, match=r"tokenizer_config\.json is not what the hub lists"):
        model.check(planned.layers, artifact.manifest)
