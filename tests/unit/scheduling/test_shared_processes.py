"""One process for several operations, of an engine that has the same command for them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from mrpack_runtime.engine import Operation
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import gateway

EMBEDDING = {"model": "fake", "input": "x"}
RANKING = {"model": "fake", "query": "x", "documents": ["y"]}
SCORE = {"model": "fake", "text_1": "x", "text_2": ["y"]}


@dataclass(kw_only=True)
class SharingEngine(FakeEngine):
    served_by: Mapping[Operation, Operation] = field(
        default_factory=lambda: {Operation.RERANKING: Operation.EMBEDDING}
    )


def test_ranking_and_embedding_share_a_process(short_folder):
    async def main() -> None:
        async with gateway(short_folder, SharingEngine()) as g:
            for path, body in (("/v1/rerank", RANKING), ("/v1/embeddings", EMBEDDING), ("/v1/score", SCORE)):
                assert (await g.client.post(path, body)).status == 200
            (shot,) = g.pool.snapshot()
            assert shot.key.operation is Operation.EMBEDDING
            shown = (await g.client.post("/api/show", {"model": "fake"})).json
            assert shown["capabilities"][0] == "completion"

    asyncio.run(main())


def test_other_engines_have_one_for_each(short_folder):
    async def main() -> None:
        async with gateway(short_folder) as g:
            for path, body in (("/v1/rerank", RANKING), ("/v1/embeddings", EMBEDDING)):
                assert (await g.client.post(path, body)).status == 200
            assert {shot.key.operation for shot in g.pool.snapshot()} == {
                Operation.RERANKING,
                Operation.EMBEDDING,
            }

    asyncio.run(main())
