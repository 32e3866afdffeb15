"""Code in models is found by name, by content, and by what configs ask for; nothing else is taken for it."""

from __future__ import annotations

import io
import json
import pickle
import pickletools
import struct
import tarfile
import tracemalloc
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.formats.code import Finding, find_code
from mrpack.formats.code.pickles import _COUNTED, _FIXED, _LINES
from mrpack.formats.dduf import parse_dduf
from mrpack.readable import ReadableFile
from tests.fakes.raw_dduf import archive, entries, index
from tests.fakes.raw_safetensors import Content, safetensors
from tests.fakes.tiny_safetensors import opened, write_flux, write_llama, write_qwen2, write_stable_diffusion


class Canary:
    """Its pickle writes a file when it is loaded, which no test may let happen."""

    def __reduce__(self):
        return (Path.touch, (Path("/tmp/mrpack-canary"),))


def as_file(name: str, content: bytes) -> ReadableFile:
    return ReadableFile(
        name=name,
        where=name,
        size=len(content),
        read_at=lambda offset, count: content[offset : offset + count],
    )


def findings(name: str, content: bytes | dict) -> list[str]:
    raw = json.dumps(content).encode() if isinstance(content, dict) else content
    found = find_code([as_file(name, raw)])
    assert {finding.path for finding in found} <= {name}
    return [finding.reason for finding in found]


def zipped(members: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def torch_checkpoint(**kwargs) -> bytes:
    """As torch.save lays it out since 1.6."""
    members = {
        "archive/data.pkl": pickle.dumps(Canary(), 2),
        "archive/version": b"3\n",
        "archive/data/0": bytes(64),
    }
    return zipped(members, **kwargs)


def moved(content: bytes, by: int) -> bytes:
    """An archive whose end record says that its directory lies further behind."""
    end = content.rindex(b"PK\x05\x06") + 16
    offset = int.from_bytes(content[end : end + 4], "little") + by
    return content[:end] + offset.to_bytes(4, "little") + content[end + 4 :]


def numpy_array(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


# torch.save before 1.6: a magic number of ten bytes, pickled by itself, comes first.
LEGACY_TORCH = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"w": 1}, 2)
WINDOWS = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + bytes(100)

NAMES = {
    "modeling_mine.py": "Python code",
    "deep/er/Model.PY": "Python code",
    "cached.pyc": "Python code",
    "kernel.so": "a shared library",
    "libkernel.so.1.2": "a shared library",
    "kernel.cpython-311-x86_64-linux-gnu.so": "a shared library",
    "kernel.pyd": "a shared library",
    "kernel.dll": "a shared library",
    "kernel.dylib": "a shared library",
    "state.pkl": "a pickle",
    "state.pickle": "a pickle",
    "model.pt": "a pickle",
    "model.pth": "a pickle",
    "sd-v1-4.ckpt": "a pickle",
    "scaler.joblib": "a pickle",
}


@pytest.mark.parametrize("name", NAMES)
def test_code_is_found_by_name(name):
    assert findings(name, b"") == [NAMES[name]]


PICKLES = {f"protocol {protocol}": pickle.dumps(Canary(), protocol) for protocol in range(6)}
PICKLES |= {
    "plain data": pickle.dumps({"weight": [1.0, 2.0]}, 4),
    "plain data of protocol 2": pickle.dumps({"weight": [1.0, 2.0]}, 2),
    "legacy torch": LEGACY_TORCH,
    "os.system by hand": b"cos\nsystem\n(S'touch /tmp/mrpack-canary'\ntR.",
    "instance by hand": b"(S'touch /tmp/mrpack-canary'\nios\nsystem\n.",
    "code behind 10 kB of data": pickle.dumps(["x" * 100] * 3 + [Canary()], 0),
    "control characters in a text": b"V\x01\x02\n" + b"cos\nsystem\n(S'touch /tmp/mrpack-canary'\ntR.",
    "huge claimed string": b"\x80\x04\x8d" + b"\xff" * 8,
}


