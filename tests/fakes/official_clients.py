"""The official clients of each API, against a gateway of this process with a fake engine behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import ollama
import openai

from mrpack_runtime.wire.endpoint import TcpEndpoint
from tests.fakes.fake_engine import FakeEngine
from tests.fakes.gateway import Running, gateway

NAME = "localhost/fake:latest"
QUESTION: list[Any] = [{"role": "user", "content": "hi"}]
CALLS = {"tools": [{"name": "f", "arguments": '{"x": 1}'}, {"name": "g", "arguments": "{}"}]}


@asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[tuple[Running, str]]:
    async with gateway(folder, FakeEngine(name="llama.cpp"), **options) as g:
        assert isinstance(g.client.endpoint, TcpEndpoint)
        yield g, f"http://127.0.0.1:{g.client.endpoint.port}"


@asynccontextmanager
async def claude(folder: Path) -> AsyncIterator[tuple[Running, anthropic.AsyncAnthropic]]:
    async with (
        serving(folder) as (g, url),
        anthropic.AsyncAnthropic(base_url=url, api_key="none", max_retries=0, timeout=30) as client,
    ):
        yield g, client


@asynccontextmanager
async def open_ai(folder: Path, prefix: str = "/v1") -> AsyncIterator[tuple[Running, openai.AsyncOpenAI]]:
    async with (
        serving(folder) as (g, url),
        openai.AsyncOpenAI(base_url=url + prefix, api_key="none", max_retries=0, timeout=30) as client,
    ):
        yield g, client


@asynccontextmanager
async def llama(folder: Path) -> AsyncIterator[tuple[Running, ollama.AsyncClient]]:
    async with serving(folder) as (g, url):
        client = ollama.AsyncClient(host=url, timeout=30)
        try:
            yield g, client
        finally:
            await client._client.aclose()
