"""The table of odd requests, on the fake engine."""

from __future__ import annotations

import asyncio

from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import gateway
from tests.fakes.odd_requests import ODD
from tests.fakes.odd_requests.asking import ask, faults


def test_rows_have_names_of_their_own():
    assert len({odd.name for odd in ODD}) == len(ODD) >= 60


def test_each_odd_request_is_answered_as_its_api_does(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            found = [fault for odd in ODD for fault in faults(odd, await ask(g.client, odd.to("fake")))]
            assert not found, "\n".join(found)

    asyncio.run(main())


def test_wrong_requests_start_no_engine(short_folder):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            for odd in ODD:
                if odd.status >= 400 and "detokenize" not in odd.path:
                    await ask(g.client, odd.to("fake"))
            assert not g.engine.launches

    asyncio.run(main())
