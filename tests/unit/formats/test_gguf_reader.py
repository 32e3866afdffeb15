"""The GGUF header reader: what it reads, what it refuses, and how little it needs for both."""

from __future__ import annotations

import tracemalloc

import gguf
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact
from mrpack.formats.gguf import GgufHeader, parse_header, read_header
from mrpack.formats.gguf.cursor import STRINGS_LIMIT, TEXT_LIMIT
from mrpack.formats.gguf.header import GgufArray
from mrpack.formats.gguf.types import SCALARS, TENSOR_TYPES, ValueType
from tests.fakes import raw_gguf as raw
from tests.fakes.tiny_gguf import write_big_vocabulary, write_lora, write_markov, write_mmproj, write_sharded


def parse(content: bytes) -> GgufHeader:
    return parse_header(lambda offset, count: content[offset : offset + count], len(content), "model.gguf")


def test_every_value_type_is_read():
    scalars = {
        "u8": (raw.U8, 200),
        "i8": (raw.I8, -100),
        "u16": (raw.U16, 60_000),
        "i16": (raw.I16, -30_000),
        "u32": (raw.U32, 4_000_000_000),
        "i32": (raw.I32, -2_000_000_000),
        "f32": (raw.F32, 0.5),
        "u64": (raw.U64, 2**64 - 1),
        "i64": (raw.I64, -(2**63)),
        "f64": (raw.F64, 1e-300),
        "text": (raw.STRING, " Grüße \n"),
    }
    keys = [raw.pair(key, kind, value) for key, (kind, value) in scalars.items()]
    header = parse(raw.gguf([*keys, raw.pair("yes", raw.BOOL, 1), raw.pair("no", raw.BOOL, 0)]))
    assert header.values == {key: value for key, (_, value) in scalars.items()} | {"yes": True, "no": False}
    assert list(header.values)[:3] == ["u8", "i8", "u16"]


def test_short_arrays_are_kept_and_long_ones_skipped():
    header = parse(
        raw.gguf(
            [
                raw.array("fifty", raw.U16, range(50)),
                raw.array("fifty-one", raw.U16, range(51)),
                raw.array("words", raw.STRING, ["a", "b"]),
                raw.array("many words", raw.STRING, ["word"] * 51),
                raw.array("none", raw.F32, []),
                raw.array("flags", raw.BOOL, [1, 0]),
                raw.pair("behind", raw.U8, 7),
            ]
        )
    )
    assert header.values == {
        "fifty": GgufArray(ValueType.UINT16, 50, tuple(range(50))),
        "fifty-one": GgufArray(ValueType.UINT16, 51, None),
        "words": GgufArray(ValueType.STRING, 2, ("a", "b")),
        "many words": GgufArray(ValueType.STRING, 51, None),
        "none": GgufArray(ValueType.FLOAT32, 0, ()),
        "flags": GgufArray(ValueType.BOOL, 2, (True, False)),
        "behind": 7,
    }


@pytest.mark.parametrize("version", [2, 3])
def test_versions_2_and_3_are_read(version):
    assert parse(raw.gguf([raw.pair("k", raw.U8, 1)], version=version)).version == version


def test_text_that_is_not_utf8_keeps_its_bytes():
    header = parse(raw.gguf([raw.pair("general.name", raw.STRING, b"caf\xe9")]))
    assert header.values["general.name"].encode(errors="surrogateescape") == b"caf\xe9"


@pytest.mark.parametrize("alignment", [1, 8, 32, 64, 65_536])
def test_tensors_follow_the_alignment(alignment):
    second = -(-8 * 4 // alignment) * alignment
    content = raw.gguf(
        [raw.pair("general.alignment", raw.U32, alignment)],
        [raw.tensor("a", [4, 2]), raw.tensor("b", [2], offset=second)],
        bytes(second + 8),
        alignment=alignment,
    )
    header = parse(content)
    assert header.alignment == alignment
    assert header.data_offset % alignment == 0
    assert [(tensor.name, tensor.shape, tensor.offset, tensor.size) for tensor in header.tensors] == [
        ("a", (4, 2), 0, 32),
        ("b", (2,), second, 8),
    ]


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0", "Q4_K_M"])
def test_agrees_with_the_reference_reader(tmp_path, dtype):
    path = write_markov(tmp_path, dtype=dtype)
    header, reference = read_header(path), gguf.GGUFReader(path)
    assert header.data_offset == reference.data_offset
    assert header.alignment == reference.alignment
    assert [
        (tensor.name, tensor.shape, tensor.type.id, header.data_offset + tensor.offset, tensor.size)
        for tensor in header.tensors
    ] == [
        (tensor.name, tuple(tensor.shape), tensor.tensor_type, tensor.data_offset, tensor.n_bytes)
        for tensor in reference.tensors
    ]
    fields = {key: field for key, field in reference.fields.items() if not key.startswith("GGUF.")}
    assert list(header.values) == list(fields)
    for key, value in header.values.items():
        if isinstance(value, GgufArray):
            assert value.length == len(fields[key].data)
        else:
            assert value == fields[key].contents()


def test_the_kind_of_a_file_is_told(tmp_path):
    first, second = write_sharded(tmp_path)
    kinds = {
        write_markov(tmp_path): "model",
        first: "model",
        second: "model",
        write_lora(tmp_path): "adapter",
        write_mmproj(tmp_path): "mmproj",
    }
    assert {path: read_header(path).kind for path in kinds} == kinds


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("general.architecture", "clip", "mmproj"),
        ("general.architecture", "controlvector", "control-vector"),
        ("controlvector.model_hint", "llama", "control-vector"),
        ("general.type", "imatrix", "imatrix"),
        ("general.type", "adapter", "adapter"),
        ("general.type", "something new", "model"),
        ("general.architecture", "llama", "model"),
    ],
)
def test_older_files_are_told_apart_by_their_keys(key, value, kind):
    content = raw.gguf([raw.pair(key, raw.STRING, value)], [raw.tensor("a", [8])], bytes(32))
    assert parse(content).kind == kind


