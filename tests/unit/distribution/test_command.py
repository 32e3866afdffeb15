"""`mrpack registry serve` as people start it."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mrpack.store.store import Store
from tests.fakes.api_client import ApiClient
from tests.program import empty_environment

PROGRAM = (sys.executable, "-m", "mrpack", "registry", "serve")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **empty_environment(tmp_path),
        "MRPACK_HOME": str(tmp_path / "home"),
        "MRPACK_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONUNBUFFERED": "",
    }


@contextmanager
def running(environment: dict[str, str], *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The program and the address it prints."""
    process = subprocess.Popen(
        [*PROGRAM, "--port", "0", *options],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        readable, _, _ = select.select([process.stdout], [], [], 60)
        assert readable, "it printed nothing"
        yield process, process.stdout.readline().strip().removeprefix("http://")
    finally:
        process.kill()
        process.communicate()


def refused(environment: dict[str, str], *options: str) -> tuple[int, str]:
    done = subprocess.run(
        [*PROGRAM, *options], env=environment, text=True, capture_output=True, timeout=60, check=False
    )
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    return done.returncode, done.stderr


def test_it_says_where_it_listens_and_takes_pushes_that_list_shows(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running(environment, "--writable", "-v") as (process, address):
        api = ApiClient(address)
        api.push("team/m", "v1", b"weights")
        assert api("DELETE", "/v2/team/m/manifests/v1").status == 405
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "PUT '/v2/team/m/manifests/v1' 201" in errors
    assert [str(model.reference) for model in Store(tmp_path / "home").models()] == ["localhost/team/m:v1"]


def test_it_is_read_only_and_silent_unless_told_otherwise(
    environment: dict[str, str], tmp_path: Path
) -> None:
    with running(environment, "-q") as (process, address):
        assert ApiClient(address)("POST", "/v2/m/blobs/uploads/").status == 405
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert errors == ""
    assert not (tmp_path / "home").exists()


def test_ctrl_c_stops_it_as_every_command(environment: dict[str, str]) -> None:
    with running(environment) as (process, _):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_it_serves_a_layout_and_answers_to_further_names(environment: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "layout"
    options = ("--layout", str(folder), "--writable", "--allow-deletes", "--name", "r.example.com")
    with running(environment, *options, "--allow-host", "Host.Docker.Internal") as (_, address):
        api = ApiClient(address)
        api.push("team/m", "v1", b"weights")
        api.push("team/m", "v2", b"weights")
        assert api("DELETE", "/v2/team/m/manifests/v2").status == 202
        answer = api("GET", "/v2/", headers={"Host": "host.docker.internal:5000"})
        assert answer.status == 200
    index = json.loads((folder / "index.json").read_bytes())
    names = [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]]
    assert names == ["r.example.com/team/m:v1"]


def test_its_address_is_json_when_asked(environment: dict[str, str]) -> None:
    with running(environment, "--json") as (process, first):
        assert first == "{"
        assert process.stdout is not None
        text = first + "".join(iter(process.stdout.readline, "}\n")) + "}"
        value = json.loads(text)
        assert value["url"] == f"http://{value['address']}"
        assert ApiClient(value["address"])("GET", "/v2/").status == 200


def test_a_killed_server_leaves_a_store_that_works(environment: dict[str, str], tmp_path: Path) -> None:
    with running(environment, "--writable") as (process, address):
        api = ApiClient(address)
        manifest = api.push("team/m", "v1", b"weights")
        session = api.start("team/m")
        assert api("PATCH", session, b"some").status == 202
        process.kill()
        process.wait()
    store = Store(tmp_path / "home")
    assert store.verify(store.models()) == []
    assert store.usage().partial == 4
    collected = store.collect()
    assert (collected.digests, collected.freed) == ((), 4)
    with running(environment, "--writable") as (_, address):
        assert ApiClient(address)("GET", "/v2/team/m/manifests/v1").body == manifest.raw
        assert ApiClient(address)("GET", session).code == "BLOB_UPLOAD_UNKNOWN"


def test_a_taken_port_is_one_line_and_exit_code_8(environment: dict[str, str]) -> None:
    with running(environment) as (_, address):
        code, line = refused(environment, "--port", address.rpartition(":")[2])
    assert code == 8
    assert "--port" in line


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("--writable", "--host", "0.0.0.0", "--port", "0"), 2),
        (("--allow-deletes",), 2),
        (("--name", "not a registry"), 2),
        (("--name", "team"), 2),
        (("--host", "no such host"), 2),
        (("--layout", "/nowhere/at/all"), 3),
    ],
)
def test_what_it_refuses(environment: dict[str, str], options: tuple[str, ...], code: int) -> None:
    assert refused(environment, *options)[0] == code


def test_remote_writes_are_allowed_by_a_flag_that_says_so(environment: dict[str, str]) -> None:
    options = ("--writable", "--host", "0.0.0.0", "--insecure-allow-remote-writes")
    with running(environment, *options) as (_, address):
        api = ApiClient(address.replace("0.0.0.0", "127.0.0.1"))
        api.push("team/m", "v1", b"weights")


def test_a_thousand_half_open_connections_do_not_stop_it(environment: dict[str, str]) -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running(environment) as (process, address), ExitStack() as opened:
        api = ApiClient(address)
        for _ in range(min(1000, files - 100)):
            sock = opened.enter_context(socket.create_connection(api.endpoint))
            sock.sendall(b"GET /v2/ HTTP/1.1\r\nHost:")
        assert api("GET", "/v2/").status == 200
        if sys.platform == "linux":
            assert len(os.listdir(f"/proc/{process.pid}/task")) < 10
