"""Fields of rerank, score and tokens."""

from __future__ import annotations

from tests.fakes.odd_requests.row import field

SCORING = (
    field("/v1/rerank", "documents", []),
    field("/v1/rerank", "query", 7),
    field("/v1/rerank", "top_n", 0),
    field("/v1/rerank", "return_documents", "x"),
    field("/v1/score", "text_1", 7),
    field("/v1/tokenize", "prompt", ...),
    field("/v1/tokenize", "prompt", 7),
    field("/v1/tokenize", "messages", [7], param="messages[0]"),
    field("/v1/apply-template", "messages", ...),
    field("/v1/apply-template", "tools", [7], param="tools[0]"),
    field("/v1/apply-template", "messages", "hi"),
    field("/v1/detokenize", "tokens", [-1], param="tokens[0]"),
    field("/v1/detokenize", "tokens", [2**40], param="tokens[0]"),
)
