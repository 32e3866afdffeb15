"""What vLLM writes when it does not start, the most telling first; from the logs of 0.32.0."""

from __future__ import annotations

import re
from typing import Final

from mrpack_runtime.engine.symptoms import Symptom

_SMALLER = "a smaller model, --context-size or --parallel needs less memory"


def _row(pattern: str, reason: str, hint: str = "") -> Symptom:
    return Symptom(re.compile(pattern), reason, hint)


SYMPTOMS: Final = (
    _row(
        r"vailable memory on node \d+ \((?P<free>[\d.]+)/[\d.]+ GiB\) on startup is less than desired CPU "
        r"memory utilization \((?P<share>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
        r"vllm.gpu_memory_utilization \g<share> is \g<wanted> GiB of memory, and \g<free> GiB are free",
        "set a smaller share, or vllm.kv_cache_memory_bytes",
    ),
    _row(
        r"Free memory on device \S+ \((?P<free>[\d.]+)/[\d.]+ GiB\) on startup is less than desired GPU "
        r"memory utilization \((?P<share>[\d.]+), (?P<wanted>[\d.]+) GiB\)",
        r"vllm.gpu_memory_utilization \g<share> is \g<wanted> GiB of the GPU's memory, "
        r"and \g<free> GiB are free",
        "set a smaller share, or end what else uses the GPU",
    ),
    _row(
        r"max seq len \((?P<wanted>\d+)\).*larger than the available KV cache memory"
        r".*estimated maximum model length is (?P<fits>\d+)",
        r"there is no memory for a context of \g<wanted> tokens; \g<fits> fit",
        r"set --context-size \g<fits>, or more memory with vllm.kv_cache_memory_bytes",
    ),
    _row(
        r"No available memory for the cache blocks",
        "the weights leave no memory for a context",
        "raise vllm.gpu_memory_utilization, or take a smaller model",
    ),
    _row(
        r"User-specified max_model_len \((?P<wanted>\d+)\) is greater than the derived max_model_len "
        r"\([a-z_]+=(?P<trained>\d+)",
        r"a context of \g<wanted> tokens is longer than the \g<trained> that the model was made for",
        r"set --context-size \g<trained>, or stretch positions with vllm.hf_overrides",
    ),
    _row(
        r"invalid (?P<kind>tool call|reasoning) parser: (?P<name>\S+) "
        r"\(chose from \{ ?(?P<known>[^}]{1,1200})",
        r"vLLM has no \g<kind> parser \g<name>",
        r"it has \g<known>",
    ),
    _row(
        r"has model type `(?P<type>[^`]+)` but Transformers does not recognize",
        r"vLLM does not know models of type \g<type>",
        "a newer vLLM may: mrpack reinstall-runner --backend vllm",
    ),
    _row(
        r"Model architectures (?P<classes>\[[^\]]*\]) are not supported",
        r"vLLM does not know the architecture \g<classes>",
        "a newer vLLM may: mrpack reinstall-runner --backend vllm",
    ),
    _row(
        r"trust_remote_code=True|--trust-remote-code",
        "the model needs code of its own, which is never run",
        "models of other architectures need none",
    ),
    _row(
        r"This model does not support `--runner (?P<runner>\w+)`",
        r"the model does not do what it was loaded for (\g<runner>)",
        "mode=embedding or mode=reranking says what a model is for",
    ),
    _row(
        r"SafetensorError: (?P<words>.{1,200})",
        r"the weights are damaged: \g<words>",
        "`mrpack verify` finds out",
    ),
    _row(
        r"torch(?:\.cuda)?\.OutOfMemoryError|CUDA out of memory|DefaultCPUAllocator: can't allocate memory",
        "out of memory",
        _SMALLER,
    ),
    _row(
        r"operator torchvision::nms does not exist",
        "torchvision is of another build than torch",
        "mrpack reinstall-runner --backend vllm",
    ),
    _row(
        r"ImportError: (?P<library>lib\S+): cannot open shared object file",
        r"the library \g<library> is missing",
        "install it from the system's packages (libnuma1 for libnuma.so.1)",
    ),
    _row(
        r"InductorError|Failed to find C compiler|No working C\+\+ compiler",
        "there is no C++ compiler to compile the model with",
        "install one, or leave vllm.enforce_eager on",
    ),
    # What the processes behind the server say; its own last words only point to them.
    _row(
        r"^\((?:EngineCore|\w*Worker)[^)]*\) ERROR [^\]]*\] "
        r"(?P<words>(?!\S*EngineDeadError)[\w.]+(?:Error|Exception): .{1,300})",
        r"\g<words>",
    ),
    _row(r"^  Value error, (?P<words>.{1,300})", r"\g<words>"),
    # When they are killed from outside, nobody says why.
    _row(
        r"EngineDeadError: |(?:Worker|EngineCore|Engine core) proc\S* .{0,80}died unexpectedly",
        "one of its processes ended, possibly out of memory",
        _SMALLER,
    ),
)
