"""Requests of Docker Model Runner's clients that run nothing: settings, models, engines."""

from __future__ import annotations

from tests.fakes.odd_requests.row import MODEL, Odd, posted, raw

CONFIGURE, UNLOAD = "/engines/_configure", "/engines/unload"
DOCKER = (
    posted(
        "a preload that is neither",
        {"model": MODEL, "preload": "yes"},
        400,
        "invalid_request",
        "preload",
        path=CONFIGURE,
    ),
    posted("settings of no model", {"context-size": 9}, 400, "invalid_request", "model", path=CONFIGURE),
    posted(
        "settings of an unknown model", {"model": "nope"}, 404, "model_not_found", "model", path=CONFIGURE
    ),
    posted("nothing to unload", {}, 400, "invalid_request", "models", path=UNLOAD),
    posted("models that are a word", {"models": "all"}, 400, "invalid_request", "models", path=UNLOAD),
    posted("everything, perhaps", {"all": "yes"}, 400, "invalid_request", "all", path=UNLOAD),
    posted("a pull of nothing", {}, 400, "invalid_request", "from", path="/models/create"),
    Odd("a tag without its name", raw("POST", "/models/x/tag", b""), 400, "invalid_request", "repo"),
    posted("an engine to install", {"backend": "vllm"}, 501, "unsupported", path="/engines/install-backend"),
    Odd("what others asked", raw("GET", "/engines/requests"), 501, "unsupported"),
    Odd("a flag twice", raw("GET", "/engines/ps?wide=&wide=true"), 400, "invalid_request", "wide"),
    Odd("a log that perhaps goes on", raw("GET", "/logs?follow=x"), 400, "invalid_request", "follow"),
)
