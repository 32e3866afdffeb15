"""The table of quantizations against the reference package, and what is derived from it."""

from __future__ import annotations

import re

import gguf
import pytest

from mrpack.errors import Unsupported
from mrpack.model.config import ModelConfig
from mrpack.model.quantization import QUANTIZATIONS, auto_tag, find_file_type, find_quantization

BITS = {kind.name: 8 * size / elements for kind, (elements, size) in gguf.GGML_QUANT_SIZES.items()}


def test_every_file_type_of_llama_cpp_is_in_the_table():
    for kind in gguf.LlamaFileType:
        if kind is not gguf.LlamaFileType.GUESSED:
            found = find_quantization(kind.name)
            assert found is not None, kind.name
            assert found.file_type == kind.value
            assert not found.removed


def test_what_llama_cpp_does_not_know_is_marked_as_removed():
    known = {kind.value for kind in gguf.LlamaFileType}
    assert {row.name for row in QUANTIZATIONS if row.file_type not in known} == {
        row.name for row in QUANTIZATIONS if row.removed
    }


@pytest.mark.parametrize("row", [row for row in QUANTIZATIONS if not row.removed], ids=lambda row: row.name)
def test_bits_include_block_scales(row):
    own = BITS[row.tensor_type]
    if row.name == row.tensor_type and row.bits_per_weight == own:
        return
    # A mixture keeps some tensors in larger types; never more than doubles the smallest.
    assert re.search(r"K|IQ", row.name), "only mixtures differ from their tensor type"
    assert own < row.bits_per_weight < own + 1


@pytest.mark.parametrize(("name", "bits"), [("Q4_0", 4.5), ("Q8_0", 8.5), ("F16", 16.0), ("Q6_K", 6.5625)])
def test_plain_quantizations_have_the_bits_of_their_type(name, bits):
    found = find_quantization(name)
    assert found is not None
    assert found.bits_per_weight == bits


def test_names_numbers_and_aliases_are_unique():
    names = [name for row in QUANTIZATIONS for name in (row.name, *row.aliases)]
    assert len(set(names)) == len(names)
    assert len({row.file_type for row in QUANTIZATIONS}) == len(QUANTIZATIONS)


@pytest.mark.parametrize("row", QUANTIZATIONS, ids=lambda row: row.name)
def test_a_row_is_found_by_its_name_label_and_number(row):
    assert find_quantization(row.name) is row
    assert find_quantization(row.name.lower()) is row
    assert find_quantization(row.label) is row
    assert find_file_type(row.file_type) is row
    assert row.note


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("Q3_K/Q3_K_S", "Q3_K_S"),
        ("Q4_K/Q3_K_M", "Q3_K_M"),
        ("Q5_K/Q3_K_L", "Q3_K_L"),
        ("Q6_K/Q4_K_S", "Q4_K_S"),
        ("IQ2_XXS/Q4_K_M", "Q4_K_M"),
        ("IQ2_XS/Q5_K_S", "Q5_K_S"),
        ("IQ3_XXS/Q5_K_M", "Q5_K_M"),
        ("IQ1_S/Q6_K", "Q6_K"),
        ("mostly_q4_k_m", "Q4_K_M"),
        ("Q4_K", "Q4_K_M"),
        ("fp16", "F16"),
        ("ALL_F32", "F32"),
        ("MOSTLY_MXFP4_MOE", "MXFP4"),
        (" Q8_0 ", "Q8_0"),
    ],
)
def test_old_and_other_labels_are_understood(label, name):
    found = find_quantization(label)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    "label", ["", "Unknown", "Q4", "Q4_K_M_L", "UD-Q4_K_XL", "Q4_K_M/", "mixed", "MOSTLY_"]
)
def test_other_labels_are_not_guessed(label):
    assert find_quantization(label) is None
    assert find_file_type(1024) is None


@pytest.mark.parametrize(
    ("parameters", "quantization", "tag"),
    [
        ("134.52M", "MOSTLY_Q4_1", "135M-Q4_1"),
        ("134.52 M", "IQ2_XXS/Q4_K_M", "135M-Q4_K_M"),
        ("8.03B", "BF16", "8B-BF16"),
        ("1.10B", "MOSTLY_F16", "1.1B-F16"),
        ("9.96B", "F8_E4M3", "10B-F8_E4M3"),
        ("203.00", "mixed", "203"),
        ("", "MOSTLY_Q8_0", "Q8_0"),
        ("1.50K", "Unknown", "1.5K"),
        ("0", "MOSTLY_Q8_0", "Q8_0"),
    ],
)
def test_a_tag_says_size_and_quantization(parameters, quantization, tag):
    assert auto_tag(ModelConfig(format="gguf", parameters=parameters, quantization=quantization)) == tag


@pytest.mark.parametrize("label", ["360M", "8x7B", "30B-A3B", "14B-A2.7B", "0.5B"])
def test_the_size_a_model_gives_itself_comes_first(label):
    config = ModelConfig(
        format="gguf",
        parameters="361.82M",
        quantization="MOSTLY_Q4_K_M",
        metadata={"general.size_label": label},
    )
    assert auto_tag(config) == f"{label}-Q4_K_M"


@pytest.mark.parametrize("label", ["huge", "1B\n", "../1B", "9" * 200 + "B", ""])
def test_a_size_that_is_no_size_is_not_used(label):
    config = ModelConfig(format="gguf", parameters="361.82M", metadata={"general.size_label": label})
    assert auto_tag(config) == "362M"


def test_a_tag_from_nothing_is_refused():
    with pytest.raises(Unsupported, match="neither its size nor its quantization"):
        auto_tag(ModelConfig(format="dduf", quantization="GGUFFileType(41)", parameters="n/a"))
