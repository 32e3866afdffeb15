"""Which proxy is used, and what it gets to see."""

from __future__ import annotations

import pytest

from mrpack.errors import UsageError
from mrpack.registry import Secret
from mrpack.registry.proxies import Proxy, proxy_for
from mrpack.registry.settings import ProxySettings
from mrpack.registry.url import Url

PROXY = "http://proxy:3128"


@pytest.mark.parametrize(
    ("url", "no_proxy", "proxied"),
    [
        ("https://r.example.com", "", True),
        ("https://r.example.com", "*", False),
        ("https://r.example.com", "example.com", False),
        ("https://r.example.com", ".example.com", False),
        ("https://r.example.com", "*.example.com", False),
        ("https://example.com", "example.com", False),
        ("https://example.com", ".example.com", True),
        ("https://badexample.com", "example.com", True),
        ("https://r.example.com", "other.org, R.Example.COM ,x", False),
        ("https://r.example.com:5000", "r.example.com:5000", False),
        ("https://r.example.com:5001", "r.example.com:5000", True),
        ("https://10.1.2.3", "10.0.0.0/8", False),
        ("https://11.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.3", False),
        ("https://[2001:db8::1]", "2001:db8::/32", False),
        ("https://[2001:db8::1]", "[2001:db8::1]", False),
        ("https://[2001:db8::1]:5000", "[2001:db8::1]:5000", False),
        ("https://[2001:db8::1]", "2001:DB8:0::1", False),
        ("https://[2001:db8::1]:5000", "[2001:db8:0::1]:5000", False),
        ("https://[2001:db8::1]:5001", "[2001:db8:0::1]:5000", True),
        ("https://10.1.2.3:5000", "10.1.2.3:5000", False),
        ("https://10.1.2.3:5001", "10.1.2.3:5000", True),
        ("https://r.example.com", "not/a/network,,", True),
        ("http://localhost:5000", "", False),
        ("http://127.0.0.1:5000", "", False),
    ],
)
def test_exceptions_are_read_as_go_reads_them(url: str, no_proxy: str, proxied: bool) -> None:
    settings = ProxySettings(http=PROXY, https=PROXY, no_proxy=no_proxy)
    assert (proxy_for(Url.parse(url).origin, settings) is not None) == proxied


def test_each_scheme_has_its_proxy() -> None:
    settings = ProxySettings(https=PROXY)
    assert proxy_for(Url.parse("https://a.example").origin, settings) == Proxy("proxy", 3128)
    assert proxy_for(Url.parse("http://a.example").origin, settings) is None


@pytest.mark.parametrize(
    ("text", "proxy"),
    [
        ("proxy:3128", Proxy("proxy", 3128)),
        ("http://proxy", Proxy("proxy", 80)),
        ("http://al%40ice:p%3Aw@proxy:1", Proxy("proxy", 1, Secret("Basic YWxAaWNlOnA6dw=="))),
        ("http://[::1]:3128/", Proxy("::1", 3128)),
    ],
)
def test_proxies_are_parsed(text: str, proxy: Proxy) -> None:
    assert Proxy.parse(text) == proxy


@pytest.mark.parametrize(
    "text", ["socks5://hush@p:1", "https://u:hush@p", "http://u:hush@", "http://u:hush@p:x"]
)
def test_other_proxies_are_refused_without_showing_the_setting(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        Proxy.parse(text)
    assert "hush" not in str(caught.value)


def test_settings_do_not_show_a_proxy_password() -> None:
    assert "hush" not in repr(ProxySettings(https="http://u:hush@proxy:1"))
