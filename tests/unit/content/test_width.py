from __future__ import annotations

import pytest

from mrpack.content.width import LIMIT, Width

MIB = 1024 * 1024


def widths(*rates: float) -> list[int]:
    width, result = Width(), []
    for rate in rates:
        width = width.after(rate)
        result.append(width.connections)
    return result


@pytest.mark.parametrize(
    ("rates", "connections"),
    [
        pytest.param([400 * MIB] * 3, [1, 1, 1], id="one is fast"),
        pytest.param([10 * MIB] * 3, [2, 1, 1], id="the second brings nothing"),
        pytest.param([10 * MIB, 20 * MIB, 21 * MIB, 90 * MIB], [2, 3, 2, 2], id="the third brings little"),
        pytest.param([10 * MIB, 20 * MIB, 30 * MIB, 40 * MIB], [2, 3, 4, 4], id="each brings its share"),
        pytest.param([10 * MIB, 20 * MIB, 30 * MIB, 31 * MIB, 1], [2, 3, 4, 3, 3], id="all but the last"),
        pytest.param([10 * MIB, 300 * MIB, 1], [2, 2, 2], id="two are fast"),
        pytest.param([0.0, 0.0], [2, 2 + 1], id="nothing came yet"),
    ],
)
def test_connections_follow_the_rates(rates: list[float], connections: list[int]) -> None:
    assert widths(*rates) == connections


def test_there_are_never_more_than_the_limit() -> None:
    assert max(widths(*(1000.0 * 2**number for number in range(20)))) == LIMIT


@pytest.mark.parametrize(("left", "connections"), [(0, 1), (1, 1), (2, 2), (9, 3)])
def test_after_a_refusal_no_more_are_asked_for(left: int, connections: int) -> None:
    width = Width(connections=3, rate=10.0).refused(left)
    assert width.connections == connections
    assert width.after(1e6) == width
