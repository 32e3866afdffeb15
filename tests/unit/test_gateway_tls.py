"""TLS with a certificate of the user, and keys for management from other machines."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mrpack.errors import AccessDenied, MrpackError, UsageError
from mrpack_runtime.client import GatewayClient, Stranger, Tls
from mrpack_runtime.endpoint import TcpEndpoint
from mrpack_runtime.gateway.app import run_loop
from mrpack_runtime.gateway.connections import Deadlines
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.gateway.tls import server_context
from tests.fakes.certificates import Authority, make_authority
from tests.fakes.gateway import gateway


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = make_authority(tmp_path_factory.mktemp("authority"))
    made.key.chmod(0o600)
    return made


def ask(
    folder: Path,
    authority: Authority,
    question: Callable[[TcpEndpoint], Any],
    *,
    deadlines: Deadlines | None = None,
    run: Callable[[Any], Any] = asyncio.run,
) -> Any:
    """In a thread, of a gateway that speaks TLS."""

    async def main() -> Any:
        tls = server_context(authority.certificate, authority.key)
        async with gateway(folder, tls=tls, deadlines=deadlines) as g:
            assert isinstance(g.client.endpoint, TcpEndpoint)
            return await asyncio.to_thread(question, g.client.endpoint)

    return run(main())


def test_the_commands_speak_tls_and_check_the_certificate(short_folder, authority):
    def question(endpoint: TcpEndpoint) -> None:
        client = GatewayClient(endpoint, tls=Tls(authority.ca_file))
        assert client.url.startswith("https://")
        assert client.version() == "0"
        words = [
            event["choices"][0]["delta"].get("content") or ""
            for event in client.chat({"model": "fake", "messages": [{"role": "user", "content": "hi"}]})
            if event["choices"]
        ]
        assert "".join(words) == "Hello from a fake engine."
        with pytest.raises(AccessDenied, match="not trusted"):
            GatewayClient(endpoint, tls=Tls()).version()
        with pytest.raises(Stranger, match="https://"):
            GatewayClient(endpoint).version()

    ask(short_folder, authority, question)


@pytest.mark.parametrize("run", [asyncio.run, run_loop], ids=["asyncio", "uvloop"])
def test_no_piece_of_a_stream_waits_for_the_next(short_folder, authority, run):
    def question(endpoint: TcpEndpoint) -> None:
        client = GatewayClient(endpoint, tls=Tls(authority.ca_file))
        asked = {"messages": [{"role": "user", "content": "hi"}], "fake": {"chunks": 9, "delay": 0.02}}
        assert len(list(client.chat({"model": "fake", **asked}))) == 11

    ask(short_folder, authority, question, deadlines=Deadlines(write_s=1.0, patrol_s=0.05), run=run)


def test_old_versions_of_tls_are_refused(short_folder, authority):
    def question(endpoint: TcpEndpoint) -> None:
        context = ssl.create_default_context(cafile=authority.ca_file)
        with (
            socket.create_connection((endpoint.host, endpoint.port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            assert wrapped.version() in {"TLSv1.2", "TLSv1.3"}
        assert server_context(authority.certificate, authority.key).minimum_version is ssl.TLSVersion.TLSv1_2

    ask(short_folder, authority, question)


def test_a_handshake_that_never_comes_keeps_nobody_out(short_folder, authority):
    def question(endpoint: TcpEndpoint) -> None:
        held = [socket.create_connection((endpoint.host, endpoint.port)) for _ in range(50)]
        assert GatewayClient(endpoint, tls=Tls(authority.ca_file)).version() == "0"
        for one in held:
            one.close()

    ask(short_folder, authority, question)


def test_files_that_are_no_certificate_are_named(tmp_path, authority):
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("hello")
    wrong.chmod(0o600)
    with pytest.raises(UsageError, match=r"wrong\.pem"):
        server_context(wrong, wrong)
    with pytest.raises(MrpackError, match="no such file"):
        server_context(tmp_path / "none", wrong)
    wrong.chmod(0o644)
    with pytest.raises(UsageError, match="others may read"):
        server_context(authority.certificate, wrong)


LAN = Policy(beyond_loopback=True, key_hashes=(hash_key("user"),), management_hashes=(hash_key("master"),))


@pytest.mark.parametrize(
    ("policy", "key", "statuses"),
    [
        (LAN, "user", (200, 401, 401)),
        (LAN, "master", (200, 200, 200)),
        (LAN, "wrong", (401, 401, 401)),
        (replace(LAN, management_hashes=()), "user", (200, 403, 403)),
        (replace(LAN, beyond_loopback=False), "user", (200, 401, 401)),
        (replace(LAN, beyond_loopback=False), "master", (200, 200, 200)),
    ],
)
def test_management_has_keys_of_its_own(short_folder, policy, key, statuses):
    async def main() -> None:
        headers = {"Authorization": f"Bearer {key}"}
        async with gateway(short_folder, policy=policy) as g:
            found = (
                await g.client.get("/v1/models", headers),
                await g.client.get("/logs", headers),
                await g.client.post("/engines/unload", {"all": True}, headers),
            )
            assert tuple(answer.status for answer in found) == statuses

    asyncio.run(main())


def test_exact_commands_are_shown_beyond_loopback_to_those_who_manage(short_folder):
    async def main() -> None:
        async with gateway(short_folder, policy=LAN) as g:
            for key, shown in (("user", False), ("master", True)):
                headers = {"Authorization": f"Bearer {key}"}
                await g.client.post(
                    "/v1/chat/completions",
                    {"model": "fake", "messages": [{"role": "user", "content": "hi"}]},
                    headers,
                )
                (entry,) = (await g.client.get("/engines/ps?wide=true", headers)).json
                assert ("command" in entry) is shown

    asyncio.run(main())
