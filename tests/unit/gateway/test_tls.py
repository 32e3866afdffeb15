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
from hypothesis import given, settings
from hypothesis import strategies as st

from mrpack.errors import AccessDenied, MrpackError, UsageError
from mrpack_runtime.gateway.app import run_loop
from mrpack_runtime.gateway.connections import Deadlines, GatewayServer
from mrpack_runtime.gateway.exchange import Request, Response
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.gateway.tls import TlsTransport, server_context
from mrpack_runtime.wire.client import GatewayClient, Stranger, Tls
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.fakes.certificates import Authority, make_authority
from tests.fakes.gateway import DEADLINE_S, Client, gateway, until


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = make_authority(tmp_path_factory.mktemp("authority"))
    made.key.chmod(0o600)
    return made


@pytest.fixture(scope="module")
def context(authority: Authority) -> ssl.SSLContext:
    return server_context(authority.certificate, authority.key)


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


def hello() -> bytes:
    """What a client of TLS begins with."""
    sent = ssl.MemoryBIO()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


HELLO = hello()
# The longest record, of which nothing is understood before its end.
LONG_HELLO = HELLO[:3] + (1 << 14).to_bytes(2) + HELLO[5:].ljust(1 << 14, b"\0")


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(DEADLINE_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


@pytest.mark.parametrize("run", [asyncio.run, run_loop], ids=["asyncio", "uvloop"])
def test_a_handshake_that_never_comes_or_never_ends_is_cut(short_folder, context, run):
    async def main() -> None:
        deadlines = Deadlines(header_s=0.5, patrol_s=0.05)
        async with gateway(short_folder, tls=context, deadlines=deadlines) as g:
            opened = [await g.client.connect() for _ in range(3)]
            (_, _), (_, half), (drips, dripping) = opened
            half.write(HELLO[:-1])
            cut = asyncio.create_task(until_closed(drips))
            for byte in LONG_HELLO:  # takes longer than `until_closed` waits
                if cut.done() or dripping.is_closing():
                    break
                dripping.write(bytes([byte]))
                await asyncio.sleep(0.01)
            await cut
            for reader, writer in opened:
                assert await until_closed(reader) == b""
                writer.close()

    run(main())


@pytest.mark.parametrize("run", [asyncio.run, run_loop], ids=["asyncio", "uvloop"])
def test_who_has_not_shaken_hands_yet_counts(authority, context, run):
    """Else any number could hold open files, whatever the limit of connections is."""

    async def answer(_: Request) -> Response:
        return Response(body=b"yes")

    async def main() -> None:
        server = GatewayServer(answer, Deadlines(), limit=3, tls=context)
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        endpoint = TcpEndpoint(listener.sockets[0].getsockname()[1])
        plain = Client(endpoint)
        client = Client(endpoint, ssl.create_default_context(cafile=authority.ca_file))
        held = [await plain.connect() for _ in range(3)]
        with pytest.raises(OSError):  # whichever end it is that a client notices first
            await client.get("/")
        for _, writer in held:
            writer.close()
        await until(lambda: not server.connections)
        assert (await client.get("/")).body == b"yes"
        listener.close()
        await server.close(0)

    run(main())


ALERT = b"\x15\x03\x03\x00\x02"


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b""),
        (bytes(100), b""),
        (b"\x16\x03\x01\x00\x05hello", ALERT),
    ],
    ids=["HTTP", "zeros", "no hello"],
)
def test_what_is_not_tls_gets_an_end(short_folder, context, content, answer):
    async def main() -> None:
        async with gateway(short_folder, tls=context) as g:
            reader, writer = await g.client.connect()
            writer.write(content)
            assert (await until_closed(reader))[:5] == answer
            writer.close()

    asyncio.run(main())


class Socket(asyncio.Transport):
    """What a connection writes, and how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.is_closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.is_left = False
        self.heard = b""

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.transport.writelines([b"<", data, b">"])

    def eof_received(self) -> None:
        self.is_left = True


@settings(max_examples=50)
@given(
    place=st.integers(0, len(HELLO) - 1),
    byte=st.integers(0, 255),
    cut=st.integers(0, len(HELLO)),
    tail=st.binary(max_size=99),
)
def test_no_bytes_cause_another_error(context, place, byte, cut, tail):
    content = bytearray(HELLO + tail)
    content[place] = byte
    wire, echo = Socket(), Echo()
    served = TlsTransport(context, echo)
    served.connection_made(wire)
    for piece in (content[:cut], content[cut:]):
        if not wire.is_closed:
            served.data_received(bytes(piece))
    assert echo.is_left is wire.is_closed


VERSIONS = pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])


class Pair:
    """A client and a transport after their handshake, and what is between them."""

    def __init__(self, authority: Authority, context: ssl.SSLContext, version: ssl.TLSVersion) -> None:
        theirs = ssl.create_default_context(cafile=authority.ca_file)
        theirs.maximum_version = version
        self.received, self.sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = theirs.wrap_bio(self.received, self.sent, server_hostname="localhost")
        self.wire, self.echo = Socket(), Echo()
        self.served = TlsTransport(context, self.echo)
        self.served.connection_made(self.wire)
        self.served.write(b"too early")
        self.exchange(self.client.do_handshake)

    def exchange(self, step: Callable[[], Any]) -> Any:
        """Byte by byte, until the client has what it wants."""
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                for byte in self.sent.read():
                    self.served.data_received(bytes([byte]))
                assert self.wire.written, "nobody has more to say"
                self.received.write(self.wire.written)
                self.wire.written.clear()


@VERSIONS
def test_tls_is_understood_byte_by_byte_and_ends_when_its_client_says_so(authority, context, version):
    pair = Pair(authority, context, version)
    pair.client.write(b"a")
    pair.client.write(b"b" * 20_000)
    found = b""
    while found.count(b"b") < 20_000:
        found += pair.exchange(lambda: pair.client.read(1 << 20))
    assert found.startswith(b"<a>")
    assert not pair.echo.is_left
    pair.exchange(pair.client.unwrap)
    assert pair.echo.is_left
    assert pair.wire.is_closed
    pair.served.data_received(b"more")
    assert not pair.wire.written


@VERSIONS
def test_what_comes_before_a_broken_record_is_heard_and_not_answered(authority, context, version):
    pair = Pair(authority, context, version)
    pair.client.write(b"a")
    pair.served.data_received(pair.sent.read() + b"\x17\x03\x03\x00\x20" + bytes(32))
    assert pair.echo.heard == b"a"
    assert pair.echo.is_left
    assert pair.wire.is_closed
    pair.received.write(pair.wire.written)
    with pytest.raises(ssl.SSLError, match="ALERT"):
        pair.client.read(1)


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
