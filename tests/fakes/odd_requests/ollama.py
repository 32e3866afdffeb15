"""Fields and options of Ollama's API."""

from __future__ import annotations

from tests.fakes.odd_requests.row import GENERATE, OLLAMA_CHAT, field, option, posted

OLLAMA = (
    field(OLLAMA_CHAT, "messages", 7),
    field(OLLAMA_CHAT, "messages", [{"role": "user", "content": {}}]),
    field(OLLAMA_CHAT, "think", "perhaps"),
    field(OLLAMA_CHAT, "keep_alive", "soon"),
    field(OLLAMA_CHAT, "format", 7),
    field(OLLAMA_CHAT, "options", 7),
    field(GENERATE, "suffix", "x", 501),
    field(GENERATE, "images", ["?"]),
    field(GENERATE, "raw", "x"),
    field("/api/embed", "input", 7),
    option("temperature", 99, "temperature"),
    option("num_predict", "x", "max_tokens"),
    option("seed", 2**70, "seed"),
    field(OLLAMA_CHAT, "stream", "x"),
    field(OLLAMA_CHAT, "logprobs", "x"),
    field(GENERATE, "template", "{{ .Prompt }}", 200),
    posted("a model made by Ollama's client", {"model": "new", "from": "x"}, 501, "made", path="/api/create"),
    posted("a blob for Ollama", {}, 501, "made", path="/api/blobs/sha256:00"),
)
