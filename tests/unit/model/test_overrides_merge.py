"""Merging settings: the strongest origin counts, whatever the order, and each value says where it is from."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from mrpack.model.overrides import Effective, Origin, Overrides, Sourced, merge, parse_overrides
from tests.unit.model.overrides_values import overrides

ORIGINS = st.sampled_from(Origin)
LAYERS = st.lists(st.tuples(ORIGINS, overrides()), max_size=6)


@given(LAYERS)
def test_each_value_is_that_of_the_strongest_layer_that_has_the_key(
    layers: list[tuple[Origin, Overrides]],
) -> None:
    effective = merge(layers)
    keys = {key for _, layer in layers for key in layer.values}
    assert effective.settings.keys() == keys
    for key in keys:
        having = [(origin, layer) for origin, layer in layers if key in layer.values]
        strongest = max(origin for origin, _ in having)
        last = [layer for origin, layer in having if origin is strongest][-1]
        assert effective.settings[key] == Sourced(last.values[key], strongest)
        assert effective.get(key) == last.values[key]


@given(st.tuples(LAYERS, LAYERS, LAYERS))
def test_merging_is_associative(parts: tuple[list[tuple[Origin, Overrides]], ...]) -> None:
    low, middle, high = (merge(part) for part in parts)
    assert high.over(middle).over(low) == high.over(middle.over(low))
    assert high.over(middle.over(low)) == merge([layer for part in parts for layer in part])


@given(LAYERS)
def test_nothing_is_neutral_and_merging_twice_changes_nothing(layers: list[tuple[Origin, Overrides]]) -> None:
    effective = merge(layers)
    assert effective.over(Effective()) == Effective().over(effective) == effective
    assert effective.over(effective) == effective


@given(st.lists(overrides(), min_size=len(Origin), max_size=len(Origin)), st.permutations(list(Origin)))
def test_the_order_of_different_origins_does_not_matter(layers: list[Overrides], order: list[Origin]) -> None:
    by_origin = dict(zip(Origin, layers, strict=True))
    assert merge((origin, by_origin[origin]) for origin in order) == merge(by_origin.items())


def test_null_takes_a_setting_of_weaker_origins_away() -> None:
    artifact = parse_overrides({"context_size": 8192, "mode": "embedding"})
    configured = parse_overrides({"context_size": None})
    effective = merge([(Origin.ARTIFACT, artifact), (Origin.CONFIGURE, configured)])
    assert effective.get("context_size") is None
    assert effective.settings["context_size"] == Sourced(None, Origin.CONFIGURE)
    assert "context_size" not in effective.for_engine("vllm").general
    again = merge([(Origin.COMMAND, parse_overrides({"context_size": 1}))]).over(effective)
    assert again.get("context_size") == 1


def test_objects_are_replaced_whole() -> None:
    low = parse_overrides({"vllm": {"hf_overrides": {"a": 1}}})
    high = parse_overrides({"vllm": {"hf_overrides": {"b": 2}}})
    assert merge([(Origin.ARTIFACT, low), (Origin.COMMAND, high)]).get("vllm.hf_overrides") == {"b": 2}


def test_an_engine_sees_the_general_settings_and_its_own() -> None:
    document = parse_overrides(
        {"sampling": {"top_p": 0.5}, "vllm": {"enforce_eager": True}, "llamacpp": {"mmap": False}}
    )
    view = merge([(Origin.ARTIFACT, document)]).for_engine("vllm")
    assert view.general == {"sampling.top_p": Sourced(0.5, Origin.ARTIFACT)}
    assert view.own == {"enforce_eager": Sourced(True, Origin.ARTIFACT)}


def test_an_engines_own_word_for_a_general_setting_yields_to_a_stronger_origin() -> None:
    own = parse_overrides({"vllm": {"max_model_len": 4096}})
    general = parse_overrides({"context_size": 2048})
    cases = [
        ([(Origin.ARTIFACT, own), (Origin.COMMAND, general)], Sourced(2048, Origin.COMMAND)),
        ([(Origin.COMMAND, own), (Origin.ARTIFACT, general)], Sourced(4096, Origin.COMMAND)),
        ([(Origin.ARTIFACT, own), (Origin.ARTIFACT, general)], Sourced(4096, Origin.ARTIFACT)),
    ]
    for layers, expected in cases:
        for order in permutations(layers):
            view = merge(order).for_engine("vllm")
            assert view.general == {"context_size": expected}
            assert view.own == {}
    assert merge(cases[0][0]).for_engine("llamacpp").general["context_size"].value == 2048


def test_every_origin_has_a_label() -> None:
    assert len({origin.label for origin in Origin}) == len(Origin)
