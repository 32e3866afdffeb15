"""RFC 3339 with nanoseconds, in Go's form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack.errors import InvalidArtifact
from mrpack.model.timestamp import format_ns, parse_rfc3339

SECOND = 1_000_000_000
BASE = 1_735_787_045 * SECOND


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (BASE, "2025-01-02T03:04:05Z"),
        (BASE + 678_900_000, "2025-01-02T03:04:05.6789Z"),
        (BASE + 123_456_789, "2025-01-02T03:04:05.123456789Z"),
        (BASE + 100, "2025-01-02T03:04:05.0000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (-62_135_596_800 * SECOND, "0001-01-01T00:00:00Z"),
    ],
)
def test_times_are_written_like_go_does(ns, text):
    assert format_ns(ns) == text
    assert parse_rfc3339(text) == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("2025-01-02T03:04:05.123456789-05:30", BASE + 123_456_789 + (5 * 3600 + 30 * 60) * SECOND),
        ("2025-01-02T04:04:05.0000001+01:00", BASE + 100),
        ("2025-01-02t03:04:05z", BASE),
        ("2025-01-02T03:04:05.1234567891Z", BASE + 123_456_789),
    ],
)
def test_other_forms_are_read(text, ns):
    assert parse_rfc3339(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2025-01-02",
        "2025-01-02T03:04:05",
        "2025-01-02 03:04:05Z",
        "2025-02-30T03:04:05Z",
        "2025-01-02T24:04:05Z",
        "2025-01-02T03:04:60Z",
        "2025-01-02T03:04:05.Z",
        "2025-01-02T03:04:05+24:00",
        "2025-01-02T03:04:05+01:60",
        "0000-01-02T03:04:05Z",
        "\uff12025-01-02T03:04:05Z",
        "2025-01-02T03:04:05Z\n",
    ],
)
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InvalidArtifact, match=r"^created: "):
        parse_rfc3339(text, "created")


@pytest.mark.parametrize("ns", [2**63 * SECOND, -(2**63) * SECOND, 253_402_300_800 * SECOND])
def test_times_beyond_the_calendar_are_refused(ns):
    with pytest.raises(InvalidArtifact, match="years 1 to 9999"):
        format_ns(ns)


@given(st.integers(-62_135_596_800 * SECOND, 253_402_300_799 * SECOND))
def test_every_time_is_read_back(ns):
    assert parse_rfc3339(format_ns(ns)) == ns
