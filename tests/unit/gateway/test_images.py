"""The gateway's image routes: JSON and forms reach the engine, limits and refusals do not."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from mrpack_runtime.gateway.bodies import BODY_LIMIT, FORM_LIMIT
from tests.fakes.gateway import gateway

KIND = "multipart/form-data; boundary=XX"
GENERATE, EDIT = "/v1/images/generations", "/v1/images/edits"


def form(model: str | None = "fake", picture: bytes = b"\x89PNG") -> bytes:
    fields = {"prompt": b"x"} | ({"model": model.encode()} if model else {})
    start = b"--XX\r\nContent-Disposition: form-data; "
    texts = (start + b'name="%s"\r\n\r\n%s\r\n' % (name.encode(), text) for name, text in fields.items())
    file = start + b'name="image"; filename="a.png"\r\n\r\n' + picture
    return b"".join(texts) + file + b"\r\n--XX--\r\n"


@pytest.mark.parametrize("prefix", ["", "/engines", "/engines/fake"])
def test_generations_go_to_the_engine(short_folder: Path, prefix: str) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post(prefix + GENERATE, {"model": "fake", "prompt": "x", "seed": 1})
            assert answer.status == 200
            assert answer.json["data"][0]["b64_json"]
            (request,) = await g.engine_requests()
            assert request["path"] == GENERATE
            assert request["body"]["seed"] == 1

    asyncio.run(main())


def test_a_form_is_forwarded_byte_for_byte(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            await g.client.post(EDIT, form(), {"Content-Type": KIND})
            (request,) = await g.engine_requests()
            assert request["path"] == EDIT
            assert request["headers"]["content-type"] == KIND
            assert request["body"]["form"].encode("latin-1") == form()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (form(model=None), {"Content-Type": KIND}, 400),
        (form(model="nobody"), {"Content-Type": KIND}, 404),
        (form()[:-12], {"Content-Type": KIND}, 400),
        (form(), {"Content-Type": "multipart/form-data"}, 400),
        (b'{"model": "fake"}', {"Content-Type": "application/json"}, 415),
        (form(), {"Content-Type": KIND, "Content-Encoding": "gzip"}, 415),
        (form(), {"Content-Type": KIND, "Origin": "https://evil.example"}, 403),
    ],
)
def test_wrong_forms_reach_no_engine(
    short_folder: Path, content: bytes, headers: dict[str, str], status: int
) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            answer = await g.client.post(EDIT, content, headers)
            assert (answer.status, set(answer.json)) == (status, {"error"})
            assert g.pool.snapshot() == ()

    asyncio.run(main())


def test_forms_may_be_larger_than_json_but_not_endless(short_folder: Path) -> None:
    async def main() -> None:
        async with gateway(short_folder) as g:
            for size, status in ((FORM_LIMIT + 1, 413), (BODY_LIMIT + 1, 400)):
                content = b"--XX" + b"x" * 16
                headers = {"Content-Type": KIND, "Content-Length": str(size)}
                if status == 400:
                    content = b"--XX" + b"x" * (size - 4)
                answer = await g.client.request("POST", EDIT, content, headers)
                assert answer.status == status
            big = json.dumps({"model": "fake", "prompt": "x" * BODY_LIMIT}).encode()
            assert (await g.client.post(GENERATE, big)).status == 413

    asyncio.run(main())