@pytest.mark.parametrize(
    "name", ["pytorch_model.bin", "model.safetensors", "notes.txt", "vocab.json", "LICENSE"]
)
@pytest.mark.parametrize(
    "content", ["protocol 0", "protocol 2", "protocol 5", "legacy torch", "os.system by hand"]
)
def test_a_pickle_is_found_under_any_name(name, content):
    assert findings(name, PICKLES[content]) == ["a pickle"]


@pytest.mark.parametrize("content", [name for name in PICKLES if name != "huge claimed string"])
def test_pickles_of_all_kinds_are_found(content):
    assert findings("weights.bin", PICKLES[content]) == ["a pickle"]


def test_the_opcodes_are_those_of_the_standard_library():
    lengths = {
        pickletools.TAKEN_FROM_ARGUMENT1: 1,
        pickletools.TAKEN_FROM_ARGUMENT4: 4,
        pickletools.TAKEN_FROM_ARGUMENT4U: 4,
        pickletools.TAKEN_FROM_ARGUMENT8U: 8,
    }
    sizes = {ord(opcode.code): opcode.arg.n if opcode.arg else 0 for opcode in pickletools.opcodes}
    assert {opcode: size for opcode, size in sizes.items() if size >= 0} == _FIXED
    assert {opcode: lengths[size] for opcode, size in sizes.items() if size in lengths} == _COUNTED
    lines = {opcode for opcode, size in sizes.items() if size == pickletools.UP_TO_NEWLINE}
    assert lines == _LINES.keys()


CONTENTS = {
    "ELF": (b"\x7fELF" + bytes(60), "ELF"),
    "Mach-O": (b"\xcf\xfa\xed\xfe" + bytes(60), "Mach-O"),
    "Windows": (WINDOWS, "Windows"),
    "script": (b"#!/bin/sh\ntrue\n", "a script"),
    "NumPy objects": (numpy_array(np.array([{}], dtype=object)), "pickled objects"),
}


@pytest.mark.parametrize("content", CONTENTS)
def test_programs_are_found_under_any_name(content):
    raw, reason = CONTENTS[content]
    for name in ("model.safetensors", "data", "config.txt"):
        assert [reason in finding for finding in findings(name, raw)] == [True]


ARCHIVES = {
    "torch": (torch_checkpoint(), "'archive/data.pkl', a pickle"),
    "compressed": (torch_checkpoint(method=zipfile.ZIP_DEFLATED), "'archive/data.pkl', a pickle"),
    "renamed member": (zipped({"a/readme.txt": b"hi", "a/b": pickle.dumps(Canary(), 4)}), "'a/b', a pickle"),
    "renamed and compressed": (
        zipped({"a/b": pickle.dumps([Canary()] * 99, 4)}, method=zipfile.ZIP_DEFLATED),
        "'a/b', a pickle",
    ),
    "script": (zipped({"code/__torch__.py": b"def f(): pass"}), "'code/__torch__.py', Python code"),
    "objects in an npz": (zipped({"x.npy": numpy_array(np.array([{}], dtype=object))}), "pickled objects"),
    "cut": (torch_checkpoint()[:-30], "cannot be looked through"),
    "broken directory": (
        torch_checkpoint().replace(b"PK\x01\x02", b"PK\x01\x03"),
        "cannot be looked through",
    ),
    "directory of 2 GiB": (
        b"PK\x03\x04" + bytes(40) + b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 1, 1, 2**31, 0, 0),
        "cannot be looked through",
    ),
    "member before the file": (moved(torch_checkpoint(), 9), "cannot be looked through"),
    "member far behind the file": (
        b"PK\x03\x04"
        + bytes(26)
        + struct.pack("<4s6H3I5H2I", b"PK\1\2", 0, 45, 0, 0, 0, 0, 0, 9, 9, 1, 12, 0, 0, 0, 0, 0xFFFFFFFF)
        + b"a"
        + struct.pack("<2HQ", 1, 8, 2**64 - 1)
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 1, 1, 59, 30, 0),
        "cannot be looked through",
    ),
    "nothing but the start": (b"PK\x03\x04" + bytes(40), "cannot be looked through"),
}


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "data"])
@pytest.mark.parametrize("content", ARCHIVES)
def test_code_in_archives_is_found(name, content):
    raw, reason = ARCHIVES[content]
    found = findings(name, raw)
    assert len(found) == 1
    assert reason in found[0]
    assert found[0].startswith("a zip archive")


