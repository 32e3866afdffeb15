from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import UsageError
from mrpack.oci.reference import Reference, ReferenceDefaults

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("smollm2", "docker.io/ai/smollm2:latest"),
        ("smollm2:135M-Q4_1", "docker.io/ai/smollm2:135M-Q4_1"),
        ("MyModel", "docker.io/ai/mymodel:latest"),
        ("model:", "docker.io/ai/model:latest"),
        ("model\n", "docker.io/ai/model:latest"),
        ("myorg/model", "docker.io/myorg/model:latest"),
        ("docker.io/m", "docker.io/ai/m:latest"),
        ("index.docker.io/ai/m", "docker.io/ai/m:latest"),
        ("registry.example.com/model", "registry.example.com/model:latest"),
        ("registry.example.com:5000/a/b/c:v1", "registry.example.com:5000/a/b/c:v1"),
        ("localhost/m", "localhost/m:latest"),
        ("localhost:5000/m", "localhost:5000/m:latest"),
        ("127.0.0.1:5000/team/m:v1", "127.0.0.1:5000/team/m:v1"),
        ("[::1]:5000/m", "[::1]:5000/m:latest"),
        (f"smollm2@{DIGEST}", f"docker.io/ai/smollm2@{DIGEST}"),
        (f"smollm2:v1@{DIGEST}", f"docker.io/ai/smollm2:v1@{DIGEST}"),
    ],
)
def test_short_names_become_full_ones(text: str, full: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == full
    assert Reference.parse(full) == reference


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "/m",
        "m/",
        "a//b",
        "../m",
        "a/../b",
        "m:-tag",
        "m:" + "t" * 129,
        "m@sha256:short",
        "m@",
        "host.example.com:99999/m",
        "host.example.com:port/m",
        "m model",
        "a" * 300,
        "m%2e",
        "-m",
        "m_.n",
        "exa_mple.com/m",
    ],
)
def test_a_bad_reference_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        Reference.parse(text)


def test_defaults_are_settings() -> None:
    defaults = ReferenceDefaults(registry="registry.example.com", namespace="models", tag="stable")
    reference = Reference.parse("m", defaults)
    assert str(reference) == "registry.example.com/models/m:stable"
    assert reference.familiar(defaults) == "m"


@given(st.text(max_size=80))
def test_any_text_is_a_reference_that_round_trips_or_a_usage_error(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except UsageError:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference
