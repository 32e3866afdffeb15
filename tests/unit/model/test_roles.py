"""What files are for, and their formats, by their names and first bytes."""

from __future__ import annotations

import struct

import pytest

from mrpack.digest import Digest
from mrpack.model.layer import ArtifactArchive, LayerRole, Packing
from mrpack.model.roles import role_by_name, role_in_archive
from mrpack.model.weight_formats import HEAD_SIZE, format_by_content, format_by_name
from mrpack.oci.descriptor import Descriptor


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model-00001-of-00002.gguf", LayerRole.WEIGHTS),
        ("Model.GGUF", LayerRole.WEIGHTS),
        ("mmproj-model-f16.gguf", LayerRole.MMPROJ),
        ("vae/diffusion_pytorch_model.safetensors", LayerRole.WEIGHTS),
        ("model.dduf", LayerRole.WEIGHTS),
        ("pytorch_model.bin", LayerRole.WEIGHTS),
        ("chat_template.jinja", LayerRole.CHAT_TEMPLATE),
        # JSON is no Jinja, whatever it is called.
        ("chat_template.json", LayerRole.CONFIG),
        ("tokenizer_config.json", LayerRole.CONFIG),
        ("tokenizer.model", LayerRole.CONFIG),
        ("merges.txt", LayerRole.CONFIG),
        ("LICENSE", LayerRole.LICENSE),
        ("sub/LICENCE.txt", LayerRole.LICENSE),
        ("NOTICE.md", LayerRole.LICENSE),
        ("README.md", LayerRole.DOC),
        ("mrpack.json", LayerRole.OVERRIDES),
        ("sub/mrpack.json", LayerRole.CONFIG),
        ("modeling_x.py", LayerRole.OTHER),
        ("model", LayerRole.OTHER),
    ],
)
def test_roles_of_names(path: str, role: LayerRole) -> None:
    assert role_by_name(path) is role


@pytest.mark.parametrize(
    ("head", "format_"),
    [
        (b"GGUF\3\0\0\0\1", "gguf"),
        (b"PK\3\4" + bytes(5), "dduf"),
        (struct.pack("<Q", 100_000_000) + b"{", "safetensors"),
        (struct.pack("<Q", 2**33) + b"{", ""),
        (bytes(9), ""),
        (b"GG", ""),
        (b"", ""),
    ],
)
def test_formats_of_contents(head: bytes, format_: str) -> None:
    assert format_by_content(head) == format_
    assert format_by_content(head[:HEAD_SIZE]) == format_


def test_formats_of_names() -> None:
    assert format_by_name("a/B.SafeTensors") == "safetensors"
    assert format_by_name("a.gguf/b") == ""


def archive(role: LayerRole, *, named: bool = True) -> ArtifactArchive:
    content = Descriptor(media_type="a/b", digest=Digest.of(b""), size=0)
    return ArtifactArchive(name="", role=role, packing=Packing.TAR, descriptor=content, named=named)


@pytest.mark.parametrize(
    ("role", "path", "head", "alone", "expected"),
    [
        (LayerRole.WEIGHTS, "model", b"", True, LayerRole.WEIGHTS),
        (LayerRole.WEIGHTS, "model", b"", False, LayerRole.OTHER),
        (LayerRole.WEIGHTS, "model", b"GGUF", False, LayerRole.WEIGHTS),
        (LayerRole.WEIGHTS, "config.json", b"", True, LayerRole.CONFIG),
        (LayerRole.OTHER, "model", b"GGUF", False, LayerRole.WEIGHTS),
        (LayerRole.OTHER, "model", b"", True, LayerRole.OTHER),
        (LayerRole.CONFIG, "vocab.bpe", b"", False, LayerRole.CONFIG),
        (LayerRole.DOC, "config.json", b"", False, LayerRole.DOC),
        (LayerRole.DOC, "LICENSE", b"", False, LayerRole.LICENSE),
    ],
)
def test_roles_of_files_in_archives(
    role: LayerRole, path: str, head: bytes, alone: bool, expected: LayerRole
) -> None:
    assert role_in_archive(archive(role), path, head, alone=alone) is expected


def test_names_do_not_count_where_they_mean_nothing() -> None:
    data = archive(LayerRole.OTHER, named=False)
    assert role_in_archive(data, "train.gguf", b"GGUF", alone=True) is LayerRole.OTHER
