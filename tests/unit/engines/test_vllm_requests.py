"""What clients are told of vLLM's refusals, which name flags that they cannot set."""

from __future__ import annotations

import pytest

from mrpack_runtime.engines.vllm import ENGINE

AUTO = '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set'
REQUIRED = 'tool_choice="required" requires --tool-call-parser to be set'


@pytest.mark.parametrize("message", [AUTO, REQUIRED])
def test_tools_without_a_parser_are_refused_by_the_name_of_the_setting(message):
    said = {"message": message, "type": "BadRequestError", "param": None, "code": "engine_error"}
    status, error = ENGINE.explained(400, said)
    assert (status, error["param"], error["code"]) == (400, "tools", "invalid_request")
    assert "vllm.tool_call_parser" in error["message"]
    assert "--" not in error["message"]


def test_other_refusals_stay():
    other = {"message": "the prompt is too long", "param": None}
    assert ENGINE.explained(400, other) == (400, other)
