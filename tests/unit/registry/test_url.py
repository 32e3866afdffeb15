"""Where redirects and upload Locations may lead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import RegistryUnavailable, UsageError
from mrpack.registry.endpoints import origin_of
from mrpack.registry.settings import RegistrySettings
from mrpack.registry.url import Origin, Url

BASE = "https://r.example.com/v2/a/b/blobs/uploads/"


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/v2/x?_state=a%2Fb", "https://r.example.com/v2/x?_state=a%2Fb"),
        ("123?_state=x", "https://r.example.com/v2/a/b/blobs/uploads/123?_state=x"),
        ("?n=1", "https://r.example.com/v2/a/b/blobs/uploads/?n=1"),
        ("https://r.example.com:443/x", "https://r.example.com/x"),
        ("https://R.Example.Com./x", "https://r.example.com/x"),
        ("https://r.example.com:8443/x", "https://r.example.com:8443/x"),
        ("https://cdn.example.net/x?sig=1&y=2", "https://cdn.example.net/x?sig=1&y=2"),
        ("//cdn.example.net/x", "https://cdn.example.net/x"),
        ("https://[2001:db8::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://cdn.example.net", "https://cdn.example.net/"),
        ("https://cdn.example.net/x#fragment", "https://cdn.example.net/x"),
    ],
)
def test_locations_are_followed(location: str, expected: str) -> None:
    assert str(Url.parse(BASE).follow(location)) == expected


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://r.example.com/x",
        "file:///etc/passwd",
        "ftp://r.example.com/x",
        "javascript:alert(1)",
        "https://user:password@r.example.com/x",
        "https://r.example.com\\@evil.com/x",
        "https://r.example.com:0/x",
        "https://r.example.com:99999/x",
        "https://r.example.com:port/x",
        "https://exa mple.com/x",
        "/x\r\nHost: evil.com",
        "/x\ty",
        "https://[::1/x",
        "https://[fe80::1%25eth0]/x",
        "https://ex\u0430mple.com/x",
        "https://" + "a" * 20_000,
    ],
)
def test_other_locations_are_refused(location: str | None) -> None:
    with pytest.raises(RegistryUnavailable):
        Url.parse(BASE).follow(location)


def test_plain_http_may_step_up() -> None:
    assert Url.parse("http://a/x").follow("https://a/y").origin == Origin("https", "a", 443)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://a/x", "https://a/x?digest=sha256%3Aab"),
        ("https://a/x?_state=1", "https://a/x?_state=1&digest=sha256%3Aab"),
    ],
)
def test_a_parameter_is_added_to_those_there_are(location: str, expected: str) -> None:
    assert str(Url.parse(location).with_query("digest", "sha256:ab")) == expected


def test_a_shown_address_has_no_signature() -> None:
    assert Url.parse("https://a/x?X-Amz-Signature=secret").shown == "https://a/x"


@given(st.text(max_size=80) | st.from_regex(r"https?://[a-z:@\[\]/?#\\.%0-9-]{0,30}", fullmatch=True))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = Url.parse(text)
    except RegistryUnavailable:
        return
    assert Url.parse(str(url)) == url
    assert url.origin.scheme in {"http", "https"}
    assert url.target.startswith("/")


@pytest.mark.parametrize(
    ("registry", "settings", "origin"),
    [
        ("docker.io", RegistrySettings(), "https://registry-1.docker.io"),
        ("ghcr.io", RegistrySettings(), "https://ghcr.io"),
        ("r.example.com:5000", RegistrySettings(), "https://r.example.com:5000"),
        ("r.example.com", RegistrySettings(plain_http=frozenset({"r.example.com"})), "http://r.example.com"),
        ("localhost", RegistrySettings(), "http://localhost"),
        ("localhost:5000", RegistrySettings(), "http://localhost:5000"),
        ("127.0.0.1:5000", RegistrySettings(), "http://127.0.0.1:5000"),
        ("[::1]:5000", RegistrySettings(), "http://[::1]:5000"),
        ("[::1]", RegistrySettings(), "http://[::1]"),
        ("localhost:5000", RegistrySettings(tls=frozenset({"localhost:5000"})), "https://localhost:5000"),
        ("localhost:1", RegistrySettings(skip_verify=frozenset({"localhost:1"})), "https://localhost:1"),
        ("127.evil.com", RegistrySettings(), "https://127.evil.com"),
        ("localhost.evil.com", RegistrySettings(), "https://localhost.evil.com"),
    ],
)
def test_registries_are_reached_where_they_are(
    registry: str, settings: RegistrySettings, origin: str
) -> None:
    assert str(origin_of(registry, settings)) == origin


@pytest.mark.parametrize("registry", ["", ":5000", "host:port"])
def test_a_name_that_is_no_registry_is_refused(registry: str) -> None:
    with pytest.raises(UsageError):
        origin_of(registry, RegistrySettings())
