"""Who may talk to the gateway."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpack.errors import AccessDenied, MrpackError, UsageError
from mrpack_runtime.gateway.bodies import check_content_type, parse_object, screen
from mrpack_runtime.gateway.errors import NotJson, UnsupportedMediaType
from mrpack_runtime.gateway.guard import (
    Policy,
    Scope,
    check_policy,
    check_scope,
    check_sender,
    cors_headers,
    find_key,
    hash_key,
    is_host_allowed,
    is_key_valid,
    is_loopback,
    is_origin_allowed,
    preflight_headers,
)
from mrpack_runtime.protocols.refusal import RequestRefused

LOOPBACK = Policy()
NAMED = Policy(hosts=frozenset({"gpu.example.com", "192.0.2.7"}))
OPEN_TO_LAN = Policy(
    beyond_loopback=True, key_hashes=(hash_key("secret"),), hosts=frozenset({"gpu.example.com"})
)
MANAGED = replace(OPEN_TO_LAN, management_hashes=(hash_key("master"),))


@pytest.mark.parametrize(
    ("host", "policy", "allowed"),
    [
        ("localhost", LOOPBACK, True),
        ("localhost:12434", LOOPBACK, True),
        ("LocalHost:1", LOOPBACK, True),
        ("localhost.", LOOPBACK, True),
        ("app.localhost:3000", LOOPBACK, True),
        ("127.0.0.1", LOOPBACK, True),
        ("127.0.0.1:12434", LOOPBACK, True),
        ("127.8.9.10", LOOPBACK, True),
        ("[::1]:12434", LOOPBACK, True),
        ("[::1]", LOOPBACK, True),
        ("evil.example.com", LOOPBACK, False),
        ("evil.example.com:12434", LOOPBACK, False),
        ("localhost.evil.example.com", LOOPBACK, False),
        ("127.0.0.1.evil.example.com", LOOPBACK, False),
        ("notlocalhost", LOOPBACK, False),
        ("192.0.2.7", LOOPBACK, False),
        ("0.0.0.0", LOOPBACK, False),
        ("127.1", LOOPBACK, False),
        ("2130706433", LOOPBACK, False),
        ("", LOOPBACK, False),
        ("localhost:port", LOOPBACK, False),
        ("localhost:123456", LOOPBACK, False),
        ("user@localhost", LOOPBACK, False),
        ("localhost/..", LOOPBACK, False),
        ("localhost localhost", LOOPBACK, False),
        ("[::1", LOOPBACK, False),
        ("gpu.example.com:12434", NAMED, True),
        ("192.0.2.7:12434", NAMED, True),
        ("other.example.com", NAMED, False),
        ("192.0.2.8", OPEN_TO_LAN, True),
        ("[2001:db8::1]:12434", OPEN_TO_LAN, True),
        ("gpu.example.com", OPEN_TO_LAN, True),
        ("evil.example.com", OPEN_TO_LAN, False),
    ],
)
def test_only_our_own_host_names_are_answered(host, policy, allowed):
    assert is_host_allowed(host, policy) is allowed


@pytest.mark.parametrize(
    ("origin", "origins", "allowed"),
    [
        ("http://localhost:3000", (), False),
        ("null", (), False),
        ("http://localhost:3000", ("http://localhost:3000",), True),
        ("http://localhost:3001", ("http://localhost:3000",), False),
        ("https://localhost:3000", ("http://localhost:3000",), False),
        ("http://localhost:3001", ("http://localhost:*",), True),
        ("http://localhost", ("http://localhost:*",), True),
        ("http://localhost:3000.evil.example.com", ("http://localhost:*",), False),
        ("http://localhost:", ("http://localhost:*",), False),
        ("http://localhost.evil.example.com:80", ("http://localhost:*",), False),
        ("https://example.com", ("http://localhost:*", "*"), True),
        ("null", ("*",), True),
        ("http://LOCALHOST:3000", ("http://localhost:3000",), False),
    ],
)
def test_only_allowed_origins_are_answered(origin, origins, allowed):
    assert is_origin_allowed(origin, Policy(origins=origins)) is allowed


@settings(deadline=None)
@given(st.text(max_size=60))
def test_no_text_slips_through_as_a_host(text):
    if is_host_allowed(text, LOOPBACK):
        name = text.lower().rsplit(":", 1)[0] if not text.startswith("[") else text
        assert name.startswith(("localhost", "127.", "[")) or name.rstrip(".").endswith(".localhost")


@pytest.mark.parametrize("hosts", [[], ["localhost", "localhost"], ["localhost", "evil.example.com"]])
def test_a_missing_or_repeated_host_is_refused(hosts):
    with pytest.raises(RequestRefused):
        check_sender(hosts, None, LOOPBACK)


def test_unix_sockets_take_any_host_but_not_any_origin():
    policy = Policy(check_host=False)
    check_sender(["whatever.example.com"], None, policy)
    check_sender([], None, policy)
    with pytest.raises(AccessDenied):
        check_sender([], "http://evil.example.com", policy)


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ({"Authorization": "Bearer abc"}, "abc"),
        ({"Authorization": "bearer  abc "}, "abc"),
        ({"X-Api-Key": "abc"}, "abc"),
        ({"Authorization": "Basic abc"}, None),
        ({"Authorization": "Bearer "}, None),
        ({"Authorization": "Basic abc", "X-Api-Key": "def"}, "def"),
        ({}, None),
    ],
)
def test_keys_come_in_two_headers(headers, key):
    assert find_key(headers) == key


def test_each_of_several_keys_is_valid_and_no_other():
    hashes = (hash_key("one"), hash_key("two"))
    assert is_key_valid("one", hashes)
    assert is_key_valid("two", hashes)
    assert not is_key_valid("onetwo", hashes)
    assert not is_key_valid("", hashes)
    assert not is_key_valid(None, (*hashes, hash_key("")))


@pytest.mark.parametrize(
    ("scope", "policy", "key", "status"),
    [
        (Scope.OPEN, OPEN_TO_LAN, None, None),
        (Scope.INFERENCE, LOOPBACK, None, None),
        (Scope.INFERENCE, OPEN_TO_LAN, None, 401),
        (Scope.INFERENCE, OPEN_TO_LAN, "wrong", 401),
        (Scope.INFERENCE, OPEN_TO_LAN, "secret", None),
        (Scope.MANAGEMENT, LOOPBACK, None, None),
        (Scope.MANAGEMENT, OPEN_TO_LAN, None, 401),
        (Scope.MANAGEMENT, OPEN_TO_LAN, "secret", 403),
        (Scope.OPEN, MANAGED, None, None),
        (Scope.INFERENCE, MANAGED, "secret", None),
        (Scope.INFERENCE, MANAGED, "master", None),
        (Scope.INFERENCE, MANAGED, "wrong", 401),
        (Scope.MANAGEMENT, MANAGED, None, 401),
        (Scope.MANAGEMENT, MANAGED, "secret", 401),
        (Scope.MANAGEMENT, MANAGED, "master", None),
        (Scope.INFERENCE, Policy(management_hashes=(hash_key("master"),)), None, None),
        (Scope.MANAGEMENT, Policy(management_hashes=(hash_key("master"),)), None, 401),
    ],
)
def test_each_scope_asks_for_its_rights(scope, policy, key, status):
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    if status is None:
        check_scope(scope, headers, policy)
        return
    with pytest.raises(MrpackError) as caught:
        check_scope(scope, headers, policy)
    assert caught.value.http_status == status


def test_other_machines_need_a_key():
    check_policy(LOOPBACK)
    check_policy(OPEN_TO_LAN)
    with pytest.raises(AccessDenied):
        check_policy(Policy(beyond_loopback=True))


def test_an_origin_is_written_as_browsers_do():
    check_policy(
        Policy(
            origins=(
                *("*", "http://localhost", "http://localhost:*", "http://127.0.0.1:3000", "http://[::1]:*"),
                *("https://app.example.com", "app://obsidian.md", "chrome-extension://abcdefgh"),
            )
        )
    )


@pytest.mark.parametrize(
    "origin",
    [
        "foo",
        "",
        "localhost:3000",
        "http://",
        "http://a/",
        "http://a/b",
        "http://a:",
        "http://*.a",
        "http://A",
    ],
)
def test_an_origin_that_no_page_has_is_refused(origin):
    with pytest.raises(UsageError, match="origin"):
        check_policy(Policy(origins=("*", origin)))


@pytest.mark.parametrize(
    ("host", "inside"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("gpu", False),
    ],
)
def test_loopback_addresses_are_known(host, inside):
    assert is_loopback(host) is inside


def test_cors_answers_name_the_origin_and_tell_caches():
    policy = Policy(origins=("http://localhost:*",))
    assert cors_headers("http://localhost:3000", policy) == {
        "Access-Control-Allow-Origin": "http://localhost:3000",
        "Vary": "Origin",
    }
    assert cors_headers(None, policy) == {"Vary": "Origin"}
    assert cors_headers(None, LOOPBACK) == {}


def test_a_preflight_allows_the_headers_that_it_asks_for_but_no_line_breaks():
    headers = preflight_headers(("POST", "OPTIONS"), "authorization, content-type, x-stainless-os")
    assert headers["Access-Control-Allow-Headers"] == "authorization, content-type, x-stainless-os"
    assert headers["Access-Control-Allow-Methods"] == "POST, OPTIONS"
    assert "Access-Control-Allow-Credentials" not in headers
    assert "Access-Control-Allow-Headers" not in preflight_headers(("GET",), "a\r\nSet-Cookie: x")


@pytest.mark.parametrize(
    ("content_type", "encoding", "accepted"),
    [
        ("application/json", "", True),
        ("application/json; charset=utf-8", "", True),
        ("Application/JSON", "identity", True),
        ("", "", False),
        ("text/plain", "", False),
        ("application/x-www-form-urlencoded", "", False),
        ("multipart/form-data; boundary=x", "", False),
        ("text/json", "", False),
        ("application/json", "gzip", False),
    ],
)
def test_bodies_are_plain_json_only(content_type, encoding, accepted):
    if accepted:
        check_content_type(content_type, encoding)
        return
    with pytest.raises(UnsupportedMediaType):
        check_content_type(content_type, encoding)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"model"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b"{} {}",
        b'{"a":' * 100000,
        b"[" * 100000,
        b'{"n": 1' + b"0" * 5000 + b"}",
    ],
)
def test_what_is_not_a_json_object_is_refused(content):
    with pytest.raises(NotJson):
        parse_object(content)


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text()))
def test_every_json_object_is_read(body):
    assert parse_object(json.dumps(body).encode()) == body


@pytest.mark.parametrize("field", ["prompt_embeds", "n_discard", "chat_template", "mm_processor_kwargs"])
def test_fields_that_reach_past_the_model_are_refused(field):
    with pytest.raises(RequestRefused) as caught:
        screen({"model": "m", field: {}})
    assert caught.value.param == field


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/x.png"}},
        {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "FILE:///etc/passwd"}},
        {"type": "image_url", "image_url": {"url": "//example.com/x.png"}},
        {"type": "image_url", "image_url": {"url": " data:image/png;base64,AA=="}},
        {"type": "image_url", "image_url": "http://127.0.0.1:9/"},
        {"type": "video_url", "video_url": {"url": "http://[::1]/"}},
        {"type": "audio_url", "audio_url": {"url": "ftp://example.com/"}},
    ],
)
def test_media_that_the_engine_would_fetch_is_refused(part):
    with pytest.raises(RequestRefused) as caught:
        screen({"messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}, part]}]})
    assert caught.value.param.startswith("messages[0].content[1].")


@pytest.mark.parametrize(
    "messages",
    [
        [
            {
                "role": "user",
                "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
            }
        ],
        [{"role": "user", "content": "see http://example.com"}],
        [{"role": "assistant", "content": None, "tool_calls": []}],
        ["nonsense", 3, {"content": [7, None, {}]}],
        "nonsense",
        None,
    ],
)
def test_other_messages_pass(messages):
    screen({"model": "m", "messages": messages})
