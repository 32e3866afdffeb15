"""Percentiles, rates and prompts of `bench`, and what is drawn of them."""

from __future__ import annotations

from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from mrpack_runtime.bench.chart import Panel, nice_top, svg
from mrpack_runtime.bench.figures import Figures, Sample, Spread
from mrpack_runtime.bench.prompts import prompt
from mrpack_runtime.bench.report import duration, lines, panels

SECONDS = st.floats(0, 1000, allow_nan=False)


@given(st.lists(SECONDS, min_size=1, max_size=50))
def test_percentiles_are_values_that_were_measured(values: list[float]) -> None:
    spread = Spread.of(values)
    assert spread is not None
    assert {spread.p50, spread.p95} <= set(values)
    assert spread.p50 <= spread.p95
    assert sum(value <= spread.p95 for value in values) >= 0.95 * len(values)


def test_figures_of_a_load() -> None:
    samples = (
        Sample(first_s=0.5, total_s=2.5, prompt_tokens=10, tokens=5),
        Sample(first_s=1.0, total_s=3.0, prompt_tokens=10, tokens=5),
        Sample(total_s=9.0, error="broken"),
    )
    figures = Figures(concurrency=2, wall_s=4.0, samples=samples)
    assert figures.first_s == Spread(0.5, 1.0)
    assert figures.token_s == Spread(0.5, 0.5)
    assert figures.total_s == Spread(2.5, 3.0)
    assert (figures.tokens_per_s, figures.prompt_tokens_per_s, figures.request_tokens_per_s) == (
        2.5,
        5.0,
        2.0,
    )
    assert figures.errors == {"broken": 1}
    assert {"at once": "2", "errors": "1", "tokens/s all": "2.5"}.items() <= dict(lines([figures])).items()


def test_nothing_but_errors_has_no_figures() -> None:
    figures = Figures(concurrency=1, wall_s=1.0, samples=(Sample(error="x"),))
    assert figures.to_json()["time_to_first_token_s"] is None
    assert dict(lines([figures]))["first token"] == ""
    ET.fromstring(svg("none", panels([figures])))


def test_prompts_are_the_same_each_time_and_begin_differently() -> None:
    assert prompt(3, 50) == prompt(3, 50)
    assert len({prompt(number, 50).split()[0] for number in range(200)}) > 40
    assert len(prompt(1, 100).split()) == 92 + 7


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e12, allow_nan=False)), min_size=1, max_size=5),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2FF), max_size=20),
)
def test_a_chart_is_well_formed_whatever_its_values_and_names(values: list[float | None], name: str) -> None:
    panel = Panel(title=name, x_label=name, places=["1"] * len(values), lines={name: values})
    root = ET.fromstring(svg(name, [panel, panel], note=name))
    circles = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(circles) == 2 * sum(value is not None for value in values)
    assert all(0 <= float(circle.attrib["cy"]) <= 280 for circle in circles)


@given(st.floats(1e-6, 1e12))
def test_an_axis_ends_at_or_just_above_the_largest_value(largest: float) -> None:
    assert largest <= nice_top(largest) <= 2.1 * largest


def test_durations_have_three_digits() -> None:
    assert [duration(value) for value in (0.001234, 0.0456, 0.789, 1.234, 45.6, 789)] == [
        "1.23 ms",
        "45.6 ms",
        "789 ms",
        "1.23 s",
        "45.6 s",
        "789 s",
    ]
