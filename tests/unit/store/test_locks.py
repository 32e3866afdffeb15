"""Locks that work, and what replaces those that do not."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from mrpack.store import locks
from mrpack.store.locks import locked

KINDS = ["flock", "no_flock", "no_such_call"]


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock on a filesystem that has locks, that grants them all, or that knows none."""

    def refuse(_handle: int, _kind: int) -> None:
        raise OSError(95, "Operation not supported")

    if request.param == "no_flock":
        monkeypatch.setattr(fcntl, "flock", lambda _handle, _kind: None)
    if request.param == "no_such_call":
        monkeypatch.setattr(fcntl, "flock", refuse)
    return tmp_path / "lock"


def test_who_is_alone_keeps_others_out(path: Path) -> None:
    with locked(path) as held:
        assert held
        for shared in (False, True):
            with locked(path, shared=shared, wait=False) as other:
                assert not other
    with locked(path, wait=False) as again:
        assert again


def test_many_may_share(path: Path) -> None:
    with locked(path, shared=True) as first, locked(path, shared=True, wait=False) as second:
        assert first
        assert second
        with locked(path, wait=False) as alone:
            assert not alone


def test_waiting_ends_with_the_lock_and_two_are_never_alone(path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def count() -> None:
        for _ in range(10):
            with locked(path):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(most) == 40
    assert max(most) == 1


def test_the_entry_of_a_dead_process_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda _handle, _kind: None)
    path = tmp_path / "lock"
    with locked(path):
        (alive,) = (tmp_path / "lock.d").iterdir()
    kind, _, rest = alive.name.partition(".")
    host, pid, start, token = rest.rsplit(".", 3)
    assert int(pid) == os.getpid()
    roster = tmp_path / "lock.d"
    dead = [
        f"{kind}.{host}.{2**22 + 1}.{start}.{token}",  # no such process
        f"{kind}.{host}.{pid}.{int(start) + 1}.{token}",  # a later process with its number
        "not an entry at all",
    ]
    for name in dead:
        (roster / name).touch()
    with locked(path, wait=False) as held:
        assert held
    assert list(roster.iterdir()) == []


def test_of_another_machine_nobody_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda _handle, _kind: None)
    path = tmp_path / "lock"
    roster = tmp_path / "lock.d"
    roster.mkdir()
    (roster / f"alone.some.other.host.1.1.{'0' * 32}").touch()
    with locked(path, wait=False) as held:
        assert not held
    monkeypatch.setattr(locks, "_PATIENCE_S", 0.0)
    with pytest.raises(locks.HostRefused, match=r"some\.other\.host"), locked(path):
        pass


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="symbolic"), locked(tmp_path / "lock"):
        pass
    assert not (tmp_path / "victim").exists()
