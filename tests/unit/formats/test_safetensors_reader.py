"""The Safetensors header reader: what it reads, what it refuses, and how little it needs for both."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact
from mrpack.formats.safetensors import SafetensorsHeader, Tensor, parse_header, read_header
from mrpack.formats.safetensors.dtypes import BITS
from mrpack.formats.safetensors.reader import COUNT_LIMIT
from mrpack.formats.safetensors.scanner import TEXT_LIMIT
from tests.fakes import raw_safetensors as raw
from tests.fakes.malformed_safetensors import MALFORMED
from tests.fakes.tiny_safetensors import write_llama

# What the library takes and we do not: keys twice, fields it ignores, and names and counts beyond our limits.
STRICTER = {
    "duplicate tensor",
    "duplicate tensor by an escape",
    "metadata key twice",
    "space before the header",
    "unknown field",
    "name of 1,025 characters",
    "metadata of 65,537 keys",
    "65 dimensions",
    "65,537 tensors",
}


def parse(content: bytes) -> SafetensorsHeader:
    return parse_header(
        lambda offset, count: content[offset : offset + count], len(content), "model.safetensors"
    )


def library_accepts(content: bytes) -> bool:
    try:
        safetensors.deserialize(content)
    except safetensors.SafetensorError:
        return False
    return True


def test_tensors_and_metadata_are_read():
    content = raw.safetensors(
        {
            "w": raw.Content("BF16", [10, 20]),
            "scale": raw.Content("F32", []),
            "none": raw.Content("I8", [0, 5]),
        },
        {"format": "pt", "note": 'Grüße "\\ \n'},
    )
    header = parse(content)
    assert header.tensors == (
        Tensor("w", "BF16", (10, 20), 0, 400),
        Tensor("scale", "F32", (), 400, 404),
        Tensor("none", "I8", (0, 5), 404, 404),
    )
    assert [(tensor.size, tensor.elements) for tensor in header.tensors] == [(400, 200), (4, 1), (0, 0)]
    assert header.metadata == {"format": "pt", "note": 'Grüße "\\ \n'}
    assert header.data_offset + 404 == header.file_size == len(content)


def test_fields_may_stand_in_any_order_and_tensors_too():
    text = """{ "b" : { "data_offsets" : [ 4 , 8 ] , "dtype" : "F16" , "shape" : [ 1 , 2 ] } ,
        "a" : { "shape":[4],"data_offsets":[0,4],"dtype":"U8" } }   """
    header = parse(raw.file(text, bytes(8)))
    assert header.tensors == (Tensor("b", "F16", (1, 2), 4, 8), Tensor("a", "U8", (4,), 0, 4))


@pytest.mark.parametrize("header", ["{}", "{ }", '{"__metadata__":{}}', '{"__metadata__":null}'])
def test_a_file_may_have_no_tensors(header):
    assert parse(raw.file(header)).tensors == ()
    assert parse(raw.file(header)).metadata == {}


def test_a_header_may_be_longer_than_the_first_read(tmp_path):
    tensors = {f"model.layers.{number}.weight": raw.Content("U8", [1]) for number in range(2000)}
    path = tmp_path / "model.safetensors"
    path.write_bytes(raw.safetensors(tensors))
    assert [tensor.name for tensor in read_header(path).tensors] == list(tensors)


def test_every_data_type_has_the_size_that_the_library_gives_it():
    for dtype, bits in BITS.items():
        for elements in (8, 16):
            header = raw.file(
                {"a": raw.entry(dtype, [elements], 0, elements * bits // 8)}, bytes(elements * bits // 8)
            )
            assert parse(header).tensors[0].elements == elements
            assert library_accepts(header), dtype


@pytest.mark.parametrize("name", MALFORMED)
def test_the_library_refuses_them_too_where_it_is_as_strict(name):
    assert library_accepts(MALFORMED[name].content) == (name in STRICTER)


def test_agrees_with_the_library_on_a_model(tmp_path):
    path = write_llama(tmp_path) / "model.safetensors"
    header = read_header(path)
    with safetensors.safe_open(path, framework="np") as file:
        assert header.metadata == file.metadata()
        assert {tensor.name for tensor in header.tensors} == set(file.keys())
        for tensor in header.tensors:
            view = file.get_slice(tensor.name)
            assert (tensor.dtype, list(tensor.shape)) == (view.get_dtype(), view.get_shape())


ARRAYS = st.dictionaries(
    st.text(max_size=20).filter(lambda name: name != "__metadata__"),
    st.tuples(
        st.sampled_from(["uint8", "int16", "float16", "float32", "int64", "bool"]),
        st.lists(st.integers(0, 4), max_size=4),
    ),
    max_size=6,
)


# Not empty metadata without tensors: safetensors 0.8.0 writes a header for them that nobody can read.
@given(ARRAYS, st.none() | st.dictionaries(st.text(max_size=8), st.text(max_size=20), min_size=1, max_size=3))
def test_whatever_the_library_writes_is_read(arrays, metadata):
    tensors = {name: np.zeros(shape, dtype) for name, (dtype, shape) in arrays.items()}
    header = parse(safetensors.numpy.save(tensors, metadata))
    assert {tensor.name: tensor.shape for tensor in header.tensors} == {
        name: tensor.shape for name, tensor in tensors.items()
    }
    assert header.metadata == (metadata or {})


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(content):
    for candidate in (content, raw.file(content), raw.file(b"{" + content, bytes(8))):
        try:
            parse(candidate)
        except InvalidArtifact:
            continue
        assert library_accepts(candidate)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**65)
    | st.floats()
    | st.sampled_from(["F32", "U8", "I4", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["dtype", "shape", "data_offsets", "__metadata__", "a", "b"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(JSON, st.integers(0, 24))
def test_any_json_is_read_or_refused_and_never_taken_where_the_library_refuses(value, size):
    content = raw.file(json.dumps(value), bytes(size))
    try:
        parse(content)
    except InvalidArtifact:
        return
    assert library_accepts(content)


@given(st.data())
def test_a_flipped_byte_is_refused_or_read_as_the_library_reads_it(data):
    content = bytearray(
        raw.safetensors({"a": raw.Content("F32", [2]), "b": raw.Content("U8", [3])}, {"k": "v"})
    )
    at = data.draw(st.integers(0, len(content) - 12))
    content[at] = data.draw(st.integers(0, 255))
    try:
        header = parse(bytes(content))
    except InvalidArtifact:
        return
    read = dict(safetensors.deserialize(bytes(content)))
    assert {tensor.name: (tensor.dtype, list(tensor.shape)) for tensor in header.tensors} == {
        name: (tensor["dtype"], tensor["shape"]) for name, tensor in read.items()
    }


@pytest.mark.parametrize(
    "filler",
    [
        b" " * 4_000_000,
        b'"a":[' + b"[]," * 1_000_000,
        b'"' + b"\\n" * 2_000_000,
        b'"a":{"dtype":"' + b"A" * 4_000_000,
    ],
    ids=["spaces", "lists", "escapes", "data type"],
)
def test_a_large_header_of_nothing_costs_its_own_size_alone(filler):
    content = raw.file(b"{" + filler)
    tracemalloc.start()
    try:
        with pytest.raises(InvalidArtifact):
            parse(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(content)


def test_text_has_a_limit_for_all_strings_together():
    text = "a" * (TEXT_LIMIT // 4)
    parse(raw.file({"__metadata__": {str(number): text for number in range(3)}}))
    with pytest.raises(InvalidArtifact, match="bytes of text"):
        parse(raw.file({"__metadata__": {str(number): text for number in range(4)}}))


def test_memory_follows_the_number_of_tensors():
    entries = {
        f"layers.{number}.weight": raw.entry("U8", [4, 4], 16 * number, 16 * number + 16)
        for number in range(9000)
    }
    content = raw.file(entries, bytes(16 * len(entries)))
    tracemalloc.start()
    try:
        header = parse(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(header.tensors) == 9000 < COUNT_LIMIT
    assert peak < 8 * len(content)
