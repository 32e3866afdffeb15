"""Fields of Anthropic's messages."""

from __future__ import annotations

from tests.fakes.odd_requests.row import MESSAGES, field

# A tool that gives a picture by its address.
REMOTE_RESULT = {
    "type": "tool_result",
    "tool_use_id": "t1",
    "content": [{"type": "image", "source": {"type": "url", "url": "https://pictures.example.com/1.png"}}],
}
ANTHROPIC = (
    field(MESSAGES, "max_tokens", ...),
    field(MESSAGES, "max_tokens", 0),
    field(MESSAGES, "messages", []),
    field(MESSAGES, "messages", [{"role": "alien", "content": "x"}]),
    field(MESSAGES, "messages", [{"role": "user", "content": [{"type": "web_page"}]}], 501),
    field(MESSAGES, "temperature", 99),
    field(MESSAGES, "stop_sequences", 7),
    field(MESSAGES, "stop_sequences", [""]),
    field(MESSAGES, "tools", [{"type": "web_search_20250305", "name": "web_search"}], 501),
    field(MESSAGES, "tool_choice", {"type": "sometimes"}),
    field(f"{MESSAGES}/count_tokens", "messages", 7),
    field(MESSAGES, "system", 7),
    field(MESSAGES, "system", [{"type": "text", "text": 7}]),
    field(MESSAGES, "thinking", {"type": "hard"}),
    field(MESSAGES, "thinking", {"type": "enabled", "budget_tokens": "much"}),
    field(MESSAGES, "output_config", {"effort": "much"}),
    field(MESSAGES, "mcp_servers", [{"type": "url", "url": "https://tools.example.com", "name": "t"}], 501),
    field(
        MESSAGES,
        "messages",
        [{"content": [REMOTE_RESULT], "role": "user"}],
    ),
    field(MESSAGES, "cache_control", {"type": "ephemeral"}, 200),
    field(MESSAGES, "metadata", {"user_id": "ada"}, 200),
)