def test_an_archive_of_data_is_no_code():
    arrays = io.BytesIO()
    np.savez(arrays, a=np.zeros(4), b=np.ones((2, 2)))
    assert findings("arrays.npz", arrays.getvalue()) == []
    assert findings("docs.zip", zipped({"readme.md": b"# hi", "a/b.json": b"{}"})) == []
    assert findings("model.dduf", archive(entries())) == []
    assert findings("empty.zip", zipped({})) == []


DOCUMENTS = {
    "auto_map": (
        "config.json",
        {"auto_map": {"AutoModel": "modeling_mine.Mine"}},
        ["asks for code with 'auto_map'"],
    ),
    "auto_map of a tokenizer": (
        "tokenizer_config.json",
        {"auto_map": ["a.B", None]},
        ["asks for code with 'auto_map'"],
    ),
    "nested auto_map": (
        "config.json",
        {"text_config": {"layers": [{"auto_map": {"AutoConfig": "x.Y"}}]}},
        ["asks for code with 'auto_map'"],
    ),
    "auto_map of a component": (
        "text_encoder/config.json",
        {"auto_map": {"a": "b"}},
        ["asks for code with 'auto_map'"],
    ),
    "auto_map in another repository": (
        "preprocessor_config.json",
        {"auto_map": {"AutoProcessor": "evil/repo--processing.P"}},
        ["asks for code with 'auto_map'"],
    ),
    "custom pipelines": (
        "config.json",
        {"custom_pipelines": {"my-task": {"impl": "pipeline.P"}}},
        ["asks for code with 'custom_pipelines'"],
    ),
    "empty auto_map": ("config.json", {"auto_map": {}}, []),
    "the word in a text": ("config.json", {"note": "auto_map"}, []),
    "vocabulary": ("vocab.json", {"auto_map": 7}, []),
    "pipeline in a file": (
        "model_index.json",
        {"_class_name": ["my_pipeline", "MyPipeline"], "unet": ["diffusers", "UNet2DModel"]},
        ["takes its pipeline MyPipeline from my_pipeline.py"],
    ),
    "component in a file": (
        "model_index.json",
        {"_class_name": "MyPipeline", "unet": ["my_unet", "MyUNet"], "vae": ["diffusers", "AutoencoderKL"]},
        ["takes the component 'unet' from my_unet, which is neither Diffusers nor Transformers"],
    ),
    "component of the standard library": (
        "model_index.json",
        {"_class_name": "MyPipeline", "unet": ["os", "system"]},
        ["takes the component 'unet' from os, which is neither Diffusers nor Transformers"],
    ),
    "component of a pipeline of Diffusers": (
        "model_index.json",
        {"_class_name": "P", "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]},
        [],
    ),
    "custom pipeline": (
        "model_index.json",
        {"_class_name": "P", "custom_pipeline": "x", "unet": ["diffusers", "U"]},
        ["asks for code with 'custom_pipeline'"],
    ),
    "modular pipeline": (
        "modular_model_index.json",
        {"_class_name": "P", "auto_map": {"ModularPipelineBlocks": "block.B"}},
        ["asks for code with 'auto_map'"],
    ),
    "broken config": ("config.json", b"{", ["a config that cannot be looked through"]),
    "config that is a list": ("config.json", b"[]", ["a config that cannot be looked through"]),
    "deep config": ("config.json", b'{"a":' * 100_000, ["a config that cannot be looked through"]),
    "config of megabytes": ("config.json", b" " * 5_000_000, ["a config that cannot be looked through"]),
    "broken index": ("model_index.json", {"_class_name": "P"}, ["a config that cannot be looked through"]),
}


@pytest.mark.parametrize("case", DOCUMENTS)
def test_configs_that_ask_for_code_are_found(case):
    name, content, expected = DOCUMENTS[case]
    assert findings(name, content) == expected


def test_code_inside_a_dduf_file_is_found():
    asking = archive(
        entries(config=b'{"auto_map":{"AutoModel":"x.Y"}}', model_index=index(vae=["mine", "VAE"]))
    )
    assert find_code(parse_dduf(as_file("model.dduf", asking)).files) == (
        Finding(
            "model_index.json",
            "takes the component 'vae' from mine, which is neither Diffusers nor Transformers",
        ),
        Finding("vae/config.json", "asks for code with 'auto_map'"),
    )


@pytest.mark.parametrize("write", [write_llama, write_qwen2, write_flux, write_stable_diffusion])
def test_ordinary_models_have_none(tmp_path, write):
    assert find_code(opened(write(tmp_path))) == ()


def test_a_header_that_starts_like_a_pickle_is_none():
    # 640 bytes: 80 02 00 00 …, and 1,152: 80 04 00 00 ….
    for length in (640, 1152):
        content = safetensors({"w": Content("U8", [1])})
        padding = length - int.from_bytes(content[:8], "little")
        header = content[8:-1] + b" " * padding
        assert findings("model.safetensors", struct.pack("<Q", len(header)) + header + b"\0") == []


PROSE = {
    "README.md": b"# A model\n\nTrained with care.\n",
    "cover.txt": b"cover\nletter\n\nDear all,\n",
    "LICENSE": b"Apache License\nVersion 2.0\n",
    "Notes": b"Notes on the model.\n",
    "merges.txt": b"#version: 0.2\nt h\nth e\n",
    "vocab.txt": b"[PAD]\n[UNK]\nthe\n",
    "tokenizer.json": b'{"version":"1.0"}',
    "template.jinja": b"{% for message in messages %}{{ message }}{% endfor %}",
    "spiece.model": b"\n\x0e\n\x05<unk>\x15\0\0\0\0\x18\x02",
    "MZ.txt": b"MZ is no program",
    "empty": b"",
    "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "model.gguf": b"GGUF\x03\0\0\0" + bytes(40),
    "array.npy": numpy_array(np.zeros(3)),
    "setup.sou": b"x",
    "notes.so.txt": b"x",
    "copy": b"copy\npasted\n(lines\n)",
}


@pytest.mark.parametrize("name", PROSE)
def test_texts_and_pictures_are_no_code(name):
    assert findings(name, PROSE[name]) == []


@given(st.text(max_size=300))
def test_prose_is_no_pickle(text):
    assert "a pickle" not in findings("notes.txt", b"The " + text.encode())


@given(st.binary(max_size=400), st.sampled_from(["a.bin", "config.json", "model_index.json", "x.so.2"]))
def test_any_content_is_looked_through(content, name):
    for candidate in (
        content,
        b"PK\x03\x04" + content,
        b"\x80\x04" + content,
        content + torch_checkpoint()[-200:],
    ):
        findings(name, candidate)


@given(st.data())
def test_any_damage_to_an_archive_is_looked_through(data):
    content = bytearray(torch_checkpoint())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    findings("weights.bin", bytes(content))


@given(st.integers(0, 5), st.recursive(st.integers() | st.text() | st.floats(), st.lists, max_leaves=20))
def test_every_pickle_that_calls_something_is_found(protocol, value):
    assert findings("x.bin", pickle.dumps([Canary(), value], protocol)) == ["a pickle"]


def test_a_large_file_is_not_read():
    size = 10**12
    reads = []

    def read_at(offset: int, count: int) -> bytes:
        reads.append(count)
        return bytes(min(count, size - offset))

    tracemalloc.start()
    try:
        assert find_code([ReadableFile(name="w.bin", where="w.bin", size=size, read_at=read_at)]) == ()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(reads) < 256 * 1024
    assert peak < 1024 * 1024


def test_weights_that_happen_to_hold_the_marks_of_an_archive_are_none():
    content = safetensors({"w": Content("U8", [400], (b"PK\x03\x04" + torch_checkpoint())[-400:])})
    assert findings("model.safetensors", content) == []


def test_a_tar_archive_is_for_others_to_judge():
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as file:
        file.addfile(tarfile.TarInfo("notes.txt"), io.BytesIO())
    assert findings("model.nemo", buffer.getvalue()) == []


def test_the_canary_was_never_let_out():
    assert not Path("/tmp/mrpack-canary").exists()
