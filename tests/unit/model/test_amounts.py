"""Counts and sizes as Docker Model Runner writes them for Safetensors and DDUF."""

from __future__ import annotations

import pytest

from mrpack.model.amounts import decimal_count, decimal_size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0.00"),
        (203, "203.00"),
        (999, "999.00"),
        (1500, "1.50K"),
        (361_821_120, "361.82M"),
        (999_999, "1000.00K"),
        (8_030_261_248, "8.03B"),
        (1_234_567_890_123_456, "1234.57T"),
    ],
)
def test_counts(count, text):
    assert decimal_count(count) == text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (-1, "n/a"),
        (0, "n/a"),
        (1, "1.00B"),
        (603, "603.00B"),
        (1000, "1.00kB"),
        (723_674_912, "723.67MB"),
        (10**12, "1.00TB"),
        (2**63, "9.22EB"),
    ],
)
def test_sizes(size, text):
    assert decimal_size(size) == text
