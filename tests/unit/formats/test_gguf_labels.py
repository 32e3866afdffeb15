"""What artifacts say about GGUF models: the texts of Docker Model Runner, and shards."""

from __future__ import annotations

import math
import random
import struct

import gguf
import numpy as np
import pytest

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats.gguf import GgufHeader, describe, find_shards, parse_header, survey
from mrpack.formats.gguf.labels import format_count, format_size
from mrpack.formats.gguf.types import TENSOR_TYPES
from mrpack.model.config import ModelConfig
from mrpack.oci.encoding import encode
from tests.fakes import raw_gguf as raw
from tests.fakes.tiny_gguf import CHAT_TEMPLATE, write_lora, write_markov, write_mmproj, write_sharded

TYPE_NUMBERS = {row.name: row.id for row in TENSOR_TYPES.values()}


def parse(content: bytes) -> GgufHeader:
    return parse_header(lambda offset, count: content[offset : offset + count], len(content), "model.gguf")


def labels(*contents: bytes) -> ModelConfig:
    return describe([parse(content) for content in contents])


def with_keys(*keys: bytes) -> ModelConfig:
    return labels(raw.gguf(keys, [raw.tensor("a", [8])], bytes(32)))


def with_tensors(types: list[tuple[str, str]], *keys: bytes) -> ModelConfig:
    """Tensors of one block each, by name and type."""
    tensors, offset = [], 0
    for name, kind in types:
        row = TENSOR_TYPES[TYPE_NUMBERS[kind]]
        tensors.append(raw.tensor(name, [row.block_elements], row.id, offset))
        offset += -(-row.block_bytes // 32) * 32
    return labels(raw.gguf(keys, tensors, bytes(offset)))


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (183, "183"),
        (1000, "1K"),
        (1500, "1.50K"),
        (361_821_120, "361.82M"),
        (999_994, "999.99K"),
        (999_999, "1000K"),
        (1_100_048_384, "1.10B"),
        (8_030_261_248, "8.03B"),
        (10**12, "1T"),
    ],
)
def test_parameters_are_counted_like_docker_does(count, text):
    assert format_count(count) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (864, "864B"),
        (1000, "1KB"),
        (1023, "1.02KB"),
        (1024, "1KiB"),
        (999_999, "976.56KiB"),
        (1_000_000, "1MB"),
        (1_048_575, "1.05MB"),
        (1_048_576, "1MiB"),
        (270_590_880, "258.06MiB"),
        (999_999_999, "953.67MiB"),
        (1_000_000_000, "1GB"),
        (1_073_741_823, "1.07GB"),
        (1_073_741_824, "1GiB"),
        (1_917_190_144, "1.79GiB"),
        (4_912_898_304, "4.58GiB"),
        (10**12, "1TB"),
        (2**40, "1TiB"),
    ],
)
def test_sizes_mix_units_like_docker_does(size, text):
    assert format_size(size) == text


