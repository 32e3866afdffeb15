"""The platform table: every row, on a machine that has what it takes and on one that has not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrpack_runtime.machine.accelerators import Gpu
from mrpack_runtime.machine.hardware import LIBRARIES
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.machine.platforms import (
    ACCELERATORS,
    NEEDS,
    TABLE,
    Row,
    Support,
    best_verdict,
    preference,
    verdicts,
    version_tuple,
)
from scripts.generate_platforms import PAGE, page_text

GPUS = {
    "cuda": Gpu(api="cuda", name="NVIDIA L4", driver="999.1", kind="9.0", memory=2**34),
    "rocm": Gpu(api="rocm", name="AMD", driver="99.0", kind="gfx1100"),
    "metal": Gpu(api="metal", name="Apple"),
    "opencl": Gpu(api="opencl", name="Adreno750"),
}


def machine(row: Row) -> HostFacts:
    """With everything that the row asks for, and no more accelerators."""
    gpu = GPUS.get(row.accelerator)
    return HostFacts(
        os=row.os,
        arch="x86_64" if row.arch == "*" else row.arch,
        cpu_count=8,
        physical_cores=4,
        memory=2**35,
        gpus=(gpu,) if gpu else (),
        cpu_features=frozenset({"avx2", "neon"}),
        glibc=(2, 40),
        libraries=frozenset(LIBRARIES),
        vulkan_drivers=("radeon_icd",) if row.accelerator == "vulkan" else (),
    )


def judged(row: Row, host: HostFacts):
    return next(verdict for verdict in verdicts(row.engine, host) if verdict.row is row)


def named(rows):
    return [pytest.param(row, id=f"{row.engine}-{row.os}-{row.arch}-{row.accelerator}") for row in rows]


CAN = [row for row in TABLE if row.support is not Support.NO]


@pytest.mark.parametrize("row", named(CAN))
def test_a_machine_with_all_that_a_row_asks_for_can_run_it(row):
    assert judged(row, machine(row)).possible
    assert best_verdict(row.engine, machine(row)).row.accelerator == row.accelerator


@pytest.mark.parametrize("row", named([row for row in TABLE if row.support is Support.NO]))
def test_a_row_that_cannot_be_says_why(row):
    verdict = judged(row, machine(row))
    assert (verdict.possible, verdict.reason) == (False, row.reason)
    assert row.reason
    assert not row.installs


@pytest.mark.parametrize("row", named([row for row in CAN if row.accelerator != "cpu"]))
def test_without_the_device_the_reason_names_it(row):
    host = replace(machine(row), gpus=(), vulkan_drivers=())
    assert judged(row, host).reason.startswith("no ")
    assert judged(row, host).reason.endswith(" was found")


@pytest.mark.parametrize("row", named([row for row in CAN if row.driver]))
def test_an_old_driver_is_refused_with_both_versions(row):
    gpu = replace(GPUS[row.accelerator], driver="1.2.3")
    verdict = judged(row, replace(machine(row), gpus=(gpu,)))
    assert not verdict.possible
    assert "driver 1.2.3" in verdict.reason
    assert row.driver in verdict.reason


@pytest.mark.parametrize("row", named([row for row in CAN if row.needs]))
def test_what_is_absent_is_named_with_its_repair(row):
    bare = replace(
        machine(row),
        cpu_features=frozenset(),
        glibc=None,
        libraries=frozenset(),
        gpus=tuple(replace(gpu, kind="5.0") for gpu in machine(row).gpus),
    )
    reason = judged(row, bare).reason
    assert any(NEEDS[name].words in reason and NEEDS[name].repair in reason for name in row.needs)


def test_a_better_accelerator_that_does_not_fit_leaves_the_next():
    host = replace(machine(CAN[0]), gpus=(replace(GPUS["cuda"], driver="470.1"),))
    best = best_verdict("llama.cpp", host)
    assert best.row.accelerator == "cpu"
    assert "470.1" in verdicts("llama.cpp", host)[0].reason


def test_a_driver_that_does_not_tell_its_version_is_no_reason_to_refuse():
    host = replace(machine(CAN[0]), gpus=(replace(GPUS["cuda"], driver=""),))
    assert best_verdict("llama.cpp", host).row.accelerator == "cuda"


def test_an_unknown_platform_has_no_verdicts():
    assert verdicts("llama.cpp", replace(machine(CAN[0]), os="plan9")) == ()
    assert best_verdict("nothing", machine(CAN[0])) is None


def test_rows_are_unique_and_every_accelerator_is_known():
    keys = [(row.engine, row.os, row.arch, row.accelerator) for row in TABLE]
    assert len(keys) == len(set(keys))
    assert {row.accelerator for row in TABLE} <= set(ACCELERATORS)
    assert {name for row in TABLE for name in row.needs} == set(NEEDS)


def test_engines_are_preferred_in_the_order_of_the_table():
    assert preference("vllm") < preference("mlx") < preference("sglang") < preference("unheard of")


def test_versions_are_compared_as_numbers():
    assert version_tuple("575.57.08") < version_tuple("575.100")
    assert version_tuple("2.13.0+cpu") == (2, 13, 0)
    assert version_tuple("") == ()


def test_the_table_of_the_documentation_is_this_one():
    page = PAGE.read_text(encoding="utf-8")
    assert page == page_text(page), "run: python scripts/generate_platforms.py"
