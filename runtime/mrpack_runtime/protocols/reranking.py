"""Rerank and score, which every engine spells a little differently, in one shape.

Sources: llama-server's and vLLM's `/v1/rerank` (after Jina's), vLLM's `/v1/score`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import Unsupported
from mrpack_runtime.protocols import NAMED_EVENTS, Answering, Asked, JsonObject, Served
from mrpack_runtime.protocols.fields import as_list, as_switch, as_text, as_texts, as_whole
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.wire.http1 import BrokenAnswer

PATH: Final = "/v1/rerank"


def parse_rerank(body: JsonObject) -> Asked:
    """Raises RequestRefused."""
    query = as_text(body.get("query"), "query")
    given = body.get("documents", body.get("texts"))
    documents = [
        _document(document, f"documents[{i}]") for i, document in enumerate(as_list(given, "documents"))
    ]
    if not documents:
        raise RequestRefused("documents: at least one is needed", param="documents")
    count = len(documents)
    if body.get("top_n") is not None:
        count = min(count, as_whole(body["top_n"], "top_n", least=1))
    returned = documents if as_switch(body.get("return_documents") or False, "return_documents") else []
    rest = {name: value for name, value in body.items() if name not in {"texts", "return_documents", "top_n"}}
    return _asked(
        {**rest, "query": query, "documents": documents}, lambda served: RerankAnswer(served, count, returned)
    )


def parse_score(body: JsonObject) -> Asked:
    """One text against one or many. Raises RequestRefused and Unsupported."""
    first = as_texts(body.get("text_1", body.get("queries")), "text_1")
    documents = as_texts(body.get("text_2", body.get("documents")), "text_2")
    if len(first) != 1:
        raise Unsupported("text_1: one text a request", hint="send a request for each of them")
    if not documents:
        raise RequestRefused("text_2: at least one is needed", param="text_2")
    names = {"text_1", "text_2", "queries", "documents"}
    rest = {name: value for name, value in body.items() if name not in names}
    return _asked({**rest, "query": first[0], "documents": documents}, ScoreAnswer)


def _asked(body: JsonObject, answering: Callable[[Served], Answering]) -> Asked:
    stream = ("stream",) if body.pop("stream", None) else ()
    return Asked(path=PATH, body=body, answering=answering, framing=NAMED_EVENTS, ignored=stream)


def _document(value: Any, where: str) -> str:
    return as_text(value.get("text") if isinstance(value, dict) else value, where)


@dataclass(frozen=True, slots=True)
class _Ranking:
    served: Served

    def chunk(self, event: JsonObject) -> tuple[JsonObject, ...]:
        return (event,)

    def end(self) -> tuple[JsonObject, ...]:
        return ()

    def failed(self, error: JsonObject) -> tuple[JsonObject, ...]:
        return ({"type": "error", **error},)


@dataclass(frozen=True, slots=True)
class RerankAnswer(_Ranking):
    """The best `count` documents, the best first; `documents` are shown with it where they are wanted."""

    count: int
    documents: list[str]

    def answer(self, body: JsonObject) -> JsonObject:
        scores = _scores(body)
        best = sorted(scores, key=lambda index: (-scores[index], index))[: self.count]
        results: list[JsonObject] = []
        for index in best:
            result: JsonObject = {"index": index, "relevance_score": scores[index]}
            if index < len(self.documents):
                result["document"] = {"text": self.documents[index]}
            results.append(result)
        return {"object": "list", "model": self.served.model, "results": results, "usage": _usage(body)}


@dataclass(frozen=True, slots=True)
class ScoreAnswer(_Ranking):
    """A score for each text, in their order."""

    def answer(self, body: JsonObject) -> JsonObject:
        scores = _scores(body)
        rows = [{"index": index, "object": "score", "score": scores[index]} for index in sorted(scores)]
        return {"object": "list", "model": self.served.model, "data": rows, "usage": _usage(body)}


def _scores(body: JsonObject) -> dict[int, float]:
    """By the document's index."""
    rows = body.get("results")
    if not isinstance(rows, list):
        raise BrokenAnswer("the engine's answer has no results")
    found: dict[int, float] = {}
    for row in rows:
        index = row.get("index") if isinstance(row, dict) else None
        score = row.get("relevance_score", row.get("score")) if isinstance(row, dict) else None
        if not isinstance(index, int) or not isinstance(score, int | float):
            raise BrokenAnswer("the engine's answer has a result without index or score")
        found[index] = float(score)
    return found


def _usage(body: JsonObject) -> JsonObject:
    found = body.get("usage")
    total = found.get("total_tokens", 0) if isinstance(found, dict) else 0
    return {"prompt_tokens": total, "total_tokens": total}
