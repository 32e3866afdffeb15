"""CPU time of the gateway for requests that are made to be costly, beside a plain body of as many bytes.

    python benchmarks/costs.py

One process, so that all of its CPU time is the gateway's but for the few writes of the client; each the best
of five. Exit code 1 when one takes more than 20 times its plain body and 50 ms: what costs the square of its
bytes takes seconds.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from measure import machine

from tests.fakes.gateway import Running, gateway, request_bytes
from tests.unit.gateway.test_costs import ENDLESS
from tests.unit.gateway.test_hostile import chat
from tests.waiting import DEADLINE_S

ROUNDS: Final = 5
RATIO, SMALL_S = 20.0, 0.05
_WHOLE: Final = 1 << 20
# Name, content, bytes that are sent at a time.
REQUESTS: Final = [
    *((name, content, _WHOLE) for name, content in ENDLESS.items()),
    (
        "a head of 56 KB that drips",
        request_bytes("GET", "/health", headers={f"X{n}": "x" * 8000 for n in range(7)}),
        8,
    ),
]


async def cost_s(g: Running, content: bytes, step: int) -> float:
    """CPU seconds of this process up to the answer."""
    reader, writer = await g.client.connect()
    begin = time.process_time()
    for at in range(0, len(content), step):
        writer.write(content[at : at + step])
        await asyncio.sleep(0)
    async with asyncio.timeout(DEADLINE_S):
        await reader.readline()
    cost = time.process_time() - begin
    writer.close()
    return cost


async def best_s(g: Running, content: bytes, step: int) -> float:
    return min([await cost_s(g, content, step) for _ in range(ROUNDS)])


async def measure() -> bool:
    """Whether all cost no more than they may."""
    is_good = True
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        async with gateway(Path(folder)) as g:
            await g.client.chat()
            for name, content, step in REQUESTS:
                plain = chat(f"Content-Length: {len(content)}", body=b" " * len(content))
                plain_s, odd_s = await best_s(g, plain, step), await best_s(g, content, step)
                good = odd_s < max(RATIO * plain_s, SMALL_S)
                is_good &= good
                print(
                    f"{name:28} {len(content):9,} bytes {1000 * odd_s:7.2f} ms {odd_s / plain_s:6.1f} x"
                    f"{'' if good else '  TOO MUCH'}"
                )
    return is_good


def main() -> int:
    print(machine())
    return 0 if asyncio.run(measure()) else 1


if __name__ == "__main__":
    sys.exit(main())