def test_docker_gives_these_labels_to_a_file_of_the_reference_writer(tmp_path):
    path = tmp_path / "model.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("T&B <x> é 😀")
    writer.add_file_type(15)
    writer.add_context_length(131_072)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_token_list([f"token {number}" for number in range(61)])
    for number in range(3):
        writer.add_tensor(f"blk.{number}.weight", np.zeros((33, 64), np.float32))
    writer.add_tensor("token_embd.weight", np.zeros((64, 61), np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    config = survey([path])
    assert config == ModelConfig(
        format="gguf",
        quantization="MOSTLY_Q4_K_M",
        parameters="10.24K",
        architecture="llama",
        size="32.38KiB",
        metadata={
            "general.architecture": "llama",
            "general.name": "T&B <x> é 😀",
            "general.file_type": "15",
            "llama.context_length": "131072",
            "llama.attention.layer_norm_rms_epsilon": "0.000010",
        },
        context_size=131_072,
    )
    assert b'"general.name":"T\\u0026B \\u003cx\\u003e \xc3\xa9 \xf0\x9f\x98\x80"' in encode(
        dict(config.metadata)
    )


SHAPES = ([2], [8], [6, 6], [8, 4], [6, 4], [3], [4, 5, 3], [2], [1, 4, 3], [4])


def _dummy_tensors() -> tuple[list[bytes], bytes]:
    tensors, offset = [], 0
    for number, shape in enumerate(SHAPES):
        tensors.append(raw.tensor(f"tensor_{number}", shape, 0, offset))
        offset += -(-4 * math.prod(shape) // 32) * 32
    return tensors, bytes(864)


def test_docker_gives_these_labels_to_its_own_test_files():
    keys = [
        raw.pair("some.parameter.float32", raw.F32, 0.123456789),
        raw.pair("some.parameter.float64", raw.F64, 0.123456789012345678),
        raw.pair("some.parameter.int64", raw.I64, -1311768467463790321),
        raw.pair("some.parameter.bool", raw.BOOL, 1),
        raw.array("some.parameter.arr.i16", raw.I16, [1, 2, 3, 4]),
        raw.array("some.parameter.arr.f32", raw.F32, [3.145, 2.718, 1.414]),
        raw.array("some.parameter.arr.str", raw.STRING, ["hello", "world", "!"]),
    ]
    metadata = {
        "some.parameter.float32": "0.123457",
        "some.parameter.float64": "0.123457",
        "some.parameter.int64": "-1311768467463790321",
        "some.parameter.bool": "true",
        "some.parameter.arr.i16": "1, 2, 3, 4",
        "some.parameter.arr.f32": "3.145000, 2.718000, 1.414000",
        "some.parameter.arr.str": "hello, world, !",
    }
    expected = ModelConfig(
        format="gguf",
        quantization="Unknown",
        parameters="183",
        architecture="llama",
        size="864B",
        metadata=metadata,
    )
    tensors, data = _dummy_tensors()
    assert labels(raw.gguf(keys, tensors, data)) == expected
    split = [raw.pair("split.tensors.count", raw.I32, 10), raw.pair("split.count", raw.U16, 2)]
    first = raw.gguf([*keys, raw.pair("split.no", raw.U16, 0), *split])
    first += bytes(32 - len(first) % 32)
    second = raw.gguf([raw.pair("split.no", raw.U16, 1), *split], tensors, data)
    sharded = labels(first, second)
    assert sharded.metadata == metadata | {"split.tensors.count": "10", "split.count": "2"}
    assert (sharded.parameters, sharded.size) == (expected.parameters, expected.size)


def test_an_aligned_header_counts_one_whole_alignment_of_padding():
    sizes = {}
    for length in range(32):
        name = raw.pair("general.name", raw.STRING, "x" * length)
        content = raw.gguf([name], [raw.tensor("a", [8])], bytes(32))
        header = parse(content)
        sizes[header.data_offset - header.header_size] = labels(content).size
    assert sizes.pop(0) == "0B"
    assert list(sizes.values()) == ["32B"] * 31


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1e-5, "0.000010"),
        (500_000.0, "500000.000000"),
        (-0.0, "-0.000000"),
        (math.inf, "+Inf"),
        (-math.inf, "-Inf"),
        (math.nan, "NaN"),
        (0.1, "0.100000"),
    ],
)
@pytest.mark.parametrize("kind", [raw.F32, raw.F64])
def test_floats_are_written_like_go_does(value, text, kind):
    config = with_keys(raw.pair("f", kind, value), raw.array("many", kind, [value, value]))
    assert config.metadata == {"f": text, "many": f"{text}, {text}"}


def test_keys_and_texts_are_trimmed_of_unicode_white_space():
    config = with_keys(
        raw.pair(" padded\u00a0", raw.STRING, "\u3000\ttext \u2028\n"),
        raw.pair("kept", raw.STRING, "\x1ctext\x1f\u200b"),
        raw.array("list", raw.STRING, [" a ", "b\n"]),
    )
    assert config.metadata == {"padded": "text", "kept": "\x1ctext\x1f\u200b", "list": "a, b"}


def test_arrays_of_more_than_fifty_items_are_left_out():
    config = with_keys(
        raw.array("fifty", raw.U8, [1] * 50),
        raw.array("more", raw.U8, [1] * 51),
        raw.array("none", raw.U8, []),
    )
    assert config.metadata == {"fifty": ", ".join(["1"] * 50), "none": ""}


def test_bytes_that_are_not_text_become_replacement_escapes():
    config = with_keys(raw.pair("general.name", raw.STRING, b"caf\xe9 \xff"))
    assert encode(dict(config.metadata)) == b'{"general.name":"caf\\ufffd \\ufffd"}'


