"""Fields of OpenAI's responses."""

from __future__ import annotations

from tests.fakes.odd_requests.row import MODEL, RESPONSES, Odd, field, posted, raw

OPENAI_RESPONSES = (
    field(RESPONSES, "input", ...),
    field(RESPONSES, "input", 7),
    field(RESPONSES, "input", []),
    field(
        RESPONSES,
        "input",
        [{"content": [{"type": "input_image", "image_url": "https://x.example/1.png"}], "role": "user"}],
        param="input[0].content[0].image_url",
    ),
    field(RESPONSES, "store", "x"),
    field(RESPONSES, "metadata", "x"),
    field(RESPONSES, "max_output_tokens", -5, param="max_output_tokens"),
    field(RESPONSES, "temperature", "hot"),
    field(RESPONSES, "tools", [{"type": "web_search"}], 501),
    field(RESPONSES, "background", True, 501),
    field(RESPONSES, "conversation", "conv_1", 501),
    field(RESPONSES, "reasoning", {"effort": "much"}, param="reasoning.effort"),
    field(RESPONSES, "input", [{"type": "item_reference", "id": "msg_1"}], 501),
    field(
        RESPONSES,
        "input",
        [{"type": "function_call_output", "call_id": 7, "output": "x"}],
        param="input[0].call_id",
    ),
    field(
        RESPONSES,
        "input",
        [{"output": 7, "type": "function_call_output", "call_id": "a"}],
        param="input[0].output",
    ),
    field(RESPONSES, "include", 7),
    field(RESPONSES, "include", [7], param="include[0]"),
    field(RESPONSES, "top_logprobs", 21),
    field(RESPONSES, "top_logprobs", "many"),
    field(RESPONSES, "include", ["reasoning.encrypted_content"], 200),
    posted(
        "a response that goes on from none",
        {"model": MODEL, "input": "And?", "previous_response_id": "resp_0"},
        400,
        "previous_response_not_found",
        "previous_response_id",
        path=RESPONSES,
    ),
    Odd("a response of nobody", raw("GET", f"{RESPONSES}/resp_0"), 404, "response_not_found"),
    Odd("the input of nobody", raw("GET", f"{RESPONSES}/resp_0/input_items"), 404, "response_not_found"),
    Odd("DELETE of nobody's response", raw("DELETE", f"{RESPONSES}/resp_0"), 404, "response_not_found"),
    posted("an end to nobody's response", {}, 404, "response_not_found", path=f"{RESPONSES}/resp_0/cancel"),
)
