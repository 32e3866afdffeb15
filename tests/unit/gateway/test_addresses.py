"""No machine takes all connections, and none is believed what it says of its address."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from mrpack_runtime.gateway.connections import Deadlines, GatewayServer
from mrpack_runtime.gateway.exchange import Request, Response
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.gateway.peers import peer_address
from mrpack_runtime.wire.endpoint import Endpoint, TcpEndpoint, UnixEndpoint
from tests.demands import demand
from tests.fakes.gateway import CHAT, Client, chat_body, gateway, read_answer, request_bytes

LIMIT = 16
SHARE = 2
# As proxies write them, and everybody else can.
FORWARDED = ("X-Forwarded-For", "X-Real-IP", "Forwarded", "True-Client-IP", "X-Client-IP")


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (("127.0.0.1", 5), None),
        (("::1", 5, 0, 0), None),
        (("::ffff:127.0.0.1", 5, 0, 0), None),
        ("", None),
        (None, None),
        (("192.0.2.7", 5), "192.0.2.7"),
        (("::ffff:192.0.2.7", 5, 0, 0), "192.0.2.7"),
        (("2001:db8::1:2", 5, 0, 0), "2001:db8::/64"),
        (("fe80::1%eth0", 5, 0, 2), "fe80::/64"),
    ],
)
def test_clients_of_other_machines_are_counted_by_their_address(peer, address):
    assert peer_address(peer) == address


def test_one_address_cannot_take_all_connections():
    async def main() -> None:
        async def answer(request):
            raise NotImplementedError

        server = GatewayServer(answer, Deadlines(), limit=16)
        assert [server.let_in("192.0.2.7") for _ in range(3)] == [True, True, False]
        assert server.let_in("192.0.2.8")
        assert server.let_in(None)
        for _ in range(2):
            server.let_out("192.0.2.7")
        assert server.let_in("192.0.2.7")
        await server.close(0)

    asyncio.run(main())


def own_address() -> str:
    """Of this machine, as others see it; a UDP socket is only bound, nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return ""
        address = str(probe.getsockname()[0])
    return "" if address.startswith("127.") else address


@asynccontextmanager
async def listening(endpoint: Endpoint) -> AsyncIterator[Client]:
    """A server of `LIMIT` connections that says yes to everything."""

    async def answer(_: Request) -> Response:
        return Response(body=b"yes")

    loop = asyncio.get_running_loop()
    server = GatewayServer(answer, Deadlines(), limit=LIMIT)
    if isinstance(endpoint, UnixEndpoint):
        listener = await loop.create_unix_server(server, str(endpoint.path))
    else:
        listener = await loop.create_server(server, endpoint.host, 0)
        endpoint = TcpEndpoint(listener.sockets[0].getsockname()[1], endpoint.host)
    try:
        yield Client(endpoint)
    finally:
        listener.close()
        await server.close(0)


async def answers(endpoint: Endpoint, count: int) -> list[int]:
    """The statuses of so many connections that stay open, each of which says to come from elsewhere."""
    async with listening(endpoint) as client:
        writers = []
        statuses = []
        for number in range(count):
            reader, writer = await client.connect()
            writers.append(writer)
            claims = dict.fromkeys(FORWARDED, f"198.51.100.{number}")
            writer.write(request_bytes("GET", "/", headers=claims))
            statuses.append((await read_answer(reader)).status)
        for writer in writers:
            writer.close()
        return statuses


def test_what_a_client_says_of_its_address_gives_it_no_more_connections():
    address = own_address()
    demand("" if address else "no network interface but loopback")
    statuses = asyncio.run(answers(TcpEndpoint(0, address), SHARE + 2))
    assert statuses == [200] * SHARE + [503] * 2


def test_loopback_and_unix_sockets_have_one_limit_for_all(short_folder):
    assert asyncio.run(answers(TcpEndpoint(0), LIMIT)) == [200] * LIMIT
    assert asyncio.run(answers(UnixEndpoint(short_folder / "s"), LIMIT)) == [200] * LIMIT


@pytest.mark.parametrize("claim", ["127.0.0.1", "for=127.0.0.1", "::1"])
def test_what_a_client_says_of_its_address_opens_no_route(short_folder, claim):
    async def main() -> None:
        policy = Policy(beyond_loopback=True, key_hashes=(hash_key("k"),))
        async with gateway(short_folder, policy=policy) as g:
            claims = dict.fromkeys(FORWARDED, claim)
            assert (await g.client.post(CHAT, chat_body(), claims)).status == 401
            assert (await g.client.get("/logs", {**claims, "Authorization": "Bearer k"})).status == 403

    asyncio.run(main())


def test_a_forwarded_host_is_not_the_host(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            claims = {"X-Forwarded-Host": "localhost", "Forwarded": "host=localhost"}
            foreign = await g.client.request("GET", "/health", headers=claims, host="evil.example.com")
            assert foreign.status == 403

    asyncio.run(main())
