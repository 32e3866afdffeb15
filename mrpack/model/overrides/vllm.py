"""The settings of vLLM, and what users of Docker Model Runner write into `--hf_overrides`.

Nothing here takes a path, a URL, a host, a port or a plugin, or lets code of the model run.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from mrpack.model.config import CONTEXT_SIZE_LIMIT
from mrpack.model.overrides.kinds import Choice, Kind, Pattern, Real, Switch, Whole
from mrpack.model.overrides.objects import Tree, Variables
from mrpack.model.overrides.settings import Setting

# Names of vLLM's own registries; a plugin of ours could add one, an artifact cannot bring it.
_NAME: Final = Pattern("[a-z0-9][a-z0-9_-]{0,63}", "a name such as hermes or qwen3_coder")
_CONTEXT: Final = Whole(-1, CONTEXT_SIZE_LIMIT)
_DTYPES: Final = Choice(("auto", "half", "float16", "bfloat16", "float", "float32"))
_CACHE: Final = Choice(("auto", "float16", "bfloat16", "fp8", "fp8_e4m3", "fp8_e5m2"))
_TERABYTE: Final = 2**40
_POOLINGS: Final = Choice(("mean", "cls", "last"))
_SPECULATIVE: Final = "--speculative-config"


def _row(
    name: str, kind: Kind, meaning: str, unit: str = "", *, refines: str = "", within: str = ""
) -> Setting:
    """The flags of `vllm serve` have the same names; `within`: the flag whose JSON it is a part of."""
    flag = within or f"--{name.replace('_', '-')}"
    return Setting(f"vllm.{name}", kind, meaning, unit, source=f"vLLM `{flag}`", refines=refines)


# fmt: off
VLLM: Final = (
    # memory and parallelism
    _row("max_model_len", _CONTEXT, "vLLM's word for context_size", "tokens", refines="context_size"),
    _row("gpu_memory_utilization", Real(0.01, 1), "share of memory to use, of the GPU or else the machine"),
    _row("kv_cache_memory_bytes", Whole(1, 64 * _TERABYTE), "for the context, instead of a share", "bytes"),
    _row("tensor_parallel_size", Whole(1, 1024), "over which each layer is split", "devices"),
    _row("pipeline_parallel_size", Whole(1, 1024), "over which the layers are spread", "devices"),
    _row("data_parallel_size", Whole(1, 1024), "that each hold the whole model", "copies"),
    _row(
        "distributed_executor_backend",
        Choice(("mp", "ray")),
        "processes of this machine, or a Ray cluster of several machines",
    ),
    _row("enable_expert_parallel", Switch(), "spread experts rather than split them"),
    _row("disable_custom_all_reduce", Switch(), "use NCCL alone between devices"),
    _row("cpu_offload_gb", Real(0, 65536), "of weights that stay in the machine's memory", "GiB"),
    _row("kv_offloading_size", Real(0, 65536), "of the context that may move there too", "GiB"),
    _row("dtype", _DTYPES, "to compute in"),
    _row("quantization", _NAME, "method of the weights, where the model's config does not say"),
    _row("kv_cache_dtype", _CACHE, "how the context is kept"),
    _row("block_size", Whole(1, 4096), "that the context is kept in", "tokens"),
    # scheduling
    _row("max_num_seqs", Whole(1), "at once", "requests"),
    _row("max_num_batched_tokens", Whole(1), "in one step", "tokens"),
    _row("enable_prefix_caching", Switch(), "go on from the part of a prompt that is known"),
    _row("enable_chunked_prefill", Switch(), "mix parts of long prompts with answers"),
    _row("async_scheduling", Switch(), "plan the next step while one is computed"),
    _row("scheduling_policy", Choice(("fcfs", "priority")), "who comes first"),
    _row("enforce_eager", Switch(), "start fast, without compiled graphs"),
    _row("optimization_level", Whole(0, 3), "time spent on compiling"),
    _row("disable_sliding_window", Switch(), "do not use the model's sliding window"),
    _row("max_logprobs", Whole(-1, 1_000_000), "most that a request may ask for; -1: all", "tokens"),
    _row("seed", Whole(), "of the engine; requests have `sampling.seed`"),
    # guessing ahead
    _row(
        "speculative_method",
        Choice(("ngram", "mtp")),
        "guess tokens from the prompt, or with the model's own layers for that",
        within=_SPECULATIVE,
    ),
    _row("num_speculative_tokens", Whole(1, 64), "that are guessed at a time", "tokens", within=_SPECULATIVE),
    _row("prompt_lookup_max", Whole(1, 64), "longest piece looked up", "tokens", within=_SPECULATIVE),
    _row("prompt_lookup_min", Whole(1, 64), "shortest piece looked up", "tokens", within=_SPECULATIVE),
    # answers
    _row("pooling", _POOLINGS, "how tokens become one embedding", within="--pooler-config"),
    _row("enable_auto_tool_choice", Switch(), "let the model call tools"),
    _row("tool_call_parser", _NAME, "how the model writes calls of tools"),
    _row("reasoning_parser", _NAME, "how the model marks its thoughts"),
    _row("chat_template_content_format", Choice(("auto", "string", "openai")), "what the chat template gets"),
    _row("default_chat_template_kwargs", Variables(), "variables of the chat template"),
    _row("limit_mm_per_prompt", Variables(whole=True), "most images, videos, audios in a request", "by kind"),
    _row("hf_overrides", Tree(), "replaces values of the model's config.json"),
)
# fmt: on

HF_OVERRIDES: Final = "vllm.hf_overrides"
# Words that configs of models have as well: inside `--hf_overrides` they mean the config's.
_SHARED: Final = frozenset({"hf_overrides", "dtype", "quantization", "seed", "block_size", "pooling"})
_WORDS: Final = frozenset(setting.name for setting in VLLM) - _SHARED


def split_hf_overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """What `--hf_overrides` says, as unchecked settings by key.

    Users of Docker Model Runner put vLLM's own settings (`max_model_len`, `gpu_memory_utilization`, …) there,
    as its documentation tells them; in a model's config those would have no effect.
    """
    settings = {f"vllm.{name}": value for name, value in values.items() if name in _WORDS}
    rest = {name: value for name, value in values.items() if name not in _WORDS}
    return settings | ({HF_OVERRIDES: rest} if rest else {})


def spread_hf_overrides(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The same for settings by key, wherever they were written; what stands beside it counts."""
    values = settings.get(HF_OVERRIDES)
    if not isinstance(values, Mapping) or _WORDS.isdisjoint(values):
        return dict(settings)
    return split_hf_overrides(values) | {key: value for key, value in settings.items() if key != HF_OVERRIDES}
