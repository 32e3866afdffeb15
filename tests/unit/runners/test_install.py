"""Environments of engines: made beside, tried, swapped in, never half done; with real uv and wheels."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mrpack.errors import EngineFailed, HostRefused, NotFound
from mrpack_runtime.runners.folders import EngineFolders
from mrpack_runtime.runners.host import host_with_engines
from mrpack_runtime.runners.install import InstallFailed, StepBegun, StepSaid
from tests.fakes.toy_runner import ENGINE, toy_plan, toy_recipe, toy_runner
from tests.fakes.wheelhouse import Wheelhouse
from tests.waiting import DEADLINE_S, until

PROGRAM = Path(__file__).parents[2] / "fakes" / "toy_runner.py"


@pytest.fixture
def wheels(tmp_path: Path) -> Wheelhouse:
    house = Wheelhouse(tmp_path / "wheels")
    house.add("toy", "1.0")
    return house


@pytest.fixture
def runner(tmp_path: Path, wheels: Wheelhouse):
    return toy_runner(tmp_path / "home", {**os.environ, **wheels.environment})


def environments(runner) -> list[str]:
    return sorted(
        path.name for path in runner.folders.folder.iterdir() if path.is_dir() and not path.is_symlink()
    )


def test_an_engine_gets_an_environment_that_works_and_has_a_record(runner):
    events = []
    record = runner.install(toy_plan(), events.append)
    assert (record.package, record.version, record.accelerator, record.installer) == (
        "toy",
        "1.0",
        "cpu",
        "uv",
    )
    assert runner.folders.record(ENGINE) == record
    assert (runner.folders.folder / ENGINE).is_symlink()
    assert len(environments(runner)) == 1
    steps = [event for event in events if isinstance(event, StepBegun)]
    assert [step.number for step in steps] == [1, 2, 3]
    assert steps[0].total == 3
    assert any(isinstance(event, StepSaid) for event in events)
    assert "toy" in runner.log_of(ENGINE).read_text()


def test_a_second_install_takes_the_place_of_the_first_in_one_step(runner, wheels):
    runner.install(toy_plan(), lambda _: None)
    (first,) = environments(runner)
    wheels.add("toy", "2.0")
    assert runner.install(toy_plan(version="2.0"), lambda _: None).version == "2.0"
    (second,) = environments(runner)
    assert first != second
    assert (runner.folders.folder / ENGINE).resolve().name == second


def test_a_package_that_is_not_there_leaves_the_old_environment_in_use(runner):
    old = runner.install(toy_plan(), lambda _: None)
    with pytest.raises(InstallFailed, match="could not be installed") as caught:
        runner.install(toy_plan(version="9.9"), lambda _: None)
    assert str(runner.log_of(ENGINE)) in caught.value.hint
    assert "'toy-index'" in caught.value.hint
    assert runner.folders.record(ENGINE) == old
    assert len(environments(runner)) == 1


def test_an_engine_that_cannot_be_imported_is_never_used(runner, wheels):
    wheels.add("toy", "3.0", {"toy.py": "raise RuntimeError('operator does not exist')"})
    with pytest.raises(EngineFailed, match="is not used: RuntimeError: operator does not exist"):
        runner.install(toy_plan(version="3.0"), lambda _: None)
    assert environments(runner) == []
    assert runner.folders.names() == ()


def test_an_engine_that_dies_of_a_signal_is_named_with_its_cause(runner, wheels):
    wheels.add("toy", "4.0", {"toy.py": "import os, signal; os.kill(os.getpid(), signal.SIGILL)"})
    with pytest.raises(EngineFailed, match="SIGILL") as caught:
        runner.install(toy_plan(version="4.0"), lambda _: None)
    assert caught.value.exit_status == -4
    assert "reinstall-runner" in caught.value.hint


def test_too_small_a_disk_is_found_out_before_anything_is_made(runner):
    with pytest.raises(HostRefused, match="takes about"):
        runner.install(toy_plan(toy_recipe(size=2**60)), lambda _: None)
    assert environments(runner) == []


def test_a_killed_install_leaves_no_process_and_is_cleared_by_the_next(runner, tmp_path):
    home, mark = tmp_path / "home", tmp_path / "mark"
    root = Path(__file__).parents[3]
    other = subprocess.Popen(
        [sys.executable, PROGRAM, home, mark], env={**os.environ, "PYTHONPATH": str(root)}
    )
    try:
        until(mark.exists, "the other install")
        with pytest.raises(HostRefused, match=f"another install of {ENGINE} is running"):
            runner.install(toy_plan(), lambda _: None)
        (half,) = environments(runner)
        assert (runner.folders.folder / half / "half").exists()
    finally:
        other.kill()
        other.wait()
    until(lambda: not using(mark), "the end of the installer")
    assert environments(runner) == [half]
    runner.install(toy_plan(), lambda _: None)
    assert len(environments(runner)) == 1
    assert not (runner.folders.folder / half).exists()


def test_an_interrupted_install_leaves_nothing(runner, tmp_path):
    home, mark = tmp_path / "home", tmp_path / "mark"
    root = Path(__file__).parents[3]
    other = subprocess.Popen(
        [sys.executable, PROGRAM, home, mark],
        env={**os.environ, "PYTHONPATH": str(root)},
        stderr=subprocess.DEVNULL,
    )
    until(mark.exists, "the other install")
    other.send_signal(signal.SIGINT)
    assert other.wait(DEADLINE_S) != 0
    assert environments(runner) == []
    assert not using(mark)


def using(mark: Path) -> list[str]:
    """Processes that have `mark` on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(mark).encode() in path.read_bytes():
                found.append(path.parent.name)
        except OSError:
            continue
    return found


