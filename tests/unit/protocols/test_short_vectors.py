"""Vectors with as many dimensions as the client asks for."""

from __future__ import annotations

import asyncio
import base64
import math
from array import array
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mrpack_runtime.protocols.embeddings import shortened
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import gateway

NUMBERS = st.floats(-1e3, 1e3, width=32)


def rows(*vectors: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"index": i, "embedding": one} for i, one in enumerate(vectors)]}


def packed(vector: list[float]) -> str:
    return base64.b64encode(array("f", vector).tobytes()).decode()


@given(st.lists(NUMBERS, min_size=1, max_size=9), st.integers(1, 9))
def test_what_is_cut_is_one_long_and_points_where_it_did(vector, dimensions):
    (row,) = shortened(rows(vector), dimensions)["data"]
    found = row["embedding"]
    assert len(found) == min(len(vector), dimensions)
    if len(vector) <= dimensions:
        assert found == vector
        return
    length = math.hypot(*vector[:dimensions])
    assert [value * (length or 1.0) for value in found] == pytest.approx(
        vector[:dimensions], rel=1e-6, abs=1e-6
    )
    coded = shortened(rows(packed(vector)), dimensions)["data"][0]["embedding"]
    assert array("f", base64.b64decode(coded)).tolist() == pytest.approx(found, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("junk", [None, 7, "not base64!", "QUJD", ["a", "b"], [10**400, 1], {}])
def test_what_is_no_vector_stays(junk):
    assert shortened(rows(junk), 1) == rows(junk)
    assert shortened({"data": junk}, 1) == {"data": junk}


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_openai_client_gets_short_vectors_of_an_engine_that_overlooks_the_wish(short_folder, encoding):
    async def main() -> None:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            assert isinstance(g.client.endpoint, TcpEndpoint)
            url = f"http://127.0.0.1:{g.client.endpoint.port}/v1"
            async with openai.AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=30) as client:
                asked: Any = {"model": "fake", "input": ["abc"], "encoding_format": encoding}
                whole = await client.embeddings.create(**asked)
                short = await client.embeddings.create(**asked, dimensions=2)
            assert (whole.model, whole.data[0].embedding) == (short.model, [3.0, 1.0, 0.0])
            assert short.data[0].embedding == pytest.approx([3 / math.sqrt(10), 1 / math.sqrt(10)])
            refused = await g.client.post("/v1/embeddings", {**asked, "dimensions": 0})
            assert (refused.status, refused.json["error"]["param"]) == (400, "dimensions")

    asyncio.run(main())


def test_ollamas_clients_get_them_too(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            asked = {"model": "fake", "input": ["abc", "d"], "dimensions": 1}
            answer = await g.client.post("/api/embed", asked)
            assert answer.json["embeddings"] == [[1.0], [1.0]]
            assert (await g.client.post("/api/embed", {**asked, "dimensions": "x"})).status == 400

    asyncio.run(main())
