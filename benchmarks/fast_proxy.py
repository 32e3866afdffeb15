"""A proxy as one writes it first, with Starlette and httpx: what benchmarks/gateway.py compares with.

python benchmarks/fast_proxy.py SOCKET

Prints its port. Needs the dependency group `benchmark`.
"""

from __future__ import annotations

import json
import socket
import sys

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route


def application(path: str) -> Starlette:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    transport = httpx.AsyncHTTPTransport(uds=path, limits=limits)
    client = httpx.AsyncClient(transport=transport, timeout=None, base_url="http://localhost")

    async def forward(request: Request) -> Response:
        wanted = client.build_request(
            "POST",
            request.url.path,
            content=await request.body(),
            headers={"Content-Type": request.headers["content-type"]},
        )
        answer = await client.send(wanted, stream=True)
        kind = answer.headers["content-type"]
        if kind.startswith("text/event-stream"):
            end = BackgroundTask(answer.aclose)
            return StreamingResponse(answer.aiter_raw(), media_type=kind, background=end)
        content = await answer.aread()
        await answer.aclose()
        return Response(content, answer.status_code, media_type=kind)

    return Starlette(routes=[Route("/v1/chat/completions", forward, methods=["POST"])])


def main(path: str) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    config = uvicorn.Config(application(path), log_level="error", access_log=False, backlog=2048)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
