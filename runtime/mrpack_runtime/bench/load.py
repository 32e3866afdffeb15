"""A load on a gateway: so many requests, so many at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final

from mrpack.errors import MrpackError
from mrpack_runtime.bench.figures import Figures, Sample
from mrpack_runtime.bench.prompts import prompt
from mrpack_runtime.wire.client import GatewayClient

# Of llama.cpp and vLLM: an answer has the length that was asked for, whatever the model would say.
_WHOLE_LENGTH: Final = {"ignore_eos": True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What each request is; the same numbers make the same requests."""

    model: str
    prompt_tokens: int
    max_tokens: int

    def body(self, number: int) -> dict[str, Any]:
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt(number, self.prompt_tokens)}],
            "max_tokens": self.max_tokens,
            "temperature": 0,
            "seed": 0,
            "stream_options": {"include_usage": True},
            **_WHOLE_LENGTH,
        }


def drive(
    client: GatewayClient,
    load: Load,
    *,
    concurrency: int,
    requests: int,
    first_number: int = 0,
    on_sample: Callable[[Sample], None] = lambda _: None,
) -> Figures:
    """Sends `requests`, `concurrency` at once, each as soon as one before it is answered.

    Threads that are under way when this is interrupted end with their connections.
    """
    found: list[Sample] = []
    threads = ThreadPoolExecutor(min(concurrency, requests), "bench")
    begin = time.perf_counter()
    try:
        asked = [
            threads.submit(ask, client, load.body(number))
            for number in range(first_number, first_number + requests)
        ]
        for future in as_completed(asked):
            found.append(future.result())
            on_sample(found[-1])
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
    return Figures(concurrency=concurrency, wall_s=time.perf_counter() - begin, samples=tuple(found))


def ask(client: GatewayClient, body: Mapping[str, Any]) -> Sample:
    """One request; its error is a part of the sample."""
    begin = time.perf_counter()
    first_s = last_s = 0.0
    pieces = 0
    usage: dict[str, Any] = {}
    try:
        with closing(client.chat(body)) as events:
            for event in events:
                usage = event.get("usage") or usage
                if _speaks(event):
                    last_s = time.perf_counter() - begin
                    first_s = first_s or last_s
                    pieces += 1
    except MrpackError as error:
        return Sample(total_s=time.perf_counter() - begin, error=str(error))
    return Sample(
        first_s=first_s,
        total_s=last_s or time.perf_counter() - begin,
        prompt_tokens=int(usage.get("prompt_tokens") or 0),
        tokens=int(usage.get("completion_tokens") or pieces),
    )


def _speaks(event: Mapping[str, Any]) -> bool:
    for choice in event.get("choices") or ():
        delta = choice.get("delta") or {}
        if delta.get("content") or delta.get("reasoning_content") or delta.get("reasoning"):
            return True
    return False
