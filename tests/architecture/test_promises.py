"""What was promised against hostile registries and against faults has a test that is named here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.hostile.access import ACCESS
from tests.hostile.cases import CASES
from tests.hostile.content import CONTENT
from tests.hostile.names import NAMES

TESTS = Path(__file__).parents[1]

# The numbers have gaps where two behaviours turned out to be one.
HOSTILE = {
    "h01": "other bytes of the same length",
    "h02": "a body cut short of its Content-Length",
    "h04": "chunks without the last one",
    "h05": "a body longer than its descriptor",
    "h06": "a body without an end",
    "h08": "the last byte flipped",
    "h09": "a Content-Length smaller than the body",
    "h10": "a path as a digest",
    "h11": "a digest in capitals",
    "h13": "a digest of the wrong length",
    "h14": "a digest header that lies",
    "h15": "another manifest under the digest",
    "h16": "a tag that moves between two requests",
    "h18": "an index where a manifest is announced",
    "h20": "schema 1; layers and manifests in one document",
    "h21": "a token service on another port",
    "h22": "a token service without TLS for a registry with it",
    "h23": "a token service on a near address, however it is written",
    "h25": "a token service that redirects",
    "h26": "tokens that are none",
    "h27": "challenges without an end",
    "h28": "a redirect to another port",
    "h30": "a redirect from TLS to none",
    "h31": "a redirect to itself",
    "h32": "redirects without an end",
    "h34": "a Location that is missing, relative, or a file",
    "h35": "an upload that is sent elsewhere",
    "h37": "uploads that are not stored, expire, or are taken in part",
    "h38": "a name that begins with its parent folder",
    "h39": "an absolute name",
    "h40": "a parent folder within a name",
    "h42": "line feeds and escape sequences in a name",
    "h43": "names that differ in case",
    "h44": "names that differ in Unicode form",
    "h46": "a name that is a file and a folder",
    "h47": "a name that is too long",
    "h48": "names that mean something else on Windows",
    "h49": "a blob that is said to be compressed",
    "h50": "a compressed bomb",
    "h51": "a manifest over the limit",
    "h53": "JSON nested very deeply",
    "h54": "a key twice",
    "h55": "sizes that are none",
    "h57": "a layer twice, honestly",
    "h58": "lists of tags without an end, or that go on elsewhere",
    "h59": "no API for referrers, but the tag",
    "h61": "a referrer of another subject",
    "h63": "too many requests",
}

CRASH = "integration/test_crash.py"
STREAMS = "unit/gateway/test_streams.py"
# What is injured, and the tests that prove what becomes of it.
FAULTS: dict[str, tuple[str, ...]] = {
    "f01 kill -9": (
        f"{CRASH}::test_a_kill_at_a_system_call_breaks_nothing",
        f"{CRASH}::test_random_kills_of_two_processes_break_nothing",
        f"{CRASH}::test_a_repair_that_is_killed_can_be_repeated",
    ),
    "f02 a full disk": (
        f"{CRASH}::test_small_and_read_only_disks",
        "unit/store/test_store.py::test_no_space_is_said_before_the_first_byte",
    ),
    "f03 a read-only store": (
        f"{CRASH}::test_small_and_read_only_disks",
        "unit/store/test_hostile.py::test_an_unwritable_home_says_so",
    ),
    "f04 several processes": (
        f"{CRASH}::test_a_crowd_loses_no_name_and_no_byte",
        "unit/store/test_store.py::test_two_writers_of_one_blob_fetch_it_once",
    ),
    "f05 gc beside everything": (
        f"{CRASH}::test_gc_and_writers_may_meet_anywhere",
        "unit/store/test_store.py::test_gc_waits_for_nobody_and_harms_nobody",
    ),
    "f06 clocks that jump": ("unit/store/test_clocks.py::test_a_clock_that_is_years_off_changes_nothing",),
    "f07 rotten bits": (
        "unit/store/test_store.py::test_verify_finds_a_flipped_bit_and_a_missing_blob",
        "unit/store/test_clocks.py::test_every_flipped_bit_is_found_and_mended_by_a_pull",
    ),
    "f08 a power cut": (
        f"{CRASH}::test_no_name_outlives_its_bytes_when_power_fails",
        f"{CRASH}::test_nor_when_it_fails_after_a_kill",
    ),
    "f09 a sync that fails": (f"{CRASH}::test_a_failed_system_call_gives_one_clear_line_and_breaks_nothing",),
    "f10 a pull that breaks off": (
        f"{CRASH}::test_a_killed_pull_fetches_only_what_is_missing",
        "unit/registry/test_hostile.py::test_a_cut_body_is_continued_where_it_broke",
        "unit/store/test_store.py::test_a_damaged_part_costs_one_more_try",
    ),
    "f11 a push that breaks off": (
        "unit/registry/test_chunked_uploads.py::test_a_chunk_that_fails_is_mended",
    ),
    "f12 a registry that restarts": (
        "integration/test_interrupted_transfers.py::test_a_push_survives_a_restart_at_any_byte",
    ),
    "f13 a registry that is busy": (
        "unit/registry/test_hostile.py::test_passing_trouble_is_waited_out",
        "unit/registry/test_hostile.py::test_a_plain_no_is_not_asked_again",
        "unit/registry/test_hostile.py::test_retry_after_is_kept_to",
    ),
    "f14 silence": (
        "unit/registry/test_hostile.py::test_a_bad_blob_ends_in_its_error_and_is_not_kept",
        "unit/registry/test_framing.py::test_a_trickle_is_a_stall",
    ),
    "f15 an engine that crashes at its start": (
        "unit/processes/test_engine_process.py::test_a_crash_at_the_start_tells_status_and_the_engines_words",
        f"{STREAMS}::test_a_crash_loop_is_cut_and_tells_when_to_come_back",
    ),
    "f16 an engine that hangs": (
        f"{STREAMS}::test_an_engine_that_never_gets_ready_is_given_up",
        "unit/processes/test_engine_process.py::test_an_engine_that_ignores_term_is_killed_after_the_grace",
        "unit/gateway/test_floods.py::test_a_hundred_rounds_of_start_stop_and_crash_leave_no_orphan",
    ),
    "f17 an engine without memory": (
        "unit/processes/test_engine_process.py::test_an_engine_killed_for_memory_while_loading_is_named_so",
    ),
    "f18 a client that leaves": (f"{STREAMS}::test_two_hundred_clients_that_leave_leave_nothing_behind",),
    "f19 a thousand connections": (
        "unit/gateway/test_floods.py::test_a_thousand_streams_at_once_arrive_whole_and_unmixed",
    ),
    "f20 clients that dawdle": (
        "unit/gateway/test_floods.py::test_a_thousand_who_dawdle_are_cut_while_others_are_answered",
        "unit/gateway/test_limits.py::test_half_open_connections_are_cut",
    ),
    "f21 half a stream": (
        f"{STREAMS}::test_a_stream_that_breaks_ends_with_an_error_event",
        "unit/gateway/test_rename.py::test_a_stream_without_its_end_is_an_error",
    ),
    "f22 SIGTERM": (
        f"{STREAMS}::test_a_drain_lets_streams_end_and_takes_no_more",
        f"{STREAMS}::test_a_drain_that_takes_too_long_cuts_and_leaves_no_engine",
    ),
    "f23 a store of a newer version": (
        "unit/store/test_store.py::test_a_store_of_a_newer_version_is_refused",
        "unit/store/test_store.py::test_a_layout_of_another_version_is_refused",
    ),
    "f24 file systems that lack something": (
        "unit/store/test_hostile.py::test_across_disks_a_bundle_is_a_copy_and_is_built_once",
        "unit/store/test_hostile.py::test_across_disks_a_file_is_copied_and_sealed",
    ),
}


def test_every_hostile_behaviour_has_a_case() -> None:
    assert {name[:3] for name in CASES if name.startswith("h")} == HOSTILE.keys()
    assert len(HOSTILE) == 48


def test_no_case_hides_another() -> None:
    assert len(CASES) == len(CONTENT) + len(ACCESS) + len(NAMES)
    own = [name[:3] for name in CASES if name.startswith("x")]
    assert len(own) == len(set(own))


def test_every_fault_is_listed() -> None:
    assert [name[:3] for name in FAULTS] == [f"f{number:02}" for number in range(1, 25)]


@pytest.mark.parametrize("fault", FAULTS)
def test_the_tests_of_a_fault_are_there(fault: str) -> None:
    for test in FAULTS[fault]:
        file, _, name = test.partition("::")
        assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE), test
