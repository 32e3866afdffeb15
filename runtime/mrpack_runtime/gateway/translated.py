"""Inference in other words than the engines': messages, responses, rerank, score, odds and short vectors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mrpack.errors import NotFound, Unsupported
from mrpack_runtime.gateway.bodies import get_model
from mrpack_runtime.gateway.proxy import infer_as, infer_body
from mrpack_runtime.gateway.queries import read_flag
from mrpack_runtime.protocols.anthropic.request import parse_message_request
from mrpack_runtime.protocols.embeddings import parse_short_embedding
from mrpack_runtime.protocols.fields import as_word
from mrpack_runtime.protocols.logprobs import parse_logprobs
from mrpack_runtime.protocols.refusal import RequestRefused
from mrpack_runtime.protocols.reranking import parse_rerank, parse_score
from mrpack_runtime.protocols.responses.request import parse_response_request

if TYPE_CHECKING:
    from mrpack_runtime.gateway.call import Call
    from mrpack_runtime.gateway.exchange import Reply
    from mrpack_runtime.protocols.responses.history import Turn


# OpenAI's: items of a page, and the most of them.
_PAGE: Final = 20
_PAGES: Final = 100


class ResponseNotFound(NotFound):
    """No such response, or not any more: they are kept in memory."""

    code = "response_not_found"


async def generate(call: Call) -> Reply:
    """POST …/chat/completions and …/completions: with how likely each token was, where that is asked for."""
    body = await call.read_json()
    asked = parse_logprobs(call.match.route.upstream, body)
    if asked is None:
        return await infer_body(call, body)
    call.model = get_model(body)
    return await infer_as(call, asked)


async def messages(call: Call) -> Reply:
    """POST …/messages: Anthropic's, by any engine."""
    body = await call.read_json()
    call.model = get_model(body)
    return await infer_as(call, parse_message_request(body))


async def create_response(call: Call) -> Reply:
    """POST …/responses: OpenAI's newer API, by any engine."""
    body = await call.read_json()
    call.model = get_model(body)
    return await infer_as(call, parse_response_request(body, call.gateway.history))


async def show_response(call: Call) -> Reply:
    """GET …/responses/{id}: one that was stored."""
    if read_flag(call, "stream"):
        raise Unsupported("a response that is kept is told as a whole", hint="leave out stream")
    return call.json(_turn(call).response)


async def input_items(call: Call) -> Reply:
    """GET …/responses/{id}/input_items: what was asked, the last first unless `order=asc`."""
    turn, query = _turn(call), call.request.query
    before = turn.before.conversation() if turn.before is not None else []
    items = [{"id": f"{turn.response['id']}_{i}", **item} for i, item in enumerate((*before, *turn.input))]
    if as_word(query.get("order", "desc"), "order", ("asc", "desc")) == "desc":
        items.reverse()
    if (before_page := query.get("after")) is not None:
        ids = [item["id"] for item in items]
        if before_page not in ids:
            raise ResponseNotFound(f"the response has no item {before_page[:80]!r}")
        items = items[ids.index(before_page) + 1 :]
    page = items[: _limit(query.get("limit", str(_PAGE)))]
    first, last = (page[0]["id"], page[-1]["id"]) if page else ("", "")
    more = len(page) < len(items)
    return call.json({"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": more})


def _limit(text: str) -> int:
    number = int(text) if text.isdecimal() and len(text) <= len(str(_PAGES)) else 0
    if not 1 <= number <= _PAGES:
        raise RequestRefused(f"limit must be a whole number from 1 to {_PAGES}", param="limit")
    return number


async def cancel_response(call: Call) -> Reply:
    """POST …/responses/{id}/cancel: refused, since none goes on in the background."""
    _turn(call)
    raise RequestRefused(
        "only background responses can be cancelled, and there are none here",
        hint="a client that leaves ends its own response",
    )


async def compact_response(_: Call) -> Reply:
    """POST …/responses/compact: refused, since only OpenAI can read what it makes."""
    raise Unsupported(
        "what was said is not compacted here", hint="send what matters of it, or previous_response_id"
    )


async def delete_response(call: Call) -> Reply:
    """DELETE …/responses/{id}."""
    name = call.match.name
    if not call.gateway.history.delete(name):
        raise ResponseNotFound(f"no response with id {name[:80]!r}")
    return call.json({"id": name, "object": "response.deleted", "deleted": True})


def _turn(call: Call) -> Turn:
    turn = call.gateway.history.find(call.match.name)
    if turn is None:
        raise ResponseNotFound(
            f"no response with id {call.match.name[:80]!r}", hint="they are kept in memory, for a while"
        )
    return turn


async def embeddings(call: Call) -> Reply:
    """POST …/embeddings: with as many `dimensions` as are asked for."""
    body = await call.read_json()
    if body.get("dimensions") is None:
        return await infer_body(call, body)
    call.model = get_model(body)
    return await infer_as(call, parse_short_embedding(body))


async def rerank(call: Call) -> Reply:
    """POST …/rerank: documents by what they have to do with a query."""
    body = await call.read_json()
    call.model = get_model(body)
    return await infer_as(call, parse_rerank(body))


async def score(call: Call) -> Reply:
    """POST …/score: how much two texts have to do with each other."""
    body = await call.read_json()
    call.model = get_model(body)
    return await infer_as(call, parse_score(body))
