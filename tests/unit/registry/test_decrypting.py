"""Reading TLS: all that is here at once, and nobody waits for another's silence."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from mrpack.content.copy import copy
from mrpack.content.memory import MemoryTarget
from mrpack.errors import RegistryUnavailable
from mrpack.registry import RegistrySession, RegistryTarget
from mrpack.registry.decrypting import Decrypting
from mrpack.store.layout import OciLayout
from tests.fakes import registry_faults as faults
from tests.fakes.certificates import Authority
from tests.fakes.registry import FakeRegistry
from tests.fakes.registry_scene import PERSISTENT, REPOSITORY, SETTINGS, WEIGHTS, failure, pull
from tests.waiting import DEADLINE_S

RECORD = 16 * 1024


@contextlib.contextmanager
def connected(authority: Authority) -> Iterator[tuple[Decrypting, ssl.SSLSocket, socket.socket]]:
    """What reads, the TLS end that writes, and the socket under that."""
    ours, theirs = socket.socketpair()
    context = ssl.create_default_context(cafile=str(authority.ca_file))
    with ours, theirs, ThreadPoolExecutor(1) as pool:
        under = theirs.dup()
        shaking = pool.submit(authority.server_context().wrap_socket, theirs, server_side=True)
        with context.wrap_socket(ours, server_hostname="localhost") as near, shaking.result() as far, under:
            yield Decrypting(near), far, under


def test_records_that_are_here_come_together(authority: Authority) -> None:
    with connected(authority) as (reader, far, _):
        far.sendall(b"x" * 3 * RECORD)
        buffer = memoryview(bytearray(2 * RECORD))
        assert reader.receive(buffer, DEADLINE_S) == 2 * RECORD
        assert reader.receive(buffer, DEADLINE_S) == RECORD


def test_the_end_is_no_bytes(authority: Authority) -> None:
    with connected(authority) as (reader, far, _):
        far.sendall(b"last")
        far.shutdown(socket.SHUT_WR)
        buffer = memoryview(bytearray(100))
        assert reader.receive(buffer, DEADLINE_S) == 4
        assert reader.receive(buffer, DEADLINE_S) == 0


def test_silence_ends_in_a_time_out(authority: Authority) -> None:
    with connected(authority) as (reader, _, _), pytest.raises(TimeoutError):
        reader.receive(memoryview(bytearray(1)), 0.05)


def test_a_failure_leaves_what_came_before_it(authority: Authority) -> None:
    with connected(authority) as (reader, far, under):
        far.sendall(b"good")
        under.sendall(b"no record at all")
        buffer = memoryview(bytearray(100))
        assert reader.receive(buffer, DEADLINE_S) == 4
        for _ in range(2):
            with pytest.raises(ssl.SSLError):
                reader.receive(buffer, DEADLINE_S)


def test_a_silent_connection_keeps_no_other_waiting(authority: Authority) -> None:
    buffer = memoryview(bytearray(100))
    with connected(authority) as (silent, late, _), connected(authority) as (reader, far, _):
        started = threading.Event()

        def wait() -> int:
            started.set()
            return silent.receive(memoryview(bytearray(100)), DEADLINE_S)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(wait)
            started.wait()
            for _ in range(20):
                far.sendall(b"word")
                assert reader.receive(buffer, DEADLINE_S) == 4
            assert not waiting.done()
            late.sendall(b"at last")
            assert waiting.result() == 7


@pytest.fixture
def secure(authority: Authority) -> Iterator[tuple[FakeRegistry, RegistrySession]]:
    with (
        FakeRegistry(authority.server_context()) as registry,
        RegistrySession(replace(SETTINGS, ca_file=authority.ca_file)) as session,
    ):
        yield registry, session


@pytest.mark.parametrize("end", ["close", "reset", "stall"])
@pytest.mark.parametrize("keep", [0, RECORD + 1])
def test_a_cut_body_is_continued_where_it_broke(
    secure: tuple[FakeRegistry, RegistrySession], authority: Authority, keep: int, end: str
) -> None:
    registry, session = secure
    manifest = registry.add(REPOSITORY, "v1", b"{}", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.cut(keep, end), times=2))
    if end != "stall":
        assert pull(session, registry).exists(manifest.layers[0])
        return
    with RegistrySession(replace(PERSISTENT, ca_file=authority.ca_file)) as persistent:
        assert pull(persistent, registry).exists(manifest.layers[0])


def test_a_body_that_is_always_cut_at_its_start_is_given_up(
    secure: tuple[FakeRegistry, RegistrySession],
) -> None:
    registry, session = secure
    registry.add(REPOSITORY, "v1", b"{}", WEIGHTS)
    registry.fault(REPOSITORY, faults.on_blobs(faults.cut(0)))
    assert isinstance(failure(lambda: pull(session, registry)), RegistryUnavailable)


def test_many_blobs_at_once_arrive_whole(
    secure: tuple[FakeRegistry, RegistrySession], tmp_path: Path
) -> None:
    registry, session = secure
    blobs = [bytes([number]) * (200_000 + number) for number in range(24)]
    registry.add(REPOSITORY, "v1", b"{}", *blobs)
    layout = OciLayout(tmp_path / "layout")
    copy(RegistryTarget(session, registry.address, REPOSITORY), "v1", layout, "v1", jobs=8)
    memory = MemoryTarget()
    copy(layout, "v1", memory, "v1")
    assert memory.resolve("v1") == layout.resolve("v1")
