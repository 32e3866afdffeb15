"""Which token service is asked, and which is shown credentials."""

from __future__ import annotations

import pytest

from mrpack.errors import AccessDenied
from mrpack.registry.reach import Reach, reach_of
from mrpack.registry.realms import RealmRule, judge_realm, site_of
from mrpack.registry.url import Url

TRUSTED_ANYWHERE = RealmRule(credentials=True, nearest=Reach.LOCAL)
TRUSTED_PUBLIC = RealmRule(credentials=True, nearest=Reach.PUBLIC)
ANONYMOUS_PUBLIC = RealmRule(credentials=False, nearest=Reach.PUBLIC)
ANONYMOUS_ANYWHERE = RealmRule(credentials=False, nearest=Reach.LOCAL)


@pytest.mark.parametrize(
    ("registry", "realm", "rule"),
    [
        # The registry itself.
        ("https://r.example.com", "https://r.example.com/token", TRUSTED_ANYWHERE),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/token", TRUSTED_ANYWHERE),
        # The same machine, another port: safe under TLS, somebody else's listener without.
        ("https://git.example.com:5050", "https://git.example.com/jwt/auth", TRUSTED_ANYWHERE),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5001/token", ANONYMOUS_ANYWHERE),
        ("http://127.0.0.1:5000", "http://localhost:5001/token", ANONYMOUS_ANYWHERE),
        ("http://localhost:5000", "http://[::1]:5001/token", ANONYMOUS_ANYWHERE),
        # The same site.
        ("https://registry.example.com", "https://auth.example.com/token", TRUSTED_PUBLIC),
        ("https://registry.example.co.uk", "https://auth.example.co.uk/token", TRUSTED_PUBLIC),
        ("http://registry.example.com", "https://auth.example.com/token", TRUSTED_PUBLIC),
        ("http://registry.example.com", "http://auth.example.com/token", ANONYMOUS_PUBLIC),
        # Known pairs.
        ("https://registry-1.docker.io", "https://auth.docker.io/token", TRUSTED_PUBLIC),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", TRUSTED_PUBLIC),
        ("https://rg.fr-par.scw.cloud", "https://api.scaleway.com/token", TRUSTED_PUBLIC),
        # Strangers.
        ("https://registry.example.com", "https://example.com.evil.net/token", ANONYMOUS_PUBLIC),
        ("https://registry.example.com", "https://evil.com/token", ANONYMOUS_PUBLIC),
        ("https://example.co.uk", "https://evil.co.uk/token", ANONYMOUS_PUBLIC),
        ("https://a.fly.dev", "https://b.fly.dev/token", ANONYMOUS_PUBLIC),
        ("https://mine.azurecr.io", "https://yours.azurecr.io/token", ANONYMOUS_PUBLIC),
        ("https://10.0.0.5", "https://10.0.0.6/token", ANONYMOUS_PUBLIC),
        ("https://registry", "https://auth/token", ANONYMOUS_PUBLIC),
        ("https://registry-1.docker.io", "https://gitlab.com/token", ANONYMOUS_PUBLIC),
        ("https://r.example.com", "https://127.0.0.1/token", ANONYMOUS_PUBLIC),
        ("https://r.example.com", "https://169.254.169.254/latest", ANONYMOUS_PUBLIC),
        ("https://r.example.com", "https://2130706433/token", ANONYMOUS_PUBLIC),
    ],
)
def test_realms_are_judged(registry: str, realm: str, rule: RealmRule) -> None:
    assert judge_realm(Url.parse(realm), Url.parse(registry).origin, Reach.PUBLIC, ()) == rule


@pytest.mark.parametrize(
    "realm", ["http://r.example.com/token", "http://auth.example.com/t", "http://evil.com/t"]
)
def test_a_registry_with_tls_may_not_step_down(realm: str) -> None:
    registry = Url.parse("https://r.example.com").origin
    with pytest.raises(AccessDenied):
        judge_realm(Url.parse(realm), registry, Reach.PUBLIC, ["auth.example.com"])


@pytest.mark.parametrize("trusted", ["auth.other.org", "auth.other.org:443"])
def test_the_user_can_trust_a_stranger(trusted: str) -> None:
    registry = Url.parse("https://r.example.com").origin
    realm = Url.parse("https://auth.other.org/token")
    assert judge_realm(realm, registry, Reach.PUBLIC, [trusted]) == TRUSTED_ANYWHERE
    assert judge_realm(realm, registry, Reach.PUBLIC, ["other.org", "auth.other.org:80"]) == ANONYMOUS_PUBLIC


@pytest.mark.parametrize(
    ("reached", "nearest"),
    [(Reach.PUBLIC, Reach.PUBLIC), (Reach.PRIVATE, Reach.PRIVATE), (Reach.LOCAL, Reach.PRIVATE)],
)
def test_a_private_registry_may_have_a_private_token_service_on_its_site(
    reached: Reach, nearest: Reach
) -> None:
    registry = Url.parse("https://registry.corp.example").origin
    rule = judge_realm(Url.parse("https://auth.corp.example/token"), registry, reached, ())
    assert rule == RealmRule(credentials=True, nearest=nearest)


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("a.b.example.com", "example.com"),
        ("example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("example.co.uk", "example.co.uk"),
        ("co.uk", None),
        ("localhost", None),
        ("192.168.1.1", None),
        ("::1", None),
        ("1.2.3", None),
        ("a..com", None),
        ("a.github.io", None),
        ("github.io", None),
        ("x.dkr.ecr.eu-west-1.amazonaws.com", None),
    ],
)
def test_sites_are_estimated_on_the_safe_side(host: str, site: str | None) -> None:
    assert site_of(host) == site


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("1.1.1.1", Reach.PUBLIC),
        ("2606:4700::1111", Reach.PUBLIC),
        ("10.1.2.3", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("192.168.0.1", Reach.PRIVATE),
        ("100.64.0.1", Reach.PRIVATE),
        ("198.18.0.1", Reach.PRIVATE),
        ("fd00::1", Reach.PRIVATE),
        ("127.0.0.1", Reach.LOCAL),
        ("127.8.9.10", Reach.LOCAL),
        ("0.0.0.0", Reach.LOCAL),
        ("0.1.2.3", Reach.LOCAL),
        ("169.254.169.254", Reach.LOCAL),
        ("224.0.0.1", Reach.LOCAL),
        ("255.255.255.255", Reach.LOCAL),
        ("::", Reach.LOCAL),
        ("::1", Reach.LOCAL),
        ("fe80::1%eth0", Reach.LOCAL),
        ("ff02::1", Reach.LOCAL),
        ("::ffff:127.0.0.1", Reach.LOCAL),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("::ffff:1.1.1.1", Reach.PUBLIC),
        ("64:ff9b::7f00:1", Reach.LOCAL),
        ("2002:7f00:1::", Reach.LOCAL),
    ],
)
def test_addresses_are_placed(address: str, reach: Reach) -> None:
    assert reach_of(address) == reach
