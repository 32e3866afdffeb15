"""`mrpack.json`: what is taken, what is refused and how, and its one canonical form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact, UsageError
from mrpack.model.overrides import (
    BY_KEY,
    OVERRIDES_LIMIT,
    Overrides,
    duration_s,
    encode_overrides,
    parse_overrides,
    parse_setting,
)
from tests.unit.model.overrides_values import documents

EXAMPLE: dict[str, Any] = {
    "mode": "completion",
    "context_size": 8192,
    "keep_alive": "5m",
    "sampling": {"temperature": 0.7, "stop": ["</s>", "<|im_end|>"], "seed": None},
    "llamacpp": {"cache_type_k": "q8_0", "chat_template_kwargs": {"enable_thinking": False}},
    "vllm": {"max_model_len": 4096, "hf_overrides": {"rope_parameters": {"factor": 2.0, "x": [1, None]}}},
    "diffusers": {"size": "1024x768", "negative_prompt": "blurry, /cropped/"},
}


def test_a_document_is_read_by_keys() -> None:
    overrides = parse_overrides(json.dumps(EXAMPLE).encode())
    assert overrides.values["sampling.temperature"] == 0.7
    assert overrides.values["sampling.seed"] is None
    assert overrides.values["vllm.hf_overrides"] == EXAMPLE["vllm"]["hf_overrides"]
    assert overrides == parse_overrides(EXAMPLE)


@given(documents())
def test_encoding_is_canonical_and_loses_nothing(document: dict[str, Any]) -> None:
    overrides = parse_overrides(document)
    raw = encode_overrides(overrides)
    assert parse_overrides(raw) == overrides
    assert encode_overrides(parse_overrides(raw)) == raw
    backwards = dict(reversed(overrides.values.items()))
    assert encode_overrides(Overrides(backwards)) == raw


def test_equal_numbers_have_equal_bytes() -> None:
    one = parse_overrides(b'{"context_size":4096.0,"sampling":{"top_p":1.0}}')
    other = parse_overrides(b'{"sampling":{"top_p":1},"context_size":4096}')
    assert encode_overrides(one) == encode_overrides(other)
    assert encode_overrides(one) == b'{"context_size":4096,"sampling":{"top_p":1}}'


@pytest.mark.parametrize(
    ("document", "where"),
    [
        ({"context_size": "8192"}, "mrpack.json.context_size"),
        ({"context_size": True}, "mrpack.json.context_size"),
        ({"context_size": 2**31}, "mrpack.json.context_size"),
        ({"mode": "chat"}, "mrpack.json.mode"),
        ({"keep_alive": "5 minutes"}, "mrpack.json.keep_alive"),
        ({"sampling": {"temperature": float("nan")}}, "mrpack.json.sampling.temperature"),
        ({"sampling": {"stop": "x"}}, "mrpack.json.sampling.stop"),
        ({"sampling": {"stop": [""]}}, "mrpack.json.sampling.stop"),
        ({"sampling": None}, "mrpack.json.sampling"),
        ({"sampling": []}, "mrpack.json.sampling"),
        ({"vllm": {"dtype": "int4"}}, "mrpack.json.vllm.dtype"),
        ({"vllm": {"gpu_memory_utilization": 0}}, "mrpack.json.vllm.gpu_memory_utilization"),
        ({"vllm": {"tool_call_parser": "../evil"}}, "mrpack.json.vllm.tool_call_parser"),
        ({"vllm": {"tool_call_parser": "hermes\n"}}, "mrpack.json.vllm.tool_call_parser"),
        ({"diffusers": {"size": "1024x768x3"}}, "mrpack.json.diffusers.size"),
        ({"llamacpp": {"chat_template_kwargs": {"a": {}}}}, "mrpack.json.llamacpp.chat_template_kwargs"),
    ],
)
def test_a_value_that_a_key_does_not_take_is_refused_by_name(document: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidArtifact) as caught:
        parse_overrides(document)
    assert caught.value.where == where


@pytest.mark.parametrize(
    "tree",
    [
        {"a-b": 1},
        {"a": {"b-c": 1}},
        {"a": [{"b.c": 1}]},
        {"1a": 1},
        {"auto_map": {"AutoModel": "m.M"}},
        {"text_config": {"_name_or_path": "x"}},
        {"trust_remote_code": True},
        {"a": "/etc/passwd"},
        {"a": "https://example.com"},
        {"a": ["..\\x"]},
        {"a": "b\nc"},
        {"a": float("inf")},
        {"a": 2**64},
        [],
        "x",
    ],
)
def test_hf_overrides_name_no_file_no_code_and_no_place(tree: Any) -> None:
    with pytest.raises(InvalidArtifact, match=r"vllm\.hf_overrides"):
        parse_overrides({"vllm": {"hf_overrides": tree}})


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(17):
        deep = {"a": deep}
    with pytest.raises(InvalidArtifact):
        parse_overrides({"vllm": {"hf_overrides": deep}})
    parse_overrides({"vllm": {"hf_overrides": deep["a"]}})
    for raw in (b'{"vllm":{"hf_overrides":' + b'{"a":' * 5000, b"[" * 50_000):
        with pytest.raises(InvalidArtifact):
            parse_overrides(raw)


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("contextsize", "context_size"),
        ("context-size", "context_size"),
        ("temperature", "sampling.temperature"),
        ("max_model_len", "vllm.max_model_len"),
        ("n_gpu_layer", "llamacpp.n_gpu_layers"),
        ("Mode", "mode"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_one(key: str, nearest: str) -> None:
    with pytest.raises(InvalidArtifact) as caught:
        parse_overrides({key: 1})
    assert caught.value.hint == f"did you mean {nearest}?"
    with pytest.raises(UsageError) as refused:
        parse_setting(f"{key}=1")
    assert refused.value.hint == f"did you mean {nearest}?"


def test_a_dotted_key_in_a_document_is_shown_its_form() -> None:
    with pytest.raises(InvalidArtifact) as caught:
        parse_overrides({"sampling.top_p": 0.5})
    assert caught.value.hint == 'write {"sampling": {"top_p": …}}'


# What Docker Model Runner, Ollama or an engine would take for a place, a program or a door.
DANGEROUS = (
    *("model", "model_path", "mmproj", "lora", "host", "port", "api_key", "api_prefix"),
    *("ssl_key_file", "log_file", "path", "alias", "rpc", "override_kv", "chat_template"),
    *("chat_template_file", "grammar_file", "slot_save_path", "tools", "hf_repo", "hf_file"),
    *("model_url", "timeout", "trust_remote_code", "tokenizer", "tokenizer_mode", "revision"),
    *("code_revision", "load_format", "download_dir", "hf_config_path", "allowed_local_media_path"),
    *("tool_parser_plugin", "reasoning_parser_plugin", "logits_processors", "worker_cls"),
    *("worker_extension_cls", "scheduler_cls", "io_processor_plugin", "served_model_name", "uds"),
    *("middleware", "root_path", "speculative_config", "kv_transfer_config", "compilation_config"),
    *("model_loader_extra_config", "enable_lora", "custom_pipeline", "variant", "cache_dir"),
    *("token", "safety_checker", "runtime_flags", "raw_runtime_flags"),
)


@pytest.mark.parametrize("name", DANGEROUS)
def test_no_setting_opens_a_door(name: str) -> None:
    for group in ("", "sampling.", "llamacpp.", "vllm.", "diffusers."):
        assert f"{group}{name}" not in BY_KEY


def test_no_setting_but_text_for_the_model_takes_a_path_or_a_flag() -> None:
    prose = {"sampling.stop", "diffusers.negative_prompt", "llamacpp.chat_template_kwargs"}
    prose.add("vllm.default_chat_template_kwargs")
    for text in ("/etc/passwd", "..", "http://127.0.0.1/", "--host", "-x", "a b", "$(id)", "a\0b", "a;b"):
        for key, setting in BY_KEY.items():
            if key not in prose:
                values = [text, [text], {"a": text}] if key != "vllm.hf_overrides" else [text]
                assert not any(setting.kind.takes(value) for value in values), key


def test_no_document_is_too_large_to_be_read_whole() -> None:
    raw = b'{"diffusers":{"negative_prompt":"' + b"x" * OVERRIDES_LIMIT + b'"}}'
    with pytest.raises(InvalidArtifact, match="limit"):
        parse_overrides(raw)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("context_size=8192", 8192),
        ("context_size=null", None),
        ("keep_alive=1h30m", "1h30m"),
        ("keep_alive=-1", "-1"),
        ("mode=embedding", "embedding"),
        ("sampling.temperature=1", 1),
        ("sampling.top_p=0.95", 0.95),
        ("sampling.stop=</s>", ["</s>"]),
        ('sampling.stop=["a=b","c"]', ["a=b", "c"]),
        ("vllm.enforce_eager=true", True),
        ("vllm.quantization=compressed-tensors", "compressed-tensors"),
        ('vllm.hf_overrides={"max_position_embeddings":4096}', {"max_position_embeddings": 4096}),
        ('vllm.limit_mm_per_prompt={"image":4}', {"image": 4}),
        ("diffusers.negative_prompt=a=b", "a=b"),
    ],
)
def test_settings_of_a_command_line(text: str, value: Any) -> None:
    assert list(parse_setting(text).values.values()) == [value]


@pytest.mark.parametrize(
    "text",
    [
        *("context_size", "=1", "context_size=", "context_size=lots", "context_size=1e400", "mode=none"),
        *(
            "vllm.enforce_eager=yes",
            "vllm.hf_overrides={",
            'vllm.hf_overrides={"a":NaN}',
            "sampling.stop=[1]",
        ),
        "vllm.hf_overrides=" + "[" * 100_000,
    ],
)
def test_settings_that_mean_nothing_are_errors_of_usage(text: str) -> None:
    with pytest.raises(UsageError):
        parse_setting(text)


@given(st.text(max_size=60))
def test_a_command_line_gives_a_setting_or_an_error_of_usage(text: str) -> None:
    for argument in (text, f"sampling.stop={text}", f"vllm.hf_overrides={text}", f"keep_alive={text}"):
        try:
            overrides = parse_setting(argument)
        except UsageError:
            continue
        assert parse_overrides(encode_overrides(overrides)) == overrides


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("5m", 300), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25), ("0", 0), (90, 90), (0, 0), ("-1", None)],
)
def test_durations(value: Any, seconds: float | None) -> None:
    overrides = parse_overrides({"keep_alive": value})
    assert duration_s(overrides.values["keep_alive"]) == seconds


def test_changes_take_settings_away_for_good() -> None:
    before = parse_overrides({"context_size": 4096, "mode": "embedding"})
    after = before.with_settings(parse_setting("context_size=null")).with_settings(
        parse_setting("mode=reranking")
    )
    assert after == parse_overrides({"mode": "reranking"})
