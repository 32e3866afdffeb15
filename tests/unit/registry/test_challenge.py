"""WWW-Authenticate headers: understood exactly, or refused."""

from __future__ import annotations

import contextlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import RegistryUnavailable
from mrpack.registry.challenge import Challenge, parse_challenges

TOKENS = st.text(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~", min_size=1, max_size=12)
VALUES = st.text(string.ascii_letters + string.digits + string.punctuation + " \t", max_size=30)
PARAMETERS = st.dictionaries(TOKENS.map(str.lower), VALUES, max_size=5)
CHALLENGES = st.lists(st.tuples(TOKENS.map(str.lower), PARAMETERS), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic", [Challenge("basic")]),
        ('Basic realm="a, b=c \\"d\\""', [Challenge("basic", {"realm": 'a, b=c "d"'})]),
        ("Basic realm=simple", [Challenge("basic", {"realm": "simple"})]),
        ('BEARER Realm = "x" , Service=y', [Challenge("bearer", {"realm": "x", "service": "y"})]),
        (
            'Bearer realm="https://a/token",service="r",scope="repository:a/b:pull,push repository:c:pull"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://a/token",
                        "service": "r",
                        "scope": "repository:a/b:pull,push repository:c:pull",
                    },
                )
            ],
        ),
        (
            'Negotiate, Basic realm="x", Bearer realm="y",error="invalid_token"',
            [
                Challenge("negotiate"),
                Challenge("basic", {"realm": "x"}),
                Challenge("bearer", {"realm": "y", "error": "invalid_token"}),
            ],
        ),
        ("Negotiate YWJj==, Basic", [Challenge("negotiate"), Challenge("basic")]),
        (" , ,Basic realm=x, ,", [Challenge("basic", {"realm": "x"})]),
        ('Basic realm=""', [Challenge("basic", {"realm": ""})]),
        ("", []),
    ],
)
def test_challenges_are_read(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges([header]) == expected


def test_several_headers_are_one_list() -> None:
    assert [item.scheme for item in parse_challenges(["Basic realm=x", "Bearer realm=y"])] == [
        "basic",
        "bearer",
    ]


@pytest.mark.parametrize(
    "header",
    [
        "realm=x",
        'Basic "x"',
        'Bearer realm="x',
        "Bearer a=b c=d",
        "Bearer a=b,A=c",
        "Bearer a=b; c=d",
        "Bearer a=,b=c",
        "Bearer =b",
        'Bearer a="\x00"',
        "Bearer a=é",
        "Bearer realm=https://a/b",
        "YWJj==",
        "Basic " + "x" * 9_000,
    ],
)
def test_anything_else_is_refused(header: str) -> None:
    with pytest.raises(RegistryUnavailable):
        parse_challenges([header])


@given(CHALLENGES)
def test_what_is_written_by_the_grammar_is_read_back(written: list[tuple[str, dict[str, str]]]) -> None:
    header = ", ".join(
        " ".join([scheme, ", ".join(f"{name}={_quote(value)}" for name, value in parameters.items())])
        for scheme, parameters in written
    )
    assert parse_challenges([header]) == [Challenge(scheme, parameters) for scheme, parameters in written]


@given(st.text(max_size=200) | st.text(' ,="\\abAB:/', max_size=60))
def test_nothing_but_the_named_error_comes_out(header: str) -> None:
    with contextlib.suppress(RegistryUnavailable):
        parse_challenges([header])


def _quote(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
