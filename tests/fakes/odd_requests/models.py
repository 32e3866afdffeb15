"""Which model is asked, and fields that reach past it."""

from __future__ import annotations

from tests.fakes.gateway import CHAT
from tests.fakes.odd_requests.row import (
    GENERATE,
    MESSAGES,
    MODEL,
    NEEDED,
    OLLAMA_CHAT,
    QUESTION,
    RESPONSES,
    posted,
)

MODELS = (
    posted("no model", {}, 400, "invalid_request", "model"),
    posted("an empty model", {"model": " "}, 400, "invalid_request", "model"),
    posted("a model that is null", {"model": None}, 400, "invalid_request", "model"),
    posted("a model that is a number", {"model": 7}, 400, "invalid_request", "model"),
    posted("a model that is a list", {"model": ["x"]}, 400, "invalid_request", "model"),
    posted("a model up the tree", {"model": "../../etc/passwd"}, 400, "invalid_request", "model"),
    posted("a model with a NUL", {"model": "a\0b"}, 400, "invalid_request", "model"),
    posted("a model of 10,000 letters", {"model": "x" * 10_000}, 400, "invalid_request", "model"),
    posted("an unknown model", {"model": "nope", **NEEDED[CHAT]}, 404, "model_not_found", "model"),
    posted("an unknown model before its fields", {"model": "nope"}, 404, "model_not_found", "model"),
    posted("no model for Claude", NEEDED[MESSAGES], 400, "invalid_request_error", path=MESSAGES),
    posted("no model for Ollama", NEEDED[GENERATE], 400, "model", path=GENERATE),
    *(
        posted(f"an unknown model at {path}", {"model": "nope", **NEEDED[path]}, 404, code, param, path=path)
        for path, code, param in (
            ("/v1/embeddings", "model_not_found", "model"),
            (RESPONSES, "model_not_found", "model"),
            ("/v1/rerank", "model_not_found", "model"),
            ("/v1/tokenize", "model_not_found", "model"),
            (MESSAGES, "not_found_error", None),
            (f"{MESSAGES}/count_tokens", "not_found_error", None),
            (OLLAMA_CHAT, "nope", None),
            (GENERATE, "nope", None),
            ("/api/embed", "nope", None),
        )
    ),
    posted(
        "a pickled tensor", {"model": MODEL, "prompt_embeds": "x"}, 400, "invalid_request", "prompt_embeds"
    ),
    posted("a negative discard", {"model": MODEL, "n_discard": -1}, 400, "invalid_request", "n_discard"),
    posted(
        "a template of the client",
        {"model": MODEL, "chat_template": "x"},
        400,
        "invalid_request",
        "chat_template",
    ),
    posted(
        "a picture from elsewhere",
        {
            "model": MODEL,
            "messages": [*QUESTION, {"role": "user", "content": [{"image_url": "http://x/y"}]}],
        },
        400,
        "invalid_request",
        "messages[1].content[0].image_url",
    ),
)
