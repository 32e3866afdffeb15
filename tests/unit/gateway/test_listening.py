"""Where a gateway listens: Unix sockets and ports, free ones and taken ones."""

from __future__ import annotations

import asyncio
import stat

import pytest

from mrpack.errors import HostRefused
from mrpack_runtime.gateway.guard import Policy, hash_key
from mrpack_runtime.wire.endpoint import TcpEndpoint, UnixEndpoint
from tests.fakes.gateway import gateway


def test_a_unix_socket_is_ours_alone(short_folder):
    async def main() -> None:
        endpoint = UnixEndpoint(short_folder / "gateway.sock")
        async with gateway(short_folder, endpoint=endpoint, policy=Policy(check_host=False)) as g:
            assert stat.S_IMODE(endpoint.path.stat().st_mode) == 0o600
            assert (await g.client.chat()).status == 200
            with pytest.raises(HostRefused):
                async with gateway(short_folder, endpoint=endpoint, policy=Policy(check_host=False)):
                    pass
            assert (await g.client.chat()).status == 200
        assert not endpoint.path.exists()

    asyncio.run(main())


def test_a_stale_socket_is_replaced_and_another_file_is_not(short_folder):
    async def main() -> None:
        path = short_folder / "gateway.sock"
        stale = await asyncio.start_unix_server(lambda *_: None, path)
        stale.close()
        await stale.wait_closed()
        assert path.exists()
        async with gateway(short_folder, endpoint=UnixEndpoint(path), policy=Policy(check_host=False)) as g:
            assert (await g.client.get("/health")).status == 200
        path.write_text("precious")
        with pytest.raises(HostRefused):
            async with gateway(short_folder, endpoint=UnixEndpoint(path)):
                pass
        assert path.read_text() == "precious"

    asyncio.run(main())


def test_a_taken_port_is_an_error_that_says_what_to_try(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            endpoint = g.client.endpoint
            assert isinstance(endpoint, TcpEndpoint)
            with pytest.raises(HostRefused, match=str(endpoint.port)) as caught:
                async with gateway(short_folder, endpoint=endpoint):
                    pass
            assert "another gateway" in str(caught.value.hint)

    asyncio.run(main())


@pytest.mark.parametrize("host", ["nosuch.invalid", "192.0.2.7"])
def test_an_address_of_no_machine_or_another_is_not_blamed_on_a_gateway(short_folder, host):
    async def main() -> None:
        policy = Policy(beyond_loopback=True, key_hashes=(hash_key("k"),))
        with pytest.raises(HostRefused, match=host) as caught:
            async with gateway(short_folder, endpoint=TcpEndpoint(0, host), policy=policy):
                pass
        assert "address of this machine" in str(caught.value.hint)

    asyncio.run(main())