FILE_TYPES = [
    *(
        "F32",
        "F16",
        "Q4_0",
        "Q4_1",
        "Q4_1_SOME_F16",
        "Q4_2",
        "Q4_3",
        "Q8_0",
        "Q5_0",
        "Q5_1",
        "Q2_K",
        "Q3_K_S",
    ),
    *("Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K", "IQ2_XXS", "IQ2_XS", "Q2_K_S"),
    *("IQ3_XS", "IQ3_XXS", "IQ1_S", "IQ4_NL", "IQ3_S", "IQ3_M", "IQ2_S", "IQ2_M", "IQ4_XS", "IQ1_M", "BF16"),
    *("Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "MXFP4", "NVFP4", "Q1_0"),
]


@pytest.mark.parametrize(("number", "name"), list(enumerate(FILE_TYPES)))
def test_the_file_type_names_the_quantization(number, name):
    config = with_keys(raw.pair("general.file_type", raw.U32, number))
    assert config.quantization == f"MOSTLY_{name}"


def test_a_file_type_of_the_future_is_guessed_from_the_tensors():
    config = with_tensors([("blk.0.a", "Q6_K")], raw.pair("general.file_type", raw.U32, 999))
    assert config.quantization == "MOSTLY_Q6_K"


@pytest.mark.parametrize(
    ("counts", "name"),
    [
        ({"F32": 3}, "F32"),
        ({"F32": 3, "F16": 2}, "F16"),
        ({"Q8_0": 2, "F32": 1}, "Q8_0"),
        ({"Q2_K": 4, "Q3_K": 2}, "Q2_K"),
        ({"Q2_K": 4, "Q3_K": 2, "Q5_K": 1}, "Q2_K_S"),
        ({"Q3_K": 4, "Q8_0": 1}, "Q3_K_L"),
        ({"Q3_K": 4, "Q5_K": 2}, "Q3_K_L"),
        ({"Q3_K": 4, "Q5_K": 3, "Q4_K": 2}, "Q3_K_M"),
        ({"Q3_K": 4, "Q4_K": 1}, "Q3_K_S"),
        ({"Q4_K": 4, "Q6_K": 2}, "Q4_K_M"),
        ({"Q4_K": 4, "Q6_K": 1, "Q3_K": 2}, "Q3_K_M"),
        ({"Q4_K": 4, "Q6_K": 1}, "Q4_K_S"),
        ({"Q5_K": 4, "Q6_K": 2}, "Q5_K_M"),
        ({"Q5_K": 4, "Q6_K": 1}, "Q5_K_S"),
        ({"Q6_K": 1}, "Q6_K"),
        ({"IQ2_XS": 4, "IQ4_XS": 2}, "IQ2_S"),
        ({"IQ2_XS": 4}, "IQ2_XS"),
        ({"IQ2_S": 4}, "IQ2_M"),
        ({"IQ3_S": 4, "IQ3_XXS": 2}, "IQ3_XS"),
        ({"IQ3_S": 4}, "IQ3_S"),
        ({"BF16": 4}, "BF16"),
        ({"MXFP4": 4}, "MXFP4"),
    ],
)
def test_without_a_file_type_the_tensors_tell_the_quantization(counts, name):
    types = [(f"blk.{kind}.{number}", kind) for kind, count in counts.items() for number in range(count)]
    assert with_tensors(types).quantization == f"MOSTLY_{name}"


def test_a_tie_is_guessed_the_same_in_any_order():
    types = [
        (f"blk.{kind}.{number}", kind) for kind in ("Q4_0", "Q8_0", "Q5_1", "F16") for number in range(2)
    ]
    shuffler = random.Random(7)
    guesses = set()
    for _ in range(10):
        shuffler.shuffle(types)
        guesses.add(with_tensors(types).quantization)
    assert len(guesses) == 1


def test_tensors_that_say_nothing_leave_the_quantization_unknown():
    assert with_tensors([("tensor_0", "F32")]).quantization == "Unknown"
    assert with_tensors([("blk.0", "I8")]).quantization == "Unknown"


@pytest.mark.parametrize(
    ("keys", "tensor", "architecture"),
    [
        ({"general.architecture": "qwen3"}, "a", "qwen3"),
        ({"general.architecture": " qwen3\n"}, "a", "qwen3"),
        ({}, "a", "llama"),
        ({}, "double_blocks.0.weight", "diffusion"),
        ({"general.architecture": "flux"}, "model.diffusion_model.0.weight", "diffusion"),
        ({"general.architecture": "sd3"}, "a", "llama"),
        ({"general.type": "imatrix"}, "a", "imatrix"),
        ({"general.architecture": "controlvector", "controlvector.model_hint": "gemma3"}, "a", "gemma3"),
    ],
)
def test_the_architecture_is_named_like_docker_does(keys, tensor, architecture):
    pairs = [raw.pair(key, raw.STRING, value) for key, value in keys.items()]
    assert with_tensors([(tensor, "F32")], *pairs).architecture == architecture


@pytest.mark.parametrize(
    ("architecture", "kind", "tokens", "expected"),
    [
        ("llama", raw.U32, 4096, 4096),
        ("qwen3", raw.U64, 2**31 - 1, 2**31 - 1),
        ("llama", raw.U64, 2**31, None),
        ("llama", raw.U32, 0, None),
        ("llama", raw.I32, -1, None),
        ("llama", raw.BOOL, 1, None),
        ("llama", raw.F32, 4096.0, None),
        ("clip", raw.U32, 4096, None),
        ("flux", raw.U32, 4096, None),
    ],
)
def test_the_context_size_is_that_of_a_language_model(architecture, kind, tokens, expected):
    config = with_keys(
        raw.pair("general.architecture", raw.STRING, architecture),
        raw.pair(f"{architecture}.context_length", kind, tokens),
    )
    assert config.context_size == expected


def test_tiny_models_are_described(tmp_path):
    config = survey([write_markov(tmp_path)])
    assert (config.format, config.architecture, config.quantization) == ("gguf", "llama", "MOSTLY_F16")
    assert config.parameters == "73.54K"
    assert config.context_size == 512
    assert config.metadata["tokenizer.chat_template"] == CHAT_TEMPLATE.strip()
    assert "tokenizer.ggml.tokens" not in config.metadata
    assert survey([write_markov(tmp_path, dtype="Q4_K_M")]).quantization == "MOSTLY_Q4_K_M"
    assert survey([write_mmproj(tmp_path)]).context_size is None
    assert survey([write_lora(tmp_path)]).context_size is None


def test_any_shard_finds_all_in_order(tmp_path):
    shards = write_sharded(tmp_path)
    assert [find_shards(shard) for shard in shards] == [shards, shards]
    whole, split = survey([write_markov(tmp_path)]), survey(shards)
    assert (whole.parameters, whole.size, whole.quantization) == (
        split.parameters,
        split.size,
        split.quantization,
    )


def test_a_file_that_is_no_shard_stands_alone(tmp_path):
    for name in ("model.gguf", "model-1-of-2.gguf", "model-00001-of-00002.GGUF", "00001-of-00002.gguf"):
        path = tmp_path / name
        path.touch()
        assert find_shards(path) == (path,)


def test_a_missing_shard_is_named(tmp_path):
    first, second = write_sharded(tmp_path)
    second.unlink()
    with pytest.raises(NotFound, match=second.name):
        find_shards(first)
    with pytest.raises(NotFound, match=r"none\.gguf"):
        find_shards(tmp_path / "none.gguf")


@pytest.mark.parametrize("name", ["m-00003-of-00002.gguf", "m-00000-of-00002.gguf", "m-00000-of-00000.gguf"])
def test_an_impossible_shard_number_is_refused(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(InvalidArtifact, match="shard"):
        find_shards(tmp_path / name)


def test_files_that_are_not_the_shards_of_one_model_are_refused(tmp_path):
    first, second = write_sharded(tmp_path)
    with pytest.raises(InvalidArtifact, match="one of 2 files, but there are 1"):
        survey([first])
    with pytest.raises(InvalidArtifact, match="is shard 2 but named as shard 1"):
        survey([second, first])
    with pytest.raises(InvalidArtifact, match="one of 1 files, but there are 2"):
        survey([write_markov(tmp_path)] * 2)
    content = bytearray(first.read_bytes())
    position = content.index(b"split.no") + 8
    assert content[position : position + 6] == struct.pack("<IH", raw.U16, 0)
    content[position + 4] = 1
    first.write_bytes(content)
    with pytest.raises(InvalidArtifact, match="is shard 2 but named as shard 1"):
        survey([first, second])


def test_shards_that_repeat_or_lack_tensors_are_refused(tmp_path):
    first, second = write_sharded(tmp_path)
    content = second.read_bytes()
    number = [b"split.no" + struct.pack("<IH", raw.U16, index) for index in range(2)]
    second.write_bytes(first.read_bytes().replace(*number))
    with pytest.raises(InvalidArtifact, match="is also in"):
        survey([first, second])
    promise = b"split.tensors.count" + struct.pack("<I", raw.I32)
    position = first.read_bytes().index(promise) + len(promise)
    changed = bytearray(first.read_bytes())
    changed[position] += 1
    first.write_bytes(changed)
    second.write_bytes(content)
    with pytest.raises(InvalidArtifact, match="promises"):
        survey([first, second])
