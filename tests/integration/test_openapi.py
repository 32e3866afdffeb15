"""The gateway does what its description says: requests made of it by Schemathesis, before a fake engine."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from mrpack_runtime.protocols.conversation import CHOSEN_TOOLS
from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.demands import demand
from tests.effort import EFFORT
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import gateway
from tests.waiting import DEADLINE_S

EXAMPLES = 6 * EFFORT
SEED = os.environ.get("MRPACK_TEST_SEED", "20261123")
# What a model is called that is there. Others would all be answered with 404, whatever else they say.
MODEL = "fake"
# What is below /v1, too; what makes and removes models; a log that goes on; forms, whose names have limits;
# what is refused to those who have something to cancel; what with another method is the name of a response.
LEFT_OUT = (
    r"^/engines/(v1|\{engine\})/(?!v1/models|_configure)|^/engines/(responses|rerank|score|tokenize|detokenize|apply-template)"
    r"|^/(responses|rerank|score|tokenize|detokenize|apply-template)|^/models/(purge|load|create|prune)|^/models/\{model\}(/tag)?$"
    r"|^/api/(pull|copy|delete|blobs)|/responses/(input_tokens|compact)$|^/logs|/images/edits$|/cancel$"
)
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "negative_data_rejection,positive_data_acceptance,unsupported_method"
)
# 501 is what the API says of what it does not do; 404 and 409 depend on what there is and runs.
SETTINGS = """
[checks]
not_a_server_error.expected-statuses = ["2xx", "4xx", "501"]
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "501"]
negative_data_rejection.expected-statuses = ["4xx", "501"]
"""


def asked_for(document: Any, engine: str) -> Any:
    """The description with the names of a model and an engine that are there."""
    text = json.dumps(document)
    pattern = json.dumps({"type": "string", "pattern": r"\S"})[1:-1]
    assert pattern in text
    text = text.replace(pattern, f'"enum": ["{MODEL}"]')
    assert json.dumps(CHOSEN_TOOLS) in text
    # No schema can say that they have to be among `tools`.
    document = json.loads(text.replace(json.dumps(CHOSEN_TOOLS), '{"const": "auto"}'))
    for item in document["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                names = {"model": MODEL, "engine": engine}
                if parameter["in"] == "path" and parameter["name"] in names:
                    parameter["schema"] = {"enum": [names[parameter["name"]]]}
    return document


def test_the_gateway_does_what_its_description_says(short_folder: Path, tmp_path: Path) -> None:
    program = shutil.which("st", path=str(Path(sys.executable).parent))
    demand("" if program else "schemathesis is not installed")
    assert program is not None

    async def main() -> tuple[int, str]:
        async with gateway(short_folder, FakeEngine(name="llama.cpp")) as g:
            document = asked_for((await g.client.get("/openapi.json")).json, "llama.cpp")
            (tmp_path / "openapi.json").write_text(json.dumps(document))
            (tmp_path / "schemathesis.toml").write_text(SETTINGS)
            assert isinstance(g.client.endpoint, TcpEndpoint)
            options = [
                *("--config-file", "schemathesis.toml", "--no-color", "run", "openapi.json"),
                *("--url", f"http://127.0.0.1:{g.client.endpoint.port}", "--checks", CHECKS),
                *("--max-examples", str(EXAMPLES), "--seed", SEED, "--phases", "coverage,fuzzing"),
                *("--generation-database", "none", "--suppress-health-check", "all", "--warnings", "off"),
                *("--request-timeout", str(DEADLINE_S)),
                *("--exclude-path-regex", LEFT_OUT, "--output-sanitize", "false"),
            ]
            process = await asyncio.create_subprocess_exec(
                program,
                *options,
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            told, _ = await process.communicate()
            assert process.returncode is not None
            return process.returncode, told.decode()

    code, told = asyncio.run(main())
    assert code == 0, told
    assert re.search(r"[1-9][0-9]* generated", told), told