def test_a_file_without_tensors_is_a_vocabulary_unless_it_is_a_shard():
    name = raw.pair("general.architecture", raw.STRING, "llama")
    assert parse(raw.gguf([name])).kind == "vocabulary"
    assert parse(raw.gguf([name, raw.pair("split.count", raw.U16, 2)])).kind == "model"


def test_a_large_vocabulary_costs_little_memory(tmp_path):
    path = write_big_vocabulary(tmp_path / "big.gguf", 60_000)
    tracemalloc.start()
    try:
        header = read_header(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert header.values["tokenizer.ggml.tokens"] == GgufArray(ValueType.STRING, 60_000, None)
    assert header.values["tokenizer.ggml.model"] == "gpt2"
    assert peak < 4 * 1024 * 1024


def test_long_arrays_of_numbers_are_not_read():
    head = raw.gguf([raw.array("huge", raw.U64, (), 2**33)], key_count=2)
    tail = raw.pair("behind", raw.U8, 7)
    size = len(head) + 2**36 + len(tail)
    asked = 0

    def read_at(offset: int, count: int) -> bytes:
        nonlocal asked
        asked += count
        if offset < len(head):
            return head[offset:].ljust(count, b"\0")[:count]
        return tail[offset - len(head) - 2**36 :].ljust(count, b"\0")[:count]

    assert parse_header(read_at, size, "model.gguf").values["behind"] == 7
    assert asked < 1024 * 1024


def test_the_text_of_one_header_is_bounded():
    size = TEXT_LIMIT // 4
    one = raw.string("a") + raw.STRING.to_bytes(4, "little") + size.to_bytes(8, "little")
    keys = [one[:8] + bytes([97 + number]) + one[9:] + bytes(size) for number in range(5)]
    with pytest.raises(InvalidArtifact, match="bytes of text in one header"):
        parse(raw.gguf(keys))


def test_the_number_of_strings_in_arrays_is_bounded():
    claimed = raw.gguf([raw.array("k", raw.STRING, (), STRINGS_LIMIT + 1)])
    with pytest.raises(InvalidArtifact, match=f"more than {STRINGS_LIMIT} strings"):
        parse_header(lambda offset, count: claimed[offset : offset + count], 2**40, "model.gguf")


def test_as_many_keys_as_allowed_are_read():
    header = parse(raw.gguf([raw.pair(f"key.{number}", raw.U8, 0) for number in range(65_536)]))
    assert len(header.values) == 65_536


def test_type_numbers_are_those_of_the_reference_package():
    known = {row.id: (row.name, row.block_elements, row.block_bytes) for row in TENSOR_TYPES.values()}
    assert known == {
        kind.value: (kind.name, *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType
    }
    assert {kind.value: kind.name for kind in ValueType} == {
        kind.value: kind.name for kind in gguf.GGUFValueType
    }
    assert set(SCALARS) == set(ValueType) - {ValueType.STRING, ValueType.ARRAY}


@given(st.binary(max_size=400))
def test_any_bytes_are_a_header_or_refused(content):
    for start in (b"", b"GGUF\x03\x00\x00\x00"):
        try:
            parse(start + content)
        except InvalidArtifact:
            continue


_SEED = raw.gguf(
    [
        raw.pair("general.architecture", raw.STRING, "llama"),
        raw.pair("general.alignment", raw.U32, 32),
        raw.array("words", raw.STRING, ["token"] * 60),
        raw.array("flags", raw.BOOL, [1, 0, 1]),
        raw.array("numbers", raw.F32, [1.0] * 60),
    ],
    [raw.tensor("a", [32, 2], 2), raw.tensor("b", [8], offset=64)],
    bytes(96),
)


@given(st.lists(st.tuples(st.integers(0, len(_SEED) - 1), st.binary(min_size=1, max_size=8)), max_size=4))
def test_a_damaged_header_is_read_or_refused(damages):
    content = bytearray(_SEED)
    for position, damage in damages:
        content[position : position + len(damage)] = damage
    try:
        header = parse(bytes(content))
    except InvalidArtifact:
        return
    for tensor in header.tensors:
        assert header.data_offset + tensor.offset + tensor.size <= header.file_size
