"""Which files of a folder are one Safetensors model: shards, variants, copies, modules."""

from __future__ import annotations

import json

import pytest

from mrpack.errors import InvalidArtifact, NotFound
from mrpack.formats.safetensors import survey
from tests.fakes.raw_safetensors import Content, index, safetensors
from tests.fakes.safetensors_models import in_memory, sharded


def test_a_sharded_set_is_read():
    assert survey(sharded()).parameters == "8.00"


@pytest.mark.parametrize("index_too", [True, False])
@pytest.mark.parametrize(
    ("shard", "name"), [("first", "model-00001-of-00002"), ("second", "model-00002-of-00002")]
)
def test_a_missing_shard_is_named(shard, name, index_too):
    changes = {shard: None} | ({} if index_too else {"index": None})
    with pytest.raises(NotFound, match=rf"no file '{name}\.safetensors'"):
        survey(sharded(**changes))


FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
CONTRADICTIONS = {
    "tensor in another shard": (
        {"index": index({"a": SECOND, "b": FIRST})},
        "which the index has in 'model-00002",
    ),
    "tensor that is nowhere": ({"index": index({"a": FIRST, "b": SECOND, "c": SECOND})}, "has no tensor 'c'"),
    "tensor that is not listed": (
        {"second": safetensors({"b": Content("F16", [4]), "c": Content("F16", [4])})},
        "holds tensor 'c', which the index does not have there",
    ),
    "tensor in two shards": (
        {"second": safetensors({"a": Content("F16", [4]), "b": Content("F16", [4])})},
        "holds tensor 'a'",
    ),
    "shard that is not listed": (
        {"index": index({"a": FIRST})},
        "is not listed in model.safetensors.index.json",
    ),
    "empty index": ({"index": index({})}, "lists no tensor"),
    "no weight_map": ({"index": '{"metadata":{}}'}, "has no weight_map"),
    "weight_map twice": ({"index": '{"weight_map":{},"weight_map":{}}'}, "weight_map: occurs twice"),
    "tensor twice": (
        {"index": '{"weight_map":{"a":"x.safetensors","a":"y.safetensors"}}'},
        "weight_map: 'a' occurs twice",
    ),
    "weight_map is a list": ({"index": '{"weight_map":[]}'}, "weight_map: not an object"),
    "file is a number": ({"index": '{"weight_map":{"a":1}}'}, "weight_map: not an object of strings"),
    "file elsewhere": ({"index": index({"a": "../model.safetensors"})}, "no Safetensors file in its folder"),
    "file of another kind": (
        {"index": index({"a": "pytorch_model.bin"})},
        "no Safetensors file in its folder",
    ),
    "65 keys": (
        {"index": json.dumps({str(number): 0 for number in range(66)} | {"weight_map": {}})},
        "more than 64 keys",
    ),
    "index is a list": ({"index": "[]"}, "index: not an object"),
    "index is deep": ({"index": '{"metadata":' + "[" * 50_000}, "'metadata': not JSON"),
    "index is cut": ({"index": index({"a": FIRST, "b": SECOND})[:-6]}, "not an object of strings"),
    "index is not UTF-8": ({"index": b'{"weight_map":{"\xff":"a.safetensors"}}'}, "not text"),
    "something behind the index": ({"index": index({"a": FIRST, "b": SECOND}) + "{}"}, "something follows"),
    "broken shard": ({"second": b"not a shard at all"}, "not a Safetensors file"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_a_set_that_does_not_fit_together_is_refused(name):
    changes, reason = CONTRADICTIONS[name]
    with pytest.raises(InvalidArtifact) as caught:
        survey(sharded(**changes))
    assert reason in str(caught.value)
    assert caught.value.where


def test_shards_without_an_index_are_a_set_too():
    assert survey(sharded(index=None)).parameters == "8.00"
    with pytest.raises(InvalidArtifact, match="tensor 'a' is also in model-00001"):
        survey(sharded(index=None, second=safetensors({"a": Content("F16", [4])})))


def test_a_shard_number_beyond_its_set_is_refused():
    files = in_memory({"model-00003-of-00002.safetensors": safetensors({"a": Content("F16", [4])})})
    with pytest.raises(InvalidArtifact, match="shard 3 of a set of 2"):
        survey(files)


def test_indexes_may_say_more_than_we_ask_for():
    text = json.dumps(
        {
            "metadata": {"total_size": 1.6e1, "total_parameters": 8, "note": "ünï", "nested": [{"a": None}]},
            "weight_map": {"a": FIRST, "b": SECOND},
            "format": None,
        },
        ensure_ascii=False,
    )
    assert survey(sharded(index=text)).parameters == "8.00"


def test_a_variant_beside_the_model_does_not_count_twice():
    files = in_memory(
        {
            "model.fp16.safetensors": safetensors({"w": Content("F16", [8, 8])}),
            "model.safetensors": safetensors({"w": Content("F32", [8, 8])}),
        }
    )
    config = survey(files)
    assert (config.parameters, config.quantization) == ("64.00", "F32")
    assert config.size == f"{sum(file.size for file in files)}.00B"


def test_a_variant_may_have_an_index_of_its_own():
    both = {f"text.fp16-0000{number}-of-00002.safetensors": name for number, name in ((1, "a"), (2, "b"))}
    files = {shard: safetensors({name: Content("F16", [4])}) for shard, name in both.items()}
    listed = index({name: shard for shard, name in both.items()})
    assert survey(in_memory({**files, "text.safetensors.index.fp16.json": listed})).parameters == "8.00"


def test_the_copy_for_mistrals_own_loader_does_not_count():
    files = in_memory(
        {
            "consolidated.safetensors": safetensors({"layers.0.w": Content("BF16", [8, 8])}),
            "model.safetensors": safetensors({"model.layers.0.w": Content("BF16", [8, 8])}),
        }
    )
    assert survey(files).parameters == "64.00"
    assert survey(files[:1]).parameters == "64.00"


def test_weights_in_folders_do_not_count_but_are_checked():
    tensors = safetensors({"w": Content("F32", [4])})
    files = {
        "model.safetensors": tensors,
        "original/other.safetensors": safetensors({"x": Content("F32", [9])}),
    }
    assert survey(in_memory(files)).parameters == "4.00"
    with pytest.raises(InvalidArtifact, match="original/broken"):
        survey(in_memory({**files, "original/broken.safetensors": b"nothing of the kind"}))


def test_modules_of_sentence_transformers_count():
    files = {
        "model.safetensors": safetensors({"w": Content("F32", [4])}),
        "2_Dense/model.safetensors": safetensors({"linear.weight": Content("F32", [9])}),
        "2_Dense/config.json": {"in_features": 3},
    }
    assert survey(in_memory(files)).parameters == "13.00"


def test_a_model_may_lie_in_a_folder_with_its_config():
    files = {
        "model/config.json": {"model_type": "bert", "max_position_embeddings": 512},
        "model/model.safetensors": safetensors({"w": Content("F32", [4])}),
    }
    config = survey(in_memory(files))
    assert (config.architecture, config.context_size, config.parameters) == ("bert", 512, "4.00")
