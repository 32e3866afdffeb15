"""Which engines are here: in Docker Model Runner's words, and as `mrpack engines` shows them."""

from __future__ import annotations

from mrpack_runtime.engines import engines
from mrpack_runtime.machine.host import HostFacts
from mrpack_runtime.runners.availability import availability, survey
from mrpack_runtime.runners.folders import EngineFolders
from tests.fakes.fake_engine import FakeEngine

HOST = HostFacts(os="linux", arch="x86_64", cpu_count=2, physical_cores=1, memory=2**33, glibc=(2, 40))


def states(tmp_path, *engines: FakeEngine):
    return survey({engine.name: engine for engine in engines}, HOST, EngineFolders(tmp_path))


def test_docker_model_runners_clients_get_the_words_they_know():
    engines = {"here": FakeEngine(name="here"), "absent": FakeEngine(name="absent", installed=False)}
    assert availability(engines, HOST) == {
        "here": "Available: program 1.0",
        "absent": "Not Installed: pip install fake-engine",
    }
    mlx = FakeEngine(name="mlx", installed=False)
    assert availability({"mlx": mlx}, HOST) == {"mlx": "Not Installed: not for this machine"}


def test_what_was_never_tested_is_said_to_be_wherever_an_engine_is_named(tmp_path):
    here = FakeEngine(name="here", untested=True)
    absent = FakeEngine(name="absent", installed=False, untested=True)
    assert availability({"here": here, "absent": absent}, HOST) == {
        "here": "Available: program 1.0, not tested by us",
        "absent": "Not Installed: pip install fake-engine, not tested by us",
    }
    known, *others = states(tmp_path, FakeEngine(name="llama.cpp"), absent, here)
    assert (known.what, known.to_json()["tested"]) == ("program 1.0", True)
    assert [state.what for state in others] == [
        "pip install fake-engine, not tested by us",
        "program 1.0, not tested by us",
    ]
    assert not others[0].to_json()["tested"]


def test_engines_come_in_order_of_preference_and_tested_ones_first():
    assert list(engines()) == ["llama.cpp", "vllm", "diffusers", "mlx", "sglang"]


def test_each_state_says_what_it_is_and_why(tmp_path):
    here, impossible, absent = states(
        tmp_path,
        FakeEngine(name="llama.cpp"),
        FakeEngine(name="mlx", installed=False),
        FakeEngine(name="diffusers", installed=False),
    )
    assert (here.word, here.what) == ("installed", "program 1.0")
    assert (absent.word, absent.what, absent.platforms) == ("not installed", "pip install fake-engine", "cpu")
    assert (impossible.word, impossible.what) == ("not for this machine", "")
    assert impossible.platforms == "MLX is made for Apple silicon"


def test_an_engine_that_the_table_does_not_know_is_given_the_benefit_of_the_doubt(tmp_path):
    (state,) = states(tmp_path, FakeEngine(name="other", installed=False))
    assert state.word == "not installed"
    assert state.to_json()["platforms"] == []