def test_an_environment_that_a_gateway_uses_is_not_removed(runner, tmp_path):
    runner.install(toy_plan(), lambda _: None)
    with host_with_engines(tmp_path / "home", {"PATH": os.environ["PATH"]}) as host:
        used = host().pythons[0].executable
        with pytest.raises(HostRefused, match="a running gateway uses"):
            runner.uninstall(ENGINE)
        runner.install(toy_plan(), lambda _: None)
        assert used.exists()
        assert len(environments(runner)) == 2
    runner.uninstall(ENGINE)
    assert environments(runner) == []
    assert not runner.folders.is_linked(ENGINE)
    with pytest.raises(NotFound):
        runner.uninstall(ENGINE)


def test_the_one_that_a_gateway_used_is_removed_later(runner, tmp_path):
    runner.install(toy_plan(), lambda _: None)
    with host_with_engines(tmp_path / "home", {"PATH": os.environ["PATH"]}):
        runner.install(toy_plan(), lambda _: None)
    runner.install(toy_plan(), lambda _: None)
    assert len(environments(runner)) == 1


def test_links_of_the_user_are_listed_and_only_unlinked(tmp_path):
    real = tmp_path / "mine"
    (real / "bin").mkdir(parents=True)
    (real / "bin" / "python").write_text("")
    folders = EngineFolders(tmp_path / "home" / "engines")
    folders.folder.mkdir(parents=True)
    (folders.folder / "vllm").symlink_to(real)
    with folders.in_use() as found:
        assert found == (real,)
    assert not (real / ".in-use").exists()
    assert folders.record("vllm") is None
    folders.remove("vllm")
    assert (real / "bin" / "python").exists()


def test_a_folder_of_the_user_is_neither_replaced_nor_removed(runner):
    mine = runner.folders.folder / ENGINE
    (mine / "bin").mkdir(parents=True)
    (mine / "bin" / "python").write_text("")
    with pytest.raises(HostRefused, match="was not made by mrpack"):
        runner.install(toy_plan(), lambda _: None)
    with pytest.raises(HostRefused, match="was not made by mrpack"):
        runner.uninstall(ENGINE)
    assert runner.folders.names() == (ENGINE,)


def test_a_dangling_link_is_no_environment_and_can_be_removed(tmp_path):
    folders = EngineFolders(tmp_path / "engines")
    folders.folder.mkdir()
    (folders.folder / "vllm").symlink_to("gone")
    assert folders.names() == ()
    assert folders.broken_names() == ("vllm",)
    with folders.in_use() as found:
        assert found == ()
    folders.remove("vllm")
    assert not folders.is_linked("vllm")


def test_a_home_without_engines_has_none(tmp_path):
    assert EngineFolders(tmp_path / "nothing").names() == ()
    with EngineFolders(tmp_path / "nothing").in_use() as found:
        assert found == ()
